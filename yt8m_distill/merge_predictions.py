"""Makes one file of the parts of a prediction: python -m yt8m_distill.merge_predictions OUT; --help lists all flags."""

import sys

from yt8m_distill.cli.command import merge_main

if __name__ == "__main__":
    sys.exit(merge_main())

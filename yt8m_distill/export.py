"""A trained model as files that run without this package: python -m yt8m_distill.export; --help lists all flags."""

import sys

from yt8m_distill.cli.command import export_main

if __name__ == "__main__":
    sys.exit(export_main())

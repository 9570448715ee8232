"""Scores a file of segments by the rated ones: python -m yt8m_distill.segment_eval; --help lists all flags."""

import sys

from yt8m_distill.cli.command import segment_eval_main

if __name__ == "__main__":
    sys.exit(segment_eval_main())

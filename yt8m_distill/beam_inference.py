"""Predicts as an Apache Beam pipeline: python -m yt8m_distill.beam_inference; --help lists all flags."""

import sys

from yt8m_distill.cli.command import beam_main

if __name__ == "__main__":
    sys.exit(beam_main())

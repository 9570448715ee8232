"""Checks every record of shards: python -m yt8m_distill.verify PATTERN; --help lists all flags."""

import sys

from yt8m_distill.cli.command import verify_main

if __name__ == "__main__":
    sys.exit(verify_main())

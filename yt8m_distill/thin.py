"""Rewrites shards with few frames a video: python -m yt8m_distill.thin IN OUT_DIR; --help lists all flags."""

import sys

from yt8m_distill.cli.command import thin_main

if __name__ == "__main__":
    sys.exit(thin_main())

"""A small HTTP service of an exported model: python -m yt8m_distill.serve; --help lists all flags."""

import sys

from yt8m_distill.cli.command import serve_main

if __name__ == "__main__":
    sys.exit(serve_main())

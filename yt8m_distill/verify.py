"""Checks every record of TFRecord files: python -m yt8m_distill.verify PATTERN

PATTERN: globs, files and folders, separated by commas. The exit code is 1 where a file is bad.
"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.shards import VerifyConfig


@command(VerifyConfig)
def main(config: VerifyConfig) -> int:
    from yt8m_distill.data.verification import run_verification  # imports numpy, which --help does not need

    return 0 if run_verification(config) else 1


if __name__ == "__main__":
    sys.exit(main())

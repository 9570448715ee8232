"""Rewrites TFRecord files with only k frames of each video: python -m yt8m_distill.thin IN OUT_DIR

IN: globs, files and folders, separated by commas. Started again, the command resumes with the next file.
"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.shards import ThinConfig


@command(ThinConfig)
def main(config: ThinConfig):
    from yt8m_distill.data.thinning import run_thinning  # imports numpy, which --help does not need

    run_thinning(config)


if __name__ == "__main__":
    sys.exit(main())

"""Merges the parts of a prediction into one file: python -m yt8m_distill.merge_predictions OUT

OUT: the file to write, named as --output_file of inference.py.
"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.inference import MergeConfig


@command(MergeConfig)
def main(config: MergeConfig):
    from yt8m_distill.prediction.parts import run_merging  # imports numpy, which --help does not need

    run_merging(config)


if __name__ == "__main__":
    sys.exit(main())

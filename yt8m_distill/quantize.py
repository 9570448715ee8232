"""Rewrites TFRecord files of float features as uint8: python -m yt8m_distill.quantize IN OUT_DIR

IN: globs, files and folders, separated by commas, of all files that belong together. OUT_DIR gets features.json with
the range that each feature fills, which all commands read beside the files. Started again, it resumes.
"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.shards import QuantizeConfig


@command(QuantizeConfig)
def main(config: QuantizeConfig):
    from yt8m_distill.data.quantizing import run_quantization  # imports numpy, which --help does not need

    run_quantization(config)


if __name__ == "__main__":
    sys.exit(main())

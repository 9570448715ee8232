"""Predicts the labels of videos: python inference.py --train_dir=RUN --output_file=x.csv; --help lists all flags."""

import sys

from yt8m_distill.cli.command import inference_main as main

if __name__ == "__main__":
    sys.exit(main())

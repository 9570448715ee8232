"""Predicts labels: python inference.py --train_dir=RUN --input_data_pattern=FILES --output_file=X.csv; or --help."""

import sys

from yt8m_distill.inference import main

if __name__ == "__main__":
    sys.exit(main())

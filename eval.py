"""Evaluates a trained model: python eval.py --train_dir=RUN --eval_data_pattern=FILES; --help lists all flags."""

import sys

from yt8m_distill.eval import main

if __name__ == "__main__":
    sys.exit(main())

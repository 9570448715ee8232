"""Evaluates the model of a run: python eval.py --train_dir=RUN; --help lists all flags."""

import sys

from yt8m_distill.cli.command import eval_main as main

if __name__ == "__main__":
    sys.exit(main())

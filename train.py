"""Trains a teacher and a student: python train.py --model=NeXtVLAD --student_frames=30; --help lists all flags."""

import sys

from yt8m_distill.train import main

if __name__ == "__main__":
    sys.exit(main())

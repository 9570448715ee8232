"""Trains a teacher and a student: python train.py --model=NeXtVLAD --student_frames=30; --help lists all flags."""

import sys

from yt8m_distill.commands import train_main

if __name__ == "__main__":
    sys.exit(train_main())

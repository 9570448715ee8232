"""Runs an experiment of many trainings: python -m yt8m_distill.experiment; --help lists all flags."""

import sys

from yt8m_distill.cli.command import experiment_main

if __name__ == "__main__":
    sys.exit(experiment_main())

"""Runs an experiment of many trainings, or resumes it: python -m yt8m_distill.experiment --experiment=table1

Writes results.csv, results.md and figures. Most flags are those of train.py, for all of its runs.
"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.experiment import ExperimentConfig


@command(ExperimentConfig)
def main(config: ExperimentConfig):
    from yt8m_distill.experiments.runner import run_experiment  # imports TensorFlow, which --help does not need

    folder = run_experiment(config)
    print(f"\n{(folder / 'results.md').read_text(encoding='utf-8')}\nTables and figures are in {folder}")


if __name__ == "__main__":
    sys.exit(main())

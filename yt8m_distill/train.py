"""Trains a teacher on all frames of videos, a student on few: python train.py --model=NeXtVLAD --student_frames=30"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.training import TrainCommand


@command(TrainCommand)
def main(config: TrainCommand):
    from yt8m_distill.training.outlook import announce  # before TensorFlow is imported

    announce(config.training)
    from yt8m_distill.training.run import run_training  # imports TensorFlow, which --help does not need

    report = run_training(config.training, config.start_new_model, callbacks=config.callbacks)
    if report is None:
        print("This worker is done; the first one has written the results.")
        return
    training = config.training
    commands = report.next_commands(training.plugins, holds_out=training.validation_fraction > 0)
    print(f"\n{report.table()}\n\nThe run is in {report.train_dir}. Next:\n{commands}")


if __name__ == "__main__":
    sys.exit(main())

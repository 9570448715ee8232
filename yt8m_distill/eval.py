"""Evaluates the model of a training run (GAP@20, mAP, Hit@1, PERR, loss): python eval.py --train_dir=RUN"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.inference import EvalConfig


@command(EvalConfig)
def main(config: EvalConfig):
    from yt8m_distill.runs.requests import check_input, check_request  # before TensorFlow is imported

    check_input(config.eval_data_pattern, check_request(config.train_dir, config), "eval_data_pattern")
    from yt8m_distill.evaluation.run import run_evaluation  # imports TensorFlow, which --help does not need

    run_evaluation(config)


if __name__ == "__main__":
    sys.exit(main())

"""Scores a file of segments against the rated ones (mean average precision):

python -m yt8m_distill.segment_eval --submission_file=segments.csv --eval_data_pattern='validate*.tfrecord'
"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.inference import SegmentEvalConfig


@command(SegmentEvalConfig)
def main(config: SegmentEvalConfig):
    from yt8m_distill.evaluation.segments import (
        run_segment_evaluation,
    )  # imports numpy, which --help does not need

    run_segment_evaluation(config)


if __name__ == "__main__":
    sys.exit(main())

"""Counts the parameters, memory and multiply-accumulates of a model: python -m yt8m_distill.flops --model=NeXtVLAD

By layer and in total, for every number of frames, and beside them what papers print, in the convention of the paper.
That convention is not the whole model. For HierarchicalRNN (Bhardwaj et al., 2019, table 3) it counts the products of
the lower LSTMs with the first feature as their only input, 14 element-wise operations a step for each cell of each of
these LSTMs, and the output layer; for NeXtVLAD (table 6) the first feature's expansion, assignment and aggregation.
Imported, this module has `multiply_accumulates` and `parameter_count`.
"""

import sys
from typing import Any

from yt8m_distill.cli.command import command
from yt8m_distill.config.models import FlopsConfig


@command(FlopsConfig)
def main(config: FlopsConfig):
    if config.train_dir is not None:
        from yt8m_distill.runs.teachers import find_run  # before TensorFlow is imported

        find_run(config.train_dir, config.which)
    from yt8m_distill.evaluation.compute_table import run_flops  # imports TensorFlow, which --help does not need

    run_flops(config)


def __getattr__(name: str) -> Any:
    if name in ("multiply_accumulates", "parameter_count"):
        from yt8m_distill.models import cost

        return getattr(cost, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    sys.exit(main())

"""Parameters, memory and multiply-accumulates of a model: python -m yt8m_distill.flops; --help lists all flags.

By layer and in total, for every number of frames, and beside them what papers print, in the convention of the paper.
That convention is not the whole model. For HierarchicalRNN (Bhardwaj et al., 2019, table 3) it counts the products of
the lower LSTMs with the first feature as their only input, 14 element-wise operations a step for each cell of each of
these LSTMs, and the output layer; for NeXtVLAD (table 6) the first feature's expansion, assignment and aggregation.

Imported, this module has the counts of the whole model, of `yt8m_distill.compute`.
"""

import sys

if __name__ == "__main__":
    from yt8m_distill.cli.command import flops_main

    sys.exit(flops_main())
else:
    from yt8m_distill.models.cost import multiply_accumulates, parameter_count

    __all__ = ["multiply_accumulates", "parameter_count"]

"""A TensorFlow 1 checkpoint to a run directory: python -m yt8m_distill.convert_checkpoint; --help lists all flags.

Imported, this module has `load_reference_weights`, which puts arrays under their original names into a model.
"""

import sys

if __name__ == "__main__":
    from yt8m_distill.cli.command import conversion_main

    sys.exit(conversion_main())
else:
    from yt8m_distill.tf1.weights import load_reference_weights

    __all__ = ["load_reference_weights"]

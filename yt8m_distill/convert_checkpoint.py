"""Converts a checkpoint of the original TensorFlow 1 code to a run directory:

    python -m yt8m_distill.convert_checkpoint --from=CHECKPOINT --train_dir=RUN

Sizes are read from its variables and the model_flags.json beside it. The exit code is 1 where a variable had no place.
Imported, this module has `load_reference_weights`, which sets a model's weights by their original names.
"""

import sys
from typing import Any

from yt8m_distill.cli.command import command
from yt8m_distill.config.models import ConversionConfig


@command(ConversionConfig)
def main(config: ConversionConfig) -> int:
    from yt8m_distill.tf1.conversion import run_conversion  # imports TensorFlow, which --help does not need

    return 0 if run_conversion(config) else 1


def __getattr__(name: str) -> Any:
    if name == "load_reference_weights":
        from yt8m_distill.tf1.weights import load_reference_weights

        return load_reference_weights
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    sys.exit(main())

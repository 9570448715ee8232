"""Exports a trained model to files that run without this package:

    python -m yt8m_distill.export --train_dir=RUN --output_dir=EXPORT

Each file is run and compared with the Keras model; where one differs, nothing is written.
"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.deployment import ExportConfig


@command(ExportConfig)
def main(config: ExportConfig):
    from yt8m_distill.deployment.preparation import check_export  # before TensorFlow is imported

    check_export(config)
    from yt8m_distill.deployment.export import run_export  # imports TensorFlow, which --help does not need

    run_export(config)


if __name__ == "__main__":
    sys.exit(main())

"""Serves an exported model over HTTP: python -m yt8m_distill.serve --model_dir=EXPORT"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.deployment import ServeConfig


@command(ServeConfig)
def main(config: ServeConfig):
    from yt8m_distill.serving.server import run_service  # imports TensorFlow, which --help does not need

    run_service(config)


if __name__ == "__main__":
    sys.exit(main())

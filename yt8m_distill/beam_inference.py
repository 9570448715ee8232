"""Predicts as inference.py does, as an Apache Beam pipeline:

    python -m yt8m_distill.beam_inference --train_dir=RUN --output=predictions.csv

Flags that are not listed here are Beam's: --runner, --direct_num_workers, --project and so on.
"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.inference import BeamConfig
from yt8m_distill.errors import UserError


@command(BeamConfig)
def main(config: BeamConfig):
    try:
        from yt8m_distill.prediction.beam import run_beam_inference  # imports TensorFlow, which --help does not need
    except ModuleNotFoundError as error:
        if error.name != "apache_beam":
            raise
        raise UserError("apache-beam is not installed; pip install 'yt8m_distill[beam]' brings it.") from error
    from yt8m_distill.deployment.engine import open_model

    with open_model(config.predictions) as model:
        run_beam_inference(config, model)


if __name__ == "__main__":
    sys.exit(main())

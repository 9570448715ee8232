"""Extracts features of films as extract_features does, as an Apache Beam pipeline:

    python -m yt8m_distill.beam_extract --videos=FILMS --features=features.json --output=DIR

The features are those of an earlier extraction of some of the films, by extract_features. Flags that are not listed
here are Beam's: --runner, --direct_num_workers, --project and so on.
"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.films import BeamExtractConfig
from yt8m_distill.errors import UserError


@command(BeamExtractConfig)
def main(config: BeamExtractConfig):
    from yt8m_distill.video.packages import check_packages

    check_packages()
    try:
        from yt8m_distill.video.beam import run_beam_extraction  # imports Keras, which --help does not need
    except ModuleNotFoundError as error:
        if error.name != "apache_beam":
            raise
        raise UserError("apache-beam is not installed; pip install 'yt8m_distill[beam]' brings it.") from error
    run_beam_extraction(config)


if __name__ == "__main__":
    sys.exit(main())

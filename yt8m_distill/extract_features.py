"""Extracts features of films into TFRecord files:

python -m yt8m_distill.extract_features --videos=FILMS --labels=labels.csv --output_dir=DIR

DIR gets the files that all commands read, features.json, which says what the features are, vocabulary.csv and
report.csv. Started again, the command resumes; films that are new are added.
"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.films import ExtractConfig


@command(ExtractConfig)
def main(config: ExtractConfig):
    from yt8m_distill.video.packages import check_packages  # imports no package of the extra

    check_packages()
    from yt8m_distill.video.extraction import run_extraction  # imports Keras, which --help does not need

    run_extraction(config)


if __name__ == "__main__":
    sys.exit(main())

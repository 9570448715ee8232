"""Predicts the labels of videos into a CSV file (VideoId,LabelConfidencePairs):

python inference.py --train_dir=RUN --output_file=predictions.csv
"""

import sys

from yt8m_distill.cli.command import command
from yt8m_distill.config.inference import InferenceConfig


@command(InferenceConfig)
def main(config: InferenceConfig):
    from yt8m_distill.prediction.settings import check_prediction  # before TensorFlow is imported

    check_prediction(config)
    if config.films is not None:
        from yt8m_distill.video.packages import check_packages

        check_packages()
        from yt8m_distill.video.film_list import read_films

        read_films(config.films.videos, flag="input_videos")
        from yt8m_distill.video.prediction import run_film_inference

        run_film_inference(config)
    else:
        from yt8m_distill.deployment.engine import open_model  # imports what --help does not need
        from yt8m_distill.prediction.run import run_inference

        with open_model(config) as model:
            run_inference(config, model)


if __name__ == "__main__":
    sys.exit(main())

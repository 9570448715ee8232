"""What predicts videos by the settings: the Keras model of a run, an ONNX file of it, or a file of an export."""

import contextlib
from collections.abc import Iterator

from yt8m_distill.config.inference import InferenceConfig
from yt8m_distill.deployment.export_files import opened_file
from yt8m_distill.prediction.opened_model import OpenedModel


@contextlib.contextmanager
def open_model(config: InferenceConfig) -> Iterator[OpenedModel]:
    """Opens the model that predicts; within the context its files are there. Exports need no TensorFlow.

    Raises:
        UserError: there is none, or it cannot see the frames that are asked for.
    """
    if config.export_dir is not None:
        yield opened_file(config)
        return
    from yt8m_distill.prediction.trained import open_trained, opened_keras

    if not config.exported:
        with open_trained(config) as trained:
            yield opened_keras(config, trained)
        return
    from yt8m_distill.deployment.export import use_no_gpu
    from yt8m_distill.deployment.export_cache import opened_export

    use_no_gpu()
    with open_trained(config) as trained:
        yield opened_export(config, trained)

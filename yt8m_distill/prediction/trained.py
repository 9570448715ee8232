"""The Keras model of a run directory or a packed file, ready to predict."""

import contextlib
import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from yt8m_distill.config.inference import InferenceConfig
from yt8m_distill.devices.precision import warn_where_slow
from yt8m_distill.plugins.loading import load_plugins
from yt8m_distill.prediction.opened_model import OpenedModel, Predict, Travel
from yt8m_distill.prediction.predict import SMALL_BATCH, prediction_function
from yt8m_distill.runs import loading, packing
from yt8m_distill.runs.requests import check_selection
from yt8m_distill.runs.trained_model import TrainedModel


def opened_keras(config: InferenceConfig, trained: TrainedModel) -> OpenedModel:
    """Predictions of a Keras model, with the frames of the settings.

    Raises:
        UserError: frames that the model cannot see.
    """
    options = {"xla": config.xla, "small_batches": config.batch_size <= SMALL_BATCH}
    load_packed = functools.partial(
        _load_packed_predict, precision=config.precision, plugins=config.plugins, options=options
    )
    return OpenedModel(
        load=functools.cache(lambda: prediction_function(trained.model, **options)),
        spec=trained.config.data,
        selection=trained.selection_for(config.selection),
        role=trained.role,
        source=trained.source,
        folder=trained.run_path,
        identity=lambda: loading.fingerprint(trained),
        numbers=config.numbers,
        seed=trained.config.learning.seed,
        default_pattern=trained.config.eval_data_pattern,
        travel=Travel("model.tgz", functools.partial(packing.pack, trained), load_packed),
        pack=functools.partial(packing.pack, trained),
    )


def _load_packed_predict(path: str, *, precision: str, plugins: Sequence[str], options: Mapping[str, bool]) -> Predict:
    """The predictions of a packed model, in a process of its own."""
    load_plugins(plugins)
    with tempfile.TemporaryDirectory() as folder:
        packing.unpack(path, folder)
        return prediction_function(loading.load(folder, precision=precision).model, **options)


@contextlib.contextmanager
def open_trained(config: InferenceConfig) -> Iterator[TrainedModel]:
    """Loads the model of `train_dir` or `input_model_tgz`; within the context the files of its `run_path` are there.

    Raises:
        UserError: there is none, or frames of a student are asked for and the model is a teacher.
    """
    precision = "float32" if config.exported else config.precision
    options = {"which": config.which, "precision": precision, "branch": config.branch}
    with contextlib.ExitStack() as held:
        if config.input_model_tgz:
            folder = held.enter_context(tempfile.TemporaryDirectory())
            trained = packing.load_packed(config.input_model_tgz, folder, **options)
        else:
            trained = loading.load(config.train_dir, **options)
        check_selection(trained.role, config.selection)
        if not config.exported:
            warn_where_slow(config.precision)
        yield trained

"""Features of sound, one for each second of a film."""

import abc
import math

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.plugins import AUDIO_FEATURES, register_audio_feature
from yt8m_distill.video.checksums import checksum_of_arrays
from yt8m_distill.video.log_mel import BANDS, RATE, log_mel_spectrograms

NO_FEATURE = "none"
_SECONDS_AT_ONCE = 64  # whose spectrograms are in memory


class AudioFeature(abc.ABC):
    """A feature of each second of sound. Subclasses implement `compute`.

    The feature of a second depends on nothing but that second, so that single seconds give the same as a whole film.

    Args:
        name: what `audio_feature_named` knows it by.
        size: values of a feature.
        identity: a checksum of weights and preprocessing. Features with the same one can be used together.
    """

    rate = RATE

    def __init__(self, name: str, size: int, identity: str):
        self.name = name
        self.size = size
        self.identity = identity

    def __call__(self, samples: np.ndarray, rate: int = RATE) -> np.ndarray:
        """Features of sound.

        Args:
            samples: mono, float (samples,) in [-1, 1], from the beginning of a second.
            rate: samples a second, which must be `AudioFeature.rate`.

        Returns:
            float32 (seconds, size); of the last second, where it is not whole, as if it ended in silence.

        Raises:
            ValueError: the rate is another one, or the samples have more than one axis.
        """
        if rate != self.rate or np.ndim(samples) != 1:
            raise ValueError(f"sound must have one axis and {self.rate} samples a second, not {rate}.")
        count = math.ceil(len(samples) / rate)
        seconds: np.ndarray = np.zeros(count * rate, np.float32)
        seconds[: len(samples)] = samples
        seconds = seconds.reshape(count, rate)
        features = np.zeros((count, self.size), np.float32)
        for start in range(0, count, _SECONDS_AT_ONCE):
            part = slice(start, start + _SECONDS_AT_ONCE)
            features[part] = self.compute(seconds[part])
        return features

    @abc.abstractmethod
    def compute(self, seconds: np.ndarray) -> np.ndarray:
        """Features (seconds, size) of float32 (seconds, rate)."""


@register_audio_feature("logmel")
class LogMel(AudioFeature):
    """Mean and standard deviation of the 64 bands of VGGish's log mel spectrogram over each second.

    Args:
        model_dir: ignored; it has no weights.
    """

    def __init__(self, model_dir: str | None = None):
        del model_dir
        super().__init__("logmel", 2 * BANDS, checksum_of_arrays("logmel, mean and deviation", []))

    def compute(self, seconds):
        spectrograms = log_mel_spectrograms(seconds)
        return np.concatenate([spectrograms.mean(axis=1), spectrograms.std(axis=1)], axis=-1)


def audio_feature_named(name: str = "logmel", model_dir: str | None = None) -> AudioFeature | None:
    """A feature of sound, ready to compute; None for the name "none".

    Args:
        name: a registered one ("logmel", "vggish", those of plugins), or "none".
        model_dir: folder of Google's files, for vggish.

    Raises:
        UserError: there is none, or its weights cannot be loaded.
    """
    if name == NO_FEATURE:
        return None
    if name not in AUDIO_FEATURES.names():
        raise UserError(f"Unknown audio feature '{name}'. Known: {', '.join((*AUDIO_FEATURES.names(), NO_FEATURE))}.")
    return AUDIO_FEATURES.get(name)(model_dir)

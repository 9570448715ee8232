"""Log mel spectrograms as VGGish takes them."""

import functools

import numpy as np

RATE = 16000  # samples a second
BANDS = 64
_WINDOW, _HOP, _FFT = 400, 160, 512  # 25 ms every 10 ms
_LOWEST, _HIGHEST = 125.0, 7500.0  # Hz
_OFFSET = 0.01


def log_mel_spectrograms(seconds: np.ndarray) -> np.ndarray:
    """The spectrogram of each second of sound by itself.

    Args:
        seconds: float (seconds, 16000) in [-1, 1].

    Returns:
        float64 (seconds, 98, 64): windows of 25 ms that begin every 10 ms, mel bands from 125 to 7500 Hz.

    Source: `mel_features.py` and `vggish_params.py` of VGGish: magnitudes under a periodic Hann window, log(x + 0.01).
    """
    views = np.lib.stride_tricks.sliding_window_view(seconds.astype(np.float64), _WINDOW, axis=-1)[:, ::_HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    magnitudes = np.abs(np.fft.rfft(views * hann, _FFT))
    return np.log(magnitudes @ _bands() + _OFFSET)


@functools.cache
def _bands() -> np.ndarray:
    """How much of each frequency is in each band, (257, 64): triangles on the mel scale."""
    frequencies = _mel(np.linspace(0.0, RATE / 2, _FFT // 2 + 1))[:, np.newaxis]
    edges = np.linspace(_mel(_LOWEST), _mel(_HIGHEST), BANDS + 2)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    bands = np.minimum((frequencies - low) / (middle - low), (high - frequencies) / (high - middle))
    bands[0] = -1.0  # the mean of the sound is in none
    return np.maximum(bands, 0.0)


def _mel(hertz):
    return 1127.0 * np.log(1.0 + hertz / 700.0)

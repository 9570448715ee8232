"""Mixup: each video of a batch becomes a mixture of itself and another one, frames and labels alike.

The shares, and who is mixed with whom, follow from the seed of the epoch and the videos' ids, so that a resumed
training mixes as one that was never stopped. Frames stay bytes: what these stand for is linear in them, so a mixture of
bytes is one of dequantized frames, rounded as all features are. Teacher and student, who read the same batch, see the
same mixture.
"""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

PARTS = 256  # shares are multiples of 1 / 256, so that mixing bytes is exact in 16 bits before it is rounded


def drawn_shares(keys: Sequence[bytes], alpha: float, seed: int) -> np.ndarray:
    """How much of each mixture is the video itself, in parts of 256, at least half: int (batch,) in [128, 256].

    Args:
        keys: of the videos; with `seed` they decide.
        alpha: above 0: the share is the larger one of x and 1 - x, where x is drawn from Beta(alpha, alpha).
        seed: 0 or more.

    Source: Zhang et al., "mixup" (2018); a share for each video, and the larger one its own, as Schmid et al.
        (EfficientAT, 2022) have it for AudioSet.
    """
    drawn = [np.random.default_rng((seed, zlib.crc32(key), 1)).beta(alpha, alpha) for key in keys]
    shares = np.nan_to_num(drawn, nan=0.0)  # alpha so small that all is 0 or 1
    return np.rint(PARTS * np.maximum(shares, 1 - shares)).astype(np.int64)


def drawn_partners(keys: Sequence[bytes], seed: int) -> np.ndarray:
    """The video that each one is mixed with, int (batch,): the next one in a random circle, so itself only if alone.

    Args:
        keys: of the videos; with `seed` they decide.
        seed: 0 or more.
    """
    circle = np.random.default_rng((seed, zlib.crc32(b"\n".join(keys)), 2)).permutation(len(keys))
    partners = np.empty(len(keys), np.int64)
    partners[circle] = np.roll(circle, -1)
    return partners


def mixed(batch: Mapping[str, np.ndarray], keys: Sequence[bytes], alpha: float, seed: int) -> dict[str, np.ndarray]:
    """A batch whose videos are mixed with each other.

    A mixture has as many frames as the video that has the larger share; frame t of n is mixed with the frame of the
    other video, of m, at the same part of its length, (2t + 1) m // (2n). So no frame is ever mixed with padding. A
    video without frames stays empty, and nothing is mixed with it. The student's indices stay, and are now those of
    frames of the mixture.

    Args:
        batch: "frames", "num_frames", "labels" and, where there are, "label_weights"; see `batches.all_frames`.
        keys: of the videos.
        alpha: as for `drawn_shares`.
        seed: as for `drawn_shares`.

    Returns:
        The batch with mixed "frames", of the same type, and "labels" float32, in [0, 1]. Where labels have weights, the
        loss, which is linear in the labels, is that of both videos by their shares: weights are mixed, and labels by
        weight.
    """
    partners, shares = drawn_partners(keys, seed), drawn_shares(keys, alpha, seed)
    counts = batch["num_frames"]
    shares = np.where((counts > 0) & (counts[partners] > 0), shares, PARTS)
    frames = np.copy(batch["frames"])
    for row, (partner, share, count) in enumerate(zip(partners, shares, counts.tolist(), strict=True)):
        if share < PARTS:
            places = (2 * np.arange(count) + 1) * int(counts[partner]) // (2 * count)
            frames[row, :count] = _mixture(batch["frames"][row, :count], batch["frames"][partner, places], int(share))
    return {**batch, "frames": frames, **_mixed_labels(batch, partners, (shares / PARTS).astype(np.float32))}


def _mixture(own: np.ndarray, other: np.ndarray, share: int) -> np.ndarray:
    if own.dtype != np.uint8:  # prepared vectors of the video level
        return (own * share + other * (PARTS - share)) / np.float32(PARTS)
    whole = own * np.uint16(share) + other * np.uint16(PARTS - share)  # at most 255 * 256
    return ((whole + np.uint16(PARTS // 2)) >> 8).astype(np.uint8)


def _mixed_labels(batch: Mapping[str, np.ndarray], partners: np.ndarray, shares: np.ndarray) -> dict[str, np.ndarray]:
    share = shares[:, np.newaxis]
    labels = batch["labels"].astype(np.float32)
    if "label_weights" not in batch:
        return {"labels": share * labels + (1 - share) * labels[partners]}
    own, other = share * batch["label_weights"], (1 - share) * batch["label_weights"][partners]
    weights = own + other
    whole = own * labels + other * labels[partners]
    return {"labels": np.divide(whole, weights, out=np.zeros_like(whole), where=weights > 0), "label_weights": weights}

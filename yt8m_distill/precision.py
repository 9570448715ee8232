"""The number format in which a trained model computes."""

import logging
import pathlib

import tensorflow as tf

log = logging.getLogger(__name__)

DTYPE_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # Keras's, by --precision
BFLOAT16_UNITS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # as Linux calls them; the last one on Arm


def has_bfloat16_units(cpu_info: str = "/proc/cpuinfo") -> bool:
    """Whether there is a GPU, or a processor that multiplies bfloat16 numbers by itself.

    Args:
        cpu_info: Linux's description of the processors; where there is none, the answer is no.
    """
    if tf.config.list_physical_devices("GPU"):
        return True
    try:
        words = set(pathlib.Path(cpu_info).read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return not BFLOAT16_UNITS.isdisjoint(words)


def warn_where_slow(precision: str):
    """Says so where the precision costs time instead of saving it."""
    if precision == "bfloat16" and not has_bfloat16_units():
        log.warning("This processor has no bfloat16 units: --precision=bfloat16 will be slower than float32 here.")

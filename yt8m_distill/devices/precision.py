"""The number format in which a model computes."""

import logging
import pathlib

import tensorflow as tf

log = logging.getLogger(__name__)

# Keras's, by --precision
DTYPE_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# As Linux calls them; the last one of each on Arm.
UNITS = {
    "bfloat16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "float16": frozenset({"avx512_fp16", "amx_fp16", "asimdhp"}),
}


def has_units(precision: str, cpu_info: str = "/proc/cpuinfo") -> bool:
    """Whether there is a GPU, or a processor that multiplies numbers of 16 bits by itself.

    Args:
        precision: "bfloat16" or "float16".
        cpu_info: Linux's description of the processors; where there is none, the answer is no.
    """
    if tf.config.list_physical_devices("GPU"):
        return True
    try:
        words = set(pathlib.Path(cpu_info).read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return not UNITS[precision].isdisjoint(words)


def warn_where_slow(precision: str):
    """Says so where the precision costs time instead of saving it."""
    if precision in UNITS and not has_units(precision):
        log.warning(
            "This processor has no %s units: --precision=%s will be slower than float32 here.", precision, precision
        )

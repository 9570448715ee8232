"""Number formats of the computation, and whether the machine has units for them."""

import logging
import pathlib

import tensorflow as tf

log = logging.getLogger(__name__)

# Keras dtype policies by precision.
DTYPE_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# Flags of processors in /proc/cpuinfo; the last one of each is of Arm.
UNITS = {
    "bfloat16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "float16": frozenset({"avx512_fp16", "amx_fp16", "asimdhp"}),
}


def has_units(precision: str, cpu_info: str = "/proc/cpuinfo") -> bool:
    """Whether there is a GPU, or a processor with units for 16-bit numbers.

    Args:
        precision: "bfloat16" or "float16".
        cpu_info: the file in which Linux describes the processors; without it, the answer is no.
    """
    if tf.config.list_physical_devices("GPU"):
        return True
    try:
        words = set(pathlib.Path(cpu_info).read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return not UNITS[precision].isdisjoint(words)


def warn_where_slow(precision: str):
    """Warns where a precision is slower than float32."""
    if precision in UNITS and not has_units(precision):
        log.warning(
            "This processor has no %s units: --precision=%s will be slower than float32 here.", precision, precision
        )

"""Processes that run a module of this package."""

import os
import sys
from collections.abc import Mapping


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def module_environment(**variables: str) -> Mapping[str, str]:
    """The environment of a process that finds the modules which this one finds.

    Args:
        **variables: added to this process's own.
    """
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return {**os.environ, "PYTHONPATH": paths, **variables}

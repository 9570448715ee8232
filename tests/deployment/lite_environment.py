"""An environment with just the packages of the extra `serve-lite`, as far as a test can make one."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
# What the package imports and the extra lacks; tests/test_setup.py compares with setup.py.
LEFT_OUT = (
    *("apache_beam", "av", "h5py", "huggingface_hub", "keras", "matplotlib", "onnx", "sklearn", "tensorboard"),
    *("tensorflow", "tf2onnx"),
)
_START = f"import sys; sys.modules.update(dict.fromkeys({LEFT_OUT}))\n"  # importing any of them is an error


def run_lite(code: str, *arguments: str) -> subprocess.CompletedProcess:
    """Runs Python code in a process that cannot import what the extra lacks."""
    command = [sys.executable, "-c", _START + code, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)

"""What settings that name input may name: checked before TensorFlow is imported, which takes seconds.

A setting declares one of these functions as its `reads`. They look whether something is there, no more: whoever reads
it checks what is in it.
"""

import errno
import glob
import os

from yt8m_distill.errors import UserError
from yt8m_distill.files.patterns import check_pattern

CONFIG_FILE, REPORT_FILE = "config.json", "report.json"  # of a run directory
MANIFEST_FILE = "export.json"  # of an export


def check_videos(pattern: str, name: str):
    """Checks that there are files with videos: globs, files and folders, separated by commas.

    Args:
        pattern: of the files.
        name: of the setting, for errors; this holds for all functions here.

    Raises:
        UserError: nothing matches one of the parts, or it is not on this machine.
    """
    check_pattern(pattern, name)


def check_file(path: str, name: str):
    """Checks that there is a file.

    Raises:
        UserError: there is none, or a folder.
    """
    problem = errno.EISDIR if os.path.isdir(path) else errno.ENOENT
    if not os.path.exists(path) or os.path.isdir(path):
        raise UserError(f"{name}: '{path}' cannot be read: {os.strerror(problem)}.")


def check_path(path: str, name: str):
    """Checks that there is a file or folder.

    Raises:
        UserError: there is none.
    """
    if not os.path.exists(path):
        raise UserError(f"{name}: there is no '{path}'.")


def check_run(path: str, name: str):
    """Checks that there is a run directory, finished or running.

    Raises:
        UserError: there is none.
    """
    if not os.path.isfile(os.path.join(path, CONFIG_FILE)):
        raise UserError(f"{name}: '{path}' is not a run directory of train.py: it has no {CONFIG_FILE}.")


def check_finished_run(path: str, name: str):
    """Checks that there is a run directory of a training that has finished.

    Raises:
        UserError: there is none.
    """
    if not os.path.isfile(os.path.join(path, REPORT_FILE)):
        raise UserError(f"{name}={path} has no finished run (no {REPORT_FILE} in it).")


def check_checkpoint(path: str, name: str):
    """Checks that there is a checkpoint of TensorFlow 1, which has several files, or a folder.

    Raises:
        UserError: there is none.
    """
    if not os.path.exists(path) and not any(glob.iglob(f"{glob.escape(path)}.*")):
        raise UserError(f"{name}={path}: there is no checkpoint of this name.")


def check_export(path: str, name: str):
    """Checks that there is an export.

    Raises:
        UserError: there is none.
    """
    if not os.path.isfile(os.path.join(path, MANIFEST_FILE)):
        raise UserError(f"{name}: '{path}' is not an export: it has no {MANIFEST_FILE}.")

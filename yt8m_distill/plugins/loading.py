"""Plugins: the modules of users that `--plugins` names."""

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from yt8m_distill.errors import UserError


def load_plugins(modules: Sequence[str]):
    """Imports modules, which register what is in them.

    They are looked for as `python -m` does: also in the folder that the command is started in.

    Args:
        modules: dotted names.

    Raises:
        UserError: one cannot be imported.
    """
    for name in modules:
        imported(name, "plugin")


def imported(name: str, kind: str) -> ModuleType:
    """A module of a user, also from the folder that the command is started in.

    Args:
        name: dotted.
        kind: what it is, for the message.

    Raises:
        UserError: it cannot be imported.
    """
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except UserError:
        raise
    except Exception as error:  # whatever a module of somebody else's does
        raise UserError(f"the {kind} '{name}' cannot be imported: {type(error).__name__}: {error}.") from error


def check_loaded(values: Any, path: str):
    """Refuses a configuration that names plugins which this process has not imported.

    A configuration can be from elsewhere, so its plugins are never imported because it names them: only the user does
    that, by `--plugins`.

    Args:
        values: the parsed JSON of a configuration, of any form; "plugins" is a list of dotted names, or is missing.
        path: its file, for the message.

    Raises:
        UserError: a plugin has not been imported.
    """
    names = values.get("plugins") if isinstance(values, dict) else None
    if not isinstance(names, list):  # the check of all fields refuses what is neither a list nor missing
        return
    if any(name not in sys.modules for name in names if isinstance(name, str)):
        modules = ",".join(map(str, names))
        raise UserError(
            f"{path}: the plugins {modules} are needed, which are not part of yt8m_distill and are not imported unless "
            f"you ask for it. If you trust these modules, give --plugins={modules}."
        )

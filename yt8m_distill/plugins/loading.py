"""Imports the modules that `--plugins` names."""

import importlib
import os
import sys
from collections.abc import Sequence

from yt8m_distill.errors import UserError


def load_plugins(modules: Sequence[str]):
    """Imports modules, which register what is in them.

    They are looked for as `python -m` does: also in the folder that the command is started in.

    Args:
        modules: dotted names.

    Raises:
        UserError: one cannot be imported.
    """
    if modules and os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in modules:
        try:
            importlib.import_module(name)
        except UserError:
            raise
        except Exception as error:  # whatever a module of somebody else's does
            raise UserError(f"the plugin '{name}' cannot be imported: {type(error).__name__}: {error}.") from error

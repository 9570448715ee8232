"""The packages of the extra `video`."""

import importlib.util

from yt8m_distill.errors import UserError

EXTRA = "pip install 'yt8m_distill[video]'"


def check_packages():
    """Checks that films can be decoded.

    Raises:
        UserError: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise UserError(f"films need av, which decodes them: {EXTRA}.")

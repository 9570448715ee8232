"""The folder for what can be made or fetched again."""

import os
import pathlib


def user_cache() -> pathlib.Path:
    """`$XDG_CACHE_HOME/yt8m_distill`, or `~/.cache/yt8m_distill`; it need not exist."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "yt8m_distill"

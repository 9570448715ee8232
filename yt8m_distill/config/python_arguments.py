"""Errors for those who call functions: flags and fields are named as the arguments of these."""

import contextlib
import re
from collections.abc import Iterator

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.settings import SettingError
from yt8m_distill.errors import UserError

_OTHERWISE = {"--on_bad_record=skip": "skip_bad_records=True"}


@contextlib.contextmanager
def named_as_arguments() -> Iterator[None]:
    """Raises each UserError within again, with arguments in place of flags.

    Example:
        >>> try:
        ...     with named_as_arguments():
        ...         FrameSelection(k=0)
        ... except UserError as error:
        ...     print(error)
        student_frames must be at least 1 and at most 1000000000, not 0.
    """
    try:
        yield
    except UserError as error:
        text = error.in_terms_of(FrameSelection) if isinstance(error, SettingError) else str(error)
        for flag, argument in _OTHERWISE.items():
            text = text.replace(flag, argument)
        raise UserError(re.sub(r"--(\w+)", r"\1", text)) from error

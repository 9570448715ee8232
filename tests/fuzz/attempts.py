"""Trying what may be refused."""

from collections.abc import Callable
from typing import TypeVar

from yt8m_distill.errors import UserError

Result = TypeVar("Result")
LONGEST_MESSAGE = 10_000


def attempt(action: Callable[[], Result], refusal: type[Exception] = UserError) -> tuple[Result | None, str | None]:
    """The action's result and no message, or none and the message with which it refused; other errors are raised."""
    try:
        return action(), None
    except refusal as error:
        message = str(error)
    assert 0 < len(message) < LONGEST_MESSAGE
    return None, message

"""Checks that all settings share."""

import math

from yt8m_distill.errors import UserError


def joined(values: tuple[int | str, ...]) -> str:
    return ",".join(map(str, values))


def check_which(which: str | None):
    if which is not None:
        check_choice("--which", which, ("student", "teacher"))


def check_choice(flag: str, value: str, known: tuple[str, ...]):
    if value not in known:
        raise UserError(f"{flag}={value} is unknown; known are {', '.join(known)}.")


def check_list(flag: str, values: tuple[str, ...], known: tuple[str, ...]):
    if not values or len(set(values)) < len(values):
        raise UserError(f"{flag}={joined(values)} must be one or more of {', '.join(known)}, each once.")
    for value in values:
        check_choice(flag, value, known)


def check_minimum(flag: str, value: float | None, minimum: float):
    if value is not None and not minimum <= value < math.inf:
        raise UserError(f"--{flag} must be at least {minimum}, not {value}.")

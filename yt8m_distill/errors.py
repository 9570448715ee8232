"""The exceptions whose message is all that a user needs to see."""


class UserError(ValueError):
    """Wrong input, flag or file: the message says what was wrong, what is allowed and what to do.

    The scripts print the message alone, without a traceback, and exit with code 2.
    """


class Interrupted(Exception):
    """The user stopped the work (Ctrl-C, SIGTERM) and its state is saved; the scripts exit with code 1."""


class LostWorker(Exception):
    """Another process of the same training has gone; started again, all go on from the last checkpoint. Exit code 1."""


class TooManyBadRecords(Exception):
    """The work is done and its outputs are in place, but more of the input than allowed was skipped; exit code 1."""

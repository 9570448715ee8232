"""What is fuzzed: for each target its inputs and the check that must hold for every one of them."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import files, films, network_files, records, requests, texts, windows

LONGEST_SECONDS = 60  # for one input: more counts as a hang


@dataclass(frozen=True)
class Target:
    """One thing that reads input from elsewhere.

    Attributes:
        inputs: what it is given.
        check: raises where it does not do what it must.
        share: of the inputs of a long run, compared with the other targets'.
    """

    inputs: st.SearchStrategy
    check: Callable
    share: int


TARGETS = {
    "records": Target(records.RECORDS, records.check_record, 60),
    "video_level_records": Target(records.VIDEO_LEVEL_RECORDS, records.check_video_level_record, 10),
    "rated_records": Target(records.RATED_RECORDS, records.check_rated_record, 10),
    "windows": Target(windows.WINDOWS, windows.check_window, 10),
    "files": Target(files.FILES, files.check_file, 8),
    "films": Target(films.FILMS, films.check_film, 1),
    "network_files": Target(network_files.NETWORK_FILES, network_files.check_network_file, 4),
    "requests": Target(requests.REQUESTS, requests.check_request, 10),
    "configurations": Target(texts.CONFIGS, texts.check_config, 10),
    "run_files": Target(texts.RUN_FILES, texts.check_run_file, 8),
    "vocabularies": Target(texts.VOCABULARIES, texts.check_vocabulary, 8),
    "predictions": Target(texts.PREDICTIONS, texts.check_predictions, 6),
}


def run(name: str, examples: int, number: int | None = None):
    """Checks a target with so many inputs.

    Args:
        name: one of `TARGETS`.
        examples: how many.
        number: decides the inputs; None: other ones each time.

    Raises:
        Exception: what the check raised, with the smallest input that was found in its notes.
    """
    target = TARGETS[name]

    def check(example):
        with _no_hang():
            target.check(example)

    options = settings(
        max_examples=examples,
        deadline=None,  # a shared machine is slow at times; see _no_hang
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    test = given(target.inputs)(check)
    options(test if number is None else seed(number)(test))()


@contextlib.contextmanager
def _no_hang() -> Iterator[None]:
    def stop(number, frame):
        raise TimeoutError(f"not done after {LONGEST_SECONDS} seconds")

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)

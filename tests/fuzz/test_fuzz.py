"""A short run of every fuzz target; `python -m tests.fuzz` makes a long one."""

import pytest

from tests.fuzz.targets import TARGETS, run

pytestmark = pytest.mark.slow

EXAMPLES = {"records": 400, "files": 50, "films": 60}  # others, 200


@pytest.mark.parametrize("name", TARGETS)
def test_short_run(name):
    run(name, EXAMPLES.get(name, 200), number=1)

"""The examples in the package's docstrings give what they say."""

import doctest
import importlib

import pytest

from tests.test_architecture import PACKAGE, package_files

EXAMPLES = [name for name, path in package_files().items() if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name):
    module = importlib.import_module(f"{PACKAGE}.{name}")
    failed, attempted = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert attempted > 0
    assert failed == 0  # what was expected and found is in the captured output

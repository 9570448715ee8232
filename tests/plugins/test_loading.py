"""Plugins are imported when the user names them, and never because a file does."""

import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.plugins.loading import check_loaded, load_plugins


def test_plugins_are_found_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "plugin_of_a_test.py").write_text("VALUE = 7\n")
    (tmp_path / "broken_plugin_of_a_test.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path])
    load_plugins(["plugin_of_a_test"])
    check_loaded({"plugins": ["plugin_of_a_test"]}, "config.json")
    with pytest.raises(UserError, match="'broken_plugin_of_a_test' cannot be imported: ZeroDivisionError"):
        load_plugins(["broken_plugin_of_a_test"])
    with pytest.raises(UserError, match="'no_such_plugin' cannot be imported"):
        load_plugins(["no_such_plugin"])


def test_a_file_imports_nothing(tmp_path, monkeypatch):
    (tmp_path / "theirs_of_a_test.py").write_text("raise SystemExit('code has run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"config.json: .*give --plugins=theirs_of_a_test\.$"):
        check_loaded({"plugins": ["theirs_of_a_test"]}, "config.json")
    for others in ({}, {"plugins": []}, {"plugins": None}, {"plugins": "x"}, {"plugins": [1]}, [], None):
        check_loaded(others, "config.json")  # fields of another type are refused with all others

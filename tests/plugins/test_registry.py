import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.plugins.registry import Registry


def test_own_entries_follow_the_built_in_ones():
    registry = Registry("model", {"Built": "somewhere"})

    @registry.register()
    class Mine:
        pass

    assert registry.names() == ("Built", "Mine")
    assert registry.get("Mine") is Mine


def test_built_in_entries_are_imported_when_they_are_asked_for(tmp_path, monkeypatch):
    source = "from tests.plugins import test_registry\n\n@test_registry.LAZY.register()\nclass Late:\n    pass\n"
    (tmp_path / "built_in_of_a_test.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert LAZY.get("Late").__module__ == "built_in_of_a_test"


LAZY = Registry("class", {"Late": "built_in_of_a_test"})


def test_unknown_and_taken_names_are_refused():
    registry = Registry("loss", {"rep": "somewhere"})
    registry.register("mine")(len)
    registry.register("mine")(len)  # a module that is imported again
    with pytest.raises(UserError, match=r"Unknown loss 'yours'. Known: rep, mine."):
        registry.get("yours")
    with pytest.raises(UserError, match="registered twice"):
        registry.register("mine")(max)
    with pytest.raises(UserError, match="one of yt8m_distill"):
        registry.register("rep")(max)


def test_names_with_the_suffix_of_the_starter_code():
    registry = Registry("model", {}, suffix="Model")

    @registry.register()
    class Lstm:
        pass

    @registry.register()
    class TinyModel:
        pass

    assert registry.get("LstmModel") is registry.get("Lstm") is Lstm
    assert registry.resolve("LstmModel") == "Lstm"
    assert registry.get("TinyModel") is TinyModel
    assert registry.name_of(TinyModel) == "TinyModel"
    assert registry.name_of(len) is None
    with pytest.raises(UserError, match="Unknown model 'Tiny'"):
        registry.get("Tiny")

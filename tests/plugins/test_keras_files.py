"""`keras.models.load_model` after `import yt8m_distill`, whichever is imported first."""

import importlib
import inspect
import subprocess
import sys

import keras
import pytest

from tests.test_architecture import PACKAGE, ROOT
from yt8m_distill.models import NetVLAD
from yt8m_distill.plugins.keras_files import CLASSES, StandIn, announce_classes

LOAD = """
import sys, yt8m_distill
assert "keras" not in sys.modules
import keras
assert "yt8m_distill.models" not in sys.modules
model = keras.models.load_model(sys.argv[1])
print(type(model).__module__, model.classifier.kind, len(model.weights))
"""


def registered() -> dict:
    """The package's classes as Keras knows them; abstract and private ones are in no file."""
    prefix = f"{PACKAGE}>"
    entries = keras.saving.get_custom_objects().items()
    names = ((name.removeprefix(prefix), entry) for name, entry in entries if name.startswith(prefix))
    return {name: entry for name, entry in names if not (name.startswith("_") or inspect.isabstract(entry))}


def stored_model(path) -> NetVLAD:
    model = NetVLAD((6, 2), 5, clusters=4, hidden_size=8, classifier="moe")
    model.save(path)
    return model


def test_every_registered_class_is_listed():
    for module in CLASSES:
        importlib.import_module(f"{PACKAGE}.{module}")
    known = registered()
    assert known.keys() == {name for names in CLASSES.values() for name in names}
    assert not any(isinstance(entry, StandIn) for entry in known.values())
    for module, names in CLASSES.items():
        assert all(known[name].__module__.startswith(f"{PACKAGE}.{module}") for name in names)


def test_keras_that_is_imported_already_gets_stand_ins_which_give_way(tmp_path, monkeypatch):
    stored_model(tmp_path / "model.keras")
    known = keras.saving.get_custom_objects()
    monkeypatch.delitem(known, f"{PACKAGE}>NetVLAD")
    announce_classes()
    assert isinstance(registered()["NetVLAD"], StandIn)
    assert not isinstance(registered()["NeXtVLAD"], StandIn)
    # Its module has been imported, so that only the decorator is missing.
    monkeypatch.setattr(
        importlib, "import_module", lambda _: keras.saving.register_keras_serializable(PACKAGE)(NetVLAD)
    )
    assert isinstance(keras.models.load_model(tmp_path / "model.keras"), NetVLAD)
    assert registered()["NetVLAD"] is NetVLAD


@pytest.mark.slow
def test_keras_that_is_imported_later_knows_the_classes(tmp_path):
    model = stored_model(tmp_path / "model.keras")
    command = [sys.executable, "-c", LOAD, str(tmp_path / "model.keras")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["yt8m_distill.models.netvlad", "moe", str(len(model.weights))]

"""Exports are pushed to a hub, and models are fetched from it: by huggingface_hub, from a hub in this process."""

import sys

import pytest

from tests.deployment import model_hub
from yt8m_distill.config.deployment import ExportConfig
from yt8m_distill.config.settings import SettingError
from yt8m_distill.deployment import hub, predictor
from yt8m_distill.errors import UserError

EXPORT = {"README.md": "---\nlicense: mit\n---\n# A card\n", "export.json": "{}", "litert/float32.tflite": "new"}


@pytest.fixture
def server(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra hub")
    monkeypatch.setenv("HF_TOKEN", model_hub.TOKEN)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with model_hub.running() as running:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        yield running


@pytest.fixture
def export(tmp_path):
    for name, text in EXPORT.items():
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "export"


def test_what_is_pushed_is_fetched(server, export):
    hub.check_push("me/student")
    assert hub.push(export, "me/student", private=True) == f"{server.url}/me/student"
    assert server.private == {"me/student": True}
    assert server.cards == [EXPORT["README.md"]]
    folder = hub.fetch("hf://me/student")
    assert {name: (folder / name).read_text() for name in EXPORT} == EXPORT
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_files_of_a_former_export_are_removed(server, export):
    kept = {"notes.md": b"mine", ".gitattributes": b""}
    server.add("me/student", {**kept, "model.onnx": b"old", "saved_model/saved_model.pb": b"old"})
    hub.push(export, "me/student")
    assert set(server.at("me/student", "main")[1]) == {*kept, *EXPORT}


def test_one_file_of_a_revision(server):
    files = {"k3/export.json": b"{}", "k3/model.onnx": b"three", "k10/model.onnx": b"ten"}
    first = server.add("me/students", files)
    server.add("me/students", {**files, "k3/model.onnx": b"changed"})
    file = hub.fetch(f"hf://me/students@{first}/k3/model.onnx")
    assert file.read_bytes() == b"three"
    assert (file.parent / "export.json").exists()
    assert not (file.parents[1] / "k10").exists()
    assert hub.fetch("hf://me/students/k3").joinpath("model.onnx").read_bytes() == b"changed"
    server.repositories.clear()
    assert hub.fetch(f"hf://me/students@{first}/k3/model.onnx").read_bytes() == b"three"  # without the hub


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://student", "not of the form hf://OWNER/NAME"),
        ("hf://me/student/../../x", "not of the form"),
        ("hf://me/student", "'hf://me/student' could not be fetched: .*"),
        ("hf://me/there/model.onnx", "there is no 'model.onnx' in me/there at main"),
    ],
)
def test_what_is_not_there(server, address, message):
    server.add("me/there", {"export.json": b"{}"})
    with pytest.raises(UserError, match=message):
        hub.fetch(address)


def test_nothing_is_exported_for_who_may_not_push(server, monkeypatch):
    with pytest.raises(UserError, match="--push_to_hub=a/b/c: "):
        hub.check_push("a/b/c")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="--push_to_hub=me/student: "):
        hub.check_push("me/student")


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: hub.check_push("me/student"), lambda: predictor.load("hf://me/student")):
        with pytest.raises(UserError, match=r"pip install 'yt8m_distill\[hub\]'"):
            call()


def test_load_takes_an_address(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "fetch", lambda address: tmp_path / address.rpartition("/")[2])
    with pytest.raises(UserError, match=f"'{tmp_path}/student' does not exist"):
        predictor.load("hf://me/student")


def test_private_goes_with_a_repository():
    assert ExportConfig(train_dir="x", output_dir="y", push_to_hub="me/student", hub_private=True).hub_private
    with pytest.raises(SettingError, match="hub_private does nothing without push_to_hub"):
        ExportConfig(train_dir="x", output_dir="y", hub_private=True)

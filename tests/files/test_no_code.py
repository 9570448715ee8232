"""Files from elsewhere never bring code along: nothing in the package could run it."""

import ast
import json
import zipfile

import keras
import pytest

from tests.test_architecture import package_files, parse
from yt8m_distill.models.building import build_model

FORBIDDEN = {
    *("pickle", "marshal", "shelve", "dill", "joblib", "yaml", "subprocess", "load_model", "deserialize_keras_object"),
    *("eval", "exec", "__import__", "import_module", "enable_unsafe_deserialization", "system"),
}
ALLOWED = {
    # Of this package's own modules.
    **{
        name: {"import_module"}
        for name in ("", "__main__", "data", "metrics", "plugins.keras_files", "plugins.registry")
    },
    "cli.startup": {"subprocess"},  # of grep, on lines of TensorFlow
    "models.video_model": {"deserialize_keras_object"},  # in Keras's own loading, and its safe mode
    "plugins.loading": {"import_module"},  # of modules that the user has named
    "serving.parser_pool": {"subprocess"},  # of this package's own module
    "video.backbones.model_file": {"load_model"},  # in Keras's safe mode, of models without code in them
    "video.backbones.torch_file": {"pickle"},  # an unpickler that knows tensors only
    "tf1.checkpoint": {"subprocess"},  # of this package's own module
}


def _names(tree: ast.AST) -> set[str]:
    """Everything that is called or imported."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found.add(getattr(node.func, "attr", getattr(node.func, "id", "")))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {part for alias in node.names for part in alias.name.split(".")}
            found |= set((getattr(node, "module", None) or "").split("."))
    return found


def test_nothing_in_the_package_runs_what_it_reads():
    unsafe = {"allow_pickle": True, "safe_mode": False}
    offenders = []
    for module, path in package_files().items():
        tree = parse(path)
        offenders += [f"{module}: {name}" for name in _names(tree) & FORBIDDEN - ALLOWED.get(module, set())]
        keywords = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg in unsafe]
        offenders += [f"{module}: {k.arg}" for k in keywords if getattr(k.value, "value", None) == unsafe[k.arg]]
    assert offenders == []


def test_keras_files_with_code_are_refused_by_its_safe_mode(tmp_path, capsys):
    model = build_model("NetVLAD", feature_sizes=(6, 2), num_classes=10, clusters=4, hidden_size=8)
    model.save(tmp_path / "model.keras")
    code = keras.saving.serialize_keras_object(keras.layers.Lambda(lambda x: print("code has run") or x))
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["classifier_layer"] = code
    with zipfile.ZipFile(tmp_path / "hostile.keras", "w") as archive:
        for name, content in {**parts, "config.json": json.dumps(config).encode()}.items():
            archive.writestr(name, content)
    with pytest.raises((ValueError, TypeError), match="safe_mode"):
        keras.models.load_model(tmp_path / "hostile.keras")
    assert "code has run" not in capsys.readouterr().out

"""Holds the code to the import table of docs/architecture.md: imports run one way only."""

import ast
import graphlib
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "yt8m_distill"
SCRIPTS = ("train.py", "eval.py", "inference.py")


@dataclass(frozen=True)
class Row:
    """What a module, or every module of a package, may import besides the standard library, `errors` and itself.

    An entry allows the name and everything below it: "keras" also allows "keras.ops", but "absl.app" not "absl.flags".
    """

    own: frozenset[str] = frozenset()
    installed: frozenset[str] = frozenset()


def row(own: str = "", installed: str = "") -> Row:
    return Row(frozenset(own.split()), frozenset(installed.split()))


RUNNING = "accelerators config data dataset_spec losses metrics models precision run_dir trained_model"
RUNNING_INSTALLED = "keras numpy tensorboard tensorflow tqdm"

TABLE = {
    # Described once, known to many.
    "errors": row(),
    "dataset_spec": row(),
    "config": row("dataset_spec"),
    "recipes": row("config"),
    # The command line: flags are known to `cli` alone, and `commands` runs one thing.
    "cli": row("config dataset_spec experiments.run_file", "absl"),
    "commands": row(
        "beam_pipeline cli compute_table conversion deployment.exporting evaluation experiments.runner prediction "
        "prediction_parts segment_evaluation serving.service thinning training verification",
        "absl.app",
    ),
    "experiment": row("commands"),
    "export": row("commands"),
    "serve": row("commands"),
    "thin": row("commands"),
    "verify": row("commands"),
    "merge_predictions": row("commands"),
    "beam_inference": row("commands"),
    "segment_eval": row("commands"),
    "flops": row("commands compute"),
    # Input.
    "quantization": row("", "keras numpy"),
    "frame_selection": row("config", "numpy"),
    "data": row("config dataset_spec frame_selection quantization", "google_crc32c numpy tensorflow tqdm"),
    # Networks: nothing here knows where frames come from, what a loss is or what a flag is.
    "replicas": row("", "keras tensorflow"),
    "layers": row("replicas", "keras numpy"),
    "models": row("layers quantization", "keras numpy"),
    "compute": row("models", "keras"),
    "reference_weights": row("layers models", "keras numpy"),
    "convert_checkpoint": row("commands reference_weights"),
    "original_models": row("models reference_weights"),
    "tf1_checkpoint": row("checked_files", "numpy tensorflow"),
    "conversion": row(
        "compute config dataset_spec models original_models quantization recipes reference_weights report run_dir "
        "tf1_checkpoint trained_model"
    ),
    # Training signals. A distiller is handed built models.
    "losses": row("", "keras numpy"),
    "distiller": row("config losses replicas", "keras tensorflow"),
    # Numbers and text from finished predictions.
    "metrics": row("", "numpy"),
    "predictions_csv": row("resumable_files", "numpy"),
    "resumable_files": row(),
    "segments_csv": row("predictions_csv resumable_files", "numpy"),
    # Runs.
    "checked_files": row("", "h5py numpy"),
    "run_dir": row("checked_files config dataset_spec", "keras numpy tensorflow"),
    "precision": row("", "tensorflow"),
    "accelerators": row("data layers", "keras numpy tensorflow"),
    "trained_model": row("checked_files config dataset_spec models precision run_dir", "keras numpy"),
    "run_setup": row("config data dataset_spec models recipes run_dir trained_model"),
    "evaluation": row(RUNNING, RUNNING_INSTALLED),
    "report": row("compute config data evaluation metrics run_dir trained_model"),
    "prediction_parts": row("config predictions_csv resumable_files", "numpy"),
    "prediction": row(f"{RUNNING} evaluation prediction_parts predictions_csv segments_csv", RUNNING_INSTALLED),
    "beam_pipeline": row(
        "checked_files config data dataset_spec evaluation prediction prediction_parts predictions_csv trained_model",
        "apache_beam numpy",
    ),
    "segment_evaluation": row("config data dataset_spec predictions_csv run_dir segments_csv", "numpy tqdm"),
    "compute_table": row("compute config dataset_spec models trained_model", "keras"),
    "thinning": row("config data dataset_spec frame_selection run_dir", "numpy tqdm"),
    "verification": row("config data dataset_spec run_dir", "tqdm"),
    "deployment": row(
        "checked_files compute config data dataset_spec evaluation frame_selection layers metrics predictions_csv "
        "run_dir trained_model",
        "ai_edge_litert keras numpy onnx onnxruntime tensorflow tf2onnx",
    ),
    "serving": row(
        "checked_files config data dataset_spec deployment.description deployment.runners predictions_csv",
        "fastapi numpy uvicorn",
    ),
    "training_logs": row("", "tensorflow"),
    "optimizers": row("config", "keras"),
    "teacher_cache": row(
        "config data dataset_spec evaluation resumable_files run_dir trained_model", "numpy tensorflow"
    ),
    "distribution": row("config data", "tensorflow"),
    "training": row(
        f"{RUNNING} distiller distribution evaluation optimizers quantization replicas report run_setup teacher_cache "
        "training_logs",
        RUNNING_INSTALLED,
    ),
    "experiments": row(
        "checked_files compute config data evaluation metrics predictions_csv report run_dir run_setup trained_model "
        "training",
        "keras matplotlib numpy sklearn tensorboard tensorflow tqdm",
    ),
}
SCRIPT_ROW = row("commands")


def parse(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def package_files() -> dict[str, pathlib.Path]:
    """Every module of the package by its name without the package's: "data.readers"; "layers" is its __init__.py."""
    files = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        files[".".join(part for part in parts if part != "__init__")] = path
    return files


def imported_names(tree: ast.AST) -> Iterator[str]:
    """The full dotted name of everything imported anywhere in a module, functions included.

    `from keras import ops` gives "keras.ops"; a name taken from a module is given with the module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; write the package's name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed_by(entries: frozenset[str], name: str) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in entries)


def violations(tree: ast.AST, allowed: Row, itself: str = "") -> list[str]:
    """The imports that `allowed` has no entry for."""
    own = allowed.own | {"errors", itself}
    found = []
    for name in imported_names(tree):
        top, _, rest = name.partition(".")
        if top == PACKAGE:
            permitted = allowed_by(own, rest)
        else:
            permitted = top in sys.stdlib_module_names or allowed_by(allowed.installed, name)
        if not permitted:
            found.append(name)
    return found


def modules_of_table() -> list[str]:
    """The modules a row is for; the package's own __init__.py has none, it imports nothing."""
    return [name for name in package_files() if name]


@pytest.mark.parametrize("name", modules_of_table())
def test_imports_of_module_are_in_the_table(name):
    key = name.partition(".")[0]
    assert key in TABLE, (
        f"{PACKAGE}.{name} has no row in the import table: add a row to TABLE in tests/test_architecture.py that names "
        "what it may import, and describe the module in docs/architecture.md"
    )
    found = violations(parse(package_files()[name]), TABLE[key], itself=key)
    assert not found, f"{PACKAGE}.{name} imports {found}; its row allows {TABLE[key]}"


def test_package_itself_imports_nothing():
    assert list(imported_names(parse(package_files()[""]))) == []


def test_every_row_has_a_module():
    assert sorted(TABLE.keys() - {name.partition(".")[0] for name in modules_of_table()}) == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_import_commands_only(script):
    assert violations(parse(ROOT / script), SCRIPT_ROW) == []


def test_no_module_imports_itself_by_a_detour():
    files = package_files()
    graph = {name: {resolve(imported, files) for imported in own_imports(path)} for name, path in files.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which shows the circle


def own_imports(path: pathlib.Path) -> Iterator[str]:
    """Names imported from the package, without the package's name."""
    prefix = f"{PACKAGE}."
    return (name.removeprefix(prefix) for name in imported_names(parse(path)) if name.startswith(prefix))


def resolve(name: str, files: dict[str, pathlib.Path]) -> str:
    """The module that holds `name`: "layers.netvlad.NetVLADPooling" is in "layers.netvlad"."""
    while name not in files:
        name = name.rpartition(".")[0]
    return name


def test_help_needs_no_tensorflow():
    code = f"import sys, {PACKAGE}.commands; print([n for n in ('keras', 'tensorflow') if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]", "commands must import training, evaluation and prediction inside the mains"


@pytest.mark.parametrize("name", [name for name in modules_of_table() if name.startswith(("layers", "models"))])
def test_networks_contain_no_data_set_sizes(name):
    """300 is a property of one data set's videos, 1152 of its frames, 3862 and 4716 of its labels."""
    assert data_set_sizes(parse(package_files()[name])) == []


def data_set_sizes(tree: ast.AST) -> list[str]:
    sizes = {300, 1152, 3862, 4716}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [f"line {node.lineno}: {node.value}" for node in constants if node.value in sizes]


@pytest.mark.parametrize(
    ("key", "source", "expected"),
    [
        ("models", "import math\nfrom keras import ops\nfrom yt8m_distill.layers import ContextGating", []),
        ("models", "def f():\n    from yt8m_distill import losses", ["yt8m_distill.losses"]),
        ("models", "from yt8m_distill.data.readers import parse_record", ["yt8m_distill.data.readers.parse_record"]),
        ("models", "import tensorflow as tf", ["tensorflow"]),
        ("layers", "from yt8m_distill.models import NetVLAD", ["yt8m_distill.models.NetVLAD"]),
        ("cli", "from absl import flags", []),
        ("commands", "from absl import app, flags", ["absl.flags"]),
        ("metrics", "import numpy as np\nimport tensorflow.math\nfrom yt8m_distill.errors import UserError",
         ["tensorflow.math"]),
        ("distiller", "from yt8m_distill.models.registry import build_model",
         ["yt8m_distill.models.registry.build_model"]),
        ("evaluation", "from yt8m_distill.training import run_training", ["yt8m_distill.training.run_training"]),
        ("evaluation", "from yt8m_distill import metrics_of_mine", ["yt8m_distill.metrics_of_mine"]),
    ],
)  # fmt: skip
def test_table_refuses_what_it_does_not_name(key, source, expected):
    assert violations(ast.parse(source), TABLE[key], itself=key) == expected


def test_data_set_sizes_are_found():
    assert data_set_sizes(ast.parse('"""300"""\ndef f(frames=300, cells=1024): return 3862.0')) == [
        "line 2: 300",
        "line 2: 3862.0",
    ]

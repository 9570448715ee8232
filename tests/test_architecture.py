"""Checks that imports go down only: the floors of docs/architecture.md, and a handful of named exceptions."""

import ast
import graphlib
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PACKAGE = "yt8m_distill"
SCRIPTS = ("train.py", "eval.py", "inference.py")
COMMANDS = (
    "train eval inference export serve beam_inference merge_predictions segment_eval verify thin "
    "quantize extract_features beam_extract flops convert_checkpoint experiment"
)

# A module or folder may import whatever is on a floor below its own.
FLOORS = (
    "errors plugins",
    "choosing config files losses metrics quantization ranking",
    "devices data layers models distiller",
    "runs",
    "prediction",
    "evaluation",
    "training deployment",
    "tf1",
    "video",
    "experiments serving",
    "cli",
    COMMANDS,
    "__main__",
)
# What the package itself declares, which everything may import.
OF_THE_PACKAGE = {"__version__"}
# On one floor, only these may import each other.
NEIGHBORS = {
    ("plugins", "errors"),
    ("config", "files"),
    ("metrics", "ranking"),
    ("layers", "devices"),
    ("models", "devices"),
    ("models", "layers"),
    ("distiller", "devices"),
}
# These are kept from more than their floor says: the folder, and all of the package that it may import.
ONLY = {
    "cli": {"config", "files", "errors", "plugins"},
    "devices": {"config", "errors"},
    "layers": {"devices", "errors"},
}
# Libraries that a module or folder may import; who is not here may import any that the project depends on.
LIBRARIES = {
    "errors": set(),
    "plugins": set(),
    "config": set(),
    "choosing": {"numpy"},
    "files": {"h5py", "numpy", "tqdm"},
    "cli": {"absl"},
    "metrics": {"keras", "numpy", "tensorflow"},
    "ranking": {"numpy"},
    "losses": {"keras"},
    "quantization": {"keras", "numpy"},
    "layers": {"keras", "numpy"},
    "models": {"keras", "numpy"},
    **{command: set() for command in [*COMMANDS.split(), "__main__"]},
}
# The one module of networks that asks TensorFlow for its devices.
LIBRARY_EXCEPTIONS = {("models.xla", "tensorflow")}
NO_FLAGS_IN = ("layers", "models", "losses", "distiller")


def parse(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def package_files() -> dict[str, pathlib.Path]:
    """Every module of the package by its name without the package's: "data.reading"; "layers" is its __init__.py."""
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


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms.split())


def may_import(room: str, other: str) -> bool:
    """Whether the module or folder `room` may import from `other`."""
    if room == other:
        return True
    if room in ONLY and other not in ONLY[room]:
        return False
    return floor_of(other) < floor_of(room) or (room, other) in NEIGHBORS


def violations(name: str, tree: ast.AST) -> list[str]:
    """The imports of the module `name` that are not allowed."""
    room = name.partition(".")[0]
    found = []
    for imported in imported_names(tree):
        top, _, rest = imported.partition(".")
        if top == PACKAGE:
            allowed = rest in OF_THE_PACKAGE or may_import(room, rest.partition(".")[0])
        else:
            libraries = LIBRARIES.get(room)
            allowed = libraries is None or top in libraries or top in sys.stdlib_module_names
            allowed = allowed or (name, top) in LIBRARY_EXCEPTIONS
        if not allowed:
            found.append(f"{name}: {imported}")
    return found


def test_imports_go_down():
    found = [each for name, path in package_files().items() if name for each in violations(name, parse(path))]
    assert not found, "\n".join(["imports that the floors of docs/architecture.md do not allow:", *found])


def test_package_itself_imports_next_to_nothing():
    code = "import sys; before = set(sys.modules); import yt8m_distill; print(*sys.modules.keys() - before)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    others = {name.partition(".")[0] for name in result.stdout.split()} - sys.stdlib_module_names
    assert others == {PACKAGE}


def test_every_name_on_a_floor_exists():
    rooms = {name.partition(".")[0] for name in package_files() if name}
    assert {room for rooms in FLOORS for room in rooms.split()} == rooms


def test_the_map_is_the_listing():
    """docs/architecture.md has one line for each module."""
    listed, folder = set(), ""
    for line in ARCHITECTURE.read_text(encoding="utf-8").partition("\n## Floors")[0].splitlines():
        if heading := re.match(r"### `(\w+(?:/\w+)*)/`", line):
            folder = "" if heading[1] == PACKAGE else heading[1].replace("/", ".") + "."
        elif row := re.match(r"\| `(\w+)` \|", line):
            listed.add(folder + row[1])
    modules = {name for name, path in package_files().items() if path.name != "__init__.py"}
    assert (modules - listed, listed - modules) == (set(), set())


def test_the_page_shows_the_floors():
    table = ARCHITECTURE.read_text(encoding="utf-8").partition("\n## Floors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [\w ,]+ \| (`[^,;|]*)", table, re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == [set(rooms.split()) for rooms in reversed(FLOORS)]


def test_package_root_is_small():
    assert len(list((ROOT / PACKAGE).glob("*.py"))) <= 23


def test_scripts_import_a_command_each():
    for script in SCRIPTS:
        names = [name for name in imported_names(parse(ROOT / script)) if name.startswith(PACKAGE)]
        assert names == [f"{PACKAGE}.{script.removesuffix('.py')}.main"]


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
    modules = ", ".join(f"{PACKAGE}.{name}" for name in [*COMMANDS.split(), "__main__"])
    code = f"import sys, {modules}; print([n for n in ('keras', 'tensorflow') if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]", "commands must import what runs inside their mains"


def test_files_and_functions_are_short():
    """No file above 400 lines, no function above 50."""
    found = []
    for name, path in package_files().items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        found += [f"{name}: {lines} lines"] if lines > 400 else []
        functions = (node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef))
        found += [f"{name}.{f.name}: {length} lines" for f in functions if (length := f.end_lineno - f.lineno + 1) > 50]
    assert found == []


def test_networks_contain_no_data_set_sizes():
    """300 is a property of one data set's videos, 1152 of its frames, 3862 and 4716 of its labels."""
    found = {
        name: data_set_sizes(parse(path)) for name, path in package_files().items() if is_in(name, "layers models")
    }
    found.pop("models.cost")  # has the papers' counts for YouTube-8M beside its own
    assert {name: sizes for name, sizes in found.items() if sizes} == {}


def is_in(name: str, rooms: str) -> bool:
    return name.partition(".")[0] in rooms.split()


def data_set_sizes(tree: ast.AST) -> list[str]:
    sizes = {300, 1152, 3862, 4716}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [f"line {node.lineno}: {node.value}" for node in constants if node.value in sizes]


def test_networks_and_losses_name_no_flags():
    """They are used from Python, too: a message names the argument, and the command line adds the flag."""
    found = [
        f"{name}: {flag}"
        for name, path in package_files().items()
        if is_in(name, " ".join(NO_FLAGS_IN))
        for flag in flags_in(parse(path))
    ]
    assert found == []


def flags_in(tree: ast.AST) -> list[str]:
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [flag for text in texts for flag in re.findall(r"--[a-z]\w*", text)]


def test_violations_are_found():
    cases = {
        ("models.netvlad", "import math\nfrom keras import ops\nfrom yt8m_distill.layers import ContextGating"): [],
        ("models.netvlad", "def f():\n    from yt8m_distill import data"): ["models.netvlad: yt8m_distill.data"],
        ("models.netvlad", "import tensorflow as tf"): ["models.netvlad: tensorflow"],
        ("layers.gating", "from yt8m_distill.config.frames import FrameSelection"): [
            "layers.gating: yt8m_distill.config.frames.FrameSelection"
        ],
        ("layers.gating", "from yt8m_distill.models import NetVLAD"): ["layers.gating: yt8m_distill.models.NetVLAD"],
        ("cli.flags", "from absl import flags\nfrom yt8m_distill.config.training import TrainConfig"): [],
        ("cli.flags", "from yt8m_distill.training import run"): ["cli.flags: yt8m_distill.training.run"],
        ("evaluation.run", "from yt8m_distill.training.run import run_training"): [
            "evaluation.run: yt8m_distill.training.run.run_training"
        ],
    }
    for (name, source), expected in cases.items():
        assert violations(name, ast.parse(source)) == expected


def test_data_set_sizes_and_flags_are_found():
    assert data_set_sizes(ast.parse('"""300"""\ndef f(frames=300, cells=1024): return 3862.0')) == [
        "line 2: 300",
        "line 2: 3862.0",
    ]
    assert flags_in(ast.parse('f"--xla: {x}"\n"a --b -- c"')) == ["--b", "--xla"]

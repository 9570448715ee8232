"""The notebooks: without outputs, and their code runs, cell after cell, as in a fresh kernel."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# One process, which imports TensorFlow once; each notebook has names and a folder of its own.
RUN = """
import json, os, sys
for path in sys.argv[1:]:
    name = os.path.splitext(os.path.basename(path))[0]
    os.makedirs(name)
    os.chdir(name)
    names = {"__name__": "__main__"}
    with open(path, encoding="utf-8") as file:
        cells = [cell for cell in json.load(file)["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"{name}, code cell {number}", "exec"), names)
    os.chdir("..")
    with open(f"{name}.json", "w") as file:
        json.dump({key: names.get(key) for key in ("results", "labelled")}, file)
"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_outputs_are_stripped(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert cells[0]["cell_type"] == "markdown"
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
def test_they_run(tmp_path):
    assert [path.stem for path in NOTEBOOKS] == ["films_to_labels", "train_and_extend"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", RUN, *map(str, NOTEBOOKS)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    labelled, results = (json.loads((tmp_path / f"{path.stem}.json").read_text()) for path in NOTEBOOKS)
    kinds = [("ball", "stripes")[number % 2] for number in range(12)]
    assert sorted(best for ((best, _),) in labelled["labelled"]) == sorted(kinds)
    gaps = results["results"]
    assert len(gaps) == 4
    assert min(gaps.values()) > 0.4
    assert max(gaps.values()) == gaps["teacher, all frames"]
    listing = (tmp_path / "films_to_labels" / "predictions.csv.txt").read_text()
    assert listing.index("stripes") < listing.index("ball")

"""docs/extending.md: its plugin, its commands, and what happens where the plugin is not named."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from tests.helpers import TINY_FLAGS

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PLUGIN = "\n\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
SMALL = ["--num_classes=10", "--batch_size=16", "--num_epochs=2", "--base_learning_rate=0.01", *TINY_FLAGS]

pytestmark = pytest.mark.slow


def run(folder: pathlib.Path, words: list[str], *more: str) -> subprocess.CompletedProcess:
    """A command in a process of its own, so that the plugin's names do not stay in that of the tests."""
    script = [words[0]] if words[0].startswith("-") else [str(ROOT / words[0])]
    command = [sys.executable, *script, *words[1:], *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


ONE_AFTER_THE_OTHER = """
import contextlib, io, json, runpy, sys
for words in json.loads(sys.argv[1]):
    output = io.StringIO()
    start = runpy.run_path
    if words[0] == "-m":
        start, words = runpy.run_module, words[1:]
    sys.argv = words
    try:
        with contextlib.redirect_stdout(output):
            start(words[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code or 0
    print(json.dumps([code, output.getvalue()]))
    if code:
        break
"""


def run_all(folder: pathlib.Path, commands: list[list[str]]) -> list[str]:
    """What commands print that end well, one after the other in one process, which imports TensorFlow once."""
    scripts = [words if words[0] == "-m" else [str(ROOT / words[0]), *words[1:]] for words in commands]
    result = run(folder, ["-P", "-c", ONE_AFTER_THE_OTHER, json.dumps(scripts)])  # -P: only --plugins looks here
    ends = [json.loads(line) for line in result.stdout.splitlines()]
    assert [code for code, _ in ends] == [0] * len(commands), result.stderr[-3000:]
    return [text for _, text in ends]


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory) -> pathlib.Path:
    """A folder with the plugin and the data, in which the commands of the page have run."""
    path = tmp_path_factory.mktemp("extending")
    (path / "my_plugin.py").write_text(PLUGIN)
    (path / "data").symlink_to(data)
    run_all(path, [[*words, *(SMALL if words[0] == "train.py" else [])] for words in COMMANDS])
    return path


def test_the_callback_of_the_page_is_told_of_every_epoch(folder):
    news = [(folder / run / "news.txt").read_text().splitlines() for run in ("run/teacher", "run")]
    assert [line.partition(":")[0] for line in news[0]] == [f"Training the teacher, epoch {n}" for n in range(2)]
    assert [line.partition(":")[0] for line in news[1]] == [f"Distilling the student, epoch {n}" for n in range(2)]


def test_the_run_is_of_the_users_parts(folder):
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["plugins"] == ["my_plugin"]
    assert config["model"] == "MeanMlp"
    assert config["model_args"]["hidden_size"] == 16
    assert config["model_args"]["input_normalization"] == "signed_sqrt"
    assert config["selection"]["sampling"] == "every_second"
    assert config["distillation"]["losses"] == ["ce", "cosine"]
    assert config["distillation"]["loss_weights"] == {"ce": 1.0, "cosine": 2.0}
    metrics = json.loads((folder / "run" / "eval" / "metrics.json").read_text())
    assert metrics["model"] == "MeanMlp"
    assert metrics["GAP@20"] > 0.3
    assert len((folder / "predictions.csv").read_text().splitlines()) == 21
    assert json.loads((folder / "exported" / "export.json").read_text())["plugins"] == ["my_plugin"]


def without_plugins(words: list[str]) -> list[str]:
    return [word for word in words if not word.startswith("--plugins")]


@pytest.mark.parametrize("words", COMMANDS[1:], ids=lambda words: words[0])
def test_a_run_with_plugins_is_refused_where_they_are_not_named(folder, words):
    result = run(folder, without_plugins(words))
    assert result.returncode == 2
    assert "config.json: the plugins my_plugin are needed" in result.stderr
    assert "give --plugins=my_plugin" in result.stderr


def test_a_service_needs_the_plugin_of_the_frame_sampling(folder):
    code = (
        "import pathlib, sys\n"
        "from yt8m_distill.deployment.manifest import read_manifest\n"
        "from yt8m_distill.plugins.loading import load_plugins\n"
        "load_plugins(sys.argv[1:])\n"
        "print(read_manifest(pathlib.Path('exported')).selection.sampling)\n"
    )
    result = run(folder, ["-c", code])
    assert "export.json: the plugins my_plugin are needed" in result.stderr
    assert run(folder, ["-c", code], "my_plugin").stdout.strip() == "every_second"


def test_a_packed_model_imports_nothing(folder, tmp_path):
    """Its plugin lies in the working directory, and is not run all the same."""
    (tmp_path / "my_plugin.py").write_text("print('code has run')\n" + PLUGIN)
    packed = [f"--input_model_tgz={folder / 'model.tgz'}", f"--input_data_pattern={folder}/data/test*"]
    words = ["inference.py", *packed, "--output_file=predictions.csv"]
    result = run(tmp_path, words)
    assert result.returncode == 2
    assert f"{folder / 'model.tgz'}/config.json: the plugins my_plugin are needed" in result.stderr
    assert "give --plugins=my_plugin" in result.stderr
    assert "code has run" not in result.stdout
    result = run(tmp_path, words, "--plugins=my_plugin")
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / "predictions.csv").read_text() == (folder / "predictions.csv").read_text()


def test_the_model_is_a_keras_model(folder):
    code = (
        "import keras, my_plugin, numpy as np\n"
        "model = my_plugin.MeanMlp((6, 2), 5, hidden_size=8, input_normalization='signed_sqrt')\n"
        "model.save('model.keras')\n"
        "again = keras.models.load_model('model.keras')\n"
        "inputs = {'frames': np.full((2, 3, 8), 77, np.uint8), 'num_frames': np.array([3, 1])}\n"
        "np.testing.assert_array_equal(again(inputs)['predictions'], model(inputs)['predictions'])\n"
        "print(keras.saving.get_registered_name(type(again)))\n"
    )
    result = run(folder, ["-c", code])
    assert result.returncode == 0, result.stderr[-3000:]
    assert "my_plugin>MeanMlp" in result.stdout


def test_compute_that_a_model_does_not_state_is_unknown(data, tmp_path):
    text = re.sub(r"\n    def encoder_multiply_accumulates.*?\n\n", "\n\n", PLUGIN, flags=re.DOTALL)
    assert text != PLUGIN
    (tmp_path / "my_plugin.py").write_text(text)
    (tmp_path / "data").symlink_to(data)
    model = ["--plugins=my_plugin", "--model=MeanMlp"]
    files = ["--train_data_pattern=data/train*", "--eval_data_pattern=data/test*"]
    (tmp_path / "runs.toml").write_text('frames = [2]\n[[runs]]\nname = "all"\ntraining_mode = "baseline"\n')
    report, flops, *_ = run_all(
        tmp_path,
        [
            ["train.py", *model, *files, *SMALL, "--training_mode=teacher", "--train_dir=run"],
            ["-m", "yt8m_distill.flops", *model],
            ["-m", "yt8m_distill.export", model[0], "--train_dir=run", "--output_dir=x", "--formats=saved_model"],
            ["-m", "yt8m_distill.experiment", "--experiment=runs.toml", *model, *files, *SMALL, "--nomeasure_speed"],
        ],
    )
    assert json.loads((tmp_path / "run" / "report.json").read_text())["rows"][0]["multiply_accumulates"] is None
    assert "unknown" in report
    assert "unknown" in flops
    assert "- Multiply-accumulates: unknown for one video" in (tmp_path / "x" / "README.md").read_text()
    (table,) = tmp_path.glob("runs/*/results.md")
    assert "unknown" in table.read_text()

"""What happens before TensorFlow is there: its start-up lines are left out, and wrong input is refused without it."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.cli.commands import CONFIGS
from tests.test_architecture import ROOT
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.json import to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.settings import Setting, settings_of

# What TensorFlow 2.21 prints on a machine without a GPU; on one with a GPU; what it would say on an old processor.
BANNER = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"
NO_GPU = "I0000 00:00:1795909676.771256   30759 cudart_stub.cc:31] Could not find cuda drivers on your machine."
GUARD = "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow."
A_WARNING = "W0000 00:00:1795909676.771256   30759 cpu_allocator_impl.cc:83] Allocation exceeds 10% of free memory."
FACTORY = "E0000 00:00:1795909676.771256   30759 cuda_dnn.cc:8579] Unable to register cuDNN factory: already registered"
AN_ERROR = "E0000 00:00:1795909676.771256   30759 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)"
FATAL = "F0000 00:00:1795909676.771256   30759 cpu_feature_guard.cc:153] compiled to use AVX instructions"
OTHER = "FutureWarning: something else"
LINES = [BANNER, NO_GPU, GUARD, A_WARNING, FACTORY, AN_ERROR, OTHER]

STUB = f"import os\nos.write(2, {chr(10).join([*LINES, '']).encode()!r})\n"
START = """
import importlib.util
import sys
from yt8m_distill.cli.startup import quiet_tensorflow
quiet_tensorflow()
assert importlib.util.find_spec("tensorflow")  # as by who asks whether it is installed
import tensorflow
assert tensorflow.__spec__.loader is tensorflow.__loader__ and sys.meta_path == [
    finder for finder in sys.meta_path if type(finder).__module__ != quiet_tensorflow.__module__
]
print("Our first line.", file=sys.stderr)
"""


def started(folder: pathlib.Path, stub: str, **variables: str) -> subprocess.CompletedProcess:
    """A process that imports `stub` as TensorFlow."""
    (folder / "tensorflow.py").write_text(stub)
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **variables}
    return subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        (None, [AN_ERROR, OTHER]),
        ("0", LINES),
        ("1", [A_WARNING, FACTORY, AN_ERROR, OTHER]),
        ("2", [FACTORY, AN_ERROR, OTHER]),
        ("3", [AN_ERROR, OTHER]),
    ],
)
def test_start_up_lines_are_left_out_as_far_as_the_level_says(tmp_path, level, lines):
    result = started(tmp_path, STUB, **({"TF_CPP_MIN_LOG_LEVEL": level} if level else {}))
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines() == [*lines, "Our first line."]


def test_what_ends_the_process_is_shown(tmp_path):
    result = started(tmp_path, f"import os\nos.write(2, {FATAL.encode()!r} + b'\\n')\nos.abort()\n")
    assert result.returncode < 0
    assert FATAL in result.stderr
    result = started(tmp_path, "raise ImportError('no libcuda')")
    assert result.returncode == 1
    assert "ImportError: no libcuda" in result.stderr


CASES = """
import contextlib, importlib, io, json, sys
for module, arguments in json.load(sys.stdin):
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(error):
        code = importlib.import_module(f"yt8m_distill.{module}").main([module, *arguments])
    print(json.dumps([code, error.getvalue()]))
"""
RUN, TEACHER, DATA = "--train_dir=run", "--train_dir=teacher", "--train_data_pattern=data"
NOT_THERE = "nowhere' is not a run directory"
REFUSED = [
    ("train", ["--nonsense=1"], "Unknown command line flag 'nonsense'"),
    ("train", ["--model=NextVlad"], "Unknown model 'NextVlad'. Known: HierarchicalRNN"),
    ("train", ["--batch_size=0"], "--batch_size must be at least 1"),
    ("train", ["--training_mode=teacher", "--student_frames=3"], "--student_frames does nothing"),
    ("train", ["--train_data_pattern=nowhere/*.tfrecord"], "--train_data_pattern: no file matches 'nowhere/*"),
    ("train", [DATA, "--validation_data_pattern=a,b"], "--validation_data_pattern: no file matches 'a'"),
    ("train", [DATA, "--eval_data_pattern=gs://bucket/a"], "--eval_data_pattern: 'gs://bucket/a' is not on this"),
    ("train", ["--eval_data_pattern=data"], "--train_data_pattern is missing"),
    ("train", ["--validation_fraction=0.1"], "--validation_fraction: the sample data set has"),
    ("train", ["--segment_labels"], "--train_data_pattern is required for segment-level records"),
    ("train", [DATA, "--teacher_dir=run,run/.."], "--teacher_dir=run has no finished run"),
    ("train", [DATA, "--init_from=nowhere"], NOT_THERE),
    ("train", [DATA, "--input_normalization=unwhiten", "--eigenvalues=x.npy"], "--eigenvalues: 'x.npy' cannot be read"),
    ("eval", ["--train_dir=nowhere"], NOT_THERE),
    ("eval", [RUN, "--eval_data_pattern=nowhere"], "--eval_data_pattern: no file matches 'nowhere'"),
    ("eval", [RUN], "--eval_data_pattern is required: the run was trained without"),
    ("eval", [RUN, "--which=teacher"], "'run' has no teacher"),
    ("eval", [TEACHER, "--student_frames=3"], "--student_frames, --student_stride and --frame_sampling do not apply"),
    ("inference", ["--train_dir=nowhere", "--output_file=x.csv"], NOT_THERE),
    ("inference", ["--input_model_tgz=nowhere.tgz", "--output_file=x.csv"], "--input_model_tgz: 'nowhere.tgz' cannot"),
    ("inference", [RUN, "--output_file=x.csv", "--vocabulary=x"], "--vocabulary: 'x' cannot be read: No such file"),
    ("inference", [RUN, "--output_file=x.csv", "--segment_max_pred=3"], "have no effect without --segment_labels"),
    ("export", ["--train_dir=nowhere", "--output_dir=x"], NOT_THERE),
    ("export", [RUN, "--output_dir=run"], "exists, and 'config.json' is not part of an export"),
    ("export", [RUN, "--output_dir=x", "--which=teacher"], "'run' has no teacher"),
    ("serve", ["--model_dir=nowhere"], "--model_dir: 'nowhere' is not an export"),
    ("flops", ["--train_dir=nowhere"], NOT_THERE),
    ("flops", [RUN, "--which=teacher"], "'run' has no teacher"),
    ("experiment", ["--experiment=table1", DATA, "--eval_data_pattern=nowhere"], "--eval_data_pattern: no file"),
    ("experiment", ["--experiment=runs.toml"], "runs.toml, run 'a': --teacher_dir=nowhere has no finished run"),
    ("beam_inference", ["--train_dir=nowhere", "--output=x"], NOT_THERE),
    ("segment_eval", ["--submission_file=data", "--label_cache=x"], "--submission_file: 'data' cannot be read: Is a"),
    ("convert_checkpoint", ["--from=nowhere", "--train_dir=x"], "--from=nowhere: there is no checkpoint"),
    ("verify", ["nowhere"], "PATTERN: no file matches 'nowhere'"),
    ("thin", ["nowhere", "out"], "IN: no file matches 'nowhere'"),
    ("quantize", ["data", "out", "--ranges=x"], "--ranges: there is no 'x'"),
    ("merge_predictions", ["x.csv"], "no part matches x-*-of-*.csv"),
    ("extract_features", ["--videos=nowhere", "--output_dir=x", "--labels=y"], "--labels: 'y' cannot be read"),
    ("beam_extract", ["--videos=a", "--features=nowhere", "--output=x"], "--features: there is no 'nowhere'"),
]


def test_wrong_input_is_refused_without_tensorflow(tmp_path):
    spec = DatasetSpec("own", "id", ("rgb",), (4,), num_classes=3, max_frames=50)
    runs = {
        "run": RunConfig("NeXtVLAD", "baseline", selection=FrameSelection(3), data=spec),
        "teacher": RunConfig("NeXtVLAD", "teacher", selection=ALL_FRAMES, data=spec),
    }
    for name, config in runs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(to_json(config))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.tfrecord").touch()
    (tmp_path / "runs.toml").write_text('[[runs]]\nname = "a"\nteacher_dir = "nowhere"\n')
    for name in ("tensorflow", "keras"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('was imported')")
    result = subprocess.run(
        [sys.executable, "-c", CASES],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        input=json.dumps([case[:2] for case in REFUSED]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    for (module, arguments, message), (code, printed) in zip(REFUSED, answers, strict=False):
        assert (code, message in printed) == (2, True), f"{module} {arguments}: {code}, {printed}"
    assert len(answers) == len(REFUSED), result.stderr
    assert {case[0] for case in REFUSED} == {name.removesuffix(".py").rpartition(".")[2] for name in CONFIGS}


# Settings of files and folders that are written, or that need not be there; or are looked for elsewhere, too.
WRITTEN = {
    *("output_file", "output_dir", "runs_dir", "per_class_file", "output_model_tgz", "label_cache", "recipe_file"),
    "teacher_cache",
}


def names_a_path(rule: Setting) -> bool:
    by_name = re.search(r"(_dir|_file|_pattern|_tgz|_cache)$|^(vocabulary|labels|eigenvalues|ranges)$", rule.name)
    return bool(by_name) and rule.kind is str


@pytest.mark.parametrize("command", CONFIGS)
def test_settings_of_paths_declare_what_checks_them(command):
    rules = settings_of(CONFIGS[command])
    unchecked = {name for name, rule in rules.items() if names_a_path(rule) and rule.reads is None} - WRITTEN
    expected = {
        "train.py": {"train_dir"},  # written
        "yt8m_distill.convert_checkpoint": {"train_dir"},
        "yt8m_distill.beam_inference": {"input_data_pattern"},  # on any file system that Beam knows
        "yt8m_distill.experiment": {"train_dir"} & rules.keys(),
    }
    assert unchecked == expected.get(command, set())

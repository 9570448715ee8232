"""CSV and JSON files of any content: vocabularies, predictions, configurations, reports, positions."""

import copy
import csv
import dataclasses
import io
import json
import math
import pathlib
import tempfile
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.attempts import attempt
from tests.fuzz.records import CHANGES, mutated
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.json import from_json, from_values, to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation, Learning
from yt8m_distill.data.reading_order import Position
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.prediction.submission import HEADER, PredictionsWriter, format_readable, format_row
from yt8m_distill.prediction.vocabulary import load_vocabulary
from yt8m_distill.runs.checkpoints import Checkpoint
from yt8m_distill.training.checkpointing import Progress
from yt8m_distill.training.report import Report, Row

CONFIG = RunConfig(
    "NeXtVLAD",
    model_args={"clusters": 4, "dropout": 0.5, "classifier": "moe"},
    selection=FrameSelection(3, sampling="random"),
    distillation=Distillation(("ce", "rep"), {"rep": 2}),
    train_data_pattern="x*",
    data=DatasetSpec("AudioSet", "video_id", ("audio_embedding",), (128,), 527, 10),
    learning=Learning(batch_size=8, base_learning_rate=0.1),
)

_TEXT = st.text(max_size=12)
# Also what Python's parser takes beyond JSON, numbers that fit nowhere, and halves of characters.
_PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 400),
    st.sampled_from((2**31, 2**32, 2**63, -(2**63), 10**400, 10**400)),
    st.floats(),
    st.sampled_from((math.nan, math.inf)),
    st.text(st.characters(exclude_categories=()), max_size=8),
    st.sampled_from(("serial", "parallel", "teacher", "baseline", "rep", "uniform", "stride", "student")),
)
_NESTED = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_VALUES = st.one_of(_PLAIN, _PLAIN, _NESTED)
_EDITS = st.lists(
    st.tuples(st.sampled_from(("set", "set", "add", "remove")), st.integers(0, 2**16), _TEXT, _VALUES), max_size=3
)


def _edited(values: Any, edits: list[tuple]) -> Any:
    """A JSON value with some of the values within it replaced, added or removed."""
    values = copy.deepcopy(values)
    for how, place, name, value in edits:
        objects = list(_objects(values))
        if not objects:
            return value
        chosen = objects[place % len(objects)]
        keys = sorted(chosen)
        if how == "add" or not keys:
            chosen[name] = value
        elif how == "set":
            chosen[keys[place // len(objects) % len(keys)]] = value
        else:
            del chosen[keys[place // len(objects) % len(keys)]]
    return values


def _objects(values: Any):
    """All objects in a JSON value."""
    if isinstance(values, dict):
        yield values
        for inner in values.values():
            yield from _objects(inner)
    elif isinstance(values, list):
        for inner in values:
            yield from _objects(inner)


def json_texts(valid: Any) -> st.SearchStrategy[bytes]:
    """JSON files near a valid one, any JSON, and neither."""
    near = st.builds(lambda edits: json.dumps(_edited(valid, edits)).encode(), _EDITS)
    deep = st.builds(_deep, st.sampled_from((b"a", b"model_args")), st.sampled_from((300, 900, 30_000)))
    other = st.builds(lambda values: json.dumps(values).encode(), _VALUES)
    return st.one_of(near, near, st.builds(mutated, near, CHANGES), other, deep, st.binary(max_size=20))


def _deep(name: bytes, depth: int) -> bytes:
    return b'{"model": "x", "%s": {"a": %s%s}}' % (name, b"[" * depth, b"]" * depth)


CONFIGS = json_texts(json.loads(to_json(CONFIG)))


def check_config(text: bytes):
    """A configuration that is written and read again equal, or an error that names the file."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return
    config, message = attempt(lambda: from_json(decoded, "run/config.json"))
    if config is None:
        assert message.startswith("run/config.json")
    else:
        assert from_json(to_json(config), "again") == config
        arguments = [*config.model_args.values(), *config.student_model_args.values()]
        assert {type(value) for value in arguments} <= {bool, int, float, str}


_NAMES = st.dictionaries(
    st.integers(0, 5000), st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1
)
_CELLS = st.one_of(
    st.sampled_from(("index", "name", "Display_Name", "mid", "-1", "9" * 5000, "٣", "1e3")),
    _TEXT,
    st.integers().map(str),
)
_INDEX = st.one_of(st.integers(), st.sampled_from(("9" * 5000, " 7 ", "٣", "1_0", "+1", "0x1", "1.0", "")))
VOCABULARIES = st.one_of(
    st.builds(lambda names, changes: (None, mutated(_vocabulary(names), changes)), _NAMES, CHANGES),
    st.builds(lambda names: (names, _vocabulary(names)), _NAMES),
    st.builds(
        lambda rows: (None, "\n".join(map(",".join, rows)).encode(errors="surrogatepass")),
        st.lists(st.lists(_CELLS, min_size=1, max_size=3), max_size=4),
    ),
    st.builds(lambda content: (None, b"index,name\n" + content), st.binary(max_size=40)),
    st.builds(lambda index, name: (None, f"index,name\n{index},{name}\n".encode()), _INDEX, st.just("x")),
)


def _vocabulary(names: dict[int, str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([("Index", "Name"), *names.items()])
    return text.getvalue().encode()


def check_vocabulary(case: tuple[dict[int, str] | None, bytes]):
    """The names that were written, or some names, or an error that names the file."""
    expected, content = case
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(content)
        file.flush()
        names, message = attempt(lambda: load_vocabulary(file.name))
    if names is None:
        assert file.name in message
        assert expected is None
        return
    assert names
    assert all(index >= 0 and name for index, name in names.items())
    if expected is not None:
        assert names == {index: " ".join(name.split()) or f"class {index}" for index, name in expected.items()}
    listing = format_readable("id", np.linspace(0, 1, 3), names)
    assert len(listing.split("\n")) == 5, "a name breaks a line"


_SCORES = st.lists(st.floats(width=32) | st.sampled_from((0.0, 0.5, 1.0)), min_size=1, max_size=8)
_IDS = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=6),
    st.binary(max_size=6),
    st.sampled_from(("", "v", "\ud800", "a,b", 'a"b', "a\nb", b"\xff", "\u2028", "\0")),
)
PREDICTIONS = st.tuples(
    st.lists(_IDS, max_size=3), st.lists(_SCORES, min_size=1, max_size=3), st.integers(-1, 9), st.booleans()
)


def check_predictions(case: tuple[list, list, int, bool]):
    """A file that is read back to the ids and the best scores, or an error and no file."""
    ids, rows, top_k, double = case
    scores = np.array([(row * 8)[: len(rows[0])] for row in rows], np.float64 if double else np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "x.csv"
        _, message = attempt(lambda: _write(path, ids, scores, top_k))
        assert (message is not None) == _refusable(ids, scores, top_k)
        if message is not None:
            assert not list(pathlib.Path(folder).iterdir())
            return
        with open(path, encoding="utf-8", newline="") as file:
            header, *found = csv.reader(file)
    assert ",".join(header) + "\n" == HEADER
    assert [row[0] for row in found] == [_text(video_id) for video_id in ids]
    for (_, pairs), row in zip(found, scores, strict=True):
        _assert_best(pairs, row, top_k)
    assert [format_row(i, row, top_k) for i, row in zip(ids, scores, strict=True)] == [
        f"{row[0]},{row[1]}\n" for row in found
    ]


def _write(path: pathlib.Path, ids: list, scores: np.ndarray, top_k: int):
    with PredictionsWriter(path, top_k) as writer:
        writer.write(ids, scores)


def _refusable(ids: list, scores: np.ndarray, top_k: int) -> bool:
    unwritable = any(text is None or set(text) & set(',"\r\n') for text in map(_text, ids))
    return unwritable or len(ids) != len(scores) or top_k < 1 or not np.isfinite(scores).all()


def _text(video_id: str | bytes) -> str | None:
    """The id as text; None where there is none in UTF-8."""
    try:
        return video_id.decode() if isinstance(video_id, bytes) else video_id.encode().decode()
    except UnicodeError:
        return None


def _assert_best(pairs: str, scores: np.ndarray, top_k: int):
    numbers = pairs.split(" ")
    classes, written = [int(number) for number in numbers[::2]], [float(number) for number in numbers[1::2]]
    assert classes == sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:top_k]
    assert all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-300) for a, b in zip(written, scores[classes], strict=True))


REPORT = Report("runs/x", "x*", (Row("student", 3, 10, 100, {"GAP@20": 0.5, "examples": 20}),))
PROGRESS = Progress(best={"stage": 0, "GAP@20": 0.5}, train_files=[["a.tfrecord", 100]])
RUN_FILES = st.tuples(
    st.sampled_from(("report.json", "progress.json", "logs.json", "best.json")),  # see RUN_FILE_CHECKS
    st.one_of(
        *(
            json_texts(json.loads(json.dumps(valid)))
            for valid in (dataclasses.asdict(REPORT), dataclasses.asdict(PROGRESS), {"train/events": 7}, {"step": 5})
        )
    ),
)


def check_run_file(case: tuple[str, bytes]):
    """What a run directory's file says can be used, or an error names the file."""
    name, content = case
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        path.write_bytes(content)
        _, message = attempt(lambda: RUN_FILE_CHECKS[name](path))
    assert message is None or str(path) in message


def _check_report(path: pathlib.Path):
    report = Report.read(path)
    assert report.table().splitlines()[0].startswith("model")
    assert "yt8m_distill.eval" in report.next_commands()


def _check_progress(path: pathlib.Path):
    progress = from_values(Progress, Checkpoint(path.parent, 1).progress(), str(path))
    assert min(dataclasses.astuple(Position(*progress.position))) >= 0
    assert json.loads(json.dumps(dataclasses.asdict(progress))).keys() == vars(PROGRESS).keys()


def _check_log_sizes(path: pathlib.Path):
    assert all(size >= 0 for size in Checkpoint(path.parent, 1).log_sizes().values())


def _check_object(path: pathlib.Path):
    assert isinstance(read_json(path), dict)


RUN_FILE_CHECKS = {
    "report.json": _check_report,
    "progress.json": _check_progress,
    "logs.json": _check_log_sizes,
    "best.json": _check_object,
}

"""Segments as text: against the original's files, in bounded memory, and wrong files."""

import gzip
import itertools

import numpy as np
import pytest

from tests.helpers import load_case
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.data.batches import View
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.prediction.segments import SegmentsWriter, read_segments
from yt8m_distill.prediction.vocabulary import load_class_ids
from yt8m_distill.quantization import dequantize


def predictions_of(batch, case) -> np.ndarray:
    """The original's small model: logistic regression on the mean of l2-normalized frames."""
    frames = np.asarray(dequantize(batch["frames"]))
    real = np.arange(5) < batch["num_frames"][:, np.newaxis]
    frames = frames / np.linalg.norm(frames, axis=-1, keepdims=True) * real[..., np.newaxis]
    logits = frames.sum(axis=1) / batch["num_frames"][:, np.newaxis] @ case["weights"] + case["biases"]
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize(("key", "max_segments"), [("csv_segments", 100_000), ("csv_segments_max4", 4)])
def test_the_file_is_the_originals(tmp_path, key, max_segments):
    case = load_case("d_csv_segments")
    (tmp_path / "in.tfrecord").write_bytes(case["tfrecord"].tobytes())
    (tmp_path / "ids.csv").write_bytes(case["whitelist_file"].tobytes())
    overrides = SpecOverrides(("rgb", "audio"), tuple(case["feature_sizes"].tolist()), 12)
    videos = open_videos(str(tmp_path / "in.tfrecord"), "x", overrides)
    classes = load_class_ids(tmp_path / "ids.csv")
    assert classes == case["whitelist"].tolist()
    found = []
    with SegmentsWriter(tmp_path / "out.csv", top_k=6, max_segments=max_segments, classes=classes) as writer:
        for batch in videos.ordered_batches(View(in_segments=True), 4):
            found.append(predictions_of(batch, case))
            writer.write(batch["video_id"], batch["segment_start"], found[-1])
    np.testing.assert_allclose(np.concatenate(found), case["segment_predictions"], atol=1e-6)
    assert (tmp_path / "out.csv").read_bytes() == case[key].tobytes()
    assert writer.segments == len(case["segment_start"])


def test_the_best_of_many_in_bounded_memory(tmp_path):
    """Against sorting all of them; there are many equal scores, of which the first ones come first."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 50, (3000, 4)).astype(np.float32) / 50
    names = [f"v{i // 60}:{5 * (i % 60)}" for i in range(3000)]
    with SegmentsWriter(tmp_path / "out.csv", top_k=4, max_segments=70) as writer:
        for begin in range(0, 3000, 90):
            part = slice(begin, begin + 90)
            ids, starts = zip(*(name.split(":") for name in names[part]), strict=True)
            writer.write([each.encode() for each in ids], [int(start) for start in starts], scores[part])
            assert all(len(best._scores) <= 2 * 70 + 90 for best in writer._best.values())
    found = dict(read_segments(tmp_path / "out.csv"))
    for each in range(4):
        best = np.argsort(-scores[:, each], kind="stable")[:70]
        assert found[each] == [names[i] for i in best]


def test_compressed_and_read_again(tmp_path):
    with SegmentsWriter(tmp_path / "out.csv.gz", top_k=1) as writer:
        writer.write([b"ab", b"ab"], [0, 5], np.array([[0.2, 0.1], [0.3, 0.1]]))
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()) == b"Class,Segments\n0,ab:5 ab:0\n"
    assert list(read_segments(tmp_path / "out.csv.gz")) == [(0, ["ab:5", "ab:0"])]


def test_an_error_leaves_no_file(tmp_path):
    (tmp_path / "out.csv").write_text("earlier")
    with pytest.raises(UserError, match="not finite"), SegmentsWriter(tmp_path / "out.csv") as writer:
        writer.write([b"ab"], [0], np.array([[0.2, np.nan]]))
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "earlier"


@pytest.mark.parametrize("video_id", [b"a b", b"a,b", b"\xff", b"", "a\u2003b".encode()])
def test_ids_that_a_line_cannot_hold(tmp_path, video_id):
    with pytest.raises(UserError, match="video id"), SegmentsWriter(tmp_path / "out.csv") as writer:
        writer.write([video_id], [0], np.array([[0.2, 0.1]]))


@pytest.mark.parametrize("header", ["", "Class,Segments\n", "class,segments\r\n"])
def test_reading(tmp_path, header):
    (tmp_path / "x.csv").write_text(f"{header}3,a:0 b:5\n\n2,\n")
    assert list(read_segments(tmp_path / "x.csv")) == [(3, ["a:0", "b:5"]), (2, [])]


FORMS = {
    "all quoted": '"Class","Segments"\n"3","a:0 b:5"\n"2",""\n',
    "quoted lists": 'Class,Segments\n3,"a:0 b:5"\n2,\n',
    "semicolons": "Class;Segments\n3;a:0 b:5\n2;\n",
    "tabs, no header": "3\ta:0 b:5\n2\t\n",
    "Excel": "sep=|\r\nClass|Segments\r\n3|a:0 b:5\r\n2|\r\n",
    "floats": "Class,Segments\n3.0,a:0.0 b:5.\n2.0,\n",
    "index of pandas": ",Class,Segments\n0,3,a:0 b:5\n1,2,\n",
    "other order, zeros": "segments,class\na:00 b:05,3\n,2\n",
    "spaces": " Class , Segments\n\n3, a:0  b:5 \n2,\n",
    "empty columns": "Class,Segments,,\n3,a:0\tb:5,,\n2,,,\n,,,\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_other_programs(tmp_path, text, encoding):
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    assert list(read_segments(tmp_path / "x.csv")) == [(3, ["a:0", "b:5"]), (2, [])]


def test_a_long_line(tmp_path):
    segments = [f"v{i}:{5 * i % 300}" for i in range(200_000)]
    for quote in ("", '"'):
        (tmp_path / "x.csv").write_text(f"1,{quote}{' '.join(segments)}{quote}\n")
        assert list(read_segments(tmp_path / "x.csv")) == [(1, segments)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"1,a:0\nx,a:0\n", "line 2: 'x,a:0' is not CLASS"),
        (b"1 a:0\n", "line 1"),
        (b"-1,a:0\n", "line 1"),
        (b"9999999999,a:0\n", "line 1"),
        (b"1,a:0\n1,b:0\n", "line 2: class 1 occurs twice"),
        (b"1,\xff\n", "not a CSV text file in UTF-8"),
        (b"VideoId,LabelConfidencePairs\nab,1 0.5\n", "line 1"),
        (b"1,a:0,b:0\n", "line 1: segments are in several columns"),
        (b"1,a:0;b:0\n", "line 1: 'a:0;b:0' is not a segment"),
        (b"1,a:0|b:0|c:5\n", "line 1: .* is not a segment"),
        (b"1;a:0,b:0\n", "line 1: .* is not a segment"),
        (b"1,'a:0 b:0'\n", "line 1: .* is not a segment"),
        (b"1,\"['a:0', 'b:0']\"\n", "line 1: .* is not a segment"),
        (b"1,a:0 b:2.5\n", "line 1: 'b:2.5' is not a segment"),
        (b"1,a:-5\n", "line 1: 'a:-5' is not a segment"),
        (b"1,a b\n", "line 1: 'a' is not a segment"),
        (b"1.5,a:0\n", "line 1"),
        (b'1,a:0\n2,"b:0\n3,c:0\n', "not a CSV text file: after line 1"),
        (b"Class,Segments\n\n1\n", "line 3: '1' is not CLASS"),
    ],
)
def test_wrong_files(tmp_path, text, message):
    (tmp_path / "x.csv").write_bytes(text)
    with pytest.raises(UserError, match=message):
        list(read_segments(tmp_path / "x.csv"))


def test_missing_and_broken_files(tmp_path):
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"1,a:0" + b" b:5" * 1000)[:30])
    for name in ("nothing.csv", "x.csv.gz", "."):
        with pytest.raises(UserError, match="cannot be read"):
            list(itertools.islice(read_segments(tmp_path / name), 9))

"""The Beam pipeline writes the records of extract_features."""

import pytest

from tests.video.made_films import write_film
from yt8m_distill.beam_extract import main as beam_main
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.data.record_files import frames_of_file
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.extract_features import main as extract_main

pytestmark = pytest.mark.slow


def contents(folder):
    """The bytes of each record."""
    records = set()
    for path in sorted(folder.glob("films-*")):
        content = path.read_bytes()
        records |= {content[frame.offset : frame.end] for frame in frames_of_file(str(path))}
    return records


def test_the_same_records(tmp_path, capsys):
    (tmp_path / "films").mkdir()
    for number in range(4):
        write_film(tmp_path / "films", name=f"{number}.mp4", frames=40 + 10 * number, rate=10, sound="aac")
    (tmp_path / "films/none.mp4").write_bytes(b"no film")
    (tmp_path / "labels.csv").write_text("0,a\n1,b\n2,a\n3,b;c\n")
    films, labels = f"--videos={tmp_path}/films", f"--labels={tmp_path}/labels.csv"
    assert extract_main(["extract_features", films, labels, f"--output_dir={tmp_path}/one"]) == 0
    output = ["--student_frames=2", f"--features={tmp_path}/one"]
    assert extract_main(["extract_features", films, labels, f"--output_dir={tmp_path}/thin", *output]) == 0
    beam = tmp_path / "beam"
    assert beam_main(["beam_extract", films, labels, f"--output={beam}", "--output_shards=2", *output]) == 0
    assert contents(beam) == contents(tmp_path / "thin")
    assert len(contents(beam)) == 4
    for name in ("features.json", "features.images.npz", "vocabulary.csv"):
        assert (beam / name).read_bytes() == (tmp_path / "thin" / name).read_bytes(), name
    rows = (beam / "report.csv").read_text().splitlines()
    assert len(rows) == 6
    assert any("none.mp4" in row and "cannot be decoded" in row for row in rows)
    assert len(list(open_videos(str(beam), "IN", SpecOverrides()).videos())) == 4
    assert beam_main(["beam_extract", films, f"--output={beam}", *output]) == 2
    assert "has records of an earlier extraction" in capsys.readouterr().err
    assert beam_main(["beam_extract", films, f"--output={tmp_path}/x", *output[1:], "--nonsense=1"]) == 2
    assert "neither this program nor Beam knows --nonsense" in capsys.readouterr().err

"""Extraction of films into TFRecord files, with films and networks that cost nothing."""

import csv
import json
import os

import numpy as np
import pytest

from tests.video.fakes import FakeAudio, FakeBackbone, open_fake, write_film
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.films import ExtractConfig
from yt8m_distill.config.shards import ThinConfig
from yt8m_distill.data.thinning import run_thinning
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.prediction.vocabulary import load_vocabulary
from yt8m_distill.video import extractor, feature_set
from yt8m_distill.video.extraction import run_extraction


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """The networks, whose identities a test may change."""
    networks = {"backbone": FakeBackbone(), "audio": FakeAudio()}
    monkeypatch.setattr(extractor, "open_film", open_fake)
    monkeypatch.setattr(feature_set, "backbone_named", lambda *_: networks["backbone"])
    monkeypatch.setattr(feature_set, "audio_feature_named", lambda *_: networks["audio"])
    return networks


@pytest.fixture
def films(tmp_path):
    """Eight films of 10, 13, ... seconds in two folders, and their labels."""
    for number in range(8):
        write_film(tmp_path / "films", f"{'ab'[number % 2]}/{number}.mp4", 10 + 3 * number, seed=10 * number)
    rows = [f"{number}.mp4,{'cat' if number % 2 else 'dog'};all" for number in range(8)]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path / "films"


def extract(folder, **settings):
    name = settings.pop("output", "out")
    values = {
        "videos": str(folder),
        "output_dir": str(folder.parent / name),
        "workers": 2,
        "backbone": "fake",
        **settings,
    }
    run_extraction(ExtractConfig.from_settings(values))
    return folder.parent / name


def with_labels(folder, **settings):
    return extract(folder, labels=str(folder.parent / "labels.csv"), **settings)


def read(folder, **overrides):
    videos = open_videos(str(folder), "IN", SpecOverrides(**overrides))
    return videos.spec, {video.video_id.decode(): video for video in videos.videos()}


def report(folder):
    with open(folder / "report.csv", encoding="utf-8") as file:
        return {row["video_id"]: row for row in csv.DictReader(file)}


def test_records_are_read_without_any_flag(films, capsys):
    out = with_labels(films, videos_per_file=3)
    spec, videos = read(out)
    assert (spec.feature_names, spec.feature_sizes, spec.num_classes, spec.max_frames) == (
        ("fake", "logmel"),
        (6, 2),
        3,
        300,
    )
    assert len(list(out.glob("films-*.tfrecord"))) == 3
    assert set(videos) == {f"{'ab'[number % 2]}/{number}.mp4" for number in range(8)}
    assert load_vocabulary(out / "vocabulary.csv") == {0: "all", 1: "cat", 2: "dog"}
    assert list(videos["b/3.mp4"].labels) == [0, 1]
    assert videos["b/3.mp4"].num_frames == 19
    assert "8 videos with 164 frames, of 164 seconds of film, are in the 3 files" in capsys.readouterr().out


def test_bytes_stand_for_the_standardized_features(films):
    out = with_labels(films)
    spec, videos = read(out)
    low, high = spec.feature_ranges[0]
    numbers = {name: low + video.features[0] * ((high - low) / 255) for name, video in videos.items()}
    pooled = np.concatenate(list(numbers.values()))
    np.testing.assert_allclose(pooled.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(pooled.std(axis=0), 1, atol=0.02)
    expected = (7 * np.arange(19) + 30) % 256
    assert np.corrcoef(numbers["b/3.mp4"][:, 2], expected)[0, 1] > 0.999


def test_the_report(films):
    write_film(films, "a/silent.mp4", 5, sound=False)
    write_film(films, "a/part.mp4", 9, lost_after=4)
    (films / "a/text.mp4").write_text("text")
    out = extract(films)
    rows = report(out)
    assert len(rows) == 11
    assert rows["a/silent.mp4"]["sound"] == "no"
    assert (rows["a/part.mp4"]["frames"], rows["a/part.mp4"]["problems"]) == ("4", "the rest is lost")
    assert (rows["a/text.mp4"]["file"], rows["a/text.mp4"]["frames"]) == ("", "0")
    assert "it is text" in rows["a/text.mp4"]["problems"]
    _, videos = read(out, num_classes=5)
    assert "a/text.mp4" not in videos
    silent = videos["a/silent.mp4"].features[1]
    assert np.ptp(silent) == 0
    assert 0 < silent[0, 0] < 255  # the mean of all sound, not the lowest


def test_a_bad_film_may_be_an_error(films):
    (films / "a/text.mp4").write_text("text")
    with pytest.raises(UserError, match=r"text.mp4' is no film that can be decoded.*--on_bad_video=skip"):
        extract(films, on_bad_video="error")
    (films / "a/text.mp4").unlink()
    extract(films, on_bad_video="error")


def test_k_frames_are_those_of_a_thin_shard(films):
    whole = with_labels(films)
    thin = with_labels(films, output="k3", student_frames=3, features=str(whole))
    run_thinning(ThinConfig(str(whole), str(films.parent / "thinned"), 3))
    spec, expected = read(films.parent / "thinned")
    assert (spec, spec.thin_frames) == (read(thin)[0], 3)
    for name, video in read(thin)[1].items():
        for feature, other in zip(video.features, expected[name].features, strict=True):
            np.testing.assert_array_equal(feature, other)


def stop_after(monkeypatch, backbone, count):
    """Raises KeyboardInterrupt in the network after some batches."""
    whole = FakeBackbone.__call__
    calls = []

    def interrupted(images):
        calls.append(1)
        if len(calls) > count:
            raise KeyboardInterrupt
        return whole(backbone, images)

    backbone_class = type("Interrupted", (FakeBackbone,), {"__call__": lambda self, images: interrupted(images)})
    return backbone_class()


@pytest.mark.parametrize("batches", [45, 55, 65, 80])
def test_resuming_gives_the_same_files(films, fakes, monkeypatch, batches):
    expected = with_labels(films, videos_per_file=3)
    fakes["backbone"] = stop_after(monkeypatch, fakes["backbone"], batches)
    with pytest.raises(KeyboardInterrupt):
        with_labels(films, videos_per_file=3, output="again")
    fakes["backbone"] = backbone = FakeBackbone()
    again = with_labels(films, videos_per_file=3, output="again")
    for path in expected.iterdir():
        if path.suffix != ".npz":
            assert (again / path.name).read_bytes() == path.read_bytes(), path.name
    assert sum(backbone.batches) < 2 * 164
    assert {path.name for path in again.iterdir()} == {path.name for path in expected.iterdir()}


def test_films_that_are_added_are_the_only_ones_extracted(films, fakes):
    out = with_labels(films)
    first = (out / "films-00000.tfrecord").read_bytes()
    write_film(films, "a/new.mp4", 4)
    with open(films.parent / "labels.csv", "a") as file:
        file.write("\nnew.mp4,ape\n")
    fakes["backbone"] = backbone = FakeBackbone()
    with_labels(films)
    assert sum(backbone.batches) == 4
    assert (out / "films-00000.tfrecord").read_bytes() == first
    spec, videos = read(out)
    assert (len(videos), list(videos["a/new.mp4"].labels), spec.num_classes) == (9, [3], 4)
    assert len(report(out)) == 9


def test_bad_films_are_tried_again(films):
    (films / "a/late.mp4").write_text("text")
    out = extract(films)
    write_film(films, "a/late.mp4", 4)
    extract(films)
    assert report(out)["a/late.mp4"]["file"] == "films-00001.tfrecord"
    assert len(report(out)) == 9


def test_validation_films_with_the_features_of_the_training(films):
    train = with_labels(films)
    write_film(films.parent / "more", "9.mp4", 6)
    (films.parent / "more.csv").write_text("9.mp4,dog\n")
    out = extract(films.parent / "more", output="val", features=str(train), labels=str(films.parent / "more.csv"))
    assert (out / "features.json").read_text() == (train / "features.json").read_text()
    assert (out / "vocabulary.csv").read_text() == "Index,TrainVideoCount,Name\n0,0,all\n1,0,cat\n2,1,dog\n"
    spec, videos = read(out)
    assert (list(videos["9.mp4"].labels), spec.num_classes) == ([2], 3)
    assert len(read(f"{train},{out}")[1]) == 9
    (films.parent / "more.csv").write_text("9.mp4,yak\n")
    with pytest.raises(UserError, match=r"the label 'yak' of '9.mp4' is not in the vocabulary"):
        extract(films.parent / "more", output="v", features=str(train), labels=str(films.parent / "more.csv"))


def test_other_features_are_refused(films, fakes):
    out = with_labels(films)
    for settings, message in [
        ({"frames_per_second": 2.0}, "--frames_per_second=2.0: the features of .* have frames_per_second=1.0"),
        ({"audio": "none"}, "--audio=none"),
        ({"features": str(extract(films, output="other", max_frames=5))}, "has other features than --features="),
    ]:
        with pytest.raises(UserError, match=message):
            with_labels(films, **settings)
    fakes["backbone"].identity = "fake-2"
    try:
        with pytest.raises(UserError, match="the backbone is not the one that"):
            with_labels(films)
    finally:
        del fakes["backbone"].identity
    other = extract(films, output="fit", fit_films=3)
    with pytest.raises(UserError, match=r"different ranges|made in different ways"):
        read(f"{out},{other}")


def test_other_frames_are_refused(films):
    out = with_labels(films, student_frames=3)
    with pytest.raises(UserError, match=r"other frames of each film \(3 exact of 300\) than .* \(all of 300\)"):
        with_labels(films)
    assert with_labels(films, student_frames=3) == out


def test_records_of_unknown_features_are_refused(films):
    out = with_labels(films)
    (out / "features.json").unlink()
    with pytest.raises(UserError, match=r"films-00000.tfrecord' is there, and no features.json"):
        with_labels(films)


def test_changed_labels_are_refused(films):
    with_labels(films)
    text = (films.parent / "labels.csv").read_text().replace("3.mp4,cat", "3.mp4,dog")
    (films.parent / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=r"the film 'b/3.mp4' was extracted .* with the labels 0;1, and has 0;2 now"):
        with_labels(films)


def test_changed_labels_are_refused_after_a_stop(films, fakes, monkeypatch):
    fakes["backbone"] = stop_after(monkeypatch, fakes["backbone"], 65)
    with pytest.raises(KeyboardInterrupt):
        with_labels(films)
    assert list((films.parent / "out").glob("*.partial.json"))
    fakes["backbone"] = FakeBackbone()
    text = (films.parent / "labels.csv").read_text()
    (films.parent / "labels.csv").write_text(text.replace("dog", "x").replace("cat", "dog").replace("x", "cat"))
    with pytest.raises(UserError, match=r"was extracted .* with the labels 0;\d, and has 0;\d now"):
        with_labels(films)


def test_records_that_the_report_does_not_name_are_refused(films):
    out = with_labels(films)
    (out / "report.csv").unlink()
    with pytest.raises(UserError, match=r"films-00000.tfrecord' has records of films that the report.csv"):
        with_labels(films)


def test_what_is_half_written_behind_a_removed_file_is_written_again(films, fakes, monkeypatch):
    fakes["backbone"] = stop_after(monkeypatch, fakes["backbone"], 75)
    with pytest.raises(KeyboardInterrupt):
        with_labels(films, videos_per_file=3)
    out = films.parent / "out"
    assert len(list(out.glob("*.tfrecord"))) >= 1
    (out / "films-00000.tfrecord").unlink()
    fakes["backbone"] = FakeBackbone()
    with_labels(films, videos_per_file=3)
    assert sum(1 for _ in open_videos(str(out), "IN", SpecOverrides()).videos()) == len(report(out)) == 8


def test_other_films_of_the_same_names_are_refused(films):
    extract(films)
    for number in range(8):
        write_film(films.parent / "others", f"{'ab'[number % 2]}/{number}.mp4", 5)
    with pytest.raises(UserError, match=r"the film '.*' was extracted from '.*/films/.*', and is '.*/others/"):
        extract(films.parent / "others")
    with pytest.raises(UserError, match=r"was extracted as the film 'a/(.).mp4', and is '\1.mp4' now"):
        extract(films / "a", output="../out")


def test_names_with_spaces_and_bytes_that_are_no_text(films):
    write_film(films, " spaces .mp4", 5)
    write_film(os.fsencode(films).decode(), os.fsdecode(b"caf\xe9.mp4"), 5)
    out = extract(films)
    extract(films)
    assert len(list(out.glob("*.tfrecord"))) == 1
    assert report(out)["spaces .mp4"]["file"] == "films-00000.tfrecord"
    assert report(out)["caf\ufffd.mp4"]["path"].endswith("caf\\xe9.mp4")


def test_settings_of_an_earlier_start_are_known_again(films, monkeypatch):
    first = extract(films, pca="fit", pca_size=2)
    monkeypatch.chdir(first)
    out = extract(films, output="given", pca="features.images.npz", crop=0.875)
    assert extract(films, output="given", pca="features.images.npz", crop=0.875) == out
    assert extract(films, output="given") == out
    with pytest.raises(UserError, match=r"--crop=0\.5: the features of"):
        extract(films, output="given", crop=0.5)
    with pytest.raises(UserError, match="do not go together"):
        extract(films, output="x", features=str(first), fit_films=3)


def test_a_projection_of_other_features_is_refused_before_films_are_decoded(films, fakes):
    projection = extract(films, pca="fit", pca_size=2) / "features.sound.npz"
    fakes["backbone"] = backbone = FakeBackbone()
    with pytest.raises(UserError, match="is for 2 values a frame; fake has 6"):
        extract(films, output="x", pca=str(projection))
    assert not backbone.batches


def test_films_without_sound(tmp_path):
    write_film(tmp_path / "films", "a.mp4", 5, sound=False)
    out = extract(tmp_path / "films")
    assert read(out, num_classes=2)[0].feature_names == ("fake",)
    assert extract(tmp_path / "films") == out  # resumed
    with pytest.raises(UserError, match="--audio=none"):
        extract(tmp_path / "films", output="x", audio="logmel")


def test_nothing_that_can_be_decoded(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films/a.mp4").write_text("text")
    with pytest.raises(UserError, match="none of the films can be decoded"):
        extract(tmp_path / "films")


def test_a_changed_description_is_refused(films):
    out = with_labels(films)
    values = json.loads((out / "features.json").read_text())
    values["features"]["fake"]["max"] = 9.0
    (out / "features.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="is damaged or was changed"):
        with_labels(films)

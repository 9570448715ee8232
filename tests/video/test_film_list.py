"""Lists of films: which, their ids and labels."""

import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.video.film_list import Film, in_mixed_order, read_films


@pytest.fixture
def folder(tmp_path):
    for name in ("b/2.mp4", "a/1.mkv", "a/1.MP4", "a/.hidden.mp4", "a/notes.txt", "top.webm"):
        (tmp_path / "films" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "films" / name).write_bytes(b"")
    return tmp_path / "films"


def ids(films):
    return [film.video_id for film in films]


def write(path, text):
    path.write_text(text)
    return str(path)


def test_a_folder_gives_all_films_in_it(folder):
    films = read_films(str(folder))
    assert ids(films) == ["a/1.MP4", "a/1.mkv", "b/2.mp4", "top.webm"]
    assert films[0] == Film(str(folder / "a/1.MP4"), "a/1.MP4", None)


def test_globs_and_files(folder):
    assert ids(read_films(f"{folder}/*/*.m*,{folder}/top.webm")) == ["a/1.mkv", "b/2.mp4", "top.webm"]
    assert ids(read_films(f"{folder}/{{a/1.mkv,b/2.mp4}}")) == ["a/1.mkv", "b/2.mp4"]
    assert ids(read_films(f"{folder}/top.webm,{folder}")) == ["top.webm", "a/1.MP4", "a/1.mkv", "b/2.mp4"]


def test_a_list_in_the_form_of_googles_extractor(folder, tmp_path):
    films = read_films(write(tmp_path / "list.csv", "films/a/1.mkv,7;3\nfilms/top.webm,\n"))
    assert films == [
        Film(str(tmp_path / "films/a/1.mkv"), "films/a/1.mkv", ("7", "3")),
        Film(str(tmp_path / "films/top.webm"), "films/top.webm", ()),
    ]


def test_lists_with_headers(folder, tmp_path):
    films = read_films(write(tmp_path / "list.csv", "id;path;labels\nx;films/a/1.mkv;cat|dog\ny;films/top.webm;\n"))
    assert [(film.video_id, film.labels) for film in films] == [("x", ("cat", "dog")), ("y", ())]
    films = read_films(write(tmp_path / "list.csv", "path\nfilms/a/1.mkv\n"))
    assert [(film.video_id, film.labels) for film in films] == [("films/a/1.mkv", None)]
    films = read_films(write(tmp_path / "list.csv", f"{folder}/a/1.mkv\n"))
    assert films[0].labels is None


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("a/1.mkv,cat\na/1.mkv,dog\n2,cat\n", {"a/1.mkv": ("cat", "dog"), "b/2.mp4": ("cat",)}),
        ("video,labels\n1.mkv,cat;dog;cat\nunknown.mp4,cat\n", {"a/1.mkv": ("cat", "dog")}),
        ('top.webm,"wild, big",cat\n', {"top.webm": ("wild, big", "cat")}),
        ("id,path,labels\nx,top.webm,cat\n", {"top.webm": ("cat",)}),
        ("path,split,labels\ntop.webm,train,big  dog\n", {"top.webm": ("big dog",)}),
        ("top,film\n", {"top.webm": ("film",)}),
        ("top.webm;3;5\nb/2;\n", {"top.webm": ("3", "5"), "b/2.mp4": ()}),
    ],
)
def test_labels(folder, tmp_path, text, labels):
    films = read_films(str(folder), write(tmp_path / "labels.csv", text))
    assert {film.video_id: film.labels for film in films if film.labels is not None} == labels


@pytest.mark.parametrize(
    ("text", "message"), [("1,cat\n", "line 1: '1' fits several films"), ("x,cat\ny,dog\n", "no row names one")]
)
def test_labels_of_no_film(folder, tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_films(str(folder), write(tmp_path / "labels.csv", text))


def test_errors(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for videos, message in [
        (str(tmp_path / "empty"), "--videos: there are no films in"),
        (f"{folder}/*.avi", "no file matches"),
        (" , ", "--videos is empty"),
        (write(tmp_path / "list.csv", ""), "names no films"),
        (write(tmp_path / "two.csv", "path,id\na,x\nb,x\n"), "have the same id, 'x'"),
        (f"{folder}/a,{folder / 'b'}/../a2", "no file matches"),
    ]:
        with pytest.raises(UserError, match=message):
            read_films(videos)


def test_ids_fit_into_a_csv_file(tmp_path):
    (tmp_path / 'a, "b".mp4').write_bytes(b"")
    assert ids(read_films(str(tmp_path))) == ["a_ _b_.mp4"]


def test_the_mixed_order_does_not_depend_on_what_is_added():
    films = [Film(f"{number}.mp4", f"{number}.mp4") for number in range(50)]
    mixed = in_mixed_order(films[:40])
    assert mixed != films[:40]
    assert [film for film in in_mixed_order(films) if film in mixed] == mixed

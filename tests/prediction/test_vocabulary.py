"""Class names and label ids from CSV files: those of the editions, and wrong ones."""

import gzip
import os

import pytest

from tests.helpers import shared_path
from yt8m_distill.errors import UserError
from yt8m_distill.prediction.vocabulary import load_class_ids, load_vocabulary


def test_vocabularies_of_the_editions():
    youtube = load_vocabulary(shared_path("data/vocabulary/yt8m_2018.csv"))
    assert sorted(youtube) == list(range(3862))
    assert (youtube[0], youtube[271], youtube[2533]) == ("Game", "Nike, Inc.", 'Toys "R" Us')
    assert youtube[120] == "/m/0dxrf"  # The file has no name for it.
    audioset = load_vocabulary(shared_path("data/vocabulary/audioset.csv"))
    assert sorted(audioset) == list(range(527))
    assert audioset[1] == "Male speech, man speaking"


def test_vocabulary_columns_in_any_order(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text('\ufeffNAME,Extra,Index\r\n"Car, red",x,7\r\n\r\n,y,2\r\n', encoding="utf-8")
    assert load_vocabulary(path) == {7: "Car, red", 2: "class 2"}


FORMS = {
    "YouTube-8M 2017": (
        "Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl,Vertical1,Vertical2,Vertical3,WikiDescription\n"
        '0,788288,/m/03bt1gh,Games,https://en.wikipedia.org/wiki/Game,Games,,,"A game, that is ""play"".\n\nMore."\n'
        "1,539945,/m/01mw1,,,(Unknown),,,\n"
    ),
    "AudioSet": 'index,mid,display_name\n0,/m/0,"Games"\n1,/m/01mw1,""\n',
    "Kaggle": "label_id,label_name\n0,Games\n1,/m/01mw1\n",
    "all quoted": '"Index","Name"\r\n"0","Games"\r\n"1","/m/01mw1"\r\n',
    "semicolons": "Index;Name\n0;Games\n1;/m/01mw1\n",
    "Excel's line about the separator": "sep=;\nIndex;Name\n0;Games\n1;/m/01mw1\n",
    "tabs, and whole numbers as floats": "label_id\tlabel_name\n0.0\tGames\n1.0\t/m/01mw1\n",
    "spaces, line ends of Macs, empty columns": "Index, Display Name,,\r0, Games,,\r1, /m/01mw1,,\r,,,\r",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_published_forms(tmp_path, text, encoding):
    (tmp_path / "v.csv").write_bytes(text.encode(encoding))
    assert load_vocabulary(tmp_path / "v.csv") == {0: "Games", 1: "/m/01mw1"}
    assert load_class_ids(tmp_path / "v.csv") == [0, 1]
    (tmp_path / "v.csv").write_bytes(gzip.compress(text.encode(encoding)))
    assert load_vocabulary(tmp_path / "v.csv") == {0: "Games", 1: "/m/01mw1"}


def test_names_of_kaggle():
    path = shared_path("cases/24_kaggle_label_names/label_names_2018.csv")
    assert load_vocabulary(path) == {0: "Game", 1: "Video game"}


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UserError, match="not a regular file"):
            load_vocabulary(path)
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        load_vocabulary(tmp_path)


def test_names_stay_in_one_line(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text('index,name\n0,"a\nb\u2028 c"\n', encoding="utf-8")
    assert load_vocabulary(path) == {0: "a b c"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: a vocabulary needs a header"),
        (b"Index\n3\n", r"line 1: .*'display_name', .*, not \['Index'\]"),
        (b"index,name\n", "no classes"),
        (b"index,name\n0,a\nx,b\n", "line 3: the index must be .*, not 'x'"),
        (b"index,name\n-1,a\n", "line 2: the index must be .*, not '-1'"),
        (b"index,name\n0,a\n\n0,b\n", "line 4: index 0 occurs twice"),
        (b"index,name\n0\n", "line 2: 1 values for 2 columns"),
        (b"index,name\n" + b"9" * 5000 + b",a\n", "line 2: the index must be .*, not '9+[.]{3}9+'"),
        (b"\xff\x8b\xff\x00", "not a CSV text file in UTF-8"),
        (b"\x1f\x8b\xff\x00", "cannot be read: Compressed file ended"),
        (b"PK\x03\x04", "a ZIP archive; unpack it"),
        (b'index,name\n0,a\n1,"b\n2,c\n', "not a CSV text file: after line 2"),
        (b"index,name\n0,a,b\n", "line 2: 3 values for 2 columns"),
        (b"0,a\n1,b\n", "line 1: a vocabulary needs a header"),
    ],
)
def test_wrong_vocabularies_name_file_and_line(tmp_path, content, message):
    path = tmp_path / "names.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        load_vocabulary(path)
    assert str(path) in str(raised.value)


def test_missing_vocabulary(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv cannot be read: No such file"):
        load_vocabulary(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [("Name\n3\n", "'Index'"), ("Index\nx\n", "line 2"), ("Index\n-1\n", "line 2"), ("Index\n", "no label ids")],
)
def test_wrong_label_ids(tmp_path, text, message):
    (tmp_path / "ids.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        load_class_ids(tmp_path / "ids.csv")
    (tmp_path / "ids.csv").write_text("Name,index\na,7\nb,3\nc,7\n")
    assert load_class_ids(tmp_path / "ids.csv") == [3, 7]

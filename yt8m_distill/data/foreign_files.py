"""Files that are not TFRecord files, named for what they are."""

from yt8m_distill.data.sequence_example import parse_record
from yt8m_distill.data.tfrecord import DamagedRecord

_BEGINNINGS = (
    (b"PK\x03\x04", "a zip archive: unpack it"),
    (b"BZh", "compressed by bzip2: unpack it (bunzip2)"),
    (b"\xfd7zXZ\x00", "compressed by xz: unpack it (unxz)"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it (unzstd)"),
    (b"\x04\x22\x4d\x18", "compressed by lz4: unpack it (unlz4)"),
    (b"\xff\x06\x00\x00sNaPpY", "compressed by snappy: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"\x1f\x8b", "a damaged gzip file"),
    (b"\x93NUMPY", "a file of numpy's (.npy)"),
    (b"\x89HDF\r\n", "an HDF5 file, such as weights"),
    (b"PAR1", "a Parquet file"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"version https://git-lfs", "the pointer of a file in Git LFS: git lfs pull fetches the file"),
    (b"<?xml", "an error page of a web server, or another XML file: download it again"),
    (b"<", "an error page of a web server, or another HTML or XML file: download it again"),
    (b"{", "a JSON file"),
    (b"[", "a JSON file"),
)
_TEXT = bytes((*range(32, 127), *b"\n\r\t\f"))
_TAR_MAGIC = slice(257, 262)


def kind_of_file(content: bytes) -> str:
    """What a file is that begins with no record, in words.

    Args:
        content: of the file; of a very long one, its beginning.
    """
    kind = next((kind for beginning, kind in _BEGINNINGS if content.startswith(beginning)), None)
    if content[_TAR_MAGIC] == b"ustar":
        kind = "a tar archive: unpack it"
    elif content[4:8] == b"ftyp":
        kind = "a video file: its features have to be extracted first"
    elif not content.strip(b"\0"):
        kind = "nothing but zeros, as after an interrupted copy"
    elif kind is None and _is_bare_record(content):
        kind = (
            "a single tf.train.SequenceExample without the framing of a TFRecord file, as MediaPipe writes it "
            "(features.pb): write such messages into a file with tf.io.TFRecordWriter"
        )
    elif kind is None and not content[:512].translate(None, _TEXT):
        kind = "a text file"
    return "the file is not a TFRecord file" + (f" but {kind}" if kind else "")


def _is_bare_record(content: bytes) -> bool:
    try:
        record = parse_record(content)
    except DamagedRecord:
        return False
    return bool(record.context or record.feature_lists)

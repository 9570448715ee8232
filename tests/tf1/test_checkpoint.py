"""Half a checkpoint names the file that is missing."""

import pytest

from yt8m_distill.convert_checkpoint import main as convert_main

NAME = "model.ckpt-75088"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["index", "meta"], f"the file {NAME}.data-00000-of-00001 (or several) is missing, which holds the weights"),
        (["data-00000-of-00001", "meta"], f"the file {NAME}.index is missing; there is only {NAME}.data-00000-of-"),
        (["meta"], f"the file {NAME}.index is missing; there is only {NAME}.meta"),
        (
            ["index", "data-00000-of-00003", "data-00002-of-00003"],
            f"1 of 3 files with weights are missing, the first is {NAME}.data-00001-of-00003",
        ),
        (["other"], "there is no checkpoint of this name"),
    ],
)
def test_the_missing_file_is_named(tmp_path, capsys, files, message):
    for ending in files:
        (tmp_path / f"{NAME}.{ending}").write_bytes(b"content")
    assert convert_main(["convert", f"--from={tmp_path}/{NAME}", f"--train_dir={tmp_path}/run"]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_says_what_it_has(tmp_path, capsys):
    (tmp_path / f"{NAME}.meta").touch()
    assert convert_main(["convert", f"--from={tmp_path}", f"--train_dir={tmp_path}/run"]) == 2
    assert f"(no file that ends in .index); there is only {NAME}.meta" in capsys.readouterr().err

"""Callbacks of whole trainings: resumed, they are told what those of a run never stopped are told."""

import json
import pathlib

import pytest

from tests.end_to_end.commands import kill_after, stop_after, train
from tests.training.recorder import calls

pytestmark = pytest.mark.slow

CALLBACKS = (
    "--callbacks=tests.training.recorder:Recorder(path={train_dir}/../calls.json),"
    "keras.callbacks:EarlyStopping(monitor=val_GAP@20,mode=max,min_delta=1,patience=3),"
    "keras.callbacks:CSVLogger(filename={train_dir}/epochs.csv,append=true)"
)


def training(data: pathlib.Path, folder: pathlib.Path, *arguments: str) -> int:
    options = ["--training_mode=baseline", "--student_frames=3", "--num_epochs=9", "--deterministic"]
    options += [f"--validation_data_pattern={data}/validate*", "--checkpoint_every_steps=3"]
    return train(data, folder / "run", *options, "--model=FrameLevelLogistic", "--model_args=", CALLBACKS, *arguments)


def test_stopped_and_killed_between_batches(data, tmp_path):
    folders = tmp_path / "whole", tmp_path / "stopped"
    for folder in folders:
        folder.mkdir()
    assert training(data, folders[0]) == 0
    for interrupt, step in ((stop_after, 6), (kill_after, 11)):
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, step)
            assert training(data, folders[1]) != 0
    assert training(data, folders[1]) == 0
    whole, resumed = (calls(folder / "calls.json") for folder in folders)
    # Early stopping: no epoch is better by 1 than the first, and patience is not given anew.
    assert [call[1] for call in whole if call[0] == "epoch end"] == [0, 1, 2, 3]
    by_kind = [{(call[0], call[1]): call for call in told if call[0] == "epoch end"} for told in (whole, resumed)]
    assert by_kind[0] == by_kind[1]
    batches = [{call[2]: call for call in told if call[0] == "batch"} for told in (whole, resumed)]
    assert batches[0] == batches[1]  # the recorder's own count of batches went on, too
    assert whole[-1][0] == resumed[-1][0] == "end"
    rows = [(folder / "run" / "epochs.csv").read_text().splitlines() for folder in folders]
    assert rows[0] == rows[1]
    assert rows[0][0].startswith("epoch,ce,learning_rate,loss,regularization,val_GAP@20")
    assert json.loads((folders[1] / "run" / "best" / "best.json").read_text())["epoch"] <= 4

"""Every command that writes is refused where another one writes already; commands that only read are not."""

import pytest

from tests.end_to_end.commands import evaluate, predict, train
from yt8m_distill.experiment import main as experiment_main
from yt8m_distill.export import main as export_main
from yt8m_distill.files.lock import lock_directory, lock_files
from yt8m_distill.merge_predictions import main as merge_main
from yt8m_distill.thin import main as thin_main

pytestmark = pytest.mark.slow

BASELINE = ("--training_mode=baseline", "--student_frames=2", "--max_steps=2")


def test_commands_wait_for_each_other(data, tmp_path, capsys):
    run, cache, csv, export, thin = (tmp_path / name for name in ("run", "cache", "p.csv", "export", "thin"))
    with lock_directory(run):
        assert train(data, run, *BASELINE) == 2
        assert train(data, run, *BASELINE, "--start_new_model") == 2
    assert train(data, run, *BASELINE) == 0
    (tmp_path / "p-00000-of-00001.csv").write_text("VideoId,LabelConfidencePairs\na,0 0.5\n")
    before = capsys.readouterr().err
    assert before.count("is being written by") == 2
    with lock_directory(run), lock_files(run / "eval" / "metrics.json", csv, export), lock_directory(thin):
        assert evaluate(f"--train_dir={run}") == 2
        assert predict(f"--train_dir={run}", f"--output_file={csv}") == 2
        assert export_main(["", f"--train_dir={run}", f"--output_dir={export}", "--formats=saved_model"]) == 2
        assert thin_main(["", f"{data}/test*", str(thin), "--frames=2", "--num_classes=10"]) == 2
        assert merge_main(["", str(csv)]) == 2
        assert experiment_main(["", "--experiment=table1", f"--output_dir={thin}"]) == 2
        errors = capsys.readouterr().err
        assert errors.count("is being written by") == 5
        assert not csv.exists()
        assert not export.exists()
        # What reads the run, writes elsewhere.
        assert evaluate(f"--train_dir={run}", f"--output_file={tmp_path / 'm.json'}") == 0
        assert predict(f"--train_dir={run}", f"--output_file={tmp_path / 'q.csv'}") == 0
    with lock_directory(cache):
        serial = ("--training_mode=serial", "--student_frames=2", "--max_steps=2", f"--teacher_cache={cache}")
        assert train(data, tmp_path / "student", *serial) == 2
    assert "cache' is being written by" in capsys.readouterr().err
    left = [path for path in tmp_path.rglob("*") if path.name.endswith(".lock")]
    assert left == []

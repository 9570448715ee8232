import shlex

from yt8m_distill.training.report import Report, Row


def test_next_commands_name_the_plugins_of_the_run():
    report = Report("my run", "data/test*", ())
    lines = [shlex.split(line) for line in report.next_commands(("a.b", "c")).splitlines()]
    assert lines[0] == ["tensorboard", "--logdir=my run"]
    assert all("--plugins=a.b,c" in words for words in lines[1:])
    assert "--plugins" not in report.next_commands()


def test_next_commands_evaluate_what_was_held_out():
    commands = Report("run", None, ()).next_commands(holds_out=True)
    assert "  python -m yt8m_distill.eval --train_dir=run\n" in commands
    assert "--eval_data_pattern=PATTERN" in Report("run", None, ()).next_commands()
    assert ".eval --train_dir=run --eval_data_pattern=x" in Report("run", "x", ()).next_commands(holds_out=True)


def test_choosing_stands_beside_the_compute_of_the_model():
    cells = {
        choosing: Row("student", 3, 9, 20_000, {}, choosing=choosing).compute_cell() for choosing in (0, 150, None)
    }
    assert cells == {0: "20,000", 150: "20,000 + 150 to choose (0.75 %)", None: "20,000 + unknown to choose"}
    assert Row("student", 3, 9, None, {}).compute_cell() == "unknown"

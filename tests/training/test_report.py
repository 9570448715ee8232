import shlex

from yt8m_distill.training.report import Report


def test_next_commands_name_the_plugins_of_the_run():
    report = Report("my run", "data/test*", ())
    lines = [shlex.split(line) for line in report.next_commands(("a.b", "c")).splitlines()]
    assert lines[0] == ["tensorboard", "--logdir=my run"]
    assert all("--plugins=a.b,c" in words for words in lines[1:])
    assert "--plugins" not in report.next_commands()

"""Flags of the starter code: accepted with a line, or refused with the flag to give here."""

import re

import pytest

from yt8m_distill.cli.flags import help_text, parse
from yt8m_distill.config.inference import EvalConfig, InferenceConfig
from yt8m_distill.config.settings import settings_of
from yt8m_distill.config.starter_flags import starter_flags
from yt8m_distill.config.training import TrainCommand
from yt8m_distill.errors import UserError
from yt8m_distill.eval import main as eval_main
from yt8m_distill.plugins import MODELS
from yt8m_distill.train import main as train_main

COMMANDS = {TrainCommand: [], EvalConfig: ["--train_dir=x"], InferenceConfig: ["--train_dir=x", "--output_file=y"]}
# eval.py and inference.py as the starter's README, WILLOW's and the NeXtVLAD authors' call them.
STARTER_LINES = [
    (
        EvalConfig,
        "--eval_data_pattern=v*.tfrecord --model=NetVLADModelLF --train_dir=m --frame_features=True "
        "--feature_names=rgb,audio --feature_sizes=1024,128 --batch_size=1024 --num_readers=8 --run_once=True "
        "--label_loss=CrossEntropyLoss --top_k=20 --netvlad_cluster_size=256 --netvlad_hidden_size=512 "
        "--moe_l2=1e-6 --iterations=300 --netvlad_relu=False --gating=True --moe_prob_gating=True --lightvlad=False",
    ),
    (
        InferenceConfig,
        "--output_file=p.csv --input_data_pattern=t*.tfrecord --train_dir=m --batch_size=1024 --top_k=50 "
        "--num_readers=8 --frame_features --feature_names rgb,audio --feature_sizes 1024,128 --nogating "
        "--model=NeXtVLADModel --nextvlad_cluster_size=128 --groups=8 --drop_rate=0.5 --mix_number=3",
    ),
    (InferenceConfig, "--output_file=p.csv --input_model_tgz=m.tgz --untar_model_dir=/tmp/x --segment_labels"),
    (TrainCommand, "--num_readers=8 --export_model_steps=1000 --log_device_placement --model=MoeModel"),
]


@pytest.mark.parametrize(("kind", "line"), STARTER_LINES)
def test_lines_of_the_starter_code_are_understood(kind, line, caplog):
    with caplog.at_level("INFO", "yt8m_distill"):
        assert isinstance(parse(kind, ["script", *line.split()]), kind)
    own = settings_of(kind)
    given = re.findall(r"--(\w+)", line)
    told = re.findall(r"--(\w+)=\S+ does nothing here: .+ \(docs/migrating\.md\)", caplog.text)
    assert [name.replace("nogating", "gating") for name in given if name not in own] != []
    assert set(told) == {name.replace("nogating", "gating") for name in given if name not in own}


@pytest.mark.parametrize("kind", COMMANDS)
def test_every_flag_of_the_table(kind, caplog):
    for name, flag in starter_flags(kind).items():
        given = f"--{name}" if flag.is_switch else f"--{name}=7"
        if flag.accepted:
            parse(kind, ["script", *COMMANDS[kind], given])
            continue
        with pytest.raises(UserError, match=rf"--{name}=\w+ is a flag of the starter code.*docs/migrating\.md"):
            parse(kind, ["script", *COMMANDS[kind], given])


def test_what_is_given_instead_exists():
    """Names in messages are flags of train.py, or arguments of a model."""
    flags = settings_of(TrainCommand)
    models = filter(MODELS.is_built_in, MODELS.names())  # other tests register some
    arguments = {name for model in models for name in MODELS.get(model).argument_defaults()}
    for flag in starter_flags(TrainCommand).values():
        assert set(re.findall(r"--(\w+)", flag.instead)) <= set(flags)
        assert set(re.findall(r"--model_args=(\w+)", flag.instead)) <= arguments


def test_the_table_has_no_settings_and_is_not_in_the_help():
    for kind in COMMANDS:
        assert not starter_flags(kind).keys() & settings_of(kind).keys()
        assert "netvlad_cluster_size" not in help_text(kind, ["script"])


def test_on_the_command_line(capsys):
    assert train_main(["train.py", "--model=NetVLADModelLF", "--netvlad_cluster_size=128"]) == 2
    assert "here it is --model_args=clusters=128 (docs/migrating.md)." in capsys.readouterr().err
    assert train_main(["train.py", "--gru_cells=128"]) == 2
    assert "--gru_cells=128 is a flag of the starter code without an equivalent" in capsys.readouterr().err
    assert eval_main(["eval.py", "--train_dir=/nowhere", "--num_readers=2"]) == 2
    assert "Unknown" not in capsys.readouterr().err
    assert eval_main(["eval.py", "--train_dir=/nowhere", "--num_reeders=2"]) == 2
    assert "Unknown command line flag 'num_reeders'" in capsys.readouterr().err

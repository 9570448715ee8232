"""Flags to configurations: defaults, and combinations that make no sense."""

import pathlib
import subprocess
import sys

import pytest

from tests.cli.commands import CONFIGS
from yt8m_distill.cli.flags import parse
from yt8m_distill.config.deployment import ExportConfig
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.inference import BeamConfig, EvalConfig, InferenceConfig, SegmentEvalConfig
from yt8m_distill.config.models import ConversionConfig, FlopsConfig
from yt8m_distill.config.settings import settings_of
from yt8m_distill.config.shards import ThinConfig, VerifyConfig
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.plugins import FRAME_SAMPLINGS, MODELS
from yt8m_distill.train import main as train_main

ROOT = pathlib.Path(__file__).parents[2]


def train_config(*arguments: str) -> TrainConfig:
    return parse(TrainConfig, ["train.py", *arguments])


def test_the_main_command():
    config = train_config("--model=NeXtVLAD", "--student_frames=30")
    assert config.training_mode == "serial"
    assert config.selection == FrameSelection(30)
    assert config.distillation.losses == ("rep", "pred", "ce")
    assert config.learning.batch_size is None


def test_all_kinds_of_values():
    config = train_config(
        "--model_args=clusters=64,hidden_size=512",
        "--student_model_args=clusters=32",
        "--student_losses=ce,rep",
        "--loss_weights=rep=10",
        "--feature_names=rgb,audio",
        "--feature_sizes=6,2",
        "--num_classes=7",
        "--nodeterministic",
        "--train_fraction=0.25",
    )
    assert config.model_args == {"clusters": "64", "hidden_size": "512"}
    assert config.student_model_args == {"clusters": "32"}
    assert config.distillation.loss_weights == {"rep": 10.0, "ce": 1.0}
    assert config.overrides.feature_sizes == (6, 2)
    assert config.train_fraction == 0.25


def test_flags_from_a_file(tmp_path):
    path = tmp_path / "flags.txt"
    path.write_text("# of a teacher\n--training_mode=teacher\n\n--batch_size=7\n--seed=3\n")
    learning = train_config(f"--flagfile={path}", "--batch_size=9").learning  # the later one counts
    assert (learning.batch_size, learning.seed) == (9, 3)
    assert train_config("--batch_size=9", f"--flagfile={path}").learning.batch_size == 7
    beam = parse(BeamConfig, ["", "--train_dir=x", "--output=y", f"--flagfile={path}"])  # which are Beam's, then
    assert beam.pipeline_args == ("--training_mode=teacher", "--seed=3")
    with pytest.raises(UserError, match=r"^Unable to open flagfile: .*nowhere\.txt"):
        train_config("--flagfile=nowhere.txt")


@pytest.mark.parametrize("name", CONFIGS)
def test_only_trainings_have_a_default_number_of_frames(name):
    rule = settings_of(CONFIGS[name]).get("student_frames")
    assert rule is None or ("[30]" in rule.help) == (name in ("train.py", "yt8m_distill.experiment"))


def test_modes_without_a_student_or_a_teacher():
    assert train_config("--training_mode=teacher").selection == ALL_FRAMES
    baseline = train_config("--training_mode=baseline", "--student_stride=10")
    assert baseline.selection == FrameSelection(None, 10)
    assert baseline.distillation is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--student_frames=3", "--student_stride=2"], "not both"),
        (["--student_frames=0"], "at least 1"),
        (["--student_frames=many"], "--student_frames must be a whole number, not 'many'"),
        (["--frame_sampling=best"], "frame_sampling"),
        (["--student_stride=2", "--frame_sampling=random"], "uniform only"),
        (["--student_stride=2", "--frame_sampling=medoid"], "uniform only"),
        (
            ["--frame_sampling=learned", "--representation_matching=intermediate"],
            "it chooses them itself: leave out one",
        ),
        (["--modell=NeXtVLAD"], "model"),
        (["NeXtVLAD"], "unexpected argument 'NeXtVLAD'"),
        (["--model_args=clusters"], "name=value"),
        (["--model_args=clusters=1,clusters=2"], "with each name once"),
        (["--loss_weights=rep=heavy"], "--loss_weights must be a number, not 'heavy'"),
        (["--loss_weights=kd=1"], "not in --student_losses"),
        (["--student_losses=kd"], "--student_losses must be one of rep, pred, dist, ce, not kd"),
        (["--training_mode=teacher", "--student_frames=3"], "--student_frames does nothing"),
        (["--training_mode=teacher", "--student_losses=ce"], "--student_losses does nothing"),
        (["--training_mode=baseline", "--teacher_dir=x"], "--teacher_dir does nothing"),
        (["--training_mode=parallel", "--teacher_dir=x"], "--teacher_dir does nothing"),
        (["--training_mode=baseline", "--student_model_args=clusters=2"], "--student_model_args does nothing"),
        (["--finetune_epochs=2"], "--student_losses=rep"),
        (["--teacher_cache_top=5"], "--teacher_cache_top does nothing without --teacher_cache"),
        (["--student_losses=ce", "--prediction_distance=squared"], "without pred"),
        (["--student_losses=ce", "--representation_matching=intermediate"], "without rep"),
        (["--train_fraction=0"], "above 0 and at most 1"),
        (["--train_fraction=1.5"], "above 0 and at most 1"),
        (["--train_fraction=nan"], "above 0 and at most 1"),
        (["--warmup_steps=3"], "--warmup_steps does nothing without --learning_rate_schedule=cosine"),
        (["--learning_rate_schedule=cosine", "--learning_rate_decay=.5"], "--learning_rate_decay does nothing with"),
        (["--learning_rate_schedule=linear"], "learning_rate_schedule"),
        (["--mixup=-1"], "--mixup must be at least 0"),
        (["--mixup=.4", "--batch_size=1"], "--mixup mixes the videos of a batch"),
        (["--mixup=.4", "--label_loss=HingeLoss"], "--label_loss=HingeLoss is for 0 and 1 only"),
        (["--mixup=.4", "--teacher_cache=x"], "--teacher_cache holds those of the videos themselves"),
        (["--student_losses=pred,dist", "--teacher_cache=x", "--teacher_cache_top=5"], "--teacher_cache_top does not"),
        (["--temperature=0"], "--temperature must be above 0"),
        (["--student_losses=rep,ce", "--temperature=2"], "--temperature does nothing without pred or dist"),
        (["--temperature=2", "--prediction_distance=categorical_kl"], "--prediction_distance=categorical_kl compares"),
        (["--training_mode=baseline", "--temperature=2"], "--temperature does nothing"),
        (["--loss_shares=rep=1,ce=1"], "--loss_shares must have a share for each of several --student_losses"),
        (["--student_losses=ce", "--loss_shares=ce=1"], "--loss_shares must have a share for each of several"),
        (["--loss_shares=rep=0,pred=1,ce=1"], "--loss_shares must be above 0"),
        (["--loss_shares=rep=1,pred=1,ce=1", "--loss_weights=rep=2"], "both set the weights of the losses"),
        (["--teacher_role=student"], "--teacher_role=student is about the runs of --teacher_dir"),
        (["--training_mode=baseline", "--teacher_role=student"], "--teacher_role does nothing"),
        (["--training_mode=parallel", "--init_from=x"], "--training_mode=parallel trains two"),
        (["--init_from=x", "--student_init=teacher"], "--student_init does nothing with --init_from"),
    ],
)
def test_senseless_command_lines(arguments, message):
    with pytest.raises(UserError, match=message):
        train_config(*arguments)


def eval_config(*arguments: str) -> EvalConfig:
    return parse(EvalConfig, ["eval.py", *arguments])


def test_eval_flags():
    config = eval_config("--train_dir=run", "--student_frames=5", "--run_once")
    assert config.selection == FrameSelection(5)
    assert not config.follow
    assert eval_config("--train_dir=run", "--norun_once").follow
    assert eval_config("--train_dir=run").selection is None
    with pytest.raises(UserError, match="--frame_sampling needs --student_frames"):
        eval_config("--train_dir=run", "--frame_sampling=random")
    with pytest.raises(UserError, match=r"--train_dir is required \(Run directory"):
        eval_config()
    with pytest.raises(UserError, match="opposites"):
        eval_config("--train_dir=run", "--run_once", "--follow")


def test_inference_flags():
    with pytest.raises(UserError, match=r"--output_file is required \(CSV file"):
        parse(InferenceConfig, ["inference.py", "--train_dir=run"])
    config = parse(InferenceConfig, ["i", "--train_dir=run", "--output_file=x", "--num_shards=4", "--shard_index=2"])
    assert (config.shard.index, config.shard.count) == (2, 4)
    with pytest.raises(UserError, match=r"--num_shards does nothing without --shard_index \(Index of this shard"):
        parse(InferenceConfig, ["inference.py", "--train_dir=run", "--output_file=x", "--num_shards=4"])
    with pytest.raises(UserError, match=r"--workers does nothing without --input_videos \(Films to predict"):
        parse(InferenceConfig, ["inference.py", "--train_dir=run", "--output_file=x", "--workers=4"])


def test_beam_takes_what_is_no_flag_and_skips_bad_records():
    config = parse(BeamConfig, ["beam", "--train_dir=run", "--output=x.csv", "--runner=DirectRunner", "--top_k=3", "a"])
    assert config.pipeline_args == ("--runner=DirectRunner", "a")
    assert (config.predictions.output_file, config.predictions.top_k) == ("x.csv", 3)
    assert config.predictions.bad_records.on_bad_record == "skip"
    assert parse(BeamConfig, ["beam", "--train_dir=run", "--output=x.csv", "--max_bad_fraction=1"])


def test_segments_are_scored_by_records_of_segments():
    config = parse(SegmentEvalConfig, ["segment_eval", "--submission_file=x", "--label_cache=y", "--num_classes=3"])
    assert (config.overrides.level, config.overrides.num_classes) == ("segment", 3)


def test_arguments_without_dashes():
    config = parse(ThinConfig, ["thin", "a", "--frames=3", "b", "out"])
    assert (config.pattern, config.output_dir, config.frames) == ("a,b", "out", 3)
    assert parse(VerifyConfig, ["verify", "a", "b"]).pattern == "a,b"
    with pytest.raises(UserError, match="OUT_DIR is missing"):
        parse(ThinConfig, ["thin", "a"])


def test_a_count_is_of_a_name_or_of_a_run():
    config = parse(FlopsConfig, ["flops"])
    assert (config.model, config.frames) == ("NeXtVLAD", (300, 30, 20, 10, 6))
    config = parse(FlopsConfig, ["flops", "--train_dir=x", "--which=teacher"])
    assert (config.model, config.frames) == (None, ())
    with pytest.raises(UserError, match="--which does nothing without --train_dir"):
        parse(FlopsConfig, ["flops", "--which=teacher"])
    with pytest.raises(UserError, match="--num_classes does nothing with --train_dir"):
        parse(FlopsConfig, ["flops", "--train_dir=x", "--num_classes=4"])


def test_flags_with_another_name_than_their_field():
    config = parse(ConversionConfig, ["convert", "--from=x", "--train_dir=y", "--model=NetVLADModel"])
    assert (config.path, config.selection) == ("x", ALL_FRAMES)
    assert parse(ConversionConfig, ["c", "--from=x", "--train_dir=y", "--student_frames=3"]).selection.k == 3
    with pytest.raises(UserError, match="--from is required"):
        parse(ConversionConfig, ["convert", "--train_dir=y"])
    with pytest.raises(UserError, match="--keep_checkpoints must be at least 1, not 0"):
        train_config("--keep_checkpoints=0")
    with pytest.raises(UserError, match=r"--litert_precisions does nothing without litert in --formats"):
        parse(ExportConfig, ["export", "--train_dir=x", "--output_dir=y", "--litert_precisions=int8"])


HELP_OF_A_SCRIPT = """
import runpy, sys
sys.argv = [{script!r}, "--help"]
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 0
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
"""


@pytest.mark.parametrize("script", ["train.py", "eval.py", "inference.py"])
def test_help_lists_the_flags_without_tensorflow(script):
    code = HELP_OF_A_SCRIPT.format(script=str(ROOT / script))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--train_dir" in done.stdout


@pytest.mark.parametrize("kind", CONFIGS.values())
def test_every_setting_has_a_sentence_of_help(kind):
    for name, rule in settings_of(kind).items():
        sentence = rule.help.partition(" [")[0]
        assert sentence[0].isupper(), name
        assert sentence.endswith("."), name
        assert len(sentence.split()) > 2, name


PLUGIN = """
from yt8m_distill.models.netvlad import NetVLAD
from yt8m_distill.plugins import register_frame_sampling, register_model

@register_model("Mine")
class Mine(NetVLAD):
    pass

@register_frame_sampling("mine")
def every_first(num_frames, k):
    raise NotImplementedError
"""


def test_plugins_are_imported_before_flags_are_checked(tmp_path, monkeypatch):
    (tmp_path / "my_plugin_of_flags.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ["--model=Mine", "--frame_sampling=mine", "--student_frames=3"]
    with pytest.raises(UserError, match="frame_sampling"):
        train_config(*arguments)
    MODELS.get("NetVLAD")  # modules register their models once, so not while the registry is another one
    for registry in (MODELS, FRAME_SAMPLINGS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))  # without them again, after this test
    config = train_config(*arguments, "--plugins=my_plugin_of_flags")
    assert (config.model, config.selection.sampling) == ("Mine", "mine")
    assert config.plugins == ("my_plugin_of_flags",)
    with pytest.raises(UserError, match="'no_such_plugin' cannot be imported"):
        train_config("--plugins=no_such_plugin")


def test_commands_end_with_the_exit_code_of_a_user_error(capsys):
    assert train_main(["train.py", "--batch_size=0"]) == 2
    assert capsys.readouterr().err == "Error: --batch_size must be at least 1, not 0.\n"
    assert train_main(["train.py", "--help"]) == 0
    assert "Trains a teacher" in capsys.readouterr().out


def test_without_a_word_about_students_the_model_decides():
    config = train_config("--model=Logistic")
    assert (config.training_mode, config.selection, config.distillation) == (None, ALL_FRAMES, None)
    for given in ("--student_losses=ce", "--frame_sampling=random", "--teacher_dir=x", "--student_init=teacher"):
        assert train_config(given).training_mode == "serial"


def test_levels_by_flags():
    flags = ([], ["--frame_features"], ["--noframe_features", "--train_data_pattern=x"])
    assert [train_config(*each).overrides.level for each in flags] == [None, "frame", "video"]

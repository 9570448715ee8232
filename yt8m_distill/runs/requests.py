"""What is asked of a run's model: checked by its `config.json`, before TensorFlow is imported and a model is loaded."""

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.inference import ChosenModel
from yt8m_distill.config.inputs import check_videos
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.record_format import LEARNING
from yt8m_distill.errors import UserError
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.inputs import input_pattern
from yt8m_distill.runs.teachers import find_run


def check_request(train_dir: str, asked: ChosenModel) -> RunConfig:
    """Checks that a run has the model that is asked for, and that the model takes the frames that are asked for.

    Args:
        train_dir: run directory.
        asked: which model, and which frames.

    Returns:
        The run's configuration.

    Raises:
        UserError: it does not, or its `config.json` cannot be read.
    """
    find_run(train_dir, asked.which)
    config = RunDir(train_dir).read_config()
    check_selection(asked.which or config.main_role, asked.selection)
    return config


def check_selection(role: str, asked: FrameSelection | None):
    """Raises UserError where the frames of a student are asked for, and the model is a teacher."""
    if role == "teacher" and asked is not None:
        raise UserError("--student_frames, --student_stride and --frame_sampling do not apply to the teacher.")


def check_input(pattern: str | None, run: RunConfig, flag: str, use: str = LEARNING):
    """Checks that there are files to evaluate or predict, also where they are the run's.

    Args:
        pattern, run, flag, use: as of `evaluation_videos`.

    Raises:
        UserError: there are none.
    """
    pattern, flag = input_pattern(pattern, run, flag, use)
    check_videos(pattern, f"--{flag}")

"""What teacher and student see of a distillation batch."""

from collections.abc import Mapping

import tensorflow as tf

from yt8m_distill.errors import UserError


def stored_outputs(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Teacher outputs that a batch holds, precomputed; empty where it holds none."""
    prefix = "teacher_"
    return {name.removeprefix(prefix): value for name, value in inputs.items() if name.startswith(prefix)}


def check_student_frames(inputs: Mapping[str, tf.Tensor]):
    """Raises UserError where a batch with the teacher's frames does not say which of them are the student's."""
    if "choices" in inputs or {"student_indices", "student_num_frames"} <= inputs.keys():
        return
    raise UserError(
        "a batch must have 'student_indices' and 'student_num_frames', or 'choices': without them the student would "
        "see all frames, as its teacher does. yt8m_distill.data.dataset(pattern, student_frames=k) gives such batches."
    )


def teacher_view(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The teacher's input out of a distillation batch: all frames."""
    return {"frames": inputs["frames"], "num_frames": inputs["num_frames"]}


def student_view(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The student's input out of a distillation batch: (batch, k, features) of its (batch, frames, features).

    Places beyond `student_num_frames` hold some frame or other and are masked by the model. A batch without
    "student_indices" has the student's frames only.
    With "choices" it gets all frames, and chooses by itself.
    """
    if "choices" in inputs:
        return {**teacher_view(inputs), "choices": inputs["choices"]}
    if "student_indices" not in inputs:
        return teacher_view(inputs)
    return {
        "frames": _chosen_frames(inputs["frames"], inputs["student_indices"]),
        "num_frames": inputs["student_num_frames"],
    }


def _chosen_frames(frames: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """(batch, k, features) of (batch, frames, features)."""
    if frames.dtype == tf.uint8 and tf.config.list_physical_devices("GPU"):
        # TensorFlow gathers bytes on the CPU only, and would copy all frames back there; float16 holds them exactly.
        return tf.cast(tf.gather(tf.cast(frames, tf.float16), indices, batch_dims=1), tf.uint8)
    return tf.gather(frames, indices, batch_dims=1)

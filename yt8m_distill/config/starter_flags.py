"""Flags of the starter code and of its forks that have another name here, or nothing to do.

    --num_readers=8 does nothing here: records are always read in parallel to the model (docs/migrating.md).

One row for each, in `_TRAIN`, `_EVAL` and `_INFERENCE`; flags that mean the same are settings like all others.
"""

from dataclasses import dataclass

from yt8m_distill.config.inference import EvalConfig, InferenceConfig
from yt8m_distill.config.settings import Settings
from yt8m_distill.config.training import TrainCommand

PAGE = "docs/migrating.md"


@dataclass(frozen=True)
class StarterFlag:
    """A flag that users of the starter code give.

    Attributes:
        instead: of one that is refused: what to give here, where `{value}` is the value; empty: it is accepted.
        reason: of one that is accepted: why it does nothing; of one without an equivalent: why there is none.
        is_switch: it is written `--flag` or `--noflag`, or with true or false.
    """

    instead: str = ""
    reason: str = ""
    is_switch: bool = False
    accepted: bool = False

    def line(self, name: str, value: object) -> str:
        """What users are told.

        Example:
            >>> StarterFlag(instead="--max_steps={value}").line("max_step", 9)
            '--max_step=9 is a flag of the starter code; here it is --max_steps=9 (docs/migrating.md).'
        """
        text = str(value).lower() if self.is_switch else value
        if self.accepted:
            return f"--{name}={text} does nothing here: {self.reason} ({PAGE})."
        if not self.instead:
            return f"--{name}={text} is a flag of the starter code without an equivalent: {self.reason} ({PAGE})."
        return f"--{name}={text} is a flag of the starter code; here it is {self.instead.format(value=text)} ({PAGE})."


def starter_flags(kind: type[Settings]) -> dict[str, StarterFlag]:
    """The flags of the starter code by name that the command of a configuration knows besides its own."""
    return {TrainCommand: _TRAIN, EvalConfig: _EVAL, InferenceConfig: _INFERENCE}.get(kind, {})


def _unneeded(reason: str, is_switch: bool = False) -> StarterFlag:
    return StarterFlag(reason=reason, is_switch=is_switch, accepted=True)


def _argument(name: str, is_switch: bool = False) -> StarterFlag:
    return StarterFlag(f"--model_args={name}={{value}}", is_switch=is_switch)


_NO_SUCH = "no model here has this part"
_MODELS = {
    "iterations": _argument("iterations"),
    "sample_random_frames": _argument("sample_random_frames", is_switch=True),
    "video_level_classifier_model": StarterFlag("--model_args=classifier=moe, or classifier=logistic"),
    "hidden_size": _argument("hidden_size"),
    "dbof_cluster_size": _argument("clusters"),
    "dbof_hidden_size": _argument("hidden_size"),
    "dbof_add_batch_norm": _argument("batch_norm", is_switch=True),
    "dbof_pooling_method": _argument("pooling"),
    "dbof_activation": _argument("activation"),
    "dbof_relu": StarterFlag("--model_args=activation=relu6", is_switch=True),
    "dbof_var_features": StarterFlag(reason=_NO_SUCH),
    "softdbof_maxpool": StarterFlag(reason=_NO_SUCH, is_switch=True),
    "netvlad_cluster_size": _argument("clusters"),
    "netvlad_hidden_size": _argument("hidden_size"),
    "netvlad_add_batch_norm": _argument("batch_norm", is_switch=True),
    "netvlad_relu": StarterFlag("--model_args=activation=relu6, or activation=none", is_switch=True),
    "netvlad_dimred": StarterFlag(reason=_NO_SUCH),
    "gatednetvlad_dimred": StarterFlag(reason=_NO_SUCH),
    "netvlad_hidden_size_video": StarterFlag(reason=_NO_SUCH),
    "netvlad_hidden_size_audio": StarterFlag(reason=_NO_SUCH),
    "gating": _argument("gating", is_switch=True),
    "gating_remove_diag": _argument("gating_remove_diag", is_switch=True),
    "lightvlad": _argument("lightvlad", is_switch=True),
    "vlagd": StarterFlag(reason=_NO_SUCH, is_switch=True),
    "fv_cluster_size": StarterFlag(reason=_NO_SUCH),
    "fv_hidden_size": StarterFlag(reason=_NO_SUCH),
    "fv_relu": StarterFlag(reason=_NO_SUCH, is_switch=True),
    "fv_couple_weights": StarterFlag(reason=_NO_SUCH, is_switch=True),
    "fv_coupling_factor": StarterFlag(reason=_NO_SUCH),
    "fc_dimred": StarterFlag(reason=_NO_SUCH, is_switch=True),
    "lstm_cells": _argument("cells"),
    "lstm_layers": _argument("layers"),
    "lstm_cells_video": StarterFlag(reason=_NO_SUCH),
    "lstm_cells_audio": StarterFlag(reason=_NO_SUCH),
    "lstm_random_sequence": StarterFlag(reason=_NO_SUCH, is_switch=True),
    "lstm_backward": StarterFlag(reason=_NO_SUCH, is_switch=True),
    "gru_cells": StarterFlag(reason=_NO_SUCH),
    "gru_cells_video": StarterFlag(reason=_NO_SUCH),
    "gru_cells_audio": StarterFlag(reason=_NO_SUCH),
    "gru_layers": StarterFlag(reason=_NO_SUCH),
    "gru_random_sequence": StarterFlag(reason=_NO_SUCH, is_switch=True),
    "gru_backward": StarterFlag(reason=_NO_SUCH, is_switch=True),
    "moe_num_mixtures": _argument("mixtures"),
    "moe_prob_gating": StarterFlag("--model_args=moe_gating=prob, or moe_gating=none", is_switch=True),
    "moe_prob_gating_input": StarterFlag("--model_args=moe_gating=prob, or moe_gating=input"),
    "moe_low_rank_gating": StarterFlag("--model_args=moe_gate_rank=N, where 0 is a full matrix"),
    "moe_l2": StarterFlag("--regularization_penalty, a factor of all regularization terms"),
    "nextvlad_cluster_size": _argument("clusters"),
    "nextvlad_hidden_size": _argument("hidden_size"),
    "groups": _argument("groups"),
    "expansion": _argument("expansion"),
    "drop_rate": _argument("dropout"),
    "gating_reduction": _argument("gating_reduction"),
    "mix_number": StarterFlag("--model=MixNeXtVLAD --model_args=branches={value}"),
    "cl_temperature": _argument("temperature"),
    "cl_lambda": _argument("kl_weight"),
}
_READERS = {"num_readers": _unneeded("records are always read in parallel to the model")}
_TRAIN = {
    **_MODELS,
    **_READERS,
    "export_model_steps": _unneeded("the run directory always holds a model that eval.py and inference.py can read"),
    "log_device_placement": _unneeded("TensorFlow 2 has no session to log", is_switch=True),
    "max_step": StarterFlag("--max_steps={value}"),
    "num_gpu": StarterFlag("--distribution=mirrored, which trains on all GPUs that CUDA_VISIBLE_DEVICES names"),
}
_OF_RUN = "the model and its arguments are those of the run"
_TRAINED = {
    **{name: _unneeded(_OF_RUN, flag.is_switch) for name, flag in _MODELS.items()},
    **_READERS,
    "model": _unneeded(_OF_RUN),
    "frame_features": _unneeded("the records are of the level that the model was trained on", is_switch=True),
    "feature_names": _unneeded("the features are those that the model was trained on"),
    "feature_sizes": _unneeded("the features are those that the model was trained on"),
    "num_gpu": _unneeded("one device is used"),
    "log_device_placement": _unneeded("TensorFlow 2 has no session to log", is_switch=True),
    "check_point": StarterFlag(
        reason="the best epoch is used; eval.py --follow evaluates each checkpoint of a running training"
    ),
}
_EVAL = {
    **_TRAINED,
    "label_loss": _unneeded("the loss that is reported is the cross entropy"),
    "top_k": _unneeded("metrics are of each video's 20 best classes, as GAP@20 is defined; see --full_map"),
}
_INFERENCE = {
    **_TRAINED,
    "untar_model_dir": _unneeded("a packed model is unpacked into a temporary folder"),
}

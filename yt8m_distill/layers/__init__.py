"""Keras layers that the models are made of."""

from yt8m_distill.layers.batch_normalization import MaskedBatchNormalization
from yt8m_distill.layers.branch_mixture import BranchMixture
from yt8m_distill.layers.classifiers import LogisticClassifier, MixtureOfExperts
from yt8m_distill.layers.gating import ContextGating, SEContextGating
from yt8m_distill.layers.masking import MaskedLayer, append_frames, frame_mask, l2_normalize, mean_over_frames
from yt8m_distill.layers.netvlad import NetVLADPooling
from yt8m_distill.layers.nextvlad import NeXtVLADPooling
from yt8m_distill.layers.random_frames import RandomFrames
from yt8m_distill.layers.stacked_lstm import StackedLSTM

__all__ = [
    "BranchMixture",
    "ContextGating",
    "LogisticClassifier",
    "MaskedBatchNormalization",
    "MaskedLayer",
    "MixtureOfExperts",
    "NeXtVLADPooling",
    "NetVLADPooling",
    "RandomFrames",
    "SEContextGating",
    "StackedLSTM",
    "append_frames",
    "frame_mask",
    "l2_normalize",
    "mean_over_frames",
]

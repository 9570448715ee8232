"""The models: registered Keras models with one contract, `VideoModel`."""

from yt8m_distill.models.average import FrameLevelLogistic, Logistic, Moe
from yt8m_distill.models.dbof import Dbof
from yt8m_distill.models.hierarchical_rnn import HierarchicalRNN
from yt8m_distill.models.lstm import Lstm
from yt8m_distill.models.mix_nextvlad import MixNeXtVLAD
from yt8m_distill.models.netvlad import NetVLAD
from yt8m_distill.models.nextvlad import NeXtVLAD
from yt8m_distill.models.video_model import VideoModel

__all__ = [
    "Dbof",
    "FrameLevelLogistic",
    "HierarchicalRNN",
    "Logistic",
    "Lstm",
    "MixNeXtVLAD",
    "Moe",
    "NeXtVLAD",
    "NetVLAD",
    "VideoModel",
]

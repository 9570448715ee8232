"""Training steps: `LabelTrainer` for one model on labels, `Distiller` for a student that is matched to its teacher."""

from yt8m_distill.distiller.distillation import Distiller, check_losses, reach_classifier, read_teacher
from yt8m_distill.distiller.label_trainer import LabelTrainer, StepLosses
from yt8m_distill.distiller.views import student_view

__all__ = [
    "Distiller",
    "LabelTrainer",
    "StepLosses",
    "check_losses",
    "reach_classifier",
    "read_teacher",
    "student_view",
]

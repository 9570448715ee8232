"""Imported, this module has `load_reference_weights`: weights of the original implementations into our models."""

from yt8m_distill.reference_weights import load_reference_weights

__all__ = ["load_reference_weights"]

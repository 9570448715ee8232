"""Frames chosen by the features of all frames of a video."""

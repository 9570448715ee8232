"""Video classification with fewer frames: teachers see all frames of a video, students only k."""

__version__ = "0.1.0"

"""roadwork: an image classifier for roadwork that can be trusted, from photographs to answers.

The package is a pure library: it knows roads and statistics, and nothing of ZenML, MLflow,
BentoML or Kubernetes. Importing it is cheap; each part loads its heavy dependencies when used.
"""

from __future__ import annotations

__all__ = ["CLASSES", "POSITIVE", "__version__"]

__version__ = "0.1.0"

CLASSES: tuple[str, ...] = ("none", "roadwork")
"""Class names by index; the background class comes first."""

POSITIVE = 1
"""Index of the class that binary metrics call positive."""

"""The tree of errors that roadwork raises.

Every message says what happened, where, and what to do about it. The command line prints the
message alone and leaves with the class's exit code; the service maps ``InputError`` to 4xx.
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "ConfigError",
    "DataError",
    "GateFailed",
    "InputError",
    "Interrupted",
    "LeakageError",
    "ParityError",
    "RegistryError",
    "RoadworkError",
    "TrainingError",
]


class RoadworkError(Exception):
    """Root of every error that roadwork raises on purpose."""

    exit_code = 1


class ConfigError(RoadworkError):
    """The settings are wrong: an unknown key, a wrong type, an impossible combination."""

    exit_code = 2


class DataError(RoadworkError):
    """The data cannot be used: unreadable images, missing labels, a broken manifest."""


class LeakageError(DataError):
    """Something that was fitted on data would be judged on, or fitted again on, that same data."""


class TrainingError(RoadworkError):
    """Training cannot go on: a refused checkpoint, a loss that is not finite, a full disk."""


class Interrupted(TrainingError):
    """Somebody stopped training; the same command goes on from the last checkpoint."""


class ParityError(RoadworkError):
    """An exported model does not answer like the model that was evaluated."""


class BundleError(RoadworkError):
    """A model bundle is missing, incomplete, or was changed after it was sealed."""


class RegistryError(RoadworkError):
    """The model registry has no such model, version or alias, or cannot be reached."""


class GateFailed(RoadworkError):
    """The evidence does not support the promotion."""

    exit_code = 3


class InputError(RoadworkError):
    """One input of a request cannot be answered: not an image, too large, empty."""

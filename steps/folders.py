"""Where steps write outside of the artifact store."""

from __future__ import annotations

from pathlib import Path

from roadwork.settings import Settings

__all__ = ["bundles", "checkpoints", "reports"]


def _inside(settings: Settings, name: str) -> Path:
    assert settings.runs is not None, "resolve the settings first"
    folder = settings.runs / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def checkpoints(settings: Settings) -> Path:
    """Checkpoints of training, by fingerprint of their inputs."""
    return _inside(settings, "checkpoints")


def bundles(settings: Settings) -> Path:
    """Sealed bundles."""
    return _inside(settings, "bundles")


def reports(settings: Settings) -> Path:
    """Report pages of finished runs."""
    return _inside(settings, "reports")

"""One strict tree of settings, and the size dial that fills in what is left ``auto``.

A run's settings are written once (YAML, or the defaults), resolved once (:func:`resolve`), frozen
and saved with the run. An unknown key, a wrong type or an impossible combination raises
:class:`~roadwork.errors.ConfigError` naming the key and the fix.
"""

from __future__ import annotations

from roadwork.settings.reading import json_schema, load_settings, parse_settings
from roadwork.settings.sizes import SIZES, resolve
from roadwork.settings.tree import (
    BackboneSettings,
    CalibrateSettings,
    ConformalSettings,
    DataSettings,
    DeploySettings,
    EvaluateSettings,
    ExportSettings,
    FinetuneSettings,
    ImageFolderSource,
    PretrainSettings,
    PromoteSettings,
    RegisterSettings,
    Settings,
    SplitSettings,
    SyntheticSource,
    ViewSettings,
)

__all__ = [
    "SIZES",
    "BackboneSettings",
    "CalibrateSettings",
    "ConformalSettings",
    "DataSettings",
    "DeploySettings",
    "EvaluateSettings",
    "ExportSettings",
    "FinetuneSettings",
    "ImageFolderSource",
    "PretrainSettings",
    "PromoteSettings",
    "RegisterSettings",
    "Settings",
    "SplitSettings",
    "SyntheticSource",
    "ViewSettings",
    "json_schema",
    "load_settings",
    "parse_settings",
    "resolve",
]

"""One strict tree of settings, and the size dial that fills in what is left ``auto``.

A run's settings are written once (YAML, or the defaults), resolved once (:func:`resolve`), frozen
and saved with the run. An unknown key, a wrong type or an impossible combination raises
:class:`~roadwork.errors.ConfigError` naming the key and the fix.
"""

from __future__ import annotations

from roadwork.settings.data import (
    CmuRoadworkSource,
    DataSettings,
    FusionSettings,
    ImageFolderSource,
    MapillarySource,
    NatixSource,
    ShardSettings,
    Source,
    SourceExpectation,
    SplitSettings,
    SyntheticSource,
)
from roadwork.settings.models import BackboneSettings, ViewSettings
from roadwork.settings.reading import json_schema, load_settings, parse_settings
from roadwork.settings.sizes import SIZES, resolve
from roadwork.settings.tree import (
    CalibrateSettings,
    ConformalSettings,
    DeploySettings,
    DomainSettings,
    EvaluateSettings,
    ExportSettings,
    FinetuneSettings,
    LossSettings,
    OptimizerSettings,
    PretrainSettings,
    PromoteSettings,
    RegisterSettings,
    SamplingSettings,
    Settings,
)

__all__ = [
    "SIZES",
    "BackboneSettings",
    "CalibrateSettings",
    "CmuRoadworkSource",
    "ConformalSettings",
    "DataSettings",
    "DeploySettings",
    "DomainSettings",
    "EvaluateSettings",
    "ExportSettings",
    "FinetuneSettings",
    "FusionSettings",
    "ImageFolderSource",
    "LossSettings",
    "MapillarySource",
    "NatixSource",
    "OptimizerSettings",
    "PretrainSettings",
    "PromoteSettings",
    "RegisterSettings",
    "SamplingSettings",
    "Settings",
    "ShardSettings",
    "Source",
    "SourceExpectation",
    "SplitSettings",
    "SyntheticSource",
    "ViewSettings",
    "json_schema",
    "load_settings",
    "parse_settings",
    "resolve",
]

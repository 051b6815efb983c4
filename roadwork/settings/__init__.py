"""One strict tree of settings, and the size dial that fills in what is left ``auto``.

A run's settings are written once (YAML, or the defaults), resolved once (:func:`resolve`), frozen
and saved with the run. An unknown key, a wrong type or an impossible combination raises
:class:`~roadwork.errors.ConfigError` naming the key and the fix.
"""

from __future__ import annotations

from roadwork.settings.cascade import CascadeSettings
from roadwork.settings.compute import ComputeSettings
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
from roadwork.settings.defer import DeferSettings
from roadwork.settings.finetune import (
    DomainSettings,
    FinetuneSettings,
    LossSettings,
    OptimizerSettings,
    SamplingSettings,
)
from roadwork.settings.models import BackboneSettings, ViewSettings
from roadwork.settings.pretrain import PretrainSettings
from roadwork.settings.reading import json_schema, load_settings, parse_settings
from roadwork.settings.sizes import SIZES, resolve
from roadwork.settings.track import TrackSettings
from roadwork.settings.tree import (
    CalibrateSettings,
    ConformalSettings,
    DeploySettings,
    EvaluateSettings,
    ExportSettings,
    PromoteSettings,
    RegisterSettings,
    Settings,
)

__all__ = [
    "SIZES",
    "BackboneSettings",
    "CalibrateSettings",
    "CascadeSettings",
    "CmuRoadworkSource",
    "ComputeSettings",
    "ConformalSettings",
    "DataSettings",
    "DeferSettings",
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
    "TrackSettings",
    "ViewSettings",
    "json_schema",
    "load_settings",
    "parse_settings",
    "resolve",
]

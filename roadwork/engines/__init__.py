"""Engines: what runs the network, chosen once, with a logged reason.

``ENGINES`` lists them in the order in which ``auto`` tries them. The modules import their package
when a model is opened, not before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType

from roadwork.bundle import ModelBundle
from roadwork.engines.base import Availability, Engine, EngineInfo, Logits, Views
from roadwork.engines.onnxruntime import ONNX_RUNTIME, OnnxRuntimeEngine
from roadwork.engines.openvino import OPENVINO, OpenVinoEngine
from roadwork.engines.torch import TORCH, TorchEngine
from roadwork.errors import ConfigError

__all__ = [
    "ENGINES",
    "Availability",
    "Engine",
    "EngineInfo",
    "Logits",
    "OnnxRuntimeEngine",
    "OpenVinoEngine",
    "TorchEngine",
    "Views",
    "choose_engine",
]

logger = logging.getLogger(__name__)

ENGINES: Mapping[str, EngineInfo] = MappingProxyType(
    {info.name: info for info in (OPENVINO, ONNX_RUNTIME, TORCH)}
)


def choose_engine(bundle: ModelBundle, wanted: str = "auto", threads: int = 0) -> Engine:
    """Open the bundle's model with the engine of that name, or with the first that may answer.

    An engine may answer when it can run here and the bundle's parity report accepted it.

    Args:
        bundle: the opened bundle.
        wanted: a name in ``ENGINES``, or ``"auto"``.
        threads: CPU threads; 0 takes all.

    Raises:
        ConfigError: there is no engine of that name, it cannot run here, or parity refused it; or
            no engine at all may answer.
    """
    if wanted != "auto" and wanted not in ENGINES:
        raise ConfigError(f"there is no engine {wanted!r}: use auto, {', '.join(ENGINES)}")
    passed_over: list[str] = []
    for info in ENGINES.values() if wanted == "auto" else (ENGINES[wanted],):
        obstacle = _obstacle(info, bundle)
        if obstacle is None:
            for reason in passed_over:
                logger.info("engine passed over: %s", reason)
            why = "named" if wanted != "auto" else "the first that can run and agreed in parity"
            logger.info("engine of the %s: %s (%s)", bundle.title, info.title, why)
            return info.open(bundle, threads)
        passed_over.append(f"{info.name}: {obstacle}")
    if wanted == "auto":
        raise ConfigError(f"no engine can serve the {bundle.title}: {'; '.join(passed_over)}")
    raise ConfigError(
        f"the engine {passed_over[0]} (asked for by name; with auto another one may answer)"
    )


def _obstacle(info: EngineInfo, bundle: ModelBundle) -> str | None:
    usable, reason = info.available()
    return bundle.parity.obstacle(info.name) if usable else reason

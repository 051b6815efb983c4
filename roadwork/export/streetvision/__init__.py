"""Export for StreetVision (Bittensor subnet 72): a folder that a miner can publish and host."""

from __future__ import annotations

from roadwork.export.streetvision.folder import Exported, export_streetvision
from roadwork.export.streetvision.operating_point import (
    OperatingPoint,
    fitted_point,
    given_point,
)
from roadwork.export.streetvision.submission import Submission

__all__ = [
    "Exported",
    "OperatingPoint",
    "Submission",
    "export_streetvision",
    "fitted_point",
    "given_point",
]

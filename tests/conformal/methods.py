"""Every conformal method with settings under which it can be fitted on two classes."""

from __future__ import annotations

from typing import Any

from roadwork.settings.conformal import ConformalSettings

NEEDED: dict[str, dict[str, Any]] = {
    "lac": {},
    "aps": {},
    "raps": {"penalty": 0.1, "k_reg": 1},
    "saps": {"weight": 0.2},
    "rank": {},
    "mondrian": {},
    "mondrian_slice": {"slice": "weather"},
    "rc3p": {},
    "scrc": {"selection": 0.6},
    "crcp": {"label_noise": ((0.9, 0.1), (0.05, 0.95))},
}
METHODS = tuple(NEEDED)


def asked(method: str, alpha: float = 0.1, **more: object) -> ConformalSettings:
    """Settings of a method with what it needs."""
    return ConformalSettings.model_validate(
        {"method": method, "alpha": alpha, **NEEDED[method], **more}
    )

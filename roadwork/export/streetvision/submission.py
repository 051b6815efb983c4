"""A submission: what ``model_card.json`` says of who submits what, and when.

Source: ``docs/Mining.md`` of natixnetwork/streetvision-subnet, commit 28a1755, which names five
fields, a version "in X.Y.Z format" and a "timestamp"; here that is Unix time in whole seconds, as
its ``register.sh`` takes it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from roadwork.errors import ConfigError

__all__ = ["Submission", "parse_time"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,95}")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SUBSTRATE = 42  # the address type that Bittensor uses
_MAX_DESCRIPTION = 1000


@dataclass(frozen=True)
class Submission:
    """One model, submitted by one hotkey.

    Attributes:
        name: of the model, free.
        version: three numbers, ``1.0.2``.
        hotkey: SS58 address of the wallet's hotkey, never its words or its key file.
        description: one line for people.
        submitted: Unix time in seconds.
    """

    name: str
    version: str
    hotkey: str
    description: str
    submitted: int

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: naming the field and what it should be.
        """
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"the name {self.name!r} cannot be used: take 1 to 96 letters, digits, spaces and "
                ". _ -, a letter or digit first"
            )
        if not _VERSION.fullmatch(self.version):
            raise ConfigError(
                f"the version {self.version!r} is not of the form X.Y.Z: three whole numbers "
                "without leading zeros, such as 1.0.0"
            )
        reason = _address_fault(self.hotkey)
        if reason:
            raise ConfigError(
                f"the hotkey {self.hotkey!r} is no SS58 address: {reason}; `btcli wallet list` "
                "shows the address of a hotkey"
            )
        if not self.description.strip() or len(self.description) > _MAX_DESCRIPTION:
            raise ConfigError(f"the description needs 1 to {_MAX_DESCRIPTION} characters")
        if self.submitted <= 0:
            raise ConfigError(f"the time of submission {self.submitted} is not after 1970")

    def model_card(self) -> Mapping[str, str | int]:
        """Content of ``model_card.json``."""
        return {
            "model_name": self.name,
            "description": self.description,
            "version": self.version,
            "submitted_by": self.hotkey,
            "submission_time": self.submitted,
        }


def parse_time(text: str | None) -> int:
    """Unix seconds of a text: whole seconds, or ISO 8601 with a time zone; None is now.

    Raises:
        ConfigError: it is neither.
    """
    if text is None:
        return int(time.time())
    if re.fullmatch(r"\d{1,12}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigError(
            f"the time {text!r} is neither Unix seconds nor ISO 8601 with a time zone, such as "
            "2026-01-31T12:00:00+00:00"
        )
    return int(moment.timestamp())


def _address_fault(address: str) -> str | None:
    """Why a text is no SS58 address of Bittensor; None when it is one.

    Base 58 of one byte for the type, 32 for the key, and the first two of a BLAKE2b-512 over
    ``SS58PRE`` and these (the SS58 format of Substrate).
    """
    number = 0
    for letter in address:
        digit = _BASE58.find(letter)
        if digit < 0:
            return f"{letter!r} does not occur in one"
        number = number * 58 + digit
    if len(address) != 48:
        return f"it has {len(address)} characters instead of 48"
    data = number.to_bytes(36, "big")[1:]
    check = hashlib.blake2b(b"SS58PRE" + data[:33]).digest()[:2]
    if number >= 256**35 or check != data[33:]:
        return "its check sum is wrong, so a character is mistaken"
    if data[0] != _SUBSTRATE:
        return "it belongs to another network"
    return None

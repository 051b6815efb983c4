"""Fitted: a small fitted record with its exposure, as calibrators and conformal predictors are."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel

from roadwork.data.exposure import Exposure

__all__ = ["Fitted"]

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Fitted(ABC, Generic[Model]):
    """A fitted record, and what touched it and everything beneath it."""

    model: Model
    exposure: Exposure

    title: ClassVar[str]
    file: ClassVar[str]

    @classmethod
    @abstractmethod
    def parse(cls, data: Mapping[str, Any]) -> Model:
        """The record of a mapping read from JSON."""

    @property
    def content_hash(self) -> str:
        """Changes with the parameters or the exposure."""
        digest = hashlib.sha256(self.model.model_dump_json().encode())
        digest.update(self.exposure.to_bytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the record as JSON, and ``exposure.bin``."""
        (folder / self.file).write_text(self.model.model_dump_json(indent=2))
        (folder / "exposure.bin").write_bytes(self.exposure.to_bytes())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        model = cls.parse(json.loads((folder / cls.file).read_text()))
        return cls(model, Exposure.from_bytes((folder / "exposure.bin").read_bytes()))

"""What every part of a stored record shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Natural", "Record", "Share"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Natural = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """Base of every part: frozen, strict, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

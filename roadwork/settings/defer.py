"""Settings of the defer threshold."""

from __future__ import annotations

from pydantic import Field

from roadwork.settings.strict import Share, Strict

__all__ = ["DeferSettings"]


class DeferSettings(Strict):
    """A confidence from which on answers stand alone, and what they may cost.

    It is judged in the report; in service the prediction sets decide what goes to a person.
    """

    enabled: bool = False
    max_error: Share = Field(
        default=0.05, description="Promise: share of accepted images that are answered wrongly."
    )
    max_missed: Share | None = Field(
        default=None,
        description="The same among accepted images of roadwork; null promises nothing there.",
    )
    delta: Share = Field(
        default=0.1, description="Probability that the draw of the conformal set breaks a promise."
    )

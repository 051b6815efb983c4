"""The record of a validation: what was expected, what was found, and what the data look like."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from roadwork.data.leak_guard import LeakGuard
from roadwork.data.profile import DataProfile

__all__ = ["Check", "SetAside", "SetCounts", "ValidationReport"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Check(_Record):
    """One expectation and what came of it.

    Attributes:
        name: stable identifier.
        title: what is expected, as a sentence.
        section: part of the report: schema, vocabulary, ranges, leakage or sources.
        leak: whether a failure means that an evaluation would be dishonest.
        success: whether the expectation holds.
        broken: whether the check itself could not be carried out; ``success`` is then false.
        observed: how many rows or keys offend, or None where the check broke.
        offenders: the first 20 of them, by name.
        detail: why the check broke; empty otherwise.
    """

    name: str
    title: str
    section: str = ""
    leak: bool
    success: bool
    broken: bool
    observed: int | None
    offenders: tuple[str, ...]
    detail: str

    @property
    def verdict(self) -> str:
        """One sentence for people."""
        if self.success:
            return "holds"
        if self.broken:
            return f"the check itself broke, which says nothing about the data: {self.detail}"
        more = ", …" if (self.observed or 0) > len(self.offenders) else ""
        named = f": {', '.join(self.offenders)}{more}" if self.offenders else ""
        return f"{self.observed} offend{'s' if self.observed == 1 else ''}{named}"


class SetCounts(_Record):
    """Size of one set."""

    images: int
    groups: int
    positives: int


class SetAside(_Record):
    """Rows that ingest did not offer, for one reason.

    Attributes:
        kind: ``damaged``, ``left out`` (on purpose) or ``copy`` (of a row that was kept).
        reason: short code.
        count: how many.
        examples: the first three, with what was wrong or what was kept instead.
    """

    kind: str
    reason: str
    count: int
    examples: tuple[str, ...]


class ValidationReport(_Record):
    """All checks of one manifest and its splits.

    Attributes:
        engine: who carried the checks out.
        counts: size of each set, by role.
        quarantine: unusable files by reason.
        exact_copies: copies that ingest left out.
        checks: every check, in a fixed order.
        aside: what ingest did not offer, by reason, with examples.
        profile: what each source looks like.
        reference: the profile that the sources had to match, if there was one.
        leak_guard: how much missing metadata give the label away.
        results: the results in the JSON form of Great Expectations, without times and run names.
    """

    engine: str
    counts: dict[str, SetCounts]
    quarantine: dict[str, int]
    exact_copies: int
    checks: tuple[Check, ...]
    aside: tuple[SetAside, ...] = ()
    profile: DataProfile | None = None
    reference: DataProfile | None = None
    leak_guard: LeakGuard | None = None
    results: str = ""

    @property
    def success(self) -> bool:
        """Whether every check holds."""
        return all(check.success for check in self.checks)

    @property
    def html(self) -> str:
        """One self-contained page."""
        from roadwork.data.validation_page import render_validation

        return render_validation(self)

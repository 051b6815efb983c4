"""The verdict: every check of the gate with its number, its bar and its reason."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from roadwork.errors import GateFailed
from roadwork.evaluation.record import Check
from roadwork.evidence import Opening, Record

__all__ = ["Verdict"]


class Verdict(Record):
    """The gate's answer: it is passed when every check is.

    Attributes:
        version: the candidate.
        bundle_hash: of its bundle.
        passed: whether every check is.
        checks: in the order in which they are shown.
        notes: what a reader should know and what decides nothing.
        test_hash: names the test set; None in verdicts of earlier versions.
        opening: of the test set, for the comparison with the champion; None when none was made.
    """

    version: str
    bundle_hash: str
    passed: bool
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
    notes: tuple[str, ...] = ()
    test_hash: str | None = None
    opening: Opening | None = None

    def require(self) -> None:
        """Let a passed verdict through.

        Raises:
            GateFailed: naming every check that failed, with its number.
        """
        failed = [check for check in self.checks if not check.passed]
        if failed:
            lines = "\n  ".join(f"{check.name}: {check.detail}" for check in failed)
            raise GateFailed(
                f"version {self.version} is not promoted: {len(failed)} of {len(self.checks)} "
                f"checks failed\n  {lines}"
            )

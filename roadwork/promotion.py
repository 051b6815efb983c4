"""The promotion gate: evidence in, a verdict with reasons out.

The gate is a list of named checks, each with its number and its threshold; no single score stands
for all of them. It is a pure function of the evidence and of the settings, so that the same
evidence gives the same verdict on every machine.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from roadwork.conformal.ranks import shortfall_probability
from roadwork.errors import GateFailed
from roadwork.evaluation.record import Check
from roadwork.evidence import ClassCoverage, Evidence, Record
from roadwork.settings import PromoteSettings

__all__ = ["Check", "Verdict", "coverage_p_value", "decide"]


class Verdict(Record):
    """The gate's answer: it is passed when every check is."""

    version: str
    bundle_hash: str
    passed: bool
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
    notes: tuple[str, ...] = ()

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


def decide(
    evidence: Evidence, settings: PromoteSettings, *, unpaired_reason: str | None = None
) -> Verdict:
    """Judge a candidate.

    Args:
        evidence: what is known of the candidate and of the champion.
        settings: thresholds.
        unpaired_reason: why somebody accepts a candidate that cannot be compared with the champion
            on the same images; None when nobody does. It is kept in the verdict.
    """
    checks = (
        _integrity(evidence),
        _parity(evidence),
        _auroc(evidence, settings),
        *(
            _coverage(name, seen, settings.confidence)
            for name, seen in sorted(evidence.coverage.items())
        ),
        _champion(evidence, settings, unpaired_reason),
    )
    return Verdict(
        version=evidence.version,
        bundle_hash=evidence.bundle_hash,
        passed=all(check.passed for check in checks),
        checks=checks,
        notes=_notes(evidence),
    )


def coverage_p_value(seen: ClassCoverage) -> float:
    """See :func:`roadwork.conformal.ranks.shortfall_probability`; 1 without a test image."""
    if not seen.n:
        return 1.0
    return shortfall_probability(seen.covered, seen.n, seen.points, seen.rank, seen.design_effect)


def _integrity(evidence: Evidence) -> Check:
    name = "report belongs to the bundle"
    if evidence.bundle_hash != evidence.registered_hash:
        detail = (
            f"the bundle has the hash {evidence.bundle_hash[:12]}, but was registered as "
            f"{evidence.registered_hash[:12]}: it was exchanged afterwards"
        )
        return Check(name=name, passed=False, detail=detail)
    if evidence.figures_hash != evidence.bundle_figures_hash:
        detail = (
            "the registered report has other figures than the bundle: it is stale; evaluate and "
            "register the bundle again"
        )
        return Check(name=name, passed=False, detail=detail)
    detail = f"bundle {evidence.bundle_hash[:12]}, figures {evidence.figures_hash[:12]}"
    return Check(name=name, passed=True, detail=detail)


def _parity(evidence: Evidence) -> Check:
    parity = evidence.parity
    return Check(name="engines answer alike", passed=parity.accepted, detail=parity.detail)


def _auroc(evidence: Evidence, settings: PromoteSettings) -> Check:
    name, auroc = "AUROC above chance", evidence.auroc
    if settings.min_auroc > 0.5:
        name = f"AUROC above {settings.min_auroc:g}"
    if auroc.value is None or auroc.low is None or auroc.high is None:
        reason = auroc.reason or "it has no interval"
        return Check(name=name, passed=False, detail=f"AUROC is not known: {reason}")
    passed = auroc.low > settings.min_auroc
    detail = (
        f"{auroc.value:.4f}, 95 % interval {auroc.low:.4f} to {auroc.high:.4f}; its lower end "
        f"{'is' if passed else 'must be'} above {settings.min_auroc:g}"
    )
    return Check(name=name, passed=passed, detail=detail)


def _coverage(label: str, seen: ClassCoverage, confidence: float) -> Check:
    name = f"coverage of {label}"
    if not seen.n:
        return Check(name=name, passed=False, detail="the test set has no such image")
    p_value, least = coverage_p_value(seen), 1.0 - confidence
    passed = p_value >= least
    points = "unbounded" if seen.rank is None else f"{seen.points} conformal images"
    detail = (
        f"{seen.covered} of {seen.n} sets hold it ({seen.covered / seen.n:.4f}; promised "
        f"{seen.target:g}, threshold from {points}, {seen.design_effect:.1f} images count as one); "
        "so few or fewer have probability "
        f"{p_value:.4f}, {'at least' if passed else 'less than'} {least:.4g}"
    )
    return Check(name=name, passed=passed, detail=detail)


def _champion(evidence: Evidence, settings: PromoteSettings, unpaired: str | None) -> Check:
    name, champion = "not worse than the champion", evidence.champion
    if champion is None:
        return Check(name=name, passed=True, detail="there is no champion yet")
    rival = f"champion {champion.version} ({champion.bundle_hash[:12]})"
    if champion.bundle_hash == evidence.bundle_hash:
        return Check(name=name, passed=True, detail=f"the same bundle as {rival}")
    difference = champion.difference
    if difference is None or difference.difference is None or difference.low is None:
        reason = champion.reason or (difference.reason if difference else None) or "not compared"
        if unpaired:
            detail = f"not compared with {rival} ({reason}); accepted all the same: {unpaired}"
            return Check(name=name, passed=True, detail=detail)
        detail = (
            f"no paired comparison with {rival}: {reason}; needs "
            "`roadwork promote --accept-unpaired --reason WHY`"
        )
        return Check(name=name, passed=False, detail=detail)
    passed = difference.low >= -settings.mcc_margin
    detail = (
        f"MCC {difference.b:.4f} against {difference.a:.4f} of {rival}: difference "
        f"{difference.difference:+.4f}, 95 % interval {difference.low:+.4f} to "
        f"{difference.high:+.4f} over {difference.n_groups} groups; its lower end "
        f"{'is' if passed else 'must be'} at least {-settings.mcc_margin:+g}"
    )
    return Check(name=name, passed=passed, detail=detail)


def _notes(evidence: Evidence) -> tuple[str, ...]:
    notes: list[str] = []
    if evidence.synthetic:
        notes.append("the photographs are generated: the figures say nothing about real roads")
    accepted, plain = evidence.accepted, evidence.accuracy.value
    if not accepted.n:
        notes.append("every image is deferred to a person")
    elif plain is not None:
        share = accepted.right / accepted.n
        relation = "at least" if share >= plain else "BELOW"
        notes.append(
            f"accuracy of the {accepted.n} answered images is {share:.4f}, {relation} that of all "
            f"images ({plain:.4f})"
        )
    return tuple(notes)

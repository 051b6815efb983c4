"""The gate: a list of named checks, each with its number, its bar and its reason.

No single score stands for all of them. The verdict is a pure function of the evidence, so that the
same evidence gives the same verdict on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from roadwork.conformal.ranks import shortfall_probability
from roadwork.evaluation.holm import LEVEL
from roadwork.evaluation.metrics import METRICS
from roadwork.evaluation.record import Check
from roadwork.evidence import Champion, ClassCoverage, Comparison, Evidence
from roadwork.promotion.verdict import Verdict

__all__ = ["coverage_p_value", "decide"]

_SPENDING: Mapping[str, str] = {
    "test_set": "comparison {place} on it, at the level {own}: all comparisons on it together let "
    "one pass that is not better with probability {all}, about",
    "candidate": "comparison {place} on it, at the level {own}: each lets one pass that is not "
    "better with this probability, about, however many there are",
}


def decide(evidence: Evidence, *, unpaired_reason: str | None = None) -> Verdict:
    """Judge a candidate.

    Args:
        evidence: what is known of the candidate and of the champion, and what is asked.
        unpaired_reason: why somebody accepts a candidate that cannot be compared with the champion
            on the same images; None when nobody does. It is kept in the verdict, and excuses
            nothing else.
    """
    checks = (
        _integrity(evidence),
        _parity(evidence),
        _unexposed(evidence),
        _auroc(evidence),
        *_ece(evidence),
        *(
            _coverage(name, seen, evidence.settings.confidence)
            for name, seen in sorted(evidence.coverage.items())
        ),
        *_budgets(evidence),
        *_rivalry(evidence, unpaired_reason),
    )
    return Verdict(
        version=evidence.version,
        bundle_hash=evidence.bundle_hash,
        passed=all(check.passed for check in checks),
        checks=checks,
        notes=tuple(_notes(evidence)),
        test_hash=evidence.test_hash,
        opening=evidence.champion.opening if evidence.champion else None,
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


def _unexposed(evidence: Evidence) -> Check:
    name = "never saw the test set"
    if evidence.scores_fault is not None:
        detail = f"what was answered on the test set is not known: {evidence.scores_fault}"
        return Check(name=name, passed=False, detail=detail)
    if evidence.seen:
        found = ", ".join(
            f"{one.samples} of its images and {one.groups} of its groups (use: {one.use})"
            for one in evidence.seen
        )
        detail = f"the bundle was exposed to {found}: its figures on them prove nothing"
        return Check(name=name, passed=False, detail=detail)
    detail = f"no image and no group of the test set {evidence.test_hash[:12]} is in its exposure"
    return Check(name=name, passed=True, detail=detail)


def _auroc(evidence: Evidence) -> Check:
    bar, auroc = evidence.settings.min_auroc, evidence.auroc
    name = f"AUROC above {bar:g}" if bar > 0.5 else "AUROC above chance"
    if auroc.value is None or auroc.low is None or auroc.high is None:
        reason = auroc.reason or "it has no interval"
        return Check(name=name, passed=False, detail=f"AUROC is not known: {reason}", bar=bar)
    passed = auroc.low > bar
    detail = (
        f"{auroc.value:.4f}, 95 % interval {auroc.low:.4f} to {auroc.high:.4f}; its lower end "
        f"{'is' if passed else 'must be'} above {bar:g}"
    )
    return Check(name=name, passed=passed, detail=detail, value=auroc.low, bar=bar)


def _ece(evidence: Evidence) -> Iterator[Check]:
    bar, ece = evidence.settings.max_ece, evidence.ece
    if bar is None:
        return
    name = f"ECE at most {bar:g}"
    if ece.value is None:
        detail = f"the calibration error is not known: {ece.reason}"
        yield Check(name=name, passed=False, detail=detail, bar=bar)
        return
    passed = ece.value <= bar
    detail = (
        f"P(roadwork) is off by {ece.value:.4f} on average over bins of {ece.n} images, "
        f"{'at most' if passed else 'more than'} {bar:g}; few images make this figure too large"
    )
    yield Check(name=name, passed=passed, detail=detail, value=ece.value, bar=bar)


def _coverage(label: str, seen: ClassCoverage, confidence: float) -> Check:
    name, least = f"coverage of {label}", 1.0 - confidence
    if not seen.n:
        detail = "the test set has no such image"
        return Check(name=name, passed=False, detail=detail, bar=least)
    p_value = coverage_p_value(seen)
    passed = p_value >= least
    points = "unbounded" if seen.rank is None else f"{seen.points} conformal images"
    detail = (
        f"{seen.covered} of {seen.n} sets hold it ({seen.covered / seen.n:.4f}; promised "
        f"{seen.target:g}, threshold from {points}, {seen.design_effect:.1f} images count as one); "
        "so few or fewer have probability "
        f"{p_value:.4f}, {'at least' if passed else 'less than'} {least:.4g}"
    )
    return Check(name=name, passed=passed, detail=detail, value=p_value, bar=least)


def _budgets(evidence: Evidence) -> Iterator[Check]:
    settings = evidence.settings
    if settings.max_megabytes is not None:
        size, bar = evidence.megabytes, settings.max_megabytes
        passed = size <= bar
        detail = f"the bundle has {size:.1f} MB, {'at most' if passed else 'more than'} {bar:g} MB"
        yield Check(name="size budget", passed=passed, detail=detail, value=size, bar=bar)
    if settings.max_latency_ms is not None:
        bar, latency = settings.max_latency_ms, evidence.latency
        if latency is None:
            yield Check(name="latency budget", passed=False, detail="it was not measured", bar=bar)
            return
        took = latency.milliseconds
        passed = took <= bar
        detail = (
            f"the median of {latency.answers} answers by {latency.engine} on this machine took "
            f"{took:.1f} ms, {'at most' if passed else 'more than'} {bar:g} ms"
        )
        yield Check(name="latency budget", passed=passed, detail=detail, value=took, bar=bar)


def _rivalry(evidence: Evidence, unpaired: str | None) -> Iterator[Check]:
    name, champion = "better than the champion", evidence.champion
    if champion is None:
        yield Check(
            name=name, passed=True, detail="there is no champion yet: the absolute bars decide"
        )
        return
    rival = f"champion {champion.version} ({champion.bundle_hash[:12]})"
    if champion.bundle_hash == evidence.bundle_hash:
        yield Check(name=name, passed=True, detail=f"the same bundle as {rival}")
    elif champion.opening is None:
        reason = champion.reason or "not compared"
        detail = (
            f"not compared with {rival} ({reason}); accepted all the same: {unpaired}"
            if unpaired
            else f"no paired comparison with {rival}: {reason}; needs "
            "`roadwork promote --accept-unpaired --reason WHY`"
        )
        yield Check(name=name, passed=bool(unpaired), detail=detail)
    else:
        better, *others = champion.comparisons
        yield _better(name, better, rival)
        yield from (_not_worse(other, rival) for other in others)
        yield _slices(champion, evidence.settings.slice_loss)


def _better(name: str, found: Comparison, rival: str) -> Check:
    if found.gain is None or found.low is None or found.p is None:
        detail = f"{_title(found)} cannot be compared with {rival}: {found.reason}"
        return Check(name=name, passed=False, detail=detail, bar=0.0)
    above, rare = found.low > 0.0, found.p <= found.level
    detail = (
        f"{_words(found, rival)} {'is' if above else 'must be'} above 0; if the two were equal, so "
        f"large a gain would have probability {found.p:.3g}, which {'is' if rare else 'must be'} "
        "at most this level"
    )
    return Check(name=name, passed=above and rare, detail=detail, value=found.low, bar=0.0)


def _not_worse(found: Comparison, rival: str) -> Check:
    name, bar = f"{_title(found)} not worse than the champion's", -found.margin
    if found.gain is None or found.low is None:
        detail = f"it cannot be compared with {rival}: {found.reason}"
        return Check(name=name, passed=False, detail=detail, bar=bar)
    passed = found.low >= bar
    detail = f"{_words(found, rival)} {'is' if passed else 'must be'} at least {bar:+g}"
    return Check(name=name, passed=passed, detail=detail, value=found.low, bar=bar)


def _words(found: Comparison, rival: str) -> str:
    return (
        f"{_title(found)} {found.candidate:.4f} against {found.champion:.4f} of {rival}: gain "
        f"{found.gain:+.4f} over {found.n_groups} groups; its lower bound {found.low:+.4f} at the "
        f"one-sided level {found.level:.3g}"
    )


def _title(found: Comparison) -> str:
    return METRICS[found.figure].title


def _slices(champion: Champion, tolerated: float) -> Check:
    name = "no slice worse than the champion's"
    judged = [test for test in champion.slices if test.p_holm is not None]
    broken = [
        test
        for test in judged
        if (test.worse or 0.0) > tolerated and test.p_holm is not None and test.p_holm <= LEVEL
    ]
    left_out = len(champion.slices) - len(judged)
    small = f"; {left_out} are too small to be judged" if left_out else ""
    if not judged:
        detail = f"no slice could be compared{small}, so that nothing was shown of any"
        return Check(name=name, passed=True, detail=detail)
    title = METRICS[judged[0].metric].title
    worst = max(judged, key=lambda test: test.worse or 0.0)
    if broken:
        named = ", ".join(
            f"{test.column} = {test.name} ({test.other:.4f} to {test.value:.4f}, "
            f"p = {test.p_holm:.2g} after Holm)"
            for test in broken
        )
        detail = f"{title} fell in {len(broken)} of {len(judged)} slices: {named}"
        return Check(name=name, passed=False, detail=detail, value=broken[0].worse, bar=tolerated)
    detail = (
        f"no loss of {title.lower()} above {tolerated:g} is proven in {len(judged)} slices (Holm, "
        f"{LEVEL:g}){small}; the largest is {worst.worse or 0.0:+.4f} ({worst.column} = "
        f"{worst.name})"
    )
    return Check(name=name, passed=True, detail=detail, value=worst.worse, bar=tolerated)


def _notes(evidence: Evidence) -> Iterator[str]:
    if evidence.synthetic:
        yield "the photographs are generated: the figures say nothing about real roads"
    accepted, plain = evidence.accepted, evidence.accuracy.value
    if not accepted.n:
        yield "every image is deferred to a person"
    elif plain is not None:
        share = accepted.right / accepted.n
        relation = "at least" if share >= plain else "BELOW"
        yield (
            f"accuracy of the {accepted.n} answered images is {share:.4f}, {relation} that of all "
            f"images ({plain:.4f})"
        )
    many = "candidate" if evidence.judged == 1 else "candidates"
    yield f"this test set has judged {evidence.judged} {many}, this one included"
    opening = evidence.champion.opening if evidence.champion else None
    if opening is not None:
        yield _SPENDING[evidence.settings.spending].format(
            place=opening.place, own=f"{opening.level:.3g}", all=f"{evidence.settings.level:g}"
        )

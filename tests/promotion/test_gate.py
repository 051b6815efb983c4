"""The whole gate on made models: whom it refuses, whom it lets through, and how often it errs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from roadwork.data.exposure import Exposure, IdSet, Use, identifiers
from roadwork.evaluation.metrics import METRICS
from roadwork.evaluation.scored import ScoredSet
from roadwork.evidence import Accepted, ClassCoverage, Evidence, Parity, Seen
from roadwork.promotion import Verdict, decide
from roadwork.promotion.rivals import Contender, meet
from roadwork.promotion.spending import next_opening
from roadwork.settings import PromoteSettings
from tests.promotion.equals import make_pair

DEFAULTS = PromoteSettings(max_ece=0.5)  # calibration is not the subject here
EACH = PromoteSettings(max_ece=0.5, spending="candidate")
SLICES = "no slice worse than the champion's"
SOUND = Parity(accepted=True, detail="onnxruntime accepted")


def judge(
    candidate: Contender,
    champion: Contender,
    settings: PromoteSettings = DEFAULTS,
    parity: Parity = SOUND,
    seed: int = 0,
) -> Verdict:
    """The verdict that the registry's evidence would lead to, with sound coverage."""
    opening = next_opening([], settings, test_hash="t", candidate="b", champion="c")
    rival = meet(candidate, champion, settings, opening, version="1", resamples=500, seed=seed)
    positive = candidate.scores.probabilities
    scored = ScoredSet(np.stack([1 - positive, positive], axis=1), candidate.scores.labels)
    figures = {
        name: METRICS[name].compute(scored) for name in ("auroc", "accuracy", "ece_positive")
    }
    auroc = figures["auroc"].model_copy(update={"low": 0.6, "high": 0.9})
    seen = candidate.scores.seen_by(candidate.exposure)
    return decide(
        Evidence(
            settings=settings,
            version="2",
            bundle_hash="b",
            registered_hash="b",
            figures_hash="f",
            bundle_figures_hash="f",
            synthetic=False,
            auroc=auroc,
            accuracy=figures["accuracy"],
            ece=figures["ece_positive"],
            accepted=Accepted(n=0, right=0),
            coverage={
                "all classes": ClassCoverage(covered=90, n=100, target=0.9, points=99, rank=90)
            },
            parity=parity,
            megabytes=1.0,
            latency=None,
            test_hash="t",
            scores_fault=None,
            seen=tuple(Seen(use=use, samples=n, groups=m) for use, (n, m) in seen.items()),
            judged=2,
            champion=rival,
        )
    )


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_a_truly_better_candidate_passes_and_the_worse_one_does_not() -> None:
    candidate, champion = make_pair(np.random.default_rng(1), 60, gain=1.5)
    verdict = judge(candidate, champion)
    assert failed(verdict) == []
    assert verdict.opening is not None
    assert verdict.opening.level == 0.025
    assert "better than the champion" in failed(judge(champion, candidate))


def test_an_equal_candidate_fails_and_one_with_broken_parity_fails_twice() -> None:
    _, champion = make_pair(np.random.default_rng(2), 60)
    assert failed(judge(champion, champion)) == ["better than the champion"]
    broken = Parity(accepted=False, detail="cosine 0.2")
    assert failed(judge(champion, champion, parity=broken)) == [
        "engines answer alike",
        "better than the champion",
    ]
    better, champion = make_pair(np.random.default_rng(1), 60, gain=1.5)
    assert failed(judge(better, champion, parity=broken)) == ["engines answer alike"]


def test_a_better_mean_with_a_broken_slice_fails() -> None:
    candidate, champion = make_pair(np.random.default_rng(3), 120, gain=3.0, broken=4.5)
    verdict = judge(candidate, champion)
    assert failed(verdict) == [SLICES]
    assert "weather = rain" in verdict.checks[-1].detail
    blind = DEFAULTS.model_copy(update={"slices": ("city",)})
    assert failed(judge(candidate, champion, blind)) == []


def test_a_candidate_that_saw_the_test_set_fails() -> None:
    candidate, champion = make_pair(np.random.default_rng(1), 60, gain=1.5)
    nothing = np.array([], dtype=np.uint64)
    for ids, words in (
        (IdSet.of(candidate.scores.sample_ids[:1], nothing), "1 of its images and 0 of its groups"),
        (IdSet.of(nothing, identifiers(["drive-7"])), "0 of its images and 1 of its groups"),
    ):
        exposed = replace(candidate, exposure=Exposure({Use.CALIBRATE: ids}))
        verdict = judge(exposed, champion)
        assert failed(verdict) == ["never saw the test set", "better than the champion"]
        assert words in verdict.checks[2].detail
    seen = replace(champion, exposure=Exposure({Use.TRAIN: ids}))
    verdict = judge(candidate, seen)
    assert failed(verdict) == ["better than the champion"]
    assert "the champion has already seen" in verdict.checks[-1].detail


def test_one_figure_better_and_another_not_worse() -> None:
    rng = np.random.default_rng(5)
    champion, _ = make_pair(rng, 60)
    scores = champion.scores
    # The same decisions with milder probabilities: an overconfident champion, recalibrated.
    margins = np.log(scores.probabilities) - np.log1p(-scores.probabilities)
    milder = replace(champion, scores=replace(scores, probabilities=1 / (1 + np.exp(-margins / 2))))
    sharper = replace(
        champion, scores=replace(scores, probabilities=1 / (1 + np.exp(-margins * 2)))
    )
    asked = PromoteSettings(better="nll", not_worse={"mcc": 0.0, "auroc": 0.0}, max_ece=None)
    assert failed(judge(milder, sharper, asked)) == []
    assert failed(judge(sharper, milder, asked)) == ["better than the champion"]
    assert failed(judge(milder, sharper)) == ["better than the champion"]


@pytest.mark.slow
@pytest.mark.parametrize("groups", [15, 40])
def test_two_equal_models_are_promoted_no_more_often_than_stated(groups: int) -> None:
    """200 pairs of one law, new drives for each; the exact test must hold its level by itself."""
    rng = np.random.default_rng(groups)
    rounds, level = 200, 0.05
    promoted = {"test_set": 0, "candidate": 0}
    exact = 0
    for number in range(rounds):
        candidate, champion = make_pair(rng, groups)
        verdict = judge(candidate, champion, EACH, seed=number)
        promoted["candidate"] += verdict.passed
        promoted["test_set"] += judge(candidate, champion, DEFAULTS, seed=number).passed
        rivals = meet(
            candidate,
            champion,
            EACH.model_copy(update={"slices": ()}),
            next_opening([], EACH, test_hash="t", candidate="b", champion="c"),
            version="1",
            resamples=500,
            seed=number,
        )
        p = rivals.comparisons[0].p
        exact += p is not None and p <= level
    most = int(binom.isf(0.01, rounds, level))
    assert promoted["test_set"] <= level * rounds
    assert promoted["candidate"] <= exact <= most
    # It does err: a gate that never promotes would hold any level.
    assert exact >= int(binom.ppf(0.01, rounds, level))


@pytest.mark.slow
def test_the_level_breaks_where_groups_are_ignored() -> None:
    """The same pairs with every photograph as its own group: the test above has power."""
    rng = np.random.default_rng(15)
    promoted = 0
    for number in range(100):
        pair = [
            replace(one, scores=replace(one.scores, groups=one.scores.sample_ids.astype(str)))
            for one in make_pair(rng, 15)
        ]
        promoted += judge(pair[0], pair[1], EACH, seed=number).passed
    assert promoted > int(binom.isf(0.01, 100, 0.05))


@pytest.mark.slow
def test_truly_better_models_are_mostly_promoted() -> None:
    rng = np.random.default_rng(9)
    passed = sum(judge(*make_pair(rng, 60, gain=1.0), seed=number).passed for number in range(40))
    assert passed >= 32

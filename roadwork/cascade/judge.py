"""The cascade meets the test set: what it saves, what it costs, and whether its promise held."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

import roadwork
from roadwork.calibration.base import FloatArray
from roadwork.cascade.certified import CertifiedCascade, predict_stages
from roadwork.cascade.confidence import CONFIDENCE_METRICS
from roadwork.cascade.learn_then_test import GroupVotes
from roadwork.cascade.losses import CASCADE_OBJECTIVES
from roadwork.cascade.policy import Answers
from roadwork.cascade.record import CascadeReport, PromiseCheck, StageRow, Verdict
from roadwork.cascade.simulate import CascadeScores, cascade_curve
from roadwork.data.contract import validate_final_eval
from roadwork.data.manifest import TestSet
from roadwork.errors import DataError
from roadwork.evaluation.bootstrap import percentile_interval, resample_weights
from roadwork.evaluation.evaluate import count_images, test_hash
from roadwork.evaluation.metrics import Metric, MetricInfo, metric_infos
from roadwork.evaluation.scored import ScoredSet, ratio
from roadwork.pairing import TestScores
from roadwork.settings import Settings

__all__ = ["COMPARED", "evaluate_cascade"]

COMPARED: Mapping[str, MetricInfo] = {
    info.name: info
    for info in metric_infos(
        ("accuracy", "mcc", "recall", "precision", "auroc", "recall_at_90_precision")
    )
}
"""What every way to answer is judged by; the cascade's own probabilities make its decisions."""

_ROUNDING = 1e-3  # of probabilities
_STEPPED = 0.01  # share of the images

Figure = Callable[[FloatArray], FloatArray]  # row weights (B, N) to (B,)
_TITLES = {
    "first": "Stage 1 alone, on every image",
    "second": "Stage 2 alone, on every image",
    "cascade": "Cascade with its exits",
    "classifier": "The classifier, before its head was trained again",
}


def evaluate_cascade(
    certified: CertifiedCascade,
    test: TestSet,
    settings: Settings,
    classifier: TestScores | None = None,
) -> CascadeReport:
    """Judge a cascade on the test set.

    Args:
        certified: the fitted cascade.
        test: nothing in it may have seen this set.
        settings: resolved; ``name``, ``data``, ``evaluate.bootstrap`` and ``seed`` are used.
        classifier: what the classifier that stage 2 began as answered on the same set.

    Raises:
        LeakageError: a part has seen a test image or group.
        DataError: the classifier was judged on other images, or is not the one of stage 2.
    """
    cascade, one, two = certified.cascade, *certified.calibrators
    validate_final_eval([cascade, one, two, certified.exits], test)
    first, second = certified.probabilities(*predict_stages(cascade, test, settings.data))
    answers = certified.exits.model.decide(first, second)
    labels, groups = test.labels, test.groups
    final = np.where((answers.stages == 1)[:, None], first, second)
    tables = {"first": first, "second": second, "cascade": final}
    agrees = None
    if classifier is not None:
        if not np.array_equal(classifier.sample_ids, test.sample_ids):
            raise DataError("the classifier was judged on other images than the cascade")
        p = classifier.probabilities
        if cascade.spec.trains == "first":
            agrees = _agreement(p, second[:, roadwork.POSITIVE])
        else:
            tables["classifier"] = np.stack([1.0 - p, p], axis=1)
    sets = {key: ScoredSet(table, labels, groups=groups) for key, table in tables.items()}
    once, whole = cascade.spec.stage_views
    views = {
        "first": np.full(len(test), float(once)),
        "second": np.full(len(test), float(whole)),
        "cascade": np.where(answers.stages == 1, float(once), float(whole)),
        "classifier": np.full(len(test), float(whole)),
    }
    drawn = _Resamples(sets["second"], settings.evaluate.bootstrap, settings.seed)
    scores = CascadeScores(sets["first"], sets["second"])
    policy = certified.exits.model
    report = CascadeReport(
        name=settings.name,
        synthetic=any(source.kind == "synthetic" for source in settings.data.sources),
        objective=CASCADE_OBJECTIVES[cascade.spec.objective].title,
        trains=cascade.spec.trains,
        stage_views=cascade.spec.stage_views,
        exits=policy,
        guarantee=policy.guarantee,
        test=count_images(labels, groups),
        rows=tuple(_rows(sets, views, drawn)),
        exited=drawn.metric(_mean(answers.stages == 1)),
        deferred=drawn.metric(_mean(answers.deferred)),
        confidence={
            name: drawn.metric(partial(info.batch, scores), info.undefined)
            for name, info in CONFIDENCE_METRICS.items()
        },
        curve=cascade_curve(scores, cascade.spec.stage_views),
        promise=tuple(_promise(certified, answers, sets, drawn)),
        agrees=agrees,
        exposure=certified.exposure.counts(),
        cascade_hash=certified.content_hash,
        test_hash=test_hash(test),
        code_version=roadwork.__version__,
        seed=settings.seed,
        bootstrap=settings.evaluate.bootstrap,
    )
    return report.rounded()


def _agreement(p: FloatArray, second: FloatArray) -> float:
    """Largest difference between the probabilities (N,) of the classifier and of stage 2.

    Rounding moves one of them by 1e-6; behind a calibrator with steps it may move single images
    from one step to the next. What moves more than one image, and more than one in a hundred, is
    another network.

    Raises:
        DataError: they are not of the same network.
    """
    difference = np.abs(p - second)
    if np.sum(difference > _ROUNDING) > max(1.0, _STEPPED * len(p)):
        raise DataError(
            f"stage 2 is not the classifier: their probabilities differ by up to "
            f"{difference.max():.2g}. Classifier and cascade are not of one run: run both again"
        )
    return float(difference.max())


class _Resamples:
    """The test set itself, and resamples of its groups, the same for every figure."""

    def __init__(self, scored: ScoredSet, resamples: int, seed: int) -> None:
        self.n, self.n_groups = scored.n, scored.n_groups
        self._draw = lambda: resample_weights(scored, resamples, seed)

    def metric(self, figure: Figure, undefined: str = "no rows") -> Metric:
        """The figure with its percentile interval; ``undefined`` says why a NaN is one."""
        value = float(figure(np.ones((1, self.n)))[0])
        if np.isnan(value):
            return Metric(value=None, reason=undefined, n=self.n)
        values = np.concatenate([figure(weights) for weights in self._draw()])
        (low, high), remark = percentile_interval(values, self.n_groups)
        return Metric(value=value, reason=remark, low=low, high=high, n=self.n)


def _mean(values: NDArray[np.bool_] | FloatArray) -> Figure:
    table = np.asarray(values, dtype=np.float64)
    return lambda weights: ratio(weights @ table, weights.sum(axis=1))


def _rows(
    sets: Mapping[str, ScoredSet], views: Mapping[str, FloatArray], drawn: _Resamples
) -> Iterator[StageRow]:
    second = sets["second"]
    for key, scored in sets.items():
        metrics, less = {}, {}
        for name, info in COMPARED.items():
            metrics[name] = drawn.metric(partial(info.batch, scored), info.undefined)
            if key != "second":
                less[name] = drawn.metric(_difference(info, scored, second), info.undefined)
        yield StageRow.model_validate(
            {
                "key": key,
                "title": _TITLES[key],
                "views": drawn.metric(_mean(views[key])),
                "metrics": metrics,
                "less_second": less,
            }
        )


def _difference(info: MetricInfo, scored: ScoredSet, other: ScoredSet) -> Figure:
    return lambda weights: info.batch(scored, weights) - info.batch(other, weights)


def _promise(
    certified: CertifiedCascade, answers: Answers, sets: Mapping[str, ScoredSet], drawn: _Resamples
) -> Iterator[PromiseCheck]:
    """Every bound that was asked for, judged with the votes by which it was promised."""
    policy, truth = certified.exits.model, sets["second"].labels
    asked, groups = policy.promise, sets["second"].groups
    at_once, wrong = answers.stages == 1, answers.labels != truth
    harm = at_once & wrong & sets["second"].correct
    passed_wrong = ~at_once & ~answers.deferred & wrong
    everyone = np.ones(len(truth), dtype=np.bool_)
    exits, second = policy.feasible, policy.answer_from is not None
    for name, title, bound, event, counted, active in (
        (
            "max_accuracy_loss",
            "Images that an exit makes wrong and stage 2 had right",
            asked.max_accuracy_loss,
            harm,
            everyone,
            exits,
        ),
        (
            "max_recall_loss",
            "The same among images of roadwork",
            asked.max_recall_loss,
            harm,
            truth == roadwork.POSITIVE,
            exits,
        ),
        (
            "max_wrong",
            "Images that are passed on and answered wrongly",
            asked.max_wrong,
            passed_wrong,
            everyone,
            second,
        ),
    ):
        if bound is None:
            continue
        votes = GroupVotes.of(groups, counted)
        found = drawn.metric(_risk(event, votes.weights), "no such image")
        yield PromiseCheck.model_validate(
            {
                "name": name,
                "title": title,
                "bound": bound,
                "found": found,
                "votes": votes.n,
                "verdict": _verdict(found, bound) if active else "not judged",
            }
        )


def _risk(event: NDArray[np.bool_], votes: FloatArray) -> Figure:
    """Mean over groups of the share of their counted rows on which the event happened."""
    return lambda weights: ratio(weights @ (votes * event), weights @ votes)


def _verdict(found: Metric, bound: float) -> Verdict:
    if found.value is None:
        return "not judged"
    if found.value <= bound:
        return "kept"
    return "broken" if found.low is not None and found.low > bound else "unclear"

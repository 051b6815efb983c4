"""Shortcut gates: how well the label can be told without looking at what is in the picture.

Two classifiers that know too little are fitted: one sees the metadata alone, the other the colours
alone (4 x 4 colour means, or histograms). Where they do well, a good classifier of pictures proves
little. Every figure is of grouped cross-validation, so that no drive is judged by its own frames;
only scores of one fold, that is of one model, are compared.

Sources differ in their share of roadwork. Whoever recognises the source (by the camera's name, by
its white balance) can use that share: ``pooled`` AUROC contains this gain, and the figure of the
source alone says how large it is. ``within_source`` counts only pairs of a positive and a negative
of one source, where recognising the source gains nothing. The gate (0.65) is on the latter. Colours
are no pure nuisance, though: works are orange, and large works show in a colour mean.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from roadwork.errors import DataError
from roadwork.evaluation import ranking
from roadwork.evaluation.bootstrap import LEVEL, resample_weights
from roadwork.evaluation.scored import ScoredSet
from roadwork.evaluation.shallow_features import colour_features, metadata_features, one_hot

__all__ = [
    "GATE",
    "RESAMPLES",
    "Interval",
    "Shortcut",
    "ShortcutReport",
    "colour_only_auroc",
    "measure_shortcuts",
    "metadata_only_auroc",
]

GATE = 0.65
"""Largest AUROC within sources that a classifier without sight of the content may reach."""

RESAMPLES = 500

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # inverse penalties on standardised features
_FOLDS = 5
_INNER_FOLDS = 3

Floats = NDArray[np.float64]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Interval(_Record):
    """A figure with its 95 % percentile interval over whole groups; None where undefined."""

    value: float | None
    low: float | None
    high: float | None


class Shortcut(_Record):
    """What one classifier without sight of the content reaches.

    Attributes:
        name: what it sees.
        knows_source: whether it is told the source besides.
        pooled: AUROC over all pairs, the sources' shares of roadwork included.
        within_source: AUROC over pairs of one source each.
        by_source: AUROC of each source's rows.
    """

    name: str
    knows_source: bool
    pooled: Interval
    within_source: Interval
    by_source: Mapping[str, Interval]

    @property
    def passes(self) -> bool:
        """Whether the figure within sources is below the gate; true where it is undefined."""
        return self.within_source.value is None or self.within_source.value < GATE


class ShortcutReport(_Record):
    """All shortcuts of one table, with those of shuffled labels as a control.

    Attributes:
        images: rows.
        groups: groups of rows that are never separated.
        priors: share of roadwork by source.
        source_alone: what knowing nothing but the source reaches.
        shortcuts: metadata and colours, without and with the source.
        shuffled: the same after the labels were shuffled over all rows: near one half.
    """

    images: int
    groups: int
    priors: Mapping[str, float]
    source_alone: Shortcut
    shortcuts: tuple[Shortcut, ...]
    shuffled: tuple[Shortcut, ...]

    @property
    def passes(self) -> bool:
        """Whether every shortcut stays below the gate within sources."""
        return all(found.passes for found in self.shortcuts)


def metadata_only_auroc(
    table: pa.Table, *, knows_source: bool = False, seed: int = 0, resamples: int = RESAMPLES
) -> Shortcut:
    """Logistic regression on the words of the slice columns, NULL being one of them.

    ``works_size`` is left out: it measures the works and is known for positives alone.

    Args:
        table: rows of a manifest.
        knows_source: whether the source is a feature besides.
        seed: of the folds and of the resampling.
        resamples: of whole groups, for the intervals.

    Raises:
        DataError: one class alone, or too few groups.
    """
    return _Judge(table, seed, resamples).shortcut(
        "metadata", metadata_features(table), knows_source
    )


def colour_only_auroc(
    table: pa.Table,
    features: Mapping[str, Floats] | None = None,
    *,
    knows_source: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[Shortcut, ...]:
    """Logistic regression on colours alone: one shortcut for every kind of colour feature.

    Args:
        table: rows of a manifest.
        features: those of :func:`colour_features`; None reads the images.
        knows_source: whether the source is a feature besides.
        seed: of the folds and of the resampling.
        resamples: of whole groups, for the intervals.

    Raises:
        DataError: one class alone, or too few groups.
    """
    judge = _Judge(table, seed, resamples)
    found = colour_features(table.column("uri").to_pylist()) if features is None else features
    return tuple(judge.shortcut(name, matrix, knows_source) for name, matrix in found.items())


def measure_shortcuts(
    table: pa.Table, *, seed: int = 0, resamples: int = RESAMPLES
) -> ShortcutReport:
    """Every shortcut of a manifest's rows, with and without the source, and shuffled labels.

    Raises:
        DataError: one class alone, or too few groups.
    """
    seen = {
        "metadata": metadata_features(table),
        **colour_features(table.column("uri").to_pylist()),
    }
    judge = _Judge(table, seed, resamples)
    shuffled = judge.with_labels(np.random.default_rng(seed).permutation(judge.labels))
    nothing = np.zeros((table.num_rows, 0))
    sources = judge.sources
    return ShortcutReport(
        images=table.num_rows,
        groups=len(np.unique(judge.groups)),
        priors={
            str(name): float(judge.labels[sources == name].mean()) for name in np.unique(sources)
        },
        source_alone=judge.shortcut("source", nothing, True),
        shortcuts=tuple(
            judge.shortcut(name, matrix, knows)
            for name, matrix in seen.items()
            for knows in (False, True)
        ),
        shuffled=tuple(shuffled.shortcut(name, matrix, False) for name, matrix in seen.items()),
    )


class _Judge:
    """Cross-validates classifiers of one table on one set of folds."""

    def __init__(self, table: pa.Table, seed: int, resamples: int) -> None:
        self.labels = (table.column("label").to_numpy() > 0).astype(np.int64)
        self.groups = np.asarray(table.column("group_id").to_pylist())
        self.sources = np.asarray(table.column("source").to_pylist())
        self.source_codes = np.unique(self.sources, return_inverse=True)[1].astype(np.int64)
        self.seed, self.resamples = seed, resamples
        self.one_hot_source = one_hot(table, "source")
        self._check()

    def _check(self) -> None:
        for label in (0, 1):
            groups = len(np.unique(self.groups[self.labels == label]))
            if groups < _FOLDS:
                raise DataError(
                    f"the shortcut gates need images of each class in {_FOLDS} groups at least, "
                    f"but class {label} is in {groups}: give more drives"
                )

    def with_labels(self, labels: NDArray[np.int64]) -> _Judge:
        """The same rows with other labels."""
        other = object.__new__(_Judge)
        other.__dict__.update(self.__dict__, labels=labels)
        other._check()
        return other

    def shortcut(self, name: str, features: Floats, knows_source: bool) -> Shortcut:
        """Fit on four folds, score the fifth, in turn, and judge the scores of each fold."""
        if knows_source:
            features = np.concatenate([features, self.one_hot_source], axis=1)
        scores, folds = self._scores(features)
        whole = self._scored(scores, np.arange(len(scores)))
        draws = np.concatenate(list(resample_weights(whole, self.resamples, self.seed)))

        def judged(by_source: bool, rows: NDArray[np.bool_] | None = None) -> Interval:
            strata = folds + (_FOLDS * self.source_codes if by_source else 0)
            strata = strata if rows is None else np.where(rows, strata, -1)
            return _interval(lambda weights: self._stratified(scores, strata, weights), draws)

        return Shortcut(
            name=name,
            knows_source=knows_source,
            pooled=judged(False),
            within_source=judged(True),
            by_source={
                str(one): judged(True, self.sources == one) for one in np.unique(self.sources)
            },
        )

    def _stratified(self, scores: Floats, strata: NDArray[np.int64], weights: Floats) -> Floats:
        """AUROC over the pairs of one stratum each, (B,); rows of stratum -1 do not count."""
        won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
        for stratum in np.unique(strata[strata >= 0]):
            rows = np.flatnonzero(strata == stratum)
            mine = weights[:, rows]
            positive = self.labels[rows] > 0
            count = mine[:, positive].sum(axis=1) * mine[:, ~positive].sum(axis=1)
            value = ranking.auroc(self._scored(scores, rows), mine)
            won += np.where(count > 0, count * np.nan_to_num(value), 0.0)
            pairs += count
        return np.where(pairs > 0, won / np.where(pairs > 0, pairs, 1.0), np.nan)

    def _scored(self, scores: Floats, rows: NDArray[np.int64]) -> ScoredSet:
        p = 1.0 / (1.0 + np.exp(-np.clip(scores[rows], -500, 500)))
        return ScoredSet(
            probabilities=np.stack([1.0 - p, p], axis=1),
            labels=self.labels[rows],
            groups=self.groups[rows],
        )

    def _scores(self, features: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Log odds of every row from a model of other groups, and its fold, both (N,)."""
        scores, folds = np.zeros(len(self.labels)), np.zeros(len(self.labels), dtype=np.int64)
        rows = np.arange(len(self.labels))
        for number, (kept, left) in enumerate(self._folds(rows, _FOLDS, self.seed)):
            scores[left], folds[left] = self._fitted(features, kept)(features[left]), number
        return scores, folds

    def _fitted(self, features: Floats, rows: NDArray[np.int64]) -> Callable[[Floats], Floats]:
        """Log odds of a fit on rows, with the penalty that an inner cross-validation prefers."""
        from sklearn.metrics import log_loss

        losses = dict.fromkeys(_STRENGTHS, 0.0)
        for kept, left in self._folds(rows, _INNER_FOLDS, self.seed + 1):
            for strength in _STRENGTHS:
                odds = self._regression(features, kept, strength)(features[left])
                p = 1.0 / (1.0 + np.exp(-np.clip(odds, -500, 500)))
                losses[strength] += float(
                    log_loss(self.labels[left], p, labels=[0, 1], normalize=False)
                )
        best = min(_STRENGTHS, key=lambda strength: (losses[strength], strength))
        return self._regression(features, rows, best)

    def _regression(
        self, features: Floats, rows: NDArray[np.int64], strength: float
    ) -> Callable[[Floats], Floats]:
        from sklearn.linear_model import LogisticRegression

        mean, scale = features[rows].mean(axis=0), features[rows].std(axis=0)
        scale = np.where(scale > 1e-8, scale, 1.0)
        model = LogisticRegression(C=strength, max_iter=2000)
        model.fit((features[rows] - mean) / scale, self.labels[rows])
        return lambda others: model.decision_function((others - mean) / scale)

    def _folds(
        self, rows: NDArray[np.int64], count: int, seed: int
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        from sklearn.model_selection import StratifiedGroupKFold

        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            # A class may live in fewer groups than there are folds; such folds are left out below.
            warnings.simplefilter("ignore", UserWarning)
            folds = list(splitter.split(rows, self.labels[rows], self.groups[rows]))
        return [
            (rows[kept], rows[left])
            for kept, left in folds
            if len(np.unique(self.labels[rows[kept]])) > 1
        ]


def _interval(metric: Callable[[Floats], Floats], draws: Floats) -> Interval:
    value, values = float(metric(np.ones((1, draws.shape[1])))[0]), metric(draws)
    kept = values[~np.isnan(values)]
    if np.isnan(value) or len(kept) < len(values) / 2:
        return Interval(value=None if np.isnan(value) else value, low=None, high=None)
    tail = 100 * (1.0 - LEVEL) / 2
    low, high = np.percentile(kept, [tail, 100 - tail])
    return Interval(value=value, low=float(low), high=float(high))

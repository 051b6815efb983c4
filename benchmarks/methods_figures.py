"""Figures of ``benchmarks.methods``: answers of all folds together, and paired intervals.

Every photograph is answered once for each seed, by the model of the fold that holds it out. The
intervals are of the bootstrap over groups, with the trained models fixed; a resample draws the same
groups for every run and seed, so that differences are paired. Seeds are averaged within a resample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.methods_plan import RUNS, Cell, Plan, Table
from benchmarks.photographs import Photographs
from roadwork.calibration.base import softmax
from roadwork.evaluation.bootstrap import resample_weights
from roadwork.evaluation.metrics import METRICS
from roadwork.evaluation.scored import ScoredSet

RESAMPLES = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What one run answered with one seed, in the order of the judged rows.

    Attributes:
        margins: (T,) logit of roadwork less that of none, as the network gives it.
        calibrated: (T,) the same over the temperature of the fold's selection part, if it has one.
        labels: (T,) true classes.
        groups: (T,) groups.
        folds: (T,) which model answered.
        sources: (T,) sources.
    """

    margins: Floats
    calibrated: Floats
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    folds: NDArray[np.int64]
    sources: NDArray[np.str_]

    @cached_property
    def scored(self) -> ScoredSet:
        """As they were answered."""
        return self._of(self.margins)

    @cached_property
    def tempered(self) -> ScoredSet:
        """With the temperatures."""
        return self._of(self.calibrated)

    def _of(self, margins: Floats) -> ScoredSet:
        logits = np.stack([-margins / 2, margins / 2], axis=1)
        return ScoredSet(softmax(logits), self.labels, groups=self.groups, logits=logits)


def _auroc(answers: Answers, weights: Floats, strata: NDArray[np.int64] | None = None) -> Floats:
    """AUROC over the pairs of one stratum each, (B,); by default over all pairs.

    Ranks stand for the margins: as probabilities large margins would be equal.
    """
    strata = np.zeros(len(answers.labels), dtype=np.int64) if strata is None else strata
    p = rankdata(answers.margins) / (len(strata) + 1)
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        positive = answers.labels[rows] > 0
        if positive.all() or not positive.any():
            continue
        mine = weights[:, rows]
        count = mine[:, positive].sum(axis=1) * mine[:, ~positive].sum(axis=1)
        part = ScoredSet(np.stack([1 - p[rows], p[rows]], axis=1), answers.labels[rows])
        won += np.nan_to_num(METRICS["auroc"].batch(part, mine)) * count
        pairs += count
    return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)


def _codes(*keys: NDArray[Any]) -> NDArray[np.int64]:
    joined = ["\0".join(map(str, key)) for key in zip(*keys, strict=True)]
    return np.unique(joined, return_inverse=True)[1].reshape(-1)


def best_mcc(answers: Answers) -> float:
    """MCC at the threshold that is best on the very answers it is judged on."""
    order = np.argsort(-answers.margins, kind="stable")
    hits = np.cumsum(answers.labels[order] > 0).astype(float)
    said = np.arange(1.0, len(order) + 1)
    falling = answers.margins[order]
    ends = np.r_[falling[1:] != falling[:-1], True]  # equal margins are decided alike
    total, positive = float(len(order)), hits[-1]
    top = hits * total - said * positive
    bottom = np.sqrt(said * (total - said) * positive * (total - positive))
    mcc = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    return float(mcc[ends].max())


FIGURES: Mapping[str, tuple[str, Callable[[Answers, Floats], Floats]]] = {
    "auroc": ("AUROC", _auroc),
    "within_source": (
        "AUROC within source and fold",
        lambda a, w: _auroc(a, w, _codes(a.sources, a.folds)),
    ),
    "within_clip": ("AUROC within clip", lambda a, w: _auroc(a, w, _codes(a.groups))),
    "mcc": ("MCC at 0.5", lambda a, w: METRICS["mcc"].batch(a.scored, w)),
    "accuracy": ("accuracy", lambda a, w: METRICS["accuracy"].batch(a.scored, w)),
    "nll": ("NLL", lambda a, w: METRICS["nll"].batch(a.scored, w)),
    "nll_tempered": (
        "NLL after temperature",
        lambda a, w: METRICS["nll"].batch(a.tempered, w),
    ),
}
"""A temperature does not move the threshold of 0.5, so MCC and accuracy have but one form."""


class Results:
    """All cells that are done."""

    def __init__(self, plan: Plan, photographs: Photographs) -> None:
        """None yet."""
        self.plan, self.photographs = plan, photographs
        self.cells: dict[Cell, Mapping[str, Any]] = {}
        self.where = {seed: photographs.held_out(seed) for seed in plan.seeds}
        self._drawn: dict[str, Floats] = {}

    def chosen(self, run: str) -> float | None:
        """The rate of least mean selection loss over the first seed's folds; None if unknown."""
        wanted = RUNS[run]
        if wanted.finetune is None:
            return 0.0
        if wanted.like:
            return self.chosen(wanted.like)
        losses = {rate: self._select_loss(run, rate) for rate in wanted.rates}
        if None in losses.values():
            return None
        return min(losses, key=lambda rate: (losses[rate], rate))

    def _select_loss(self, run: str, rate: float) -> float | None:
        first = self.plan.seeds[0]
        cells = [Cell(run, rate, first, fold) for fold in range(self.plan.folds)]
        if not all(cell in self.cells for cell in cells):
            return None
        return float(np.mean([min(self.cells[cell]["select_nll"]) for cell in cells]))

    def done(self, run: str, unseen: str) -> dict[int, list[Mapping[str, Any]]]:
        """Cells of the chosen rate by seed, for seeds of which every fold is there."""
        rate = self.chosen(run)
        if rate is None:
            return {}
        found = {}
        for seed in self.plan.seeds:
            wanted = [Cell(run, rate, seed, fold, unseen) for fold in range(self.plan.folds)]
            if all(cell in self.cells for cell in wanted):
                found[seed] = [self.cells[cell] for cell in wanted]
        return found

    def answers(self, seed: int, cells: Sequence[Mapping[str, Any]]) -> Answers:
        """Those of all folds together."""
        count = len(self.photographs.labels)
        margins, calibrated = np.full(count, np.nan), np.full(count, np.nan)
        for cell in cells:
            margins[cell["rows"]] = cell["margins"]
            calibrated[cell["rows"]] = np.array(cell["margins"]) / (cell["temperature"] or 1.0)
        rows = np.flatnonzero(~np.isnan(margins))
        seen = self.photographs
        return Answers(
            margins[rows],
            calibrated[rows],
            seen.labels[rows],
            seen.groups[rows],
            self.where[seed][rows],
            seen.sources[rows],
        )

    def weights(self, answers: Answers, unseen: str) -> Floats:
        """The figure's own weights in row 0, then resamples of groups: alike for all runs."""
        if unseen not in self._drawn:
            blocks = resample_weights(answers.scored, RESAMPLES, seed=0)
            self._drawn[unseen] = np.concatenate([np.ones((1, len(answers.labels))), *blocks])
        return self._drawn[unseen]


def summarise(results: Results, name: str, table: Table, unseen: str = "") -> dict[str, Any]:
    """Rows of one table, as far as the cells go."""
    draws: dict[str, dict[str, dict[int, Floats]]] = {}
    rows, missing = [], []
    for run in table.runs:
        done = results.done(run, unseen)
        title = table.names.get(run, RUNS[run].title)
        if not done:
            missing.append(title)
            continue
        answers = {seed: results.answers(seed, cells) for seed, cells in done.items()}
        draws[run] = {
            figure: {
                seed: measure(one, results.weights(one, unseen)) for seed, one in answers.items()
            }
            for figure, (_, measure) in FIGURES.items()
        }
        cells = [cell for seed in done.values() for cell in seed]
        trained = RUNS[run].finetune is not None
        rows.append(
            {
                "run": run,
                "title": title,
                "seeds": sorted(done),
                "rate": results.chosen(run) if trained else None,
                "cells": len(cells),
                "probe_kept": sum(cell["chosen"] == 0 for cell in cells) if trained else None,
                "without_temperature": sum(cell["temperature"] is None for cell in cells),
                "seconds": float(np.mean([cell["seconds"] for cell in cells])),
                "best_mcc": float(np.mean([best_mcc(one) for one in answers.values()])),
                "figures": {
                    figure: _interval(list(by_seed.values()))
                    for figure, by_seed in draws[run].items()
                },
            }
        )
    for row in rows:
        row["differences"] = {
            other: {
                figure: _difference(draws[row["run"]][figure], draws[other][figure])
                for figure in FIGURES
            }
            for other in table.against
            if other in draws and other != row["run"]
        }
    return {"part": name, "unseen": unseen, "rows": rows, "missing": missing}


def _interval(draws: Sequence[Floats]) -> dict[str, Any]:
    """Mean over seeds, its 95 % interval over groups, and the value of each seed."""
    mean = np.mean(draws, axis=0)
    kept = mean[1:][~np.isnan(mean[1:])]
    bounds: tuple[float, float] | None = None
    if len(kept) >= RESAMPLES / 2:
        low, high = np.percentile(kept, [2.5, 97.5])
        bounds = (float(low), float(high))
    return {
        "mean": float(mean[0]),
        "interval": bounds,
        "by_seed": [float(values[0]) for values in draws],
    }


def _difference(mine: Mapping[int, Floats], other: Mapping[int, Floats]) -> dict[str, Any] | None:
    seeds = sorted(set(mine) & set(other))
    return _interval([mine[seed] - other[seed] for seed in seeds]) if seeds else None


def markdown(table: Table, found: Mapping[str, Any]) -> str:
    """The figures, and the differences, as Markdown."""
    title = table.title + (f": {found['unseen']}" if found["unseen"] else "")
    lines = [f"## {title}", "", *([table.note, ""] if table.note else [])]
    if not found["rows"]:
        return "\n".join([*lines, "Nothing is finished yet."])
    heads = [shown for shown, _ in FIGURES.values()]
    lines += [
        f"| method | rate | {' | '.join(heads)} | best MCC in hindsight | no temperature "
        "| probe kept | seeds |",
        "|---|---|" + "---|" * (len(heads) + 4),
    ]
    for row in found["rows"]:
        cells = [_shown(row["figures"][figure]) for figure in FIGURES]
        rate = "" if row["rate"] is None else f"{row['rate']:g}"
        kept = "" if row["probe_kept"] is None else f"{row['probe_kept']} of {row['cells']}"
        tail = f"{row['best_mcc']:.3f} | {row['without_temperature']} of {row['cells']} | {kept}"
        tail += f" | {len(row['seeds'])}"
        lines.append(f"| {row['title']} | {rate} | " + " | ".join(cells) + f" | {tail} |")
    for other in table.against:
        chosen = [row for row in found["rows"] if other in row["differences"]]
        if not chosen:
            continue
        lines += [
            "",
            f"| less {table.names.get(other, RUNS[other].title)} | " + " | ".join(heads) + " |",
            "|---|" + "---|" * len(heads),
        ]
        for row in chosen:
            parts = [_shown(row["differences"][other][figure], "+") for figure in FIGURES]
            lines.append(f"| {row['title']} | " + " | ".join(parts) + " |")
    if found["missing"]:
        lines += ["", f"Not finished: {', '.join(found['missing'])}."]
    return "\n".join(lines)


def _shown(figure: Mapping[str, Any] | None, sign: str = "") -> str:
    if figure is None or np.isnan(figure["mean"]):
        return ""
    if figure["interval"] is None:
        return f"{figure['mean']:{sign}.3f}"
    low, high = figure["interval"]
    return f"{figure['mean']:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"

"""The table of an ablation: every variant against the baseline, and what each axis does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from roadwork import POSITIVE, __version__
from roadwork.ablation.cell import CellResult, cell_key
from roadwork.ablation.comparison import (
    METRICS_SHOWN,
    Contrast,
    Difference,
    Scores,
    differences,
    seeded,
)
from roadwork.ablation.grid import Cell, Grid
from roadwork.ablation.record import AblationReport, CellRow, Effect, VariantRow
from roadwork.calibration.base import softmax
from roadwork.errors import DataError
from roadwork.evaluation.metrics import METRICS, compute_metrics
from roadwork.evaluation.scored import ScoredSet
from roadwork.fingerprint import fingerprint

__all__ = ["tabulate"]

Results = Mapping[Cell, CellResult]


def tabulate(
    grid: Grid, results: Sequence[CellResult], *, name: str, synthetic: bool, seed: int
) -> AblationReport:
    """Compare the variants of a grid.

    Args:
        grid: what was to be run.
        results: one for every cell of ``grid.cells()``, in that order.
        name: of the ablation.
        synthetic: whether generated scenes are among the images.
        seed: of the resampling.

    Raises:
        DataError: results of another grid, or variants that were judged on different images.
    """
    found = dict(zip(grid.cells(), results, strict=True))
    for cell, result in found.items():
        if result.record.key != cell_key(grid.settings(cell)):
            raise DataError(f"the result of {cell.name} belongs to other settings: run it again")
    complete = _answers(grid, found)
    scores = Scores.of(complete, grid.resamples, seed)
    baseline = grid.baseline
    others = [number for number in complete if number != baseline and baseline in complete]
    contrasts = [Contrast([(number, baseline)]) for number in others]
    against = dict(zip(others, differences(scores, contrasts, grid.metric), strict=True))
    rows = tuple(
        _variant_row(grid, found, number, complete.get(number), against.get(number, {}))
        for number in range(len(grid.variants))
    )
    judged = next(iter(complete.values()))[0] if complete else None
    return AblationReport(
        name=name,
        synthetic=synthetic,
        metric=grid.metric,
        images=judged.n if judged else 0,
        groups=scores.n_groups,
        roadwork=float((judged.labels == POSITIVE).mean()) if judged else None,
        folds=grid.folds,
        seeds=grid.seeds,
        resamples=grid.resamples,
        axes=grid.axes,
        variants=rows,
        baseline=baseline,
        winner=_winner(rows, grid.metric),
        effects=_effects(grid, scores),
        grid_hash=fingerprint(
            grid.model_dump_json(exclude={"variants": {"__all__": {"settings"}}}),
            *(cell_key(variant.settings) for variant in grid.variants),
        ),
        code_version=__version__,
    )


def _answers(grid: Grid, found: Results) -> dict[int, tuple[ScoredSet, ...]]:
    """For every variant without a failed cell one scored set a seed, its folds put together."""
    answers: dict[int, tuple[ScoredSet, ...]] = {}
    first: pa.Table | None = None
    for number in range(len(grid.variants)):
        mine = {cell: result for cell, result in found.items() if cell.variant == number}
        if any(result.record.failure is not None for result in mine.values()):
            continue
        scored = []
        for seed in grid.seeds:
            tables = [result.answers for cell, result in mine.items() if cell.seed == seed]
            table = pa.concat_tables(tables).sort_by("sample_id").combine_chunks()
            images = table.drop_columns(["log_odds"])
            first = images if first is None else first
            if not images.equals(first):
                raise DataError(
                    f"{grid.variants[number].name} with seed {seed} was judged on other images "
                    "than the variants before it: run the ablation again without cache"
                )
            scored.append(_scored(table))
        answers[number] = tuple(scored)
    return answers


def _scored(answers: pa.Table) -> ScoredSet:
    log_odds = answers.column("log_odds").to_numpy()
    logits = np.zeros((len(log_odds), 2))
    logits[:, POSITIVE] = log_odds
    return ScoredSet(
        probabilities=softmax(logits),
        labels=answers.column("label").to_numpy().astype(np.int64),
        groups=np.asarray(answers.column("group_id").to_pylist(), dtype=np.str_),
        logits=logits,
    )


def _variant_row(
    grid: Grid,
    found: Results,
    number: int,
    answers: Sequence[ScoredSet] | None,
    against: Mapping[str, Difference],
) -> VariantRow:
    variant = grid.variants[number]
    mine = {cell: result for cell, result in found.items() if cell.variant == number}
    records = [result.record for result in mine.values()]
    done = next((record for record in records if record.failure is None), None)
    return VariantRow(
        name=variant.name,
        labels=variant.labels,
        overrides=variant.overrides,
        also=variant.also,
        cells=tuple(_cell_row(cell, result) for cell, result in mine.items()),
        metrics={name: seeded(answers, name) for name in METRICS_SHOWN} if answers else {},
        differences=against,
        trained=done.trained if done else None,
        views=done.views if done else None,
        seconds=float(np.mean([record.seconds for record in records])),
    )


def _cell_row(cell: Cell, result: CellResult) -> CellRow:
    record, figures = result.record, {}
    if record.failure is None:
        computed = compute_metrics(_scored(result.answers), METRICS_SHOWN)
        figures = {name: metric.value for name, metric in computed.items()}
    return CellRow(
        name=cell.name,
        seed=cell.seed,
        fold=cell.fold,
        failure=record.failure,
        best_epoch=record.best_epoch,
        seconds=record.seconds,
        metrics=figures,
    )


def _winner(rows: Sequence[VariantRow], metric: str) -> int | None:
    """The variant with the best mean; the first of equals."""
    sign = 1 if METRICS[metric].higher_is_better else -1
    means: dict[int, float] = {}
    for number, row in enumerate(rows):
        mean = row.metrics[metric].mean if row.metrics else None
        if mean is not None:
            means[number] = sign * mean
    return max(means, key=lambda number: means[number]) if means else None


def _effects(grid: Grid, scores: Scores) -> tuple[Effect, ...]:
    """Main effects, where there is more than one axis that has more than one value."""
    if sum(len(axis.values) > 1 for axis in grid.axes) < 2:
        return ()
    of_labels = dict(grid.combinations)
    home = grid.variants[grid.baseline].labels
    effects: list[Effect] = []
    contrasts: list[Contrast] = []
    for place, axis in enumerate(grid.axes):
        for value in axis.values:
            if value == home[place]:
                continue
            pairs = dict.fromkeys(
                (number, other)
                for labels, number in grid.combinations
                if labels[place] == value
                and (other := of_labels.get((*labels[:place], home[place], *labels[place + 1 :])))
                is not None
                and number != other
                and {number, other} <= set(scores.by_variant)
            )
            contrasts += [Contrast(tuple(pairs))] if pairs else []
            effects.append(
                Effect(
                    axis=axis.key,
                    value=value,
                    reference=home[place],
                    pairs=len(pairs),
                    differences={},
                )
            )
    compared = iter(differences(scores, contrasts, grid.metric))
    return tuple(
        effect.model_copy(update={"differences": next(compared)}) if effect.pairs else effect
        for effect in effects
    )

"""The grid of an ablation: axes, the variants that they make, and the cells to be trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from pydantic import BaseModel, ConfigDict

from roadwork.settings import Settings

__all__ = ["Axis", "Cell", "Grid", "Variant"]

# What the weights are loaded with where pretraining is off.
_NO_PRETRAINING = {"enabled": False, "epochs": 0, "batch_size": 1}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


class Axis(_Record):
    """One thing that is varied.

    Attributes:
        key: as written: a dotted key of the settings, or a name.
        short: what tables call it.
        values: labels of its values, in the order written.
    """

    key: str
    short: str
    values: tuple[str, ...]


class Variant(_Record):
    """One combination of values, and what it stands for.

    Attributes:
        name: its values in words, such as ``"adapter lora, loss focal"``.
        labels: its value of every axis.
        overrides: dotted keys and what they are set to.
        settings: resolved, with the parts that training reads; the seed is set by the cell.
        also: names of combinations that resolve to the same settings and are not run again.
    """

    name: str
    labels: tuple[str, ...]
    overrides: Mapping[str, Any]
    settings: Settings
    also: tuple[str, ...] = ()


class Cell(_Record):
    """One training run: a variant, a seed, and a fold if there are folds.

    Attributes:
        variant: its number in ``Grid.variants``.
        seed: of the training.
        fold: from 0; None without folds.
    """

    variant: int
    seed: int
    fold: int | None

    @property
    def name(self) -> str:
        """Unique in the grid, and short: ``cell_03_seed_1_fold_2``."""
        fold = "" if self.fold is None else f"_fold_{self.fold}"
        return f"cell_{self.variant:02d}_seed_{self.seed}{fold}"


class Grid(_Record):
    """Everything that an ablation will run.

    Attributes:
        axes: in the order written.
        variants: distinct ones, in the order of the axes, the last varying fastest.
        combinations: labels of every combination that is not excluded, and its variant's number.
        excluded: how many combinations were left out.
        baseline: number of the variant that the others are compared with.
        seeds: every variant is trained with each.
        folds: of the cross-validation, or None.
        metric: what decides.
        resamples: of the bootstrap.
    """

    axes: tuple[Axis, ...]
    variants: tuple[Variant, ...]
    combinations: tuple[tuple[tuple[str, ...], int], ...]
    excluded: int
    baseline: int
    seeds: tuple[int, ...]
    folds: int | None
    metric: str
    resamples: int

    def cells(self) -> Iterator[Cell]:
        """Every run, variant by variant."""
        folds = (None,) if self.folds is None else range(self.folds)
        for number, seed, fold in product(range(len(self.variants)), self.seeds, folds):
            yield Cell(variant=number, seed=seed, fold=fold)

    def settings(self, cell: Cell) -> Settings:
        """What one cell is trained with."""
        return self.variants[cell.variant].settings.model_copy(update={"seed": cell.seed})

    def pretraining(self, cell: Cell) -> Settings:
        """What the pretraining before a cell reads; cells where this is equal share it."""
        return _starting_point(self.settings(cell))

    def describe(self) -> str:
        """What will run, in one line."""
        cells = list(self.cells())
        starts = {(cell.fold, self.pretraining(cell).model_dump_json()): cell for cell in cells}
        enabled = sum(self.settings(cell).pretrain.enabled for cell in starts.values())
        folds = f" × {self.folds} folds" if self.folds else ""
        equal = len(self.combinations) - len(self.variants)
        asides = [
            f"{_count(self.excluded, 'combination')} excluded" if self.excluded else "",
            f"{_count(equal, 'combination')} that resolve to another's settings" if equal else "",
        ]
        aside = "; ".join(part for part in asides if part)
        return (
            f"{_count(len(self.variants), 'variant')} × {_count(len(self.seeds), 'seed')}{folds} = "
            f"{_count(len(cells), 'cell')}{f' ({aside})' if aside else ''}, from "
            f"{_count(len(starts), 'starting point')}, {enabled} of them with pretraining enabled"
        )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _starting_point(settings: Settings) -> Settings:
    """The settings that pretraining reads: neither the head nor the views matter to it."""
    plain = Settings()
    backbone = settings.backbone.model_copy(
        update={"views": plain.backbone.views, "head": plain.backbone.head}
    )
    kept = settings.model_copy(update={"backbone": backbone, "finetune": plain.finetune})
    if not kept.pretrain.enabled:
        kept = kept.model_copy(
            update={"pretrain": plain.pretrain.model_copy(update=_NO_PRETRAINING)}
        )
    return kept

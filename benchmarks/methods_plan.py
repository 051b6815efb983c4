"""What ``benchmarks.methods`` compares: the runs, the tables made of them, and their cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roadwork.data.views import Tiles

# Learning rates; of several, each run takes the one of least selection loss. A first look at three
# rates each (eight passes, float32, seed 0) was cut short by its time: of LoRA's 1e-4, 3e-4 and
# 1e-3 the middle one was best, of the trained head's 1e-4, 1e-3 and 1e-2 the last.
_ADAPTER = (3e-4,)
_LARGER = (1e-3,)
_SMALLER = (1e-4,)
_ALL_WEIGHTS = (3e-5,)
_HEAD = (1e-2,)


@dataclass(frozen=True)
class Plan:
    """How everything is measured; cells of one plan belong together."""

    data: str
    scratch: str
    vit_weights: str
    quick: bool = False
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: int = 3
    size: int = 224
    epochs: int = 4
    patience: int = 2
    batch: int = 8
    precision: str = "bf16"
    vit: str = "vit_pico_patch16_dinov3"
    vit_drives: int = 300
    vit_steps: int = 2000

    @property
    def measured(self) -> dict[str, Any]:
        """What the figures depend on beside the photographs."""
        keys = ("quick", "folds", "size", "epochs", "patience", "batch", "precision")
        vit = ("vit", "vit_drives", "vit_steps")
        return {key: getattr(self, key) for key in keys + vit}


@dataclass(frozen=True)
class Run:
    """One way to train.

    Attributes:
        title: for people.
        finetune: changes to the settings of that name; None for a frozen probe.
        views: likewise.
        rates: learning rates to choose from.
        like: takes the rate that was chosen for this run.
        vit: starts from the vision transformer, not from Lite0.
        both: the probe is fitted on the selection rows too.
    """

    title: str
    finetune: Mapping[str, Any] | None = None
    views: Mapping[str, Any] = field(default_factory=dict)
    rates: tuple[float, ...] = ()
    like: str = ""
    vit: bool = False
    both: bool = False


def _adapters(vit: bool) -> dict[str, Run]:
    mark = "vit " if vit else ""
    adapter = _LARGER if vit else _ADAPTER
    titles = {"lora": "LoRA", "dora": "DoRA", "doran_tau": "DoRAN (tau)", "doran_full": "DoRAN"}
    return {
        f"{mark}probe": Run("frozen probe", vit=vit),
        f"{mark}probe both": Run(
            "frozen probe, fitted on the selection part too", vit=vit, both=True
        ),
        f"{mark}linear": Run("trained head", {"adapter": "none"}, rates=_HEAD, vit=vit),
        **{
            f"{mark}{name}": Run(title, {"adapter": name}, rates=adapter, vit=vit)
            for name, title in titles.items()
        },
        f"{mark}full": Run(
            "all weights", {"adapter": "full"}, rates=_SMALLER if vit else _ALL_WEIGHTS, vit=vit
        ),
    }


_LORA: Mapping[str, Any] = {"adapter": "lora"}
_VIEWS: Mapping[str, Mapping[str, Any]] = {
    "global view": {"tiles": 0},
    "1 + 9, mean": {"aggregator": "mean"},
    "1 + 9, mean of the top 2": {"aggregator": "topk_mean", "top_k": 2},
    "1 + 9, mean of the top 3": {"aggregator": "topk_mean", "top_k": 3},
    "1 + 9, mean of the top 5": {"aggregator": "topk_mean", "top_k": 5},
    "1 + 9, attention": {"aggregator": "attention"},
    "1 + 9 by aspect, max": {"tiles": "aspect"},
    "1 + 9, max, both sides": {"flip": True},
}
_OPTIMIZERS = {
    "schedule_free": ("schedule-free AdamW", _LARGER),
    "sam": ("SAM over AdamW", _ADAPTER),
    "ademamix": ("AdEMAMix", _ADAPTER),
    "sophia": ("Sophia-G", _SMALLER),
}
_LOSSES: Mapping[str, Mapping[str, Any]] = {
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "focal": {"name": "focal"},
    "Gatekeeper 0.3": {"name": "gatekeeper", "alpha": 0.3},
    "Gatekeeper 0.5": {"name": "gatekeeper", "alpha": 0.5},
    "Gatekeeper 0.7": {"name": "gatekeeper", "alpha": 0.7},
}

_WINNERS: Mapping[str, tuple[str, Mapping[str, Any], tuple[float, ...]]] = {
    "schedule-free": ("schedule_free", {}, _LARGER),
    "Gatekeeper 0.3": ("adamw", _LOSSES["Gatekeeper 0.3"], _ADAPTER),
    "both": ("schedule_free", _LOSSES["Gatekeeper 0.3"], _LARGER),
}

RUNS: Mapping[str, Run] = {
    **_adapters(vit=False),
    **_adapters(vit=True),
    **{f"probe, {name}": Run(f"frozen probe, {name}", None, v) for name, v in _VIEWS.items()},
    **{name: Run(f"LoRA, {name}", _LORA, v, like="lora") for name, v in _VIEWS.items()},
    **{
        name: Run(title, {**_LORA, "optimizer": {"name": name}}, rates=rates)
        for name, (title, rates) in _OPTIMIZERS.items()
    },
    **{name: Run(name, {**_LORA, "loss": loss}, like="lora") for name, loss in _LOSSES.items()},
    **{
        f"by aspect, {name}": Run(
            f"1 + 9 by aspect, max, {name}",
            {**_LORA, "optimizer": {"name": optimizer}, "loss": loss},
            {"tiles": "aspect"},
            rates=rates,
        )
        for name, (optimizer, loss, rates) in _WINNERS.items()
    },
}


@dataclass(frozen=True)
class Table:
    """Runs side by side.

    Attributes:
        runs: keys of ``RUNS``.
        against: those to which differences are shown.
        names: other titles of runs that stand for something else in this table.
        unseen: no image of the unseen source is learned from (``Photographs.sets``).
        note: what a reader has to know.
    """

    title: str
    runs: tuple[str, ...]
    against: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    unseen: bool = False
    note: str = ""


TABLES: Mapping[str, Table] = {
    "adapters": Table(
        "Adapters on Lite0, 1 + 9 views, max",
        tuple(_adapters(vit=False)),
        ("probe", "probe both"),
    ),
    "unseen": Table(
        "A source of which nothing was learned",
        ("probe", "probe both", "lora", "by aspect, schedule-free", "by aspect, Gatekeeper 0.3"),
        ("probe", "probe both"),
        unseen=True,
        note="The negatives of the named source against the works of cities that were not learned "
        "from either. Only one source has works, so no other source can be left out.",
    ),
    "views": Table(
        "Views, Lite0",
        ("probe", "lora", *(name for view in _VIEWS for name in (f"probe, {view}", view))),
        ("lora",),
        {"probe": "frozen probe, 1 + 9, max", "lora": "LoRA, 1 + 9, max"},
        note="All with the rate chosen for LoRA on 1 + 9 views with max.",
    ),
    "optimizers": Table(
        "Optimizers, LoRA on Lite0, 1 + 9 views, max",
        ("lora", *_OPTIMIZERS),
        ("lora",),
        {"lora": "AdamW"},
    ),
    "losses": Table(
        "Losses, LoRA on Lite0, 1 + 9 views, max",
        ("lora", *_LOSSES),
        ("lora",),
        {"lora": "cross-entropy"},
        note="All with the rate chosen for cross-entropy.",
    ),
    "winners": Table(
        "What won, once more: LoRA on Lite0",
        ("probe", "lora", "1 + 9 by aspect, max", *(f"by aspect, {name}" for name in _WINNERS)),
        ("probe", "lora", "1 + 9 by aspect, max"),
        {
            "probe": "frozen probe, 1 + 9, max",
            "lora": "1 + 9, max",
            "1 + 9 by aspect, max": "1 + 9 by aspect, max",
        },
        note="For seeds that had no part in the choice of what is compared here.",
    ),
    "vit": Table(
        "Adapters on a vision transformer, 1 + 9 views, max",
        tuple(_adapters(vit=True)),
        ("vit probe", "vit probe both"),
        note="The start is not DINOv3: no published weights were at hand. It is a small network of "
        "that architecture that was taught, on generated scenes, to see what Lite0 sees "
        "(``benchmarks.vit_start``), and the table is no evidence about DINOv3's real weights.",
    ),
}
"""By the names of ``--parts``, the most telling first."""


@dataclass(frozen=True)
class Cell:
    """One run with one rate, seed and fold; ``rate`` is 0 for frozen probes."""

    run: str
    rate: float
    seed: int
    fold: int
    unseen: str = ""


def wanted_cells(
    parts: Sequence[str],
    plan: Plan,
    sources: Sequence[str],
    chosen: Callable[[str], float | None],
) -> Iterator[Cell]:
    """Cells that can be computed by now, the most wanted first; some come twice.

    Args:
        parts: keys of ``TABLES``.
        plan: seeds and folds.
        sources: those that are left out in ``unseen``.
        chosen: the rate of a run, None as long as cells of its choice are missing.
    """
    first = plan.seeds[0]
    for part in parts:
        table = TABLES[part]
        runs = [name for name in table.runs if RUNS[name].finetune is not None]
        for name in dict.fromkeys(RUNS[name].like or name for name in runs):
            for rate in RUNS[name].rates:
                for fold in range(plan.folds):
                    yield Cell(name, rate, first, fold)
        for name in table.runs:
            rate = chosen(name)
            if rate is None:
                continue
            for unseen in sources if table.unseen else ("",):
                for seed in plan.seeds:
                    for fold in range(plan.folds):
                        yield Cell(name, rate, seed, fold, unseen)


def settings_of(plan: Plan, cell: Cell) -> Any:
    """Resolved settings of one cell."""
    from roadwork.settings import parse_settings, resolve

    run = RUNS[cell.run]
    backbone: dict[str, Any] = {"name": "tf_efficientnet_lite0", "weights": "package"}
    if run.vit:
        backbone = {"name": plan.vit, "weights": "local", "weights_path": plan.vit_weights}
    finetune = {"epochs": plan.epochs, "batch_size": plan.batch, "patience": plan.patience}
    return resolve(
        parse_settings(
            {
                "name": "methods",
                "seed": cell.seed,
                "runs": plan.scratch,
                "data": {"sources": [photograph_source(plan)], "workers": 1},
                "backbone": {
                    **backbone,
                    "image_size": plan.size,
                    "views": {"tiles": 9, **run.views},
                },
                "pretrain": {"enabled": False},
                "finetune": {
                    **finetune,
                    "learning_rate": cell.rate or 1e-3,
                    **(run.finetune or {}),
                },
                "compute": {"checkpoint_every": 10**6, "precision": plan.precision},
            }
        )
    )


def photograph_source(plan: Plan) -> dict[str, str]:
    """The folder of photographs, as settings name it."""
    return {"kind": "image_folder", "csv": "manifest.csv", "root": plan.data}


def views_file(plan: Plan, photographs: str, tiles: Tiles) -> Path:
    """Where decoded views lie, by fingerprint; the global view is the first of every file."""
    return Path(plan.scratch, f"views-{photographs[:12]}-{tiles or 9}-{plan.size}.npy")

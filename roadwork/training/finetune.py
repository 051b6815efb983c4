"""Fine-tuning: from the probe's head, adapters are trained on TRAIN and judged on VAL_SELECT."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roadwork.data.contract import validate_model_selection
from roadwork.data.exposure import Exposure, Use, require_unexposed
from roadwork.data.loading import BatchStream, ViewReader, as_tensor, row_generator
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.data.order import Order
from roadwork.fingerprint import code_hash, fingerprint
from roadwork.models.adapters import ADAPTERS, restore_trainable
from roadwork.models.backbone import Backbone
from roadwork.models.classifier import (
    Classifier,
    RoadworkNetwork,
    build_classifier_network,
)
from roadwork.models.execution import execution
from roadwork.settings import FinetuneSettings, Settings
from roadwork.training.fit import fit
from roadwork.training.mining import HardNegatives
from roadwork.training.objectives import OBJECTIVES, ObjectiveContext, require_sources
from roadwork.training.priors import PRIOR_CORRECTIONS
from roadwork.training.probe import fit_probe
from roadwork.training.samplers import Balanced, plain_order
from roadwork.training.strata import BALANCES, Plan, Strata, plan_draws
from roadwork.training.supervised import SelectBatches, Supervised
from roadwork.training.views import OpenViews, open_views

__all__ = ["Finetuned", "finetune"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finetuned:
    """What fine-tuning gives.

    Attributes:
        classifier: the model with the lowest selection loss; pass 0 is the probe itself.
        baseline: the probe.
        history: selection loss by pass (:mod:`roadwork.training.refinement`), and which pass was
            chosen. With a domain method also
            ``domain``: its figures by pass, and the selection AUROC of every source by pass,
            which must not fall while the domains are aligned. With mining also ``mining``: how
            many training rows were learned from and drawn as hard negatives.
        mined: the training rows that were drawn as hard negatives; empty without mining.
    """

    classifier: Classifier
    baseline: Classifier
    history: dict[str, Any]
    mined: Exposure


def finetune(
    backbone: Backbone,
    train: TrainSet,
    select: SelectSet,
    settings: Settings,
    checkpoints: Path,
    *,
    views: OpenViews | None = None,
    baseline: Classifier | None = None,
) -> Finetuned:
    """Fit the probe, then train from it; goes on from a checkpoint of the same inputs.

    Args:
        backbone: where to start.
        train: weights are fitted here.
        select: the pass is chosen here.
        settings: resolved settings.
        checkpoints: folder of all checkpoints; this run's is named after its inputs.
        views: opens the views of a set, for callers who keep them decoded between runs; by
            default as the settings say.
        baseline: the probe of this backbone and this training set, if it is there already.

    Raises:
        ConfigError: the sampling or the domain method does not fit the sources of the set.
        LeakageError: the two sets overlap, or the backbone was exposed to the selection set.
        TrainingError: a refused checkpoint or a loss that is not finite.
    """
    validate_model_selection(train, select)
    require_unexposed(backbone, select, "select a model on")
    wanted = settings.finetune
    assert isinstance(wanted.epochs, int)
    assert isinstance(wanted.batch_size, int)
    strata = Strata.of(train)
    require_sources(wanted.domain.method, strata)
    plan = _plan(strata, wanted)
    open_set = views or open_views(settings)
    read = open_set(train)
    if baseline is None:
        baseline = fit_probe(backbone, train, settings, read)
    require_unexposed(baseline, select, "select a model on")
    # Before the adapters: their start must not depend on what this process did earlier.
    torch.manual_seed(settings.seed)
    network = _copy(baseline)
    adapted = ADAPTERS[wanted.adapter].prepare(
        network.backbone, backbone.name, wanted.rank, wanted.alpha
    )
    logger.info(
        "fine-tuning %s (%s): %d layers adapted, %d of %d weights train",
        backbone.name,
        ADAPTERS[wanted.adapter].title,
        len(adapted),
        sum(p.numel() for p in network.parameters() if p.requires_grad),
        sum(p.numel() for p in network.parameters()),
    )
    order, miner = _order(train, plan, settings)
    labels = train.labels
    stream = BatchStream(
        len(train),
        wanted.batch_size,
        settings.seed,
        lambda rows, epoch: {
            **augmented_batch(read, labels, rows, epoch, settings.seed),
            "rows": torch.from_numpy(rows),
            "domains": torch.from_numpy(strata.source[rows]),
        },
        order=order,
    )
    context = ObjectiveContext(wanted, strata, plan.drawn, network.head.in_features)
    module = Supervised(
        network,
        OBJECTIVES[wanted.domain.method].build(context),
        wanted,
        SelectBatches(open_set(select), select.labels, np.asarray(select.column("source"))),
        steps=wanted.epochs * len(stream),
        offsets=PRIOR_CORRECTIONS[wanted.prior_correction](strata, plan),
        miner=miner,
    )
    folder = checkpoints / (
        "finetune-"
        + fingerprint(
            backbone.content_hash,
            train.content_hash,
            select.content_hash,
            # How it is computed is no matter: compiled and plain runs share their checkpoints.
            settings.finetune.model_dump_json(),
            settings.backbone.model_dump_json(),
            str(settings.seed),
            code_hash([__name__]),
        )
    )
    computed: dict[str, object] = {}
    if wanted.epochs > 0:
        module.score_start()
        with execution(network.backbone, settings.compute) as computed:
            fit(
                module,
                stream,
                module.held_out,
                epochs=wanted.epochs,
                folder=folder,
                checkpoint_every=settings.compute.checkpoint_every,
                precision=settings.compute.precision,
                monitor="select/nll",
                patience=wanted.patience,
            )
        restore_trainable(network, module.best_state)
    ADAPTERS[wanted.adapter].merge(network.backbone)
    shutil.rmtree(folder, ignore_errors=True)
    spec = baseline.spec.model_copy(
        update={"title": "fine-tuned model", "adapter": ADAPTERS[wanted.adapter].title}
    )
    exposure = baseline.exposure.union(Exposure.of(Use.SELECT, select))
    classifier = Classifier(spec, network.cpu().eval(), exposure)
    mined = Exposure() if miner is None else miner.mined
    return Finetuned(
        classifier, baseline, {**_history(module, wanted), "execution": computed}, mined
    )


def _plan(strata: Strata, wanted: FinetuneSettings) -> Plan:
    """What a pass draws: as the settings say, otherwise as the objective needs."""
    balance = wanted.sampling.balance
    implied = OBJECTIVES[wanted.domain.method].balance
    if balance == "none" and implied != "none":
        logger.info(
            "%s draws its batches with balance: %s", OBJECTIVES[wanted.domain.method].title, implied
        )
        balance = implied
    plan = plan_draws(strata, balance, wanted.sampling.source_shares)
    if balance != "none":
        positive = plan.drawn[:, 1].sum()
        logger.info("a pass draws %s; %.0f %% roadwork", BALANCES[balance].title, 100 * positive)
    return plan


def _order(train: TrainSet, plan: Plan, settings: Settings) -> tuple[Order, HardNegatives | None]:
    """The rows of each pass, and the miner if there is one."""
    order = plain_order(train, settings)
    if len(plan.shares) > 1:
        order = Balanced(plan, settings.seed)
    share = settings.finetune.sampling.hard_negatives
    if share == 0:
        return order, None
    miner = HardNegatives(train, order, plan, share, settings.seed)
    return miner, miner


def _history(module: Supervised, wanted: FinetuneSettings) -> dict[str, Any]:
    history: dict[str, Any] = {"select_nll": module.history, "best_epoch": module.best_epoch}
    if wanted.domain.method != "none":
        history["domain"] = {
            "method": wanted.domain.method,
            "passes": module.reports,
            "select_auroc": module.source_auroc,
        }
    if module.miner is not None:
        history["mining"] = {
            "learned_from": _rows(module.miner.exposure),
            "drawn": _rows(module.miner.mined),
        }
    return history


def _rows(exposure: Exposure) -> int:
    return sum(count["samples"] for count in exposure.counts().values())


def _copy(classifier: Classifier) -> RoadworkNetwork:
    network = build_classifier_network(classifier.spec)
    network.load_state_dict(classifier.network.state_dict(), strict=True)
    return network


def augmented_batch(
    read: ViewReader, labels: NDArray[np.int64], rows: NDArray[np.int64], epoch: int, seed: int
) -> dict[str, Tensor]:
    """Views, labels and light augmentation of some rows: mirrored at random, colours shifted."""
    views, gains, offsets = [], [], []
    for row, image in zip(rows, read.take(rows), strict=True):
        rng = row_generator(seed, epoch, int(row))
        views.append(image[:, :, ::-1] if rng.random() < 0.5 else image)
        gains.append(rng.uniform(0.8, 1.25) * rng.uniform(0.93, 1.07, 3))
        offsets.append(rng.uniform(-0.08, 0.08))
    return {
        "views": as_tensor(views),
        "labels": torch.from_numpy(labels[rows]),
        "gain": torch.from_numpy(np.stack(gains)).float(),
        "offset": torch.from_numpy(np.array(offsets)).float(),
    }

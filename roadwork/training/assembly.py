"""Assembly: a fine-tuning run put together from sets and settings, ready for Lightning.

Every door to training (the pipeline, Lightning's command line, a caller of the library) runs what
is put together here, so that all of them train the same.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from roadwork.data.exposure import Exposure, Use
from roadwork.data.loading import BatchStream, ViewReader
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.data.order import Order
from roadwork.fingerprint import code_hash, fingerprint
from roadwork.models.adapters import ADAPTERS, restore_trainable
from roadwork.models.backbone import state_hash
from roadwork.models.classifier import Classifier, RoadworkNetwork, build_classifier_network
from roadwork.settings import FinetuneSettings, Settings
from roadwork.training.augmentation import augmented_batch
from roadwork.training.mining import HardNegatives
from roadwork.training.objectives import OBJECTIVES, ObjectiveContext, require_sources
from roadwork.training.priors import PRIOR_CORRECTIONS
from roadwork.training.processes import Group
from roadwork.training.samplers import Balanced, plain_order
from roadwork.training.select_batches import SelectBatches
from roadwork.training.strata import BALANCES, Plan, Strata, plan_draws
from roadwork.training.supervised import Supervised

__all__ = ["Drawing", "adapted_network", "assemble", "chosen_classifier", "training_batches"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawing:
    """What a pass draws from a training set.

    Attributes:
        strata: sources and labels of the rows.
        plan: how often each occurs.
    """

    strata: Strata
    plan: Plan

    @classmethod
    def of(cls, train: TrainSet, wanted: FinetuneSettings) -> Self:
        """As the settings say, otherwise as the objective needs.

        Raises:
            ConfigError: the sampling or the domain method does not fit the sources of the set.
        """
        strata = Strata.of(train)
        require_sources(wanted.domain.method, strata)
        balance = wanted.sampling.balance
        objective = OBJECTIVES[wanted.domain.method]
        if balance == "none" and objective.balance != "none":
            balance = objective.balance
            logger.info("%s draws its batches with balance: %s", objective.title, balance)
        plan = plan_draws(strata, balance, wanted.sampling.source_shares)
        if balance != "none":
            percent = 100 * plan.drawn[:, 1].sum()
            logger.info("a pass draws %s; %.0f %% roadwork", BALANCES[balance].title, percent)
        return cls(strata, plan)

    def order(self, train: TrainSet, settings: Settings) -> tuple[Order, HardNegatives | None]:
        """The rows of each pass, and the miner if there is one."""
        order = plain_order(train, settings)
        if len(self.plan.shares) > 1:
            order = Balanced(self.plan, settings.seed)
        share = settings.finetune.sampling.hard_negatives
        if share == 0:
            return order, None
        miner = HardNegatives(train, order, self.plan, share, settings.seed)
        return miner, miner


def training_batches(
    train: TrainSet,
    read: ViewReader,
    strata: Strata,
    order: Order,
    settings: Settings,
    group: Group,
) -> BatchStream:
    """Augmented batches of a training set, with ``rows`` and ``domains`` (B,) of each image."""
    labels, seed = train.labels, settings.seed
    assert isinstance(settings.finetune.batch_size, int), "resolve the settings first"
    return BatchStream(
        len(train),
        settings.finetune.batch_size,
        seed,
        lambda rows, epoch: {
            **augmented_batch(read, labels, rows, epoch, seed),
            "rows": torch.from_numpy(rows),
            "domains": torch.from_numpy(strata.source[rows]),
        },
        order=order,
        rank=group.rank,
        world=group.world,
    )


def assemble(
    baseline: Classifier,
    train: TrainSet,
    select: SelectSet,
    settings: Settings,
    drawing: Drawing,
    read: ViewReader,
    read_select: ViewReader,
    group: Group,
) -> tuple[Supervised, BatchStream]:
    """The module that trains, and its batches; the same seed gives the same start.

    Args:
        baseline: training starts from a copy of it.
        train: weights are fitted here.
        select: the pass is chosen here.
        settings: resolved settings.
        drawing: what a pass draws from ``train``.
        read: views of ``train``.
        read_select: views of ``select``.
        group: the processes that train together.
    """
    wanted = settings.finetune
    assert isinstance(wanted.epochs, int), "resolve the settings first"
    # Before the adapters: their start must not depend on what this process did earlier.
    torch.manual_seed(settings.seed)
    network, adapted = adapted_network(baseline, wanted)
    logger.info(
        "fine-tuning %s (%s): %d layers adapted, %d of %d weights train",
        baseline.spec.backbone,
        ADAPTERS[wanted.adapter].title,
        adapted,
        sum(p.numel() for p in network.parameters() if p.requires_grad),
        sum(p.numel() for p in network.parameters()),
    )
    order, miner = drawing.order(train, settings)
    stream = training_batches(train, read, drawing.strata, order, settings, group)
    context = ObjectiveContext(wanted, drawing.strata, drawing.plan.drawn, network.head.in_features)
    sources = np.asarray(select.column("source"))
    module = Supervised(
        network,
        OBJECTIVES[wanted.domain.method].build(context),
        wanted,
        SelectBatches(read_select, select.labels, sources, group=group),
        steps=wanted.epochs * len(stream),
        offsets=PRIOR_CORRECTIONS[wanted.prior_correction](drawing.strata, drawing.plan),
        miner=miner,
        parts=settings.compute.accumulate,
        seed=settings.seed,
        run=_fingerprint(baseline, train, select, settings),
    )
    return module, stream


def _fingerprint(
    baseline: Classifier, train: TrainSet, select: SelectSet, settings: Settings
) -> str:
    """Of everything that decides what a run learns; checkpoints of another run are refused.

    How it is computed is no matter: compiled and plain runs, and those of one process and of
    several, share their checkpoints. So the probe's head does not count, which several processes
    find up to rounding; it follows from the rest.
    """
    return fingerprint(
        baseline.spec.model_dump_json(),
        state_hash(baseline.network.backbone.state_dict()),
        baseline.exposure.to_bytes().hex(),
        train.content_hash,
        select.content_hash,
        settings.finetune.model_dump_json(),
        settings.backbone.model_dump_json(),
        settings.data.shards.model_dump_json(include={"to", "window"}),
        str(settings.seed),
        code_hash(["roadwork.training.finetune"]),
    )


def adapted_network(
    classifier: Classifier, wanted: FinetuneSettings
) -> tuple[RoadworkNetwork, int]:
    """A copy of a classifier's network with adapters on; and how many layers they adapt."""
    network = build_classifier_network(classifier.spec)
    network.load_state_dict(classifier.network.state_dict(), strict=True)
    adapted = ADAPTERS[wanted.adapter].prepare(
        network.backbone, classifier.spec.backbone, wanted.rank, wanted.alpha
    )
    return network, len(adapted)


def chosen_classifier(
    module: Supervised, network: RoadworkNetwork, baseline: Classifier, select: SelectSet
) -> Classifier:
    """The pass that was chosen, as a plain network; the selection set has had a say in it.

    Args:
        module: trained, or not trained at all: then it is the baseline.
        network: with the adapters of ``module``, into which its best weights are put.
        baseline: where training started.
        select: where the pass was chosen.
    """
    adapter = ADAPTERS[module.wanted.adapter]
    if module.best_state:
        restore_trainable(network, module.best_state)
    adapter.merge(network.backbone)
    spec = baseline.spec.model_copy(update={"title": "fine-tuned model", "adapter": adapter.title})
    exposure = baseline.exposure.union(Exposure.of(Use.SELECT, select))
    return Classifier(spec, network.cpu().eval(), exposure)

"""Training of the cascade: heads on the features of a fitted classifier, which stays as it is.

Stage 2 is the classifier that fine-tuning gave. Stage 1 gets a linear head on the features of the
global view, which are among those that stage 2 reads. It starts as a logistic regression (the
first phase: cross-entropy, as stage 2 was trained) and goes on by the objective of the settings
(the second phase). The backbone is not touched: trained again it would be another classifier,
which has passed none of the checks. So the features of every image are computed once, and a pass
takes seconds.

The pass is chosen on VAL_SELECT (:mod:`roadwork.cascade.selection`); the start takes part.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from roadwork.cascade.features import Scale, StageFeatures, stage_features
from roadwork.cascade.losses import CASCADE_OBJECTIVES
from roadwork.cascade.module import CascadeHeads, HeadBatches
from roadwork.cascade.stages import Cascade, CascadeNetwork, CascadeSpec
from roadwork.data.contract import validate_model_selection
from roadwork.data.exposure import Exposure, Use, require_unexposed
from roadwork.data.loading import BatchStream
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.errors import ConfigError
from roadwork.fingerprint import code_hash, fingerprint
from roadwork.models.classifier import Classifier, build_classifier_network
from roadwork.settings import CascadeSettings, Settings
from roadwork.training.curves import Tracker
from roadwork.training.fit import fit
from roadwork.training.probe import logistic_regression, require_two_classes, set_linear_head
from roadwork.training.recorder import Recorder
from roadwork.training.views import OpenViews, open_views

__all__ = ["TrainedCascade", "hold_back", "train_cascade"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedCascade:
    """What training gives.

    Attributes:
        cascade: with the heads of the pass that was chosen.
        history: selection losses by pass (``select_nll`` of the cascade, by which the pass was
            chosen, ``select_first_nll`` and ``select_second_nll`` of the stages), ``best_epoch``,
            ``held_back``, the training images that the start did not see, and ``curves``, all that
            was logged by step (:mod:`roadwork.training.curves`).
    """

    cascade: Cascade
    history: dict[str, Any]


def train_cascade(
    classifier: Classifier,
    train: TrainSet,
    select: SelectSet,
    settings: Settings,
    checkpoints: Path,
    *,
    views: OpenViews | None = None,
    tracker: Tracker | None = None,
) -> TrainedCascade:
    """Add a first stage to a classifier; goes on from a checkpoint of the same inputs.

    Args:
        classifier: stage 2; its weights are copied.
        train: heads are fitted here.
        select: the pass is chosen here.
        settings: resolved settings.
        checkpoints: folder of all checkpoints; this run's is named after its inputs.
        views: opens the views of a set, for callers who keep them decoded between runs.
        tracker: is told of all that is logged, while training runs.

    Raises:
        ConfigError: the classifier sees no tiles, so that both stages would see the same, or other
            views than the settings ask for.
        DataError: the training set holds one class alone.
        LeakageError: the two sets overlap, or the classifier was exposed to one of them in a way
            that training must not be.
        TrainingError: a refused checkpoint or a loss that is not finite.
    """
    validate_model_selection(train, select)
    chosen = "train a cascade from"
    # Its own training and selection sets may serve again, each for its own purpose.
    require_unexposed(classifier, train, chosen, set(Use) - {Use.PRETRAIN, Use.TRAIN})
    require_unexposed(classifier, select, chosen, set(Use) - {Use.SELECT})
    require_two_classes(train.labels)
    _require_same_views(classifier, settings)
    wanted = settings.cascade
    second = build_classifier_network(classifier.spec)
    second.load_state_dict(classifier.network.state_dict(), strict=True)
    network = CascadeNetwork(second)
    open_set = views or open_views(settings)
    known = stage_features(network, open_set(train), "Features of both stages, train set")
    unseen = stage_features(network, open_set(select), "Features of both stages, select set")
    network.cpu()
    held = _held_back(train, wanted, settings.seed)
    start = logistic_regression(
        known.first[~held].astype(np.float64), train.labels[~held], train.groups[~held]
    )
    set_linear_head(network.first_head, *start)
    scales = Scale.of(known.first), Scale.of(known.second)
    batches = _batches(known, train.labels, scales)
    # Labels and features alone decide; nothing here is drawn.
    stream = BatchStream(
        len(train),
        wanted.batch_size,
        settings.seed,
        lambda rows, epoch: batches.take(torch.from_numpy(rows)),
    )
    module = CascadeHeads(
        scales[0].to_standardised(network.first_head),
        scales[1].to_standardised(network.network.head),
        wanted,
        _batches(unseen, select.labels, scales),
        steps=wanted.epochs * len(stream),
    )
    module.score_start()
    recorder = Recorder(tracker)
    recorder.start(module.logged)
    if wanted.epochs > 0:
        folder = checkpoints / (
            "cascade-"
            + fingerprint(
                classifier.content_hash,
                train.content_hash,
                select.content_hash,
                wanted.training.model_dump_json(),
                str(settings.seed),
                code_hash([__name__]),
            )
        )
        fit(
            module,
            stream,
            module.held_out,
            epochs=wanted.epochs,
            folder=folder,
            checkpoint_every=settings.compute.checkpoint_every,
            recorder=recorder,
        )
        shutil.rmtree(folder, ignore_errors=True)
    _take_best(network, module, scales)
    spec = CascadeSpec(
        title="two-stage cascade",
        classifier=classifier.spec,
        objective=wanted.objective if module.best_epoch else "ce",
        trains=wanted.trains,
    )
    exposure = classifier.exposure.union(
        Exposure.of(Use.TRAIN, train), Exposure.of(Use.SELECT, select)
    )
    logger.info(
        "cascade (%s): pass %d of %d was chosen",
        CASCADE_OBJECTIVES[wanted.objective].title,
        module.best_epoch,
        wanted.epochs,
    )
    return TrainedCascade(
        Cascade(spec, network.eval(), exposure),
        {**_history(module, int(held.sum())), "curves": recorder.curves.columns()},
    )


def hold_back(
    labels: NDArray[np.int64], groups: NDArray[Any], share: float, seed: int
) -> NDArray[np.bool_]:
    """Mask (N,) of whole groups, drawn at random, with at most a share of the rows.

    Groups are gone through in the order of the draw; each that still fits is held back, so that
    one large group does not end it. Where none fits, or the other rows would be of one class,
    nothing is held back, and the log says so.
    """
    names, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    kept_back: list[int] = []
    room = share * len(labels)
    for group in np.random.default_rng(seed).permutation(len(names)).tolist():
        if sizes[group] <= room:
            kept_back.append(group)
            room -= sizes[group]
    held = np.isin(codes.reshape(-1), kept_back)
    if share > 0 and not kept_back:
        logger.warning(
            "no training image is held back from the start of stage 1: every group has more than "
            "%.3g %% of the images, and groups stay whole. Raise cascade.held_back",
            100 * share,
        )
    elif len(np.unique(labels[~held])) < 2:
        logger.warning(
            "no training image is held back from the start of stage 1: the others would all be of "
            "one class"
        )
        return np.zeros(len(labels), dtype=np.bool_)
    return held


def _require_same_views(classifier: Classifier, settings: Settings) -> None:
    """Heads are trained on views of the settings and judged on those of the classifier.

    Raises:
        ConfigError: they differ.
    """
    spec, asked = classifier.spec, settings.backbone
    differing = [
        f"backbone.{name} is {ours} in the settings, and the classifier was trained with {theirs}"
        for name, ours, theirs in (
            ("image_size", asked.image_size, spec.image_size),
            ("views", asked.views.model_dump(), spec.views.model_dump()),
        )
        if ours != theirs
    ]
    if differing:
        raise ConfigError(
            f"a cascade sees what its classifier sees: {'; '.join(differing)}. Use the settings "
            "that the classifier was trained with"
        )


def _held_back(train: TrainSet, wanted: CascadeSettings, seed: int) -> NDArray[np.bool_]:
    """Cross-entropy goes on as it began, so that nothing need be kept from its start."""
    share = 0.0 if wanted.objective == "ce" else wanted.held_back
    return hold_back(train.labels, train.groups, share, seed)


def _batches(
    features: StageFeatures, labels: NDArray[np.int64], scales: tuple[Scale, Scale]
) -> HeadBatches:
    return HeadBatches(
        scales[0].standardised(features.first),
        scales[1].standardised(features.second),
        torch.from_numpy(labels),
    )


def _take_best(network: CascadeNetwork, module: CascadeHeads, scales: tuple[Scale, Scale]) -> None:
    """Write the chosen heads into the network; a head that did not move keeps its bits."""
    if module.best_epoch == 0:
        return
    module.load_state_dict(module.best_state)
    module.cpu()
    pairs: list[tuple[nn.Linear, nn.Linear, Scale]] = [
        (network.first_head, module.first, scales[0])
    ]
    if module.wanted.trains == "heads":
        pairs.append((network.network.head, module.second, scales[1]))
    for target, trained, scale in pairs:
        target.load_state_dict(scale.to_raw(trained).state_dict())


def _history(module: CascadeHeads, held_back: int) -> dict[str, Any]:
    return {
        "select_nll": [loss.cascade for loss in module.history],
        "select_first_nll": [loss.first for loss in module.history],
        "select_second_nll": [loss.second for loss in module.history],
        "best_epoch": module.best_epoch,
        "held_back": held_back,
    }

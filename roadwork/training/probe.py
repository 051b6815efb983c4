"""The probe: logistic regression on frozen features, the baseline and the start of fine-tuning.

Fine-tuning that starts from the probe's head distorts the features less than one that starts from
a random head (Kumar et al., "Fine-Tuning can Distort Pretrained Features", ICLR 2022).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from roadwork import CLASSES
from roadwork.data.exposure import Exposure, Use
from roadwork.data.loading import ViewReader
from roadwork.data.manifest import TrainSet
from roadwork.errors import DataError
from roadwork.models.backbone import Backbone
from roadwork.models.classifier import Classifier, ClassifierSpec, attach_head
from roadwork.models.inference import run_batches
from roadwork.settings import Settings
from roadwork.training.processes import current
from roadwork.training.views import open_views

__all__ = ["fit_probe", "logistic_regression", "require_two_classes", "set_linear_head"]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse penalties on standardised features


def fit_probe(
    backbone: Backbone, train: TrainSet, settings: Settings, reader: ViewReader | None = None
) -> Classifier:
    """Fit a linear head on the frozen backbone's features of the training set.

    The penalty is chosen by cross-validated log loss over the training groups.

    Args:
        backbone: stays as it is.
        train: the head is fitted here.
        settings: resolved settings.
        reader: views of ``train``, for callers who read them again afterwards; by default the
            probe decodes them for itself.

    Raises:
        DataError: the training set holds one class alone.
    """
    require_two_classes(train.labels)
    wanted = settings.backbone
    network = attach_head(backbone, wanted.views, wanted.head)
    network.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    group, rows = current(), len(train)
    part = run_batches(
        network.features,
        reader or open_views(settings)(train),
        "Features of the train set",
        group.share(rows),
    )
    # Several processes: the first one has all features, and tells the others what it found.
    features = group.at_first(torch.from_numpy(part), rows)
    weight, bias = np.zeros(network.head.weight.shape), np.zeros(network.head.bias.shape)
    if features is not None:
        weight, bias = logistic_regression(features.numpy(), train.labels, train.groups)
    set_linear_head(network.head, group.from_first(weight), group.from_first(bias))
    spec = ClassifierSpec(
        title="frozen features + logistic regression",
        classes=CLASSES,
        backbone=backbone.name,
        image_size=backbone.image_size,
        views=wanted.views,
        head=wanted.head,
        adapter="none",
        origin=backbone.origin,
    )
    exposure = backbone.exposure.union(Exposure.of(Use.TRAIN, train))
    return Classifier(spec, network.eval(), exposure)


def require_two_classes(labels: NDArray[np.int64], what: str = "training") -> None:
    """Refuse labels (N,) of one class alone; ``what`` set they are of.

    Raises:
        DataError: naming the set, the class and the count.
    """
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            f"all {len(labels)} {what} images have the label {CLASSES[present[0]]}: there is "
            "nothing to tell apart. Add images of the other class, in groups of their own."
        )


def logistic_regression(
    features: NDArray[np.float64], labels: NDArray[np.int64], groups: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (K, W) and biases (K,) on the raw features, for labels 0 and 1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedGroupKFold

    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-8, scale, 1.0)
    standard = (features - mean) / scale

    def fitted(rows: NDArray[np.int64], strength: float) -> Any:
        model = LogisticRegression(C=strength, max_iter=2000, tol=1e-6)
        return model.fit(standard[rows], labels[rows])

    folds = _folds(StratifiedGroupKFold, labels, groups)
    losses = dict.fromkeys(_STRENGTHS, 0.0)
    for strength in _STRENGTHS:
        for kept, left in folds:
            p = fitted(kept, strength).predict_proba(standard[left])
            losses[strength] += float(log_loss(labels[left], p, labels=[0, 1], normalize=False))
    best = min(_STRENGTHS, key=lambda strength: (losses[strength], strength))
    model = fitted(np.arange(len(labels)), best)
    direction = model.coef_[0] / scale
    offset = float(model.intercept_[0] - direction @ mean)
    # Two logits whose difference is the log odds.
    return np.stack([-direction / 2, direction / 2]), np.array([-offset / 2, offset / 2])


def _folds(
    splitter: Any, labels: NDArray[np.int64], groups: NDArray[Any]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Grouped folds whose training part holds both classes; none if groups are too few."""
    # The splitter asks for a class with at least as many samples as folds.
    count = min(5, len(np.unique(groups)), int(np.bincount(labels).max()))
    if count < 2:
        return []
    with warnings.catch_warnings():
        # A class may live in fewer groups than there are folds; such folds are left out below.
        warnings.simplefilter("ignore", UserWarning)
        folds = list(splitter(count).split(labels, labels, groups))
    return [(kept, left) for kept, left in folds if len(np.unique(labels[kept])) > 1]


@torch.no_grad()
def set_linear_head(
    head: nn.Linear, weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> None:
    """Write weights (K, W) and biases (K,) into a linear layer."""
    head.weight.copy_(torch.from_numpy(weight).to(head.weight))
    head.bias.copy_(torch.from_numpy(bias).to(head.bias))

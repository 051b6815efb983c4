"""Fine-tuning: from the probe's head, adapters are trained on TRAIN and judged on VAL_SELECT."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from roadwork.data.contract import validate_model_selection
from roadwork.data.exposure import Exposure, require_unexposed
from roadwork.data.loading import batch_share
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.models.backbone import Backbone
from roadwork.models.classifier import Classifier
from roadwork.models.execution import execution
from roadwork.settings import FinetuneSettings, Settings
from roadwork.training.assembly import Drawing, adapted_network, assemble, chosen_classifier
from roadwork.training.curves import Tracker
from roadwork.training.fit import fit
from roadwork.training.launch import launched
from roadwork.training.probe import fit_probe, require_two_classes
from roadwork.training.processes import join, must_launch
from roadwork.training.recorder import Recorder
from roadwork.training.supervised import Supervised
from roadwork.training.views import OpenViews, open_views

__all__ = ["Finetuned", "finetune"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finetuned:
    """What fine-tuning gives.

    Attributes:
        classifier: the model with the lowest selection loss; pass 0 is the probe itself.
        baseline: the probe.
        history: selection loss by pass (:mod:`roadwork.training.refinement`), which pass was
            chosen, and ``curves``: every logged value by step (:class:`~roadwork.training.curves`).
            With a domain method also
            ``domain``: its figures by pass, and the selection AUROC of every source by pass,
            which must not fall while the domains are aligned. With mining also ``mining``: how
            many training rows were learned from and drawn as hard negatives.
        mined: the training rows that were drawn as hard negatives; empty without mining.
    """

    classifier: Classifier
    baseline: Classifier
    history: dict[str, Any]
    mined: Exposure

    def save(self, folder: Path) -> None:
        """Write ``classifier/``, ``baseline/``, ``history.json`` and ``mined.bin``."""
        for name in ("classifier", "baseline"):
            (folder / name).mkdir()
            getattr(self, name).save(folder / name)
        (folder / "history.json").write_text(json.dumps(self.history))
        (folder / "mined.bin").write_bytes(self.mined.to_bytes())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        return cls(
            Classifier.load(folder / "classifier"),
            Classifier.load(folder / "baseline"),
            json.loads((folder / "history.json").read_text()),
            Exposure.from_bytes((folder / "mined.bin").read_bytes()),
        )


def finetune(
    backbone: Backbone,
    train: TrainSet,
    select: SelectSet,
    settings: Settings,
    checkpoints: Path,
    *,
    views: OpenViews | None = None,
    baseline: Classifier | None = None,
    tracker: Tracker | None = None,
) -> Finetuned:
    """Fit the probe, then train from it; goes on from a checkpoint of the same inputs.

    With ``compute.processes`` the work is done by processes that are started for it; within
    processes that torchrun started, all call this together, and all are given the result.

    Args:
        backbone: where to start.
        train: weights are fitted here.
        select: the pass is chosen here.
        settings: resolved settings.
        checkpoints: folder of all checkpoints; this run's is named after its inputs.
        views: opens the views of a set, for callers who keep them decoded between runs; by
            default as the settings say. Processes that are started open them as the settings say.
        baseline: the probe of this backbone and this training set, if it is there already.
        tracker: is told what is logged, while training runs.

    Raises:
        ConfigError: the sampling or the domain method does not fit the sources of the set, or the
            processes cannot share a batch.
        DataError: one of the sets holds one class alone.
        LeakageError: the two sets overlap, or the backbone was exposed to the selection set.
        TrainingError: a refused checkpoint, or a loss or gradients that are not finite.
    """
    validate_model_selection(train, select)
    require_unexposed(backbone, select, "select a model on")
    require_two_classes(train.labels)
    require_two_classes(select.labels, "selection")
    wanted = settings.finetune
    assert isinstance(wanted.epochs, int)
    assert isinstance(wanted.batch_size, int)
    drawing = Drawing.of(train, wanted)
    if must_launch(settings.compute):
        batch_share(len(train), wanted.batch_size, settings.compute.processes)
        given = {"backbone": backbone, "train": train, "select": select}
        known = {} if baseline is None else {"baseline": baseline}
        with launched("finetune", given | known, settings, checkpoints, tracker) as results:
            return Finetuned.load(results)
    group = join(settings.compute)
    open_set = views or open_views(settings)
    read = open_set(train)
    if baseline is None:
        baseline = fit_probe(backbone, train, settings, read)
    require_unexposed(baseline, select, "select a model on")
    module, stream = assemble(
        baseline, train, select, settings, drawing, read, open_set(select), group
    )
    folder = checkpoints / f"finetune-{module.run}"
    computed: dict[str, object] = {}
    recorder = Recorder(tracker)
    network = module.network
    if wanted.epochs > 0:
        module.score_start()
        recorder.start({"select/nll": module.history[0]})
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
                recorder=recorder,
                strategy=settings.compute.strategy,
            )
        if group.shared and settings.compute.strategy == "fsdp":
            network, _ = adapted_network(baseline, wanted)  # what was cut stays cut
    classifier = chosen_classifier(module, network, baseline, select)
    group.wait()
    if group.first:
        shutil.rmtree(folder, ignore_errors=True)
    mined = Exposure() if module.miner is None else module.miner.mined
    history = {
        **_history(module, wanted),
        "execution": {**computed, "processes": group.world},
        "curves": recorder.curves.columns(),
    }
    return Finetuned(classifier, baseline, history, mined)


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

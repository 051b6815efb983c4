"""Supervised training: the module that Lightning runs when a classifier is fine-tuned."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from roadwork.calibration.base import softmax
from roadwork.errors import TrainingError
from roadwork.evaluation.ranking import auroc
from roadwork.evaluation.scored import ScoredSet
from roadwork.models.adapters import freeze_batch_statistics, trainable_state
from roadwork.models.attention import every_kernel
from roadwork.models.classifier import RoadworkNetwork
from roadwork.models.sharding import shard
from roadwork.settings import FinetuneSettings
from roadwork.training.accumulation import in_parts
from roadwork.training.averaging import MovingAverage
from roadwork.training.collectives import all_rows
from roadwork.training.divergence import DivergenceGuard, gradient_norm, learning_rate
from roadwork.training.layer_decay import weight_groups
from roadwork.training.mining import HardNegatives
from roadwork.training.objectives import LABEL_LOSSES, Objective, Step
from roadwork.training.optimizers import OPTIMIZERS, set_mode
from roadwork.training.optimizers.sophia import sampled_labels
from roadwork.training.refinement import log_loss, refinement_loss, separated
from roadwork.training.schedules import scheduled
from roadwork.training.select_batches import SelectBatches

__all__ = ["Supervised"]

logger = logging.getLogger(__name__)


class Supervised(LightningModule):
    """The objective on augmented views; remembers the weights with the lowest selection loss.

    Logged at every step, as numbers on the host: ``train/loss`` (before the step; its mean over a
    pass, too), ``train/grad_norm`` (over all that trains, before clipping) and
    ``train/learning_rate`` (of the head). At every pass: ``select/nll``.

    Attributes:
        history: selection loss of every pass, after the best temperature; pass 0 is the start.
        plain: the same before it, which decides between passes of equal loss.
        best_epoch: the pass with the lowest.
        best_state: what training changes, as it was then.
        reports: figures of the objective, one mapping for each pass of training.
        source_auroc: by source, AUROC on its selection images by pass; None where undefined.
    """

    offsets: Tensor | None

    def __init__(
        self,
        network: RoadworkNetwork,
        objective: Objective,
        wanted: FinetuneSettings,
        held_out: SelectBatches,
        steps: int,
        offsets: NDArray[np.float64] | None = None,
        miner: HardNegatives | None = None,
        parts: int = 1,
        seed: int = 0,
        run: str = "",
    ) -> None:
        """Put together what one run trains.

        Args:
            network: changed in place.
            objective: trained beside it.
            wanted: settings of fine-tuning.
            held_out: the selection set.
            steps: of the whole training.
            offsets: (D, K) added to the logits of each source, in the loss alone.
            miner: is told the losses of all rows.
            parts: in which the features of a batch are computed.
            seed: of whatever is drawn in a step.
            run: fingerprint of all inputs; a checkpoint with another one is refused.
        """
        super().__init__()
        self.network = network
        self.objective = objective
        self.wanted = wanted
        self.held_out = held_out
        self.steps = steps
        self.miner = miner
        self.parts = parts
        self.seed = seed
        self.run = run
        self.average = MovingAverage(network, wanted.ema) if wanted.ema else None
        self.guard = DivergenceGuard("finetune")
        self.loss = LABEL_LOSSES[wanted.loss.name].build(wanted.loss)
        table = None if offsets is None else torch.from_numpy(offsets).float()
        self.register_buffer("offsets", table, persistent=False)
        self.history: list[float] = []
        self.plain: list[float] = []
        self.best_epoch = 0
        self.best_state: dict[str, Tensor] = {}
        self.reports: list[dict[str, float]] = []
        self.source_auroc: dict[str, list[float | None]] = {
            str(source): [] for source in np.unique(held_out.sources)
        }
        self._logits: list[Tensor] = []
        self._batch: dict[str, Tensor] = {}
        self._passes = 0
        self._told_separated = False
        self._losses: list[Tensor] = []  # of the batch, one for each time that it was computed

    # Not inference_mode: weights that are moved to a device within it can never be trained.
    @torch.no_grad()
    def score_start(self) -> None:
        """Selection loss of the probe: pass 0 takes part in the choice."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.eval().to(device)
        self._logits = [
            self.network(batch["views"].to(device)).double().cpu() for batch in self.held_out
        ]
        self._record()
        self.best_state = trainable_state(self.network)
        self.network.train()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Lightning has put every module into training mode."""
        freeze_batch_statistics(self.network)
        self._batch, self._passes, self._losses = batch, 0, []
        self._set_mode(training=True)

    def _set_mode(self, *, training: bool) -> None:
        # Before the first batch after a selection pass, and not at its end: what is saved in
        # between must be what was judged.
        for optimizer in self.trainer.optimizers:
            set_mode(optimizer, training=training)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch of ``augmented_batch``, with ``rows`` and ``domains`` (B,).

        Several processes each compute the features of their rows. From there on all see the whole
        batch, so that losses, objectives and the miner are those of a single process.
        """
        self._passes += 1
        features = all_rows(self._features(batch))
        batch = {name: all_rows(batch[name]) for name in ("labels", "domains", "rows")}
        logits = self.network.head(features)
        # Some optimizers compute a batch twice: only the first time are these its own losses.
        self.objective.train(self._passes == 1)
        if self.miner is not None and self._passes == 1:
            self._tell(self.miner, batch, logits.detach().float())
        shifted = logits if self.offsets is None else logits + self.offsets[batch["domains"]]
        step = Step(
            features=features,
            labels=batch["labels"],
            domains=batch["domains"],
            losses=self.loss(shifted, batch["labels"]),
            progress=self.global_step / self.steps,
        )
        loss = self.objective(step)
        self._losses.append(loss.detach())
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm, and stop before a step that would spoil the weights."""
        figures = self.guard.clip(self, optimizer, self._losses, gradient_clip_val or math.inf)
        loss, norm, rows = figures[0], figures[-1], len(self._batch["labels"])
        self.log("train/loss", torch.tensor(loss), on_step=True, on_epoch=True, batch_size=rows)
        self.log("train/grad_norm", torch.tensor(norm), on_step=True)

    def refuse_divergence(self, optimizer: Any, loss: Tensor) -> None:
        """Stop if a loss or its gradients, which stand in ``grad``, are no numbers."""
        self.guard.require_finite(self, optimizer, [loss, gradient_norm(optimizer)])

    def _features(self, batch: dict[str, Tensor]) -> Tensor:
        """Aggregated features (B, W) of a batch with its augmentation."""
        given = {name: batch[name] for name in ("views", "gain", "offset")}
        return in_parts(self._part_features, given, self.parts)

    def _part_features(self, batch: Mapping[str, Tensor]) -> Tensor:
        count = batch["views"].shape[1]
        pixels = self.network.pixels(batch["views"])
        gain = batch["gain"].repeat_interleave(count, 0)[:, :, None, None]
        offset = batch["offset"].repeat_interleave(count, 0)[:, None, None, None]
        return self.network.features_of((pixels * gain + offset).clamp(0, 1), count)

    def curvature_loss(self) -> tuple[Tensor, int]:
        """Cross-entropy of the current batch against labels drawn from the model; and its rows."""
        # Lightning computes training steps alone in the precision that was chosen.
        with self.trainer.precision_plugin.train_step_context():
            logits = self.network.head(all_rows(self._features(self._batch)))
        logits = logits.float()
        # A generator of its own: a checkpoint holds no device's, and a resumed run draws the same.
        drawn = np.random.SeedSequence([self.seed, self.global_step]).generate_state(1, np.uint64)
        generator = torch.Generator(logits.device).manual_seed(int(drawn[0]))
        labels = sampled_labels(logits, generator)
        return nn.functional.cross_entropy(logits, labels), len(logits)

    @staticmethod
    def _tell(miner: HardNegatives, batch: dict[str, Tensor], logits: Tensor) -> None:
        # The network's own answer, whatever the loss adds to it: hard is what it would get wrong.
        losses = nn.functional.cross_entropy(logits, batch["labels"], reduction="none")
        miner.observe(batch["rows"].cpu().numpy(), losses.cpu().numpy())

    def on_validation_epoch_start(self) -> None:
        """Begin to collect logits."""
        self._logits = []
        self._set_mode(training=False)
        if self.average is not None:
            self.average.exchange(self.network)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Collect the logits of one batch.

        In 32 bits, whatever training computes in: like the start, and like the model's answers
        afterwards. Else passes would be compared across precisions.
        """
        views = batch["views"]
        with torch.autocast(views.device.type, enabled=False), every_kernel():
            self._logits.append(self.network(views).double().cpu())

    def shard(self, mesh: DeviceMesh) -> None:
        """Cut the weights of everything that is called by itself, and their averages."""
        network = self.network
        own = (network.backbone, network.aggregator, network.head)
        for part in (*own, *self.objective.children()):
            if part is not None:
                shard(part, mesh)
        if self.average is not None:
            self.average.shard(network)

    def on_validation_epoch_end(self) -> None:
        """Judge the pass, and keep the weights if it is the best."""
        loss = self._record()
        passes = list(zip(self.history, self.plain, strict=True))
        if passes[-1] < min(passes[:-1]):
            self.best_epoch = len(self.history) - 1
            self.best_state = trainable_state(self.network)
        if self.average is not None:
            self.average.exchange(self.network)
        report = self.objective.report()
        self.reports.append(report)
        if report:
            figures = ", ".join(f"{name} {value:.3f}" for name, value in report.items())
            logger.info("pass %d: %s", len(self.reports), figures)
        self.log("select/nll", loss)

    def _record(self) -> float:
        """Enter the selection loss of a pass, and the AUROC of every source."""
        held_out = self.held_out
        self._logits = [held_out.group.gather(torch.cat(self._logits), len(held_out.labels))]
        loss = self._selection_loss()
        self.history.append(loss)
        logits = torch.cat(self._logits).numpy()
        self.plain.append(log_loss(logits, held_out.labels))
        if not self._told_separated and separated(logits, held_out.labels):
            self._told_separated = True
            logger.info(
                "VAL_SELECT is separated: pass %d answers all %d selection images right, so that "
                "from here its loss tells by how much, not how often. More images, or harder ones, "
                "would tell passes apart",
                len(self.history) - 1,
                len(held_out.labels),
            )
        for source, values in self.source_auroc.items():
            rows = self.held_out.sources == source
            scored = ScoredSet(softmax(logits[rows]), self.held_out.labels[rows])
            value = float(auroc(scored, np.ones((1, scored.n)))[0])
            values.append(None if np.isnan(value) else value)
        return loss

    def _selection_loss(self) -> float:
        return refinement_loss(torch.cat(self._logits).numpy(), self.held_out.labels)

    def configure_optimizers(self) -> Any:
        """The chosen optimizer over network and objective, with the schedule of all steps."""
        wanted = self.wanted
        assert isinstance(wanted.learning_rate, float)
        info = OPTIMIZERS[wanted.optimizer.name]
        groups = weight_groups(self, wanted.learning_rate, wanted.weight_decay, wanted.layer_decay)
        optimizer = info.build(groups, self.steps, wanted.optimizer)
        if not info.scheduled:
            return optimizer
        schedule = scheduled(optimizer, wanted.schedule, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """One step, in the way of the chosen optimizer."""

        def step(closure: Any) -> None:
            super(Supervised, self).optimizer_step(epoch, batch_idx, optimizer, closure)

        inner = getattr(optimizer, "optimizer", optimizer)
        wanted = self.wanted.optimizer
        taken = self.global_step
        OPTIMIZERS[wanted.name].step(self, inner, wanted, optimizer_closure, step)
        self.log("train/learning_rate", torch.tensor(learning_rate(inner)), on_step=True)
        # Not at the end of the batch: the checkpoint is saved there, before this module's hook.
        if self.average is not None:
            self.average.update(self.network, taken)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of."""
        checkpoint["roadwork"] = {
            "run": self.run,
            "history": list(self.history),
            "plain": list(self.plain),
            "best_epoch": self.best_epoch,
            "best_state": self.best_state,
            "reports": self.reports,
            "source_auroc": self.source_auroc,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back.

        Raises:
            TrainingError: it is another run's, which may have seen other images.
        """
        state = checkpoint.get("roadwork", {})
        if state.get("run") != self.run:
            raise TrainingError(
                "this checkpoint belongs to other data, other settings or another version of "
                "roadwork: give those that it was written with (the command line keeps them in "
                "config.yaml), or train from the start"
            )
        self.history = list(state["history"])
        self.plain = list(state["plain"])
        self.best_epoch = int(state["best_epoch"])
        self.best_state = dict(state["best_state"])
        self.reports = list(state["reports"])
        self.source_auroc = dict(state["source_auroc"])

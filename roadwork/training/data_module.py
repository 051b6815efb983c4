"""Data module: the training and the selection set as Lightning asks for them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule

from roadwork.data.contract import validate_model_selection
from roadwork.data.ingest import ingest
from roadwork.data.loading import BatchStream, ViewReader
from roadwork.data.manifest import SampleSet, SelectSet, TrainSet
from roadwork.data.order import Order
from roadwork.data.sources import open_sources
from roadwork.data.splits import cut
from roadwork.models.backbone import load_backbone
from roadwork.models.classifier import Classifier
from roadwork.settings import Settings, SplitSettings, parse_settings, resolve
from roadwork.settings.tree import Size
from roadwork.training.assembly import training_batches
from roadwork.training.probe import fit_probe
from roadwork.training.processes import Group
from roadwork.training.samplers import plain_order
from roadwork.training.select_batches import SelectBatches
from roadwork.training.strata import Strata
from roadwork.training.views import open_views

__all__ = ["RoadworkData"]


class RoadworkData(LightningDataModule):
    """Reads the sources, cuts the sets, and gives batches of TRAIN and of VAL_SELECT.

    The sets are those of the pipeline with the same settings. Ingest looks at every photograph, to
    group look-alikes before the sets are cut; then the other three are put aside unused, so that
    what is trained in this way can be calibrated and judged on them afterwards.

    Attributes:
        settings: of the whole run, resolved; without a model those of the size dial.
        train: weights are fitted here.
        select: the pass is chosen here.
        order: rows of each pass; by default all of them, shuffled.
    """

    train: TrainSet
    select: SelectSet

    def __init__(
        self,
        batch_size: int = 8,
        size: Size = "tiny",
        seed: int = 0,
        runs: Path | None = None,
        images: dict[str, Any] | None = None,
        split: SplitSettings = SplitSettings(),  # noqa: B008 (frozen)
    ) -> None:
        """Nothing is read yet.

        Args:
            batch_size: Images of a training batch.
            size: Position of the size dial, which decides what is left auto.
            seed: Of the split, the order and the augmentation.
            runs: Folder of all outputs; by default ROADWORK_RUNS.
            images: Part ``data`` of the settings: where the images come from; by default the demo.
            split: Shares of the groups that each set receives.

        Raises:
            ConfigError: an impossible combination.
        """
        super().__init__()
        self._tree: dict[str, Any] = {
            "name": "lightning",
            "size": size,
            "seed": seed,
            "runs": runs,
            "data": images or {},
            "split": split.model_dump(),
        }
        self._batch = {"batch_size": batch_size}
        self.settings = self.complete()
        self.order: Order | None = None
        self._readers: dict[str, ViewReader] = {}

    def complete(self, finetune: dict[str, Any] | None = None, **parts: dict[str, Any]) -> Settings:
        """Settings of a whole run, from parts that are none of the data's; kept as ``settings``.

        Raises:
            ConfigError: an impossible combination.
        """
        tree = {**self._tree, **parts, "finetune": {**(finetune or {}), **self._batch}}
        self.settings = resolve(parse_settings(tree))
        return self.settings

    def setup(self, stage: str | None = None) -> None:
        """Read the sources and cut the sets, once.

        Raises:
            DataError: the sources cannot be read, or a set would lack a class.
        """
        if hasattr(self, "train"):
            return
        settings = self.settings
        embed = None
        if settings.data.fusion.embedding_cosine is not None:
            from roadwork.models.embedder import embed_images as embed
        manifest = ingest(open_sources(settings), settings.data, embed)
        splits = cut(manifest, settings.split, settings.seed)
        validate_model_selection(splits.train, splits.select)
        self.train, self.select = splits.train, splits.select

    def views(self, dataset: SampleSet) -> ViewReader:
        """The reader of a set, always the same, so that photographs are decoded once."""
        if dataset.role not in self._readers:
            self._readers[dataset.role] = open_views(self.settings)(dataset)
        return self._readers[dataset.role]

    @cached_property
    def probe(self) -> Classifier:
        """A linear head on the frozen backbone's features of TRAIN: where fine-tuning starts.

        Raises:
            ConfigError: the backbone's weights cannot be had.
            DataError: TRAIN holds one class alone.
        """
        backbone = load_backbone(self.settings.backbone, self.settings.seed)
        return fit_probe(backbone, self.train, self.settings, self.views(self.train))

    def train_dataloader(self) -> BatchStream:
        """Augmented batches, which can be resumed between any two."""
        return training_batches(
            self.train,
            self.views(self.train),
            Strata.of(self.train),
            self.order or plain_order(self.train, self.settings),
            self.settings,
            Group(),
        )

    def val_dataloader(self) -> SelectBatches:
        """The selection set in order."""
        sources = np.asarray(self.select.column("source"))
        return SelectBatches(self.views(self.select), self.select.labels, sources)

"""Lightning's command line over our modules: a second door to the training of the pipeline.

What it trains is put together by :mod:`roadwork.training.assembly`, as in the pipeline; what
differs is that ``trainer`` is open to every option of Lightning. It sees TRAIN and VAL_SELECT only.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from roadwork.allocator import keep_freed_memory
from roadwork.environment import Environment
from roadwork.errors import ConfigError
from roadwork.models.execution import execution
from roadwork.settings import BackboneSettings, ComputeSettings, FinetuneSettings
from roadwork.training.assembly import Drawing, assemble, chosen_classifier
from roadwork.training.checkpoint import CheckpointEvery, SafeCheckpointIO, load_checkpoint
from roadwork.training.data_module import RoadworkData
from roadwork.training.patience import Patience
from roadwork.training.probe import require_two_classes
from roadwork.training.processes import Group
from roadwork.training.supervised import Supervised
from roadwork.training.trainer_options import require_planned

__all__ = ["TrainingCLI", "fine_tuning"]

logger = logging.getLogger(__name__)


def fine_tuning(
    data: RoadworkData,
    backbone: BackboneSettings = BackboneSettings(),  # noqa: B008 (frozen)
    finetune: FinetuneSettings = FinetuneSettings(),  # noqa: B008
    compute: ComputeSettings = ComputeSettings(),  # noqa: B008
) -> LightningModule:
    """Put a run together: a probe on the frozen backbone, and adapters that train from there.

    Args:
        data: What it trains on.
        backbone: The network and its views.
        finetune: What is learned; epochs are the trainer's, and batch_size is the data's.
        compute: How it is computed, in one process.

    Raises:
        ConfigError: an impossible combination, weights that cannot be had, or several processes.
        DataError: the data cannot be used.
    """
    if compute.processes > 1 or compute.strategy != "ddp":
        raise ConfigError(
            f"model.compute: processes {compute.processes} and strategy {compute.strategy}: this "
            "door trains in one process. Leave both out, or use the pipeline (zenml pipeline run "
            "training_pipeline), which starts the processes"
        )
    settings = data.complete(
        backbone=backbone.model_dump(), finetune=finetune.model_dump(), compute=compute.model_dump()
    )
    data.setup()
    require_two_classes(data.train.labels)
    require_two_classes(data.select.labels, "selection")
    module, stream = assemble(
        data.probe,
        data.train,
        data.select,
        settings,
        Drawing.of(data.train, settings.finetune),
        data.views(data.train),
        data.views(data.select),
        Group(),
    )
    data.order = stream.order
    module.score_start()
    return module


class TrainingCLI(LightningCLI):
    """``fit`` and ``validate``, resumable and with checkpoints that cannot run code.

    ``fit`` leaves in the trainer's ``default_root_dir``: ``config.yaml``; ``last.ckpt``, from which
    ``--ckpt_path`` goes on in the middle of a pass; Lightning's own ``checkpoints``, one a pass;
    and ``classifier``, the pass with the lowest selection loss, which
    :meth:`roadwork.models.classifier.Classifier.load` reads.
    """

    model: Supervised
    datamodule: RoadworkData

    def __init__(self, **keywords: Any) -> None:
        """Read the command line, build, and run."""
        keep_freed_memory()
        # Lightning calls functions of the parser that have newer names: no concern of users.
        os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        super().__init__(
            fine_tuning,
            RoadworkData,
            save_config_kwargs={"overwrite": True},
            # The run seeds itself, by data.seed.
            seed_everything_default=False,
            auto_configure_optimizers=False,
            trainer_defaults={
                "default_root_dir": str(Environment().runs / "lightning"),
                "max_epochs": 3,
                "gradient_clip_val": 1.0,
                "deterministic": "warn",
                "logger": False,
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
            },
            **keywords,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Of Lightning's, those that need no test set."""
        offered = LightningCLI.subcommands()
        # Whether a checkpoint may run code is no option.
        return {name: offered[name] | {"weights_only"} for name in ("fit", "validate")}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Read the command line, and look at the checkpoint before any work is done.

        Raises:
            ConfigError: there is no such checkpoint, or it holds no weights that can be judged; or
                an option of the trainer goes against the settings.
            TrainingError: it is damaged, or holds anything but tensors and plain values.
        """
        super().parse_arguments(parser, args)
        wanted = self.config[self.config.subcommand]
        require_planned(vars(wanted.trainer))
        given = wanted.ckpt_path
        if given is None:
            return
        if not Path(given).is_file():
            raise ConfigError(f"--ckpt_path {given}: there is no such file")
        found = load_checkpoint(Path(given))
        if self.config.subcommand == "validate" and _within_pass(found):
            raise ConfigError(
                f"--ckpt_path {given}: it was written within a pass of schedule_free, and holds "
                "the weights that train, not the averaged ones that answer: use one from "
                "checkpoints/"
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What two parts need to know is said once."""
        parser.link_arguments("data", "model.data", apply_on="instantiate")
        parser.link_arguments("data.batch_size", "model.finetune.batch_size")
        parser.link_arguments("trainer.max_epochs", "model.finetune.epochs")
        parser.link_arguments("model.compute.precision", "trainer.precision", _precision)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer that writes and reads safe checkpoints, whatever else it is asked for.

        Raises:
            ConfigError: it would be one of several processes, which would all train on the same.
        """
        wanted = self._get(self.config_init, "trainer")
        last = Path(wanted["default_root_dir"]) / "last.ckpt"
        settings = self.datamodule.settings
        own = [
            CheckpointEvery(last, settings.compute.checkpoint_every),
            Patience("select/nll", settings.finetune.patience),
        ]
        trainer = super().instantiate_trainer(
            plugins=[*_listed(wanted["plugins"]), SafeCheckpointIO()],
            callbacks=[*_listed(wanted["callbacks"]), *own],
            **kwargs,
        )
        if trainer.world_size > 1:
            raise ConfigError(
                f"this door trains in one process, and the trainer has {trainer.world_size}: set "
                "--trainer.devices 1, or use the pipeline with compute.processes"
            )
        return trainer

    def validate(self, model: Supervised, **keywords: Any) -> None:
        """Score the selection set: with a checkpoint as it was then, otherwise the probe."""
        self.trainer.validate(model, weights_only=True, **keywords)

    def fit(self, model: Supervised, **keywords: Any) -> None:
        """Train, and write the pass that was chosen."""
        data = self.datamodule
        with execution(model.network.backbone, data.settings.compute):
            self.trainer.fit(model, weights_only=True, **keywords)
        found = chosen_classifier(model, model.network, data.probe, data.select)
        folder = Path(self.trainer.default_root_dir) / "classifier"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        found.save(folder)
        logger.info(
            "pass %d has the lowest selection loss, %.4f: %s",
            model.best_epoch,
            model.history[model.best_epoch],
            folder,
        )


def _listed(given: Any) -> list[Any]:
    """One, several or none, as a list."""
    if given is None:
        return []
    return given if isinstance(given, list) else [given]


def _within_pass(checkpoint: dict[str, Any]) -> bool:
    """Whether ScheduleFree's weights are those that train."""
    groups = [g for state in checkpoint.get("optimizer_states", []) for g in state["param_groups"]]
    return any(group.get("train_mode", False) for group in groups)


def _precision(wanted: str) -> str:
    """What Lightning calls a precision of ours."""
    return "bf16-mixed" if wanted == "bf16" else "32-true"

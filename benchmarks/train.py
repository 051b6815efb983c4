"""Speed of training: ours against a bare loop, where the time goes, and whether the data keep up.

``python -m benchmarks.train`` fine-tunes on generated scenes with everything on that a real run has
(Lightning, checkpoints, progress lines, the record of every pass), and beside it the same maths in
a bare PyTorch loop: the same network, adapters, batches, augmentation, AdamW, clipping, schedule
and scoring of the selection set. Both advance by turns, a few steps each, in one process, so that
whatever else the machine does falls on both; at the end their weights are compared, so that "the
same maths" is measured, too. The ratio of the speeds is taken pass by pass.

Then it times the parts of a step, and how fast the stream of batches is when nobody computes: in
the first pass, which decodes, and in later ones. It prints tables and writes
``runs/benchmarks/train.json`` and ``train.md``. ``--quick`` is a smoke run and says nothing.
Figures of different machines cannot be compared, and none is asserted anywhere.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

OUT = Path("runs") / "benchmarks"
SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"size": "tiny"},
    "small": {
        "size": "small",
        "backbone": {"name": "tf_efficientnet_lite0", "weights": "package", "image_size": 224},
        "finetune": {"adapter": "lora"},
    },
}
WORKERS = 2
PARTS: Mapping[str, str] = {
    "wait": "wait for the batch",
    "to_device": "host to device",
    "forward": "forward, with augmentation and loss",
    "backward": "backward",
    "clip": "clip the gradient",
    "optimizer": "optimizer and schedule",
}
STAGES: Mapping[str, str] = {
    "read": "read the file",
    "decode": "decode",
    "views": "cut and resize the views",
    "batch": "mirror and stack, views at hand",
}


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    passes: int = 5
    warm: int = 1
    segment: int = 5
    drives: int = 50
    photographs: int = 24


QUICK = Plan(passes=1, warm=1, segment=2, drives=22, photographs=2)


@dataclass
class Inputs:
    """What both loops start from."""

    settings: Any
    train: Any
    select: Any
    backbone: Any
    baseline: Any
    readers: dict[Any, Any]

    def views(self, dataset: Any) -> Any:
        """The reader of a set, with its views in memory."""
        return self.readers[dataset.role]


def prepare(size: str, plan: Plan, runs: Path) -> Inputs:
    """Scenes, sets, decoded views and the probe."""
    from roadwork.data.ingest import ingest
    from roadwork.data.sources import open_sources
    from roadwork.data.splits import cut
    from roadwork.models.backbone import load_backbone
    from roadwork.settings import parse_settings, resolve
    from roadwork.training.probe import fit_probe
    from roadwork.training.views import open_views

    tree: dict[str, Any] = {
        key: dict(v) if isinstance(v, dict) else v for key, v in SIZES[size].items()
    }
    passes = plan.warm + plan.passes
    tree["runs"] = runs
    tree["data"] = {
        "workers": WORKERS,
        "sources": [{"kind": "synthetic", "drives": plan.drives, "faults": False}],
    }
    tree["split"] = {"select": 0.1, "calibrate": 0.08, "conformal": 0.08, "test": 0.08}
    tree["finetune"] = {**tree.get("finetune", {}), "epochs": passes, "patience": passes}
    settings = resolve(parse_settings(tree))
    splits = cut(ingest(open_sources(settings), settings.data), settings.split, settings.seed)
    train, select = splits.train, splits.select
    backbone = load_backbone(settings.backbone, settings.seed)
    readers = {dataset.role: open_views(settings)(dataset) for dataset in (train, select)}
    for reader in readers.values():
        for _ in reader.batches(16):
            pass
    baseline = fit_probe(backbone, train, settings, readers[train.role])
    return Inputs(settings, train, select, backbone, baseline, readers)


class Bare:
    """The same training written out: no Lightning, no checkpoint, no log."""

    def __init__(self, inputs: Inputs, device: str) -> None:
        """Everything before the first step."""
        import torch

        from roadwork.data.loading import BatchStream
        from roadwork.models.adapters import ADAPTERS
        from roadwork.models.classifier import build_classifier_network
        from roadwork.training.augmentation import augmented_batch

        self.inputs, self.device = inputs, torch.device(device)
        settings = inputs.settings
        wanted = settings.finetune
        torch.manual_seed(settings.seed)
        self.network = build_classifier_network(inputs.baseline.spec)
        self.network.load_state_dict(inputs.baseline.network.state_dict(), strict=True)
        ADAPTERS[wanted.adapter].prepare(
            self.network.backbone, inputs.backbone.name, wanted.rank, wanted.alpha
        )
        self.network.to(self.device)
        reader, labels = inputs.readers[inputs.train.role], inputs.train.labels
        self.stream = BatchStream(
            len(inputs.train),
            wanted.batch_size,
            settings.seed,
            lambda rows, epoch: augmented_batch(reader, labels, rows, epoch, settings.seed),
        )
        self.weights = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {
                "params": [p for p in self.weights if p.ndim > 1],
                "weight_decay": wanted.weight_decay,
            },
            {"params": [p for p in self.weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=wanted.learning_rate)
        steps = wanted.epochs * len(self.stream)
        warm = max(1, steps // 20)

        def rate(step: int) -> float:
            if step < warm:
                return (step + 1) / (warm + 1)
            done = min(1.0, (step - warm) / max(1, steps - warm))
            return 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, rate)
        self.spent: dict[str, float] = defaultdict(float)
        self.timed = False
        self._mark = 0.0
        self.step = self._steps()

    def lap(self, part: str) -> None:
        """Book the time since the last lap, if parts are timed."""
        if self.timed:
            finish(self.device)
            now = time.perf_counter()
            self.spent[part] += now - self._mark
            self._mark = now

    def start(self) -> None:
        """Parts are timed from here on."""
        self.timed = True
        self.spent.clear()
        finish(self.device)
        self._mark = time.perf_counter()

    def _steps(self) -> Iterator[None]:
        """One training step at a time; the selection set is scored before the next pass."""
        for epoch in range(self.inputs.settings.finetune.epochs):
            if epoch:
                self._score()
            self._train_mode()
            self.stream.set_epoch(epoch)
            self._mark = time.perf_counter()
            for batch in self.stream:
                self.lap("wait")
                self._one(batch)
                yield

    def _train_mode(self) -> None:
        from roadwork.models.adapters import freeze_batch_statistics

        self.network.train()
        freeze_batch_statistics(self.network)

    def _one(self, batch: Mapping[str, Any]) -> None:
        import torch
        from torch.nn import functional

        batch = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        self.lap("to_device")
        bf16 = self.inputs.settings.compute.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            count = batch["views"].shape[1]
            gain = batch["gain"].repeat_interleave(count, 0)[:, :, None, None]
            offset = batch["offset"].repeat_interleave(count, 0)[:, None, None, None]
            pixels = (self.network.pixels(batch["views"]) * gain + offset).clamp(0, 1)
            logits = self.network.head(self.network.features_of(pixels, count))
            # As the losses of single images: a mean within the loss rounds differently.
            losses = functional.cross_entropy(logits, batch["labels"], reduction="none")
            loss = losses.mean()
        self.lap("forward")
        self.optimizer.zero_grad()
        loss.backward()
        self.lap("backward")
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.lap("clip")
        self.optimizer.step()
        self.schedule.step()
        self.lap("optimizer")

    def _score(self) -> None:
        import torch

        from roadwork.training.refinement import refinement_loss

        reader, labels = self.inputs.readers[self.inputs.select.role], self.inputs.select.labels
        self.network.eval()
        with torch.inference_mode():
            logits = [
                self.network(torch.from_numpy(views).to(self.device)).double().cpu()
                for views in reader.batches(16)
            ]
        refinement_loss(torch.cat(logits).numpy(), labels)


def finish(device: Any) -> None:
    """Wait until a CUDA device has done what was asked."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Times:
    """Seconds on the wall, and of the processor in all threads, which other work disturbs less."""

    wall: float
    processor: float

    @classmethod
    def now(cls) -> Times:
        """Both clocks."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, start: Times) -> Times:
        """What has passed."""
        return Times(self.wall - start.wall, self.processor - start.processor)


class Turns:
    """Lets the bare loop catch up after every few optimizer steps of ours, and times both."""

    def __init__(self, bare: Bare, plan: Plan) -> None:
        """The clock starts with our first step."""
        self.bare, self.plan = bare, plan
        self.ours: list[Times] = []
        self.theirs: list[Times] = []
        self.saving = 0.0
        self.steps = 0
        self.difference = 0.0
        self._since: Times | None = None
        self._inside = False

    def __call__(self, optimizer: Any, *_: Any) -> None:
        """After a step of any optimizer; those of temperatures are none of training."""
        import torch

        if self._inside or not isinstance(optimizer, torch.optim.AdamW):
            return
        self.steps += 1
        if self.steps % self.plan.segment:
            return
        self._inside = True
        finish(self.bare.device)
        now = Times.now()
        if self._since is not None:
            self.ours.append(now.since(self._since))
        with torch.enable_grad():
            for _ in range(self.plan.segment):
                next(self.bare.step)
        finish(self.bare.device)
        if self._since is not None:
            self.theirs.append(Times.now().since(now))
        own = [p for group in optimizer.param_groups for p in group["params"]]
        self.difference = max(
            float((a.detach() - b.detach()).abs().max())
            for a, b in zip(sorted_by_shape(own), sorted_by_shape(self.bare.weights), strict=True)
        )
        self._inside = False
        self._since = Times.now()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Be told of every optimizer step, and time every checkpoint."""
        from lightning.pytorch import Trainer
        from torch.optim.optimizer import register_optimizer_step_post_hook

        save = Trainer.save_checkpoint

        def timed(trainer: Any, *args: Any, **keywords: Any) -> None:
            start = time.perf_counter()
            save(trainer, *args, **keywords)
            self.saving += time.perf_counter() - start

        hook = register_optimizer_step_post_hook(self)
        try:
            with mock.patch.object(Trainer, "save_checkpoint", timed):
                yield
        finally:
            hook.remove()

    def ratios(self, clock: str) -> list[float]:
        """Our speed as a share of the bare loop's, pass by pass without those to warm up."""
        ours, theirs = self._warm(self.ours, clock), self._warm(self.theirs, clock)
        size = self._segments
        blocks = range(0, len(ours) - size + 1, size)
        return [sum(theirs[b : b + size]) / sum(ours[b : b + size]) for b in blocks]

    def step_seconds(self) -> tuple[float, float]:
        """Mean seconds of a step, ours and bare, after the warm-up."""
        ours, theirs = (
            statistics.fmean(self._warm(times, "wall")) / self.plan.segment
            for times in (self.ours, self.theirs)
        )
        return ours, theirs

    @property
    def _segments(self) -> int:
        """Segments as long as a pass together."""
        return max(1, len(self.bare.stream) // self.plan.segment)

    def _warm(self, times: list[Times], clock: str) -> list[float]:
        # The first segment of all was not timed.
        return [getattr(one, clock) for one in times[self.plan.warm * self._segments - 1 :]]


def sorted_by_shape(weights: list[Any]) -> list[Any]:
    """Weights by shape, those of one shape in their order: grouping does not matter."""
    return sorted(weights, key=lambda p: tuple(p.shape))


def compare(inputs: Inputs, plan: Plan, device: str, runs: Path) -> tuple[Turns, Bare]:
    """Both loops by turns."""
    from roadwork.training.finetune import finetune

    turns = Turns(Bare(inputs, device), plan)
    with turns.watching():
        finetune(
            inputs.backbone,
            inputs.train,
            inputs.select,
            inputs.settings,
            runs / "checkpoints",
            views=inputs.views,
            baseline=inputs.baseline,
        )
    return turns, turns.bare


def parts_of_a_step(inputs: Inputs, plan: Plan, device: str) -> dict[str, float]:
    """Milliseconds a step by part, of the bare loop; on CUDA the device is waited for each time."""
    bare = Bare(inputs, device)
    steps = min(len(bare.stream) - 1, 2 * plan.segment)
    next(bare.step)
    bare.start()
    for _ in range(steps):
        next(bare.step)
    return {part: bare.spent[part] / steps * 1e3 for part in PARTS}


def stages_of_an_image(inputs: Inputs, plan: Plan) -> dict[str, float]:
    """Milliseconds an image by stage of the data path, in one thread."""
    import numpy as np

    from roadwork.data.loading import read_image
    from roadwork.data.storage import read_bytes
    from roadwork.data.views import make_views
    from roadwork.training.augmentation import augmented_batch

    reader = inputs.readers[inputs.train.role]
    uris = list(inputs.train.uris)[: plan.photographs]
    kept = [read_bytes(uri) for uri in uris]
    by_uri = dict(zip(uris, kept, strict=True))
    images = [read_image(uri, by_uri.__getitem__) for uri in uris]
    rows = np.arange(len(uris))
    work: dict[str, Callable[[], object]] = {
        "read": lambda: [read_bytes(uri) for uri in uris],
        "decode": lambda: [read_image(uri, by_uri.__getitem__) for uri in uris],
        "views": lambda: [make_views(image, reader.size, reader.tiles) for image in images],
        "batch": lambda: augmented_batch(reader, inputs.train.labels, rows, 0, 0),
    }
    return {name: median_seconds(one) / len(uris) * 1e3 for name, one in work.items()}


def median_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Of one call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def data_path(inputs: Inputs) -> dict[str, float]:
    """Images a second that the stream of batches delivers when nobody computes, by pass."""
    from roadwork.data import loading
    from roadwork.training.augmentation import augmented_batch
    from roadwork.training.views import open_views

    settings, train = inputs.settings, inputs.train

    def passes(reader: Any, names: tuple[str, str]) -> dict[str, float]:
        stream = loading.BatchStream(
            len(train),
            settings.finetune.batch_size,
            settings.seed,
            lambda rows, epoch: augmented_batch(reader, train.labels, rows, epoch, settings.seed),
        )
        found = {}
        for epoch, name in enumerate(names):
            stream.set_epoch(epoch)
            start = time.perf_counter()
            images = sum(len(batch["labels"]) for batch in stream)
            found[name] = images / (time.perf_counter() - start)
        return found

    memory = passes(open_views(settings)(train), ("first pass", "later passes, from memory"))
    with mock.patch.object(loading, "_CACHE_BYTES", 0):
        disk = open_views(settings)(train)
    return {**memory, **passes(disk, ("first pass, kept on disk", "later passes, from disk"))}


def measure(size: str, plan: Plan, device: str, runs: Path) -> dict[str, Any]:
    """Everything about one size."""
    inputs = prepare(size, plan, runs)
    batch = inputs.settings.finetune.batch_size
    turns, _ = compare(inputs, plan, device, runs)
    ours, bare = turns.step_seconds()
    parts = parts_of_a_step(inputs, plan, device)
    need = batch / (sum(value for part, value in parts.items() if part != "wait") / 1e3)
    delivered = data_path(inputs)
    return {
        "size": size,
        "backbone": inputs.backbone.name,
        "image_size": inputs.settings.backbone.image_size,
        "views": inputs.readers[inputs.train.role].shape[0],
        "batch_size": batch,
        "precision": inputs.settings.compute.precision,
        "steps": turns.steps,
        "images_per_second": {"ours": batch / ours, "bare": batch / bare},
        "ratio": spread(turns.ratios("wall")),
        "ratio_processor": spread(turns.ratios("processor")),
        "largest_weight_difference": turns.difference,
        "step_ms": {
            **parts,
            "checkpoint": turns.saving / turns.steps * 1e3,
            "lightning": (ours - bare) * 1e3 - turns.saving / turns.steps * 1e3,
        },
        "image_ms": stages_of_an_image(inputs, plan),
        "stream": {
            "needed": need,
            **{
                name: {"images_per_second": value, "times_need": value / need}
                for name, value in delivered.items()
            },
        },
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {
        "median": statistics.median(values),
        "least": min(values),
        "most": max(values),
        "repetitions": len(values),
    }


def markdown(result: Mapping[str, Any]) -> str:
    """One size as tables."""
    speed, ratio, processor = (
        result[key] for key in ("images_per_second", "ratio", "ratio_processor")
    )
    lines = [
        f"## {result['size']}: {result['backbone']}, {result['views']} views of "
        f"{result['image_size']} px, batches of {result['batch_size']}",
        "",
        f"Ours {speed['ours']:.1f}, bare loop {speed['bare']:.1f} images/s; ratio "
        f"**{ratio['median']:.3f}** ({ratio['least']:.3f} to {ratio['most']:.3f} in "
        f"{ratio['repetitions']} passes), by processor time {processor['median']:.3f} "
        f"({processor['least']:.3f} to {processor['most']:.3f}); weights differ by at most "
        f"{result['largest_weight_difference']:.1e} after {result['steps']} steps.",
        "",
        "| a training step | ms |",
        "|---|---:|",
    ]
    named = {
        **PARTS,
        "checkpoint": "ours: checkpoints",
        "lightning": "ours: all the rest, as a difference",
    }
    lines += [f"| {title} | {result['step_ms'][part]:.2f} |" for part, title in named.items()]
    lines += ["", "| data path, one image in one thread | ms |", "|---|---:|"]
    lines += [f"| {title} | {result['image_ms'][stage]:.2f} |" for stage, title in STAGES.items()]
    stream = result["stream"]
    lines += [
        "",
        f"| stream alone, {WORKERS} workers | images/s | of the need ({stream['needed']:.1f}) |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {name} | {value['images_per_second']:.1f} | {value['times_need']:.2f} |"
        for name, value in stream.items()
        if name != "needed"
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print tables, and write them."""
    parser = argparse.ArgumentParser(description="Speed of training; see the module's docstring.")
    parser.add_argument("--size", nargs="+", choices=SIZES, default=["tiny"])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--passes", type=int, default=Plan.passes, help="repetitions of the ratio")
    parser.add_argument("--quick", action="store_true", help="a smoke run, which says nothing")
    options = parser.parse_args()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    plan = QUICK if options.quick else Plan(passes=options.passes)
    OUT.mkdir(parents=True, exist_ok=True)
    results = []
    with tempfile.TemporaryDirectory(prefix="train-", dir=OUT) as made:
        # Lines of progress are written as in a real run, but not among the tables.
        handler = logging.FileHandler(Path(made) / "log.txt")
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        for size in options.size:
            results.append(measure(size, plan, device, Path(made)))
        handler.close()
    machine = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "quick": options.quick,
    }
    text = "\n".join(markdown(result) for result in results)
    (OUT / "train.json").write_text(json.dumps({**machine, "results": results}, indent=1) + "\n")
    (OUT / "train.md").write_text(f"# Speed of training\n\n{machine}\n\n{text}")
    print(text)
    print(f"written to {OUT / 'train.json'} and {OUT / 'train.md'}")


if __name__ == "__main__":
    main()

"""Leave one source out: how well does training on some sources serve a source never seen?

Every source is held out once: it is the whole test set, and training, selection and calibration
see the other sources alone. The figures say what to expect of a new source better than any split
within the sources does, and how different the answers are from source to source.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from roadwork import POSITIVE
from roadwork.calibration.fitted import fit_calibrator
from roadwork.data.contract import validate_final_eval
from roadwork.data.loading import ViewReader
from roadwork.data.manifest import Manifest, TestSet
from roadwork.data.splits import Splits, cut
from roadwork.errors import ConfigError, DataError
from roadwork.evaluation.bootstrap import bootstrap
from roadwork.evaluation.metrics import METRICS, Metric
from roadwork.evaluation.scored import ScoredSet
from roadwork.models.backbone import Backbone, load_backbone
from roadwork.models.classifier import Classifier
from roadwork.models.inference import run_batches
from roadwork.settings import Settings
from roadwork.training.finetune import Finetuned, finetune
from roadwork.training.pretrain import pretrain
from roadwork.training.views import OpenViews, SharedViews

__all__ = [
    "HeldOutScores",
    "HeldOutSource",
    "LeaveOneOutReport",
    "leave_one_source_out",
    "run_leave_one_out",
    "score_held_out",
    "source_names",
]

logger = logging.getLogger(__name__)
_METRICS = ("auroc", "mcc", "nll")
FILE = "leave_one_out.json"


class HeldOutSource(BaseModel):
    """One source, as a model that never saw it answers.

    Attributes:
        source: its name.
        images: how many of its images were answered; 0 where it was left out.
        drives: their groups.
        roadwork: share of images that show roadwork.
        metrics: AUROC, MCC at the calibrated 0.5 and NLL, with intervals over groups.
        reason: why the source could not be held out; then there are no figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: str
    images: int
    drives: int
    roadwork: float | None
    metrics: Mapping[str, Metric]
    reason: str | None = None


class LeaveOneOutReport(BaseModel):
    """All sources, each held out once.

    Attributes:
        sources: in alphabetical order; sources that could not be held out are among them.
        domain: the method of ``finetune.domain``.
        balance: that of ``finetune.sampling``.
        seed: of everything.
        resamples: of the bootstrap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[HeldOutSource, ...]
    domain: str
    balance: str
    seed: int
    resamples: int

    def mean(self, metric: str) -> float | None:
        """Unweighted mean of a metric over the sources where it is defined."""
        values = [s.metrics[metric].value for s in self.sources if metric in s.metrics]
        found = [value for value in values if value is not None]
        return sum(found) / len(found) if found else None

    def table(self) -> str:
        """The figures as text, one source a line, with 95 % intervals over drives."""
        width = max([len("held out"), *(len(s.source) for s in self.sources)])
        titles = "".join(f"  {METRICS[name].title[:24]:24}" for name in _METRICS)
        lines = [f"{'held out':{width}}  images  drives  roadwork{titles}".rstrip()]
        for held in self.sources:
            if held.reason is not None:
                lines.append(f"{held.source:{width}}  left out: {held.reason}")
                continue
            values = "".join(f"  {_shown(held.metrics[name]):24}" for name in _METRICS)
            lines.append(
                f"{held.source:{width}}  {held.images:6}  {held.drives:6}  {held.roadwork:8.2f}"
                f"{values}".rstrip()
            )
        means = [self.mean(name) for name in _METRICS]
        shown = "".join(f"  {'-' if m is None else format(m, '.3f'):24}" for m in means)
        lines.append(f"{'mean':{width}}  {'':24}{shown}".rstrip())
        return "\n".join(lines)


def _shown(metric: Metric) -> str:
    if metric.value is None:
        return f"- ({metric.reason})"[:24]
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3f}"
    return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


@dataclass(frozen=True)
class HeldOutScores:
    """Answers for the images of a held-out source.

    Attributes:
        scored: calibrated probabilities with labels and groups.
        tuned: what training gave.
    """

    scored: ScoredSet
    tuned: Finetuned


def source_names(manifest: Manifest) -> tuple[str, ...]:
    """Names of the sources of a manifest, sorted.

    Raises:
        ConfigError: there is only one.
    """
    names = tuple(sorted(manifest.table.column("source").unique().to_pylist()))
    if len(names) < 2:
        raise ConfigError(
            f"leaving one source out needs at least two sources; the manifest has {len(names)} "
            f"({', '.join(names)}): add one under data.sources"
        )
    return names


def leave_one_source_out(manifest: Manifest, settings: Settings) -> Iterator[tuple[str, Splits]]:
    """Every source with the splits in which it is the test set.

    Raises:
        ConfigError: there is only one source.
        DataError: what is left without a source cannot be split.
    """
    for source in source_names(manifest):
        yield source, _without(manifest, source, settings)


def _without(manifest: Manifest, source: str, settings: Settings) -> Splits:
    split = settings.split.model_copy(update={"held_out_sources": (source,)})
    return cut(manifest, split, settings.seed)


def run_leave_one_out(manifest: Manifest, settings: Settings, folder: Path) -> LeaveOneOutReport:
    """Train, calibrate and judge once for every source, and write the report.

    A source without which the rest cannot be split (it alone has one of the labels, say) is left
    out and named with the reason.

    Args:
        manifest: photographs of at least two sources.
        settings: resolved settings; a share of the held-out source under
            ``finetune.sampling.source_shares`` is dropped while it is held out.
        folder: receives ``leave_one_out.json``, and checkpoints while it works.

    Raises:
        ConfigError: there is only one source, or too few are left for the domain method.
        DataError: not one source could be held out.
    """
    views = SharedViews(settings)
    found: list[HeldOutSource] = []
    for source in source_names(manifest):
        try:
            splits = _without(manifest, source, settings)
        except DataError as error:
            logger.warning("%s cannot be held out: %s", source, error)
            found.append(_left_out(source, str(error)))
            continue
        backbone = load_backbone(settings.backbone, settings.seed)
        backbone = pretrain(backbone, splits.train, settings, folder / "checkpoints").backbone
        scores = score_held_out(
            source, splits, backbone, settings, folder / "checkpoints", views=views
        )
        found.append(_summary(source, scores.scored, settings))
        logger.info("held out %s: %s", source, found[-1].metrics["auroc"])
    if all(held.reason is not None for held in found):
        raise DataError(f"no source can be held out: {found[0].reason}")
    report = LeaveOneOutReport(
        sources=tuple(found),
        domain=settings.finetune.domain.method,
        balance=settings.finetune.sampling.balance,
        seed=settings.seed,
        resamples=settings.evaluate.bootstrap,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(report.model_dump_json(indent=1) + "\n")
    return report


def score_held_out(
    source: str,
    splits: Splits,
    backbone: Backbone,
    settings: Settings,
    checkpoints: Path,
    *,
    views: OpenViews,
    baseline: Classifier | None = None,
) -> HeldOutScores:
    """Train and calibrate without a source, and answer its images.

    Args:
        source: the one held out.
        splits: those in which it is the test set.
        backbone: where to start.
        settings: resolved settings.
        checkpoints: folder of checkpoints.
        views: opens the views of a set.
        baseline: the probe, if it is there already.

    Raises:
        LeakageError: a part of the model has seen the source's images or groups.
        DataError: the test set holds no image of the source.
    """
    # Adapters start from random numbers: what ran before in this process must not matter.
    torch.manual_seed(settings.seed)
    tuned = finetune(
        backbone,
        splits.train,
        splits.select,
        _settings_without(source, settings),
        checkpoints,
        views=views,
        baseline=baseline,
    )
    classifier = tuned.classifier
    calibrator = fit_calibrator(
        classifier,
        splits.calibrate,
        _logits(classifier, views(splits.calibrate), "Scoring the calibrate set"),
        settings.calibrate.method,
        settings.calibrate.deployment_prior,
    )
    # Groups that the source shares with others are in the test set too; they are not judged.
    own = np.asarray(splits.test.column("source")) == source
    test = TestSet(splits.test.table.filter(own))
    validate_final_eval([classifier, calibrator], test)
    logits = _logits(classifier, views(test), f"Scoring {source}")
    scored = ScoredSet(calibrator.model.transform(logits), test.labels, groups=test.groups)
    return HeldOutScores(scored, tuned)


def _settings_without(source: str, settings: Settings) -> Settings:
    sampling = settings.finetune.sampling
    shares = {name: value for name, value in sampling.source_shares.items() if name != source}
    sampling = sampling.model_copy(update={"source_shares": shares})
    finetuning = settings.finetune.model_copy(update={"sampling": sampling})
    return settings.model_copy(update={"finetune": finetuning})


def _logits(classifier: Classifier, reader: ViewReader, title: str) -> NDArray[np.float64]:
    network = classifier.network.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return run_batches(network, reader, title)


def _summary(source: str, scored: ScoredSet, settings: Settings) -> HeldOutSource:
    result = bootstrap(scored, _METRICS, resamples=settings.evaluate.bootstrap, seed=settings.seed)
    return HeldOutSource(
        source=source,
        images=scored.n,
        drives=scored.n_groups,
        roadwork=float((scored.labels == POSITIVE).mean()),
        metrics=result.metrics,
    )


def _left_out(source: str, reason: str) -> HeldOutSource:
    return HeldOutSource(
        source=source, images=0, drives=0, roadwork=None, metrics={}, reason=reason
    )

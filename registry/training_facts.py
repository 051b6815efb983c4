"""What training left behind, in the names under which runs keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from registry.runs import flatten
from roadwork.training.curves import Curves

__all__ = ["TrainingFacts"]


@dataclass(frozen=True)
class TrainingFacts:
    """Curves, parameters and metrics of the parts of training.

    Attributes:
        curves: of all parts.
        params: by part, the machine that computed it (``environment.finetune.torch``) and how
            (``execution.finetune.attention``).
        metrics: ``finetune/best_epoch`` and ``finetune/select_nll``; ``cascade/…``, what a cascade
            did on the test set; ``seconds/STEP`` by step of the pipeline that was run, had ended,
            and did not come from the cache.
    """

    curves: Curves
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    @classmethod
    def of(
        cls,
        histories: Mapping[str, Mapping[str, Any]],
        *,
        hashes: Mapping[str, str],
        seconds: Mapping[str, float],
        cascade: Mapping[str, float] | None = None,
    ) -> Self:
        """Gather the facts.

        Args:
            histories: of ``pretrain``, ``finetune`` and, where there is one, ``cascade``: what
                these gave.
            hashes: content hash of every set, by role; kept as ``data.hash.ROLE``.
            seconds: by step of the pipeline.
            cascade: figures of a cascade's report, by full name.
        """
        params: dict[str, str] = {f"data.hash.{role}": value for role, value in hashes.items()}
        for kind in ("environment", "execution"):
            for part, history in histories.items():
                params |= flatten(history.get(kind, {}), f"{kind}.{part}.")
        metrics = {f"seconds/{step}": value for step, value in seconds.items()}
        metrics |= cascade or {}
        finetune = histories["finetune"]
        metrics["finetune/best_epoch"] = finetune["best_epoch"]
        metrics["finetune/select_nll"] = min(finetune["select_nll"])
        columns = [history["curves"] for history in histories.values() if "curves" in history]
        return cls(Curves.of_columns(*columns), params, metrics)

"""The optimizers of fine-tuning, and how each takes a step.

AdamW is torch's; ScheduleFree is its authors' own; AdEMAMix comes from pytorch-optimizer, with the
paper's settings in place of that package's; SAM and Sophia-G are ours. Whichever is chosen, the
step is Lightning's, so that clipping, precision and the count of steps stay right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pytorch_optimizer import AdEMAMix
from schedulefree import AdamWScheduleFree
from torch import Tensor
from torch.optim import AdamW, Optimizer

from roadwork.settings import OptimizerSettings
from roadwork.training.optimizers.sam import Sharpness
from roadwork.training.optimizers.sophia import SophiaG
from roadwork.training.processes import average_gradients
from roadwork.training.schedules import warmup_steps

__all__ = ["OPTIMIZERS", "OptimizerInfo", "Trained", "set_mode"]

Groups = list[dict[str, Any]]
Closure = Callable[[], Any]
_CURVATURE_EVERY = 10  # steps, as in Sophia's paper
_LONG_MEMORY = 10_000  # steps from which AdEMAMix's own beta3 can forget in time


class Trained(Protocol):
    """What taking a step needs of the module that trains."""

    @property
    def global_step(self) -> int:
        """Steps that are done."""
        ...

    def refuse_divergence(self, optimizer: Optimizer, loss: Tensor) -> None:
        """Stop if a loss or its gradients, which stand in ``grad``, are no numbers."""
        ...

    def parameters(self) -> Any:
        """Everything that may train."""
        ...

    def curvature_loss(self) -> tuple[Tensor, int]:
        """Cross-entropy of the batch against labels drawn from the model; and its rows."""
        ...


@dataclass(frozen=True)
class OptimizerInfo:
    """One optimizer.

    Attributes:
        title: for people.
        reference: where it is defined.
        build: makes it from parameter groups with their rates, the number of all steps and the
            settings.
        scheduled: whether the rate follows a schedule; otherwise it stays after its warm-up.
        step: takes one step, given the module, the optimizer, the closure that computes loss and
            gradients of the batch, and Lightning's own step, which takes a closure.
    """

    title: str
    reference: str
    build: Callable[[Groups, int, OptimizerSettings], Optimizer]
    scheduled: bool
    step: Callable[[Trained, Optimizer, OptimizerSettings, Closure, Callable[[Closure], Any]], None]


def _adamw(groups: Groups, steps: int, wanted: OptimizerSettings) -> Optimizer:
    return AdamW(groups)


def _schedule_free(groups: Groups, steps: int, wanted: OptimizerSettings) -> Optimizer:
    return AdamWScheduleFree(groups, warmup_steps=warmup_steps(steps))


def _ademamix(groups: Groups, steps: int, wanted: OptimizerSettings) -> Optimizer:
    # The paper's beta3 = 0.9999 halves a gradient in 7,000 steps: more than most runs have.
    slow = 0.9999 if steps >= _LONG_MEMORY else 0.999
    return AdEMAMix(
        groups,
        betas=(0.9, 0.999, slow),
        alpha=wanted.alpha,
        weight_decouple=True,
        t_alpha_beta3=steps,
    )


def _sophia(groups: Groups, steps: int, wanted: OptimizerSettings) -> Optimizer:
    return SophiaG(groups, gamma=wanted.gamma)


def _plain(
    module: Trained,
    optimizer: Optimizer,
    wanted: OptimizerSettings,
    closure: Closure,
    step: Callable[[Closure], Any],
) -> None:
    step(closure)


def _sharpness_aware(
    module: Trained,
    optimizer: Optimizer,
    wanted: OptimizerSettings,
    closure: Closure,
    step: Callable[[Closure], Any],
) -> None:
    """Gradients here, gradients at the worst neighbour, and the step from here with the latter."""
    sharpness = Sharpness(module.parameters(), wanted.rho)
    closure()
    sharpness.ascend()

    def at_the_neighbour() -> Any:
        try:
            return closure()
        finally:
            sharpness.descend()

    step(at_the_neighbour)


def _with_curvature(
    module: Trained,
    optimizer: Optimizer,
    wanted: OptimizerSettings,
    closure: Closure,
    step: Callable[[Closure], Any],
) -> None:
    assert isinstance(optimizer, SophiaG)
    if module.global_step % _CURVATURE_EVERY == 0:
        loss, rows = module.curvature_loss()
        optimizer.zero_grad()
        loss.backward()
        average_gradients(module.parameters())
        # The curvature stays for long: what is no number would spoil every step from here.
        module.refuse_divergence(optimizer, loss)
        optimizer.update_curvature(rows)
    step(closure)


def set_mode(optimizer: Optimizer, *, training: bool) -> None:
    """Put ScheduleFree at the weights that train, or at those that answer; others have no two."""
    if isinstance(optimizer, AdamWScheduleFree):
        optimizer.train() if training else optimizer.eval()


OPTIMIZERS: Mapping[str, OptimizerInfo] = {
    "adamw": OptimizerInfo("AdamW", "arXiv 1711.05101", _adamw, True, _plain),
    "schedule_free": OptimizerInfo(
        "schedule-free AdamW", "arXiv 2405.15682", _schedule_free, False, _plain
    ),
    "sam": OptimizerInfo("SAM with AdamW", "arXiv 2010.01412", _adamw, True, _sharpness_aware),
    "ademamix": OptimizerInfo("AdEMAMix", "arXiv 2409.03137", _ademamix, True, _plain),
    "sophia": OptimizerInfo("Sophia-G", "arXiv 2305.14342", _sophia, True, _with_curvature),
}
"""By ``finetune.optimizer.name``."""

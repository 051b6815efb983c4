"""Projected Newton: the minimum of a smooth convex function of few parameters inside a box.

Bertsekas, "Projected Newton Methods for Optimization Problems with Simple Constraints", SIAM J.
Control and Optimization 20(2), 1982. Parameters that lie on a bound and whose slope points outward
are held; the others take a Newton step, shortened until the function falls enough, and are put
back into the box. Deterministic, and exact to rounding: the loss of a calibrator is a sum of
log-likelihoods of at most a few dozen parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from roadwork.calibration.base import FloatArray
from roadwork.errors import TrainingError

__all__ = ["Objective", "fit_logistic", "minimise"]

Objective = Callable[[FloatArray], tuple[float, FloatArray, FloatArray]]
"""Value, gradient (P,) and Hessian (P, P) at parameters (P,)."""

_ITERATIONS = 200
_DONE = 1e-12
_CONVERGED = 1e-6
_ENOUGH = 1e-4  # share of the predicted fall that a step must bring (Armijo)
_SHORTEST = 2.0**-40
_ROUNDING = 1e-15


def minimise(
    objective: Objective, start: FloatArray, low: FloatArray, high: FloatArray, title: str
) -> FloatArray:
    """Parameters (P,) in [low, high] at which a convex objective is least.

    Args:
        objective: convex and twice differentiable.
        start: (P,) inside the box.
        low: (P,) lower bounds, -inf for none.
        high: (P,) upper bounds, inf for none.
        title: what is fitted, for the text of a refusal.

    Raises:
        TrainingError: the slope inside the box did not vanish.
    """
    found = np.clip(start, low, high)
    value, slope, curvature = objective(found)
    free = _free(found, slope, low, high)
    for _ in range(_ITERATIONS):
        if np.abs(slope[free]).max(initial=0.0) <= _DONE:
            break
        step = np.zeros_like(found)
        step[free] = _newton(slope[free], curvature[np.ix_(free, free)])
        moved = _search(objective, found, value, slope, step, low, high)
        if moved is None:
            break
        found, (value, slope, curvature) = moved
        free = _free(found, slope, low, high)
    residual = float(np.abs(slope[free]).max(initial=0.0))
    if not residual <= _CONVERGED:
        raise TrainingError(
            f"the {title} did not converge (slope {residual:.1e}); look for extreme logits."
        )
    return found


def fit_logistic(
    features: FloatArray, targets: FloatArray, low: FloatArray, high: FloatArray, title: str
) -> FloatArray:
    """Coefficients (P,) of least mean cross-entropy of sigmoid(features @ coefficients).

    Args:
        features: (N, P), with a column of ones where an intercept is wanted.
        targets: (N,) in [0, 1].
        low: (P,) lower bounds.
        high: (P,) upper bounds.
        title: what is fitted.

    Raises:
        TrainingError: as :func:`minimise`.
    """
    # In units of their size, features of any scale give a slope that can be told from 0.
    scale = np.maximum(np.sqrt((features**2).mean(axis=0)), np.finfo(np.float64).tiny)
    scaled = features / scale

    def objective(coefficients: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        odds = scaled @ coefficients
        loss = float((np.logaddexp(0.0, odds) - targets * odds).mean())
        chance = np.exp(-np.logaddexp(0.0, -odds))
        spread = chance * np.exp(-np.logaddexp(0.0, odds))
        slope = scaled.T @ (chance - targets) / len(targets)
        return loss, slope, (scaled.T * spread) @ scaled / len(targets)

    start = np.zeros(features.shape[1])
    return np.clip(minimise(objective, start, low * scale, high * scale, title) / scale, low, high)


def _free(found: FloatArray, slope: FloatArray, low: FloatArray, high: FloatArray) -> np.ndarray:
    held = ((found <= low) & (slope > 0.0)) | ((found >= high) & (slope < 0.0))
    return ~held


def _newton(slope: FloatArray, curvature: FloatArray) -> FloatArray:
    """Newton's step; a little damping keeps flat directions finite."""
    damping = 1e-12 * max(float(np.trace(curvature)), 1e-12)
    step = np.linalg.solve(curvature + damping * np.eye(len(slope)), slope)
    return -np.asarray(step, dtype=np.float64)


def _search(
    objective: Objective,
    found: FloatArray,
    value: float,
    slope: FloatArray,
    step: FloatArray,
    low: FloatArray,
    high: FloatArray,
) -> tuple[FloatArray, tuple[float, FloatArray, FloatArray]] | None:
    """The first shortened step that brings enough, along Newton's direction, else the slope's."""
    held = step == 0.0
    for direction in (step, np.where(held, 0.0, -slope)):
        length = 1.0
        while length >= _SHORTEST:
            moved = np.clip(found + length * direction, low, high)
            fall = float(slope @ (moved - found))
            there = objective(moved)
            allowed = value + _ENOUGH * min(fall, 0.0) + _ROUNDING * (1.0 + abs(value))
            if np.isfinite(there[0]) and fall < 0.0 and there[0] <= allowed:
                return moved, there
            length /= 2.0
    return None

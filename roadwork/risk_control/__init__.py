"""Risk control: a threshold of confidence below which a person decides, with a bound of errors.

:mod:`~roadwork.risk_control.defer` holds the threshold and its fit by Learn then Test, the way to
go; :mod:`~roadwork.risk_control.sgr` fits the same threshold by SGR, for comparison.
"""

from __future__ import annotations

from roadwork.risk_control.defer import DeferPromise, DeferThreshold
from roadwork.risk_control.levels import levels_from
from roadwork.risk_control.sgr import fit_sgr

__all__ = ["DeferPromise", "DeferThreshold", "fit_sgr", "levels_from"]

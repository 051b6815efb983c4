"""The promotion gate: evidence in, a verdict with reasons out.

A candidate is measured against absolute bars, and against the champion on the same locked test set.
Nothing here reads a registry: the shells collect the evidence and keep the verdicts.
"""

from __future__ import annotations

from roadwork.evaluation.record import Check
from roadwork.promotion.gate import coverage_p_value, decide
from roadwork.promotion.verdict import Verdict

__all__ = ["Check", "Verdict", "coverage_p_value", "decide"]

"""The model registry: bundles in MLflow, found by alias, promoted through the gate.

MLflow is the truth: whoever moves an alias there is honoured here. Importing this package is cheap;
MLflow itself is imported by the first call that needs it.
"""

from __future__ import annotations

from registry.connection import ALIASES, Registry, existing_registry, open_registry
from registry.evidence import collect_evidence
from registry.ledger import LedgerEntry, check_ledger, read_ledger
from registry.promotions import Promotion, promote, rollback
from registry.registration import register_bundle
from registry.resolution import (
    find_version,
    pull,
    resolve_bundle,
    resolve_reference,
    version_of_run,
)

__all__ = [
    "ALIASES",
    "LedgerEntry",
    "Promotion",
    "Registry",
    "check_ledger",
    "collect_evidence",
    "existing_registry",
    "find_version",
    "open_registry",
    "promote",
    "pull",
    "read_ledger",
    "register_bundle",
    "resolve_bundle",
    "resolve_reference",
    "rollback",
    "version_of_run",
]

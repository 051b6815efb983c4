"""Promotion and rollback: aliases move only with evidence or with a reason, and leave a trace."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from registry.connection import Registry, existing_registry, registry_errors
from registry.evidence import collect_evidence
from registry.ledger import append, check_ledger
from registry.resolution import alias_version, find_version, locate
from registry.tags import (
    BUNDLE_HASH,
    GATE,
    LEDGER_HEAD,
    LEDGER_LINE,
    PROMOTED_BY,
    PROMOTED_REASON,
)
from roadwork.errors import ConfigError, RegistryError
from roadwork.evidence import Evidence
from roadwork.promotion import Verdict, decide
from roadwork.settings import PromoteSettings

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["Promotion", "judge", "promote", "rollback"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promotion:
    """What became of a promotion or of a rollback.

    Attributes:
        action: ``unchanged`` when the version was champion already.
        version: the champion now.
        replaced: the champion until then; None when there was none.
        verdict: of the gate; None for a rollback.
    """

    action: Literal["promote", "rollback", "unchanged"]
    version: str
    replaced: str | None
    verdict: Verdict | None


def judge(
    registry: Registry,
    reference: str = "candidate",
    *,
    evidence: Evidence | None = None,
    settings: PromoteSettings | None = None,
    unpaired_reason: str | None = None,
) -> Verdict:
    """The gate's verdict on a version, without any consequence.

    Args:
        registry: where it is registered.
        reference: alias or version.
        evidence: collected from the registry by default.
        settings: what is asked; by default what the evidence was collected for, and without
            evidence the settings of the run that made the bundle.
        unpaired_reason: see :func:`roadwork.promotion.decide`.

    Raises:
        RegistryError: there is no such version, or the evidence speaks of another one or was
            collected for other settings.
    """
    version = find_version(registry, reference)
    bundle = locate(registry, version)
    evidence = evidence or collect_evidence(registry, str(version.version), settings)
    if (evidence.version, evidence.bundle_hash) != (str(version.version), bundle.hash):
        raise RegistryError(
            f"the evidence speaks of version {evidence.version} (bundle "
            f"{evidence.bundle_hash[:12]}), not of version {version.version} ({bundle.hash[:12]}): "
            "collect it again"
        )
    if settings is not None and settings != evidence.settings:
        raise RegistryError(
            "the evidence was collected for other settings of `promote`: collect it again with "
            "these, because they say what is compared and at which level"
        )
    return decide(evidence, unpaired_reason=unpaired_reason)


def promote(
    reference: str = "candidate",
    *,
    actor: str,
    reason: str,
    evidence: Evidence | None = None,
    settings: PromoteSettings | None = None,
    accept_unpaired: bool = False,
    registry: Registry | None = None,
) -> Promotion:
    """Let ``champion`` point to a version that passes the gate, and ``previous`` to the old one.

    The decision is written to the promotions log before an alias moves, also when it is a refusal.

    Args:
        reference: alias or version of the candidate.
        actor: who decides.
        reason: why; kept in the log and as a tag.
        evidence: collected from the registry by default.
        settings: what is asked; by default what the evidence was collected for, and without
            evidence the settings of the run that made the bundle.
        accept_unpaired: accept a candidate that cannot be compared with the champion on the same
            images, for the given reason.
        registry: by default what the environment names.

    Raises:
        GateFailed: a check failed; no alias has moved.
        RegistryError: there is no such version, or MLflow or the log refused.
        ConfigError: actor or reason is empty.
    """
    registry = registry or existing_registry()
    _require_words(actor, reason)
    check_ledger(registry)
    version = find_version(registry, reference)
    champion = alias_version(registry, "champion")
    number = str(version.version)
    verdict = judge(
        registry,
        number,
        evidence=evidence,
        settings=settings,
        unpaired_reason=reason if accept_unpaired else None,
    )
    replaced = str(champion.version) if champion else None
    if not verdict.passed:
        _record(registry, "refuse", version, replaced, actor, reason, verdict)
        verdict.require()
    if replaced == number:
        return Promotion("unchanged", number, replaced, verdict)
    _record(registry, "promote", version, replaced, actor, reason, verdict)
    _move(registry, version, {"previous": replaced, "champion": number}, replaced, actor, reason)
    logger.info("version %s is champion now; before it: %s", number, replaced or "none")
    return Promotion("promote", number, replaced, verdict)


def rollback(*, actor: str, reason: str, registry: Registry | None = None) -> Promotion:
    """Let ``champion`` point to ``previous`` again; ``previous`` is then unset.

    It is not exchanged with the champion: two rollbacks in a hurry would bring back the version
    that was rolled back.

    Raises:
        RegistryError: there is no previous champion, or MLflow or the log refused.
        BundleError: the previous champion's bundle is not intact.
        ConfigError: actor or reason is empty.
    """
    registry = registry or existing_registry()
    _require_words(actor, reason)
    check_ledger(registry)
    champion, previous = (alias_version(registry, name) for name in ("champion", "previous"))
    if previous is None:
        raise RegistryError(
            f"the model {registry.model_name!r} has no previous champion to go back to: name a "
            "version with `roadwork promote VERSION --reason WHY`"
        )
    locate(registry, previous)
    replaced = str(champion.version) if champion else None
    number = str(previous.version)
    _record(registry, "rollback", previous, replaced, actor, reason, None)
    _move(registry, previous, {"champion": number, "previous": None}, replaced, actor, reason)
    logger.info("version %s is champion again; before it: %s", number, replaced or "none")
    return Promotion("rollback", number, replaced, None)


def _require_words(actor: str, reason: str) -> None:
    for name, text in (("actor", actor), ("reason", reason)):
        if not text.strip():
            raise ConfigError(
                f"a promotion needs a {name}: it is kept in the log for later readers"
            )


def _record(
    registry: Registry,
    action: Literal["promote", "refuse", "rollback", "fail"],
    version: ModelVersion,
    replaced: str | None,
    actor: str,
    reason: str,
    verdict: Verdict | None,
) -> None:
    number = str(version.version)
    line = append(
        registry.ledger,
        action,
        model=registry.model_name,
        version=number,
        bundle_hash=version.tags[BUNDLE_HASH],
        replaced=replaced,
        actor=actor,
        reason=reason,
        verdict=verdict,
    )
    client, name = registry.client, registry.model_name
    with registry_errors(f"cannot tag version {number}"):
        client.set_registered_model_tag(name, LEDGER_HEAD, line)
        client.set_model_version_tag(name, number, LEDGER_LINE, line)
        if verdict is not None:
            gate = "passed" if verdict.passed else "failed"
            client.set_model_version_tag(name, number, GATE, gate)


def _move(
    registry: Registry,
    version: ModelVersion,
    aliases: dict[str, str | None],
    replaced: str | None,
    actor: str,
    reason: str,
) -> None:
    """Set or delete aliases; a failure is written to the log as well."""
    client, name, number = registry.client, registry.model_name, str(version.version)
    try:
        with registry_errors(f"cannot move the aliases to version {number}"):
            for alias, target in aliases.items():
                if target is not None:
                    client.set_registered_model_alias(name, alias, target)
                elif alias_version(registry, alias) is not None:
                    client.delete_registered_model_alias(name, alias)
            client.set_model_version_tag(name, number, PROMOTED_BY, actor)
            client.set_model_version_tag(name, number, PROMOTED_REASON, reason)
    except RegistryError as error:
        _record(registry, "fail", version, replaced, actor, f"{reason} ({error})", None)
        raise

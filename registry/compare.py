"""Runs of MLflow for a comparison: found by what people call them, and read."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from registry.connection import Registry, registry_errors
from registry.evidence import artifact
from registry.resolution import alias_version, find_version, locate
from registry.runs import flatten
from registry.tags import (
    BUNDLE_HASH,
    CURVES,
    DATA_HASH,
    EXPOSURE,
    GIT_COMMIT,
    GIT_DIRTY,
    LOCK_HASH,
    REPORT,
    SCORES,
    SETTINGS,
    TEST_HASH,
)
from roadwork.data.exposure import Exposure
from roadwork.errors import BundleError, ConfigError, RegistryError
from roadwork.evaluation.comparison import ComparedRun
from roadwork.evaluation.record import EvaluationReport
from roadwork.pairing import TestScores
from roadwork.training.curves import Curves

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = ["read_runs"]

logger = logging.getLogger(__name__)

_CODE = (DATA_HASH, TEST_HASH, GIT_COMMIT, GIT_DIRTY, LOCK_HASH, BUNDLE_HASH)
_FACTS = ("data.hash.", "environment.", "execution.")
"""Beginnings of the parameters that are no settings."""

_MOST = 50
_SHORTEST = 6  # characters of the beginning of an identifier


def read_runs(registry: Registry, references: Sequence[str]) -> list[ComparedRun]:
    """Read runs for :func:`roadwork.evaluation.comparison.compare_runs`.

    Args:
        registry: where they are.
        references: of each run: a version number, an alias, ``latest``, the run's name or
            identifier, or a beginning of either (six characters of an identifier) that fits no
            other run.

    Raises:
        ConfigError: fewer than two references, or two for one run.
        RegistryError: there is no such run, or several; MLflow cannot be reached.
        DataError: a file of a run was written by another version of roadwork.
    """
    if len(references) < 2:
        raise ConfigError(
            "a comparison needs at least two runs: versions, aliases, or names or identifiers of "
            "runs"
        )
    found: dict[str, tuple[str, Run]] = {}
    for reference in references:
        run = _find(registry, reference)
        before = found.setdefault(run.info.run_id, (reference, run))
        if before[0] != reference or list(references).count(reference) > 1:
            both = dict.fromkeys((before[0], reference))
            raise ConfigError(
                f"{' and '.join(both)} name the same run {run.info.run_id[:8]}: a comparison needs "
                "different runs"
            )
    versions = _versions(registry)
    return [_read(registry, run, versions.get(identity)) for identity, (_, run) in found.items()]


def _find(registry: Registry, reference: str) -> Run:
    client = registry.client
    version = alias_version(registry, reference) if reference else None
    if reference == "latest":
        numbers = [int(number) for number, _ in _versions(registry).values()]
        version = alias_version(registry, str(max(numbers))) if numbers else None
    with registry_errors(f"cannot look for the run {reference!r} in MLflow at {registry.uri}"):
        if version is not None and version.run_id:
            return client.get_run(version.run_id)
        experiments = [found.experiment_id for found in client.search_experiments()]
        listed: dict[str, Run] = {}
        if reference and "'" not in reference:
            # Exact ones first: newer runs with the same beginning must not hide them.
            for words in (f"= '{reference}'", f"LIKE '{reference}%'"):
                for attribute in ("run_id", "run_name"):
                    where = f"attributes.{attribute} {words}"
                    for run in client.search_runs(experiments, where, max_results=_MOST):
                        listed[run.info.run_id] = run
        runs = list(listed.values())
        # The pattern takes an underscore for any character.
        # A version that does not exist must not be taken for the beginning of an identifier.
        long = len(reference) >= _SHORTEST
        fitting = [run for run in runs if long and run.info.run_id.startswith(reference)]
        fitting += [run for run in runs if _name(run).startswith(reference)]
        exact = [run for run in fitting if reference in (run.info.run_id, _name(run))]
        chosen = exact or fitting
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            names = [f"{_name(run)} ({run.info.run_id[:8]})" for run in chosen]
            shown = ", ".join(names if len(names) <= 6 else [*names[:6], "…"])
            least = "at least " if len(chosen) >= _MOST else ""
            raise RegistryError(
                f"{reference!r} fits {least}{len(chosen)} runs: {shown}; write more of the name, "
                "or the identifier"
            )
        newest = client.search_runs(experiments, order_by=["attributes.start_time DESC"])
    raise RegistryError(_unknown(registry, reference, newest))


def _unknown(registry: Registry, reference: str, runs: Sequence[Run]) -> str:
    """What to say when nothing fits: near names, and what there is."""
    known: list[str] = []
    for number, aliases in _versions(registry).values():
        known += [number, *aliases]
    names = [_name(run) for run in runs]
    words = [f"there is no version, alias or run {reference!r} in MLflow at {registry.uri}"]
    near = difflib.get_close_matches(reference, dict.fromkeys([*known, *names]), n=3, cutoff=0.5)
    if near:
        words.append(f"near it: {', '.join(near)}")
    words.append(f"versions and aliases: {', '.join(known) or 'none'}")
    words.append(f"newest runs: {', '.join(dict.fromkeys(names[:3])) or 'none'}")
    return "; ".join(words)


def _name(run: Run) -> str:
    return run.info.run_name or ""


def _versions(registry: Registry) -> dict[str, tuple[str, list[str]]]:
    """By run, the number and the aliases of the newest version that it registered."""
    name = registry.model_name
    with registry_errors(f"cannot list the versions of {name!r}"):
        client = registry.client
        versions = client.search_model_versions(f"name='{name}'")
        aliases = client.get_registered_model(name).aliases if versions else {}
    found: dict[str, tuple[str, list[str]]] = {}
    for version in sorted(versions, key=lambda one: int(one.version)):
        number = str(version.version)
        named = sorted(alias for alias, target in aliases.items() if str(target) == number)
        found[str(version.run_id)] = (number, named)
    return found


def _read(registry: Registry, run: Run, version: tuple[str, list[str]] | None) -> ComparedRun:
    import pyarrow as pa
    import pyarrow.parquet as pq

    identity = run.info.run_id
    with registry_errors(f"cannot list the files of the run {identity[:8]}"):
        there = {file.path for file in registry.client.list_artifacts(identity)}

    def file(name: str) -> bytes | None:
        return artifact(registry, identity, name) if name in there else None

    def table(data: bytes) -> pa.Table:
        return pq.read_table(pa.BufferReader(data))

    settings, report, scores = file(SETTINGS), file(REPORT), file(SCORES)
    curves = file(CURVES)
    params = {key: value for key, value in run.data.params.items() if not key.startswith(_FACTS)}
    facts = {key: value for key, value in run.data.params.items() if key.startswith(_FACTS)}
    facts |= {key: run.data.tags[key] for key in _CODE if key in run.data.tags}
    evaluated = None if report is None else EvaluationReport.from_json(report)
    if evaluated is not None:
        facts[TEST_HASH] = evaluated.provenance.test_hash
    title = identity[:8] if version is None else " ".join((f"v{version[0]}", *version[1]))
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return ComparedRun(
        title=title,
        about=f"run {_name(run)}, {identity[:8]}, {started:%Y-%m-%d %H:%M} UTC, {run.info.status}",
        settings=params if settings is None else flatten(json.loads(settings)),
        facts=facts,
        report=evaluated,
        scores=None if scores is None else TestScores.from_table(table(scores)),
        exposure=_exposure(registry, file(EXPOSURE), version),
        curves=Curves() if curves is None else Curves.from_table(table(curves)),
    )


def _exposure(
    registry: Registry, record: bytes | None, version: tuple[str, list[str]] | None
) -> Exposure | None:
    """What the model of a run has seen; of a run that did not keep it, as its bundle says.

    None where neither is there: the run is then compared without paired differences.
    """
    if record is not None:
        return Exposure.from_bytes(record)
    if version is None:
        return None
    try:
        return locate(registry, find_version(registry, version[0])).exposure
    except (BundleError, RegistryError) as error:
        logger.warning("it is not known what version %s has seen: %s", version[0], error)
        return None

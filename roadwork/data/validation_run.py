"""Great Expectations at work: planned checks on in-memory tables, their results as records.

Importing it is cheap; Great Expectations is imported when checks run.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from roadwork.data.validation_report import Check
from roadwork.environment import silence_telemetry

if TYPE_CHECKING:
    from roadwork.data.validation_plan import Frame, PlannedCheck

__all__ = ["great_expectations_json", "quiet", "record_check", "run_checks"]

_MOST_OFFENDERS = 20
_NAMED = {
    "result_format": "SUMMARY",
    "unexpected_index_column_names": ["file"],
    "partial_unexpected_count": _MOST_OFFENDERS,
}


def run_checks(frames: Mapping[Frame, Any], planned: list[PlannedCheck]) -> list[Any]:
    """Results in the order of the plan."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )
    from great_expectations.validator.v1_validator import Validator

    # Without this default it would make a folder for a documentation site.
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    context = gx.get_context(
        mode="ephemeral", project_config=DataContextConfig(store_backend_defaults=stores)
    )
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    source = context.data_sources.add_pandas("roadwork")
    # A validator for each table: Great Expectations hashes a whole table whenever it makes one.
    validators = {
        name: Validator(
            source.add_dataframe_asset(str(name)).add_batch_definition_whole_dataframe("all"),
            batch_parameters={"dataframe": frame},
        )
        for name, frame in frames.items()
    }
    results = []
    # One at a time: a suite sorts its results, and one broken metric breaks its neighbours.
    for plan in planned:
        plan.expectation.description = plan.title
        plan.expectation.meta = {"name": plan.name, "section": str(plan.section)}
        validator = validators[plan.frame]
        validator.result_format = "BASIC"
        result = validator.validate_expectation(plan.expectation)
        if not result.success and _exception(result.exception_info) is None:
            # Naming rows takes memory, so it is asked for where something fails.
            validator.result_format = _NAMED
            result = validator.validate_expectation(plan.expectation)
        results.append(result)
    return results


def great_expectations_json(results: Sequence[Any], checks: Sequence[Check], version: str) -> str:
    """The suite's validation result as Great Expectations writes it.

    Its times and run names are left out, so that equal data give equal JSON; so is the text of
    the profiles, which the report holds already.
    """
    trees = []
    for result in results:
        tree = result.to_json_dict()
        parameters = tree["expectation_config"]["kwargs"].get("parameters")
        for name in ("profile", "reference"):
            if parameters and name in parameters:
                parameters[name] = f"the {name} of the report"
        trees.append(tree)
    held = sum(check.success for check in checks)
    return json.dumps(
        {
            "success": held == len(checks),
            "results": trees,
            "suite_name": "roadwork",
            "suite_parameters": {},
            "statistics": {
                "evaluated_expectations": len(checks),
                "successful_expectations": held,
                "unsuccessful_expectations": len(checks) - held,
                "success_percent": 100.0 * held / len(checks),
            },
            "meta": {"great_expectations_version": version},
            "id": None,
        },
        indent=1,
        ensure_ascii=False,
    )


def record_check(plan: PlannedCheck, result: Any) -> Check:
    """The record of one result of Great Expectations."""
    broken = _exception(result.exception_info)
    details = result.result.get("details") or {}
    offenders = details.get("offenders")
    if offenders is None:
        offenders = _offending_rows(result.result)
    observed = result.result.get("unexpected_count", details.get("count", len(offenders)))
    success = bool(result.success) and broken is None
    if not success and broken is None and not observed:
        # Checks of the whole table name no rows, but say what they saw.
        offenders = [f"the table has {result.result.get('observed_value')}"]
        observed = 1
    return Check(
        name=plan.name,
        title=plan.title,
        section=str(plan.section),
        leak=plan.leak,
        success=success,
        broken=broken is not None,
        observed=None if broken is not None else int(observed),
        offenders=tuple(offenders[:_MOST_OFFENDERS]) if not success and broken is None else (),
        detail=broken or "",
    )


def _offending_rows(result: dict[str, Any]) -> list[str]:
    rows = result.get("partial_unexpected_index_list") or []
    named = []
    for row in rows:
        values = [str(value) for key, value in row.items() if key != "file"]
        named.append(f"{row['file']} ({', '.join(values)})" if values else str(row["file"]))
    return named


def _exception(info: Any) -> str | None:
    """Message of the exception that Great Expectations swallowed, if it did."""
    if not isinstance(info, dict):
        return None
    if info.get("raised_exception"):
        return str(info.get("exception_message") or "unknown error").strip()
    for inner in info.values():
        found = _exception(inner)
        if found is not None:
            return found
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Great Expectations from reporting home and from filling the log with its set-up."""
    silence_telemetry()
    os.environ.setdefault("TQDM_DISABLE", "1")
    logger = logging.getLogger("great_expectations")
    # Its children set levels of their own, so that only cutting the way up silences them.
    silent, propagate = logging.NullHandler(), logger.propagate
    logger.addHandler(silent)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(silent)

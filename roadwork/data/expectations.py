"""Great Expectations: one expectation of ours, for every check that its library lacks.

The checks themselves are plain functions (:mod:`roadwork.data.offenders`); this module lets Great
Expectations run them and keep their results. Importing it imports Great Expectations.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from roadwork.data.offenders import CHECKS

__all__ = ["ExpectNoOffenders"]


class OffendersOfCheck(TableMetricProvider):
    """Metric: what a check of :data:`roadwork.data.offenders.CHECKS` finds in the table."""

    metric_name = "table.roadwork_offenders"
    value_keys = ("check", "parameters")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805 - the decorator makes it a class method
        execution_engine: Any,
        metric_domain_kwargs: Any,
        metric_value_kwargs: Any,
        metrics: Any,
        runtime_configuration: Any,
    ) -> dict[str, Any]:
        frame, _, _ = execution_engine.get_compute_domain(
            metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE
        )
        check = CHECKS[metric_value_kwargs["check"]]
        return asdict(check(frame, **metric_value_kwargs["parameters"]))


class ExpectNoOffenders(BatchExpectation):
    """Holds when a check finds nothing; what it finds goes into the result."""

    check: str
    parameters: dict[str, Any]
    metric_dependencies: ClassVar = (OffendersOfCheck.metric_name,)
    success_keys: ClassVar = ("check", "parameters")

    def _validate(
        self, metrics: Any, runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        found = metrics[OffendersOfCheck.metric_name]
        return {
            "success": not found["count"],
            "result": {
                "observed_value": found["count"],
                "details": {"count": found["count"], "offenders": list(found["named"])},
            },
        }

"""Great Expectations: the expectations of ours that its library lacks.

They state what makes an evaluation honest: nothing is in two sets, nothing looks like something in
another set, and every set has every class. Importing this module imports Great Expectations.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from roadwork.data.perceptual import near_pairs

__all__ = [
    "ExpectEveryClassInEverySet",
    "ExpectKeyInOneSetOnly",
    "ExpectNoNearDuplicatesAcrossSets",
]


def _frame(engine: Any, domain: Any) -> Any:
    frame, _, _ = engine.get_compute_domain(domain, domain_type=MetricDomainTypes.TABLE)
    return frame


class KeysAcrossSets(TableMetricProvider):
    """Metric: values of a column that occur in more than one set, with a row of each set."""

    metric_name = "table.roadwork_keys_across_sets"
    value_keys = ("key", "set_column", "name_column")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805 - the decorator makes it a class method
        execution_engine: Any,
        metric_domain_kwargs: Any,
        metric_value_kwargs: Any,
        metrics: Any,
        runtime_configuration: Any,
    ) -> list[str]:
        frame = _frame(execution_engine, metric_domain_kwargs)
        key, column = metric_value_kwargs["key"], metric_value_kwargs["set_column"]
        name = metric_value_kwargs["name_column"]
        first = frame[[key, column, name]].drop_duplicates([key, column])
        shared = first[first.duplicated(key, keep=False)].sort_values([key, column])
        offenders = []
        for value, rows in shared.groupby(key, sort=True):
            where = zip(rows[column], rows[name], strict=True)
            offenders.append(f"{value} ({'; '.join(f'{one}: {file}' for one, file in where)})")
        return offenders


class NearDuplicatesAcrossSets(TableMetricProvider):
    """Metric: pairs of rows in different sets whose perceptual hashes nearly agree."""

    metric_name = "table.roadwork_near_duplicates_across_sets"
    value_keys = ("hash_column", "set_column", "name_column", "distance")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805 - the decorator makes it a class method
        execution_engine: Any,
        metric_domain_kwargs: Any,
        metric_value_kwargs: Any,
        metrics: Any,
        runtime_configuration: Any,
    ) -> list[str]:
        frame = _frame(execution_engine, metric_domain_kwargs)
        hashes = frame[metric_value_kwargs["hash_column"]].to_numpy(dtype=np.uint64)
        sets = frame[metric_value_kwargs["set_column"]].tolist()
        names = frame[metric_value_kwargs["name_column"]].tolist()
        found = {
            (i, j)
            for i, j in near_pairs(hashes, metric_value_kwargs["distance"])
            if sets[i] != sets[j]
        }
        return [
            f"{names[i]} ({sets[i]}) and {names[j]} ({sets[j]}): "
            f"{int(np.bitwise_count(hashes[i] ^ hashes[j]))} of 64 bits differ"
            for i, j in sorted(found)
        ]


class ClassesMissingFromSets(TableMetricProvider):
    """Metric: classes that a set lacks."""

    metric_name = "table.roadwork_classes_missing_from_sets"
    value_keys = ("label_column", "set_column", "classes", "sets")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805 - the decorator makes it a class method
        execution_engine: Any,
        metric_domain_kwargs: Any,
        metric_value_kwargs: Any,
        metrics: Any,
        runtime_configuration: Any,
    ) -> list[str]:
        frame = _frame(execution_engine, metric_domain_kwargs)
        label, column = metric_value_kwargs["label_column"], metric_value_kwargs["set_column"]
        have = set(frame[[column, label]].drop_duplicates().itertuples(index=False, name=None))
        return [
            f"{role} has no image of class {value}"
            for role in metric_value_kwargs["sets"]
            for value in metric_value_kwargs["classes"]
            if (role, value) not in have
        ]


class _ExpectNoOffenders(BatchExpectation):
    """Holds when the metric's list is empty; the list itself goes into the result."""

    def _validate(
        self, metrics: Any, runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        offenders = metrics[self.metric_dependencies[0]]
        return {
            "success": not offenders,
            "result": {
                "observed_value": len(offenders),
                "details": {"offenders": offenders},
            },
        }


class ExpectKeyInOneSetOnly(_ExpectNoOffenders):
    """Every value of ``key`` occurs in one set only."""

    key: str
    set_column: str = "role"
    name_column: str = "file"
    metric_dependencies: ClassVar = (KeysAcrossSets.metric_name,)
    success_keys: ClassVar = ("key", "set_column", "name_column")


class ExpectNoNearDuplicatesAcrossSets(_ExpectNoOffenders):
    """No two rows of different sets have hashes that differ in at most ``distance`` bits."""

    hash_column: str = "phash"
    set_column: str = "role"
    name_column: str = "file"
    distance: int = 4
    metric_dependencies: ClassVar = (NearDuplicatesAcrossSets.metric_name,)
    success_keys: ClassVar = ("hash_column", "set_column", "name_column", "distance")


class ExpectEveryClassInEverySet(_ExpectNoOffenders):
    """Every set has at least one row of every class."""

    label_column: str = "label"
    set_column: str = "role"
    classes: list[int]
    sets: list[str]
    metric_dependencies: ClassVar = (ClassesMissingFromSets.metric_name,)
    success_keys: ClassVar = ("label_column", "set_column", "classes", "sets")

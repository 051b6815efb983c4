"""The checks that a validation carries out, in order. Importing it imports Great Expectations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from great_expectations import expectations as gxe

from roadwork import CLASSES
from roadwork.data import expectations as ours
from roadwork.data.manifest import SCHEMA, Role, Split
from roadwork.settings import DataSettings

__all__ = ["PlannedCheck", "plan_checks"]


@dataclass(frozen=True)
class PlannedCheck:
    """An expectation with its name for programs and its title for people.

    Attributes:
        name: stable identifier.
        title: what is expected, as a sentence.
        expectation: of Great Expectations, or of ours.
        leak: whether a failure means that an evaluation would be dishonest.
    """

    name: str
    title: str
    expectation: Any
    leak: bool = False


def plan_checks(rows: int, settings: DataSettings) -> list[PlannedCheck]:
    """Every check of a manifest of ``rows`` photographs, in the order of the report."""
    names = [*SCHEMA.names, "role", "split"]
    required = [field.name for field in SCHEMA if not field.nullable]
    distance = settings.near_duplicate_distance
    return [
        PlannedCheck(
            "columns",
            "The table has the columns of the manifest",
            gxe.ExpectTableColumnsToMatchSet(column_set=names, exact_match=True),
        ),
        PlannedCheck(
            "row_count",
            "The sets together have as many rows as the manifest",
            gxe.ExpectTableRowCountToEqual(value=rows),
        ),
        *[
            PlannedCheck(
                f"not_null:{name}",
                f"Every row has a {name}",
                gxe.ExpectColumnValuesToNotBeNull(column=name),
            )
            for name in required
        ],
        PlannedCheck(
            "label_known",
            f"Every label is one of {', '.join(CLASSES)}",
            gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(range(len(CLASSES)))),
        ),
        PlannedCheck(
            "sha256_form",
            "Every sha256 is 64 hexadecimal digits",
            gxe.ExpectColumnValuesToMatchRegex(column="sha256", regex="^[0-9a-f]{64}$"),
        ),
        PlannedCheck(
            "split_known",
            "Every split is one of the four",
            gxe.ExpectColumnValuesToBeInSet(column="split", value_set=[str(s) for s in Split]),
        ),
        PlannedCheck(
            "classes_present",
            "Every set has images of every class",
            ours.ExpectEveryClassInEverySet(
                classes=list(range(len(CLASSES))), sets=[str(role) for role in Role]
            ),
        ),
        PlannedCheck(
            "sample_unique",
            "Every image occurs once",
            gxe.ExpectColumnValuesToBeUnique(column="sample_id"),
            leak=True,
        ),
        PlannedCheck(
            "sha256_in_one_set",
            "No file's bytes are in two sets",
            ours.ExpectKeyInOneSetOnly(key="sha256"),
            leak=True,
        ),
        PlannedCheck(
            "group_in_one_set",
            "Every group is in one set only",
            ours.ExpectKeyInOneSetOnly(key="group_id"),
            leak=True,
        ),
        PlannedCheck(
            "drive_in_one_set",
            "Every drive, as its source names it, is in one set only",
            ours.ExpectKeyInOneSetOnly(key="drive"),
            leak=True,
        ),
        PlannedCheck(
            "looks_distinct",
            f"No image looks like one of another set (at most {distance} of 64 bits differ)",
            ours.ExpectNoNearDuplicatesAcrossSets(distance=distance),
            leak=True,
        ),
    ]

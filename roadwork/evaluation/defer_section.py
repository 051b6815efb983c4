"""The part of the report page about a defer threshold."""

from __future__ import annotations

from collections.abc import Iterable

from roadwork.evaluation.markup import Markup, element
from roadwork.evaluation.record import Coverage, DeferRecord
from roadwork.evaluation.sections import table
from roadwork.evaluation.wording import DASH, percent, span

__all__ = ["defer_threshold"]


def defer_threshold(defer: DeferRecord | None) -> Iterable[Markup]:
    """What the defer threshold promised and did; nothing where none was asked for."""
    if defer is None:
        return
    yield element("h3", "A threshold with a promise")
    yield element("p", defer.guarantee)
    yield element(
        "p",
        "Sought by Learn then Test on the conformal set, at levels of confidence that come from "
        "the calibration set. It is not in the bundle: in service the prediction sets decide what "
        "is deferred.",
        class_="soft",
    )
    if defer.threshold is None:
        return
    whose = {
        "wrong answers among accepted": (
            defer.max_error,
            defer.group_error,
            defer.groups,
            defer.right,
        ),
        "missed roadwork among accepted": (
            defer.max_missed,
            defer.group_missed,
            defer.roadwork_groups,
            defer.found,
        ),
    }
    yield table(
        ["Share", "Promised: at most", "By group", "Groups", "By image", "Exact 95 % interval"],
        (_held(name, *figures) for name, figures in whose.items()),
        range(1, 6),
    )
    yield element(
        "p",
        f"On the test set it accepts {percent(defer.accepted)} of the images, those with a "
        f"confidence of at least {defer.threshold:.4g}. The promise counts every group alike; the "
        "exact interval counts images and treats them as independent.",
        class_="soft small",
    )


def _held(
    name: str, bound: float | None, by_group: float | None, groups: int, right: Coverage
) -> Markup:
    wrong = right.n - right.covered
    low, high = (None if end is None else 1 - end for end in (right.high, right.low))
    values = (
        "not promised" if bound is None else percent(bound),
        percent(by_group),
        f"{groups:,}",
        f"{wrong:,} of {right.n:,}",
        span(low, high, shares=True) or DASH,
    )
    cells = (element("td", value, class_="num") for value in values)
    return element("tr", element("th", name, scope="row"), *cells)

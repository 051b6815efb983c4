"""Learning curves: what a training run logged, by step, and who is told while it runs.

A curve of more than :data:`LIMIT` points is thinned: every second point is let go and from then on
only every second one is kept, as often as needed. Which points stay depends on their number alone,
so that a resumed run keeps the same ones; the newest is always there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

import pyarrow as pa

from roadwork.errors import DataError

__all__ = ["LIMIT", "SCHEMA", "Curves", "Point", "Tracker"]

LIMIT = 4096
"""Most points kept of one curve beside the newest; even, so that halving keeps the newest too."""

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("pass", pa.int64(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("seconds", pa.float64(), nullable=False),
    ]
)
"""Columns of a file of curves; a value that is not finite is null."""


class Point(NamedTuple):
    """One logged value.

    Attributes:
        name: such as ``train/loss``.
        step: optimizer steps taken so far; 0 is before training.
        epoch: the pass over the training set, counted from 1; 0 is before training.
        value: the figure.
        seconds: of training so far, on a clock that never runs backwards; pauses between a kill
            and the resumption do not count.
    """

    name: str
    step: int
    epoch: int
    value: float
    seconds: float


class Tracker(Protocol):
    """Who is told of the points of a run while it trains.

    The same point may be told twice, after a resumption: a tracker keeps one of a name and step.
    """

    def log(self, points: Sequence[Point]) -> None:
        """Take points in the order in which they were logged."""


@dataclass
class _Curve:
    """Every ``stride``-th point of one name, and the newest where it is none of them."""

    kept: list[Point] = field(default_factory=list)
    newest: Point | None = None
    seen: int = 0
    stride: int = 1

    def add(self, point: Point) -> bool:
        """Whether the point stays, rather than being the newest for the moment alone."""
        stays = self.seen % self.stride == 0
        self.seen += 1
        self.newest = None if stays else point
        if stays:
            self.kept.append(point)
            if len(self.kept) > LIMIT:
                self.kept = self.kept[::2]
                self.stride *= 2
        return stays

    def __iter__(self) -> Iterator[Point]:
        yield from self.kept
        if self.newest is not None:
            yield self.newest


class Curves:
    """Points by name, in the order of their steps."""

    def __init__(self) -> None:
        self._curves: dict[str, _Curve] = {}

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Point]:
        for name in self.names:
            yield from self._curves[name]

    @property
    def names(self) -> list[str]:
        """Names of the curves, sorted."""
        return sorted(self._curves)

    def of(self, name: str) -> list[Point]:
        """The points of one name; none when nothing of that name was logged."""
        return list(self._curves.get(name, ()))

    def newest(self, name: str) -> Point | None:
        """The last point of one name; None when nothing of that name was logged."""
        curve = self._curves.get(name)
        return None if curve is None else curve.newest or curve.kept[-1]

    def add(self, point: Point) -> bool:
        """Enter a point; False where it is kept as the newest alone, until the next one comes.

        Raises:
            DataError: its step lies before one that the curve has.
        """
        return self._followed_by(point).add(point)

    def _followed_by(self, point: Point) -> _Curve:
        """The curve of a point that comes next in it."""
        before = self.newest(point.name)
        if before is not None and point.step <= before.step:
            raise DataError(
                f"the curve {point.name} has step {before.step} already, so step {point.step} "
                "cannot follow"
            )
        return self._curves.setdefault(point.name, _Curve())

    def columns(self) -> dict[str, list[Any]]:
        """Plain columns (``name``, ``step``, ``pass``, ``value``, ``seconds``) for JSON."""
        points = list(self)
        return {
            "name": [point.name for point in points],
            "step": [point.step for point in points],
            "pass": [point.epoch for point in points],
            "value": [point.value if math.isfinite(point.value) else None for point in points],
            "seconds": [point.seconds for point in points],
        }

    @classmethod
    def of_columns(cls, *several: Mapping[str, Sequence[Any]]) -> Self:
        """Curves from what :meth:`columns` gave, of several trainings with names of their own.

        All points are kept as they are: they were thinned when they were recorded.

        Raises:
            DataError: a column is missing, or of another length than the others; or the steps of a
                curve are not in order.
        """
        curves = cls()
        for columns in several:
            try:
                rows = list(zip(*(columns[name] for name in SCHEMA.names), strict=True))
            except (KeyError, ValueError) as error:
                raise DataError(
                    f"these are no learning curves ({error}): they need equally long columns "
                    f"{', '.join(SCHEMA.names)}"
                ) from None
            for name, step, epoch, value, seconds in rows:
                known = math.nan if value is None else value
                point = Point(name, step, epoch, known, seconds)
                curve = curves._followed_by(point)
                curve.kept.append(point)
                curve.seen += 1
        return curves

    def to_table(self) -> pa.Table:
        """One row a point, with the columns of :data:`SCHEMA`."""
        return pa.Table.from_pydict(self.columns(), schema=SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """Inverse of :meth:`to_table`.

        Raises:
            DataError: the columns are not those of curves.
        """
        return cls.of_columns(table.to_pydict())

    def state(self) -> dict[str, Any]:
        """Everything, as plain lists for a checkpoint."""
        return {
            name: {
                # A checkpoint takes less time for few long lists than for many short ones.
                "points": [list(column) for column in zip(*curve.kept, strict=True)][1:],
                "newest": None if curve.newest is None else list(curve.newest[1:]),
                "seen": curve.seen,
                "stride": curve.stride,
            }
            for name, curve in self._curves.items()
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`state`."""
        curves = cls()
        for name, part in state.items():
            newest = part["newest"]
            curves._curves[name] = _Curve(
                [Point(name, *values) for values in zip(*part["points"], strict=True)],
                None if newest is None else Point(name, *newest),
                part["seen"],
                part["stride"],
            )
        return curves

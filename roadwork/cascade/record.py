"""What a cascade did on the test set, as a record: exact through JSON, with no page around it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from roadwork.cascade.policy import ExitPolicy
from roadwork.cascade.simulate import CascadeCurve
from roadwork.evaluation.metrics import Metric
from roadwork.evaluation.record import Count, Natural, Record, ten_digits

__all__ = ["CascadeReport", "PromiseCheck", "StageRow", "Verdict"]

Verdict = Literal["kept", "unclear", "broken", "not judged"]


class StageRow(Record):
    """One way to answer every test image.

    Attributes:
        key: ``first`` and ``second``: that stage alone; ``cascade``: with the exits;
            ``classifier``: the classifier that stage 2 was before its head was trained again.
        title: for people.
        views: mean views of an image.
        metrics: by name, with intervals over groups.
        less_second: the same metrics less those of stage 2, on the same resamples; empty for stage
            2 itself.
    """

    key: Literal["first", "second", "cascade", "classifier"]
    title: str
    views: Metric
    metrics: dict[str, Metric]
    less_second: dict[str, Metric]


class PromiseCheck(Record):
    """One bound of the promise, and what happened on the test set.

    Attributes:
        name: of the setting that asked for it.
        title: the risk in words.
        bound: what was promised at most.
        found: the risk on the test set, every group with one vote, with its interval.
        votes: groups that it is counted over.
        verdict: ``kept``: at most the bound; ``broken``: the whole interval lies above it;
            ``unclear``: above it within the range of chance; ``not judged``: nothing exits.
    """

    name: Literal["max_accuracy_loss", "max_recall_loss", "max_wrong"]
    title: str
    bound: float
    found: Metric
    votes: Natural
    verdict: Verdict


class CascadeReport(Record):
    """Every figure of a cascade on data that nothing was fitted on.

    Attributes:
        name: of the run.
        synthetic: the photographs were generated.
        objective: title of what trained the heads last.
        trains: ``first`` leaves stage 2 the classifier as it was.
        stage_views: views of an image that stage 1 answers, and that stage 2 answers.
        exits: the fitted policy.
        guarantee: what it promises, in words.
        test: what was judged.
        rows: both stages alone, the cascade, and the classifier if stage 2 is another model.
        exited: share of the test images that stage 1 answers.
        deferred: share that goes to a person.
        confidence: how good stage 1 knows where it is right.
        curve: what every cut would have cost and been worth on these images.
        promise: the bounds, and what happened.
        agrees: largest difference between stage 2's probabilities and the classifier's; None
            where stage 2 is another model, or the classifier's were not given.
        exposure: samples and groups by use.
        cascade_hash: of the certified cascade.
        test_hash: of the test set.
        code_version: of roadwork.
        seed: of the resampling.
        bootstrap: resamples of whole groups.
    """

    schema_version: Literal[1] = 1
    name: str
    synthetic: bool
    objective: str
    trains: Literal["first", "heads"]
    stage_views: tuple[int, int]
    exits: ExitPolicy
    guarantee: str
    test: Count
    rows: Annotated[tuple[StageRow, ...], Field(min_length=3)]
    exited: Metric
    deferred: Metric
    confidence: dict[str, Metric]
    curve: CascadeCurve
    promise: tuple[PromiseCheck, ...]
    agrees: float | None
    exposure: dict[str, dict[str, Natural]]
    cascade_hash: str
    test_hash: str
    code_version: str
    seed: int
    bootstrap: Natural

    def row(self, key: str) -> StageRow:
        """The row of that key.

        Raises:
            KeyError: there is none.
        """
        return {row.key: row for row in self.rows}[key]

    @property
    def figures(self) -> dict[str, float]:
        """Plain numbers under stable names, for a tracker; what is undefined is left out."""
        own = self.row("cascade")
        named = {
            **own.metrics,
            **{f"{name}_less_second": found for name, found in own.less_second.items()},
            **{f"first_{name}": found for name, found in self.row("first").metrics.items()},
            **{f"second_{name}": found for name, found in self.row("second").metrics.items()},
            **self.confidence,
            **{f"risk_of_{check.name}": check.found for check in self.promise},
            "views": own.views,
            "exited": self.exited,
            "deferred": self.deferred,
        }
        found = {f"cascade/{k}": m.value for k, m in named.items() if m.value is not None}
        return {**found, "cascade/feasible": float(self.exits.feasible)}

    def rounded(self) -> Self:
        """A copy with every float cut to ten significant digits, but for the exits themselves."""
        tree: dict[str, Any] = self.model_dump(mode="json")
        return self.model_validate_json(json.dumps({**ten_digits(tree), "exits": tree["exits"]}))

    def to_json(self) -> str:
        """The whole record as JSON with sorted keys: equal records, equal text."""
        tree = self.model_dump(mode="json")
        return json.dumps(tree, sort_keys=True, indent=1, allow_nan=False) + "\n"

    @property
    def html(self) -> str:
        """One self-contained page."""
        from roadwork.cascade.page import render_page

        return render_page(self)

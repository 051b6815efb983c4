"""What was promised and what came of it, as records: prediction sets, and the defer threshold."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from roadwork.evaluation.record_base import Natural, Record, Share

__all__ = ["ConformalRecord", "Coverage", "DeferRecord", "SizeCoverage", "SliceCoverage"]


class Coverage(Record):
    """How often something held: ``covered`` times out of ``n``.

    ``low`` and ``high`` are Clopper and Pearson's exact 95 % interval for independent images.
    ``band_low`` and ``band_high`` bound what a kept promise gives on ``n`` images in 95 % of all
    draws of the conformal and the test images (exact Beta-Binomial law); None where nothing was
    promised. Everything is None when there is no image. ``design_effect`` says how many images
    count as one, because images of a group resemble each other, and ``chance`` how probable so few
    hits are, or fewer, when the promise is kept; None where nothing was promised. ``points`` is
    the number of conformal images, or groups where one of each counts, that the promise rests on;
    None where nothing was promised.
    """

    covered: Natural
    n: Natural
    value: Share | None
    low: Share | None
    high: Share | None
    band_low: Share | None = None
    band_high: Share | None = None
    design_effect: Annotated[float, Field(ge=1)] = 1.0
    chance: Share | None = None
    points: Natural | None = None


class SizeCoverage(Record):
    """Coverage among the images whose set holds ``size`` labels."""

    size: Natural
    coverage: Coverage


class SliceCoverage(Record):
    """Coverage among the images of one value of a column, which nothing was promised of."""

    column: str
    name: str
    coverage: Coverage


class ConformalRecord(Record):
    """What the prediction sets promised, and what they did on the test set.

    ``target`` is 1 - alpha. ``empty``, ``singleton`` and ``full`` are shares of sets with no
    label, one label and every label. ``defer`` is the share of images that go to a person because
    their set is not the predicted label alone, so that it may exceed 1 - ``singleton``; the others
    are ``accepted``, and ``accepted_accuracy`` is theirs. ``per_class`` says whether the promise
    was made within each class or for all classes together. ``fitted_groups`` counts the groups of
    the conformal images, where it is known. ``sizes`` has an entry for every size of a set from 0
    to K, ``slices`` one for every value of the columns that were asked for.
    """

    method: str
    title: str
    alpha: Share
    target: Share
    per_class: bool
    guarantee: str
    note: str
    marginal: Coverage
    classes: dict[str, Coverage]
    empty: Share
    singleton: Share
    full: Share
    defer: Share
    accepted: Natural
    accepted_accuracy: Coverage
    fitted_groups: Natural | None = None
    sizes: tuple[SizeCoverage, ...] = ()
    slices: tuple[SliceCoverage, ...] = ()


class DeferRecord(Record):
    """A defer threshold, what it promised, and what it did on the test set.

    The bounds are for an image drawn from a group that was drawn first, so that every group counts
    alike: ``group_error`` and ``group_missed`` are means over the groups that have such an image.
    ``right`` counts images instead: the accepted ones that are answered rightly, and ``found`` the
    accepted ones of roadwork that are.

    Attributes:
        threshold: least confidence of an accepted answer; None where none could be certified, and
            every answer is deferred.
        max_error: bound of the share of wrong answers among accepted images.
        max_missed: bound of the share of missed ones among accepted images of roadwork, or None.
        delta: allowed probability that the draw of the conformal set breaks a bound.
        guarantee: what holds, for whom, and from how many groups; or what is missing.
        needed: about how many groups would do, where there is no threshold; None: not known.
        accepted: share of the test images that are accepted.
        groups: groups of the test set that have an accepted image.
        roadwork_groups: those of them that have an accepted image of roadwork.
    """

    threshold: Share | None
    max_error: Share
    max_missed: Share | None
    delta: Share
    guarantee: str
    needed: Natural | None
    accepted: Share
    right: Coverage
    found: Coverage
    groups: Natural
    roadwork_groups: Natural
    group_error: Share | None
    group_missed: Share | None

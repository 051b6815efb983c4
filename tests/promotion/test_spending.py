"""Places and levels of comparisons on one test set, from the verdicts that were written down."""

from __future__ import annotations

import pytest

from roadwork.evaluation.record import Check
from roadwork.evidence import Opening
from roadwork.promotion import Verdict
from roadwork.promotion.spending import candidates_judged, level_at, next_opening
from roadwork.settings import PromoteSettings

SETTINGS = PromoteSettings()


def verdict(bundle: str, test_hash: str | None, opening: Opening | None = None) -> Verdict:
    return Verdict(
        version="1",
        bundle_hash=bundle,
        passed=True,
        checks=(Check(name="x", passed=True, detail=""),),
        test_hash=test_hash,
        opening=opening,
    )


def ask(log: list[Verdict], candidate: str, champion: str = "a", **changes: str) -> Opening:
    settings = PromoteSettings.model_validate({**SETTINGS.model_dump(), **changes})
    return next_opening(log, settings, test_hash="t", candidate=candidate, champion=champion)


def test_levels_add_up_to_the_level() -> None:
    assert [level_at(k, 0.06, "test_set") for k in (1, 2, 3)] == pytest.approx([0.03, 0.01, 0.005])
    # 1 - 1 / (n + 1) of it after n comparisons, exactly.
    spent = sum(level_at(k, 0.05, "test_set") for k in range(1, 1000))
    assert spent == pytest.approx(0.05 * (1 - 1 / 1000))
    assert level_at(9, 0.05, "candidate") == 0.05


def test_each_comparison_takes_the_next_place_and_the_same_one_keeps_its_own() -> None:
    log = [verdict("a", "t")]  # the first model: judged, and compared with nobody
    assert ask(log, "b").place == 1
    for place, candidate in enumerate("bcd", start=1):
        opening = ask(log, candidate)
        assert (opening.place, opening.level) == (place, 0.05 / (place * (place + 1)))
        log.append(verdict(candidate, "t", opening))
    assert ask(log, "c").place == 2
    assert ask(log, "c", better="nll").place == 4
    assert ask(log, "c", champion="d").place == 4
    assert ask(log, "c", spending="candidate").level == 0.05


def test_another_test_set_starts_anew() -> None:
    log = [verdict("b", "t", ask([], "b"))]
    other = next_opening(log, SETTINGS, test_hash="u", candidate="b", champion="a")
    assert (other.place, other.level) == (1, 0.025)


def test_candidates_are_counted_once_on_their_own_test_set() -> None:
    log = [verdict("a", "t"), verdict("a", "t"), verdict("b", "t"), verdict("c", "u")]
    log.append(verdict("d", None))  # of an earlier version, which did not write the test set down
    assert candidates_judged(log, "t", "e") == 3
    assert candidates_judged(log, "t", "b") == 2
    assert candidates_judged([], "t", "a") == 1

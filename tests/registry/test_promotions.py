"""Aliases move through the gate alone, and every decision leaves a line that cannot be edited."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import (
    Registry,
    check_ledger,
    collect_evidence,
    find_version,
    promote,
    read_ledger,
    register_bundle,
    rollback,
)
from registry.ledger import GENESIS, append
from registry.promotions import judge
from registry.resolution import alias_version
from roadwork.errors import BundleError, ConfigError, GateFailed, RegistryError
from roadwork.settings import PromoteSettings
from tests.bundle.make_bundle import make_bundle
from tests.evaluation.report_case import make_report, make_settings
from tests.registry.made import Made

Make = Callable[..., Made]
WHO = {"actor": "ann", "reason": "better at night"}
# The fixture's bundle has ten conformal points, its report far more: coverage is not the subject.
LENIENT = PromoteSettings(confidence=0.999999)


def aliases(registry: Registry) -> dict[str, str]:
    found = {name: alias_version(registry, name) for name in ("candidate", "champion", "previous")}
    return {name: str(version.version) for name, version in found.items() if version is not None}


def test_first_promotion_then_a_better_one_then_rollback(registry: Registry, make: Make) -> None:
    make("first", 2.0)
    first = promote(**WHO, settings=LENIENT, registry=registry)
    assert (first.action, first.version, first.replaced) == ("promote", "1", None)
    assert aliases(registry) == {"candidate": "1", "champion": "1"}
    second = make("second", 2.6)
    done = promote(**WHO, settings=LENIENT, registry=registry)
    assert (done.version, done.replaced) == ("2", "1")
    assert done.verdict is not None
    assert "over 40 groups" in done.verdict.checks[-2].detail
    assert done.verdict.opening is not None
    assert done.verdict.opening.place == 1
    assert "this test set has judged 2 candidates, this one included" in done.verdict.notes
    assert aliases(registry) == {"candidate": "2", "champion": "2", "previous": "1"}
    tags = find_version(registry, "champion").tags
    assert tags["roadwork.gate"] == "passed"
    assert tags["roadwork.promoted_by"] == "ann"
    assert tags["roadwork.promoted_reason"] == "better at night"
    back = rollback(actor="bob", reason="alarms", registry=registry)
    assert (back.action, back.version, back.replaced) == ("rollback", "1", "2")
    assert aliases(registry) == {"candidate": "2", "champion": "1"}
    with pytest.raises(RegistryError, match="no previous champion"):
        rollback(actor="bob", reason="again", registry=registry)
    entries = check_ledger(registry)
    assert [(e.action, e.version, e.replaced, e.actor) for e in entries] == [
        ("promote", "1", None, "ann"),
        ("promote", "2", "1", "ann"),
        ("rollback", "1", "2", "bob"),
    ]
    assert entries[1].verdict == done.verdict
    assert entries[1].bundle_hash == second.bundle.hash
    assert entries[0].line_before == GENESIS


def test_a_worse_candidate_is_refused_and_the_refusal_is_kept(
    registry: Registry, make: Make
) -> None:
    make("first", 2.6)
    promote(**WHO, settings=LENIENT, registry=registry)
    make("second", 0.8)
    with pytest.raises(GateFailed, match="better than the champion: Matthews"):
        promote(**WHO, settings=LENIENT, registry=registry)
    assert aliases(registry) == {"candidate": "2", "champion": "1"}
    assert [entry.action for entry in check_ledger(registry)] == ["promote", "refuse"]
    assert find_version(registry, "candidate").tags["roadwork.gate"] == "failed"


def test_a_test_set_remembers_how_often_it_was_opened(registry: Registry, make: Make) -> None:
    make("first", 2.0)
    promote(**WHO, settings=LENIENT, registry=registry)
    make("second", 0.8)
    before = registry.ledger.read_bytes()
    for _ in range(2):  # looking changes nothing
        verdict = judge(registry, settings=LENIENT)
        assert verdict.opening is not None
        assert (verdict.opening.place, verdict.opening.level) == (1, 0.025)
    assert registry.ledger.read_bytes() == before
    for _ in range(2):  # the same comparison again is no new one
        with pytest.raises(GateFailed):
            promote(**WHO, settings=LENIENT, registry=registry)
    third = make("third", 2.6)
    done = promote(**WHO, settings=LENIENT, registry=registry)
    assert done.verdict is not None and done.verdict.opening is not None
    assert done.verdict.opening.place == 2
    assert done.verdict.opening.level == pytest.approx(0.05 / 6)
    assert done.verdict.test_hash == third.report.provenance.test_hash
    assert "this test set has judged 3 candidates, this one included" in done.verdict.notes
    elsewhere = make("fourth", 2.6, start=300_000)
    apart = judge(registry, settings=LENIENT)
    assert apart.test_hash == elsewhere.report.provenance.test_hash
    assert apart.opening is None
    assert "this test set has judged 1 candidate, this one included" in apart.notes


def test_a_candidate_that_saw_its_test_set_is_refused(
    registry: Registry, tmp_path: Path, make: Make
) -> None:
    from roadwork.data.exposure import Exposure, IdSet, Use

    made = make("first")
    ids = IdSet.of(made.scores.sample_ids[:4], made.scores.sample_ids[:0])
    exposure = Exposure({Use.SELECT: ids}).to_bytes()
    leaky = make_bundle(
        tmp_path / "leaky",
        {"metrics.json": made.report.metrics_json(), "exposure.bin": exposure},
    )
    register_bundle(
        leaky.path,
        made.report,
        make_settings(),
        run_name="leaky",
        data_hash="d",
        scores=made.scores,
        registry=registry,
    )
    with pytest.raises(GateFailed, match=r"never saw.* 4 of its images and 0 .*\(use: select\)"):
        promote(**WHO, settings=LENIENT, accept_unpaired=True, registry=registry)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probabilities": lambda s: s.probabilities**2}, "give another Brier"),
        ({"groups": lambda s: s.groups[::-1]}, "are of other images than the report"),
    ],
)
def test_scores_that_do_not_lead_to_the_report_are_refused(
    registry: Registry, make: Make, change: dict[str, Callable[..., object]], words: str
) -> None:
    from dataclasses import replace

    made = make("first", with_scores=False)
    changed = replace(made.scores, **{key: of(made.scores) for key, of in change.items()})
    register_bundle(
        made.bundle.path,
        made.report,
        make_settings(),
        run_name="changed",
        data_hash="d",
        scores=changed,
        registry=registry,
    )
    verdict = judge(registry, settings=LENIENT)
    failed = {check.name: check.detail for check in verdict.checks if not check.passed}
    assert list(failed) == ["never saw the test set"]
    assert words in failed["never saw the test set"]


def test_promoting_the_champion_again_changes_nothing(registry: Registry, make: Make) -> None:
    make("first")
    promote(**WHO, settings=LENIENT, registry=registry)
    again = promote("1", **WHO, settings=LENIENT, registry=registry)
    assert again.action == "unchanged"
    assert len(read_ledger(registry.ledger)) == 1


def test_unpaired_candidates_need_a_reason(registry: Registry, make: Make) -> None:
    make("first")
    promote(**WHO, settings=LENIENT, registry=registry)
    make("second", with_scores=False)
    with pytest.raises(GateFailed, match=r"(?s)never saw.*parquet in its run.*accept-unpaired"):
        promote(**WHO, settings=LENIENT, registry=registry)
    with pytest.raises(GateFailed, match=r"1 of 8 checks failed\n  never saw the test set"):
        promote(**WHO, settings=LENIENT, accept_unpaired=True, registry=registry)
    make("third", start=300_000)
    with pytest.raises(GateFailed, match="tested on different images"):
        promote(**WHO, settings=LENIENT, registry=registry)
    done = promote(**WHO, settings=LENIENT, accept_unpaired=True, registry=registry)
    assert done.verdict is not None
    assert done.verdict.checks[-1].detail.endswith("accepted all the same: better at night")


def test_thresholds_default_to_those_sealed_into_the_bundle(registry: Registry, make: Make) -> None:
    made = make("first")
    assert made.bundle.settings["promote"]["min_auroc"] == 0.5
    verdict = judge(registry)
    assert verdict.checks[3].name == "AUROC above chance"
    strict = judge(registry, settings=PromoteSettings(min_auroc=0.99))
    assert "AUROC above 0.99" in [check.name for check in strict.checks if not check.passed]


def test_a_stale_report_is_seen(registry: Registry, tmp_path: Path, make: Make) -> None:
    bundle = make_bundle(tmp_path / "b", {"metrics.json": make_report(strength=1.0).metrics_json()})
    register_bundle(
        bundle.path,
        make_report(strength=3.0),
        make_settings(),
        run_name="x",
        data_hash="d",
        registry=registry,
    )
    evidence = collect_evidence(registry)
    assert evidence.figures_hash != evidence.bundle_figures_hash
    with pytest.raises(GateFailed, match="it is stale"):
        promote(**WHO, settings=LENIENT, registry=registry)


def test_evidence_of_another_version_is_refused(registry: Registry, make: Make) -> None:
    make("first")
    evidence = collect_evidence(registry)
    make("second")
    with pytest.raises(RegistryError, match="the evidence speaks of version 1"):
        promote("2", **WHO, evidence=evidence, registry=registry)
    with pytest.raises(RegistryError, match="collected for other settings"):
        promote("1", **WHO, evidence=evidence, settings=LENIENT, registry=registry)
    evidence = collect_evidence(registry, "1", LENIENT)
    assert promote("1", **WHO, evidence=evidence, registry=registry).version == "1"


@pytest.mark.parametrize("words", [{"actor": " ", "reason": "x"}, {"actor": "x", "reason": ""}])
def test_actor_and_reason_are_needed(registry: Registry, words: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="a promotion needs"):
        promote(**words, registry=registry)
    with pytest.raises(ConfigError, match="a promotion needs"):
        rollback(**words, registry=registry)


def test_rollback_refuses_a_damaged_bundle(registry: Registry, make: Make) -> None:
    from registry import resolve_bundle

    make("first")
    promote(**WHO, settings=LENIENT, registry=registry)
    make("second", 3.0)
    promote(**WHO, settings=LENIENT, registry=registry)
    (resolve_bundle("previous", registry) / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        rollback(actor="bob", reason="alarms", registry=registry)
    assert aliases(registry)["champion"] == "2"


def test_a_failed_move_is_written_down(
    registry: Registry, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("first")

    def refuse(*_: object) -> None:
        raise OSError("database is locked")

    monkeypatch.setattr(registry.client, "set_registered_model_alias", refuse)
    with pytest.raises(RegistryError, match="cannot move the aliases to version 1"):
        promote(**WHO, settings=LENIENT, registry=registry)
    entries = check_ledger(registry)
    assert [entry.action for entry in entries] == ["promote", "fail"]
    assert "database is locked" in entries[1].reason
    assert "champion" not in aliases(registry)


def lines(registry: Registry, *, count: int = 4) -> list[bytes]:
    for number in range(1, count + 1):
        append(
            registry.ledger,
            "promote",
            model="roadwork",
            version=str(number),
            bundle_hash="b",
            replaced=None,
            actor="ann",
            reason=f"r{number}",
        )
    return registry.ledger.read_bytes().splitlines(keepends=True)


def test_every_edit_of_the_log_shows(registry: Registry) -> None:
    good = lines(registry)
    assert [entry.version for entry in read_ledger(registry.ledger)] == ["1", "2", "3", "4"]
    edited = json.loads(good[1])
    edited["actor"] = "bob"
    changed = json.dumps(edited, sort_keys=True).encode() + b"\n"
    tampered = {
        "edited": [good[0], changed, *good[2:]],
        "removed": [good[0], *good[2:]],
        "first removed": good[1:],
        "exchanged": [good[0], good[2], good[1], good[3]],
        "doubled": [good[0], good[0], *good[1:]],
        "not JSON": [good[0], b"x\n", *good[1:]],
        "cut off": [*good[:3], good[3][:-9]],
        "new key": [good[0], good[1].replace(b'{"action"', b'{"a": 1, "action"'), *good[2:]],
    }
    for content in tampered.values():
        registry.ledger.write_bytes(b"".join(content))
        with pytest.raises(RegistryError, match="promotions log"):
            read_ledger(registry.ledger)
        with pytest.raises(RegistryError, match="promotions log"):
            append(
                registry.ledger,
                "promote",
                model="roadwork",
                version="9",
                bundle_hash="b",
                replaced=None,
                actor="x",
                reason="x",
            )
        assert registry.ledger.read_bytes() == b"".join(content)
    registry.ledger.write_bytes(b"".join(good))
    assert len(read_ledger(registry.ledger)) == 4


def test_lines_removed_at_the_end_show_through_mlflow(registry: Registry, make: Make) -> None:
    make("first")
    promote(**WHO, settings=LENIENT, registry=registry)
    make("second", 3.0)
    promote(**WHO, settings=LENIENT, registry=registry)
    data = registry.ledger.read_bytes().splitlines(keepends=True)
    registry.ledger.write_bytes(data[0])
    assert len(read_ledger(registry.ledger)) == 1  # the chain alone cannot know
    with pytest.raises(RegistryError, match="lines were removed"):
        check_ledger(registry)
    with pytest.raises(RegistryError, match="lines were removed"):
        rollback(actor="bob", reason="alarms", registry=registry)
    registry.ledger.unlink()
    with pytest.raises(RegistryError, match="lines were removed"):
        promote(**WHO, registry=registry)


def test_evidence_knows_the_thresholds_of_either_method(
    registry: Registry, tmp_path: Path, make: Make
) -> None:
    from registry.evidence import _thresholds
    from roadwork.bundle_files import to_json
    from roadwork.conformal import SplitConformal

    mondrian = make("first").bundle
    assert _thresholds(mondrian) == {"none": (10, 9), "roadwork": (10, 9)}
    fitted = SplitConformal(alpha=0.25, threshold=0.6, n=10, rank=9)
    lac = make_bundle(tmp_path / "lac", {"conformal.json": to_json(fitted)})
    assert _thresholds(lac) == {"all classes": (10, 9)}

"""Training on several sources: every method resumes exactly and leaves its figures."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from roadwork.data.manifest import TrainSet
from roadwork.data.splits import Splits
from roadwork.errors import ConfigError, LeakageError
from roadwork.training.finetune import Finetuned, finetune
from roadwork.training.probe import fit_probe
from roadwork.training.views import open_views
from tests.data import made
from tests.training.made_photos import photo_rows, small_backbone, small_settings
from tests.training.test_finetune import Killed, stop_before

CASES: dict[str, dict[str, Any]] = {
    "dann": {"domain": {"method": "dann", "weight": 1.0}},
    "cdann": {"domain": {"method": "cdann", "weight": 1.0}},
    "group_dro": {"domain": {"method": "group_dro", "group_step": 0.5}},
    "mining": {"sampling": {"balance": "source_and_class", "hard_negatives": 0.5}},
    "correction": {"prior_correction": "source", "sampling": {"balance": "source"}},
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """Five sets of two sources: every second group is of the other."""
    folder = tmp_path_factory.mktemp("sources")
    parts = [photo_rows(folder, range(a, b)) for a, b in pairwise([0, 20, 32, 44, 56, 68])]
    for part in parts:
        for number, row in enumerate(part):
            row["source"] = "natix" if number // 4 % 2 else "mapillary"
    del parts[0][1:4:2]  # mapillary has fewer positives
    return made.splits(parts)


def run(sets: Splits, checkpoints: Path, case: str, **changes: Any) -> Finetuned:
    settings = small_settings(finetune={**CASES[case], **changes})
    return finetune(small_backbone(settings), sets.train, sets.select, settings, checkpoints)


@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    case: str, sources: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(sources, checkpoints, case)
    with monkeypatch.context() as patch:
        stop_before(patch, 5, Killed())  # in the second pass, after its first checkpoint
        with pytest.raises(Killed):
            run(sources, checkpoints, case)
    assert list(checkpoints.glob("finetune-*/last.ckpt"))
    resumed = run(sources, checkpoints, case)
    assert resumed.history == whole.history
    assert resumed.classifier.content_hash == whole.classifier.content_hash
    assert resumed.mined.counts() == whole.mined.counts()


def test_every_method_trains_something_else(sources: Splits, checkpoints: Path) -> None:
    settings = small_settings(finetune={"epochs": 1})
    plain = finetune(small_backbone(settings), sources.train, sources.select, settings, checkpoints)
    assert set(plain.history) == {"select_nll", "best_epoch", "execution", "curves"}
    seen = {plain.history["select_nll"][1]}
    for case in CASES:
        seen.add(run(sources, checkpoints, case, epochs=1).history["select_nll"][1])
    assert len(seen) == 1 + len(CASES)


def test_the_history_tells_whether_the_domains_are_aligned(
    sources: Splits, checkpoints: Path
) -> None:
    history = run(sources, checkpoints, "cdann").history["domain"]
    assert history["method"] == "cdann"
    assert len(history["passes"]) == 3
    for figures in history["passes"]:
        assert figures["domain_chance"] == 0.5
        assert 0 <= figures["domain_accuracy"] <= 1
    assert set(history["select_auroc"]) == {"mapillary", "natix"}
    for values in history["select_auroc"].values():
        assert len(values) == 4  # the probe, and three passes
        assert all(0 <= value <= 1 for value in values)
    weights = run(sources, checkpoints, "group_dro").history["domain"]["passes"][-1]
    assert set(weights) == {
        f"weight {source}/{label}"
        for source in ("mapillary", "natix")
        for label in ("none", "roadwork")
    }
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-5)


def test_domain_methods_refuse_one_source(sets: Splits, checkpoints: Path) -> None:
    with pytest.raises(ConfigError, match="all 20 training images come from made"):
        run(sets, checkpoints, "dann")


def test_shares_of_an_absent_source_are_refused_before_anything_is_fitted(
    sources: Splits, checkpoints: Path
) -> None:
    shares = {"natix": 1.0, "vistas": 1.0}
    with pytest.raises(ConfigError, match="names vistas"):
        run(
            sources,
            checkpoints,
            "correction",
            sampling={"balance": "source", "source_shares": shares},
        )


def test_views_and_probe_can_be_shared_between_runs(sources: Splits, checkpoints: Path) -> None:
    settings = small_settings(finetune={"epochs": 1})
    backbone = small_backbone(settings)
    readers = {part.role: open_views(settings)(part) for part in (sources.train, sources.select)}
    expected = finetune(backbone, sources.train, sources.select, settings, checkpoints)
    probe = fit_probe(backbone, sources.train, settings, readers[sources.train.role])
    assert probe.content_hash == expected.baseline.content_hash
    for reader in readers.values():
        reader.uris = ["/nowhere"] * len(reader)  # whoever decodes again fails
    with pytest.raises(Exception, match="nowhere"):
        readers[sources.select.role](0)
    for row, uri in enumerate(sources.select.uris):
        readers[sources.select.role].uris[row] = uri
    small_backbone(settings)  # the random numbers stand where they stood
    shared = finetune(
        backbone,
        sources.train,
        sources.select,
        settings,
        checkpoints,
        views=lambda dataset: readers[dataset.role],
        baseline=probe,
    )
    assert shared.history["select_nll"][0] == expected.history["select_nll"][0]
    stranger = fit_probe(backbone, TrainSet(sources.select.table), settings)
    with pytest.raises(LeakageError, match="already exposed to this data"):
        finetune(
            backbone,
            sources.train,
            sources.select,
            settings,
            checkpoints,
            baseline=stranger,
        )


def test_every_photograph_is_decoded_once(
    sources: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roadwork.data import loading

    decoded: list[str] = []
    original = loading.decode_image

    def count(data: Any, **options: Any) -> Any:
        decoded.append("photo")
        return original(data, **options)

    monkeypatch.setattr(loading, "decode_image", count)
    settings = small_settings(finetune={"epochs": 2})
    finetune(small_backbone(settings), sources.train, sources.select, settings, checkpoints)
    assert len(decoded) == len(sources.train) + len(sources.select)

"""Profiles, and drift against them: unshifted data pass, a changed source is found and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from roadwork.data.drift import LEVEL, QUESTIONS, SourceRows
from roadwork.data.manifest import SCHEMA
from roadwork.data.offenders import CHECKS, Offenders
from roadwork.data.profile import DataProfile, group_shares, load_profile, profile_of
from roadwork.data.statistics import STATISTICS
from roadwork.data.two_sample import beyond_order_statistics, fisher_tails
from roadwork.data.validation import require_valid, validate_manifest
from roadwork.errors import DataError
from roadwork.settings import DataSettings, SplitSettings
from tests.data import made

PRIORS = {"north": 0.85, "south": 0.6, "west": 0.3}


def drawn(seed: int, drives: int = 80, **sources: float) -> pa.Table:
    """Rows of drives of 4 to 7 images: labels, light and colours of a drive resemble each other."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for source, prior in (sources or PRIORS).items():
        for drive in range(drives):
            size = int(rng.integers(4, 8))
            mixed, positive = rng.random() < 0.2, rng.random() < prior
            night = rng.random() < 0.2
            light, spread = rng.normal(45 if night else 110, 12), rng.normal(50, 8)
            colour, edges = rng.normal(40, 8), rng.normal(30, 5)
            for frame in range(size):
                number = len(rows)
                label = int(frame < size // 2) if mixed else int(positive)
                rows.append(
                    made.row(
                        number,
                        f"{source}-{drive}",
                        label,
                        source=source,
                        luminance=light + rng.normal(0, 2),
                        contrast=spread + rng.normal(0, 2),
                        saturation=colour + rng.normal(0, 2),
                        sharpness=edges + rng.normal(0, 2),
                    )
                )
    return made.table(rows)


def changed(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    place = SCHEMA.get_field_index(name)
    return table.set_column(place, SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type))


def darkened(table: pa.Table, source: str, factor: float = 0.5) -> pa.Table:
    hit = np.asarray(table.column("source").to_pylist()) == source
    light = table.column("luminance").to_numpy()
    return changed(table, "luminance", np.where(hit, light * factor, light))


def flipped(table: pa.Table, source: str, share: float = 0.15) -> tuple[pa.Table, set[str]]:
    hit = np.asarray(table.column("source").to_pylist()) == source
    hit &= np.random.default_rng(1).random(len(hit)) < share
    labels = table.column("label").to_numpy()
    files = np.asarray(table.column("file").to_pylist())[hit]
    return changed(table, "label", np.where(hit, 1 - labels, labels)), set(files.tolist())


def compared(reference: pa.Table, new: pa.Table) -> dict[str, Offenders]:
    """What every question finds that finds something."""
    known = DataProfile.of(reference).model_dump_json()
    profile = DataProfile.of(new).model_dump_json()
    frame = new.to_pandas()
    found = {
        name: CHECKS["drifted"](frame, question=name, profile=profile, reference=known)
        for name in QUESTIONS
    }
    return {name: one for name, one in found.items() if one.count}


def test_a_profile_by_hand() -> None:
    rows = [
        made.row(0, "a", 1, luminance=10.0, city="x", works_size="small"),
        made.row(1, "a", 1, luminance=20.0, city="x", works_size="large"),
        made.row(2, "a", 0, luminance=30.0, city="y"),
        made.row(3, "b", 0, luminance=300.0, width=128),
        made.row(4, "c", 0, source="other"),
    ]
    profile = profile_of(made.manifest(rows))
    assert (profile.images, list(profile.sources)) == (5, ["made", "other"])
    found = profile.sources["made"]
    assert (found.images, found.groups, found.positives, found.prior) == (4, 2, 2, 0.5)
    assert found.mean_group == (9 + 1) / 4
    assert (found.drives, found.mixed_drives) == (1, 1)
    # Group a weighs as much as b: its three images reach one half of the mass.
    light = found.statistics["luminance"]
    assert (light.low, light.p05, light.median, light.p95, light.high) == (10, 10, 30, 300, 300)
    assert [n for n in light.histogram if n] == [1, 1, 1, 1]
    assert light.histogram[-1] == 1  # beyond the range
    assert found.slices["city"] == {"x": 0.5, "NULL": 0.25, "y": 0.25}
    assert found.unknown["city"] == {"none": 0.5, "roadwork": 0.0}
    assert found.unknown["works_size"] == {"none": 1.0, "roadwork": 0.0}
    assert found.sizes == {"64x48": 0.75, "128x48": 0.25}
    assert profile.sources["other"].unknown["city"] == {"none": 1.0, "roadwork": None}
    # Residuals of the groups: 2 - 1.5 = 0.5 and 0 - 0.5; effect 2 * 0.5 / (4 / 4) = 1: no excess.
    assert found.label_icc == pytest.approx(0.0)
    assert profile.sources["other"].label_icc is None


def test_labels_of_a_group_that_agree_fully_have_agreement_one() -> None:
    rows = [made.row(n, f"g{n // 4}", n // 4 % 2) for n in range(400)]
    found = DataProfile.of(made.table(rows)).sources["made"]
    assert found.label_icc == pytest.approx(1.0, abs=0.02)


def test_a_profile_comes_back_from_its_file(tmp_path: Path) -> None:
    profile = DataProfile.of(drawn(0, 4))
    path = tmp_path / "profile.json"
    path.write_text(profile.to_json())
    assert load_profile(str(path)) == profile
    assert DataProfile.of(drawn(0, 4)).to_json() == profile.to_json()


@pytest.mark.parametrize("text", [None, "{", '{"version": 1, "images": 3}'])
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "profile.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=r"profile\.json.*data\.reference"):
        load_profile(str(path))


def test_the_order_of_rows_does_not_matter() -> None:
    table = drawn(0, 10)
    mixed = table.take(np.random.default_rng(0).permutation(table.num_rows))
    assert DataProfile.of(mixed) == DataProfile.of(table)


@pytest.mark.parametrize(("a", "b", "n", "k"), [(57, 1, 57, 3), (30, 28, 40, 33), (5, 2, 1, 1)])
def test_beyond_order_statistics_is_the_beta_binomial_tail(a: int, b: int, n: int, k: int) -> None:
    oracle = stats.betabinom(n, b, a).sf(k - 1)
    assert beyond_order_statistics(a, b, n, k) == pytest.approx(oracle, rel=1e-9)


def test_beyond_order_statistics_by_hand_and_at_its_ends() -> None:
    # One new value is beyond the largest of two old ones with chance 1/3.
    assert beyond_order_statistics(2, 1, 1, 1) == pytest.approx(1 / 3)
    assert beyond_order_statistics(2, 1, 5, 0) == 1.0
    assert beyond_order_statistics(2, 1, 5, 6) == 0.0


@pytest.mark.parametrize("table", [(3, 10, 7, 9), (0, 5, 4, 6), (50, 60, 20, 90)])
def test_fisher_tails_are_scipys(table: tuple[int, int, int, int]) -> None:
    hits, n, other, m = table
    cells = [[hits, n - hits], [other, m - other]]
    oracle = [stats.fisher_exact(cells, side).pvalue for side in ("greater", "less")]
    assert fisher_tails(hits, n, other, m) == pytest.approx(oracle, rel=1e-9)


def test_unshifted_data_raise_no_alarm() -> None:
    """120 new draws of three sources: no alarm at all is expected at a level of 0.001."""
    reference = DataProfile.of(drawn(1000))
    alarms = 0
    for seed in range(120):
        table = drawn(seed, 60)
        profile = DataProfile.of(table)
        for name, source in profile.sources.items():
            rows = table.filter(pa.array(np.asarray(table.column("source").to_pylist()) == name))
            arrays = arrays_of(rows, source)
            for question in QUESTIONS.values():
                level = LEVEL / (len(QUESTIONS) * len(profile.sources))
                answer = question.ask(
                    reference.sources[name], arrays, question.statistic or "", level
                )
                alarms += answer.differs
    assert alarms == 0


def arrays_of(rows: pa.Table, profile: Any) -> SourceRows:
    codes = {
        name: np.unique(np.asarray(rows.column(name).to_pylist()), return_inverse=True)[1]
        for name in ("group_id", "drive")
    }
    return SourceRows(
        labels=rows.column("label").to_numpy().astype(np.int64),
        groups=codes["group_id"],
        drives=codes["drive"],
        profile=profile,
        statistics={name: rows.column(name).to_numpy().astype(float) for name in STATISTICS},
    )


def test_tests_against_fresh_references_keep_their_level() -> None:
    below = dict.fromkeys(QUESTIONS, 0)
    for seed in range(120):
        reference = DataProfile.of(drawn(2 * seed + 5000, 40, one=0.6)).sources["one"]
        table = drawn(2 * seed + 5001, 40, one=0.6)
        arrays = arrays_of(table, DataProfile.of(table).sources["one"])
        for name, question in QUESTIONS.items():
            answer = question.ask(reference, arrays, question.statistic or "", 0.05)
            below[name] += answer.p_value < 0.05
    # 6 of 120 are expected at most; 14 and more have a chance below 0.003 then.
    assert max(below.values()) < 14, below


def test_the_reference_itself_raises_no_alarm() -> None:
    table = drawn(7)
    assert compared(table, table) == {}
    assert compared(table, table.take(np.arange(0))) == {}


def test_a_darkened_camera_is_found_with_its_darkest_rows() -> None:
    new = darkened(drawn(2), "south")
    found = compared(drawn(1), new)
    assert list(found) == ["luminance"]
    first, *rows = found["luminance"].named
    assert first.startswith("south: ")
    assert "below the reference's median" in first
    south = {
        file: light
        for file, light, source in zip(
            *(new.column(c).to_pylist() for c in ("file", "luminance", "source")), strict=True
        )
        if source == "south"
    }
    darkest = sorted(south, key=south.__getitem__)[: len(rows)]
    assert [row.split(" (")[0] for row in rows] == darkest
    assert found["luminance"].count >= len(rows)


def test_flipped_labels_are_found_with_the_flipped_rows() -> None:
    new, wrong = flipped(drawn(2, 150), "south")
    found = compared(drawn(1, 150), new)
    assert list(found) == ["mixed_drives"]
    first, *rows = found["mixed_drives"].named
    assert first.startswith("south: ")
    assert "of its drives hold both labels" in first
    right = [row.split(" (")[0] in wrong for row in rows]
    assert len(rows) == 19
    assert np.mean(right) >= 0.9


def test_another_prior_is_found_with_rows_of_the_frequent_label() -> None:
    found = compared(drawn(1, 120), drawn(2, 120, north=0.85, south=0.95, west=0.3))
    assert list(found) == ["prior"]
    assert found["prior"].named[0].startswith("south: ")
    assert all(row.endswith("(label 1)") for row in found["prior"].named[1:])


def test_images_of_one_drive_do_not_count_as_many() -> None:
    # 300 images of three drives say as little as three images about the prior and the light.
    few = [made.row(n, f"d{n // 100}", 1, source="north", luminance=30.0) for n in range(300)]
    assert compared(drawn(1), made.table(few)) == {}


def test_a_small_difference_is_none_however_many_images_there_are() -> None:
    many = [
        made.row(n, f"g{n}", int(n % 100 < share), source="s", luminance=float(n % 97))
        for share in (50, 53)
        for n in range(20_000)
    ]
    old, new = made.table(many[:20_000]), made.table(many[20_000:])
    arrays = arrays_of(new, DataProfile.of(new).sources["s"])
    answer = QUESTIONS["prior"].ask(DataProfile.of(old).sources["s"], arrays, "", 1e-4)
    assert answer.p_value < 1e-4
    assert not answer.differs


def test_group_shares_by_hand() -> None:
    hits, codes = np.array([True, False, True, True]), np.array([0, 0, 1, 0])
    assert group_shares(hits, codes, 2).tolist() == [2 / 3, 1.0]


def cut_by_hand(table: pa.Table) -> Any:
    from roadwork.data.splits import cut

    return cut(made.manifest(table.to_pylist()), SplitSettings(), 0)


def test_validation_stops_a_drifted_and_an_unknown_source(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_text(DataProfile.of(drawn(1)).to_json())
    settings = DataSettings(reference=str(path))
    good = drawn(2)
    report = validate_manifest(made.manifest(good.to_pylist()), cut_by_hand(good), settings)
    assert report.success, [check.verdict for check in report.checks if not check.success]
    assert "reference" in report.html
    bad = pa.concat_tables([darkened(good, "west"), drawn(3, 12, east=0.5)])
    numbers = [f"{n}.jpg" for n in range(bad.num_rows)]
    bad = changed(bad, "file", np.array(numbers))
    unique = [made.row(n) for n in range(bad.num_rows)]
    for name in ("sample_id", "sha256", "phash"):
        bad = changed(bad, name, np.array([row[name] for row in unique]))
    report = validate_manifest(made.manifest(bad.to_pylist()), cut_by_hand(bad), settings)
    failed = {check.name: check for check in report.checks if not check.success}
    assert list(failed) == ["sources_known", "drift:luminance"]
    assert failed["sources_known"].offenders[0].startswith("east (")
    with pytest.raises(DataError, match=r"west: .*lie outside of"):
        require_valid(report)

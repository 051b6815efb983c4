"""The synthetic scene generator: what it promises to the rest of the platform."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadwork.data.scenes import SceneSettings, render_scene, write_scenes
from roadwork.data.scenes.camera import SOURCES, View, source_named
from roadwork.data.scenes.canvas import SHADOW_OF_WORKS, Canvas
from roadwork.data.scenes.conditions import WEATHERS, Conditions, sample_conditions
from roadwork.data.scenes.drives import Drive, frame_seed, plan_drive
from roadwork.data.scenes.scene import Frame, measure_works, render_frame, sample_scene
from roadwork.data.scenes.works import clip
from roadwork.data.scenes.writer import metadata
from roadwork.errors import ConfigError

COLUMNS = [
    "file", "label", "group_id", "source", "pair_id", "time_of_day", "weather", "environment",
    "camera", "city", "works_area", "works_height", "works_count", "planted",
]  # fmt: skip
SMALL = SceneSettings(seed=5, drives=11, frames=(1, 2), width=96, height=64)
BAD = ["corrupt", "truncated", "empty", "not_an_image", "huge"]

Rows = list[dict[str, str]]


def read(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rows]:
    root = tmp_path_factory.mktemp("scenes")
    return root, read(write_scenes(root, SMALL))


def test_same_settings_give_the_same_bytes(tmp_path: Path) -> None:
    settings = SceneSettings(seed=3, drives=2, frames=(2, 3), width=96, height=64)
    first, second = tmp_path / "first", tmp_path / "second"
    write_scenes(first, settings)
    write_scenes(second, settings)
    assert len(digests(first)) > len(BAD) + 2
    assert digests(first) == digests(second)


def test_another_seed_gives_other_pictures() -> None:
    first = render_scene(1, True, width=96, height=64)
    assert first.tobytes() != render_scene(2, True, width=96, height=64).tobytes()


def test_the_first_drives_do_not_depend_on_how_many_are_asked_for(
    small: tuple[Path, Rows], tmp_path: Path
) -> None:
    root, rows = small
    fewer = SceneSettings(seed=5, drives=6, frames=(1, 2), width=96, height=64)
    some = read(write_scenes(tmp_path, fewer))
    assert some == rows[: len(some)]
    whole = digests(root)
    for file, digest in digests(tmp_path).items():
        assert file == "scenes.csv" or whole[file] == digest


def test_progress_counts_the_drives(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    settings = SceneSettings(seed=0, drives=2, frames=(1, 1), width=64, height=48, faults=False)
    write_scenes(tmp_path, settings, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_the_table_speaks_the_agreed_words(small: tuple[Path, Rows]) -> None:
    root, rows = small
    assert (root / "scenes.csv").read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)
    assert {row["source"] for row in rows} == {"natix-like", "roadwork-like", "vistas-like"}
    for row in rows:
        assert row["label"] in {"0", "1"}
        assert row["time_of_day"] in {"", "Light", "Twilight", "Dark"}
        assert row["weather"] in {"", *WEATHERS}
        assert row["environment"] in {"", "Urban", "Suburban", "Highway", "Rural"}
        assert (root / row["file"]).is_file()
        assert row["source"] in row["file"]
        assert row["group_id"] in row["file"]


def test_every_picture_is_listed_once(small: tuple[Path, Rows]) -> None:
    root, rows = small
    files = [row["file"] for row in rows]
    assert len(set(files)) == len(files)
    assert {*files, "scenes.csv"} == set(digests(root))


def test_the_label_says_whether_works_are_visible(small: tuple[Path, Rows]) -> None:
    images = [row for row in small[1] if not row["planted"]]
    assert {row["label"] for row in images} == {"0", "1"}
    for row in images:
        visible = (float(row["works_area"]) > 0, int(row["works_height"]) > 0,
                   int(row["works_count"]) > 0)  # fmt: skip
        assert set(visible) == {row["label"] == "1"}


CELLS = ("time_of_day", "weather", "environment", "camera", "city")


def test_metadata_are_whole_or_missing_by_family(small: tuple[Path, Rows]) -> None:
    rows = [row for row in small[1] if not row["planted"]]
    for row in rows:
        known = [cell for cell in CELLS if row[cell]]
        if row["source"] == "natix-like":
            assert known in ([], list(CELLS))
        elif row["source"] == "roadwork-like":
            assert known == list(CELLS)
        else:
            assert known in (["environment", "camera"], list(CELLS[:4]))


@pytest.mark.parametrize(("source", "rate"), [("natix-like", 0.15), ("vistas-like", 0.3)])
def test_gaps_in_metadata_know_nothing_of_the_label(source: str, rate: float) -> None:
    scene = sample_scene(
        np.random.SeedSequence(3), source_named(source), (64, 48), 12.0, 24.0, 170.0
    )
    missing = [metadata(scene, np.random.default_rng(seed))["weather"] == "" for seed in range(600)]
    assert abs(np.mean(missing) - rate) < 4 * np.sqrt(rate * (1 - rate) / 600)


def test_twins_of_a_pair_are_described_alike_or_not_at_all(tmp_path: Path) -> None:
    seed = next(
        s for s in range(200)
        if (d := plan_drive(s, 0, (1, 1))).source.name == "natix-like" and d.kind == "paired"
    )  # fmt: skip
    settings = SceneSettings(seed=seed, drives=1, frames=(1, 1), width=64, height=48, faults=False)
    rows = {row["label"]: row for row in read(write_scenes(tmp_path, settings))}
    assert rows["0"]["pair_id"] == rows["1"]["pair_id"] != ""
    described = [[rows[label][cell] for cell in CELLS] for label in "01"]
    assert described[0] == described[1] or [""] * 5 in described


@pytest.mark.parametrize(
    ("name", "prior", "wanted"),
    [(s.name, s.prior, None) for s in SOURCES] + [(s.name, 0.5, 0.5) for s in SOURCES],
)
def test_planned_priors(name: str, prior: float, wanted: float | None) -> None:
    positive = total = 0
    for index in range(900):
        drive = plan_drive(1, index, (5, 12), wanted)
        if drive.source.name != name:
            continue
        for plan in drive.frames:
            for works in plan.works:
                total += 1
                positive += works and in_sight(drive, plan.travelled)
    assert abs(positive / total - prior) < 0.03


def in_sight(drive: Drive, travelled: float) -> bool:
    ahead = drive.zone_start - travelled
    return -drive.zone_reach < ahead < 125.0


def test_some_drives_hold_both_classes() -> None:
    drives = [plan_drive(0, index, (5, 12)) for index in range(60)]
    kinds = [drive.kind for drive in drives]
    assert {"works", "clear", "mixed", "paired"} == set(kinds)
    assert 0.2 < sum(kind in ("mixed", "paired") for kind in kinds) / 60 < 0.5
    for drive in drives:
        if drive.kind == "mixed" and len(drive.frames) > 3:
            assert len({in_sight(drive, plan.travelled) for plan in drive.frames}) == 2


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask and everything at most ``pixels`` rows and columns from it."""
    padded = np.pad(mask, pixels)
    rows = np.zeros_like(mask)
    for shift in range(2 * pixels + 1):
        rows |= padded[shift : shift + mask.shape[0], pixels : pixels + mask.shape[1]]
    padded = np.pad(rows, ((0, 0), (pixels, pixels)))
    both = np.zeros_like(mask)
    for shift in range(2 * pixels + 1):
        both |= padded[:, shift : shift + mask.shape[1]]
    return both


def twins(seed: int, source: str, time_of_day: str) -> tuple[Frame, Frame]:
    scene = sample_scene(
        np.random.SeedSequence(seed), source_named(source), (256, 144), 14.0, 24.0, 150.0,
        time_of_day, "Cloudy",
    )  # fmt: skip
    first, second = (
        render_frame(
            scene, 0.0, 0, works=works, rich=False, noise=frame_seed(seed, 0, 1, 2)
        )
        for works in (True, False)
    )  # fmt: skip
    return first, second


@pytest.mark.parametrize("source", ["natix-like", "roadwork-like", "vistas-like"])
@pytest.mark.parametrize("time_of_day", ["Light", "Dark"])
def test_twins_differ_at_the_works_only(source: str, time_of_day: str) -> None:
    for seed in (1, 2):
        works, clear = twins(seed, source, time_of_day)
        assert works.works_count >= 3
        assert not clear.region.any()
        change = np.abs(
            np.asarray(works.image, dtype=int) - np.asarray(clear.image, dtype=int)
        ).max(axis=2)
        # Lens blur reaches two pixels; in the dark, a warning lamp's halo reaches further.
        near = grown(works.region, 3 if time_of_day == "Light" else 56)
        assert change[~near].max(initial=0) == 0
        assert (change[works.region] > 8).mean() > 0.5
        assert works.region.mean() < 0.6


def test_exact_and_near_duplicates_are_what_they_claim(small: tuple[Path, Rows]) -> None:
    root, rows = small
    by_file = {row["file"]: row for row in rows}
    copies = [row for row in rows if "duplicate:" in row["planted"]]
    assert {row["planted"].split(":")[0] for row in copies} == {"duplicate", "near_duplicate"}
    for row in copies:
        kind, name = row["planted"].split(":")
        original = by_file[name]
        assert original["source"] != row["source"]
        assert original["group_id"] != row["group_id"]
        assert original["label"] == row["label"]
        same = (root / name).read_bytes() == (root / row["file"]).read_bytes()
        assert same == (kind == "duplicate")
        with Image.open(root / name) as first, Image.open(root / row["file"]) as second:
            grey = [
                np.asarray(im.convert("L").resize((24, 16), Image.Resampling.BOX), dtype=float)
                for im in (first, second)
            ]
        assert np.abs(grey[0] - grey[1]).mean() < 3.0


def test_the_bad_files_are_bad(small: tuple[Path, Rows]) -> None:
    root, rows = small
    bad = {row["planted"]: root / row["file"] for row in rows if row["planted"] in BAD}
    assert sorted(bad) == sorted(BAD)
    assert bad["empty"].stat().st_size == 0
    for name in ("corrupt", "truncated", "empty", "not_an_image"):
        with pytest.raises((OSError, SyntaxError)), Image.open(bad[name]) as image:
            image.load()
    assert bad["corrupt"].read_bytes()[:3] == b"\xff\xd8\xff"
    header = bad["huge"].read_bytes()
    assert int.from_bytes(header[16:20], "big") == 12000
    assert int.from_bytes(header[20:24], "big") == 9000
    assert len(header) < 200_000


def test_faults_can_be_left_out(tmp_path: Path) -> None:
    settings = SceneSettings(seed=5, drives=6, frames=(1, 1), width=64, height=48, faults=False)
    assert {row["planted"] for row in read(write_scenes(tmp_path, settings))} == {""}


def test_label_noise_flips_labels_and_nothing_else(tmp_path: Path) -> None:
    base = SceneSettings(seed=8, drives=8, frames=(2, 4), width=64, height=48, faults=False)
    noisy = SceneSettings(seed=8, drives=8, frames=(2, 4), width=64, height=48, faults=False,
                          label_noise=0.4)  # fmt: skip
    clean_rows = read(write_scenes(tmp_path / "clean", base))
    noisy_rows = read(write_scenes(tmp_path / "noisy", noisy))
    flips = 0
    for clean, noise in zip(clean_rows, noisy_rows, strict=True):
        flipped = noise["planted"] == "label_noise"
        flips += flipped
        assert int(noise["label"]) == (1 - int(clean["label"]) if flipped else int(clean["label"]))
        assert {**clean, "label": "", "planted": ""} == {**noise, "label": "", "planted": ""}
    assert 0.15 < flips / len(clean_rows) < 0.65


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seed": -1}, "seed"),
        ({"drives": 0}, "drives"),
        ({"frames": (4, 3)}, "frames"),
        ({"frames": (0, 3)}, "frames"),
        ({"width": 20}, "small"),
        ({"label_noise": 0.5}, "label_noise"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        SceneSettings(**{"seed": 0, "drives": 1, **change})


@pytest.mark.parametrize("name", ["camera", "time_of_day", "weather"])
def test_unknown_words_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="choose one of"):
        render_scene(0, True, **{name: "marble"})  # type: ignore[arg-type]


@pytest.mark.parametrize("weather", list(WEATHERS))
@pytest.mark.parametrize("time_of_day", ["Light", "Twilight", "Dark"])
def test_every_condition_can_be_drawn(weather: str, time_of_day: str) -> None:
    image = render_scene(
        4, True, camera="roadwork-like", time_of_day=time_of_day, weather=weather, width=96,
        height=64,
    )  # fmt: skip
    assert image.mode == "RGB"
    assert image.size == (96, 64)
    assert np.asarray(image).std() > 5


def test_night_is_darker_than_day() -> None:
    light, dark = (
        np.asarray(render_scene(6, False, time_of_day=time, weather="Cloudy", width=96, height=64))
        for time in ("Light", "Dark")
    )
    assert dark.mean() < 0.6 * light.mean()


VIEW = View(size=(200, 100), focal=200.0, centre=200.0, horizon=90.0, height=1.5, lateral=1.0,
            curvature=0.01)  # fmt: skip


def test_projection_by_hand() -> None:
    # x = 3 - 1 + 0.01 * 10^2 / 2 = 2.5 m; scale = 200 / 10 = 20 pixels a metre.
    assert VIEW.project(3.0, 0.5, 10.0) == pytest.approx((200.0 + 50.0, 90.0 + 20.0))
    assert VIEW.scale(10.0) == pytest.approx(20.0)


def cloudy() -> Conditions:
    return sample_conditions(np.random.default_rng(0), "Light", "Cloudy")


def test_what_is_painted_later_hides_works() -> None:
    canvas = Canvas(Image.new("RGB", (200, 100)), VIEW, cloudy(), 0.0)
    canvas.begin(7)
    canvas.polygon([(100, 100), (140, 100), (140, 140), (100, 140)], (255, 100, 0))
    alone = int((np.asarray(canvas.instances) == 7).sum())
    canvas.begin(0)
    canvas.polygon([(120, 90), (160, 90), (160, 150), (120, 150)], (90, 90, 90))
    marks = np.asarray(canvas.instances)
    assert alone == 21 * 21
    assert int((marks == 7).sum()) == 10 * 21


def test_measures_of_an_instance_map_by_hand() -> None:
    marks = np.zeros((10, 20), dtype=np.uint8)
    marks[2:8, 3:5] = 1  # 12 pixels, 6 high
    marks[5:7, 10:13] = 2  # 6 pixels, 2 high
    marks[0, 0] = 3  # one pixel is not a visible object
    marks[9, :] = SHADOW_OF_WORKS
    area, tallest, count = measure_works(marks)
    assert area == pytest.approx(19 / 200)
    assert (tallest, count) == (6, 2)


def test_stripes_are_cut_at_the_boards_edge() -> None:
    square = [(0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (0.0, 1.0)]
    left = clip(square, 0.5, -1.0)
    assert sorted(left) == [(0.0, 0.0), (0.0, 1.0), (0.5, 0.0), (0.5, 1.0)]
    assert clip(square, 3.0, 1.0) == []


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, roadwork.data.scenes as s; "
        "assert 'roadwork.data.scenes.scene' not in sys.modules; assert 'PIL' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

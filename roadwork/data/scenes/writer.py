"""Write drives as JPEG files and one ``scenes.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from roadwork.data.scenes import SceneSettings
from roadwork.data.scenes.drives import Drive, FramePlan, frame_seed, plan_drive
from roadwork.data.scenes.faults import COPIES, FAULTS
from roadwork.data.scenes.scene import (
    FARTHEST,
    LEAST_HEIGHT,
    Frame,
    Scene,
    render_frame,
    sample_scene,
)

__all__ = ["CSV_NAME", "Row", "write"]

CSV_NAME = "scenes.csv"
VISTAS_NULL_RATE = 0.3
NATIX_NULL_RATE = 0.15


@dataclass(frozen=True)
class Row:
    """One line of ``scenes.csv``; an empty string stands for NULL.

    Attributes:
        file: Path relative to the folder of the table.
        label: Recorded label, 0 or 1.
        group_id: The drive.
        source: Camera family.
        pair_id: Counterfactual pair, or empty.
        time_of_day: ``Light``, ``Twilight`` or ``Dark``, or empty.
        weather: ROADWork's words (and ``Fog``), or empty.
        environment: ``Urban``, ``Suburban``, ``Highway`` or ``Rural``, or empty.
        camera: Device name, or empty.
        city: City, or empty.
        works_area: Share of the image that shows works.
        works_height: Visible height of the tallest works object in pixels.
        works_count: Number of visible works objects.
        planted: What was done on purpose, or empty.
    """

    file: str
    label: int
    group_id: str
    source: str
    pair_id: str
    time_of_day: str
    weather: str
    environment: str
    camera: str
    city: str
    works_area: float
    works_height: int
    works_count: int
    planted: str


def render_version(drive: Drive, scene: Scene, plan: FramePlan, works: bool, seed: int) -> Frame:
    """Render one version of a frame; works too small to see are left out altogether."""
    least = max(3, round(LEAST_HEIGHT * scene.view.size[1] / 288))
    noise = frame_seed(seed, drive.index, plan.number + 1, 2)
    in_sight = drive.zone_start - plan.travelled < FARTHEST
    if works and in_sight:
        frame = render_frame(
            scene, plan.travelled, plan.number, works=True, rich=False, noise=noise
        )
        if frame.works_height >= least:
            return frame
    rich = drive.kind != "paired"
    return render_frame(scene, plan.travelled, plan.number, works=False, rich=rich, noise=noise)


def metadata(scene: Scene, rng: np.random.Generator) -> dict[str, str]:
    """Metadata cells with the gaps of each camera family, which know nothing of the label.

    In the real NATIX the gaps are the label: positives are described and negatives are not. That
    trap belongs to the format's own writer; here it would let a classifier of metadata alone win.
    """
    filled = {
        "time_of_day": scene.conditions.time_name,
        "weather": scene.conditions.weather_name,
        "environment": scene.street.environment,
        "camera": scene.camera,
        "city": scene.city,
    }
    if scene.source.name == "natix-like" and rng.random() < NATIX_NULL_RATE:
        return dict.fromkeys(filled, "")
    if scene.source.name == "vistas-like" and rng.random() < VISTAS_NULL_RATE:
        filled |= {"time_of_day": "", "weather": ""}
    return filled


def write_drive(root: Path, drive: Drive, settings: SceneSettings) -> Iterator[tuple[Row, bytes]]:
    """Render a drive's images, write them, and yield their rows with the files' bytes."""
    scene = sample_scene(
        frame_seed(settings.seed, drive.index, 0, 0),
        drive.source,
        (settings.width, settings.height),
        drive.zone_start,
        drive.zone_reach,
        drive.length,
    )
    folder = f"images/{drive.source.name}/{drive.group_id}"
    (root / folder).mkdir(parents=True, exist_ok=True)
    for plan in drive.frames:
        for version, works in enumerate(plan.works):
            frame = render_version(drive, scene, plan, works, settings.seed)
            twin = "ab"[version] if len(plan.works) > 1 else ""
            file = f"{folder}/frame-{plan.number:03d}{twin}.jpg"
            out = io.BytesIO()
            frame.image.save(out, "JPEG", quality=scene.sensor.quality)
            (root / file).write_bytes(out.getvalue())
            rng = np.random.default_rng(
                frame_seed(settings.seed, drive.index, plan.number + 1, 3 + version)
            )
            truth = int(frame.works_count > 0)
            cells = metadata(scene, rng)
            flipped = bool(rng.random() < settings.label_noise)
            yield (
                Row(
                    file=file,
                    label=1 - truth if flipped else truth,
                    group_id=drive.group_id,
                    source=drive.source.name,
                    pair_id=f"{drive.group_id}-{plan.number:03d}" if twin else "",
                    **cells,
                    works_area=round(frame.works_area, 6),
                    works_height=frame.works_height,
                    works_count=frame.works_count,
                    planted="label_noise" if flipped else "",
                ),
                out.getvalue(),
            )


def plant_faults(root: Path, first: Row, jpeg: bytes) -> list[Row]:
    """Write the unusable files beside the first image and return their rows."""
    rows: list[Row] = []
    for fault in FAULTS:
        file = str(Path(first.file).with_name(f"frame-9{len(rows):02d}{fault.suffix}"))
        (root / file).write_bytes(fault.make(jpeg))
        rows.append(
            replace(
                first,
                file=file,
                pair_id="",
                works_area=0.0,
                works_height=0,
                works_count=0,
                planted=fault.name,
            )
        )
    return rows


def plant_copies(root: Path, drive: Drive, rows: list[Row], seed: int) -> list[Row]:
    """Copy earlier images of other sources into this drive, where its number asks for it."""
    copies: list[Row] = []
    for stream, copy in enumerate(COPIES):
        if drive.index % copy.every != copy.turn:
            continue
        originals = [row for row in rows if row.source != drive.source.name and not row.planted]
        if not originals:
            continue
        rng = np.random.default_rng(frame_seed(seed, drive.index, 0, 10 + stream))
        original = originals[int(rng.integers(len(originals)))]
        file = f"images/{drive.source.name}/{drive.group_id}/frame-8{stream:02d}.jpg"
        (root / file).write_bytes(copy.make((root / original.file).read_bytes()))
        row = replace(
            original,
            file=file,
            group_id=drive.group_id,
            source=drive.source.name,
            pair_id="",
            planted=f"{copy.name}:{original.file}",
        )
        copies.append(row)
    return copies


def write(root: Path, settings: SceneSettings, progress: Callable[[int, int], None] | None) -> Path:
    """Write a data set; see ``roadwork.data.scenes.write_scenes``."""
    root.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for index in range(settings.drives):
        drive = plan_drive(settings.seed, index, settings.frames, settings.prior)
        first: tuple[Row, bytes] | None = None
        earlier = len(rows)
        for row, jpeg in write_drive(root, drive, settings):
            first = first or (row, jpeg)
            rows.append(row)
        if settings.faults:
            rows += plant_copies(root, drive, rows[:earlier], settings.seed)
            if index == 0 and first is not None:
                rows += plant_faults(root, *first)
        if progress is not None:
            progress(index + 1, settings.drives)
    path = root / CSV_NAME
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    return path

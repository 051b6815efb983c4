"""Manifest work at scale: ``python -m benchmarks.manifest --rows 10000 100000 1000000``.

Examined rows are made up, about ten to a drive and from three sources, with exact copies,
publications of the same frame and look-alikes planted; then they are fused, split and validated as
in the pipeline, and their exposure is written and checked. No image is decoded: that is the speed
of the disk and of the JPEG decoder. Every size runs in a process of its own, so that its peak
memory is its own. The last table is the check of two sets of ten million identifiers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from roadwork.data.exposure import Exposure, IdSet, Use, common, require_unexposed
from roadwork.data.fusion import fuse
from roadwork.data.fusion_report import fusion_report
from roadwork.data.manifest import SCHEMA, Manifest
from roadwork.data.splits import cut
from roadwork.data.validation import validate_manifest
from roadwork.settings import DataSettings, SplitSettings

OUT = Path("runs") / "benchmarks" / "manifest.json"
SOURCES = np.array(["one", "two", "three"])
WORDS = {
    "time_of_day": ["Light", "Twilight", "Dark"],
    "weather": ["Sunny", "Cloudy", "Rain"],
    "environment": ["Urban", "Suburban", "Highway"],
    "city": ["pittsburgh", "columbus", "boston"],
}
IDENTIFIERS = 10_000_000


def examined_rows(n: int) -> tuple[pa.Table, np.ndarray]:
    """Made-up rows as ingest gives them, and the place of every row's source."""
    rng = np.random.default_rng(0)
    drive = np.arange(n) // 10
    source = rng.integers(0, 3, n // 10 + 1)[drive]
    drive_hash = rng.integers(0, 2**64, n // 10 + 1, dtype=np.uint64)
    # Frames of a drive look alike: a few of 64 bits change from one to the next.
    flips = (np.uint64(1) << rng.integers(0, 64, (3, n), dtype=np.uint64)).sum(
        axis=0, dtype=np.uint64
    )
    phash = drive_hash[drive] ^ flips
    capture = np.array([f"v{d}/1/{i}" for i, d in enumerate(drive.tolist())], dtype=object)
    capture[rng.random(n) < 0.3] = None
    content = np.arange(n)
    planted = rng.choice(n // 2, max(3, n // 100), replace=False)
    copies = n // 2 + planted
    for kind, (old, new) in enumerate(
        zip(np.array_split(planted, 3), np.array_split(copies, 3), strict=True)
    ):
        if kind == 0:
            content[new] = old
        if kind == 1:
            capture[old] = [f"planted/1/{i}" for i in old.tolist()]
            capture[new] = capture[old]
        phash[new] = phash[old] ^ np.uint64(kind * 9)
    label = (rng.random(n) < 0.5).astype(np.int8)
    label[copies] = label[planted]
    sha256 = [hashlib.sha256(b"%d" % number).hexdigest() for number in content.tolist()]
    names = pa.array([f"drive-{d:08}" for d in drive.tolist()])
    numbers = rng.integers(0, 1000, n)
    columns: dict[str, Any] = {
        "sample_id": [text[:16] for text in sha256],
        "uri": [f"s3://bucket/photographs/{i:09}.jpg" for i in range(n)],
        "file": [f"{i:09}.jpg" for i in range(n)],
        "sha256": sha256,
        "phash": phash,
        "group_id": names,
        "drive": names,
        "source": SOURCES[source],
        "label": label,
        "width": np.full(n, 1920, np.int32),
        "height": np.full(n, 1080, np.int32),
        "bytes": numbers + 100_000,
        "luminance": (80 + numbers / 20).astype(np.float32),
        "contrast": (40 + numbers / 50).astype(np.float32),
        "saturation": (30 + numbers / 50).astype(np.float32),
        "sharpness": (20 + numbers / 50).astype(np.float32),
        "capture": capture,
    }
    for name, words in WORDS.items():
        columns[name] = np.array([*words, None], dtype=object)[rng.integers(0, 4, n)]
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(n, field.type)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA), source


def measure(n: int) -> dict[str, Any]:
    """Seconds of every part for ``n`` rows, and the peak memory in bytes."""
    seconds: dict[str, float] = {}
    processor: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start, busy = time.perf_counter(), time.process_time()
        result = work()
        seconds[name] = time.perf_counter() - start
        processor[name] = time.process_time() - busy
        return result

    settings = DataSettings()
    made = [timed("make up rows", lambda: examined_rows(n))]

    def fused() -> Manifest:
        table, order = made.pop()  # held by nobody else, so that it is gone once it is fused
        return fuse(table, settings.fusion, order)

    manifest = timed("fuse", fused)
    report = timed("fusion report", lambda: fusion_report(manifest))
    timed("content hash", lambda: manifest.content_hash)
    splits = timed("split", lambda: cut(manifest, SplitSettings(), 0))
    fused_peak = peak_memory()
    valid = timed("validate", lambda: validate_manifest(manifest, splits, settings))
    exposure = timed("exposure", lambda: Exposure.of(Use.TRAIN, splits.train))
    record = timed("write exposure", exposure.to_bytes)
    fitted = Fitted(timed("read exposure", lambda: Exposure.from_bytes(record)))
    timed("check exposure", lambda: require_unexposed(fitted, splits.test, "evaluate"))
    made_up = seconds.pop("make up rows")
    processor.pop("make up rows")
    return {
        "rows": n,
        "seconds": seconds,
        "processor_seconds": processor,
        "make_up_seconds": made_up,
        "rows_per_second": n / sum(seconds.values()),
        "peak_bytes": peak_memory(),
        "peak_bytes_before_validation": fused_peak,
        "kept": report.kept,
        "duplicates": report.duplicates_by_reason,
        "valid": valid.success,
        "exposure_bytes": len(record),
    }


class Fitted:
    """Something with an exposure."""

    title = "classifier"

    def __init__(self, exposure: Exposure) -> None:
        self.exposure = exposure


def measure_identifiers() -> dict[str, float]:
    """Two sets of ten million random identifiers, with 1000 in common."""
    rng = np.random.default_rng(0)
    none = np.zeros(0, dtype=np.uint64)
    ours = rng.integers(0, 2**64, IDENTIFIERS, dtype=np.uint64)
    theirs = rng.integers(0, 2**64, IDENTIFIERS, dtype=np.uint64)
    theirs[:1000] = ours[:1000]
    a, b = IdSet.of(ours, none), IdSet.of(theirs, none)
    exposure = Exposure({Use.TRAIN: a})
    start = time.perf_counter()
    shared = len(common(a.samples, b.samples))
    checked = time.perf_counter()
    a.union(b)
    united = time.perf_counter()
    record = exposure.to_bytes()
    written = time.perf_counter()
    Exposure.from_bytes(record)
    read = time.perf_counter()
    return {
        "identifiers": IDENTIFIERS,
        "shared": shared,
        "check_seconds": checked - start,
        "union_seconds": united - checked,
        "write_seconds": written - united,
        "read_seconds": read - written,
        "bytes": len(record),
        "bits_each": 8 * len(record) / IDENTIFIERS,
        "least_bits_each": 64 - float(np.log2(IDENTIFIERS)) + 1 / float(np.log(2)),
    }


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this benchmark reads /proc/self/status, which only Linux has")


def apart(*arguments: str) -> Any:
    """Run one measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.manifest", *arguments]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print tables, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        found = measure_identifiers() if asked.one == "identifiers" else measure(int(asked.one))
        print(json.dumps(found))
        return
    sizes = [apart("--one", str(n)) for n in asked.rows]
    print(f"{'rows':22}" + "".join(f"{size['rows']:>12,}" for size in sizes))
    for name in sizes[0]["seconds"]:
        print(f"{name + ' (s)':22}" + "".join(f"{size['seconds'][name]:12.2f}" for size in sizes))
    busy = [sum(size["processor_seconds"].values()) for size in sizes]
    print(f"{'processor, all (s)':22}" + "".join(f"{value:12.2f}" for value in busy))
    print(f"{'rows/s':22}" + "".join(f"{size['rows_per_second']:12,.0f}" for size in sizes))
    for name in ("peak_bytes_before_validation", "peak_bytes"):
        title = "peak (MiB)" if name == "peak_bytes" else "before validation"
        print(f"{title:22}" + "".join(f"{size[name] / 2**20:12,.0f}" for size in sizes))
    identifiers = apart("--one", "identifiers")
    print(
        f"two exposures of {IDENTIFIERS:,} identifiers: checked in "
        f"{identifiers['check_seconds']:.2f} s, {identifiers['bytes'] / 1e6:.1f} MB each "
        f"({identifiers['bits_each']:.2f} bits an identifier, at least "
        f"{identifiers['least_bits_each']:.2f}), written in {identifiers['write_seconds']:.2f} s, "
        f"read in {identifiers['read_seconds']:.2f} s, united in "
        f"{identifiers['union_seconds']:.2f} s"
    )
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(
        json.dumps({**machine, "sizes": sizes, "exposure": identifiers}, indent=1) + "\n"
    )
    print(f"written to {OUT}")


if __name__ == "__main__":
    main()

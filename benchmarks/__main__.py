"""Speed of the library's inner loops on this machine: ``make bench``.

Every figure is the median of repeated runs on one core. Compare figures of one machine alone;
nothing in the tests depends on them.
"""

from __future__ import annotations

import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from roadwork.data.decode import decode_image
from roadwork.data.exposure import Exposure, IdSet, Use
from roadwork.data.perceptual import near_pairs, perceptual_hash
from roadwork.data.views import make_views

OUT = Path("runs") / "benchmarks" / "library.json"


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of one call, after one call to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def photograph() -> bytes:
    """A JPEG of the size that dash cameras make."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (54, 96, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((1920, 1080), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def main() -> None:
    """Measure, print a table, and write it as JSON."""
    data = photograph()
    image = decode_image(data)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    exposure = Exposure({Use.TRAIN: IdSet.of(hashes, hashes[:5000])})
    record = exposure.to_bytes()
    cases: dict[str, tuple[Callable[[], object], int]] = {
        "decode a 1920 x 1080 JPEG": (lambda: decode_image(data), 20),
        "perceptual hash of it": (lambda: perceptual_hash(image), 20),
        "ten views of 224 pixels": (lambda: make_views(image, 224, 9), 20),
        "near-duplicates among 100 000 hashes": (lambda: near_pairs(hashes, 4), 3),
        "write the exposure of 100 000 images": (exposure.to_bytes, 5),
        "read it": (lambda: Exposure.from_bytes(record), 5),
    }
    results = {name: seconds(work, repeats) for name, (work, repeats) in cases.items()}
    for name, value in results.items():
        print(f"{name:40} {value * 1e3:10.2f} ms")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    OUT.write_text(json.dumps({**machine, "seconds": results}, indent=1) + "\n")
    print(f"written to {OUT}")


if __name__ == "__main__":
    main()

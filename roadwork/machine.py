"""The machine and the packages that a result was made with, as plain words by name."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

from roadwork import __version__

__all__ = ["PACKAGES", "describe_machine"]

PACKAGES: tuple[str, ...] = (
    "lightning",
    "numpy",
    "peft",
    "pillow",
    "scipy",
    "timm",
    "torch",
)
"""Packages whose versions a training's result may depend on."""


def describe_machine() -> dict[str, str]:
    """System, processor, cores, GPUs, memory, Python and :data:`PACKAGES`; nothing personal.

    Neither names of hosts and users nor paths are in it. What cannot be told is ``unknown``, a
    package that is not there ``none``.
    """
    found = {
        "roadwork": __version__,
        "python": platform.python_version(),
        "os": platform.platform(),
        "cpu": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "gpu": _gpus(),
        "memory_gib": _memory(),
    }
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def _cpu() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return match.group(1).strip() if match else platform.machine() or "unknown"


def _memory() -> str:
    match = re.search(r"^MemTotal:\s*(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE)
    return f"{int(match.group(1)) / 2**20:.1f}" if match else "unknown"


def _gpus() -> str:
    """Models of the GPUs: of those that CUDA offers, where torch is loaded already."""
    torch = sys.modules.get("torch")
    if torch is not None:
        count = torch.cuda.device_count()
        names = [torch.cuda.get_device_name(number) for number in range(count)]
    else:
        cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        found = (re.search(r"^Model:\s*(.+)$", _read(card), re.MULTILINE) for card in cards)
        names = [match.group(1).strip() for match in found if match]
    return ", ".join(f"{names.count(name)} x {name}" for name in sorted(set(names))) or "none"


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

"""Check of a Mapillary Vistas folder, which users download by hand after signing in.

The images themselves are examined by ingest; this only tells an incomplete or wrongly placed
download before anything long begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["STEPS", "VistasFolder", "check_vistas"]

STEPS = """\
Mapillary Vistas cannot be fetched by a program: its publisher asks every user to sign in and to
accept the terms. By hand:
  1. sign in at https://www.mapillary.com/dataset/vistas and accept the research licence;
  2. download Mapillary Vistas v2.0 (v1.2 has no class for roadwork and is of no use here);
  3. unpack it, so that the folder has:
       config_v2.0.json
       training/images/*.jpg    training/v2.0/labels/*.png    training/v2.0/instances/*.png
       validation/images/*.jpg  validation/v2.0/labels/*.png  validation/v2.0/instances/*.png
  4. run `roadwork data fetch mapillary --to FOLDER` again: it checks the folder."""

_PUBLISHED = {"training": 18_000, "validation": 2_000}


@dataclass(frozen=True)
class VistasFolder:
    """What a folder holds.

    Attributes:
        images: number of images by part.
        complaints: what is missing or wrong, each a sentence; empty where the folder can be used.
        remarks: what is unusual but usable.
    """

    images: dict[str, int]
    complaints: tuple[str, ...]
    remarks: tuple[str, ...]


def check_vistas(folder: Path) -> VistasFolder:
    """Look whether a folder is a whole Mapillary Vistas v2.0; only names are read, no pictures."""
    complaints: list[str] = []
    remarks: list[str] = []
    images: dict[str, int] = {}
    if not (folder / "config_v2.0.json").is_file():
        old = " (config_v1.2.json is there: v1.2 alone will not do)"
        has_old = (folder / "config_v1.2.json").is_file()
        complaints.append(f"config_v2.0.json is missing in {folder}{old if has_old else ''}")
    for part, published in _PUBLISHED.items():
        pictures = _stems(folder / part / "images", ".jpg")
        images[part] = len(pictures)
        if not pictures:
            complaints.append(f"{part}/images has no .jpg")
            continue
        for kind in ("labels", "instances"):
            missing = sorted(pictures - _stems(folder / part / "v2.0" / kind, ".png"))
            if missing:
                named = ", ".join(f"{name}.png" for name in missing[:3])
                complaints.append(
                    f"{part}/v2.0/{kind} lacks {len(missing)} of {len(pictures)} pictures "
                    f"({named}{', …' if len(missing) > 3 else ''})"
                )
        if len(pictures) != published:
            remarks.append(f"{part} has {len(pictures)} images; {published} were published")
    return VistasFolder(images, tuple(complaints), tuple(remarks))


def _stems(folder: Path, suffix: str) -> set[str]:
    if not folder.is_dir():
        return set()
    return {path.stem for path in folder.iterdir() if path.suffix.lower() == suffix}

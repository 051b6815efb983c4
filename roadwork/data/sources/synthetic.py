"""Source: generated street scenes, written once per setting and then read like any folder."""

from __future__ import annotations

import csv
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from roadwork.data.manifest import SLICES
from roadwork.data.sources.rows import SourceRow, parse_label
from roadwork.data.sources.works_size import works_size
from roadwork.progress import progress
from roadwork.settings import SyntheticSource

__all__ = ["Synthetic"]

_HEIGHT = 288  # of every generated picture, in pixels


class Synthetic:
    """Scenes in a folder named after their settings; a half-written folder is never used."""

    def __init__(self, settings: SyntheticSource, seed: int, folder: Path) -> None:
        """Nothing is written before :meth:`rows` is asked for."""
        self.settings = settings
        self.seed = seed
        self.folder = folder / f"synthetic-{self.fingerprint()[:16]}"

    def fingerprint(self) -> str:
        """Hash of the settings, the seed and the generator's own code."""
        digest = hashlib.sha256(f"{self.seed}:{self.settings.model_dump_json()}".encode())
        for path in sorted((Path(__file__).parents[1] / "scenes").glob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def rows(self) -> Iterator[SourceRow]:
        """Write the scenes if they are not there, then give every row of their CSV."""
        self._write()
        with (self.folder / "scenes.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                slices = {name: row.get(name) or None for name in SLICES}
                if row["label"] == "1":
                    slices["works_size"] = works_size(float(row["works_height"] or 0) / _HEIGHT)
                yield SourceRow(
                    uri=str((self.folder / row["file"]).resolve()),
                    file=row["file"],
                    label=parse_label(row["label"]),
                    group=row["group_id"],
                    source=row["source"],
                    slices=slices,
                )

    def _write(self) -> None:
        if (self.folder / "scenes.csv").exists():
            return
        from roadwork.data.scenes import SceneSettings, write_scenes

        wanted = self.settings
        scenes = SceneSettings(
            seed=self.seed,
            drives=wanted.drives,
            frames=(wanted.min_frames, wanted.max_frames),
            faults=wanted.faults,
            label_noise=wanted.label_noise,
            prior=wanted.prior,
        )
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # Every process draws into a folder of its own and the first to finish renames it; one that
        # is killed leaves its folder behind, which nobody reads.
        with tempfile.TemporaryDirectory(
            prefix=f".{self.folder.name}.", suffix=".partial", dir=self.folder.parent
        ) as made:
            partial = Path(made, "scenes")
            partial.mkdir()
            with progress("Drawing scenes") as update:
                write_scenes(partial, scenes, progress=update)
            try:
                partial.rename(self.folder)
            except OSError:
                # Another process was first: equal settings give equal scenes, so take its folder.
                if not (self.folder / "scenes.csv").is_file():
                    raise

"""Base of materializers for objects that save themselves into a folder."""

from __future__ import annotations

import hashlib
import json
import posixpath
import shutil
from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from roadwork.errors import DataError

__all__ = ["FolderMaterializer"]

_INDEX = "index.json"
_CONTENT = "content"


class FolderMaterializer(BaseMaterializer):
    """Stores an object that has ``save(folder)``, ``load(folder)`` and ``content_hash``.

    The folder's files are copied to and from any artifact store, local or remote. An index of
    their SHA-256 is kept beside them, so that a file that was lost or changed is noticed before
    it is parsed. The object's own content hash goes into ZenML's cache keys: equal results of
    different runs count as equal inputs.
    """

    SKIP_REGISTRATION: ClassVar[bool] = True
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = ()

    KEEPS_FOLDER: ClassVar[bool] = False
    """Whether a loaded object goes on reading its folder, which then lives as long as the step."""

    def save(self, data: Any) -> None:
        """Write the object's files, then their index."""
        with self.get_temporary_directory(delete_at_exit=True) as temporary:
            folder = Path(temporary)
            data.save(folder)
            index = {}
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    name = path.relative_to(folder).as_posix()
                    index[name] = _sha256(path)
                    self._upload(path, name)
            with self.artifact_store.open(self._at(_INDEX), "w") as file:
                file.write(json.dumps(index, indent=1, sort_keys=True))

    def load(self, data_type: type[Any]) -> Any:
        """Fetch the files, check them against the index, and read the object.

        Raises:
            DataError: a file of the artifact is missing or was changed.
        """
        with self.get_temporary_directory(delete_at_exit=not self.KEEPS_FOLDER) as temporary:
            folder = Path(temporary)
            self._download(folder)
            return data_type.load(folder)

    def compute_content_hash(self, data: Any) -> str | None:
        """The object's own hash."""
        return data.content_hash

    def extract_metadata(self, data: Any) -> dict[str, Any]:
        """The content hash; subclasses add figures worth seeing in the dashboard."""
        return {"content_hash": data.content_hash, **self.describe(data)}

    def describe(self, data: Any) -> dict[str, Any]:
        """Figures of the object for the dashboard: numbers, texts, or flat mappings of them."""
        return {}

    def save_visualizations(self, data: Any) -> dict[str, VisualizationType]:
        """What :meth:`describe` says, as JSON."""
        shown = self.describe(data)
        return self.visualize({"summary.json": json.dumps(shown, indent=1)}) if shown else {}

    def visualize(self, pages: dict[str, str]) -> dict[str, VisualizationType]:
        """Write texts beside the artifact; the suffix of each name says how it is shown."""
        kinds = {".html": VisualizationType.HTML, ".json": VisualizationType.JSON}
        written = {}
        for name, text in pages.items():
            with self.artifact_store.open(self._at(name), "w") as file:
                file.write(text)
            written[self._at(name)] = kinds[Path(name).suffix]
        return written

    def _at(self, *parts: str) -> str:
        return posixpath.join(self.uri, *parts)

    def _upload(self, path: Path, name: str) -> None:
        target = self._at(_CONTENT, name)
        self.artifact_store.makedirs(posixpath.dirname(target))
        with path.open("rb") as source, self.artifact_store.open(target, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    def _download(self, folder: Path) -> None:
        try:
            with self.artifact_store.open(self._at(_INDEX), "r") as file:
                index: dict[str, str] = json.loads(file.read())
        except (FileNotFoundError, ValueError):
            raise self._damaged(_INDEX) from None
        for name, expected in index.items():
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise self._damaged(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with (
                    self.artifact_store.open(self._at(_CONTENT, name), "rb") as source,
                    target.open("wb") as file,
                ):
                    shutil.copyfileobj(source, file, 1 << 20)
            except FileNotFoundError:
                raise self._damaged(name) from None
            if _sha256(target) != expected:
                raise self._damaged(name)

    def _damaged(self, name: str) -> DataError:
        return DataError(
            f"the stored artifact {self.uri} is damaged: {name} is missing or was changed. Run the "
            "pipeline again without cache: zenml pipeline run training_pipeline with "
            "enable_cache: false in its --config"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

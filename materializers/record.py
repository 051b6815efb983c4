"""Base of materializers for pydantic records: one JSON file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

from materializers.folder import FolderMaterializer

__all__ = ["RecordMaterializer"]

_FILE = "record.json"


class _Record:
    """A pydantic model with the ways of an object that saves itself into a folder."""

    def __init__(self, model: Any) -> None:
        self.text = model.model_dump_json(indent=1)

    @property
    def content_hash(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def save(self, folder: Path) -> None:
        (folder / _FILE).write_text(self.text, encoding="utf-8")


class RecordMaterializer(FolderMaterializer):
    """Stores a pydantic model as JSON; equal JSON is equal content."""

    SKIP_REGISTRATION: ClassVar[bool] = True

    def save(self, data: Any) -> None:
        """Write the JSON."""
        super().save(_Record(data))

    def load(self, data_type: type[Any]) -> Any:
        """Read and check the JSON.

        Raises:
            DataError: the file is missing or was changed.
        """
        with self.get_temporary_directory(delete_at_exit=True) as temporary:
            folder = Path(temporary)
            self._download(folder)
            return data_type.model_validate_json((folder / _FILE).read_text(encoding="utf-8"))

    def compute_content_hash(self, data: Any) -> str | None:
        """SHA-256 of the JSON."""
        return _Record(data).content_hash

    def extract_metadata(self, data: Any) -> dict[str, Any]:
        """The content hash and the figures of :meth:`describe`."""
        return {"content_hash": _Record(data).content_hash, **self.describe(data)}

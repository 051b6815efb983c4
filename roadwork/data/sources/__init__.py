"""Sources: one file each, giving rows that ingest turns into the manifest."""

from __future__ import annotations

from roadwork.data.sources.base import Source, SourceRow, open_source

__all__ = ["Source", "SourceRow", "open_source"]

"""Sources: one file each, giving rows that ingest turns into the manifest."""

from __future__ import annotations

from roadwork.data.sources.base import Source, SourceRow, fingerprint_of, open_sources

__all__ = ["Source", "SourceRow", "fingerprint_of", "open_sources"]

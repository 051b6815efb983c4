"""Ingest: rows of the sources, checked image by image, become the manifest.

Rows stream: a few thousand at a time are decoded and hashed in threads and become one Arrow record
batch, so that memory is that of the finished table. Nothing is dropped in silence: an unusable file
and a row that its source does not offer are listed in the quarantine with the reason, and what
:mod:`roadwork.data.fusion` sets aside is listed among the duplicates.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from roadwork.data.decode import Refusal, UnreadableImage, decode_image
from roadwork.data.fusion import Embed, fuse
from roadwork.data.manifest import QUARANTINE, SCHEMA, SLICES, Manifest
from roadwork.data.perceptual import perceptual_hash
from roadwork.data.sources.rows import SourceRow, Verdict
from roadwork.data.statistics import image_statistics
from roadwork.data.storage import read_bytes
from roadwork.errors import ConfigError, DataError
from roadwork.progress import progress
from roadwork.settings.data import DataSettings

__all__ = ["ingest"]

logger = logging.getLogger(__name__)

_CHUNK = 4096  # rows of a record batch
_EXAMPLES = 3  # unusable files that a message names


class RowSource(Protocol):
    """What ingest needs of a source."""

    def rows(self) -> Iterator[SourceRow]:
        """Every photograph, unreadable ones included."""
        ...


def ingest(
    sources: Sequence[RowSource], settings: DataSettings, embed: Embed | None = None
) -> Manifest:
    """Decode, hash and group every row of every source.

    The result does not depend on the number of workers, nor on the order in which a source gives
    its rows.

    Args:
        sources: in the order of ``data.sources``: of two copies, that of the earlier one is kept.
        settings: what is tolerated and how copies are found.
        embed: gives embeddings, for ``data.fusion.embedding_cosine``.

    Raises:
        ConfigError: ``data.fusion.embedding_cosine`` is set and there is no ``embed``.
        DataError: no usable image; a larger share of unusable ones than the settings allow; or,
            with ``on_bad_row: raise``, the first unusable one.
    """
    if settings.fusion.embedding_cosine is not None and embed is None:
        raise ConfigError(
            "data.fusion.embedding_cosine needs embeddings of the images, and nothing was given "
            "that computes them: set it to null, or call ingest with embed"
        )
    usable: list[pa.RecordBatch] = []
    refused: list[pa.RecordBatch] = []
    order: list[int] = []
    for batch in _examined(sources, settings):
        if settings.on_bad_row == "raise":
            _refuse_faults(batch.refused)
        usable.append(pa.RecordBatch.from_pylist(batch.usable, schema=SCHEMA))
        refused.append(pa.RecordBatch.from_pylist(batch.refused, schema=QUARANTINE))
        order += batch.order
    if not usable:
        raise DataError("the sources give no images: check data.sources")
    examined = pa.Table.from_batches(usable, schema=SCHEMA)
    manifest = fuse(examined, settings.fusion, np.array(order, dtype=np.int64), embed)
    quarantine = pa.concat_tables([pa.Table.from_batches(refused), manifest.quarantine])
    quarantine = quarantine.sort_by([(name, "ascending") for name in ("file", "source", "reason")])
    _check_share(quarantine, sum(len(batch) for batch in (*usable, *refused)), settings)
    logger.info(
        "%d images in %d groups; %d copies left out; %d in quarantine",
        len(manifest),
        len(manifest.table.column("group_id").unique()),
        manifest.duplicates.num_rows,
        quarantine.num_rows,
    )
    return Manifest(manifest.table.combine_chunks(), quarantine, manifest.duplicates)


@dataclass(frozen=True)
class _Batch:
    """Examined rows: the manifest's, the quarantine's, and the places of the formers' sources."""

    usable: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    order: list[int]


def _examined(sources: Sequence[RowSource], settings: DataSettings) -> Iterator[_Batch]:
    """All rows in batches; while one is taken up, the next is being examined."""
    listed = ((place, row) for place, source in enumerate(sources) for row in source.rows())
    waiting: deque[tuple[list[tuple[int, SourceRow]], Iterable[Any]]] = deque()
    known = done = 0
    with (
        ThreadPoolExecutor(max(1, settings.workers)) as pool,
        progress("Reading images") as update,
    ):
        try:
            while True:
                chunk = list(islice(listed, _CHUNK))
                known += len(chunk)
                if chunk:
                    results = pool.map(lambda item: _examine(item[1], settings), chunk)
                    waiting.append((chunk, results))
                if len(waiting) > 1 or (waiting and not chunk):
                    batch = _Batch([], [], [])
                    for (place, row), result in zip(*waiting.popleft(), strict=True):
                        if isinstance(result, Verdict):
                            batch.refused.append(_refusal(row, result))
                        else:
                            batch.usable.append(result)
                            batch.order.append(place)
                        done += 1
                        update(done, known)
                    yield batch
                elif not chunk:
                    return
        finally:
            # If the first bad row ends it, the images behind it need not be read.
            pool.shutdown(wait=True, cancel_futures=True)


def _examine(row: SourceRow, settings: DataSettings) -> dict[str, Any] | Verdict:
    """The manifest's row, or why there is none."""
    if row.verdict is not None:
        return row.verdict
    if row.label is None:
        return Verdict("no_label", "the source gives no known label for it")
    if not row.group:
        return Verdict("no_group", "the source gives no group for it")
    try:
        data = read_bytes(row.uri)
        image = decode_image(data, settings.max_megapixels)
    except OSError as error:
        return Verdict(Refusal.MISSING.value, f"cannot be read: {error.strerror or error}")
    except UnreadableImage as refusal:
        return Verdict(refusal.reason.value, refusal.detail)
    except DataError as error:
        return Verdict("damaged_container", str(error))
    sha256 = hashlib.sha256(data).hexdigest()
    return {
        "sample_id": sha256[:16],
        "uri": row.uri,
        "file": row.file,
        "sha256": sha256,
        "phash": perceptual_hash(image),
        "group_id": row.group,
        "drive": row.group,
        "source": row.source,
        "label": row.label,
        "width": image.width,
        "height": image.height,
        "bytes": len(data),
        "capture": row.capture,
        **asdict(image_statistics(image)),
        **{name: row.slices.get(name) for name in SLICES},
    }


def _refusal(row: SourceRow, verdict: Verdict) -> dict[str, Any]:
    return {"file": row.file, "source": row.source, **asdict(verdict)}


def _refuse_faults(refused: list[dict[str, Any]]) -> None:
    for row in refused:
        if row["fault"]:
            raise DataError(
                f"{row['file']} of the source {row['source']} cannot be used ({row['reason']}): "
                f"{row['detail']}. Repair or remove it, or set data.on_bad_row to quarantine to "
                "list such rows and go on."
            )


def _check_share(quarantine: pa.Table, total: int, settings: DataSettings) -> None:
    faults = quarantine.filter(quarantine.column("fault"))
    if quarantine.num_rows < total and faults.num_rows <= settings.max_quarantine_share * total:
        return
    listed = faults if faults.num_rows else quarantine
    reasons = ", ".join(
        f"{count} {reason}"
        for reason, count in Counter(listed.column("reason").to_pylist()).most_common()
    )
    examples = "; ".join(
        f"{row['file']}: {row['detail']}" for row in listed.slice(0, _EXAMPLES).to_pylist()
    )
    if quarantine.num_rows == total:
        raise DataError(
            f"{total} of {total} images cannot be used ({reasons}): nothing is left. For example "
            f"{examples}."
        )
    raise DataError(
        f"{faults.num_rows} of {total} images cannot be used ({reasons}), more than the share of "
        f"{settings.max_quarantine_share:.1%} that data.max_quarantine_share allows. For example "
        f"{examples}. Repair or remove them, or raise the limit."
    )

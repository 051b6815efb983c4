"""Checks of a manifest's rows that Great Expectations lacks, as functions of a pandas frame.

Each takes the frame of all rows with their ``role`` and gives how many offend and the first of
them by name. They state what makes an evaluation honest: nothing is in two sets, nothing looks like
something in another set, every set has every class, and sources are what they were said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roadwork.data.drift import LEVEL, QUESTIONS, Deviation, SourceRows, suspicion
from roadwork.data.perceptual import near_pairs
from roadwork.data.profile import DataProfile, SourceProfile
from roadwork.data.statistics import STATISTICS

__all__ = ["CHECKS", "MOST_NAMED", "Offenders"]

MOST_NAMED = 20


@dataclass(frozen=True)
class Offenders:
    """How many offend, and the first of them (at most 20) by name."""

    count: int
    named: tuple[str, ...]

    @classmethod
    def of(cls, named: Sequence[str], count: int | None = None) -> Offenders:
        """Offenders from names; ``count`` where not all of them were written out."""
        return cls(len(named) if count is None else count, tuple(named[:MOST_NAMED]))


def key_in_two_sets(frame: Any, key: str) -> Offenders:
    """Values of a column that occur in more than one set, with a row of each set; NULL is none."""
    first = frame[[key, "role", "file"]].dropna(subset=[key]).drop_duplicates([key, "role"])
    shared = first[first.duplicated(key, keep=False)].sort_values([key, "role"])
    keys = shared[key].drop_duplicates()
    named = []
    for value in keys.head(MOST_NAMED):
        rows = shared[shared[key] == value]
        where = zip(rows["role"], rows["file"], strict=True)
        named.append(f"{value} ({'; '.join(f'{one}: {file}' for one, file in where)})")
    return Offenders.of(named, len(keys))


def near_duplicates_in_two_sets(frame: Any, distance: int) -> Offenders:
    """Pairs of rows in different sets whose perceptual hashes nearly agree."""
    hashes = frame["phash"].to_numpy(dtype=np.uint64)
    roles, codes = np.unique(frame["role"].to_numpy(dtype=str), return_inverse=True)
    pairs = near_pairs(hashes, distance, apart=codes)
    files = frame["file"]
    named = [
        f"{files.iloc[i]} ({roles[codes[i]]}) and {files.iloc[j]} ({roles[codes[j]]}): "
        f"{int(np.bitwise_count(hashes[i] ^ hashes[j]))} of 64 bits differ"
        for i, j in pairs[:MOST_NAMED].tolist()
    ]
    return Offenders.of(named, len(pairs))


def classes_missing(frame: Any, classes: Sequence[int], sets: Sequence[str]) -> Offenders:
    """Classes that a set lacks."""
    have = set(frame[["role", "label"]].drop_duplicates().itertuples(index=False, name=None))
    return Offenders.of(
        [
            f"{role} has no image of class {value}"
            for role in sets
            for value in classes
            if (role, value) not in have
        ]
    )


def held_out_elsewhere(frame: Any, sources: Sequence[str]) -> Offenders:
    """Rows of held-out sources that are in another set than the test set."""
    strays = frame[frame["source"].isin(list(sources)) & (frame["role"] != "test")]
    return _rows(strays, "role", "source")


def words_unknown(
    frame: Any, column: str, words: Sequence[str], sources: Sequence[str], separator: str | None
) -> Offenders:
    """Rows whose word is not in the vocabulary that their source speaks; NULL is allowed.

    With a separator, every part of a joined text must be a word.
    """
    told = frame[column].dropna()
    allowed = set(words)
    wrong = [
        text
        for text in told.unique()
        if not set(text.split(separator) if separator else [text]) <= allowed
    ]
    strays = frame[frame[column].isin(wrong) & frame["source"].isin(list(sources))]
    return _rows(strays, column)


def words_in_two_spellings(frame: Any, columns: Sequence[str]) -> Offenders:
    """Words of one column that differ in case or blanks alone: they would split a slice."""
    named = []
    for column in columns:
        spellings: dict[str, list[str]] = {}
        for text in sorted(frame[column].dropna().unique()):
            spellings.setdefault(" ".join(text.split()).casefold(), []).append(text)
        named += [
            f"{column}: {' and '.join(map(repr, found))}"
            for found in spellings.values()
            if len(found) > 1
        ]
    return Offenders.of(named)


def too_many_pixels(frame: Any, most: float) -> Offenders:
    """Rows of images with more than ``most`` megapixels."""
    pixels = frame["width"].to_numpy(np.float64) * frame["height"].to_numpy(np.float64)
    return _rows(frame[pixels > most * 1e6], "width", "height")


def works_in_negatives(frame: Any) -> Offenders:
    """Rows labelled as free of works that nevertheless tell the size of works."""
    return _rows(frame[frame["works_size"].notna() & (frame["label"] == 0)], "works_size")


def source_unlike_expected(frame: Any, expected: Mapping[str, Mapping[str, Any]]) -> Offenders:
    """Sources with too few images, or with a share of roadwork outside of its bounds.

    For a wrong share, rows of the label that is too frequent follow: those first whose drive says
    otherwise.
    """
    named, count = [], 0
    for name, bounds in expected.items():
        rows = frame[frame["source"] == name]
        if len(rows) < max(1, bounds["min_images"]):
            named.append(f"{name} has {len(rows)} images, expected {bounds['min_images']} or more")
            count += 1
        if not len(rows):
            continue
        prior = float((rows["label"] > 0).mean())
        if bounds["min_prior"] <= prior <= bounds["max_prior"]:
            continue
        over = (rows["label"] > 0) == (prior > bounds["max_prior"])
        odd = suspicion(rows["label"].to_numpy(), _codes(rows["drive"]))
        order = np.argsort(odd, kind="stable")
        order = order[over.to_numpy()[order]]
        named.append(
            f"{name}: {100 * prior:.1f} % of its images show roadwork, expected "
            f"{100 * bounds['min_prior']:g} to {100 * bounds['max_prior']:g} %"
        )
        named += _names(rows, order, None)
        count += len(order)
    return Offenders.of(named, count)


def sources_unknown(frame: Any, reference: str) -> Offenders:
    """Sources that the reference profile does not know."""
    known = DataProfile.model_validate_json(reference).sources
    found = frame["source"].value_counts().sort_index()
    return Offenders.of([f"{n} ({c} images)" for n, c in found.items() if n not in known])


def drifted(frame: Any, question: str, profile: str, reference: str) -> Offenders:
    """Sources that differ from the reference profile, each with the rows that account for it."""
    known = DataProfile.model_validate_json(reference).sources
    found = DataProfile.model_validate_json(profile).sources
    shared = [name for name in found if name in known]
    asked = QUESTIONS[question]
    level = LEVEL / max(1, len(shared) * len(QUESTIONS))
    answers: list[tuple[str, Any, Deviation]] = []
    for name in shared:
        rows = frame[frame["source"] == name]
        arrays = _source_rows(rows, found[name])
        answer = asked.ask(known[name], arrays, asked.statistic or "", level)
        if answer.differs:
            answers.append((name, rows, answer))
    named: list[str] = []
    most = max(3, MOST_NAMED // max(1, len(answers)) - 1)
    for name, rows, answer in answers:
        named.append(f"{name}: {answer.words} (p = {answer.p_value:.1g})")
        named += _names(rows, answer.rows[:most], asked.statistic)
    return Offenders.of(named, sum(max(1, len(answer.rows)) for _, _, answer in answers))


CHECKS: Mapping[str, Callable[..., Offenders]] = {
    check.__name__: check
    for check in (
        key_in_two_sets,
        near_duplicates_in_two_sets,
        classes_missing,
        held_out_elsewhere,
        words_unknown,
        words_in_two_spellings,
        too_many_pixels,
        works_in_negatives,
        source_unlike_expected,
        sources_unknown,
        drifted,
    )
}
"""Every check by its name; parameters are JSON values."""


def _rows(frame: Any, *columns: str) -> Offenders:
    shown = frame.head(MOST_NAMED)
    values = zip(*(shown[name] for name in ("file", *columns)), strict=True)
    named = [f"{file} ({', '.join(map(str, rest))})" for file, *rest in values]
    return Offenders.of(named, len(frame))


def _names(rows: Any, order: Any, statistic: str | None) -> list[str]:
    shown = rows.iloc[order[:MOST_NAMED]]
    if statistic is None:
        pairs = zip(shown["file"], shown["label"], strict=True)
        return [f"{file} (label {label})" for file, label in pairs]
    pairs = zip(shown["file"], shown[statistic], strict=True)
    return [f"{file} ({statistic} {value:.1f})" for file, value in pairs]


def _source_rows(rows: Any, profile: SourceProfile) -> SourceRows:
    return SourceRows(
        labels=rows["label"].to_numpy(dtype=np.int64),
        groups=_codes(rows["group_id"]),
        drives=_codes(rows["drive"]),
        profile=profile,
        statistics={name: rows[name].to_numpy(dtype=np.float64) for name in STATISTICS},
    )


def _codes(column: Any) -> Any:
    """Numbers 0, 1, … of the distinct texts, (N,)."""
    return column.factorize()[0].astype(np.int64)

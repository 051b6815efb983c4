"""The checks that a validation carries out, in order. Importing it imports Great Expectations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from great_expectations import expectations as gxe

from roadwork import CLASSES
from roadwork.data.drift import QUESTIONS
from roadwork.data.expectations import ExpectNoOffenders
from roadwork.data.manifest import SCHEMA, SLICES, Role, Split
from roadwork.data.profile import DataProfile
from roadwork.data.scenes.camera import SOURCES as SCENE_SOURCES
from roadwork.data.vocabulary import VOCABULARY, WORD_SEPARATOR
from roadwork.settings import DataSettings

__all__ = ["Frame", "PlannedCheck", "Section", "plan_checks"]

_NEARLY_ALL = 0.995


class Section(StrEnum):
    """Part of the report that a check belongs to."""

    SCHEMA = "schema"
    VOCABULARY = "vocabulary"
    RANGES = "ranges"
    LEAKAGE = "leakage"
    SOURCES = "sources"


class Frame(StrEnum):
    """Table that a check reads: all rows, the columns' types, or the copies that were left out."""

    ROWS = "rows"
    TYPES = "types"
    COPIES = "copies"


@dataclass(frozen=True)
class PlannedCheck:
    """An expectation with its name for programs and its title for people.

    Attributes:
        name: stable identifier.
        title: what is expected, as a sentence.
        expectation: of Great Expectations, or of ours.
        section: part of the report.
        frame: table that it reads.
    """

    name: str
    title: str
    expectation: Any
    section: Section
    frame: Frame = Frame.ROWS

    @property
    def leak(self) -> bool:
        """Whether a failure means that an evaluation would be dishonest."""
        return self.section is Section.LEAKAGE


def plan_checks(
    rows: int,
    settings: DataSettings,
    held_out: Sequence[str] = (),
    profile: DataProfile | None = None,
    reference: DataProfile | None = None,
    roles: Sequence[Role] = tuple(Role),
) -> list[PlannedCheck]:
    """Every check of a manifest, in the order of the report.

    Args:
        rows: photographs of the manifest.
        settings: of the data.
        held_out: sources that may be in the test set alone.
        profile: of the manifest; needed where there is a reference.
        reference: profile that the sources must match, if there is one.
        roles: of the sets that were cut.
    """
    return [
        *_schema(rows),
        *_vocabulary(settings),
        *_ranges(settings),
        *_leakage(settings, held_out),
        *_sources(settings, profile, reference, roles),
    ]


def _ours(check: str, **parameters: Any) -> ExpectNoOffenders:
    return ExpectNoOffenders(check=check, parameters=parameters)


def _schema(rows: int) -> Iterator[PlannedCheck]:
    names = [*SCHEMA.names, "role", "split"]
    yield PlannedCheck(
        "columns",
        "The table has the columns of the manifest",
        gxe.ExpectTableColumnsToMatchSet(column_set=names, exact_match=True),
        Section.SCHEMA,
    )
    yield PlannedCheck(
        "types",
        "Every column has its type",
        gxe.ExpectColumnPairValuesToBeEqual(
            column_A="expected", column_B="found", ignore_row_if="neither"
        ),
        Section.SCHEMA,
        Frame.TYPES,
    )
    yield PlannedCheck(
        "row_count",
        "The sets together have as many rows as the manifest",
        gxe.ExpectTableRowCountToEqual(value=rows),
        Section.SCHEMA,
    )
    for field in SCHEMA:
        if not field.nullable:
            yield PlannedCheck(
                f"not_null:{field.name}",
                f"Every row has a {field.name}",
                gxe.ExpectColumnValuesToNotBeNull(column=field.name),
                Section.SCHEMA,
            )
    yield PlannedCheck(
        "sha256_form",
        "Every sha256 is 64 hexadecimal digits",
        gxe.ExpectColumnValuesToMatchRegex(column="sha256", regex="^[0-9a-f]{64}$"),
        Section.SCHEMA,
    )


def _vocabulary(settings: DataSettings) -> Iterator[PlannedCheck]:
    yield PlannedCheck(
        "label_known",
        f"Every label is one of {', '.join(CLASSES)}",
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(range(len(CLASSES)))),
        Section.VOCABULARY,
    )
    yield PlannedCheck(
        "role_known",
        "Every set is one of the five",
        gxe.ExpectColumnValuesToBeInSet(column="role", value_set=[str(r) for r in Role]),
        Section.VOCABULARY,
    )
    yield PlannedCheck(
        "split_known",
        "Every split is one of the four",
        gxe.ExpectColumnValuesToBeInSet(column="split", value_set=[str(s) for s in Split]),
        Section.VOCABULARY,
    )
    speakers = sorted(_speakers(settings))
    for column, words in VOCABULARY.items():
        joined = column == "weather"
        yield PlannedCheck(
            f"words:{column}",
            f"Every {column} is {'made of ' if joined else ''}one of {', '.join(words)}, or NULL",
            _ours(
                "words_unknown",
                column=column,
                words=list(words),
                sources=speakers,
                separator=WORD_SEPARATOR if joined else None,
            ),
            Section.VOCABULARY,
        )
    yield PlannedCheck(
        "one_spelling",
        "No word of a slice is written in two ways",
        _ours("words_in_two_spellings", columns=list(SLICES)),
        Section.VOCABULARY,
    )
    yield PlannedCheck(
        "works_of_positives",
        "Only images with roadwork tell the size of works",
        _ours("works_in_negatives"),
        Section.VOCABULARY,
    )


def _speakers(settings: DataSettings) -> set[str]:
    """Names of the sources that promise the words of :data:`VOCABULARY`."""
    names: set[str] = set()
    for source in settings.sources:
        if source.kind == "synthetic":
            names |= {scene.name for scene in SCENE_SOURCES}
        elif source.kind != "image_folder":
            names.add(source.name)
    return names


def _between(
    column: str, title: str, low: float, high: float | None, mostly: float = 1.0
) -> PlannedCheck:
    return PlannedCheck(
        f"range:{column}" if mostly == 1.0 else f"range:{column}:mostly",
        title,
        gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, mostly=mostly
        ),
        Section.RANGES,
    )


def _ranges(settings: DataSettings) -> Iterator[PlannedCheck]:
    most = settings.max_megapixels
    for column in ("width", "height"):
        yield _between(column, f"Every {column} is at least one pixel", 1, None)
    yield _between("bytes", "Every file has bytes", 1, None)
    yield PlannedCheck(
        "range:megapixels",
        f"No image has more than {most:g} megapixels",
        _ours("too_many_pixels", most=most),
        Section.RANGES,
    )
    yield _between("luminance", "No image is black or white (mean grey from 2 to 253)", 2, 253)
    yield _between(
        "luminance", "All but 1 image in 200 have a mean grey from 8 to 247", 8, 247, _NEARLY_ALL
    )
    yield _between("contrast", "No image is of one colour (deviation of grey from 1)", 1, 128)
    yield _between(
        "contrast", "All but 1 image in 200 have a deviation of grey from 4", 4, 128, _NEARLY_ALL
    )
    yield _between("saturation", "Saturation is from 0 to 255", 0, 255)
    yield _between("sharpness", "Every image has edges (sharpness from 0.1)", 0.1, 1020)


def _leakage(settings: DataSettings, held_out: Sequence[str]) -> Iterator[PlannedCheck]:
    distance = settings.fusion.near_duplicate_distance
    checks: list[tuple[str, str, Any, Frame]] = [
        (
            "sample_unique",
            "Every image occurs once",
            gxe.ExpectColumnValuesToBeUnique(column="sample_id"),
            Frame.ROWS,
        ),
        *[
            (name, title, _ours("key_in_two_sets", key=key), Frame.ROWS)
            for name, title, key in (
                ("sha256_in_one_set", "No file's bytes are in two sets", "sha256"),
                ("group_in_one_set", "Every group is in one set only", "group_id"),
                (
                    "drive_in_one_set",
                    "Every drive, as its source names it, is in one set only",
                    "drive",
                ),
                ("capture_in_one_set", "No frame of a video is in two sets", "capture"),
            )
        ],
        (
            "looks_distinct",
            f"No image looks like one of another set (at most {distance} of 64 bits differ)",
            _ours("near_duplicates_in_two_sets", distance=distance),
            Frame.ROWS,
        ),
        (
            "copies_have_originals",
            "Of every copy that was left out, the kept image is in a set",
            gxe.ExpectColumnValuesToNotBeNull(column="kept_role"),
            Frame.COPIES,
        ),
        (
            "copies_stay_together",
            "The drive of every left-out copy is in the set of the image that was kept",
            gxe.ExpectColumnPairValuesToBeEqual(
                column_A="kept_role", column_B="drive_role", ignore_row_if="either_value_is_missing"
            ),
            Frame.COPIES,
        ),
    ]
    if held_out:
        checks.append(
            (
                "held_out_in_test",
                f"Held-out sources are in the test set alone ({', '.join(held_out)})",
                _ours("held_out_elsewhere", sources=list(held_out)),
                Frame.ROWS,
            )
        )
    for name, title, expectation, frame in checks:
        yield PlannedCheck(name, title, expectation, Section.LEAKAGE, frame)


def _sources(
    settings: DataSettings,
    profile: DataProfile | None,
    reference: DataProfile | None,
    roles: Sequence[Role],
) -> Iterator[PlannedCheck]:
    yield PlannedCheck(
        "classes_present",
        "Every set has images of every class",
        _ours(
            "classes_missing",
            classes=list(range(len(CLASSES))),
            sets=[str(role) for role in roles],
        ),
        Section.SOURCES,
    )
    if settings.expect:
        expected = {name: bounds.model_dump() for name, bounds in sorted(settings.expect.items())}
        yield PlannedCheck(
            "sources_expected",
            "Every source has the images and the share of roadwork that data.expect says",
            _ours("source_unlike_expected", expected=expected),
            Section.SOURCES,
        )
    if reference is None or profile is None:
        return
    texts = {"profile": profile.model_dump_json(), "reference": reference.model_dump_json()}
    yield PlannedCheck(
        "sources_known",
        "The reference profile knows every source",
        _ours("sources_unknown", reference=texts["reference"]),
        Section.SOURCES,
    )
    for name, question in QUESTIONS.items():
        yield PlannedCheck(
            f"drift:{name}",
            f"In every source, {question.title} is like that of the reference profile",
            _ours("drifted", question=name, **texts),
            Section.SOURCES,
        )

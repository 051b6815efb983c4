"""Exposure: unions, the compact form and its damage, and the refusal to reuse data."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roadwork.data.exposure import (
    Exposure,
    IdSet,
    Use,
    common,
    identifiers,
    require_unexposed,
)
from roadwork.data.manifest import SelectSet, TestSet, TrainSet
from roadwork.errors import BundleError, LeakageError
from tests.data import made

ids = hnp.arrays(np.uint64, st.integers(0, 40), elements=st.integers(0, 2**64 - 1))
id_sets = st.builds(IdSet.of, ids, ids)
exposures = st.builds(Exposure, st.dictionaries(st.sampled_from(list(Use)), id_sets))


def plain(exposure: Exposure) -> dict[Use, tuple[set[int], set[int]]]:
    return {
        use: (set(part.samples.tolist()), set(part.groups.tolist()))
        for use, part in exposure.uses.items()
    }


def test_identifiers_are_heads_of_sha256() -> None:
    head = hashlib.sha256(b"drive-1").hexdigest()[:16]
    assert identifiers(["drive-1"]).tolist() == [int(head, 16)]
    assert identifiers([]).tolist() == []


def test_sample_ids_are_heads_of_the_bytes_sha256() -> None:
    part = TrainSet(made.table([made.row(5), made.row(3)]))
    assert part.sample_ids.tolist() == [int(made.row(n)["sha256"][:16], 16) for n in (5, 3)]


@given(exposures)
def test_round_trip(exposure: Exposure) -> None:
    assert plain(Exposure.from_bytes(exposure.to_bytes())) == plain(exposure)


@given(exposures, exposures)
def test_union_is_the_union_of_sets(a: Exposure, b: Exposure) -> None:
    ours, theirs, both = plain(a), plain(b), plain(a.union(b))
    assert set(both) == set(ours) | set(theirs)
    nothing: tuple[set[int], set[int]] = (set(), set())
    for use, (samples, groups) in both.items():
        assert samples == ours.get(use, nothing)[0] | theirs.get(use, nothing)[0]
        assert groups == ours.get(use, nothing)[1] | theirs.get(use, nothing)[1]
    assert a.union(b).to_bytes() == b.union(a).to_bytes()


def test_union_leaves_its_parts_alone() -> None:
    a = Exposure({Use.TRAIN: IdSet.of(np.array([1], np.uint64), np.array([], np.uint64))})
    a.union(Exposure({Use.TRAIN: IdSet.of(np.array([2], np.uint64), np.array([], np.uint64))}))
    assert plain(a) == {Use.TRAIN: ({1}, set())}


@pytest.mark.parametrize("spread", [64, 40, 17])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 1023, 1024, 1025])
def test_round_trip_of_any_size_and_spread(count: int, spread: int) -> None:
    found = np.random.default_rng(count).integers(0, 2**spread, count, dtype=np.uint64)
    ends = np.array([0, 2**64 - 1], np.uint64)
    exposure = Exposure({Use.TRAIN: IdSet.of(found, ends), Use.SELECT: IdSet.of(ends[1:], found)})
    assert plain(Exposure.from_bytes(exposure.to_bytes())) == plain(exposure)


def test_the_size_is_near_the_least_that_is_possible() -> None:
    count = 100_000
    samples = np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)
    record = Exposure({Use.TRAIN: IdSet.of(samples, samples[:0])}).to_bytes()
    least = 64 - np.log2(count) + 1 / np.log(2)  # log2 of (2^64 over n), for each of n
    assert least < 8 * len(record) / count < least + 0.7


def first_version(exposure: Exposure) -> bytes:
    """As bundles were written before the bitmaps: differences, byte planes, deflated."""

    def pack(ids: np.ndarray) -> bytes:
        differences = np.diff(ids, prepend=np.uint64(0)).astype("<u8")
        return zlib.compress(differences.view(np.uint8).reshape(-1, 8).T.tobytes(), 6)

    header, body = {}, b""
    for use, part in sorted(exposure.uses.items()):
        packed = [pack(part.samples), pack(part.groups)]
        header[str(use)] = [len(part.samples), len(packed[0]), len(part.groups), len(packed[1])]
        body += b"".join(packed)
    head = json.dumps(header, sort_keys=True).encode()
    payload = struct.pack("<I", len(head)) + head + body
    return b"RWEXPO1\n" + hashlib.sha256(payload).digest() + payload


@given(exposures)
def test_the_first_version_is_read_still(exposure: Exposure) -> None:
    assert plain(Exposure.from_bytes(first_version(exposure))) == plain(exposure)


def test_a_later_version_says_what_to_do() -> None:
    record = b"RWEXPO7\n" + Exposure().to_bytes()[8:]
    with pytest.raises(BundleError, match=r"version '7'.*update roadwork"):
        Exposure.from_bytes(record)


@pytest.mark.parametrize("change", ["count", "use", "size"])
def test_a_record_that_contradicts_itself_is_damaged(change: str) -> None:
    """With a correct checksum, as a faulty writer would leave it."""
    record = Exposure({Use.TRAIN: IdSet.of(np.arange(9, dtype=np.uint64), IDS[:0])}).to_bytes()
    old, new = {
        "count": (b"[9, ", b"[8, "),
        "use": (b'"train"', b'"trane"'),
        "size": (b", 0, 0]", b", 1, 0]"),
    }[change]
    assert old in record
    payload = record[40:].replace(old, new)
    with pytest.raises(BundleError, match="damaged"):
        Exposure.from_bytes(record[:8] + hashlib.sha256(payload).digest() + payload)


IDS = np.arange(5, dtype=np.uint64)


@given(st.sets(st.integers(0, 300)), st.sets(st.integers(0, 300)), st.sampled_from([1, 2**55]))
def test_common_is_the_intersection(a: set[int], b: set[int], step: int) -> None:
    ours, theirs = (np.array(sorted(part), np.uint64) * np.uint64(step) for part in (a, b))
    assert common(ours, theirs).tolist() == [number * step for number in sorted(a & b)]


@pytest.mark.parametrize("sizes", [(200_000, 150_000), (200_000, 1000), (70_000, 200_000)])
def test_common_of_large_sets(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    ours, theirs = (np.unique(rng.integers(0, 400_000, size).astype(np.uint64)) for size in sizes)
    wanted = np.intersect1d(ours, theirs)
    assert len(wanted) > 100
    assert common(ours, theirs).tolist() == wanted.tolist()


@pytest.mark.parametrize("position", [0, 7, 8, 39, 40, 60, -1])
def test_a_changed_byte_is_noticed(position: int) -> None:
    record = bytearray(Exposure.of(Use.TRAIN, TrainSet(made.table([made.row(1)]))).to_bytes())
    record[position] ^= 1
    with pytest.raises(BundleError, match="damaged"):
        Exposure.from_bytes(bytes(record))


@given(st.binary(max_size=80), st.integers(0, 60))
def test_no_other_bytes_are_accepted(noise: bytes, cut: int) -> None:
    record = Exposure({Use.TRAIN: IdSet.of(identifiers("a"), identifiers("b"))}).to_bytes()
    for data in (noise, record[:cut], record + noise[:1]):
        if data != record:
            with pytest.raises(BundleError):
                Exposure.from_bytes(data)


def test_counts() -> None:
    part = TrainSet(made.table([made.row(n) for n in range(5)]))
    exposure = Exposure.of(Use.TRAIN, part).union(Exposure.of(Use.SELECT, part))
    assert exposure.counts() == {
        "select": {"samples": 5, "groups": 2},
        "train": {"samples": 5, "groups": 2},
    }


@dataclass(frozen=True)
class Model:
    exposure: Exposure


TRAIN = TrainSet(made.table([made.row(n) for n in range(8)]))
OTHER = TestSet(made.table([made.row(n) for n in range(8, 16)]))
MODEL = Model(Exposure.of(Use.TRAIN, TRAIN))


def test_unseen_data_passes() -> None:
    require_unexposed(MODEL, OTHER, "evaluate")
    require_unexposed(Model(Exposure()), TRAIN, "evaluate")


def test_the_message_names_files_groups_and_the_earlier_use() -> None:
    seen = TestSet(made.table([made.row(1, file="new name.jpg"), made.row(20)]))
    with pytest.raises(LeakageError) as caught:
        require_unexposed(MODEL, seen, "evaluate")
    assert str(caught.value) == (
        "cannot evaluate the Model: it was already exposed to this data (train): 1 samples "
        "(new name.jpg) and 1 groups (drive-0) overlap. Use data of other groups."
    )


def test_the_drive_counts_even_after_groups_were_merged() -> None:
    row = made.row(50) | {"group_id": "merged", "drive": "drive-1"}
    with pytest.raises(LeakageError, match=r"1 groups \(drive-1\)"):
        require_unexposed(MODEL, TestSet(made.table([row])), "evaluate")


def test_uses_can_be_allowed() -> None:
    require_unexposed(MODEL, TRAIN, "mine", uses=(Use.CALIBRATE, Use.CONFORMALISE))
    with pytest.raises(LeakageError):
        require_unexposed(MODEL, TRAIN, "mine", uses=(Use.TRAIN,))


@given(st.sets(st.integers(0, 60), min_size=1), st.sets(st.integers(0, 60), min_size=1))
def test_refused_exactly_when_something_is_shared(ours: set[int], theirs: set[int]) -> None:
    model = Model(Exposure.of(Use.SELECT, SelectSet(made.table([made.row(n) for n in ours]))))
    asked = TestSet(made.table([made.row(n) for n in theirs]))
    if {n // 4 for n in ours} & {n // 4 for n in theirs}:
        with pytest.raises(LeakageError):
            require_unexposed(model, asked, "evaluate")
    else:
        require_unexposed(model, asked, "evaluate")

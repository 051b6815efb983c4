"""A sealed folder is refused whatever is done to it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from roadwork.bundle import ModelBundle
from roadwork.errors import BundleError
from roadwork.sealing import MANIFEST, verify_folder, write_files, write_manifest
from tests.bundle.make_bundle import bundle_parts

FILES = (*sorted(bundle_parts()), MANIFEST)


@pytest.fixture
def copy(bundle: ModelBundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_refused(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    # A changed manifest is refused by a file that no longer agrees with it, or by its form.
    expected = f"{name} of the bundle .* was changed"
    if name == MANIFEST:
        expected = "was changed|lacks|is not allowed"
    with pytest.raises(BundleError, match=expected):
        ModelBundle.open(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name):
        ModelBundle.open(copy)


@pytest.mark.parametrize("name", ["extra.txt", "golden/extra.jpg", "new/folder.txt", ".hidden"])
def test_an_extra_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"")
    with pytest.raises(BundleError, match=f"holds {name}, which its manifest does not list"):
        ModelBundle.open(copy)


def test_a_link_is_refused_even_to_the_same_bytes(copy: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    shutil.move(copy / "policy.json", outside)
    (copy / "policy.json").symlink_to(outside)
    with pytest.raises(BundleError, match=r"policy\.json in the bundle .* is a link"):
        ModelBundle.open(copy)


def test_a_linked_folder_is_refused(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "golden", tmp_path / "golden")
    (copy / "golden").symlink_to(tmp_path / "golden")
    with pytest.raises(BundleError, match=r"golden in the bundle .* is a link"):
        ModelBundle.open(copy)


def test_a_named_pipe_is_refused_without_waiting_for_it(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    os.mkfifo(copy / MANIFEST)
    with pytest.raises(BundleError, match="is no plain file"):
        ModelBundle.open(copy)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../b", "a//b", ".hidden", ""])
def test_a_manifest_that_leaves_the_folder_is_refused(copy: Path, name: str) -> None:
    with (copy / MANIFEST).open("a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(BundleError, match="is not allowed"):
        ModelBundle.open(copy)


def test_a_manifest_that_lists_a_file_twice_is_refused(copy: Path) -> None:
    first = (copy / MANIFEST).read_text().splitlines(keepends=True)[0]
    with (copy / MANIFEST).open("a") as file:
        file.write(first)
    with pytest.raises(BundleError, match="is not allowed"):
        ModelBundle.open(copy)


def test_a_change_after_opening_is_refused_when_read(copy: Path) -> None:
    opened = ModelBundle.open(copy)
    (copy / "policy.json").write_text("{}")
    with pytest.raises(BundleError, match=r"policy\.json .* was changed"):
        _ = opened.policy


def test_the_manifest_is_what_sha256sum_reads(bundle: ModelBundle) -> None:
    command = ["sha256sum", "--check", "--strict", "--quiet", MANIFEST]
    subprocess.run(command, cwd=bundle.path, check=True)


def test_the_manifest_by_hand(tmp_path: Path) -> None:
    write_files(tmp_path, {"b.txt": b"", "a/c.txt": b"abc"})
    write_manifest(tmp_path)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    expected = f"{abc}  a/c.txt\n{empty}  b.txt\n"
    assert (tmp_path / MANIFEST).read_text() == expected
    seal = verify_folder(tmp_path)
    assert seal.hash == hashlib.sha256(expected.encode()).hexdigest()
    assert seal.digests == {"a/c.txt": abc, "b.txt": empty}


@pytest.mark.parametrize("name", ["../x", "a b.txt", "new\nline", "/x", ".x"])
def test_a_name_that_is_not_safe_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="cannot be a file of a bundle"):
        write_files(tmp_path / "inside", {name: b""})
    assert list(tmp_path.iterdir()) == []

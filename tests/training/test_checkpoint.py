"""Checkpoints: no code runs when one is read; a failed write leaves the earlier one whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from roadwork.errors import TrainingError
from roadwork.training.checkpoint import SafeCheckpointIO, load_checkpoint

STATE = {"global_step": 7, "weights": torch.arange(6.0), "names": ["a", "b"]}


class Payload:
    """Creates a file when it is read as a Python object."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def test_writing_and_reading_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "last.ckpt"
    storage = SafeCheckpointIO()
    storage.save_checkpoint(STATE, path)
    found = storage.load_checkpoint(path)
    assert torch.equal(found.pop("weights"), STATE["weights"])
    assert found == {"global_step": 7, "names": ["a", "b"]}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    storage.remove_checkpoint(path)
    storage.remove_checkpoint(path)
    assert not path.exists()


@pytest.mark.parametrize("weights_only", [None, False, True])
def test_a_payload_is_refused_and_does_not_run(tmp_path: Path, weights_only: bool | None) -> None:
    path, witness = tmp_path / "last.ckpt", tmp_path / "witness"
    torch.save({"global_step": 1, "state_dict": Payload(witness)}, path)
    for read in (
        lambda: load_checkpoint(path),
        lambda: SafeCheckpointIO().load_checkpoint(path, weights_only=weights_only),
    ):
        with pytest.raises(TrainingError, match=r"last\.ckpt is refused.*Delete it"):
            read()
        assert not witness.exists()
    # The payload is real: reading it the unsafe way runs it.
    torch.load(path, weights_only=False)
    assert witness.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(STATE, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(TrainingError, match="is damaged"):
        load_checkpoint(path)


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"gone\.ckpt"):
        load_checkpoint(tmp_path / "gone.ckpt")


def written(path: Path) -> dict[str, Any]:
    SafeCheckpointIO().save_checkpoint(STATE, path)
    return load_checkpoint(path)


def assert_only_the_earlier_one_is_there(path: Path) -> None:
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert load_checkpoint(path)["global_step"] == 7


def test_a_full_disk_when_the_file_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    written(path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(TrainingError, match=r"last\.ckpt: the disk is full"):
            SafeCheckpointIO().save_checkpoint({**STATE, "global_step": 8}, path)
    assert_only_the_earlier_one_is_there(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is full")
@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_full_disk_while_tensors_are_written(tmp_path: Path, size: int) -> None:
    """A real one: the temporary file leads to the device that is always full."""
    path = tmp_path / "last.ckpt"
    written(path)
    (tmp_path / "last.partial").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"last\.ckpt: the disk is full"):
        SafeCheckpointIO().save_checkpoint({"weights": torch.zeros(size)}, path)
    assert_only_the_earlier_one_is_there(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match="cannot write the checkpoint"):
        SafeCheckpointIO().save_checkpoint(STATE, tmp_path / "file" / "last.ckpt")

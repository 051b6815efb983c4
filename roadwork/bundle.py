"""The bundle: the folder that is the product, with typed access to what it says.

Opening a bundle reads every byte and refuses a folder that differs from its manifest (see
:mod:`roadwork.sealing`) before anything in it is parsed. Needs neither torch nor an engine.
"""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from roadwork.bundle_files import BundleConfig, GoldenSet, Policy, Preprocessor
from roadwork.errors import BundleError, DataError
from roadwork.sealing import MANIFEST, read_sealed, verify_folder, write_files, write_manifest

if TYPE_CHECKING:
    from roadwork.calibration import Calibrator
    from roadwork.conformal import ConformalPredictor
    from roadwork.data.exposure import Exposure
    from roadwork.export.parity import ParityReport

__all__ = ["MANIFEST", "REQUIRED", "ModelBundle", "seal_bundle", "write_bundle"]

REQUIRED: tuple[str, ...] = (
    "README.md",
    "calibration.json",
    "config.json",
    "conformal.json",
    "exposure.bin",
    "golden.json",
    "metrics.json",
    "model.onnx",
    "model.safetensors",
    "parity.json",
    "policy.json",
    "preprocessor.json",
    "report.html",
    "settings.json",
)
"""Files without which a folder is no bundle; licences and pictures come on top."""

Record = TypeVar("Record", bound=BaseModel)


@dataclass(frozen=True)
class ModelBundle:
    """A bundle whose every byte was verified when it was opened.

    Attributes:
        path: the folder.
        hash: SHA-256 of ``manifest.sha256``, 64 hexadecimal digits; it names the content.
        digests: SHA-256 of every file, by its path inside the folder.
    """

    path: Path
    hash: str
    digests: Mapping[str, str]

    @classmethod
    def open(cls, path: Path | str) -> ModelBundle:
        """Open a bundle and compare every byte with the manifest.

        Raises:
            BundleError: the folder or a file is missing, changed, not listed, a link, or no plain
                file; the message names it.
        """
        folder = Path(path)
        seal = verify_folder(folder)
        for name in REQUIRED:
            if name not in seal.digests:
                raise BundleError(f"{folder} is no complete bundle: {name} is not in its manifest")
        return cls(folder, seal.hash, seal.digests)

    @classmethod
    def load(cls, folder: Path) -> ModelBundle:
        """Open a bundle (the name that artifact stores call)."""
        return cls.open(folder)

    def save(self, folder: Path) -> None:
        """Copy the bundle into a folder, created if need be, and verify the copy.

        Raises:
            BundleError: the disk refuses, the folder holds other files, or the copy differs.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_files(folder, {name: self.path / name for name in (*self.digests, MANIFEST)})
        except OSError as error:
            raise _unwritable(folder, error) from None
        if ModelBundle.open(folder).hash != self.hash:
            raise BundleError(f"the copy in {folder} is not the bundle {self.hash}: copy it again")

    @property
    def content_hash(self) -> str:
        """The hash of the bundle (the name that caches call)."""
        return self.hash

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"bundle {self.hash[:12]}"

    def read(self, name: str) -> bytes:
        """Bytes of one file, compared with the manifest once more as they are read.

        Raises:
            BundleError: there is no such file, or it was changed since the bundle was opened.
        """
        if name not in self.digests:
            raise BundleError(f"the {self.title} has no file {name}")
        return read_sealed(self.path, name, self.digests[name])

    @cached_property
    def config(self) -> BundleConfig:
        """What the model is."""
        return self._record("config.json", BundleConfig)

    @cached_property
    def preprocessor(self) -> Preprocessor:
        """How a file becomes views."""
        return self._record("preprocessor.json", Preprocessor)

    @cached_property
    def policy(self) -> Policy:
        """How probabilities become a decision."""
        return self._record("policy.json", Policy)

    @cached_property
    def parity(self) -> ParityReport:
        """Which engines answer like the evaluated model."""
        from roadwork.export.parity import ParityReport

        return self._record("parity.json", ParityReport)

    @cached_property
    def calibrator(self) -> Calibrator:
        """From logits to probabilities."""
        from roadwork.calibration import parse_calibrator

        try:
            return parse_calibrator(self._json("calibration.json"))
        except DataError as error:
            raise self._invalid("calibration.json", error) from None

    @cached_property
    def conformal(self) -> ConformalPredictor:
        """From probabilities to prediction sets."""
        from roadwork.conformal import parse_conformal

        try:
            return parse_conformal(self._json("conformal.json"))
        except DataError as error:
            raise self._invalid("conformal.json", error) from None

    @cached_property
    def exposure(self) -> Exposure:
        """Which images and groups touched the model, the calibrator and the sets."""
        from roadwork.data.exposure import Exposure

        return Exposure.from_bytes(self.read("exposure.bin"))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The numbers of the evaluation report."""
        return self._json("metrics.json")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The resolved settings of the run that made the bundle."""
        return self._json("settings.json")

    def golden(self) -> GoldenSet:
        """Pictures with known answers; their files are read with :meth:`read`."""
        return self._record("golden.json", GoldenSet)

    def _record(self, name: str, kind: type[Record]) -> Record:
        try:
            return kind.model_validate_json(self.read(name))
        except ValidationError as error:
            raise self._invalid(name, error) from None

    def _json(self, name: str) -> dict[str, Any]:
        try:
            tree = json.loads(self.read(name))
        except ValueError as error:
            raise self._invalid(name, error) from None
        if not isinstance(tree, dict):
            raise self._invalid(name, "it holds no mapping")
        return tree

    def _invalid(self, name: str, reason: object) -> BundleError:
        return BundleError(
            f"{name} of the {self.title} ({self.path}) cannot be used: {reason}. The file is as it "
            "was sealed, so make the bundle again with this version of roadwork"
        )


def seal_bundle(folder: Path) -> ModelBundle:
    """Check that a folder is a complete and coherent bundle, and write its manifest.

    Raises:
        BundleError: a required file is missing, a name is not allowed, a file does not parse, or
            two files contradict each other.
    """
    write_manifest(folder)
    try:
        bundle = ModelBundle.open(folder)
        _check_coherence(bundle)
    except BundleError:
        (folder / MANIFEST).unlink()
        raise
    return bundle


def write_bundle(target: Path, parts: Mapping[str, bytes | Path]) -> ModelBundle:
    """Write and seal a bundle so that the folder appears complete or not at all.

    Args:
        target: folder to create. One that exists is left alone when it is the same bundle.
        parts: content by path inside the bundle: bytes, or a file to copy.

    Raises:
        BundleError: another bundle or folder is at the target, the disk is full, or the parts do
            not make a bundle.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from None
    try:
        partial.chmod(0o755)  # mkdtemp gives 0o700, which a service under another user cannot read
        write_files(partial, parts)
        bundle = seal_bundle(partial)
        if target.exists():
            return _same_bundle(target, bundle)
        partial.rename(target)
        return ModelBundle(target, bundle.hash, bundle.digests)
    except OSError as error:
        raise _unwritable(target, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _same_bundle(target: Path, bundle: ModelBundle) -> ModelBundle:
    there = ModelBundle.open(target) if (target / MANIFEST).exists() else None
    if there is None or there.hash != bundle.hash:
        raise BundleError(
            f"{target} exists and is not the bundle to be written: bundles never change, so choose "
            "another folder or delete that one"
        )
    return there


def _check_coherence(bundle: ModelBundle) -> None:
    config, preprocessor = bundle.config, bundle.preprocessor
    if (config.image_size, config.tiles) != (preprocessor.size, preprocessor.tiles):
        raise BundleError(
            f"config.json says {config.image_size} px and {config.tiles} tiles, preprocessor.json "
            f"{preprocessor.size} px and {preprocessor.tiles} tiles: write both from one source"
        )
    for case in bundle.golden().cases:
        if case.file not in bundle.digests:
            raise BundleError(f"golden.json names {case.file}, which is not in the bundle")
        if len(case.logits) != len(config.classes):
            raise BundleError(
                f"golden.json has {len(case.logits)} logits for {case.file}, but there are "
                f"{len(config.classes)} classes"
            )
    # Parsing is the check.
    _ = bundle.calibrator, bundle.conformal, bundle.policy, bundle.parity
    _ = bundle.exposure, bundle.metrics, bundle.settings


def _unwritable(target: Path, error: OSError) -> BundleError:
    if error.errno == errno.ENOSPC:
        return BundleError(
            f"the bundle {target} was not written, because the disk of {target.parent} is full: "
            "make room and try again"
        )
    return BundleError(f"cannot write the bundle {target}: {error.strerror} ({error.filename})")

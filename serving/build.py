"""Build a Bento that contains a bundle and the code that serves it. Needs no docker.

The Bento is made from a staging folder with the packages it needs, the locked requirements and the
bundle, so that nothing else of a checkout can slip in, and the Bento store can never lie inside
the folder that is being copied.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from roadwork.bundle import ModelBundle
from roadwork.environment import silence_telemetry
from roadwork.errors import RoadworkError
from serving.source import PACKED

__all__ = ["build_bento"]

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("roadwork", "serving")
_REQUIREMENTS = "requirements/serve.txt"


def build_bento(bundle_path: Path | str, name: str = "roadwork", root: Path = _ROOT) -> str:
    """Build a Bento and save it in BentoML's store (``BENTOML_HOME``).

    Args:
        bundle_path: folder of the bundle; it is verified before and after it is copied.
        name: of the Bento.
        root: project whose code and requirements are packed.

    Returns:
        The tag, ``NAME:VERSION``; the bundle's hash is its label ``bundle``.

    Raises:
        BundleError: the bundle was changed.
        RoadworkError: the requirements are not there, or BentoML cannot build.
    """
    silence_telemetry()
    import bentoml
    from bentoml.exceptions import BentoMLException

    bundle = ModelBundle.open(bundle_path)
    requirements = root / _REQUIREMENTS
    if not requirements.is_file():
        raise RoadworkError(
            f"a Bento needs the locked requirements {requirements}: write them with `make lock`"
        )
    with tempfile.TemporaryDirectory(prefix="roadwork-bento-") as staging:
        folder = Path(staging)
        for package in _PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(root / package, folder / package, ignore=ignored)
        (folder / "requirements.txt").write_text(_without_hashes(requirements.read_text()))
        bundle.save(folder / PACKED)
        try:
            bento = bentoml.bentos.build(
                service="serving.service:RoadworkService",
                name=name,
                labels={"project": "roadwork", "bundle": bundle.hash},
                python={"requirements_txt": "requirements.txt", "lock_packages": False},
                build_ctx=staging,
            )
        except BentoMLException as error:
            raise RoadworkError(f"BentoML cannot build the Bento {name}: {error}") from error
    return str(bento.tag)


def _without_hashes(lock: str) -> str:
    """The pins of a lock. BentoML adds a line of its own, which pip refuses beside hashed ones."""
    lines = lock.replace("\\\n", " ").splitlines()
    pins = (line.partition(" --hash")[0].partition(" #")[0].strip() for line in lines)
    return "".join(f"{pin}\n" for pin in pins if pin and not pin.startswith("#"))

"""Which bundle the service serves."""

from __future__ import annotations

import logging
from pathlib import Path

from roadwork.environment import Environment
from roadwork.errors import BundleError, RegistryError

__all__ = ["PACKED", "find_bundle"]

logger = logging.getLogger(__name__)

PACKED = "packed_bundle"
"""Folder beside this package that holds the bundle inside a built Bento."""


def find_bundle(environment: Environment | None = None, root: Path | None = None) -> Path:
    """Folder of the bundle: the one packed into the Bento, else what ``ROADWORK_BUNDLE`` names.

    ``ROADWORK_BUNDLE`` is a folder if it contains a slash, otherwise an alias or a version of the
    model registry; ``champion`` by default.

    Args:
        environment: variables; read from the process when None.
        root: folder that may hold the packed bundle; that above this package when None.

    Raises:
        BundleError: ``ROADWORK_BUNDLE`` is written as a path, but there is no such folder.
        RegistryError: the registry is not part of this installation, or has no such alias.
    """
    packed = (root or Path(__file__).resolve().parent.parent) / PACKED
    if packed.is_dir():
        logger.info("serving the bundle that is packed into this Bento")
        return packed
    wanted = (environment or Environment()).bundle
    if "/" not in wanted:
        return _from_registry(wanted)
    folder = Path(wanted).expanduser().resolve()
    if not folder.is_dir():
        raise BundleError(f"ROADWORK_BUNDLE names the folder {folder}, which does not exist")
    return folder


def _from_registry(alias: str) -> Path:
    try:
        from registry import resolve_bundle
    except ImportError as error:
        raise RegistryError(
            f"the alias {alias!r} cannot be resolved, because the model registry is not installed "
            f"here ({error}): set ROADWORK_BUNDLE to the folder of a bundle"
        ) from None
    try:
        return Path(resolve_bundle(alias)).resolve()
    except RegistryError as error:
        raise RegistryError(
            f"no bundle to serve: {error}. ROADWORK_BUNDLE may also name the folder of a bundle"
        ) from None

"""Resolution: from an alias, a version or a folder to a verified bundle on this machine."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from registry.connection import ALIASES, Registry, existing_registry, registry_errors
from registry.tags import BUNDLE_HASH, BUNDLE_PATH
from roadwork.bundle import MANIFEST, ModelBundle
from roadwork.errors import BundleError, RegistryError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

__all__ = [
    "alias_version",
    "find_version",
    "locate",
    "pull",
    "resolve_bundle",
    "resolve_reference",
    "version_of_run",
]


def resolve_bundle(reference: str | Path, registry: Registry | None = None) -> Path:
    """Folder of a verified bundle.

    Args:
        reference: a folder; or an alias (``champion``), a version (``3``) or ``NAME@ALIAS``. The
            aliases of roadwork are never taken for folders: write ``./champion`` for one.
        registry: where aliases are looked up; by default what the environment names.

    Raises:
        BundleError: the folder is missing, or a byte differs.
        RegistryError: the alias or version does not exist.
    """
    if isinstance(reference, Path) or _is_folder(reference):
        return ModelBundle.open(reference).path
    registry, name = resolve_reference(reference, registry)
    return locate(registry, find_version(registry, name)).path


def pull(reference: str, to: Path, registry: Registry | None = None) -> ModelBundle:
    """Copy a bundle into a new folder and verify the copy.

    Raises:
        BundleError: the folder exists, or the copy differs.
        RegistryError: the alias or version does not exist.
    """
    if to.exists():
        raise BundleError(f"{to} exists already: name a new folder, or delete that one first")
    source = ModelBundle.open(resolve_bundle(reference, registry))
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    try:
        partial.chmod(0o755)  # mkdtemp gives 0o700, which a service under another user cannot read
        source.save(partial)
        partial.rename(to)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return ModelBundle(to, source.hash, source.digests)


def resolve_reference(reference: str, registry: Registry | None) -> tuple[Registry, str]:
    """Split ``NAME@ALIAS``; without a name, the registry's model is meant."""
    model, separator, name = reference.rpartition("@")
    model = model.removeprefix("models:/")
    if registry is None:
        registry = existing_registry(model_name=model if separator else "roadwork")
    elif separator and model != registry.model_name:
        registry = Registry(
            registry.uri, registry.artifacts, registry.runs, model, registry.experiment
        )
    return registry, name


def find_version(registry: Registry, reference: str) -> ModelVersion:
    """The model version of an alias or of a version number, as MLflow knows it now.

    Raises:
        RegistryError: there is none.
    """
    found = alias_version(registry, reference)
    if found is not None:
        return found
    name = registry.model_name
    if reference == "champion":
        raise RegistryError(
            f"the model {name!r} has no champion yet: run `make demo`, then `roadwork promote "
            "candidate --reason WHY`"
        )
    known = ", ".join(_known(registry)) or "none"
    raise RegistryError(
        f"the model {name!r} has no alias or version {reference!r}; it has: {known}"
    )


def alias_version(registry: Registry, reference: str) -> ModelVersion | None:
    """The same, or None when there is no such alias or version."""
    with registry_errors(f"cannot ask MLflow at {registry.uri} for {reference!r}"):
        from mlflow.exceptions import MlflowException

        client, name = registry.client, registry.model_name
        try:
            if reference.isdigit():
                return client.get_model_version(name, reference)
            return client.get_model_version_by_alias(name, reference)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise


def locate(registry: Registry, version: ModelVersion) -> ModelBundle:
    """The bundle of a model version: in place where artifacts are local, else downloaded once.

    Raises:
        RegistryError: the version has no bundle, or its artifacts cannot be fetched.
        BundleError: a byte differs, or it is another bundle than the registered one.
    """
    wanted = version.tags.get(BUNDLE_HASH)
    if wanted is None:
        raise RegistryError(
            f"version {version.version} of {version.name!r} was not registered by roadwork: it has "
            f"no tag {BUNDLE_HASH}"
        )
    with registry_errors(f"cannot find the artifacts of version {version.version}"):
        uri = registry.client.get_model_version_download_uri(version.name, str(version.version))
    local = _local_path(uri)
    if local is not None:
        bundle = ModelBundle.open(local / BUNDLE_PATH)
    else:
        bundle = _download(registry, f"{uri.rstrip('/')}/{BUNDLE_PATH}", wanted)
    if bundle.hash != wanted:
        raise BundleError(
            f"version {version.version} of {version.name!r} was registered with bundle "
            f"{wanted[:12]}, but its artifacts hold {bundle.title}: they were exchanged; register "
            "the right bundle again"
        )
    return bundle


def _download(registry: Registry, uri: str, wanted: str) -> ModelBundle:
    """Fetch into the runs folder, where a bundle that is there and intact is used again."""
    folder = registry.runs / "bundles" / wanted
    if folder.exists():
        return ModelBundle.open(folder)
    import mlflow.artifacts

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download.", dir=folder.parent) as partial:
        with registry_errors(f"cannot download the bundle {wanted[:12]}"):
            fetched = mlflow.artifacts.download_artifacts(
                artifact_uri=uri, dst_path=partial, tracking_uri=registry.uri
            )
        bundle = ModelBundle.open(fetched)
        if bundle.hash != wanted:
            return bundle  # the caller refuses it by name; it is not kept
        Path(fetched).rename(folder)
    return ModelBundle.open(folder)


def _local_path(uri: str) -> Path | None:
    parsed = urlparse(uri)
    if parsed.scheme in ("", "file"):
        return Path(unquote(parsed.path))
    return None


def _is_folder(reference: str) -> bool:
    if reference in ALIASES or reference.isdigit():
        return False
    return "/" in reference.removeprefix("models:/") or (Path(reference) / MANIFEST).is_file()


def _known(registry: Registry) -> list[str]:
    with registry_errors(f"cannot list the versions of {registry.model_name!r}"):
        client, name = registry.client, registry.model_name
        versions = client.search_model_versions(f"name='{name}'")
        if not versions:
            return []
        aliases = client.get_registered_model(name).aliases
    numbers = sorted({int(version.version) for version in versions})
    return [*sorted(aliases), *map(str, numbers)]


def version_of_run(registry: Registry, run: str) -> str:
    """The newest version, for ``latest``; else the newest that a run of that name registered.

    Raises:
        RegistryError: there is none.
    """
    with registry_errors(f"cannot list the versions of {registry.model_name!r}"):
        client = registry.client
        found = client.search_model_versions(f"name='{registry.model_name}'")
        for version in sorted(found, key=lambda one: int(one.version), reverse=True):
            if run == "latest" or client.get_run(str(version.run_id)).info.run_name == run:
                return str(version.version)
    raise RegistryError(f"no version of {registry.model_name!r} was registered by a run {run!r}")

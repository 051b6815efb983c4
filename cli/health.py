"""What ``roadwork doctor`` examines; :func:`examine` is its twin in Python."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from cli.catalogue import Kind, entries
from roadwork import __version__
from roadwork.data.storage import is_remote, local_path
from roadwork.environment import TELEMETRY_OFF, Environment
from roadwork.errors import RoadworkError

__all__ = ["active_stack", "examine", "packages"]

GIB = 1024**3
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+)")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


def examine() -> dict[str, Any]:
    """Everything, as plain values; nothing is changed, and no model hub or server is asked.

    MLflow's store is opened only if it is there already, or if ROADWORK_MLFLOW_URI names it.
    """
    environment = Environment()
    return {
        "machine": _machine(environment),
        "stores": {
            "zenml_stack": active_stack(),
            **_registry(environment),
            "data_folder": _data(environment),
        },
        "packages": packages(),
        "engines": entries(Kind.ENGINES),
        "telemetry": _telemetry(),
    }


def packages() -> dict[str, dict[str, Any]]:
    """By extra (``base`` for none): installed versions, missing packages, and the command."""
    found: dict[str, dict[str, Any]] = {}
    for extra, names in _requirements().items():
        versions = {name: _version(name) for name in names}
        missing = [name for name, version in versions.items() if version is None]
        target = "roadwork" if extra == "base" else f"roadwork[{extra}]"
        found[extra] = {
            "installed": {name: version for name, version in versions.items() if version},
            "missing": missing,
            "fix": f'pip install "{target}"' if missing else None,
        }
    return found


def active_stack() -> str:
    """Name of ZenML's active stack, read from its files; ZenML itself is slow to import."""
    import yaml

    if _version("zenml") is None:
        return "ZenML is not installed"
    configuration = _zenml_folder()
    names = [folder / ".zen" / "config.yaml" for folder in (Path.cwd(), *Path.cwd().parents)]
    for path in (*names, configuration / "config.yaml"):
        if not path.is_file():
            continue
        identifier = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("active_stack_id")
        if identifier:
            return _stack_name(configuration, str(identifier))
    return "none yet: `zenml init`, or any pipeline run, sets up the default stack"


def _machine(environment: Environment) -> dict[str, str]:
    place = next(
        folder
        for folder in (environment.runs.resolve(), *environment.runs.resolve().parents)
        if folder.exists()
    )
    return {
        "roadwork": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "cores": f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}",
        "memory": _memory(),
        "disk": f"{shutil.disk_usage(place).free / GIB:.1f} GiB free for {environment.runs}",
        "gpu": _gpu(),
    }


def _memory() -> str:
    values: dict[str, int] = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024
    text = f"{values['MemAvailable'] / GIB:.1f} GiB available of {values['MemTotal'] / GIB:.1f}"
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    # In a container the group's limit is what ends a process, whatever the host has.
    return text if allowed == "max" else f"{text}; this container may use {int(allowed) / GIB:.1f}"


def _gpu() -> str:
    """Whether a driver is there; asking CUDA itself would mean importing torch."""
    driver = Path("/proc/driver/nvidia/version")
    if not driver.is_file():
        return "none: no NVIDIA driver is loaded"
    version = re.search(r"Kernel Module.*?(\d+\.\d+(?:\.\d+)?)", driver.read_text(encoding="ascii"))
    cards = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return f"{cards} NVIDIA, driver {version.group(1) if version else 'of unknown version'}"


def _requirements() -> dict[str, list[str]]:
    """Package names by extra, from the installed metadata, else from the checkout."""
    try:
        lines = metadata.requires("roadwork") or []
    except metadata.PackageNotFoundError:
        lines = _checkout_requirements()
    names: dict[str, list[str]] = {"base": []}
    for line in lines:
        requirement, _, marker = line.partition(";")
        extra = _EXTRA.search(marker)
        match = _REQUIREMENT.match(requirement)
        if match:
            names.setdefault(extra.group(1) if extra else "base", []).append(match.group(1))
    return names


def _checkout_requirements() -> list[str]:
    import tomllib

    path = Path(__file__).parents[1] / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    optional = project.get("optional-dependencies", {})
    return [
        *project["dependencies"],
        *(
            f"{line.partition(';')[0]}; extra == '{extra}'"
            for extra, lines in optional.items()
            for line in lines
        ),
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _zenml_folder() -> Path:
    import typer

    named = os.environ.get("ZENML_CONFIG_PATH")
    return Path(named or typer.get_app_dir("zenml"))  # the rule that ZenML follows


def _stack_name(configuration: Path, identifier: str) -> str:
    database = configuration / "local_stores" / "default_zen_store" / "zenml.db"
    if not database.is_file():
        return f"{identifier} (on a ZenML server)"
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            query = "SELECT name FROM stack WHERE replace(id, '-', '') = ?"
            row = connection.execute(query, (identifier.replace("-", ""),)).fetchone()
    except sqlite3.Error as error:
        return f"{identifier} (its name cannot be read: {error})"
    return row[0] if row else f"{identifier} (unknown to the local store)"


def _registry(environment: Environment) -> dict[str, str]:
    from registry import check_ledger, existing_registry
    from registry.resolution import alias_version
    from registry.tags import BUNDLE_HASH

    try:
        registry = existing_registry(environment)
        champion = alias_version(registry, "champion")
    except RoadworkError as error:
        return {"mlflow": str(error), "champion": "none", "promotions_log": "none"}
    if champion is None:
        serving = "none yet: `roadwork promote candidate --reason WHY`"
    else:
        bundle = champion.tags.get(BUNDLE_HASH, "not registered by roadwork")
        serving = f"version {champion.version}, bundle {bundle[:12]}"
    try:
        log = f"{len(check_ledger(registry))} decisions, chain intact"
    except RoadworkError as error:
        log = str(error)
    return {"mlflow": registry.uri, "champion": serving, "promotions_log": log}


def _data(environment: Environment) -> str:
    if environment.data is None:
        return "ROADWORK_DATA is not set: generated scenes are used"
    if is_remote(environment.data):
        return f"{environment.data} (an object store, which is not asked here)"
    folder = local_path(environment.data)
    if not folder.is_dir():
        return f"ROADWORK_DATA names {folder}, which is no folder"
    listed = "with" if (folder / "manifest.csv").is_file() else "without"
    return f"{folder} ({listed} manifest.csv)"


def _telemetry() -> str:
    on = [name for name, value in TELEMETRY_OFF.items() if os.environ.get(name, value) != value]
    return f"not switched off by {', '.join(on)}" if on else "off"

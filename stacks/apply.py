"""Make ZenML's stacks agree with a file: ``python -m stacks.apply local``.

``zenml stack import`` asks for a new name when the stack exists. This creates what is missing,
updates what differs, leaves the rest alone, and makes the stack the active one: doing it twice
changes nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from roadwork.environment import silence_telemetry
from roadwork.errors import ConfigError, RoadworkError

__all__ = ["apply_stack", "main", "read_stack"]

_FOLDER = Path(__file__).parent


def read_stack(name: str, folder: Path = _FOLDER) -> dict[str, Any]:
    """Read ``<folder>/<name>.yaml``.

    Raises:
        ConfigError: there is no such file, or it is no stack in ZenML's export format.
    """
    import yaml

    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ConfigError(f"there is no stack file {path.name} in {folder}: known are {known}")
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(tree, dict) or not {"stack_name", "components"} <= set(tree):
        raise ConfigError(f"{path} needs the keys stack_name and components")
    return tree


def apply_stack(tree: dict[str, Any]) -> list[str]:
    """Create or update the components and the stack, and activate it.

    Args:
        tree: what :func:`read_stack` returned.

    Returns:
        One line per change; empty when all was as wanted.
    """
    from zenml.client import Client
    from zenml.enums import StackComponentType

    client = Client()
    changes: list[str] = []
    wanted: dict[StackComponentType, list[str]] = {}
    for kind_name, components in tree["components"].items():
        kind = StackComponentType(kind_name)
        for component in components:
            changes += _apply_component(client, kind, component)
        wanted[kind] = [component["name"] for component in components]
    changes += _apply_members(client, tree["stack_name"], wanted)
    if client.active_stack_model.name != tree["stack_name"]:
        client.activate_stack(tree["stack_name"])
        changes.append(f"activated the stack {tree['stack_name']}")
    return changes


def _apply_component(client: Any, kind: Any, component: dict[str, Any]) -> list[str]:
    name, flavor = component["name"], component["flavor"]
    configuration = component.get("configuration") or {}
    found = client.list_stack_components(type=kind, name=name, hydrate=True).items
    if not found:
        client.create_stack_component(
            name=name, flavor=flavor, component_type=kind, configuration=configuration
        )
        return [f"registered the {kind.value} {name} ({flavor})"]
    if found[0].flavor_name != flavor:
        raise ConfigError(
            f"there is already a {kind.value} named {name} of flavor {found[0].flavor_name}, not "
            f"{flavor}: rename it in the stack file, or delete the old one with "
            f"`zenml {kind.value.replace('_', '-')} delete {name}`"
        )
    current = found[0].configuration
    if any(current.get(key) != value for key, value in configuration.items()):
        client.update_stack_component(
            name_id_or_prefix=name, component_type=kind, configuration=configuration
        )
        return [f"updated the {kind.value} {name}"]
    return []


def _apply_members(client: Any, name: str, wanted: dict[Any, list[str]]) -> list[str]:
    found = client.list_stacks(name=name, hydrate=True).items
    if not found:
        client.create_stack(name=name, components=wanted)
        return [f"registered the stack {name}"]
    have = {
        kind: sorted(member.name for member in members)
        for kind, members in found[0].components.items()
    }
    if have != {kind: sorted(names) for kind, names in wanted.items()}:
        client.update_stack(name_id_or_prefix=name, component_updates=wanted)
        return [f"updated the stack {name}"]
    return []


def main(arguments: list[str] | None = None) -> int:
    """Apply the stack that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stacks.apply", description=__doc__)
    parser.add_argument("stack", help="name of a file in the folder stacks, such as local")
    wanted = parser.parse_args(arguments)
    silence_telemetry()
    try:
        changes = apply_stack(read_stack(wanted.stack))
    except RoadworkError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(changes) or f"the stack {wanted.stack} is as it should be")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

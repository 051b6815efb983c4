"""What steps hand on is stored in open formats: ZenML's fallback, Python's objects, is not used."""

from __future__ import annotations

import importlib
import pkgutil
import typing
from typing import Annotated, Any

import steps


def step_functions() -> list[tuple[str, Any]]:
    from zenml.steps import BaseStep

    found = []
    for info in pkgutil.iter_modules(steps.__path__):
        module = importlib.import_module(f"steps.{info.name}")
        found += [(name, item) for name, item in vars(module).items() if isinstance(item, BaseStep)]
    return found


def output_types(step: Any) -> list[Any]:
    hint = typing.get_type_hints(step.entrypoint, include_extras=True).get("return")
    parts = typing.get_args(hint) if typing.get_origin(hint) is tuple else (hint,)
    return [
        typing.get_args(part)[0] if typing.get_origin(part) is Annotated else part
        for part in parts
        if part is not type(None)
    ]


def test_no_output_falls_back_to_serialised_objects(zenml: Any) -> None:
    from zenml.materializers.cloudpickle_materializer import CloudpickleMaterializer
    from zenml.materializers.materializer_registry import materializer_registry

    checked = 0
    for name, step in step_functions():
        for kind in output_types(step):
            plain = typing.get_origin(kind) or kind
            assert materializer_registry[plain] is not CloudpickleMaterializer, (name, kind)
            checked += 1
    assert checked >= 10

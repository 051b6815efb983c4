"""Write the references that follow from the code: ``python docs/references.py [--check]``.

``.env.example`` and ``docs/environment.md`` come from the table of environment variables,
``docs/settings.md`` and ``docs/settings.schema.json`` from the settings tree (editors complete and
check the YAML with the schema), ``docs/report.schema.json`` from the evaluation report. With
``--check`` nothing is written, and files that are out of step make it fail.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from roadwork.environment import TELEMETRY_OFF, Environment
from roadwork.evaluation.record import EvaluationReport
from roadwork.settings import SIZES, json_schema
from roadwork.settings.sizes import SizeInfo

__all__ = ["main", "references"]

_ROOT = Path(__file__).resolve().parents[1]


def references() -> Mapping[Path, str]:
    """Every generated file, by its path from the root, with the text that it should have."""
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {
        Path(".env.example"): _env_example(),
        Path("docs/environment.md"): _environment_page(),
        Path("docs/settings.md"): _settings_page(),
        Path("docs/settings.schema.json"): schema,
        Path("docs/report.schema.json"): _report_schema(),
    }


def _env_example() -> str:
    prefix = Environment.model_config.get("env_prefix", "")
    lines = [
        "# Every variable that roadwork reads, with its default. Copy to .env and export it:",
        "#   set -a; source .env; set +a",
        "# Written by `make docs` from roadwork/environment.py.",
    ]
    for name, field in Environment.model_fields.items():
        default = "" if field.default is None else field.default
        lines += ["", f"# {field.description}", f"#{prefix}{name.upper()}={default}"]
    lines += ["", "# Usage reports of the libraries beneath are off unless these say otherwise."]
    lines += [f"#{name}={value}" for name, value in TELEMETRY_OFF.items()]
    return "\n".join(lines) + "\n"


def _report_schema() -> str:
    """JSON Schema of ``report.json``, the twin of the report's page."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **EvaluationReport.model_json_schema(mode="serialization"),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _environment_page() -> str:
    prefix = Environment.model_config.get("env_prefix", "")
    rows = [
        (
            f"`{prefix}{name.upper()}`",
            "none" if field.default is None else _code(field.default),
            field.description or "",
        )
        for name, field in Environment.model_fields.items()
    ]
    telemetry = [(f"`{name}`", f"`{value}`") for name, value in TELEMETRY_OFF.items()]
    lines = [
        "# Environment variables",
        "",
        "Written by `make docs` from `roadwork/environment.py`; `.env.example` holds the same. "
        "`roadwork config env` shows the values in force. An empty variable counts as unset.",
        "",
        *_table(("Variable", "Default", "Meaning"), rows),
        "",
        "Usage reports of the libraries beneath are switched off in our processes. A variable that "
        "is already set keeps its value.",
        "",
        *_table(("Variable", "Set to"), telemetry),
    ]
    return "\n".join(lines) + "\n"


def _settings_page() -> str:
    schema = json_schema()
    columns = [field.name for field in fields(SizeInfo)]
    sizes = [
        (f"`{name}`", *(str(getattr(info, column)) for column in columns))
        for name, info in SIZES.items()
    ]
    lines = [
        "# Settings",
        "",
        "Written by `make docs` from `roadwork/settings`. A settings file is YAML with these "
        "keys; every key has a default, and an unknown key is an error. `roadwork config show "
        "--config FILE` checks a file and prints it with every `auto` filled in.",
        "",
        *_sections(schema, schema, ""),
        "## What `size` stands for",
        "",
        "`auto` takes its value from this table. A convolutional backbone takes 224 pixels and the "
        "weights of its package.",
        "",
        *_table(("size", *(f"{name.replace('_', ' ')}" for name in columns)), sizes),
    ]
    return "\n".join(lines) + "\n"


def _sections(schema: Mapping[str, Any], node: Mapping[str, Any], path: str) -> Iterator[str]:
    """A table of the plain keys of one settings class, then a section for each class inside."""
    rows, inner = [], []
    for key, value in node["properties"].items():
        if "$ref" in value:
            inner.append((f"{path}{key}", schema["$defs"][value["$ref"].rpartition("/")[2]]))
        elif "oneOf" in value.get("items", {}):
            kinds = value["items"]["discriminator"]["mapping"]
            for kind, reference in kinds.items():
                found = schema["$defs"][reference.rpartition("/")[2]]
                inner.append((f"{path}{key}[]` with `kind: {kind}", found))
            default = _code([item["kind"] for item in value["default"]])
            kinds_in_words = f"list of {', '.join(_code(kind) for kind in kinds)}"
            rows.append((f"`{key}`", kinds_in_words, default, value["description"]))
        else:
            default = "required" if "default" not in value else _code(value["default"])
            rows.append((f"`{key}`", _values(value), default, value.get("description", "")))
        reference = value.get("additionalProperties", {})
        if isinstance(reference, dict) and "$ref" in reference:
            found = schema["$defs"][reference["$ref"].rpartition("/")[2]]
            inner.append((f"{path}{key}.<name>", found))
    if rows:
        yield from (*_table(("Key", "Values", "Default", "Meaning"), rows), "")
    for title, found in inner:
        text = " ".join(found.get("description", "").split())
        yield from (f"## `{title}`", "", *([text, ""] if text else []))
        yield from _sections(schema, found, f"{title.partition('`')[0]}.")


def _values(value: Mapping[str, Any]) -> str:
    """What a key takes, in words, from its JSON Schema."""
    if "anyOf" in value:
        return " or ".join(_values(option) for option in value["anyOf"])
    if "additionalProperties" in value:
        inner = value["additionalProperties"]
        reference = inner.get("$ref", "").rpartition("/")[2]
        return f"mapping of names to {reference or _values(inner)}"
    if "const" in value or "enum" in value:
        return ", ".join(_code(v) for v in value.get("enum", [value.get("const")]))
    if value["type"] == "array":
        return f"list of {_values(value['items'])}"
    words = {"null": "null", "boolean": "true, false", "string": "text"}
    kind: str = value["type"]
    text = words.get(kind, kind)
    if value.get("format") == "path":
        text = "path"
    if "pattern" in value:
        text += f" matching {_code(value['pattern'])}"
    signs = (
        ("minimum", "\N{GREATER-THAN OR EQUAL TO}"),
        ("exclusiveMinimum", ">"),
        ("maximum", "\N{LESS-THAN OR EQUAL TO}"),
        ("exclusiveMaximum", "<"),
    )
    limits = [f"{sign} {value[key]:,}" for key, sign in signs if key in value]
    return " ".join([text, ", ".join(limits)]).strip()


def _code(value: object) -> str:
    """A value as YAML would take it, set as code."""
    if not isinstance(value, (str, Path)):
        return f"`{json.dumps(value)}`"
    # Text that YAML would read as a number keeps its quotation marks.
    return f'`"{value}"`' if str(value).isdecimal() else f"`{value}`"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines]


def main(arguments: list[str]) -> int:
    """Write or check every file; return the exit code."""
    stale = []
    for path, text in references().items():
        target = _ROOT / path
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path))
        if "--check" not in arguments:
            target.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        sys.stderr.write(f"out of step: {', '.join(stale)}: run `make docs`\n")
        return 1
    sys.stdout.write(f"written: {', '.join(stale)}\n" if stale else "all in step\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Write the references that follow from the code: ``python docs/references.py [--check]``.

``.env.example`` comes from the table of environment variables, ``docs/settings.schema.json`` from
the settings tree (editors complete and check the YAML with it). With ``--check`` nothing is
written, and files that are out of step make it fail.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from roadwork.environment import TELEMETRY_OFF, Environment
from roadwork.settings import json_schema

__all__ = ["main", "references"]

_ROOT = Path(__file__).resolve().parents[1]


def references() -> Mapping[Path, str]:
    """Every generated file, by its path from the root, with the text that it should have."""
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {
        Path(".env.example"): _env_example(),
        Path("docs/settings.schema.json"): schema,
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

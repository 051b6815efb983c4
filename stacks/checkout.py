"""Bind a virtual environment to this checkout: ``python -m stacks.checkout``.

Writes one line that Python runs at every start in this environment. It gives ZenML a state folder
inside the checkout (so that two clones on one machine share neither cache nor stacks) and switches
usage reports off. Because it belongs to the environment, a plain ``zenml …`` obeys it too. A
variable that the user has set wins.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

from roadwork.environment import TELEMETRY_OFF

__all__ = ["main", "startup_line"]

_ROOT = Path(__file__).resolve().parents[1]
_NAME = "roadwork_checkout.pth"


def startup_line(root: Path) -> str:
    """The line for a checkout at ``root``."""
    variables = {
        "ZENML_CONFIG_PATH": str(root / "runs" / "zenml"),
        "ZENML_ENABLE_RICH_TRACEBACK": "false",  # frames of whole files hide the message
        **TELEMETRY_OFF,
    }
    settings = "; ".join(
        f"os.environ.setdefault({name!r}, {value!r})" for name, value in variables.items()
    )
    return f"import os; {settings}\n"


def main() -> None:
    """Write the line into the running environment."""
    path = Path(sysconfig.get_path("purelib")) / _NAME
    path.write_text(startup_line(_ROOT), encoding="utf-8")
    print(f"ZenML keeps its state in {_ROOT / 'runs' / 'zenml'}")


if __name__ == "__main__":
    main()

"""Train by Lightning's own command line; ``docs/training.md`` tells of the other doors.

python scripts/train.py fit --config configs/lightning.yaml
python scripts/train.py fit --config configs/lightning.yaml --trainer.max_epochs 1
python scripts/train.py fit --config configs/lightning.yaml --ckpt_path runs/lightning/last.ckpt
python scripts/train.py validate --config configs/lightning.yaml
"""

from __future__ import annotations

import logging
import sys
import warnings


def main() -> int:
    """Run it; gives the exit code."""
    from roadwork.environment import silence_telemetry
    from roadwork.errors import RoadworkError

    silence_telemetry()
    # Third parties on their own future, at every start.
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec.*")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from roadwork.training.command_line import TrainingCLI

    try:
        TrainingCLI()
    except RoadworkError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The literal command for an ablation: two cells, one of which fails; then from the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipelines.place import SETTINGS, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GRID: dict[str, Any] = {
    "axes": {"finetune.learning_rate": [1.0e-3, 1.0e30]},
    "seeds": [0],
    "bootstrap": 100,
}
TREE = {
    **{key: SETTINGS[key] for key in ("name", "data", "backbone", "compute")},
    "pretrain": {"enabled": False},
    "finetune": {"adapter": "lora", "epochs": 1, "batch_size": 8},
}


class AblationPlace(Place):
    def command(self, **changes: object) -> list[str]:
        command = super().command()
        command[command.index("training_pipeline")] = "ablation_pipeline"
        parameters = {"settings": {**TREE, "runs": str(self.runs)}, "ablation": {**GRID, **changes}}
        Path(command[-1]).write_text(yaml.safe_dump({"parameters": parameters}))
        return command


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> AblationPlace:
    return AblationPlace(tmp_path_factory.mktemp("ablation"))


def test_a_grid_runs_with_a_failed_cell_as_a_row(place: AblationPlace) -> None:
    output = place.run()
    assert "2 variants × 1 seed = 2 cells, from 1 starting point" in output
    # ingest, split_validate, one start, two cells, table, register, publish
    assert output.count("has finished in") == 8 + 1, output[-4000:]
    report = json.loads((place.runs / "reports" / "ablation-small.json").read_text())
    good, bad = report["variants"]
    assert good["metrics"]["auroc"]["mean"] is not None
    assert "learning_rate" in bad["cells"][0]["failure"]
    assert report["winner"] == 0 and report["synthetic"] is True
    assert "never judged on test" in output
    page = (place.runs / "reports" / "ablation-small.html").read_text()
    assert "Generated scenes." in page and "failed: " in page


def test_the_second_time_only_what_failed_runs_again(place: AblationPlace) -> None:
    output = place.run()
    cached = [line for line in output.splitlines() if "using cached version" in line.lower()]
    assert any("cell_00_seed_0" in line for line in cached)
    assert not any("cell_01_seed_0" in line for line in cached)
    assert "Step cell_01_seed_0 has started" in output
    assert "Step ingest has started" not in output


def test_a_wrong_axis_is_named_before_anything_runs(place: AblationPlace) -> None:
    process = place.start(axes={"finetune.adaptor": ["lora"]})
    output, _ = process.communicate(timeout=180)
    assert process.returncode != 0
    assert "finetune.adaptor: there is no such key" in output
    assert "has started" not in output

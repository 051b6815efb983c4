"""The grid: what is run, in which order, and what is refused before anything runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from roadwork.ablation.expansion import expand
from roadwork.ablation.grid import Grid
from roadwork.errors import ConfigError
from roadwork.settings.ablation import AblationSettings, parse_ablation

ROOT = Path(__file__).resolve().parents[2]
BASE = {"name": "base", "data": {"sources": [{"kind": "synthetic"}]}}
ADAPTERS = {"finetune.adapter": ["lora", "dora"]}


def grid(base: dict[str, Any] | None = None, **ablation: Any) -> Grid:
    return expand(BASE if base is None else base, parse_ablation(ablation))


def test_every_combination_in_order_the_last_axis_fastest() -> None:
    found = grid(
        axes={**ADAPTERS, "finetune.loss.name": ["cross_entropy", "focal", "gatekeeper"]},
        seeds=[4, 2],
        folds=3,
    )
    assert [variant.name for variant in found.variants] == [
        "adapter lora, loss cross_entropy",
        "adapter lora, loss focal",
        "adapter lora, loss gatekeeper",
        "adapter dora, loss cross_entropy",
        "adapter dora, loss focal",
        "adapter dora, loss gatekeeper",
    ]
    cells = list(found.cells())
    assert len(cells) == 6 * 2 * 3
    assert [(cell.variant, cell.seed, cell.fold) for cell in cells[:8]] == [
        (0, 4, 0), (0, 4, 1), (0, 4, 2), (0, 2, 0), (0, 2, 1), (0, 2, 2), (1, 4, 0), (1, 4, 1),
    ]  # fmt: skip
    assert len({cell.name for cell in cells}) == len(cells)
    assert cells[-1].name == "cell_05_seed_2_fold_2"
    assert "6 variants × 2 seeds × 3 folds = 36 cells" in found.describe()


def test_a_cell_is_trained_with_the_base_its_overrides_and_its_seed() -> None:
    found = grid(
        {**BASE, "seed": 9, "finetune": {"epochs": 2}},
        axes={"finetune.adapter": ["dora"], "finetune.sampling.hard_negatives": [0.25]},
        seeds=[7],
    )
    (cell,) = found.cells()
    settings = found.settings(cell)
    assert settings.seed == 7
    assert settings.finetune.adapter == "dora"
    assert settings.finetune.epochs == 2
    assert settings.finetune.sampling.hard_negatives == 0.25
    assert settings.finetune.learning_rate == 2e-3, "auto was filled in"


def test_each_variant_fills_in_its_own_auto() -> None:
    found = grid(axes={"size": ["tiny", "small"]})
    tiny, small = found.variants
    assert tiny.settings.backbone.name == "tf_efficientnet_lite0"
    assert small.settings.backbone.name == "vit_small_patch16_dinov3"
    assert small.settings.backbone.image_size == 224


def test_named_values_set_several_keys_and_on_and_off_are_names() -> None:
    found = grid(
        axes={
            "views": {
                "global": {"backbone.views.tiles": 0},
                "tiles": {"backbone.views.tiles": 9, "backbone.views.aggregator": "mean"},
            },
            "pretraining": {False: {"pretrain.enabled": False}, True: {"pretrain.enabled": True}},
        },
        baseline={"pretraining": True},
        exclude=[{"views": "global", "pretraining": False}],
    )
    assert [variant.name for variant in found.variants] == [
        "views global, pretraining on",
        "views tiles, pretraining off",
        "views tiles, pretraining on",
    ]
    assert found.excluded == 1
    assert found.baseline == 0
    assert found.variants[1].settings.backbone.views.aggregator == "mean"
    assert not found.variants[1].settings.pretrain.enabled


def test_what_resolves_to_the_same_runs_once() -> None:
    found = grid(
        axes={
            "finetune.adapter": ["auto", "lora", "dora"],
            "pretraining": {
                "off": {"pretrain.enabled": False},
                "off, rank 4": {"pretrain.enabled": False, "pretrain.rank": 4},
                "on": {"pretrain.enabled": True},
            },
        },
        baseline={"finetune.adapter": "lora"},
    )
    assert [variant.name for variant in found.variants] == [
        "adapter auto, pretraining off",
        "adapter auto, pretraining on",
        "adapter dora, pretraining off",
        "adapter dora, pretraining on",
    ]
    assert found.variants[0].also == (
        "adapter auto, pretraining off, rank 4",
        "adapter lora, pretraining off",
        "adapter lora, pretraining off, rank 4",
    )
    assert [number for _, number in found.combinations] == [0, 0, 1, 0, 0, 1, 2, 2, 3]
    assert found.baseline == 0, "auto and lora are one variant"
    assert "5 combinations that resolve to another's settings" in found.describe()


def test_pretraining_is_shared_by_cells_that_start_alike() -> None:
    found = grid(
        axes={
            "finetune.adapter": ["lora", "dora"],
            "views": {"one": {"backbone.views.tiles": 0}, "ten": {}},
            "pretrain.rank": [8, 16],
        },
        seeds=[0, 1],
    )
    cells = list(found.cells())
    starts = {found.pretraining(cell).model_dump_json() for cell in cells}
    assert len(cells) == 16
    assert len(starts) == 4, "two ranks, two seeds; neither adapters nor views matter"
    assert "from 4 starting points, 4 of them" in found.describe()


def test_a_grid_survives_json() -> None:
    found = grid(axes={**ADAPTERS, "backbone.views.tiles": [0, "aspect"]}, folds=3)
    assert Grid.model_validate_json(found.model_dump_json()) == found


def test_short_names_are_distinct() -> None:
    found = grid(axes={"pretrain.rank": [4], "finetune.rank": [8], "backbone.views.flip": [True]})
    assert found.variants[0].name == "pretrain.rank 4, finetune.rank 8, flip true"


@pytest.mark.parametrize(
    ("ablation", "words"),
    [
        ({"axes": {"finetune.adaptor": ["lora"]}}, ("axis finetune.adaptor", "no such key")),
        ({"axes": {"finetune.adapter": ["lora", "lorra"]}}, ("lorra of the axis finetune.adap",)),
        ({"axes": {"finetune.adapter.x": [1]}}, ("axis finetune.adapter.x",)),
        ({"axes": {"v": {"a": {"backbone.vews.tiles": 0}}}}, ("value a of the axis v", "vews")),
        ({"axes": {"backbone.image_size": [96], "backbone.name": ["vit_small_patch16_dinov3"],
                   "backbone.head": ["cls", "mean"], "backbone.weights": ["package"]}},
         ("backbone.weights", "package exists for")),
        ({"axes": {**ADAPTERS, "x": {"a": {"finetune.adapter": "full"}}}},
         ("finetune.adapter and x", "both set finetune.adapter")),
        ({"axes": {"finetune.loss.name": ["focal"], "x": {"a": {"finetune.loss": {}}}}},
         ("both set finetune.loss",)),
        ({"axes": {"seed": [1, 2]}}, ("sets seed", "under `seeds`")),
        ({"axes": {"split.test": [0.1]}}, ("sets split.test", "the same images")),
        ({"axes": {"data.fusion.near_duplicates": ["drop"]}}, ("the same images",)),
        ({"axes": {"calibrate.method": ["identity"]}}, ("an ablation varies size",)),
        ({"axes": ADAPTERS, "exclude": [{"finetune.adapter": "full"}]}, ("no value full",)),
        ({"axes": ADAPTERS, "exclude": [{"adapter": "lora"}]}, ("there is no axis adapter",)),
        ({"axes": ADAPTERS, "exclude": [{}]}, ("ablation.exclude.0 is empty",)),
        ({"axes": ADAPTERS, "exclude": [{"finetune.adapter": ["lora", "dora"]}]},
         ("leaves no combination",)),
        ({"axes": ADAPTERS, "exclude": [{"finetune.adapter": "lora"}]},
         ("baseline", "is excluded")),
        ({"axes": ADAPTERS, "baseline": {"finetune.adapter": "full"}}, ("no value full",)),
        ({"axes": {"finetune.rank": [1, 2, 3, 4]}, "bootstrap": 100}, ("set at least 119",)),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_axis_and_the_key(
    ablation: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        grid(**ablation)
    for word in words:
        assert word in str(caught.value)


def test_folds_and_shards_exclude_each_other() -> None:
    data = {"sources": [{"kind": "synthetic"}], "shards": {"to": "shards"}}
    with pytest.raises(ConfigError, match=r"data\.shards\.to cannot be used with them"):
        grid({"data": data}, axes=ADAPTERS, folds=3)
    assert grid({"data": data}, axes=ADAPTERS).folds is None


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (None, "ablation.axes is missing"),
        ({"axes": {"a": "lora"}}, "needs a list of values, or names"),
        ({"axes": {"a": []}}, "needs a list of values, or names"),
        ({"axes": {"a": [{"b": 1}]}}, "give its values names"),
        ({"axes": {"a": {"u": 3}}}, "the value u of the axis a must be a mapping"),
        ({"axes": {"a (b)": {"u": {}}}}, "the name 'a (b)' of an axis cannot be kept by MLflow"),
        ({"axes": {"a" * 201: {"u": {}}}}, "up to 200 letters, digits, spaces"),
        ({"axes": {"a": [1, 2, 1]}}, "the axis a holds 1 more than once"),
        ({"axes": ADAPTERS, "seeds": [1, 1]}, "a seed stands there twice"),
        ({"axes": ADAPTERS, "seeds": []}, "ablation.seeds"),
        ({"axes": ADAPTERS, "folds": 2}, "greater than or equal to 3"),
        ({"axes": ADAPTERS, "fold": 5}, "there is no such key; known are axes"),
        ({"axes": ADAPTERS, "metric": "f1"}, "ablation.metric"),
    ],
)
def test_a_grid_that_is_not_one(tree: dict[str, Any] | None, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_ablation(tree)
    assert words in str(caught.value)


def test_the_names_of_axes_are_names_for_mlflow() -> None:
    from mlflow.utils.validation import _validate_param

    for name in ("Größe 2", "a.b_c", "x: -y"):
        (axis,) = parse_ablation({"axes": {name: {"(any) name": {}}}}).axes
        _validate_param(f"axis.{axis}", "(any) name")


def test_no_setting_names_the_data_that_judges() -> None:
    assert set(AblationSettings.model_fields) == {
        "axes", "exclude", "baseline", "seeds", "folds", "metric", "bootstrap",
    }  # fmt: skip


def test_the_page_and_the_configuration_show_grids_that_are_valid() -> None:
    text = (ROOT / "docs" / "ablation.md").read_text()
    (block,) = re.findall(r"^```yml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    sizes = []
    for source in (block, (ROOT / "configs" / "ablation.yaml").read_text()):
        parameters = yaml.safe_load(source)["parameters"]
        found = expand(parameters["settings"], parse_ablation(parameters["ablation"]))
        sizes.append((len(found.variants), len(list(found.cells()))))
    assert sizes == [(20, 60), (6, 12)]
    documented = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert documented == set(AblationSettings.model_fields)

"""The settings tree: strict, resolved once, and clear about what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roadwork.environment import Environment
from roadwork.errors import ConfigError
from roadwork.settings import (
    SIZES,
    Settings,
    json_schema,
    load_settings,
    parse_settings,
    resolve,
)

EMPTY = Environment(_env_file=None)  # pyright: ignore[reportCallIssue]


def texts(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        return [text for value in tree.values() for text in texts(value)]
    if isinstance(tree, list | tuple):
        return [text for value in tree for text in texts(value)]
    return [tree] if isinstance(tree, str) else []


def test_an_empty_file_is_the_demo(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("")
    assert load_settings(path) == Settings() == load_settings(None) == parse_settings(None)


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_left_auto(size: str) -> None:
    resolved = resolve(parse_settings({"size": size}), EMPTY)
    assert "auto" not in texts(resolved.model_dump(mode="json"))
    assert resolved.backbone.name == SIZES[size].backbone
    assert resolved.backbone.image_size == SIZES[size].image_size


@pytest.mark.parametrize("size", SIZES)
def test_resolving_twice_changes_nothing(size: str) -> None:
    once = resolve(parse_settings({"size": size}), EMPTY)
    assert resolve(once, EMPTY) == once


def test_what_is_set_wins_over_the_dial() -> None:
    tree = {
        "size": "base",
        "backbone": {"image_size": 160, "weights": "random"},
        "finetune": {"epochs": 3, "adapter": "lora", "learning_rate": 0.01},
    }
    resolved = resolve(parse_settings(tree), EMPTY)
    assert resolved.backbone.image_size == 160
    assert resolved.finetune.epochs == 3
    assert resolved.finetune.adapter == "lora"
    assert resolved.finetune.learning_rate == 0.01
    assert resolved.finetune.batch_size == SIZES["base"].finetune_batch


def test_random_weights_are_trained_in_full() -> None:
    for weights, adapter in (("random", "full"), ("hub", "lora")):
        tree = {"size": "small", "backbone": {"weights": weights}}
        assert resolve(parse_settings(tree), EMPTY).finetune.adapter == adapter


@pytest.mark.parametrize(
    ("size", "name", "weights", "image_size"),
    [
        ("tiny", "tf_efficientnet_lite0", "package", 96),
        ("small", "tf_efficientnet_lite0", "package", 224),
        # No weights are published for the tiny transformer; the larger ones have a hub.
        ("tiny", "vit_pico_patch16_dinov3", "random", 96),
        ("small", "vit_small_patch16_dinov3", "hub", 224),
    ],
)
def test_weights_follow_the_backbone(size: str, name: str, weights: str, image_size: int) -> None:
    resolved = resolve(parse_settings({"size": size, "backbone": {"name": name}}), EMPTY)
    assert (resolved.backbone.weights, resolved.backbone.image_size) == (weights, image_size)


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"sise": "tiny"}, r"sise: there is no such key; known here: .*size"),
        ({"split": {"tets": 0.2}}, r"split\.tets: there is no such key; known here: calibrate"),
        (
            {"data": {"sources": [{"kind": "synthetic", "drive": 3}]}},
            r"data\.sources\.0\.drive: .*drives",
        ),
        ({"size": "huge"}, r"size: .*'tiny'.*got 'huge'"),
        ({"seed": -1}, r"seed: .*greater than or equal to 0 \(got -1\)"),
        ({"conformal": {"alpha": 0.7}}, r"conformal\.alpha: .*less than 0\.5 \(got 0\.7\)"),
        ({"split": {"test": 0.6}}, r"split: .*= 1\.00 leaves less than 0\.10.*lower one"),
        (
            {"data": {"sources": [{"kind": "synthetic", "min_frames": 9, "max_frames": 3}]}},
            r"data\.sources\.0: min_frames",
        ),
        ({"data": {"sources": [{"kind": "tape"}]}}, r"data\.sources\.0: .*'synthetic'"),
        ({"data": {"sources": []}}, r"data\.sources: .*at least 1"),
        ({"data": {"sources": [{"kind": "natix", "rot": 1}]}}, r"data\.sources\.0\.rot: .*root"),
        ({"backbone": {"name": "vit_small_patch16_dinov3_qkvb"}}, r"use vit_small_patch16_dinov3$"),
        ({"backbone": {"weights": "local"}}, r"weights: local needs weights_path"),
        ({"name": "../evil"}, r"name: .*pattern"),
        ({"register": {"model_name": "a b"}}, r"register\.model_name: .*pattern"),
    ],
)
def test_faults_are_told_with_key_and_fix(tree: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_settings(tree)


def test_a_wrong_item_is_told_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings({"data": {"sources": [{"kind": "natix", "rot": 1}]}})
    assert len(str(caught.value).splitlines()) == 2


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings({"seed": "x", "sise": 1, "conformal": {"alpha": 2}})
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        (
            {"size": "small", "backbone": {"image_size": 100}},
            "no multiple of the patch size 16: use 96",
        ),
        (
            {"backbone": {"name": "vit_small_patch16_dinov3", "weights": "package"}},
            "package exists for tf_efficientnet_lite0 alone",
        ),
        ({"backbone": {"name": "resnet50"}}, "not for resnet50: name that backbone, or a vit_"),
        ({"data": {"sources": [{"kind": "image_folder"}]}}, "ROADWORK_DATA is empty"),
    ],
)
def test_impossible_combinations(tree: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        resolve(parse_settings(tree), EMPTY)


def test_paths_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADWORK_DATA", "/photographs")
    monkeypatch.setenv("ROADWORK_RUNS", "/large-disk")
    sources = [{"kind": "image_folder"}, {"kind": "natix"}, {"kind": "mapillary", "root": "s3://m"}]
    resolved = resolve(parse_settings({"data": {"sources": sources}}))
    assert resolved.runs == Path("/large-disk")
    roots = [source.model_dump()["root"] for source in resolved.data.sources]
    assert roots == ["/photographs", "/photographs/natix", "s3://m"]


def test_the_settings_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADWORK_RUNS", "/large-disk")
    assert resolve(parse_settings({"runs": "here"})).runs == Path("here")


def test_settings_are_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        Settings().seed = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_round_trip_through_json() -> None:
    resolved = resolve(Settings(), EMPTY)
    assert parse_settings(json.loads(resolved.model_dump_json())) == resolved


def test_a_step_keeps_its_parts_alone() -> None:
    tree = {"seed": 3, "finetune": {"rank": 2}, "conformal": {"alpha": 0.2}}
    part = parse_settings(tree).only("conformal")
    assert (part.seed, part.conformal.alpha) == (3, 0.2)
    assert part.finetune == Settings().finetune


def test_yaml_under_parameters(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("enable_cache: true\nparameters:\n  settings:\n    seed: 7\n")
    assert load_settings(path).seed == 7


@pytest.mark.parametrize(
    ("text", "told"),
    [("- 1\n", "mapping of keys, not a list"), ("a: [1\n", "no valid YAML"), (None, "cannot read")],
)
def test_files_that_are_no_settings(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "bad.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_settings(path)


def test_the_schema_describes_every_key() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(Settings().model_dump(by_alias=True))
    assert schema["additionalProperties"] is False

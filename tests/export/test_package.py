"""Packaging: the bundle answers like the network that was evaluated, and tells no paths."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from roadwork.bundle import ModelBundle
from roadwork.calibration.fitted import FittedCalibrator, fit_calibrator
from roadwork.conformal.fitted import FittedConformal, fit_conformal
from roadwork.data.splits import Splits
from roadwork.errors import ParityError
from roadwork.evaluation.final import evaluate
from roadwork.evaluation.record import DataSummary, EvaluationReport
from roadwork.export import package as module
from roadwork.export.golden import golden_pictures, views_of
from roadwork.export.package import Packaged, package
from roadwork.models.classifier import Classifier, attach_head
from roadwork.models.inference import predict_logits
from roadwork.predictor import Predictor
from roadwork.settings import Settings, parse_settings
from roadwork.training.probe import fit_probe
from tests.training.made_photos import small_backbone, small_settings

SETTINGS = small_settings(export={"golden": 4}, conformal={"method": "lac", "alpha": 0.4})


class Parts(NamedTuple):
    classifier: Classifier
    calibrator: FittedCalibrator
    conformal: FittedConformal
    report: EvaluationReport


def certify(classifier: Classifier, sets: Splits) -> Parts:
    logits = predict_logits(classifier, sets.calibrate, SETTINGS.data)
    calibrator = fit_calibrator(classifier, sets.calibrate, logits, "temperature")
    logits = predict_logits(classifier, sets.conformal, SETTINGS.data)
    probabilities = calibrator.model.transform(logits)
    conformal = fit_conformal(
        classifier, calibrator, sets.conformal, probabilities, SETTINGS.conformal
    )
    nothing = DataSummary(roles={}, sources={}, quarantine={}, exact_copies=0)
    report, _ = evaluate(
        classifier, classifier, calibrator, conformal, sets.test, nothing, SETTINGS
    )
    return Parts(classifier, calibrator, conformal, report)


@pytest.fixture(scope="module")
def parts(sets: Splits) -> Parts:
    return certify(fit_probe(small_backbone(SETTINGS), sets.train, SETTINGS), sets)


def with_paths(folder: Path) -> Settings:
    """Settings as a run on photographs resolves them: with paths of this machine."""
    tree = SETTINGS.model_dump(mode="json")
    tree["runs"] = str(folder / "runs")
    tree["data"]["sources"] = [{"kind": "image_folder", "root": str(folder / "photographs")}]
    tree["backbone"] |= {"weights": "local", "weights_path": str(folder / "w.safetensors")}
    return parse_settings(tree)


@pytest.fixture(scope="module")
def packaged(parts: Parts, sets: Splits, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    folder = tmp_path_factory.mktemp("bundles")
    return package(*parts, sets.select, with_paths(folder), folder)


def test_the_bundle_opens_and_answers_like_the_evaluated_chain(
    packaged: Packaged, parts: Parts, sets: Splits
) -> None:
    bundle = ModelBundle.open(packaged.bundle.path)
    assert bundle.hash == packaged.bundle.hash
    logits = predict_logits(parts.classifier, sets.test, SETTINGS.data)
    expected = parts.calibrator.model.transform(logits)
    wanted = parts.conformal.model.predict_set(expected)
    assert float(np.ptp(expected[:, 1])) > 0.05
    for engine in ("onnxruntime", "openvino", "torch"):
        answers = Predictor(bundle, engine, threads=1).predict(
            [Path(uri) for uri in sets.test.uris]
        )
        found = np.array([answer.probability for answer in answers])
        np.testing.assert_allclose(found, expected[:, 1], atol=1e-5)
        names = [answer.prediction_set for answer in answers]
        assert names == [
            tuple(name for name, is_in in zip(bundle.config.classes, row, strict=True) if is_in)
            for row in wanted
        ]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_the_self_test_passes(engine: str, packaged: Packaged) -> None:
    result = Predictor(packaged.bundle, engine, threads=1).self_test()
    assert (result.images, result.engine) == (4, engine)
    assert result.max_probability_difference < 1e-5


def test_the_bundle_carries_all_exposure_and_the_parity_of_every_engine(
    packaged: Packaged, parts: Parts
) -> None:
    assert packaged.bundle.exposure.to_bytes() == parts.conformal.exposure.to_bytes()
    assert set(packaged.bundle.exposure.counts()) == {"train", "calibrate", "conformalise"}
    assert packaged.bundle.parity.accepted == ("onnxruntime", "openvino")
    for parity in packaged.bundle.parity.engines.values():
        assert parity.images == 4 + 12
    names = [check.name for check in packaged.report.parity or ()]
    assert [name for name in names if "answers like torch" in name] == [
        "onnxruntime answers like torch",
        "openvino answers like torch",
    ]


def test_the_settings_are_valid_and_without_paths_of_this_machine(packaged: Packaged) -> None:
    settings = parse_settings(packaged.bundle.settings)
    assert settings.runs is None
    assert settings.data.sources[0].model_dump()["root"] is None
    assert settings.backbone.weights_path == Path("w.safetensors")
    kept = parse_settings(json.loads(SETTINGS.model_dump_json()))
    for part in ("split", "pretrain", "finetune", "calibrate", "conformal", "evaluate", "export"):
        assert getattr(settings, part) == getattr(kept, part)


def test_no_file_tells_where_it_was_made(packaged: Packaged, sets: Splits) -> None:
    places = [
        packaged.bundle.path.parent,
        Path(sets.train.uris[0]).parent,
        Path(torch.__file__).parents[1],
    ]
    for file in packaged.bundle.path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for place in places:
                assert str(place).encode() not in content, (file.name, place)


def test_the_same_inputs_give_the_same_bundle_anywhere(
    packaged: Packaged, parts: Parts, sets: Splits, tmp_path: Path
) -> None:
    again = package(*parts, sets.select, with_paths(tmp_path), tmp_path)
    assert again.bundle.digests == packaged.bundle.digests
    assert again.bundle.hash == packaged.bundle.hash
    assert again.bundle.path.name == packaged.bundle.path.name


def test_the_same_bundle_is_kept_and_another_gets_a_number(
    packaged: Packaged, parts: Parts, sets: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = packaged.bundle.read("model.onnx")
    monkeypatch.setattr(module, "export_onnx", lambda classifier: model)  # to save time
    folder = packaged.bundle.path.parent
    again = package(*parts, sets.select, with_paths(folder), folder)
    assert again.bundle.path == packaged.bundle.path
    changed = with_paths(folder).model_copy(update={"seed": 8})
    other = package(*parts, sets.select, changed, folder)
    assert other.bundle.path.name == f"{packaged.bundle.path.name}.2"
    assert ModelBundle.open(packaged.bundle.path).hash == packaged.bundle.hash


def test_a_network_that_says_the_same_of_everything_is_refused(
    parts: Parts, sets: Splits, tmp_path: Path
) -> None:
    """An untrained head: every engine would agree with it."""
    network = attach_head(small_backbone(SETTINGS), SETTINGS.backbone.views).eval()
    torch.nn.init.normal_(network.head.weight, std=1e-4, generator=torch.Generator().manual_seed(0))
    flat = replace(parts.classifier, network=network)
    with pytest.raises(ParityError, match="vacuous"):
        package(
            flat, parts.calibrator, parts.conformal, parts.report, sets.select, SETTINGS, tmp_path
        )
    assert not list(tmp_path.iterdir())


def test_a_graph_that_answers_otherwise_makes_no_bundle(
    parts: Parts, sets: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = attach_head(small_backbone(SETTINGS), SETTINGS.backbone.views).eval()
    network.load_state_dict(parts.classifier.network.state_dict())
    with torch.no_grad():
        network.head.bias[1] += 0.05
    original = module.export_onnx
    monkeypatch.setattr(
        module, "export_onnx", lambda classifier: original(replace(classifier, network=network))
    )
    with pytest.raises(ParityError, match="a probability differs by"):
        package(*parts, sets.select, SETTINGS, tmp_path)
    assert not list(tmp_path.iterdir())


def test_golden_pictures_are_always_the_same_and_different_from_each_other() -> None:
    pictures = golden_pictures(4)
    assert golden_pictures(4) == pictures
    assert len(set(pictures)) == 4
    assert all(picture.startswith(b"\xff\xd8") for picture in pictures)
    views = views_of(pictures, 32, 9)
    assert views.shape == (4, 10, 32, 32, 3)
    assert (views.reshape(4, -1).std(axis=1) > 10).all()

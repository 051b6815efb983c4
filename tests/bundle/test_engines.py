"""Engines: the same graph gives the same answer, and the choice is explained."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

import roadwork.engines as engines
from roadwork.bundle import ModelBundle
from roadwork.bundle_files import to_json
from roadwork.engines import (
    ENGINES,
    Availability,
    Engine,
    OnnxRuntimeEngine,
    OpenVinoEngine,
    TorchEngine,
    choose_engine,
)
from roadwork.errors import ConfigError, DataError
from roadwork.export.parity import ParityReport
from tests.bundle.make_bundle import (
    SIZE,
    accepted,
    bundle_parts,
    expected_logits,
    make_bundle,
    onnx_model,
)

VIEWS = np.random.default_rng(0).integers(0, 256, (5, 10, SIZE, SIZE, 3), dtype=np.uint8)


def torch_engine() -> TorchEngine:
    import torch

    from tests.bundle.make_bundle import WEIGHTS

    class MeanColor(torch.nn.Module):
        def forward(self, views: torch.Tensor) -> torch.Tensor:
            return views.float().mean((1, 2, 3)) / 255 @ torch.from_numpy(WEIGHTS)

    return TorchEngine(MeanColor())


@pytest.fixture(params=["onnxruntime", "openvino", "torch"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "torch":
        return torch_engine()
    kind = {"onnxruntime": OnnxRuntimeEngine, "openvino": OpenVinoEngine}[request.param]
    return kind(onnx_model(), threads=1)


def test_logits_by_hand(engine: Engine) -> None:
    black_and_white = np.zeros((2, 10, SIZE, SIZE, 3), dtype=np.uint8)
    black_and_white[1, ..., 0] = 255
    logits = engine.run(black_and_white)
    np.testing.assert_allclose(logits, [[0.0, 0.0], [-3.0, 3.0]], atol=1e-6)
    assert logits.dtype == np.float32


def test_an_answer_has_the_same_bits_alone_and_in_any_batch(engine: Engine) -> None:
    batch = engine.run(VIEWS)
    np.testing.assert_allclose(batch, expected_logits(VIEWS), atol=1e-5)
    for row in range(len(VIEWS)):
        assert np.array_equal(engine.run(VIEWS[row : row + 1])[0], batch[row])
    assert np.array_equal(engine.run(VIEWS[::-1]), batch[::-1])


def test_threads_may_share_an_engine(engine: Engine) -> None:
    batch = engine.run(VIEWS)
    rows = [index % len(VIEWS) for index in range(60)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda row: engine.run(VIEWS[row : row + 1])[0], rows))
    assert np.array_equal(np.stack(answers), batch[rows])


@pytest.mark.parametrize(
    "views", [VIEWS.astype(np.float32), VIEWS[0], VIEWS[..., :2], VIEWS[:0]], ids=repr
)
def test_other_arrays_are_refused(engine: Engine, views: np.ndarray) -> None:
    with pytest.raises(DataError, match="an engine takes uint8 views"):
        engine.run(views)


def test_auto_takes_the_first_that_parity_accepted(
    bundle: ModelBundle, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "roadwork.engines")
    assert choose_engine(bundle, threads=1).name == "openvino"
    assert "OpenVINO, CPU, float32 (the first that can run and agreed in parity)" in caplog.text


def refused(name: str) -> ParityReport:
    parity = accepted(name).model_copy(update={"accepted": False, "reasons": ("too far off",)})
    return ParityReport(engines={name: parity, "onnxruntime": accepted("onnxruntime")})


def test_a_refused_engine_is_passed_over_and_cannot_be_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "roadwork.engines")
    bundle = make_bundle(tmp_path / "bundle", {"parity.json": to_json(refused("openvino"))})
    assert choose_engine(bundle, threads=1).name == "onnxruntime"
    assert "engine passed over: openvino: parity refused it: too far off" in caplog.text
    with pytest.raises(ConfigError, match="the engine openvino: parity refused it: too far off"):
        choose_engine(bundle, "openvino")


def test_an_engine_that_parity_did_not_see_may_not_answer(tmp_path: Path) -> None:
    report = ParityReport(engines={"onnxruntime": accepted("onnxruntime")})
    bundle = make_bundle(tmp_path / "bundle", {"parity.json": to_json(report)})
    with pytest.raises(ConfigError, match="openvino: parity was not checked"):
        choose_engine(bundle, "openvino")
    assert choose_engine(bundle, "auto", threads=1).name == "onnxruntime"


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    missing = Availability(False, 'not installed: pip install "roadwork[serve]"')
    table = {
        name: replace(info, available=lambda: missing) if name in names else info
        for name, info in ENGINES.items()
    }
    monkeypatch.setattr(engines, "ENGINES", MappingProxyType(table))


def test_an_engine_that_is_not_installed(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "openvino")
    with pytest.raises(ConfigError, match=r"openvino: not installed: pip install"):
        choose_engine(bundle, "openvino")
    assert choose_engine(bundle, threads=1).name == "onnxruntime"


def test_no_engine_at_all(bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, *ENGINES)
    with pytest.raises(ConfigError, match=r"no engine can serve the bundle .*onnxruntime: not"):
        choose_engine(bundle)


def test_an_unknown_engine_names_the_known(bundle: ModelBundle) -> None:
    with pytest.raises(ConfigError, match="use auto, openvino, onnxruntime, torch"):
        choose_engine(bundle, "tensorflow")


def test_every_engine_is_available_in_development() -> None:
    assert all(info.available().usable for info in ENGINES.values())
    assert list(ENGINES) == [info.name for info in ENGINES.values()]


def test_openvino_computes_in_float32() -> None:
    model = OpenVinoEngine(onnx_model(), threads=1)._model
    assert str(model.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
    assert model.get_property("INFERENCE_NUM_THREADS") == 1


def test_the_torch_engine_rebuilds_the_network_of_the_bundle(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save

    from roadwork.models.classifier import ClassifierSpec, build_classifier_network
    from roadwork.settings import ViewSettings

    spec = ClassifierSpec(
        title="test",
        backbone="vit_pico_patch16_dinov3",
        image_size=SIZE,
        views=ViewSettings(tiles=9, aggregator="max"),
        adapter="full",
        origin="random",
    )
    torch.manual_seed(0)
    network = build_classifier_network(spec).eval()
    torch.nn.init.normal_(network.head.weight)
    config = json.loads(bundle_parts()["config.json"])
    config["architecture"] = spec.model_dump(mode="json")
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    changes = {"config.json": to_json(config), "model.safetensors": save(weights)}
    engine = choose_engine(make_bundle(tmp_path / "bundle", changes), "torch")
    with torch.inference_mode():
        expected = network(torch.from_numpy(VIEWS)).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(engine.run(VIEWS), expected, atol=1e-5)

"""A complete bundle around a graph so small that its answers are computed by hand.

The graph averages every colour over all views and pixels and applies ``WEIGHTS``; a reddish
picture is roadwork, a bluish one is not.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roadwork import CLASSES, POSITIVE
from roadwork.bundle import ModelBundle, write_bundle
from roadwork.bundle_files import BundleConfig, Policy, Preprocessor, golden_parts, to_json
from roadwork.calibration import TemperatureScaling
from roadwork.conformal import MondrianConformal
from roadwork.data.exposure import Exposure, IdSet, Use, identifiers
from roadwork.data.views import make_views
from roadwork.export.parity import EngineParity, ParityReport
from roadwork.settings import Settings

SIZE, TILES = 32, 9
WEIGHTS = np.array([[-3.0, 3.0], [0.0, 0.0], [3.0, -3.0]], dtype=np.float32)
CALIBRATOR = TemperatureScaling(temperature=1.5, at_bound=False)
# Ten images a class with alpha 0.25 put the rank at 9 of 10.
CONFORMAL = MondrianConformal(
    alpha=0.25, classes=CLASSES, thresholds=(0.6, 0.6), n=(10, 10), ranks=(9, 9)
)

CARD = b"""---
license: apache-2.0
---
# Mean colour

The mean colour of a
photograph decides.

More is not known.
"""


def onnx_model(weights: NDArray[np.float32] = WEIGHTS) -> bytes:
    """uint8 views (N, V, S, S, 3) → float32 → mean colour in [0, 1] → logits (N, 2)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["views"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["color"]),
        helper.make_node("MatMul", ["color", "weights"], ["logits"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2, 3], dtype=np.int64), "axes"),
        numpy_helper.from_array(np.array(1 / 255, dtype=np.float32), "scale"),
        numpy_helper.from_array(weights, "weights"),
    ]
    shape = ["N", 1 + TILES, SIZE, SIZE, 3]
    graph = helper.make_graph(
        nodes,
        "mean_color",
        [helper.make_tensor_value_info("views", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        constants,
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    checker.check_model(model)
    return model.SerializeToString()


def expected_logits(views: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Logits (N, 2) of views (N, V, S, S, 3), in float64 without an engine."""
    return views.mean(axis=(1, 2, 3), dtype=np.float64) / 255 @ WEIGHTS.astype(np.float64)


def picture(red: int, blue: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A noisy picture of about one colour."""
    rng = np.random.default_rng(red * 256 + blue)
    pixels = np.array([red, 90, blue]) + rng.normal(0, 8, (size[1], size[0], 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def jpeg(red: int, blue: int) -> bytes:
    """The picture as a JPEG file."""
    buffer = io.BytesIO()
    picture(red, blue).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def colors(count: int) -> list[tuple[int, int]]:
    """Colours from bluish to reddish."""
    return [(red, 255 - red) for red in np.linspace(20, 235, count).astype(int).tolist()]


def accepted(engine: str) -> EngineParity:
    """What an engine that agrees perfectly receives."""
    return EngineParity(
        engine=engine,
        accepted=True,
        reasons=(),
        images=8,
        vacuous=False,
        spread=0.9,
        cosine=1.0,
        max_probability_difference=0.0,
        decision_agreement=1.0,
        set_agreement=1.0,
        batch_difference=0.0,
    )


def bundle_parts(engines: tuple[str, ...] = ("onnxruntime", "openvino")) -> dict[str, bytes]:
    """Every file of a bundle."""
    pictures = [jpeg(red, blue) for red, blue in colors(4)]
    views = np.stack([make_views(Image.open(io.BytesIO(p)), SIZE, TILES) for p in pictures])
    ids = IdSet.of(identifiers(["sample-1", "sample-2"]), identifiers(["drive-1"]))
    config = BundleConfig(
        classes=CLASSES,
        positive=POSITIVE,
        backbone="mean_color",
        adapter="none",
        image_size=SIZE,
        tiles=TILES,
        aggregator="mean",
    )
    parity = ParityReport(engines={name: accepted(name) for name in engines})
    return {
        "LICENSE": b"Apache-2.0\n",
        "README.md": CARD,
        "calibration.json": to_json(CALIBRATOR),
        "config.json": to_json(config),
        "conformal.json": to_json(CONFORMAL),
        "exposure.bin": Exposure({Use.TRAIN: ids}).to_bytes(),
        "metrics.json": b'{"auroc": 0.9}\n',
        "model.onnx": onnx_model(),
        "model.safetensors": b"\x02\x00\x00\x00\x00\x00\x00\x00{}",
        "parity.json": to_json(parity),
        "policy.json": to_json(Policy()),
        "preprocessor.json": to_json(Preprocessor(size=SIZE, tiles=TILES, max_megapixels=50.0)),
        "report.html": b"<!doctype html><title>Report</title>\n",
        "settings.json": to_json(Settings()),
        **golden_parts(pictures, expected_logits(views), 1e-3),
    }


def make_bundle(target: Path, changes: Mapping[str, bytes] | None = None) -> ModelBundle:
    """Write a bundle, some of its files replaced."""
    return write_bundle(target, {**bundle_parts(), **(changes or {})})

"""The graph of a submission: the bundle's network, its calibration and the shift, in one ONNX file.

With two classes, the calibrated log odds of the calibrators used here are an affine function of the
difference of the two logits (temperature: a scale; a deployment prior: an offset). The graph ends
with

    probability = sigmoid(scale * (z_roadwork - z_none) + offset + shift).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from roadwork.bundle import ModelBundle
from roadwork.errors import BundleError

if TYPE_CHECKING:
    import onnx

__all__ = ["LABELS", "PROBABILITY", "SCORES", "submission_graph"]

LABELS: tuple[str, str] = ("None", "Roadwork")
"""Names of the classes, as the subnet's miner looks them up."""

PROBABILITY = "probability"
SCORES = "scores"

_PROBES = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
_AFFINE = 1e-9


def submission_graph(bundle: ModelBundle, shift: float) -> bytes:
    """The bundle's ONNX model with calibration and shift inside.

    It takes what the bundle's graph takes, ``views`` uint8 (N, V, S, S, 3), and gives
    ``probability`` float32 (N,) of Roadwork and ``scores`` float32 (N, 2) of ``LABELS``.

    Args:
        bundle: of two classes.
        shift: added to the calibrated logit.

    Raises:
        BundleError: other than two classes, or a calibrator that is not affine in the logits.
    """
    import onnx
    from onnx import TensorProto, helper

    config = bundle.config
    if len(config.classes) != 2:
        raise BundleError(
            f"the {bundle.title} has the classes {', '.join(config.classes)}, but StreetVision "
            "asks for roadwork or none: export a bundle of two classes"
        )
    scale, offset = _affine(bundle)
    model = onnx.load_from_string(bundle.read("model.onnx"))
    graph = model.graph
    logits = graph.output[0].name
    count = graph.input[0].type.tensor_type.shape.dim[0]
    number = count.dim_param or "N"
    _constant(graph, "sv_positive", np.array(config.positive, dtype=np.int64))
    _constant(graph, "sv_other", np.array(1 - config.positive, dtype=np.int64))
    _constant(graph, "sv_scale", np.array(scale, dtype=np.float32))
    _constant(graph, "sv_shift", np.array(offset + shift, dtype=np.float32))
    _constant(graph, "sv_one", np.array(1.0, dtype=np.float32))
    _constant(graph, "sv_axis", np.array([1], dtype=np.int64))
    graph.node.extend(
        [
            helper.make_node("Gather", [logits, "sv_positive"], ["sv_z_positive"], axis=1),
            helper.make_node("Gather", [logits, "sv_other"], ["sv_z_other"], axis=1),
            helper.make_node("Sub", ["sv_z_positive", "sv_z_other"], ["sv_margin"]),
            helper.make_node("Mul", ["sv_margin", "sv_scale"], ["sv_scaled"]),
            helper.make_node("Add", ["sv_scaled", "sv_shift"], ["sv_shifted"]),
            helper.make_node("Sigmoid", ["sv_shifted"], [PROBABILITY]),
            helper.make_node("Sub", ["sv_one", PROBABILITY], ["sv_none"]),
            helper.make_node("Unsqueeze", ["sv_none", "sv_axis"], ["sv_none_column"]),
            helper.make_node("Unsqueeze", [PROBABILITY, "sv_axis"], ["sv_roadwork_column"]),
            helper.make_node("Concat", ["sv_none_column", "sv_roadwork_column"], [SCORES], axis=1),
        ]
    )
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info(PROBABILITY, TensorProto.FLOAT, [number]),
            helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, [number, 2]),
        ]
    )
    kept = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**kept, "classes": ",".join(LABELS)})
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _affine(bundle: ModelBundle) -> tuple[float, float]:
    """Scale and offset from the difference of logits to the calibrated log odds."""
    positive = bundle.config.positive
    logits = np.zeros((len(_PROBES), 2))
    logits[:, positive] = _PROBES
    found = []
    for level in (0.0, 1.0):
        logarithms = np.log(bundle.calibrator.transform(logits + level))
        found.append(logarithms[:, positive] - logarithms[:, 1 - positive])
    offset = float(found[0][2])
    scale = float(found[0][4] - found[0][0]) / 2
    if not np.allclose(found, scale * _PROBES + offset, rtol=_AFFINE, atol=_AFFINE):
        raise BundleError(
            f"the calibrator of the {bundle.title} ({type(bundle.calibrator).__name__}) is not "
            "affine in the logits, as this export needs: make a bundle with calibrate.method "
            "temperature"
        )
    return scale, offset


def _constant(graph: onnx.GraphProto, name: str, value: np.ndarray) -> None:
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(value, name))

"""The folder of a submission: written as a whole, and checked by answering with it."""

from __future__ import annotations

import inspect
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roadwork.bundle_files import to_json
from roadwork.data import views
from roadwork.data.decode import decode_image
from roadwork.engines.onnxruntime import OnnxRuntimeEngine
from roadwork.errors import ConfigError, ParityError
from roadwork.evaluation.streetvision import LEVELS, augment, encode_query
from roadwork.export.streetvision.graph import LABELS, PROBABILITY, SCORES, submission_graph
from roadwork.export.streetvision.operating_point import OperatingPoint
from roadwork.export.streetvision.readme import readme
from roadwork.export.streetvision.submission import Submission
from roadwork.predictor import Predictor
from roadwork.sealing import write_files

__all__ = ["TOLERANCE", "Exported", "export_streetvision"]

TOLERANCE = 1e-5
"""Largest difference of a probability, in float32, between the folder and the shifted bundle."""


@dataclass(frozen=True)
class Exported:
    """A folder that answered like its bundle.

    Attributes:
        folder: where it is.
        queries: pictures that were answered by both.
        max_difference: largest difference of a probability, after the shift.
        undecided: queries so near to the threshold that the decision was not compared.
    """

    folder: Path
    queries: int
    max_difference: float
    undecided: int


def export_streetvision(
    predictor: Predictor, submission: Submission, point: OperatingPoint, target: Path
) -> Exported:
    """Write what StreetVision demands, read it back, and compare its answers with the bundle's.

    Args:
        predictor: an opened bundle, on any engine; its answers are the standard.
        submission: who submits what.
        point: which probability becomes 0.5.
        target: folder to create; it appears complete and checked, or not at all.

    Raises:
        ConfigError: the target exists.
        BundleError: the bundle has other than two classes, or no affine calibrator.
        ParityError: the folder does not answer like the bundle.
    """
    if target.exists():
        raise ConfigError(f"{target} exists already: name a folder that does not")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        partial.chmod(0o755)  # mkdtemp gives 0o700, which another user cannot read
        write_files(partial, _parts(predictor, submission, point))
        queries, worst, undecided = _check(partial, predictor, point)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Exported(target, queries, worst, undecided)


def _parts(
    predictor: Predictor, submission: Submission, point: OperatingPoint
) -> Mapping[str, bytes | Path]:
    import onnx

    bundle = predictor.bundle
    graph = submission_graph(bundle, point.shift)
    name = onnx.load_from_string(graph).graph.input[0].name
    licences = [file for file in bundle.digests if file.upper().startswith(("LICENSE", "LICENCE"))]
    return {
        "model.onnx": graph,
        "model_card.json": to_json(submission.model_card()),
        "config.json": to_json(_config(predictor, name)),
        "preprocessor_config.json": to_json(_preprocessor(predictor)),
        "operating_point.json": to_json(point),
        "views.py": inspect.getsource(views).encode(),
        "README.md": readme(submission, bundle, point, name).encode(),
        "BUNDLE.md": bundle.read("README.md"),
        **{file: bundle.read(file) for file in licences},
    }


def _config(predictor: Predictor, name: str) -> Mapping[str, Any]:
    """``config.json``, with the labels under the keys that transformers uses."""
    config = predictor.bundle.config
    return {
        "id2label": {str(index): label for index, label in enumerate(LABELS)},
        "label2id": {label: index for index, label in enumerate(LABELS)},
        "num_labels": len(LABELS),
        "problem_type": "single_label_classification",
        "image_size": config.image_size,
        "backbone": config.backbone,
        "bundle": predictor.bundle.hash,
        "onnx": {
            "file": "model.onnx",
            "input": {"name": name, "type": "uint8", "shape": "N, V, S, S, 3"},
            "outputs": {PROBABILITY: "float32 (N), P(Roadwork)", SCORES: "float32 (N, 2)"},
        },
    }


def _preprocessor(predictor: Predictor) -> Mapping[str, Any]:
    """``preprocessor_config.json``: the facts of ``views.py``."""
    preprocessor = predictor.bundle.preprocessor
    return {
        "size": {"height": preprocessor.size, "width": preprocessor.size},
        "views": views.view_count(preprocessor.tiles),
        "tiles": preprocessor.tiles,
        "resample": preprocessor.resampling,
        "color_order": preprocessor.color_order,
        "do_rescale": False,
        "do_normalize": False,
        "note": "views are uint8; scaling and normalisation are part of the graph",
    }


def _check(folder: Path, predictor: Predictor, point: OperatingPoint) -> tuple[int, float, int]:
    """Answer the bundle's golden pictures, augmented at every level, with both."""
    bundle = predictor.bundle
    engine = OnnxRuntimeEngine((folder / "model.onnx").read_bytes(), threads=1)
    given, answers = [], []
    for number, case in enumerate(bundle.golden().cases):
        picture = decode_image(bundle.read(case.file))
        for level in range(len(LEVELS)):
            pixels, _ = augment(picture, level, np.random.default_rng([number, level]))
            query = encode_query(pixels)
            given.append(predictor.probabilities(predictor.logits([query]))[0])
            answers.append(float(engine.run(predictor.views(query)[None])[0]))
    after, positive = np.array(answers), bundle.config.positive
    before, other = np.array(given)[:, positive], np.array(given)[:, 1 - positive]
    # Of the two, the smaller probability has all its digits where the larger rounds to 1.
    expected = before / (before + other * np.exp(-point.shift))
    worst = float(np.abs(expected - after).max())
    near = np.abs(after - 0.5) <= TOLERANCE
    # A validator rounds half to even: 0.5 says "none", as the bundle does at its threshold.
    differing = int(((np.round(after) == 1) != (before > point.threshold))[~near].sum())
    if not worst <= TOLERANCE or differing:
        raise ParityError(
            f"the exported model does not answer like the {bundle.title}: the largest difference "
            f"of a probability over {len(given)} pictures is {worst:.2g} (allowed: {TOLERANCE:g}), "
            f"and {differing} decisions differ; nothing was written"
        )
    return len(given), worst, int(near.sum())

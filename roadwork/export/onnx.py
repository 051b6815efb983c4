"""Export to ONNX: one graph from uint8 views to logits, for any number of photographs."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from roadwork import __version__
from roadwork.data.views import view_count
from roadwork.errors import ParityError
from roadwork.models.classifier import Classifier

if TYPE_CHECKING:
    import onnx

__all__ = ["INPUT", "OUTPUT", "export_onnx"]

INPUT = "views"
OUTPUT = "logits"
_OPSET = 20


def export_onnx(classifier: Classifier) -> bytes:
    """The classifier as an ONNX model.

    The graph takes ``views``, uint8 of shape (N, V, S, S, 3) with any N, and gives ``logits``,
    float32 of shape (N, K). Scaling and normalisation are inside. The model's metadata names the
    classes and the version that wrote it; nothing in it tells where it was made.

    Raises:
        ParityError: the exporter failed.
    """
    import onnx

    spec = classifier.spec
    views = torch.zeros(
        (2, view_count(spec.views.tiles), spec.image_size, spec.image_size, 3), dtype=torch.uint8
    )
    network = classifier.network.cpu().eval()
    noise = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            with (
                warnings.catch_warnings(),
                contextlib.redirect_stdout(noise),
                _only_errors("torch.onnx", "onnxscript", "onnx_ir"),
                torch.no_grad(),
            ):
                warnings.simplefilter("ignore")  # the exporter warns of its own internals
                torch.onnx.export(
                    network,
                    (views,),
                    path,
                    dynamo=True,
                    opset_version=_OPSET,
                    input_names=[INPUT],
                    output_names=[OUTPUT],
                    dynamic_shapes=({0: torch.export.Dim("photographs")},),
                    external_data=False,
                    verbose=False,
                )
        except Exception as error:
            raise ParityError(
                f"the ONNX exporter failed on {spec.backbone}: {str(error).splitlines()[0]}"
            ) from error
        model = onnx.load(path)
    _forget_sources(model)
    metadata = {
        "producer": f"roadwork {__version__}",
        "classes": ",".join(spec.classes),
        "input": "uint8 RGB views (N, V, S, S, 3): the whole picture, then the tiles",
        "normalisation": "inside the graph",
    }
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _forget_sources(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: stack traces with the paths of the machine, at every node.

    They would also make equal networks differ, wherever Python is installed elsewhere.
    """
    graph = model.graph
    nodes = [*graph.node, *(node for function in model.functions for node in function.node)]
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in (graph, *model.functions, *nodes, *values):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextlib.contextmanager
def _only_errors(*names: str):
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)

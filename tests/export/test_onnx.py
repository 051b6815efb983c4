"""ONNX: one graph from uint8 views to logits, for any number of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch

from roadwork.data.exposure import Exposure
from roadwork.data.views import view_count
from roadwork.engines import OnnxRuntimeEngine, OpenVinoEngine
from roadwork.errors import ParityError
from roadwork.export import onnx as module
from roadwork.export.golden import golden_pictures, views_of
from roadwork.export.onnx import export_onnx
from roadwork.models.aggregators import GatedAttention
from roadwork.models.backbone import load_backbone
from roadwork.models.classifier import Classifier, ClassifierSpec, attach_head
from roadwork.models.inference import run_network
from roadwork.settings import BackboneSettings, ViewSettings
from roadwork.settings.models import Head
from tests.training.made_photos import NAME

PICO, LITE0 = "vit_pico_patch16_dinov3", "tf_efficientnet_lite0"
FORMS = {
    "pico-9": (PICO, "random", 32, {"tiles": 9}, "cls"),
    "two-0": (NAME, "random", 32, {"tiles": 0}, "cls"),
    "two-all": (
        NAME,
        "random",
        32,
        {"tiles": "aspect", "aggregator": "attention", "flip": True},
        "cls_mean",
    ),
    "lite0-9": (LITE0, "package", 64, {"tiles": 9, "aggregator": "topk_mean"}, "cls"),
    "lite0-0": (LITE0, "package", 64, {"tiles": 0}, "cls"),
    "lite0-flip": (LITE0, "package", 64, {"tiles": 9, "flip": True}, "cls"),
    "two-mean": (NAME, "random", 32, {"tiles": 0, "flip": True}, "mean"),
}
SLOW = {"lite0-0", "lite0-flip", "two-mean"}


class Exported(NamedTuple):
    classifier: Classifier
    model: bytes
    views: np.ndarray


def classifier_of(
    name: str, weights: str, size: int, wanted: dict[str, Any], head: Head
) -> Classifier:
    settings = BackboneSettings.model_validate(
        {"name": name, "weights": weights, "image_size": size, "head": head}
    )
    backbone = load_backbone(settings, seed=1)
    views = ViewSettings.model_validate(wanted)
    network = attach_head(backbone, views, head).eval()
    torch.manual_seed(2)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    if isinstance(network.aggregator, GatedAttention):
        torch.nn.init.normal_(network.aggregator.score.weight, std=0.5)
    spec = ClassifierSpec(
        title="model",
        backbone=name,
        image_size=size,
        head=head,
        views=views,
        adapter="none",
        origin=backbone.origin,
    )
    return Classifier(spec, network, Exposure())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(form, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, form in FORMS.items()
    ],
)
def exported(request: pytest.FixtureRequest) -> Exported:
    classifier = classifier_of(*request.param)
    views = views_of(golden_pictures(5), classifier.spec.image_size, classifier.spec.views.tiles)
    return Exported(classifier, export_onnx(classifier), views)


@pytest.mark.parametrize("kind", [OnnxRuntimeEngine, OpenVinoEngine])
def test_engines_answer_like_torch_for_any_number(
    kind: type[OnnxRuntimeEngine] | type[OpenVinoEngine], exported: Exported
) -> None:
    engine = kind(exported.model, 1)
    expected = run_network(exported.classifier.network, exported.views)
    assert float(np.ptp(expected[:, 0])) > 1e-2
    for count in (1, 3, 5):
        found = engine.run(exported.views[:count])
        assert found.shape == (count, 2)
        np.testing.assert_allclose(found, expected[:count], atol=1e-4)


def test_the_graph_itself_takes_whole_batches(exported: Exported) -> None:
    """The engines run photograph by photograph; others may not."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(exported.model, options)
    expected = run_network(exported.classifier.network, exported.views)
    for count in (1, 3, 5):
        (found,) = session.run(["logits"], {"views": exported.views[:count]})
        np.testing.assert_allclose(np.asarray(found), expected[:count], atol=1e-4)


def test_the_interface_is_named_and_everything_is_inside(exported: Exported) -> None:
    model = onnx.load_model_from_string(exported.model)
    spec = exported.classifier.spec
    (source,), (target,) = model.graph.input, model.graph.output
    assert (source.name, target.name) == ("views", "logits")
    assert source.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert target.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    dims = source.type.tensor_type.shape.dim
    assert dims[0].dim_param and not dims[0].dim_value
    size = spec.image_size
    assert [dim.dim_value for dim in dims[1:]] == [view_count(spec.views.tiles), size, size, 3]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["classes"] == "none,roadwork"
    assert metadata["producer"].startswith("roadwork ")
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    for trace in (b"site-packages", b".py", str(Path.cwd()).encode()):
        assert trace not in exported.model


def test_a_failing_exporter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setattr(module.torch.onnx, "export", fail)
    with pytest.raises(ParityError, match=rf"failed on {NAME}: no such operator$"):
        export_onnx(classifier_of(*FORMS["two-0"]))

"""ONNX: one graph from uint8 views to logits, for any number of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch

from roadwork.data.exposure import Exposure
from roadwork.engines import OnnxRuntimeEngine, OpenVinoEngine
from roadwork.errors import ParityError
from roadwork.export import onnx as module
from roadwork.export.golden import golden_pictures, views_of
from roadwork.export.onnx import export_onnx
from roadwork.models.backbone import load_backbone
from roadwork.models.classifier import Classifier, ClassifierSpec, attach_head
from roadwork.models.inference import run_network
from roadwork.settings import BackboneSettings, ViewSettings
from tests.training.made_photos import NAME

FORMS = [
    ("vit_pico_patch16_dinov3", "random", 32, 9, "max"),
    (NAME, "random", 32, 0, "max"),
    ("tf_efficientnet_lite0", "package", 64, 9, "topk_mean"),
    pytest.param(("tf_efficientnet_lite0", "package", 64, 0, "max"), marks=pytest.mark.slow),
]


class Exported(NamedTuple):
    classifier: Classifier
    model: bytes
    views: np.ndarray


def classifier_of(name: str, weights: str, size: int, tiles: int, aggregator: str) -> Classifier:
    settings = BackboneSettings.model_validate(
        {"name": name, "weights": weights, "image_size": size}
    )
    backbone = load_backbone(settings, seed=1)
    views = ViewSettings.model_validate({"tiles": tiles, "aggregator": aggregator})
    network = attach_head(backbone, views).eval()
    torch.manual_seed(2)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    spec = ClassifierSpec(
        title="model",
        backbone=name,
        image_size=size,
        views=views,
        adapter="none",
        origin=backbone.origin,
    )
    return Classifier(spec, network, Exposure())


@pytest.fixture(scope="module", params=FORMS, ids=["pico-9", "two-0", "lite0-9", "lite0-0"])
def exported(request: pytest.FixtureRequest) -> Exported:
    classifier = classifier_of(*request.param)
    views = views_of(golden_pictures(5), request.param[2], request.param[3])
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
    assert [dim.dim_value for dim in dims[1:]] == [1 + spec.views.tiles, size, size, 3]
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
        export_onnx(classifier_of(NAME, "random", 32, 0, "max"))

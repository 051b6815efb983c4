"""The predictor: answers by hand, one path for one and many, and few dependencies."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadwork.bundle import ModelBundle
from roadwork.bundle_files import to_json
from roadwork.data.decode import Refusal, UnreadableImage
from roadwork.errors import BundleError, ParityError
from roadwork.evaluation.coverage import conformal_record
from roadwork.evaluation.scored import ScoredSet
from roadwork.predictor import Prediction, Predictor
from tests.bundle.make_bundle import (
    CONFORMAL,
    bundle_parts,
    colors,
    jpeg,
    make_bundle,
    onnx_model,
    picture,
)


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def predictor(request: pytest.FixtureRequest, bundle: ModelBundle) -> Predictor:
    return Predictor(bundle, request.param, threads=1)


def plain(red: int, blue: int) -> Image.Image:
    return Image.new("RGB", (64, 48), (red, 0, blue))


def same(a: Prediction, b: Prediction) -> bool:
    return a.model_copy(update={"latency_ms": 0.0}) == b.model_copy(update={"latency_ms": 0.0})


def test_answers_by_hand(predictor: Predictor, bundle: ModelBundle) -> None:
    answers = predictor.predict([plain(255, 0), plain(0, 255), plain(128, 128)])
    # Logits ±3, temperature 1.5: P = 1 / (1 + exp(-4)) = 0.98201379.
    assert answers[0].probability == pytest.approx(0.98201379, abs=1e-6)
    assert answers[1].probability == pytest.approx(1 - 0.98201379, abs=1e-6)
    assert answers[2].probability == pytest.approx(0.5, abs=1e-6)
    assert [answer.label for answer in answers[:2]] == ["roadwork", "none"]
    # A class is in the set when 1 - p <= 0.6.
    assert [answer.prediction_set for answer in answers] == [
        ("roadwork",),
        ("none",),
        ("none", "roadwork"),
    ]
    assert [answer.defer for answer in answers] == [False, False, True]
    assert {answer.coverage for answer in answers} == {0.75}
    assert {answer.model for answer in answers} == {bundle.hash}
    assert {answer.stage for answer in answers} == {1}
    assert all(answer.latency_ms > 0 for answer in answers)


def test_a_set_without_the_decided_label_defers(tmp_path: Path) -> None:
    # Thresholds 0.3 and 0.8 put "none" into the set from P(none) >= 0.7, roadwork from 0.2.
    conformal = CONFORMAL.model_copy(update={"thresholds": (0.3, 0.8)})
    bundle = make_bundle(tmp_path / "bundle", {"conformal.json": to_json(conformal)})
    # Logits ±3 * 20 / 255, temperature 1.5: P = 1 / (1 + exp(-4 * 20 / 255)) = 0.5778.
    bluish, reddish, blue = Predictor(bundle, threads=1).predict(
        [plain(100, 120), plain(120, 100), plain(0, 255)]
    )
    assert bluish.probability == pytest.approx(1 - 0.5778, abs=1e-4)
    assert (bluish.label, bluish.prediction_set, bluish.defer) == ("none", ("roadwork",), True)
    assert reddish.probability == pytest.approx(0.5778, abs=1e-4)
    assert (reddish.label, reddish.prediction_set) == ("roadwork", ("roadwork",))
    assert not reddish.defer
    assert (blue.label, blue.prediction_set, blue.defer) == ("none", ("none",), False)
    # The evaluation counts the same three in the same way; its rows are right, right and wrong.
    positive = np.array([answer.probability for answer in (bluish, reddish, blue)])
    table = np.stack([1 - positive, positive], axis=1)
    scored = ScoredSet(table, np.array([0, 1, 1]), bundle.conformal.predict_set(table))
    record = conformal_record(scored, bundle.conformal)
    assert (record.singleton, record.accepted) == (1.0, 2)
    assert record.defer == pytest.approx(1 / 3)
    assert (record.accepted_accuracy.covered, record.accepted_accuracy.n) == (1, 2)


def test_the_json_is_that_of_the_design(predictor: Predictor) -> None:
    (answer,) = predictor.predict([plain(255, 0)])
    tree = json.loads(answer.model_dump_json())
    assert list(tree) == [
        "probability",
        "label",
        "prediction_set",
        "coverage",
        "defer",
        "stage",
        "model",
        "latency_ms",
    ]
    assert tree["prediction_set"] == ["roadwork"]


def test_one_and_many_are_the_same(predictor: Predictor) -> None:
    pictures = [jpeg(red, blue) for red, blue in colors(7)]
    together = predictor.predict(pictures)
    for image, answer in zip(pictures, together, strict=True):
        assert same(predictor.predict([image])[0], answer)
    for answer, other in zip(predictor.predict(pictures[::-1]), together[::-1], strict=True):
        assert same(answer, other)
    assert predictor.predict([]) == []


def test_bytes_files_and_images_are_the_same(predictor: Predictor, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    picture(200, 60).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    inputs = [buffer.getvalue(), tmp_path / "a.png", picture(200, 60)]
    first, *others = predictor.predict(inputs)
    assert all(same(first, other) for other in others)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1", "CMYK", "YCbCr", "I;16"])
def test_decoded_images_of_every_mode_answer_like_their_file(
    predictor: Predictor, tmp_path: Path, mode: str
) -> None:
    if mode == "I;16":
        ramp = np.linspace(0, 65535, 64 * 48, dtype=np.uint16).reshape(48, 64)
        image = Image.fromarray(ramp)
    else:
        image = picture(210, 40).convert(mode)
    if mode in {"RGBA", "LA"}:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    file = tmp_path / ("a.tiff" if mode in {"CMYK", "YCbCr"} else "a.png")
    image.save(file)
    with_file, decoded = predictor.predict([file, image])
    assert decoded.probability == pytest.approx(with_file.probability, abs=1e-9)


def test_a_photograph_taken_upright_is_turned(predictor: Predictor) -> None:
    image = Image.new("RGB", (90, 60), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 30, 60))
    turned, exif = image.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to see it upright"
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    file, plain_image = predictor.predict([buffer.getvalue(), image])
    assert file.probability == pytest.approx(plain_image.probability, abs=1e-9)


def test_an_unreadable_image_is_named(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(jpeg(200, 30)[:-200])
    with pytest.raises(UnreadableImage, match=r"image 1 \(.*broken\.jpg\): .*cut off") as caught:
        predictor.predict([jpeg(1, 2), tmp_path / "broken.jpg"])
    assert caught.value.reason is Refusal.CORRUPT
    with pytest.raises(UnreadableImage, match=r"^image 0: the file is empty"):
        predictor.predict([b""])


def test_each_gives_reasons_in_place(predictor: Predictor, tmp_path: Path) -> None:
    inputs = [jpeg(250, 10), b"no image", tmp_path / "absent.jpg", jpeg(10, 250)]
    answers = list(predictor.predict_each(inputs))
    assert isinstance(answers[0], Prediction)
    assert isinstance(answers[3], Prediction)
    reasons = [answer.reason for answer in answers if isinstance(answer, UnreadableImage)]
    assert reasons == [Refusal.NOT_AN_IMAGE, Refusal.MISSING]


def test_each_is_lazy(predictor: Predictor) -> None:
    def endless():
        while True:
            yield jpeg(250, 10)

    stream = predictor.predict_each(endless())
    assert isinstance(next(stream), Prediction)
    assert isinstance(next(stream), Prediction)


def test_logits_for_evaluation(predictor: Predictor) -> None:
    logits = predictor.logits([plain(255, 0), plain(0, 255)])
    np.testing.assert_allclose(logits, [[-3.0, 3.0], [3.0, -3.0]], atol=1e-5)
    assert predictor.logits([]).shape == (0, 2)


def test_the_self_test_passes_and_says_how_close(predictor: Predictor) -> None:
    result = predictor.self_test()
    assert result.images == 4
    assert result.max_probability_difference < 1e-6


def test_the_self_test_refuses_a_graph_with_other_weights(tmp_path: Path) -> None:
    other = np.array([[-3.1, 3.0], [0.0, 0.0], [3.0, -3.0]], dtype=np.float32)
    bundle = make_bundle(tmp_path / "bundle", {"model.onnx": onnx_model(other)})
    with pytest.raises(ParityError, match=r"self-test .* golden/\d\d\.jpg .* differs by 0\.0"):
        Predictor(bundle, threads=1).self_test()


def test_a_small_limit_of_pixels_holds(tmp_path: Path) -> None:
    tree = json.loads(bundle_parts()["preprocessor.json"])
    changed = to_json({**tree, "max_megapixels": 0.001})
    bundle = make_bundle(tmp_path / "bundle", {"preprocessor.json": changed})
    with pytest.raises(UnreadableImage, match="megapixels"):
        Predictor(bundle, threads=1).predict([jpeg(200, 30)])


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="it has no manifest"):
        Predictor(tmp_path)


BLOCKED = ("torch", "scipy", "pyarrow", "timm", "lightning", "sklearn", "onnx", "zenml", "mlflow")
SCRIPT = """
import sys, importlib.abc
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
from pathlib import Path
from roadwork.predictor import Predictor
predictor = Predictor(sys.argv[1], {engine!r}, threads=1)
assert predictor.self_test().images == 4
print(predictor.predict([Path(sys.argv[2])])[0].label)
"""


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_answers_need_neither_torch_nor_scipy(
    bundle: ModelBundle, tmp_path: Path, engine: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(250, 10))
    other = {"onnxruntime": "openvino", "openvino": "onnxruntime"}[engine]
    script = SCRIPT.format(blocked=repr({*BLOCKED, other}), engine=engine)
    command = [sys.executable, "-c", script, str(bundle.path), str(tmp_path / "a.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "roadwork\n"), done.stderr

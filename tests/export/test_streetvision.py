"""The folder for StreetVision: its answers, its operating point, its model card."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from roadwork.bundle import ModelBundle
from roadwork.bundle_files import Policy, to_json
from roadwork.calibration import TemperatureScaling
from roadwork.data.manifest import TestSet
from roadwork.errors import BundleError, ConfigError, LeakageError, ParityError
from roadwork.export.streetvision import (
    OperatingPoint,
    Submission,
    export_streetvision,
    fitted_point,
    folder,
    given_point,
)
from roadwork.export.streetvision.submission import parse_time
from roadwork.predictor import Predictor
from roadwork.streetvision import as_miner
from tests.bundle.make_bundle import CALIBRATOR, colors, jpeg, make_bundle
from tests.data.made import row, table

HOTKEY = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"  # the well-known key of "Alice"
SUBMISSION = Submission(
    name="Mean colour",
    version="1.0.2",
    hotkey=HOTKEY,
    description="The mean colour decides.",
    submitted=1_767_225_600,
)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    bundle = make_bundle(tmp_path_factory.mktemp("bundles") / "sealed")
    return Predictor(bundle, "onnxruntime", threads=1)


@pytest.fixture
def no_leftovers(tmp_path: Path) -> Iterator[None]:
    """Whatever fails, no half of a folder stays behind."""
    yield
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def answers(exported: Path, predictor: Predictor, files: list[bytes]) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        exported / "model.onnx", providers=["CPUExecutionProvider"]
    )
    views = np.stack([predictor.views(file) for file in files])
    probability, scores = session.run(["probability", "scores"], {"views": views})
    assert probability.dtype == np.float32 and scores.shape == (len(files), 2)
    np.testing.assert_allclose(scores[:, 1], probability)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-6)
    return np.asarray(probability)


def test_without_a_shift_the_answers_are_those_of_the_bundle(
    predictor: Predictor, tmp_path: Path, no_leftovers: None
) -> None:
    point = given_point(predictor)
    assert point == OperatingPoint(threshold=0.5, shift=0.0, origin="policy")
    made = export_streetvision(predictor, SUBMISSION, point, tmp_path / "deep" / "out")
    assert (made.queries, made.undecided) == (16, 0)
    assert made.max_difference < 1e-6
    files = [jpeg(red, blue) for red, blue in colors(9)]
    expected = [as_miner(predictor)(file) for file in files]
    np.testing.assert_allclose(
        answers(made.folder, predictor, files), expected, rtol=1e-5, atol=1e-6
    )
    assert np.ptp(expected) > 0.5
    page = (made.folder / "README.md").read_text()
    assert "No photographs were used to choose it." in page
    assert "here it is 0" in page


def test_a_shift_moves_the_threshold_to_one_half_and_keeps_the_order(
    predictor: Predictor, tmp_path: Path
) -> None:
    files = [jpeg(red, blue) for red, blue in colors(15)]
    before = np.array([as_miner(predictor)(file) for file in files])
    threshold = float((before[9] + before[10]) / 2)
    point = given_point(predictor, threshold)
    assert point.shift == pytest.approx(-math.log(threshold / (1 - threshold)))
    made = export_streetvision(predictor, SUBMISSION, point, tmp_path / "out")
    after = answers(made.folder, predictor, files)
    assert (np.round(after) == (before > threshold)).all()
    assert 5 <= np.round(after).sum() < 7
    odds = np.log(after / (1 - after)) - np.log(before / (1 - before))
    np.testing.assert_allclose(odds, point.shift, atol=1e-4)
    assert "**not** calibrated" in (made.folder / "README.md").read_text()


def test_the_calibration_is_inside_with_a_prior_too(tmp_path: Path) -> None:
    shifted = TemperatureScaling(
        temperature=0.7, at_bound=False, calibration_prior=0.5, deployment_prior=0.2
    )
    bundle = make_bundle(tmp_path / "b", {"calibration.json": to_json(shifted)})
    predictor = Predictor(bundle, "onnxruntime", threads=1)
    made = export_streetvision(predictor, SUBMISSION, given_point(predictor), tmp_path / "out")
    files = [jpeg(red, blue) for red, blue in colors(7)]
    expected = [as_miner(predictor)(file) for file in files]
    np.testing.assert_allclose(answers(made.folder, predictor, files), expected, atol=1e-6)
    assert min(expected) < 0.1 < 0.9 < max(expected)


def test_the_default_is_the_threshold_of_the_bundle(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", {"policy.json": to_json(Policy(threshold=0.3))})
    point = given_point(Predictor(bundle, "onnxruntime", threads=1))
    assert (point.threshold, point.origin) == (0.3, "policy")
    assert point.shift == pytest.approx(math.log(7 / 3))


def test_an_answer_of_exactly_one_half_says_none(predictor: Predictor, tmp_path: Path) -> None:
    """A grey picture has equal logits; with the threshold at 0.5 it lies on it."""
    made = export_streetvision(predictor, SUBMISSION, given_point(predictor), tmp_path / "out")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, "PNG")
    answer = answers(made.folder, predictor, [buffer.getvalue()])[0]
    assert answer == 0.5 and np.round(answer) == 0
    assert predictor.predict([buffer.getvalue()])[0].label == "none"


def test_the_files_say_what_the_subnet_and_a_host_need(
    predictor: Predictor, tmp_path: Path
) -> None:
    point = given_point(predictor, 0.4)
    out = export_streetvision(predictor, SUBMISSION, point, tmp_path / "out").folder
    assert sorted(path.name for path in out.iterdir()) == [
        "BUNDLE.md",
        "LICENSE",
        "README.md",
        "config.json",
        "model.onnx",
        "model_card.json",
        "operating_point.json",
        "preprocessor_config.json",
        "views.py",
    ]
    assert json.loads((out / "model_card.json").read_text()) == {
        "model_name": "Mean colour",
        "description": "The mean colour decides.",
        "version": "1.0.2",
        "submitted_by": HOTKEY,
        "submission_time": 1_767_225_600,
    }
    config = json.loads((out / "config.json").read_text())
    assert config["id2label"] == {"0": "None", "1": "Roadwork"}
    assert config["label2id"] == {"None": 0, "Roadwork": 1}
    assert config["bundle"] == predictor.bundle.hash
    preprocessor = json.loads((out / "preprocessor_config.json").read_text())
    assert (preprocessor["size"], preprocessor["views"]) == ({"height": 32, "width": 32}, 10)
    model = onnx.load(out / "model.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props}["classes"] == "None,Roadwork"
    stored = OperatingPoint.model_validate_json((out / "operating_point.json").read_text())
    assert stored == point
    for path in out.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_the_readme_answers_as_it_says(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = export_streetvision(
        predictor, SUBMISSION, given_point(predictor, 0.6), tmp_path / "out"
    ).folder
    block = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert block is not None
    monkeypatch.chdir(out)
    monkeypatch.syspath_prepend(str(out))
    names: dict[str, object] = {}
    exec(block[1], names)
    predict = names["predict"]
    assert callable(predict)
    file = jpeg(150, 100)
    before = as_miner(predictor)(file)
    expected = before * 0.4 / (before * 0.4 + (1 - before) * 0.6)
    assert predict(Image.open(io.BytesIO(file))) == pytest.approx(expected, abs=1e-5)


def test_the_same_export_twice_gives_the_same_bytes(predictor: Predictor, tmp_path: Path) -> None:
    first, second = (
        export_streetvision(
            predictor, SUBMISSION, given_point(predictor, 0.37), tmp_path / name
        ).folder
        for name in ("one", "two")
    )
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_an_existing_folder_is_left_alone(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        export_streetvision(predictor, SUBMISSION, given_point(predictor), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_graph_that_answers_otherwise_is_not_written(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_leftovers: None
) -> None:
    original = folder.submission_graph
    monkeypatch.setattr(
        folder, "submission_graph", lambda bundle, shift: original(bundle, shift + 0.01)
    )
    with pytest.raises(ParityError, match=r"largest difference of a probability .* 0\.00"):
        export_streetvision(predictor, SUBMISSION, given_point(predictor), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_calibrator_that_bends_is_refused(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_leftovers: None
) -> None:
    class Bent(TemperatureScaling):
        def calibrated(self, logits: object) -> np.ndarray:
            return np.asarray(logits, dtype=np.float64) ** 3

    bent = Bent(**CALIBRATOR.model_dump())
    bundle = ModelBundle.open(predictor.bundle.path)
    monkeypatch.setitem(bundle.__dict__, "calibrator", bent)
    with pytest.raises(BundleError, match=r"calibrator .*\(Bent\) is not affine"):
        export_streetvision(
            Predictor(bundle, "onnxruntime"), SUBMISSION, given_point(predictor), tmp_path / "out"
        )


# The fitted point


def photographs(folder: Path, groups: int, middle: int, noise: int = 0) -> TestSet:
    """Reddish pictures show roadwork; ``middle`` is the red between the labels."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(2 * groups):
        label = number % 2
        red = middle + (40 if label else -40) + int(rng.integers(-noise, noise + 1))
        path = folder / f"{number}.jpg"
        path.write_bytes(jpeg(red, 255 - red))
        rows.append(row(number, f"drive {number // 2}", label, uri=str(path), file=path.name))
    return TestSet(table(rows))


def test_a_threshold_is_fitted_where_it_helps(predictor: Predictor, tmp_path: Path) -> None:
    point = fitted_point(predictor, photographs(tmp_path, 8, middle=190), challenges=130, seeds=1)
    assert point.origin == "fitted"
    assert point.threshold > 0.6 and point.shift < -0.4
    assert point.choice is not None and point.choice.gain is not None
    assert point.choice.gain > 0.1
    assert (point.challenges, point.photographs, point.groups) == (130, 16, 8)
    out = export_streetvision(predictor, SUBMISSION, point, tmp_path / "out").folder
    page = (out / "README.md").read_text()
    assert "130 simulated challenges made of 16 photographs of 8 groups" in page
    assert f"{point.choice.gain:+.3f}" in page


def test_a_threshold_that_gains_nothing_is_not_taken(predictor: Predictor, tmp_path: Path) -> None:
    point = fitted_point(predictor, photographs(tmp_path, 8, middle=128), challenges=110, seeds=1)
    assert (point.origin, point.threshold, point.shift) == ("kept", 0.5, 0.0)
    assert point.choice is not None and point.choice.gain is not None
    assert point.choice.gain <= 0
    out = export_streetvision(predictor, SUBMISSION, point, tmp_path / "out").folder
    assert "and not taken" in (out / "README.md").read_text()


def test_a_bundle_refuses_photographs_that_it_saw(predictor: Predictor, tmp_path: Path) -> None:
    seen = photographs(tmp_path, 2, middle=128)
    names = seen.table.column("group_id").to_pylist()
    renamed = seen.table.set_column(
        seen.table.schema.get_field_index("group_id"),
        seen.table.schema.field("group_id"),
        [["drive-1" if name == "drive 0" else name for name in names]],
    )
    with pytest.raises(LeakageError, match="drive-1"):
        fitted_point(predictor, TestSet(renamed), challenges=110, seeds=1)


# The submission


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "the name ''"),
        ({"name": "a/b"}, "the name 'a/b'"),
        ({"version": "1.0"}, "X.Y.Z"),
        ({"version": "1.02.0"}, "leading zeros"),
        ({"version": "v1.0.0"}, "X.Y.Z"),
        ({"hotkey": HOTKEY[:-1]}, "47 characters instead of 48"),
        ({"hotkey": HOTKEY.replace("G", "H", 1)}, "check sum"),
        ({"hotkey": "0" + HOTKEY[1:]}, "'0' does not occur"),
        ({"hotkey": "15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5"}, "another network"),
        ({"hotkey": "z" * 48}, "check sum"),
        ({"description": " "}, "description"),
        ({"submitted": 0}, "1970"),
    ],
)
def test_wrong_fields_are_named(changes: dict[str, object], message: str) -> None:
    fields = {**vars(SUBMISSION), **changes}
    with pytest.raises(ConfigError, match=message):
        Submission(**fields)


def test_times() -> None:
    assert parse_time("1767225600") == 1_767_225_600
    assert parse_time("2026-01-01T01:00:00+01:00") == 1_767_225_600
    assert parse_time(None) > 1_700_000_000
    for wrong in ("yesterday", "2026-01-01T01:00:00", "-5"):
        with pytest.raises(ConfigError, match="Unix seconds"):
            parse_time(wrong)


@pytest.mark.parametrize("threshold", [0.0, 1.0, math.nan])
def test_a_threshold_lies_between(predictor: Predictor, threshold: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        given_point(predictor, threshold)

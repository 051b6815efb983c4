"""The bundle: what it says, how it is written, and what is never left behind."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadwork.bundle import REQUIRED, ModelBundle, write_bundle
from roadwork.bundle_files import BundleConfig, Policy, Preprocessor, to_json
from roadwork.data.exposure import Ids, IdSet, Use, identifiers, require_unexposed
from roadwork.errors import BundleError, LeakageError
from tests.bundle.make_bundle import CALIBRATOR, CONFORMAL, bundle_parts, jpeg, make_bundle


def test_what_was_written_is_read(bundle: ModelBundle) -> None:
    assert bundle.config.classes == ("none", "roadwork")
    assert bundle.preprocessor == Preprocessor(size=32, tiles=9, max_megapixels=50.0)
    assert bundle.calibrator == CALIBRATOR
    assert bundle.conformal == CONFORMAL
    assert bundle.policy == Policy(threshold=0.5)
    assert bundle.parity.accepted == ("onnxruntime", "openvino")
    assert bundle.exposure.counts() == {"train": {"samples": 2, "groups": 1}}
    assert bundle.metrics == {"auroc": 0.9}
    assert bundle.settings["name"] == "demo"
    assert bundle.read(bundle.golden().cases[0].file) == jpeg(20, 235)
    assert set(REQUIRED) < set(bundle.digests)


def test_the_hash_names_the_content(bundle: ModelBundle, tmp_path: Path) -> None:
    assert make_bundle(tmp_path / "same").hash == bundle.hash
    assert make_bundle(tmp_path / "other", {"README.md": b"# Other\n"}).hash != bundle.hash
    assert bundle.title == f"bundle {bundle.hash[:12]}"
    assert bundle.content_hash == bundle.hash


def test_a_copy_is_the_same_bundle(bundle: ModelBundle, tmp_path: Path) -> None:
    bundle.save(tmp_path / "copy")
    assert ModelBundle.load(tmp_path / "copy").hash == bundle.hash


class NewData:
    ids = IdSet.of(identifiers(["sample-2", "sample-3"]), identifiers(["drive-2"]))

    def name_overlap(self, samples: Ids, groups: Ids) -> tuple[list[str], list[str]]:
        return [f"{len(samples)} file"], []


def test_a_bundle_remembers_its_training_images(bundle: ModelBundle) -> None:
    with pytest.raises(LeakageError, match=rf"cannot evaluate the {bundle.title}: .*1 file"):
        require_unexposed(bundle, NewData(), "evaluate")
    require_unexposed(bundle, NewData(), "evaluate", uses=[Use.CALIBRATE])


@pytest.mark.parametrize("name", REQUIRED)
def test_a_folder_without_a_required_file_is_no_bundle(tmp_path: Path, name: str) -> None:
    parts = {key: value for key, value in bundle_parts().items() if key != name}
    with pytest.raises(BundleError, match=f"no complete bundle: {name}"):
        write_bundle(tmp_path / "bundle", parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b'{"classes": ["a", "b"]}'),
        ("config.json", to_json({**json.loads(bundle_parts()["config.json"]), "extra": 1})),
        ("config.json", to_json({**json.loads(bundle_parts()["config.json"]), "positive": 2})),
        ("preprocessor.json", b"null"),
        ("policy.json", b'{"threshold": "0.5"}'),
        ("policy.json", b'{"threshold": 1.5}'),
        ("calibration.json", b"[]"),
        ("calibration.json", b'{"method": "unknown"}'),
        ("conformal.json", b"not json"),
        ("conformal.json", b'{"method": "lac"}'),
        ("parity.json", b'{"engines": {"onnxruntime": {}}}'),
        ("golden.json", b'{"cases": []}'),
        ("metrics.json", b"\xff"),
        ("settings.json", b"3"),
        ("exposure.bin", b"RWEXPO1\nnonsense"),
    ],
)
def test_a_file_that_does_not_parse_is_not_sealed(
    tmp_path: Path, name: str, content: bytes
) -> None:
    expected = "exposure record" if name == "exposure.bin" else f"{name} of the bundle"
    with pytest.raises(BundleError, match=expected):
        make_bundle(tmp_path / "bundle", {name: content})
    assert list(tmp_path.iterdir()) == []


def test_files_that_contradict_each_other_are_not_sealed(tmp_path: Path) -> None:
    other = Preprocessor(size=64, tiles=9, max_megapixels=50.0)
    with pytest.raises(BundleError, match=r"32 px and 9 tiles, .* 64 px and 9 tiles"):
        make_bundle(tmp_path / "bundle", {"preprocessor.json": to_json(other)})
    golden = json.loads(bundle_parts()["golden.json"])
    golden["cases"][0]["logits"] = [0.1, 0.2, 0.3]
    with pytest.raises(BundleError, match=r"3 logits .* 2 classes"):
        make_bundle(tmp_path / "bundle", {"golden.json": to_json(golden)})
    golden["cases"][0] = {"file": "golden/99.jpg", "logits": [0.1, 0.2]}
    with pytest.raises(BundleError, match=r"golden/99\.jpg, which is not in the bundle"):
        make_bundle(tmp_path / "bundle", {"golden.json": to_json(golden)})


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes
    written: list[Path] = []

    def failing(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) == 5:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(BundleError, match=f"the disk of {tmp_path} is full"):
        make_bundle(tmp_path / "bundle")
    assert len(written) == 5
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_never_overwritten(tmp_path: Path) -> None:
    first = make_bundle(tmp_path / "bundle")
    assert make_bundle(tmp_path / "bundle").hash == first.hash
    with pytest.raises(BundleError, match="exists and is not the bundle to be written"):
        make_bundle(tmp_path / "bundle", {"README.md": b"# Other\n"})
    assert ModelBundle.open(tmp_path / "bundle").hash == first.hash
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_parts_may_be_files(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(bundle_parts()["model.onnx"])
    parts = {**bundle_parts(), "model.onnx": source}
    assert write_bundle(tmp_path / "a" / "bundle", parts).read("model.onnx") == source.read_bytes()


def test_a_path_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="the folder does not exist"):
        ModelBundle.open(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"it has no manifest\.sha256"):
        ModelBundle.open(tmp_path)


def test_a_file_that_is_not_in_the_bundle(bundle: ModelBundle) -> None:
    with pytest.raises(BundleError, match=r"has no file \.\./secret"):
        bundle.read("../secret")


def test_policy_by_hand() -> None:
    table = np.array([[0.5, 0.5], [0.3, 0.7], [0.31, 0.69]])
    assert Policy().decide(table, positive=1).tolist() == [0, 1, 1]
    assert Policy(threshold=0.7).decide(table, positive=1).tolist() == [0, 0, 0]
    assert Policy().decide(table, positive=0).tolist() == [1, 1, 1]
    three = np.array([[0.2, 0.4, 0.4], [0.5, 0.3, 0.2]])
    assert Policy().decide(three, positive=1).tolist() == [1, 0]


def test_the_policy_answers_when_the_set_is_the_decision_alone() -> None:
    sets = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 1], [0, 0]], dtype=bool)
    decisions = np.array([0, 1, 1, 0, 1, 0])
    assert Policy().defers(sets, decisions).tolist() == [False, False, True, True, True, True]
    assert Policy().defers(np.zeros((0, 2), dtype=bool), np.zeros(0)).tolist() == []
    # P(roadwork) = 0.6 in a set of roadwork alone: a threshold of 0.7 turns the answer around.
    table, only_roadwork = np.array([[0.4, 0.6]]), np.array([[False, True]])
    for threshold, deferred in ((0.5, False), (0.7, True)):
        policy = Policy(threshold=threshold)
        decided = policy.decide(table, positive=1)
        assert policy.defers(only_roadwork, decided).tolist() == [deferred]


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
def test_the_default_policy_is_argmax_with_ties_to_the_first(scores: list[float]) -> None:
    positive = np.array(scores)
    table = np.stack([1.0 - positive, positive], axis=1)
    # 1 - p rounds, so that rows next to the tie are left out of the comparison.
    clear = (np.abs(positive - 0.5) > 1e-12) | (positive == 0.5)
    decided = Policy().decide(table, positive=1)
    assert decided[clear].tolist() == table.argmax(axis=1)[clear].tolist()


def test_config_refuses_two_classes_of_one_name() -> None:
    tree = json.loads(bundle_parts()["config.json"])
    with pytest.raises(ValueError, match="different names"):
        BundleConfig.model_validate_json(to_json({**tree, "classes": ["a", "a"]}))


def test_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json({"value": float("nan")})
    assert to_json({"b": 1, "a": "ä"}).decode() == '{\n  "a": "ä",\n  "b": 1\n}\n'

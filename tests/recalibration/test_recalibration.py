"""A made bundle, recalibrated on made photographs: its answers are computed by hand."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image

from roadwork.bundle import ModelBundle
from roadwork.bundle_files import BundleConfig, to_json
from roadwork.calibration import CALIBRATORS
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import CalibrationSet, Manifest, TestSet
from roadwork.data.splits import PolicySplits, cut_policy
from roadwork.errors import ConfigError, DataError, LeakageError, ParityError
from roadwork.evaluation.evaluate import summarise_data
from roadwork.export.repackage import LINEAGE, repackage
from roadwork.predictor import Predictor
from roadwork.recalibration import (
    Certified,
    Recalibrated,
    SealedNetwork,
    certify,
    recalibrate,
    recalibrated_settings,
)
from roadwork.settings import Settings, parse_settings
from roadwork.settings.recalibrate import parse_recalibrate, require_no_training
from tests.bundle.make_bundle import SIZE, TILES, expected_logits, make_bundle
from tests.data.made import manifest, row

GROUPS, FRAMES = 60, 4
RUN = {
    "name": "again",
    "evaluate": {"bootstrap": 100, "worst": 2, "slices": ["source"]},
    "split": {"calibrate": 0.2, "conformal": 0.25, "test": 0.25},
}


@dataclass(frozen=True)
class Case:
    champion: ModelBundle
    manifest: Manifest
    splits: PolicySplits
    settings: Settings
    policy: Recalibrated
    certified: Certified


def config() -> bytes:
    """That of the made bundle, with a backbone whose licence is known."""
    made = BundleConfig(
        classes=("none", "roadwork"),
        positive=1,
        backbone="tf_efficientnet_lite0",
        adapter="none",
        image_size=SIZE,
        tiles=TILES,
        aggregator="mean",
    )
    return to_json(made)


def photographs(folder: Path) -> Manifest:
    """Pictures from bluish to reddish; reddish ones mostly show works, which is noisy."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(GROUPS * FRAMES):
        red = int(rng.integers(90, 166))
        label = int(red + rng.normal(0, 25) > 128)
        pixels = np.array([red, 90, 255 - red]) + rng.normal(0, 6, (24, 32, 3))
        picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        path = folder / f"{number:03d}.png"
        path.write_bytes(buffer.getvalue())
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        place = {"uri": str(path), "file": path.name, "sha256": digest, "sample_id": digest[:16]}
        rows.append(row(number, f"street-{number // FRAMES:02d}", label, **place))
    return manifest(rows)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("recalibration")
    champion = make_bundle(folder / "champion", {"config.json": config()})
    (folder / "new").mkdir()
    new = photographs(folder / "new")
    settings = recalibrated_settings(champion, parse_settings(RUN))
    splits = cut_policy(new, settings.split, settings.seed)
    policy = recalibrate(champion, splits.calibrate, splits.conformal, settings)
    data = summarise_data(new, splits.each())
    certified = certify(champion, policy, splits.test, data, settings)
    return Case(champion, new, splits, settings, policy, certified)


def test_whole_groups_go_to_three_sets(case: Case) -> None:
    parts = case.splits.each()
    assert sum(map(len, parts)) == len(case.manifest)
    groups = [set(part.groups.tolist()) for part in parts]
    assert len(set.union(*groups)) == sum(map(len, groups)) == GROUPS
    # In the proportions 20 : 25 : 25 of sixty groups.
    for part, wanted in zip(groups, (17.1, 21.4, 21.4), strict=True):
        assert abs(len(part) - wanted) <= 2
    assert list(case.splits.hashes()) == ["calibrate", "conformal", "test"]


def test_three_sets_hold_no_source_out() -> None:
    split = parse_settings({"split": {"held_out_sources": ["made"]}}).split
    with pytest.raises(ConfigError, match="nothing is trained"):
        cut_policy(manifest([row(n) for n in range(40)]), split, 0)


def test_too_few_groups_are_said(case: Case) -> None:
    few = manifest([row(0, "a", 0), row(1, "b", 1), row(2, "c", 0), row(3, "d", 0)])
    with pytest.raises(DataError, match="too few for 3 sets"):
        cut_policy(few, case.settings.split, 0)


def test_the_logits_are_those_of_the_sealed_graph(case: Case) -> None:
    network = SealedNetwork.open(case.champion)
    predictor = Predictor(case.champion, "onnxruntime")
    views = np.stack([predictor.views(Path(uri)) for uri in case.splits.calibrate.uris])
    found = network.logits(case.splits.calibrate)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected_logits(views), atol=1e-5)
    # As in service, to the last bit: one photograph at a time through the same engine.
    served = predictor.logits([Path(uri) for uri in case.splits.calibrate.uris[:5]])
    assert found[:5].tolist() == served.astype(np.float64).tolist()


def test_the_calibrator_is_that_of_the_new_data(case: Case) -> None:
    part = case.splits.calibrate
    logits = SealedNetwork.open(case.champion).logits(part)
    alone = CALIBRATORS["temperature"].fit(logits, part.labels, part.groups)
    assert case.policy.calibrator.model == alone
    assert alone != case.champion.calibrator


def test_exposure_is_of_the_network_and_of_the_new_policy(case: Case) -> None:
    network = {Use.TRAIN: case.champion.exposure.uses[Use.TRAIN]}
    assert SealedNetwork.open(case.champion).exposure.uses.keys() == network.keys()
    uses = case.policy.conformal.exposure.uses
    assert uses.keys() == {Use.TRAIN, Use.CALIBRATE, Use.CONFORMALISE}
    assert uses[Use.CALIBRATE].samples.tolist() == case.splits.calibrate.ids.samples.tolist()
    assert uses[Use.CONFORMALISE].groups.tolist() == case.splits.conformal.ids.groups.tolist()


def test_what_fitted_the_old_policy_is_not_the_networks(case: Case, tmp_path: Path) -> None:
    ids = case.splits.test.ids
    every = Exposure(dict.fromkeys(Use, ids)).to_bytes()
    bundle = make_bundle(tmp_path / "bundle", {"exposure.bin": every})
    kept = SealedNetwork.open(bundle).exposure.uses
    assert kept.keys() == {Use.PRETRAIN, Use.TRAIN, Use.SELECT}


@pytest.mark.parametrize("use", list(Use))
def test_data_that_the_bundle_has_seen_is_refused_at_every_door(
    case: Case, use: Use, tmp_path: Path
) -> None:
    settings, splits = case.settings, case.splits

    def bundle_that_saw(part: CalibrationSet | TestSet) -> ModelBundle:
        changes = {"config.json": config(), "exposure.bin": Exposure.of(use, part).to_bytes()}
        return make_bundle(tmp_path / str(part.role), changes)

    saw = bundle_that_saw(splits.calibrate)
    with pytest.raises(LeakageError, match=f"cannot recalibrate the bundle .*{use}"):
        recalibrate(saw, splits.calibrate, splits.conformal, settings)
    saw, data = bundle_that_saw(splits.test), summarise_data(case.manifest, splits.each())
    with pytest.raises(LeakageError, match=f"cannot evaluate the bundle .*{use}"):
        certify(saw, case.policy, splits.test, data, settings)


def test_sets_that_share_a_group_are_refused(case: Case) -> None:
    table = pa.concat_tables([case.splits.test.table, case.splits.calibrate.table.slice(0, 1)])
    data = summarise_data(case.manifest, case.splits.each())
    with pytest.raises(LeakageError, match="evaluate the calibrator"):
        certify(case.champion, case.policy, TestSet(table), data, case.settings)


def test_old_and_new_policy_are_judged_on_the_same_images(case: Case) -> None:
    test, done = case.splits.test, case.certified
    logits = SealedNetwork.open(case.champion).logits(test)
    assert done.scores.sample_ids.tolist() == done.champion_scores.sample_ids.tolist()
    new = case.policy.calibrator.model.transform(logits)[:, 1]
    old = case.champion.calibrator.transform(logits)[:, 1]
    assert done.scores.probabilities.tolist() == new.tolist()
    assert done.champion_scores.probabilities.tolist() == old.tolist()
    brier = done.report.metric("brier", "baseline")
    assert brier is not None and brier.value == pytest.approx(np.mean((old - test.labels) ** 2))
    baseline = done.report.row("baseline")
    assert baseline is not None and baseline.title == "The champion, unchanged"
    held = (old > 0.4) & (test.labels == 1) | (old < 0.6) & (test.labels == 0)
    assert f"in {held.sum()} of {len(test)} (promised: 75 %)" in baseline.description


def test_the_new_bundle_has_the_old_network_and_the_new_policy(case: Case, tmp_path: Path) -> None:
    old = case.champion
    done = repackage(
        old, case.policy, case.certified.report, case.splits.calibrate, case.settings, tmp_path
    )
    new = ModelBundle.open(done.bundle.path)
    changed = {name for name in old.digests if new.digests[name] != old.digests[name]}
    assert changed == {
        "README.md",
        "calibration.json",
        "conformal.json",
        "exposure.bin",
        "metrics.json",
        "parity.json",
        "report.html",
        "settings.json",
    }
    assert new.digests.keys() - old.digests.keys() == {LINEAGE}
    assert json.loads(new.read(LINEAGE))["recalibrated_from"] == old.hash
    assert new.calibrator == case.policy.calibrator.model
    assert new.conformal == case.policy.conformal.model
    assert new.exposure.counts() == case.policy.conformal.exposure.counts()
    assert new.parity.accepted == ("onnxruntime", "openvino")
    assert new.parity.engines["openvino"].images == 4 + 24
    assert done.report.parity is not None and all(check.passed for check in done.report.parity)
    Predictor(new, "onnxruntime").self_test()
    # Equal inputs, equal bytes.
    again = repackage(
        old, case.policy, case.certified.report, case.splits.calibrate, case.settings, tmp_path
    )
    assert again.bundle.hash == new.hash


def test_a_recalibrated_bundle_can_be_recalibrated(case: Case, tmp_path: Path) -> None:
    report, splits = case.certified.report, case.splits
    first = repackage(
        case.champion, case.policy, report, splits.calibrate, case.settings, tmp_path
    ).bundle
    assert SealedNetwork.open(first).exposure.counts() == case.champion.exposure.counts()
    with pytest.raises(LeakageError, match="calibrate"):
        recalibrate(first, splits.calibrate, splits.conformal, case.settings)


def test_a_graph_that_is_not_the_evaluated_one_makes_no_bundle(case: Case, tmp_path: Path) -> None:
    golden = json.loads(case.champion.read("golden.json"))
    golden["cases"][0]["logits"][0] += 0.5
    changes = {"config.json": config(), "golden.json": json.dumps(golden).encode()}
    other = make_bundle(tmp_path / "other", changes)
    with pytest.raises(ParityError, match="does not answer like the evaluated model"):
        repackage(
            other,
            case.policy,
            case.certified.report,
            case.splits.calibrate,
            case.settings,
            tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


def test_settings_come_from_the_run_or_from_the_bundle(case: Case, tmp_path: Path) -> None:
    made = parse_settings({"name": "old", "finetune": {"epochs": 7}, "seed": 3})
    bundle = make_bundle(tmp_path / "bundle", {"settings.json": to_json(made)})
    run = parse_settings({**RUN, "calibrate": {"method": "platt"}, "register": {"model_name": "m"}})
    merged = recalibrated_settings(bundle, run)
    assert (merged.name, merged.seed, merged.finetune.epochs) == ("again", 0, 7)
    assert merged.calibrate.method == "platt" and merged.register_.model_name == "m"
    # What is not taken from the bundle need not be readable there.
    older = {**made.model_dump(mode="json"), "promote": {"of_long_ago": 1}}
    bundle = make_bundle(tmp_path / "older", {"settings.json": json.dumps(older).encode()})
    assert recalibrated_settings(bundle, run) == merged
    large = parse_settings({"data": {"max_megapixels": 60}})
    with pytest.raises(ConfigError, match="set it to 50"):
        recalibrated_settings(bundle, large)


def test_settings_that_are_not_looked_at_are_refused() -> None:
    require_no_training({"name": "x", "register": {}, "no_such_key": 1})
    with pytest.raises(ConfigError, match=r"settings.finetune, settings.size: .* leave them out"):
        require_no_training({"size": "tiny", "finetune": {}})
    assert parse_recalibrate(None).champion == "champion"
    with pytest.raises(ConfigError, match=r"recalibrate\.champoin: there is no such key"):
        parse_recalibrate({"champoin": "3"})
    with pytest.raises(ConfigError, match=r"recalibrate\.seen: Input should be"):
        parse_recalibrate({"seen": "ignore"})


def test_the_example_is_valid() -> None:
    path = Path(__file__).resolve().parents[2] / "configs" / "recalibrate.yaml"
    parameters = yaml.safe_load(path.read_text())["parameters"]
    assert parameters.keys() == {"settings", "recalibrate"}
    require_no_training(parameters["settings"])
    assert parse_settings(parameters["settings"]).promote.better == "nll"
    assert parse_recalibrate(parameters["recalibrate"]).seen == "quarantine"

"""Sets in service are those of evaluation, whatever the method asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roadwork.bundle_files import to_json
from roadwork.conformal import ConformalPredictor, Rows, content_id, fit_predictor
from roadwork.evaluation.coverage import conformal_record
from roadwork.evaluation.scored import ScoredSet
from roadwork.predictor import Predictor
from tests.bundle.make_bundle import colors, jpeg, make_bundle
from tests.conformal.methods import METHODS, asked

RANDOMISED = ("aps", "raps", "saps")


def fitted(method: str, **more: Any) -> tuple[ConformalPredictor, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    p = rng.beta(0.7, 0.7, size=300)
    table = np.stack([1 - p, p], axis=1)
    labels = (rng.random(300) < p).astype(np.int64)
    rows = Rows(ids=np.arange(300, dtype=np.uint64), slices=["rain", None] * 150)
    found = fit_predictor(asked(method, 0.2, **more), table, labels, rows=rows, seed=7)
    return found, table, labels


@pytest.mark.parametrize(
    ("method", "more"),
    [(name, {}) for name in METHODS] + [(name, {"randomised": True}) for name in RANDOMISED],
)
def test_the_service_gives_the_sets_of_the_batch(
    method: str, more: dict[str, Any], tmp_path: Path
) -> None:
    conformal = fitted(method, **more)[0]
    bundle = make_bundle(tmp_path / "bundle", {"conformal.json": to_json(conformal)})
    predictor = Predictor(bundle, "onnxruntime", threads=1)
    files = [jpeg(red, blue) for red, blue in colors(9)]
    answers = predictor.predict(files)
    # The manifest's sample_id: the leading 16 hexadecimal digits of the file's SHA-256.
    rows = Rows(ids=np.array([content_id(file) for file in files], dtype=np.uint64))
    batch = conformal.predict_set(predictor.probabilities(predictor.logits(files)), rows)
    names = np.array(["none", "roadwork"])
    assert [answer.prediction_set for answer in answers] == [tuple(names[row]) for row in batch]
    assert all(answer.defer for answer, row in zip(answers, batch, strict=True) if not row.any())
    for index, file in enumerate(files):
        path = tmp_path / f"{index}.jpg"
        path.write_bytes(file)
        again = predictor.predict([path])[0]
        assert again.prediction_set == answers[index].prediction_set


def test_a_decoded_picture_has_an_identity_of_its_own(tmp_path: Path) -> None:
    conformal = fitted("aps", randomised=True)[0]
    bundle = make_bundle(tmp_path / "bundle", {"conformal.json": to_json(conformal)})
    predictor = Predictor(bundle, "onnxruntime", threads=1)
    picture = Image.new("RGB", (64, 48), (130, 0, 120))
    first, second = predictor.predict([picture, picture.copy()])
    assert first.prediction_set == second.prediction_set


@pytest.mark.parametrize("method", METHODS)
def test_the_report_says_what_each_method_promised(method: str) -> None:
    conformal, table, labels = fitted(method)
    sets = conformal.predict_set(table)
    record = conformal_record(ScoredSet(table, labels, sets), conformal)
    assert record.guarantee == conformal.guarantee and record.method == method
    assert record.per_class == (method in ("mondrian", "rc3p"))
    judged = conformal.judged(table)
    assert record.marginal.n == judged.sum() == (300 if method != "scrc" else judged.sum())
    exact = method in ("lac", "aps", "raps", "saps", "rank", "scrc")
    assert (record.marginal.band_low is not None) == exact
    assert (record.marginal.chance is not None) != record.per_class
    promised = record.classes["roadwork"]
    assert (promised.chance is not None) == record.per_class
    assert (promised.band_low is not None) == (method == "mondrian")

"""Coverage of the prediction sets over many splits: ``python -m benchmarks.coverage``.

One feature pass over the generated scenes of the demo, then for every seed new splits, a logistic
regression on TRAIN, a temperature and Mondrian thresholds on the two parts of VAL_CALIB, and the
coverage on VAL_TEST, per class. If the assignment of groups favoured a role, or a rank were wrong,
the means would leave 0.9; the spread shows what drives, as groups of like images, do to one split.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from roadwork.calibration import CALIBRATORS
from roadwork.conformal import fit_predictor
from roadwork.data.ingest import ingest
from roadwork.data.manifest import TrainSet
from roadwork.data.sources import open_sources
from roadwork.data.splits import assign_roles
from roadwork.models.backbone import load_backbone
from roadwork.models.classifier import attach_head
from roadwork.models.inference import extract_features
from roadwork.settings import Settings, resolve

SEEDS = 24


def main() -> None:
    """Measure and print."""
    settings = resolve(Settings())
    manifest = ingest(open_sources(settings), settings.data)
    everything = TrainSet(manifest.table)
    network = attach_head(load_backbone(settings.backbone, 0), settings.backbone.views)
    features = extract_features(network, everything, settings)
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)
    labels, groups = everything.labels, everything.groups
    rows = []
    for seed in range(SEEDS):
        roles = assign_roles(manifest.table, settings.split, seed)
        train, test = roles == "train", roles == "test"
        head = LogisticRegression(C=1e-3, max_iter=500).fit(features[train], labels[train])
        margin = head.decision_function(features)
        logits = np.stack([-margin / 2, margin / 2], axis=1)
        part = roles == "calibrate"
        calibrator = CALIBRATORS["temperature"].fit(logits[part], labels[part])
        probabilities = calibrator.transform(logits)
        part = roles == "conformal"
        predictor = fit_predictor(
            settings.conformal, probabilities[part], labels[part], groups=groups[part]
        )
        sets = predictor.predict_set(probabilities[test])
        hits = sets[np.arange(test.sum()), labels[test]]
        rows.append([hits[labels[test] == k].mean() for k in (0, 1)])
        print(f"seed {seed:2}: none {rows[-1][0]:.3f}  roadwork {rows[-1][1]:.3f}")
    table = np.array(rows)
    print(
        "mean   :", table.mean(axis=0).round(3), " standard deviation:", table.std(axis=0).round(3)
    )


if __name__ == "__main__":
    main()

"""Prediction sets and defer thresholds of every method, over many splits by group.

``python -m benchmarks.conformal`` reads the scores that ``python -m benchmarks.certify_scores``
made. For every seed groups are dealt anew: one part fits a temperature, one the method, the rest is
judged. Tables have means over the splits and, in brackets, where the middle 90 % of splits lie; for
every class also Clopper and Pearson's exact 95 % interval of the first split. "In band" is the
share of splits whose hits lie in the exact 95 % band for independent images (the Beta-Binomial
law): less than 95 % says that images of a group resemble each other, or that scores are tied. "A
group one vote" is the mean over groups of the covered share of their images, "all of a group" the
share of groups without a miss. A second table flips 5 % of
the conformal labels; a third fits defer thresholds. Writes ``runs/benchmarks/conformal.json`` and
``conformal.md``.

The splits share their images, so that brackets are no confidence intervals. Generated scenes are
no evidence about real roads.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.certify_scores import FOLDER, Scores, found_scores
from roadwork import CLASSES
from roadwork.calibration import CALIBRATORS
from roadwork.conformal import ConformalPredictor, Rows, fit_predictor
from roadwork.conformal.groups import counted_rows
from roadwork.conformal.ranks import hits_band
from roadwork.deferral import answered
from roadwork.evaluation.intervals import clopper_pearson
from roadwork.risk_control import DeferPromise, DeferThreshold, fit_sgr, levels_from
from roadwork.settings.conformal import ConformalSettings

SPLITS = 100
SHARES = (0.2, 0.4)
"""Of groups: for the temperature, for the method; the rest is judged."""

FEWEST = 5
"""Images of each class in each part; groups are dealt again where there are fewer."""

METHODS: Mapping[str, dict[str, Any]] = {
    "lac": {},
    "lac, 95 % sure": {"method": "lac", "delta": 0.05},
    "lac, one drawn a group": {"method": "lac", "groups": "drawn"},
    "lac, largest of a group": {"method": "lac", "groups": "largest"},
    "aps": {},
    "aps, randomised": {"method": "aps", "randomised": True},
    "raps": {"penalty": 0.01, "k_reg": 1},
    "raps, randomised": {"method": "raps", "penalty": 0.01, "k_reg": 1, "randomised": True},
    "saps": {"weight": 0.2},
    "saps, randomised": {"method": "saps", "weight": 0.2, "randomised": True},
    "rank": {},
    "mondrian": {},
    "mondrian, 95 % sure": {"method": "mondrian", "delta": 0.05},
    "mondrian, one drawn a group": {"method": "mondrian", "groups": "drawn"},
    "mondrian_slice, slice known": {"method": "mondrian_slice", "slice": "source"},
    "mondrian_slice, as served": {"method": "mondrian_slice", "slice": "source"},
    "rc3p": {},
    "scrc, the surest 70 %": {"method": "scrc", "selection": 0.7},
}
NOISE = 0.05
NOISY: Mapping[str, dict[str, Any]] = {
    "lac, blind to it": {"method": "lac"},
    "lac at alpha - 0.05": {"method": "lac", "label_noise": NOISE},
    "crcp, matrix known": {"method": "crcp", "label_noise": ((0.95, 0.05), (0.05, 0.95))},
}
PROMISE = DeferPromise(max_error=0.2, delta=0.1)


class Part(NamedTuple):
    """Rows of one role: probabilities, labels, groups, sources, identities."""

    p: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    sources: list[str | None]
    ids: np.ndarray

    def rows(self, slices: bool = True) -> Rows:
        return Rows(ids=self.ids, slices=self.sources if slices else None)


def deal(scores: Scores, seed: int) -> tuple[Part, Part, Part]:
    """Parts for the temperature, for the method and for judging, by group."""
    names, codes = np.unique(scores.groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    while True:
        place = rng.permutation(len(names))[codes] / len(names)
        role = (place >= SHARES[0]).astype(int) + (place >= sum(SHARES))
        counts = np.bincount(2 * role + scores.labels, minlength=6)
        if counts.min() >= FEWEST:
            break
    first = role == 0
    temperature = CALIBRATORS["temperature"].fit(scores.logits[first], scores.labels[first])
    p = temperature.transform(scores.logits)
    ids = np.arange(len(p), dtype=np.uint64)

    def part(which: int) -> Part:
        kept = role == which
        sources = scores.sources[kept].tolist()
        return Part(p[kept], scores.labels[kept], scores.groups[kept], sources, ids[kept])

    return part(0), part(1), part(2)


def fit(
    name: str, tree: Mapping[str, Any], part: Part, labels: np.ndarray, seed: int
) -> ConformalPredictor:
    """The method of one row, with its name as the method where the tree has none."""
    asked = ConformalSettings.model_validate({"method": name, "alpha": 0.1, **tree})
    return fit_predictor(asked, part.p, labels, groups=part.groups, rows=part.rows(), seed=seed)


def judge(fitted: ConformalPredictor, test: Part, slices: bool) -> dict[str, Any]:
    """Figures of one split."""
    sets = fitted.predict_set(test.p, test.rows(slices))
    hits = sets[np.arange(len(test.labels)), test.labels]
    judged = fitted.judged(test.p)
    alone = answered(sets, test.p.argmax(axis=1))
    right = test.p.argmax(axis=1) == test.labels
    own_hits = [hits[judged & (test.groups == name)] for name in np.unique(test.groups[judged])]
    promise = fitted.promise(None)
    inside = None
    if promise is not None and promise.exact:
        low, high = hits_band(promise.points, int(judged.sum()), promise.rank, 0.05)
        inside = bool(low <= hits[judged].sum() <= high)
    by_class = {}
    for label, name in enumerate(CLASSES):
        own = judged & (test.labels == label)
        low, high = clopper_pearson(int(hits[own].sum()), int(own.sum()))
        by_class[name] = (float(hits[own].mean()), low, high, int(own.sum()))
    return {
        "coverage": float(hits[judged].mean()),
        "judged": float(judged.mean()),
        "one_vote": float(np.mean([own.mean() for own in own_hits])),
        "whole": float(np.mean([own.all() for own in own_hits])),
        "inside": inside,
        "size": float(sets[judged].sum(axis=1).mean()),
        "empty": float((~sets.any(axis=1)).mean()),
        "alone": float(alone.mean()),
        "accuracy": float(right[alone].mean()) if alone.any() else None,
        "classes": by_class,
    }


def defer(reference: Part, part: Part, test: Part, seed: int) -> dict[str, dict[str, Any]]:
    """Defer thresholds of one split: share accepted and error among them, for new images."""
    n_groups = len(np.unique(part.groups))
    levels = levels_from(reference.p, reference.labels, n_groups, PROMISE)
    one = counted_rows("drawn", np.zeros(len(part.labels)), part.groups, part.rows(), seed=seed)
    found = {
        "learn_then_test": DeferThreshold.fit(
            part.p, part.labels, levels, part.groups, promise=PROMISE
        ),
        "sgr, one image a group": fit_sgr(part.p[one], part.labels[one], promise=PROMISE),
    }
    rows = {}
    for name, threshold in found.items():
        accepted = threshold.accepts(test.p)
        wrong = test.p.argmax(axis=1) != test.labels
        rates = [
            wrong[accepted & (test.groups == group)].mean()
            for group in np.unique(test.groups[accepted])
        ]
        rows[name] = {
            "accepted": float(accepted.mean()),
            "error": float(np.mean(rates)) if rates else None,
            "feasible": threshold.feasible,
            "needed": threshold.needed,
        }
    return rows


def measure(scores: Scores, splits: int) -> dict[str, Any]:
    """Every table of one kind of pictures."""
    sets: dict[str, list[dict[str, Any]]] = {name: [] for name in METHODS}
    noisy: dict[str, list[dict[str, Any]]] = {name: [] for name in NOISY}
    thresholds: dict[str, list[dict[str, Any]]] = {}
    sizes = []
    for seed in range(splits):
        reference, part, test = deal(scores, seed)
        sizes.append((len(part.labels), len(np.unique(part.groups)), len(test.labels)))
        for name, tree in METHODS.items():
            fitted = fit(name, tree, part, part.labels, seed)
            sets[name].append(judge(fitted, test, "as served" not in name))
        flipped = np.random.default_rng(seed).random(len(part.labels)) < NOISE
        given = np.where(flipped, 1 - part.labels, part.labels)
        for name, tree in NOISY.items():
            noisy[name].append(judge(fit(name, tree, part, given, seed), test, slices=True))
        for name, row in defer(reference, part, test, seed).items():
            thresholds.setdefault(name, []).append(row)
    n, groups, tested = np.mean(sizes, axis=0)
    return {
        "images": len(scores.labels),
        "groups": len(np.unique(scores.groups)),
        "conformal_images": float(n),
        "conformal_groups": float(groups),
        "test_images": float(tested),
        "sets": sets,
        "noisy": noisy,
        "defer": thresholds,
    }


def _mean(values: list[Any]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _range(values: list[Any]) -> str:
    low, high = np.quantile(values, [0.05, 0.95])
    return f"{np.mean(values):.3f} ({low:.3f} to {high:.3f})"


def _sets_table(rows: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    lines = [
        "| method | coverage | in band | a group one vote | all of a group | mean size | empty | "
        "answered alone | right of these | none: mean, first split | roadwork: mean, first split |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for name, seen in rows.items():
        classes = []
        for label in CLASSES:
            first = seen[0]["classes"][label]
            mean = _mean([one["classes"][label][0] for one in seen])
            classes.append(
                f"{mean:.3f}; {first[0]:.3f} [{first[1]:.3f}, {first[2]:.3f}] of {first[3]}"
            )
        inside = [one["inside"] for one in seen]
        band = "" if inside[0] is None else f"{_mean(inside):.2f}"
        keys = ("one_vote", "whole", "size", "empty", "alone")
        shown = [f"{_mean([one[key] for one in seen]):.3f}" for key in keys]
        accuracy = _mean([one["accuracy"] for one in seen])
        lines.append(
            f"| {name} | {_range([one['coverage'] for one in seen])} | {band} | "
            f"{' | '.join(shown)} | {accuracy:.3f} | {classes[0]} | {classes[1]} |"
        )
    return lines


def _defer_table(rows: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    lines = [
        f"| method | found | accepted | their error on the test part, by group | splits above "
        f"{PROMISE.max_error:g} | groups needed otherwise |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, seen in rows.items():
        found = [one for one in seen if one["feasible"]]
        errors = [one["error"] for one in found if one["error"] is not None]
        above = float(np.mean([error > PROMISE.max_error for error in errors])) if errors else 0.0
        needed = [one["needed"] for one in seen if one["needed"] is not None]
        accepted = _mean([one["accepted"] for one in found])
        lines.append(
            f"| {name} | {len(found)} of {len(seen)} | "
            f"{accepted:.3f} | {_mean(errors):.3f} | {above:.2f} | "
            f"{f'{np.median(needed):.0f} (median)' if needed else ''} |"
        )
    return lines


def report(found: Mapping[str, dict[str, Any]], splits: int) -> str:
    """All tables as Markdown."""
    lines: list[str] = []
    for kind, tables in found.items():
        lines += [
            f"### {kind}",
            "",
            f"{tables['images']} images of {tables['groups']} groups; on average over {splits} "
            f"splits {tables['conformal_images']:.0f} conformal images of "
            f"{tables['conformal_groups']:.0f} groups, and {tables['test_images']:.0f} that are "
            "judged. 90 % coverage is promised; scrc is judged on the images that it accepts.",
            "",
            *_sets_table(tables["sets"]),
            "",
            f"With {100 * NOISE:g} % of the conformal labels flipped; judged by right labels:",
            "",
            *_sets_table(tables["noisy"]),
            "",
            f"Defer thresholds: error among the accepted at most {PROMISE.max_error:g} with "
            f"{100 * (1 - PROMISE.delta):g} % confidence:",
            "",
            *_defer_table(tables["defer"]),
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--splits", type=int, default=SPLITS)
    wanted = parser.parse_args()
    found = {
        kind: measure(scores, wanted.splits) for kind, scores in found_scores(wanted.folder).items()
    }
    text = report(found, wanted.splits)
    (wanted.folder / "conformal.json").write_text(json.dumps(found, indent=1))
    (wanted.folder / "conformal.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

"""``roadwork compare`` on a real MLflow store: three registered runs and an unfinished one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import app
from registry import Registry, compare, open_registry, register_bundle
from registry.runs import MlflowTracker, open_run
from roadwork.bundle import ModelBundle
from roadwork.errors import BundleError, RegistryError
from roadwork.training.curves import Curves, Point
from tests.evaluation.report_case import make_report, make_settings
from tests.registry.made import make_scores, new_store, sealed_bundle


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions on the same test images, the third without scores, and an unfinished run."""
    place = tmp_path_factory.mktemp("store")
    runs = place / "runs"
    runs.mkdir()
    shutil.copy(new_store().database, runs / "mlflow.db")
    registry = open_registry(runs=runs)
    for number, strength in enumerate((1.6, 2.4, 2.4), start=1):
        report = make_report(strength=strength)
        curves = Curves()
        for step in range(1, 9):
            curves.add(Point("train/loss", step, 1, 1 / (step * number), 0.0))
        register_bundle(
            sealed_bundle(place / f"b{number}", report).path,
            report,
            make_settings(seed=number),
            run_name=f"training-{number}",
            data_hash="d" * 64,
            scores=None if number == 3 else make_scores(strength),
            params={"environment.finetune.torch": "2.9", "data.hash.train": f"{number:064x}"},
            curves=curves,
            registry=registry,
        )
    registry.client.set_registered_model_alias("roadwork", "champion", "1")
    unfinished = open_run(registry, "training-unfinished", {}, "p")
    MlflowTracker(registry, unfinished).log([Point("train/loss", 1, 1, 1.0, 0.0)])
    return place


@pytest.fixture
def registry(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("ROADWORK_RUNS", str(store / "runs"))
    monkeypatch.delenv("ROADWORK_MLFLOW_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return open_registry()


def test_versions_aliases_names_and_identifiers_find_the_same_runs(registry: Registry) -> None:
    identity = str(registry.client.get_model_version("roadwork", "2").run_id)
    wanted = json.loads(run("champion", "2", "--json", "--metric", "auroc").stdout)
    assert list(wanted["runs"]) == ["v1 champion", "v2"]
    for first, second in (
        ("1", identity),
        ("training-1", identity[:9]),
        ("champion", "training-2"),
    ):
        found = run(first, second, "--json", "--metric", "auroc")
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout) == wanted
    assert set(json.loads(run("latest", "1", "--json").stdout)["runs"]) == {
        "v3 candidate",
        "v1 champion",
    }


def test_the_figures_are_those_of_the_paired_bootstrap(registry: Registry) -> None:
    from roadwork.evaluation.bootstrap import paired_bootstrap

    found = json.loads(run("1", "2", "3", "--json", "--metric", "mcc", "--metric", "brier").stdout)
    assert found["same_test"] is True
    assert found["settings"] == {"seed": {"v1 champion": "1", "v2": "2", "v3 candidate": "3"}}
    assert {"data.hash.train", "roadwork.bundle_hash"} == set(found["facts"])
    first, second = make_scores(1.6), make_scores(2.4)
    for one in found["differences"][:2]:
        expected = paired_bootstrap(
            one["metric"],
            first.probabilities,
            second.probabilities,
            first.labels,
            first.groups,
        )
        assert one["paired"] == expected.model_dump()
        assert one["excludes_zero"] is True
        assert one["better"] is True
        assert one["images"] == 240
    assert {one["reason"] for one in found["differences"][2:]} == {
        "v3 candidate has no test scores"
    }
    report = make_report(strength=1.6)
    auroc = report.metric("mcc")
    assert auroc is not None
    assert found["metrics"]["mcc"]["v1 champion"] == auroc.model_dump()


def test_the_words_say_what_differs(registry: Registry) -> None:
    words = " ".join(run("1", "2", "3").stdout.split())
    assert "Settings that differ" in words
    assert "better" in words
    assert (
        "no paired difference of v3 candidate (auroc, auprc, mcc, accuracy, brier, nll): v3"
        in words
    )
    assert "note Generated scenes (v1 champion, v2, v3 candidate): these figures say" in words
    assert "nothing is adjusted for their number" in words


@pytest.mark.parametrize("suffix", ["html", "svg"])
def test_a_plot_is_written_and_never_overwritten(registry: Registry, suffix: str) -> None:
    name = f"deep/plot.{suffix}"
    done = run("1", "2", "--metric", "auroc", "--plot", name, "--json")
    assert done.exit_code == 0, done.output
    json.loads(done.stdout)
    text = Path(name).read_text()
    assert "train/loss" in text and "v1 champion" in text and "</svg>" in text
    assert "exists already" in run("1", "2", "--plot", name).stderr
    assert run("1", "2", "--plot", name, "--overwrite").exit_code == 0
    assert "writes .html or .svg, not .png" in run("1", "2", "--plot", "x.png").stderr


def test_an_unfinished_run_is_compared_as_far_as_it_is_known(registry: Registry) -> None:
    found = run("1", "training-unf", "--json", "--metric", "auroc")
    assert found.exit_code == 0, found.output
    tree = json.loads(found.stdout)
    assert tree["same_test"] is None
    (title,) = set(tree["runs"]) - {"v1 champion"}
    assert tree["differences"][0]["reason"] == f"{title} has no test scores"
    assert any("No evaluation was kept" in note for note in tree["notes"])


def test_a_run_whose_bundle_is_gone_is_compared_without_differences(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> ModelBundle:
        raise BundleError("there is no bundle")

    monkeypatch.setattr(compare, "EXPOSURE", "not-kept.bin")
    monkeypatch.setattr(compare, "locate", gone)
    found = run("1", "2", "--json", "--metric", "auroc")
    assert found.exit_code == 0, found.output
    (difference,) = json.loads(found.stdout)["differences"]
    assert difference["reason"] == "it is not known what the model of v2 has seen"


def test_a_name_is_not_hidden_by_newer_ones_with_the_same_beginning(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "_MOST", 2)
    runs = [open_run(registry, name, {}, None) for name in ("same", "same-1", "same-2", "same-3")]
    found = compare.read_runs(registry, ["1", "same"])
    assert [one.title for one in found] == ["v1 champion", runs[0][:8]]
    with pytest.raises(RegistryError, match="'same-' fits at least 2 runs"):
        compare.read_runs(registry, ["1", "same-"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1"], "at least two runs"),
        (["1", "champion"], "name the same run"),
        (["1", "1"], "name the same run"),
        (["1", "training-4"], "near it: training-3, training-2, training-1"),
        (["1", "chamipon"], "near it: champion"),
        (["1", "9"], "there is no version, alias or run '9'"),
        (["1", "it's"], "there is no version, alias or run"),
        (["1", "training"], "fits 4 runs"),
        (["1", "training_1"], "there is no version, alias or run 'training_1'"),
        (["1", "2", "--metric", "aurok"], "aurok"),
    ],
)
def test_faults_say_what_there_is(registry: Registry, arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code in (1, 2)
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_a_server_that_is_away_is_an_error_for_people(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROADWORK_MLFLOW_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = run("1", "2")
    assert done.exit_code == 1
    assert "cannot ask MLflow at http://127.0.0.1:9" in done.stderr

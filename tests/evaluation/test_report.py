from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from roadwork.data.manifest import TestSet
from roadwork.evaluation.drawing import ticks
from roadwork.evaluation.markup import Markup, element
from roadwork.evaluation.record import Check, EvaluationReport
from roadwork.evaluation.report import render_html
from roadwork.evaluation.verdict import findings, headline
from tests.evaluation.report_case import (
    make_full_report,
    make_report,
    make_settings,
    make_table,
)

EVIL = '<script>alert("x")</script>.jpg'
VOID = {"meta", "br", "img", "hr"}


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return make_report(240)


class Outline(HTMLParser):
    """Collects tags, ids, links and loaded addresses, and checks the nesting."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.ids += [str(values["id"])] if "id" in values else []
        self.links += [str(values["href"])] if "href" in values else []
        self.loaded += [str(values["src"])] if "src" in values else []
        assert not any(name.startswith("on") for name in values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_well_formed_and_self_contained(report: EvaluationReport) -> None:
    page = render_html(report)
    outline = Outline(page)
    assert outline.open == []
    assert "script" not in outline.tags
    assert "link" not in outline.tags
    assert all(link.removeprefix("#") in outline.ids for link in outline.links)
    assert len(outline.links) == 8
    assert len(outline.loaded) == 6
    assert all(address.startswith("data:image/jpeg;base64,") for address in outline.loaded)
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert len(page.encode()) < 3_000_000


def test_charts_are_valid_xml_with_a_label(report: EvaluationReport) -> None:
    charts = re.findall(r"<svg.*?</svg>", render_html(report), flags=re.DOTALL)
    roots = [ElementTree.fromstring(chart) for chart in charts]
    labelled = [root for root in roots if root.get("role") == "img"]
    assert len(labelled) == 5
    assert all(root.get("aria-label") for root in labelled)
    numbers = re.findall(r'(?:x|y|x1|x2|y1|y2|cx|cy)="(-?[\d.]+)"', "".join(charts))
    assert all(-1 <= float(value) <= 450 for value in numbers)


def test_equal_reports_give_equal_pages(report: EvaluationReport) -> None:
    assert render_html(EvaluationReport.from_json(report.to_json())) == render_html(report)


def test_everything_from_data_is_escaped(report: EvaluationReport) -> None:
    errors = tuple(error.model_copy(update={"file": EVIL}) for error in report.worst_errors)
    column = report.slices[0]
    part = column.slices[0].model_copy(update={"name": EVIL})
    evil = report.model_copy(
        update={
            "name": EVIL,
            "worst_errors": errors,
            "slices": (column.model_copy(update={"slices": (part,), "column": EVIL}),),
            "model": report.model.model_copy(update={"description": EVIL, "calibrator": EVIL}),
            "rows": tuple(row.model_copy(update={"title": EVIL}) for row in report.rows),
            "data": report.data.model_copy(
                update={"quarantine": {EVIL: 1}, "sources": {EVIL: report.test}}
            ),
            "gates": (Check(name=EVIL, passed=False, detail=EVIL),),
        }
    )
    page = render_html(evil)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 15
    assert Outline(page).open == []


def test_banner_only_for_generated_scenes(report: EvaluationReport) -> None:
    assert "no evidence about real roads" in render_html(report)
    real = report.model_copy(update={"synthetic": False})
    assert "no evidence about real roads" not in render_html(real)


def test_real_photographs_are_not_called_generated() -> None:
    settings = make_settings(data={"sources": [{"kind": "image_folder", "root": "photos"}]})
    assert not make_report(30, settings=settings).synthetic


def test_undefined_figures_show_their_reason() -> None:
    test = TestSet(make_table(36, start=90_000, labels=np.ones(36)))
    report = make_report(36, test=test)
    page = render_html(report)
    assert page.count("only one class present") >= 3
    assert "no such image" in page
    assert not re.search(r"\b(nan|NaN|None)\b", page)
    assert headline(report).startswith("It cannot be judged")


def test_gates_and_parity_are_listed_or_said_to_be_missing(report: EvaluationReport) -> None:
    assert "Not decided yet" in render_html(report)
    gates = [Check(name="coverage", passed=False, detail="145 of 160")]
    page = render_html(report.with_gates(gates))
    assert "Not decided yet" not in page
    assert "145 of 160" in page
    assert ">failed<" in page


def test_many_slices_are_cut_with_a_remark(report: EvaluationReport) -> None:
    column = report.slices[0]
    many = tuple(column.slices[0].model_copy(update={"name": f"s{i}"}) for i in range(20))
    cut = report.model_copy(update={"slices": (column.model_copy(update={"slices": many}),)})
    page = render_html(cut)
    assert "and 8 smaller slices" in page
    assert "s11" in page
    assert "s12" not in page


def test_the_choice_of_the_calibrator_is_shown_where_there_was_one() -> None:
    report = make_full_report(60)
    compared = report.calibrators
    assert compared is not None
    page = render_html(report)
    assert "How the calibrator was chosen" in page
    assert compared.why in page
    for found in compared.results:
        assert f"{found.nll:.4f}" in page
        assert (f"{found.title}<span" in page) == (found.method == compared.chosen)
    named = compared.model_copy(update={"asked": "temperature"})
    assert "How the calibrator" not in render_html(report.model_copy(update={"calibrators": named}))
    refused = compared.results[-1].model_copy(
        update={"nll": None, "excess": None, "refused": "the search did not end"}
    )
    partly = compared.model_copy(update={"results": (*compared.results[:-1], refused)})
    assert "the search did not end" in render_html(
        report.model_copy(update={"calibrators": partly})
    )
    # Too few groups: one method is taken without a comparison, and the page says why.
    alone = compared.model_copy(update={"results": (), "folds": 0, "why": "too few groups"})
    page = render_html(report.model_copy(update={"calibrators": alone}))
    assert "Why: too few groups" in page
    assert "Cross-validation in" not in page


def test_sizes_of_sets_and_coverage_of_slices_are_on_the_page(report: EvaluationReport) -> None:
    page = render_html(report)
    for part in report.conformal.sizes:
        assert f'<td class="num">{part.coverage.covered} of {part.coverage.n}</td>' in page
    dusk = next(part for part in report.conformal.slices if part.name == "dusk").coverage
    assert dusk.low is not None
    assert f"{100 * dusk.low:.1f}\N{NO-BREAK SPACE}% to" in page
    assert "It is never filled up" in page


def test_old_reports_without_the_new_parts_are_drawn(report: EvaluationReport) -> None:
    tree = json.loads(report.to_json())
    for key in ("slice_tests", "calibrators", "defer"):
        del tree[key]
    for key in ("sizes", "slices", "fitted_groups"):
        del tree["conformal"][key]
    old = EvaluationReport.from_json(json.dumps(tree))
    page = render_html(old)
    assert Outline(page).open == []
    assert "By size of the set" not in page
    assert [found.tone for found in findings(old)] == ["good", "good", "good", "good"]


def test_verdict_follows_the_intervals(report: EvaluationReport) -> None:
    assert [found.tone for found in findings(report)] == ["good", "good", "good", "good"]
    assert headline(report) == (
        "The model recognises roadwork, and its prediction sets keep their promise."
    )
    # Pure noise: the interval of AUROC holds 0.5, and the baseline, which is informed, wins.
    noise = make_report(240, strength=0.0)
    tones = [found.tone for found in findings(noise)]
    assert tones[:2] == ["bad", "bad"]
    assert "cannot be told from guessing" in headline(noise)


def test_broken_promise_needs_more_than_chance(report: EvaluationReport) -> None:
    def tone(value: float, chance: float) -> str:
        short = report.conformal.classes["roadwork"].model_copy(
            update={"value": value, "chance": chance}
        )
        classes = {**report.conformal.classes, "roadwork": short}
        moved = report.conformal.model_copy(update={"classes": classes})
        return findings(report.model_copy(update={"conformal": moved}))[2].tone

    assert tone(0.91, 0.60) == "good"
    assert tone(0.88, 0.30) == "unclear"
    assert tone(0.80, 0.01) == "bad"


def test_few_groups_give_no_verdict() -> None:
    assert "too few groups" in headline(make_report(60))


def test_markup_escapes_strings_and_keeps_markup() -> None:
    inner = element("b", "1 < 2")
    assert inner == "<b>1 &lt; 2</b>"
    assert element("p", inner, " & ", title='"', class_="x", hidden=None) == (
        '<p title="&quot;" class="x"><b>1 &lt; 2</b> &amp; </p>'
    )
    assert element("line", stroke_width=1.0, x1=1 / 3) == '<line stroke-width="1" x1="0.33"></line>'
    assert isinstance(inner, Markup)


@pytest.mark.parametrize(
    ("high", "expected"),
    [
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.13, [0, 0.05, 0.1, 0.15]),
        (7, [0, 2, 4, 6, 8]),
        (0.5, [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    ],
)
def test_ticks_are_round_and_reach_the_top(high: float, expected: list[float]) -> None:
    assert ticks(high) == pytest.approx(expected)

"""The frame of a page: one self-contained HTML document in the house's style."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from roadwork.evaluation.markup import Markup, element

__all__ = ["css", "document", "figure", "key_tile"]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, body: Markup) -> str:
    """A whole page around its ``<body>``; its content policy forbids everything from elsewhere."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", css()),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def figure(title: str, chart: Markup, below: str) -> Markup:
    """A chart between its title and a line that says how to read it."""
    return element(
        "figure",
        element("figcaption", element("b", title)),
        chart,
        element("figcaption", below, class_="below"),
    )


def key_tile(title: str, value: str, below: str) -> Markup:
    """One key figure, for a ``<dl class="key">``."""
    return element(
        "div",
        element("dt", title),
        element("dd", value, class_="value"),
        element("dd", below, class_="span"),
    )


@cache
def css() -> Markup:
    """The style sheet of all pages."""
    return Markup(files("roadwork.evaluation").joinpath("report.css").read_text("utf-8"))

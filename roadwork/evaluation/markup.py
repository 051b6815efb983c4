"""HTML and SVG as a tree of elements, in which every text is escaped unless it is markup."""

from __future__ import annotations

from html import escape

__all__ = ["Markup", "element", "join"]

_VOID = frozenset({"br", "hr", "img", "meta"})


class Markup(str):
    """Text that is already HTML; only :func:`element` and :func:`join` make it from data."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """One element with its children; a plain ``str`` is escaped, ``Markup`` is not.

    A trailing underscore of an attribute is dropped (``class_``) and inner ones become hyphens
    (``stroke_width``); numbers are written with two decimals at most; None leaves it out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        text = value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
        words.append(f'{key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if name in _VOID else f"{opening}{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Children one after the other, without an element around them."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in children))

"""Small charts of the validation page, as inline SVG that takes its colours from the page."""

from __future__ import annotations

from html import escape

from roadwork.data.profile import BINS, RANGES, DataProfile, StatisticProfile

__all__ = ["distribution_chart", "prior_chart"]

_WIDTH, _HEIGHT = 220.0, 92.0
_BASE = 60.0
_NAMES = 130.0


def distribution_chart(
    statistic: str, found: StatisticProfile, reference: StatisticProfile | None, label: str
) -> str:
    """Histogram of images, the 0.5 to 99.5 % interval with the median, and the reference's."""
    end = _shown_end(statistic, found, reference)
    bins = max(1, round(BINS * end / RANGES[statistic]))
    width = _WIDTH / bins
    parts = []
    shares = _heights(found, bins)
    top = max([*shares, *(_heights(reference, bins) if reference else ())]) or 1.0
    for index, share in enumerate(shares):
        height = (_BASE - 4) * share / top
        if height:
            parts.append(
                f'<rect class="bar" x="{index * width + 0.5:.1f}" y="{_BASE - height:.1f}" '
                f'width="{width - 1:.1f}" height="{height:.1f}"/>'
            )
    if reference:
        steps = [f"M0 {_BASE:.1f}"]
        for index, share in enumerate(_heights(reference, bins)):
            y = _BASE - (_BASE - 4) * share / top
            steps.append(f"V{y:.1f}H{(index + 1) * width:.1f}")
        parts.append(f'<path class="ref" d="{"".join(steps)}V{_BASE:.1f}"/>')
        parts.append(_interval(reference, end, _BASE + 15, "ref"))
    parts.append(_interval(found, end, _BASE + 8, "span"))
    parts.append(f'<line class="axis" x1="0" x2="{_WIDTH:.0f}" y1="{_BASE}" y2="{_BASE}"/>')
    parts.append(f'<text x="0" y="{_HEIGHT - 3}">0</text>')
    parts.append(f'<text x="{_WIDTH:.0f}" y="{_HEIGHT - 3}" text-anchor="end">{end:.0f}</text>')
    words = f"{label}: median {found.median:.0f}, 99 % from {found.low:.0f} to {found.high:.0f}"
    return _svg(_HEIGHT, words, parts)


def prior_chart(profile: DataProfile, reference: DataProfile | None) -> str:
    """Share of roadwork of every source, from 0 to 1, with the reference's share as a mark."""
    parts = []
    full = 420.0
    for index, (name, source) in enumerate(profile.sources.items()):
        y = 8 + 22 * index
        length = (full - _NAMES - 54) * source.prior
        parts.append(f'<text x="0" y="{y + 10}">{escape(_short(name))}</text>')
        parts.append(
            f'<rect class="bar" x="{_NAMES:.0f}" y="{y}" width="{length:.1f}" height="12"/>'
        )
        if reference and name in reference.sources:
            x = _NAMES + (full - _NAMES - 54) * reference.sources[name].prior
            parts.append(f'<path class="ref" d="M{x:.1f} {y - 3}v18"/>')
        parts.append(
            f'<text x="{full:.0f}" y="{y + 10}" text-anchor="end">{100 * source.prior:.1f} %</text>'
        )
    height = 12 + 22 * len(profile.sources)
    return _svg(height, "Share of roadwork by source", parts, full, "wide-chart")


def _shown_end(
    statistic: str, found: StatisticProfile, reference: StatisticProfile | None
) -> float:
    """End of the axis: whole bins that hold everything."""
    last = max(
        max((i for i, n in enumerate(one.histogram) if n), default=0)
        for one in (found, reference or found)
    )
    return RANGES[statistic] * (last + 1) / BINS


def _heights(found: StatisticProfile, bins: int) -> list[float]:
    total = sum(found.histogram) or 1
    return [count / total for count in found.histogram[:bins]]


def _interval(found: StatisticProfile, end: float, y: float, kind: str) -> str:
    low, middle, high = (
        _WIDTH * min(value / end, 1.0) for value in (found.low, found.median, found.high)
    )
    return f'<path class="{kind}" d="M{low:.1f} {y}H{high:.1f}M{middle:.1f} {y - 3}v6"/>'


def _short(name: str, most: int = 20) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _svg(
    height: float, label: str, parts: list[str], width: float = _WIDTH, kind: str = "small"
) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(label)}">'
        f"<title>{escape(label)}</title>{''.join(parts)}</svg>"
    )

"""Road markings and kerbs, by the convention of the street's country."""

from __future__ import annotations

from roadwork.data.scenes.canvas import Canvas
from roadwork.data.scenes.street import Street

__all__ = ["draw_markings"]


def draw_markings(canvas: Canvas, street: Street) -> None:
    """Draw kerbs, edge lines, lane dashes, the centre line and zebra crossings."""
    white, yellow = (214, 214, 208), (222, 178, 52)
    far = 110.0
    covered = canvas.conditions.weather.snow > 0
    if street.environment in ("Urban", "Suburban"):
        for edge, sign in ((street.near_edge, street.side), (street.far_edge, -street.side)):
            stone = (206, 206, 204) if covered else (176, 174, 168)
            canvas.ground(*sorted((edge, edge + sign * 0.22)), near=1.0, far=far, colour=stone)
    if covered:
        return
    centre = yellow if street.kit in ("us", "br") and street.oncoming else white
    period, dash = (12.0, 3.5) if street.environment == "Highway" else (7.0, 2.6)
    if street.environment in ("Highway", "Rural"):
        for edge in (street.near_edge - street.side * 0.45, street.far_edge + street.side * 0.3):
            canvas.ground(edge - 0.07, edge + 0.07, 1.0, far, white, retro=0.1)
    if street.parking:
        edge = street.near_edge - street.side * street.parking
        canvas.ground(edge - 0.05, edge + 0.05, 1.0, far, white, retro=0.1)
    if street.oncoming and street.kit in ("us", "br"):
        for shift in (-0.14, 0.14):
            canvas.ground(shift - 0.05, shift + 0.05, 1.0, far, centre, retro=0.1)
    start = -(canvas.travelled % period)
    lines = [
        side * number * street.lane
        for side, count in ((street.side, street.ahead), (-street.side, street.oncoming))
        for number in range(1, count)
    ]
    if street.oncoming and street.kit not in ("us", "br"):
        lines.append(0.0)
    while start < 75.0:
        for line in lines:
            canvas.ground(line - 0.06, line + 0.06, start, start + dash, white, retro=0.1)
        start += period
    for crossing in street.crossings:
        z = crossing - canvas.travelled
        if z + 3.0 > 1.0 and z < 70:
            left, right = sorted((street.near_edge, street.far_edge))
            d = left + 0.4
            while d < right - 0.4:
                canvas.ground(d, d + 0.5, z, z + 3.0, (206, 206, 202), retro=0.1)
                d += 1.05

"""Words that the slice columns of this library's own sources may hold."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["VOCABULARY", "WORD_SEPARATOR"]

VOCABULARY: Mapping[str, tuple[str, ...]] = {
    "time_of_day": ("Light", "Twilight", "Dark"),
    "environment": ("Urban", "Suburban", "Highway", "Rural", "Other", "Unknown"),
    "weather": (
        "Sunny",
        "Clear",
        "Partly Cloudy",
        "Cloudy",
        "Overcast",
        "Rain",
        "Wet",
        "Snow",
        "Ice",
        "Fog",
        "Other",
        "Unknown",
    ),
    "works_size": ("small", "large"),
}
"""ROADWork's words; those of weather are published nowhere in full, hence a generous list. Sources
of this library speak them; a folder of images with a table of its own may use others."""

WORD_SEPARATOR = ", "
"""Between several words of weather."""

"""Writers of the exact on-disk formats of the real data sets, filled with generated scenes.

They exist so that the real loaders are tested end to end without a single real photograph: each
writer returns a :class:`WrittenPlan` that says what a loader must give back, row by row.
"""

from __future__ import annotations

from roadwork.data.scenes.formats.plan import PlantedCopy, WrittenPlan, WrittenRow

__all__ = ["PlantedCopy", "WrittenPlan", "WrittenRow"]

"""The defer rule: which answers stand alone, and which go to a person.

Answer when the prediction set holds exactly one label and that label is the decided one; defer
otherwise. The second half matters: class-conditional thresholds differ, so that the only label of
a set may be the less probable one. There the decision and the set contradict each other.

The bundle's policy and the evaluation both come through here. Needs numpy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["answered"]


def answered(sets: ArrayLike, decisions: ArrayLike) -> NDArray[np.bool_]:
    """Whether each answer stands alone, (N,).

    Args:
        sets: (N, K) booleans, the prediction sets.
        decisions: (N,) indices of the decided classes.
    """
    members = np.asarray(sets, dtype=np.bool_)
    decided = np.asarray(decisions, dtype=np.int64)
    return (members.sum(axis=1) == 1) & members[np.arange(len(members)), decided]

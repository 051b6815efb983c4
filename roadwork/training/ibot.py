"""iBOT (Zhou et al., 2111.07832): the student says what the teacher sees behind the mask.

The teacher sees every patch; the student predicts, for each hidden one, the distribution over the
prototypes of a head of its own (DINOv2 keeps the two heads apart, Oquab et al., 2304.07193).
"""

from __future__ import annotations

from torch import Tensor

from roadwork.training.dino import STUDENT_TEMPERATURE

__all__ = ["ibot_loss"]


def ibot_loss(
    student: Tensor, targets: Tensor, mask: Tensor, temperature: float = STUDENT_TEMPERATURE
) -> Tensor:
    """Cross-entropy of the hidden patches, averaged in each crop first, then over all crops.

    Every crop with a mask so has the same weight, however much of it is hidden; crops without one
    count as zero (as in DINOv2).

    Args:
        student: scores (M, P) of the hidden patches, crop by crop.
        targets: the teacher's distributions (M, P) for the same patches.
        mask: (B, N), true where a patch is hidden; M in all.
        temperature: divides the student's scores.
    """
    logs = (student.float() / temperature).log_softmax(dim=-1)
    weights = (1.0 / mask.sum(dim=1).clamp_min(1)).repeat_interleave(mask.sum(dim=1))
    return -((targets * logs).sum(dim=-1) * weights).sum() / len(mask)

"""StreetVision (Bittensor subnet 72): what its validators would pay for a model's answers."""

from __future__ import annotations

from roadwork.evaluation.streetvision.augmentation import LEVELS, augment, encode_query
from roadwork.evaluation.streetvision.challenge import SYNTHETIC_SHARE, Challenge, ChallengeMaker
from roadwork.evaluation.streetvision.record import StreetVisionReport
from roadwork.evaluation.streetvision.reward import RewardHistory
from roadwork.evaluation.streetvision.simulation import Predict, simulate
from roadwork.evaluation.streetvision.threshold import best_threshold, logit

__all__ = [
    "LEVELS",
    "SYNTHETIC_SHARE",
    "Challenge",
    "ChallengeMaker",
    "Predict",
    "RewardHistory",
    "StreetVisionReport",
    "augment",
    "best_threshold",
    "encode_query",
    "logit",
    "simulate",
]

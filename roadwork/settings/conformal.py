"""Settings of the prediction sets and their guarantee."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from roadwork.settings.strict import Share, Strict

__all__ = ["REQUIRED_KEYS", "USED_KEYS", "ConformalSettings"]

_Method = Literal[
    "mondrian",
    "lac",
    "aps",
    "raps",
    "saps",
    "rank",
    "mondrian_slice",
    "rc3p",
    "scrc",
    "crcp",
]
_ScoreName = Literal["lac", "aps", "raps", "saps", "rank"]

_OF_SCORE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "lac": frozenset(),
        "aps": frozenset({"randomised"}),
        "raps": frozenset({"randomised", "penalty", "k_reg"}),
        "saps": frozenset({"randomised", "weight"}),
        "rank": frozenset(),
    }
)
_NEEDED_BY_SCORE: Mapping[str, frozenset[str]] = MappingProxyType(
    {"raps": frozenset({"penalty", "k_reg"}), "saps": frozenset({"weight"})}
)

USED_KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        **{name: keys | {"delta", "label_noise"} for name, keys in _OF_SCORE.items()},
        "mondrian": frozenset({"score", "delta"}),
        "mondrian_slice": frozenset({"score", "delta", "slice"}),
        "rc3p": frozenset({"score"}),
        "scrc": frozenset({"score", "delta", "selection"}),
        "crcp": frozenset({"score", "label_noise"}),
    }
)
"""Which of the keys that are null by default each method looks at; its score may add some."""

REQUIRED_KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "mondrian_slice": frozenset({"slice"}),
        "scrc": frozenset({"selection"}),
        "crcp": frozenset({"label_noise"}),
    }
)

_OPTIONAL = (
    "delta",
    "label_noise",
    "slice",
    "selection",
    "score",
    "randomised",
    "penalty",
    "k_reg",
    "weight",
)


class ConformalSettings(Strict):
    """The guarantee of the prediction sets. A key that the method does not use stays null."""

    method: _Method = "mondrian"
    alpha: float = Field(default=0.1, gt=0, lt=0.5, description="Allowed share of missed labels.")
    groups: Literal["images", "drawn", "largest"] = Field(
        default="images",
        description="images: every image counts, and the promise holds only roughly for new "
        "groups; drawn: one of each group, by lot, for an image of a new group; largest: the "
        "strangest of each group, for all images of a new group at once.",
    )
    delta: Share | None = Field(
        default=None,
        description="Probability that the draw of the conformal set breaks the promise; null: the "
        "promise is an average over draws.",
    )
    label_noise: (
        Annotated[float, Field(gt=0, lt=0.5)]
        | tuple[tuple[Annotated[float, Field(ge=0, le=1)], ...], ...]
        | None
    ) = Field(
        default=None,
        description="lac, aps, raps, saps, rank: bound of the share of wrong labels, less than "
        "alpha. crcp: a row for each given label with the shares of true labels under it.",
    )
    slice: str | None = Field(
        default=None, description="mondrian_slice: column whose values are the slices."
    )
    selection: Share | None = Field(
        default=None, description="scrc: share of images, the most confident, to answer for."
    )
    score: _ScoreName | None = Field(
        default=None,
        description="Of mondrian, mondrian_slice, rc3p, scrc and crcp; null: lac.",
    )
    randomised: bool | None = Field(
        default=None, description="aps, raps, saps: scores with a number drawn for every image."
    )
    penalty: float | None = Field(
        default=None, ge=0, description="raps: of every rank beyond k_reg; not from these data."
    )
    k_reg: int | None = Field(
        default=None, ge=0, description="raps: ranks without penalty; not from these data."
    )
    weight: float | None = Field(
        default=None, gt=0, description="saps: of one rank; not from these data."
    )

    @property
    def score_name(self) -> str:
        """The score of the sets, whether the method is one or uses one."""
        return self.method if self.method in _OF_SCORE else self.score or "lac"

    @model_validator(mode="after")
    def _no_dead_key(self) -> Self:
        of_score = _OF_SCORE[self.score_name]
        used = USED_KEYS[self.method] | of_score
        where = f"conformal.method: {self.method}"
        if self.score is not None and of_score and self.method not in _OF_SCORE:
            where += f" with score: {self.score}"
        for key in _OPTIONAL:
            if getattr(self, key) is not None and key not in used:
                raise ValueError(f"{key} is not used by {where}: leave it out")
        needed = REQUIRED_KEYS.get(self.method, frozenset())
        needed |= _NEEDED_BY_SCORE.get(self.score_name, frozenset())
        for key in _OPTIONAL:
            if getattr(self, key) is None and key in needed:
                raise ValueError(
                    f"{key} is needed by {where}: choose it without a look at the conformal set"
                )
        return self._check_noise(where)

    def _check_noise(self, where: str) -> Self:
        if self.groups == "largest" and self.method in ("rc3p", "scrc", "crcp"):
            raise ValueError(f"groups: largest does not go with {where}: use drawn or images")
        noise = self.label_noise
        if self.method == "crcp" and not isinstance(noise, tuple):
            raise ValueError(
                f"label_noise of {where} is a matrix: a row for each given label with the shares "
                "of true labels under it, such as [[0.95, 0.05], [0.02, 0.98]]"
            )
        if self.method != "crcp" and isinstance(noise, tuple):
            raise ValueError(f"label_noise of {where} is one number, the share of wrong labels")
        if isinstance(noise, float) and noise >= self.alpha:
            raise ValueError(
                f"alpha {self.alpha:g} must exceed label_noise {noise:g}: with so many wrong "
                "labels no threshold can promise more"
            )
        return self

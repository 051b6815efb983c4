"""The typed contents of a bundle: what its JSON files say, as strict records.

Each record is one file of the bundle; :func:`to_json` gives the bytes to store. Needs numpy and
pydantic only, because the service reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from roadwork.data.views import RESAMPLING, Tiles
from roadwork.deferral import answered

__all__ = [
    "BundleConfig",
    "GoldenCase",
    "GoldenSet",
    "Policy",
    "Preprocessor",
    "golden_parts",
    "to_json",
]


class BundleFile(BaseModel):
    """Base of every record: frozen, strict, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class BundleConfig(BundleFile):
    """``config.json``: what the model is.

    ``architecture`` holds what the training code needs to rebuild the network around
    ``model.safetensors``; serving an exported engine does not read it.
    """

    schema_version: Literal[1] = 1
    name: str = "roadwork"
    classes: tuple[str, ...] = Field(min_length=2)
    positive: int = Field(ge=0)
    backbone: str
    adapter: str
    image_size: int = Field(ge=1)
    tiles: Tiles
    aggregator: str
    architecture: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _positive_is_a_class(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must be different names")
        if self.positive >= len(self.classes):
            raise ValueError(f"positive {self.positive} is no index of the classes")
        return self


class Preprocessor(BundleFile):
    """``preprocessor.json``: how a file becomes the uint8 views that the graph takes.

    The steps: decode, turn upright by EXIF, put transparency on ``background``, cut into one global
    view and ``tiles`` squares, resize each to ``size`` with ``resampling``. Scaling and
    normalisation are part of the graph.
    """

    schema_version: Literal[1] = 1
    size: int = Field(ge=1, description="Edge of a view in pixels.")
    tiles: Tiles
    resampling: Literal["bicubic"] = RESAMPLING
    color_order: Literal["RGB"] = "RGB"
    layout: Literal["N,V,H,W,C uint8"] = "N,V,H,W,C uint8"
    orientation: Literal["exif"] = "exif"
    background: Literal["black"] = "black"
    normalisation: Literal["in the graph"] = "in the graph"
    max_megapixels: float = Field(gt=0)


class Policy(BundleFile):
    """``policy.json``: from probabilities and sets to a decision.

    With two classes the positive one is decided when its probability lies above ``threshold``; a
    tie goes to the other class. With more classes the most probable one is decided, the first of
    equals. An answer is deferred to a person unless its prediction set holds exactly one class and
    that class is the decided one.
    """

    schema_version: Literal[1] = 1
    threshold: float = Field(default=0.5, gt=0, lt=1)
    defer: Literal["unless_set_is_decision"] = "unless_set_is_decision"

    def decide(self, probabilities: ArrayLike, positive: int) -> NDArray[np.int64]:
        """Class index (N,) for probabilities (N, K)."""
        table = np.asarray(probabilities, dtype=np.float64)
        if table.shape[1] != 2:
            return table.argmax(axis=1).astype(np.int64)
        return np.where(table[:, positive] > self.threshold, positive, 1 - positive)

    def defers(self, sets: ArrayLike, decisions: ArrayLike) -> NDArray[np.bool_]:
        """Whether each answer is deferred, (N,).

        Args:
            sets: (N, K) booleans, the prediction sets.
            decisions: (N,) class indices, as :meth:`decide` gives them.
        """
        return ~answered(sets, decisions)


class GoldenCase(BundleFile):
    """One picture of the self-test and the logits of the evaluated model."""

    file: str
    logits: tuple[float, ...]


class GoldenSet(BundleFile):
    """``golden.json``: pictures with known answers, which a service checks before it is ready."""

    schema_version: Literal[1] = 1
    max_probability_difference: float = Field(gt=0)
    cases: tuple[GoldenCase, ...] = Field(min_length=1)


def golden_parts(
    pictures: Sequence[bytes], logits: ArrayLike, max_probability_difference: float
) -> dict[str, bytes]:
    """Files of the self-test: ``golden.json`` and ``golden/NN.jpg``.

    Args:
        pictures: N encoded JPEG files, as they came (not encoded again).
        logits: (N, K) of the evaluated model.
        max_probability_difference: what the self-test tolerates in any class.
    """
    files = [f"golden/{index:02d}.jpg" for index in range(len(pictures))]
    cases = tuple(
        GoldenCase(file=file, logits=tuple(float(value) for value in row))
        for file, row in zip(files, np.asarray(logits), strict=True)
    )
    golden = GoldenSet(max_probability_difference=max_probability_difference, cases=cases)
    return {"golden.json": to_json(golden), **dict(zip(files, pictures, strict=True))}


def to_json(content: BaseModel | Mapping[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, two spaces, one newline at the end; refuses NaN."""
    tree = content.model_dump(mode="json") if isinstance(content, BaseModel) else content
    text = json.dumps(tree, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"

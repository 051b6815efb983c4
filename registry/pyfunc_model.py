"""The bundle as an MLflow pyfunc model, logged from this very file ("models from code").

MLflow copies the file and runs it when the model is loaded, so that no serialised Python object is
stored. Input: a column ``image`` of encoded image bytes, or of base64 text. Output: one row per
image with the fields of :class:`roadwork.predictor.Prediction`.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import pandas as pd  # MLflow reads the annotations of predict, so the name must exist
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

if TYPE_CHECKING:
    from roadwork.predictor import Predictor

__all__ = ["RoadworkModel"]


class RoadworkModel(PythonModel):
    """Answers with the predictor of the bundle that lies beside it."""

    predictor: Predictor

    def load_context(self, context: Any) -> None:
        """Open and verify the bundle, and choose an engine.

        Raises:
            BundleError: a byte of the bundle differs.
        """
        from roadwork.bundle import ModelBundle
        from roadwork.predictor import Predictor

        self.predictor = Predictor(ModelBundle.open(context.artifacts["bundle"]))

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row of answers for each row of images.

        Raises:
            InputError: an image cannot be decoded, or a text is no base64.
        """
        images = [_encoded(value) for value in model_input["image"]]
        answers = self.predictor.predict(images)
        return pd.DataFrame([answer.model_dump(mode="json") for answer in answers])


def _encoded(value: bytes | str) -> bytes:
    from roadwork.errors import InputError

    if isinstance(value, bytes | bytearray):
        return bytes(value)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InputError(
            "the column `image` must hold image bytes or their base64 text, without a `data:` "
            "prefix"
        ) from None


set_model(RoadworkModel())

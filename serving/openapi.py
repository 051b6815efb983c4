"""The OpenAPI description of the service's own endpoints."""

from __future__ import annotations

from typing import Any

from roadwork import __version__
from roadwork.predictor import Prediction
from serving.uploads import MAX_BYTES

__all__ = ["describe_api"]

_REFUSALS = {
    "400": "Empty image, or a form or JSON that cannot be read",
    "413": f"More than {MAX_BYTES // 1_000_000} MB, or too many pixels",
    "415": "Not an image, or an unknown content type",
    "422": "No field image, invalid base64, or an image that is damaged or too small",
}


def describe_api() -> dict[str, Any]:
    """OpenAPI 3.1 as a mapping."""
    prediction = Prediction.model_json_schema()
    prediction.pop("description", None)
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["image"], "properties": {"image": binary}}
    encoded = {"type": "string", "contentEncoding": "base64"}
    body = {"type": "object", "required": ["image_base64"], "properties": {"image_base64": encoded}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "roadwork",
            "version": __version__,
            "description": "Does a street photograph show roadwork?",
        },
        "paths": {
            "/predict": {
                "post": {
                    "summary": "Answer one photograph",
                    "requestBody": {
                        "required": True,
                        "content": {
                            "multipart/form-data": {"schema": form},
                            "image/jpeg": {"schema": binary},
                            "image/png": {"schema": binary},
                            "application/json": {"schema": body},
                        },
                    },
                    "responses": {
                        "200": _response("The answer", "Prediction"),
                        **{code: _response(text, "Refusal") for code, text in _REFUSALS.items()},
                    },
                }
            },
            "/model": {
                "get": {
                    "summary": "The bundle that answers, and what it guarantees",
                    "responses": {"200": {"description": "The model"}},
                }
            },
        },
        "components": {"schemas": {"Prediction": prediction, "Refusal": _REFUSAL}},
    }


_REFUSAL = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}


def _response(description: str, schema: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": description, "content": {"application/json": {"schema": reference}}}

"""The HTTP application: one answer for one photograph, and JSON for everything that goes wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from roadwork.data.decode import UnreadableImage
from roadwork.data.views import tile_count
from roadwork.predictor import Predictor
from serving.openapi import describe_api
from serving.uploads import UploadError, read_image, refusal_of

__all__ = ["create_app", "describe_model", "install_predictor"]

_PAGES = Path(__file__).parent / "pages"
_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_app() -> Starlette:
    """The application; :func:`install_predictor` makes it ready."""
    return Starlette(
        routes=[
            Route("/", _page, methods=["GET"]),
            Route("/predict", _predict, methods=["POST"]),
            Route("/model", _model, methods=["GET"]),
            Route("/openapi.json", _openapi, methods=["GET"]),
            Route("/docs", _docs, methods=["GET"]),
        ],
        exception_handlers={
            UploadError: _refuse,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
        },
    )


def install_predictor(app: Starlette, predictor: Predictor) -> None:
    """Give the application what it answers with."""
    app.state.predictor = predictor
    # Decoding and the engine use every core already; more requests at once would only hold memory.
    app.state.places = len(os.sched_getaffinity(0))


def describe_model(predictor: Predictor) -> dict[str, Any]:
    """What ``GET /model`` says: content hash, guarantee, and a summary of the model card."""
    bundle, config = predictor.bundle, predictor.bundle.config
    return {
        "model": bundle.hash,
        "name": config.name,
        "classes": list(config.classes),
        "positive": config.classes[config.positive],
        "guarantee": bundle.conformal.guarantee,
        "coverage": round(1.0 - bundle.conformal.alpha, 12),
        "threshold": bundle.policy.threshold,
        "backbone": config.backbone,
        "adapter": config.adapter,
        "image_size": config.image_size,
        "tiles": tile_count(config.tiles),
        "engine": predictor.engine.name,
        "summary": _summary(bundle.read("README.md").decode("utf-8", "replace")),
    }


def _summary(card: str) -> str:
    """First paragraph of a model card, past its front matter and headings."""
    if card.startswith("---\n"):
        card = card.partition("\n---\n")[2]
    for paragraph in card.split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line and not line.startswith("#")]
        if lines:
            return " ".join(lines)
    return ""


async def _predict(request: Request) -> Response:
    data = await read_image(request)
    predictor: Predictor = request.app.state.predictor
    try:
        (answer,) = await anyio.to_thread.run_sync(
            predictor.predict, [data], limiter=_limiter(request.app)
        )
    except UnreadableImage as error:
        raise refusal_of(error) from None
    return Response(answer.model_dump_json(), media_type="application/json")


def _limiter(app: Starlette) -> anyio.CapacityLimiter:
    # A limiter belongs to the event loop, which does not run yet when the predictor is installed.
    if not hasattr(app.state, "limiter"):
        app.state.limiter = anyio.CapacityLimiter(app.state.places)
    return app.state.limiter


async def _model(request: Request) -> Response:
    return JSONResponse(describe_model(request.app.state.predictor))


async def _openapi(_: Request) -> Response:
    return JSONResponse(describe_api())


async def _page(_: Request) -> Response:
    return _html("index.html")


async def _docs(_: Request) -> Response:
    return _html("docs.html")


def _html(name: str) -> Response:
    return HTMLResponse(
        (_PAGES / name).read_text(encoding="utf-8"),
        headers={"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"},
    )


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, UploadError)
    # Bytes of a body that is too long may still be coming; nothing else can be sent on that line.
    headers = {"Connection": "close"} if error.code == "too_many_bytes" else None
    return _error(error.status, error.code, str(error), headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "method_not_allowed" if error.status_code == 405 else "http_error"
    return _error(error.status_code, code, error.detail, error.headers)


async def _gone(_: Request, error: Exception) -> Response:
    return _error(400, "disconnected", "the connection was closed before the image was complete")


def _error(status: int, code: str, message: str, headers: Any = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)

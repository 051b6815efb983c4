"""The BentoML service: ``bentoml serve`` in the root of the project starts it.

BentoML gives process management, ``/livez``, ``/readyz`` and ``/metrics``; our own application is
mounted inside, because BentoML's own handling answers 500 to a bad upload and reads bodies of any
size.
"""

from __future__ import annotations

import logging
import os

from roadwork.environment import Environment, silence_telemetry

silence_telemetry()

import bentoml  # noqa: E402
from bentoml._internal.utils.analytics import usage_stats  # noqa: E402

from roadwork.errors import RoadworkError  # noqa: E402
from roadwork.predictor import Predictor  # noqa: E402
from serving.app import create_app, install_predictor  # noqa: E402
from serving.source import find_bundle  # noqa: E402

__all__ = ["RoadworkService", "open_predictor"]

logger = logging.getLogger("bentoml.roadwork")

# The bentoml command asks for the variable, and remembers the answer, before it imports this file.
usage_stats.do_not_track.cache_clear()

# Which engine answers, and why the others were passed over, belongs into the server's log.
logging.getLogger("roadwork").setLevel(logging.INFO)

app = create_app()


def open_predictor() -> Predictor:
    """Verify the bundle, choose the engine, and compare the golden answers.

    Raises:
        RoadworkError: there is no bundle, it was changed, no engine may answer, or one answers
            differently.
    """
    environment = Environment()
    predictor = Predictor(find_bundle(environment), environment.engine, environment.threads)
    test = predictor.self_test()
    logger.info(
        "%s is ready with %s: %d golden answers differ by at most %.1g",
        predictor.bundle.title,
        test.engine,
        test.images,
        test.max_probability_difference,
    )
    return predictor


@bentoml.service(
    name="roadwork",
    # One process: the engine and the decoding threads use every core, and the model is in memory
    # once. Scale out with replicas.
    workers=1,
    traffic={"timeout": 60, "max_concurrency": 64},
    metrics={"enabled": True, "namespace": "bentoml_service"},
)
@bentoml.asgi_app(app, path="/")
class RoadworkService:
    """Says whether a street photograph shows roadwork."""

    def __init__(self) -> None:
        """Open the predictor that the application answers with."""
        install_predictor(app, open_predictor())

    @bentoml.on_deployment
    @staticmethod
    def check_before_start() -> None:
        """Refuse to start on a bad bundle, in the process whose exit status the caller sees."""
        try:
            predictor = open_predictor()
        except RoadworkError as error:
            raise SystemExit(f"error: {error}") from None
        # An alias may move between now and the start of the worker.
        os.environ["ROADWORK_BUNDLE"] = str(predictor.bundle.path)

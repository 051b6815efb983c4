"""OpenVINO on the CPU, forced to float32: the fastest exact engine on most x86 machines."""

from __future__ import annotations

import threading
from typing import Any

from roadwork.bundle import ModelBundle
from roadwork.engines.base import (
    Availability,
    EngineInfo,
    Logits,
    Views,
    count_threads,
    one_by_one,
    package_available,
)

__all__ = ["OPENVINO", "OpenVinoEngine"]


class OpenVinoEngine:
    """A compiled model; every thread that calls has its own inference request."""

    name = "openvino"

    def __init__(self, model: bytes, threads: int = 0) -> None:
        """Compile a serialised ONNX model on a number of threads (0: all CPUs of the process)."""
        import openvino

        core = openvino.Core()
        self._model = core.compile_model(
            core.read_model(model),
            "CPU",
            {
                # On CPUs with bf16 the default would round to it.
                "INFERENCE_PRECISION_HINT": "f32",
                "EXECUTION_MODE_HINT": "ACCURACY",
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": "1",
                "INFERENCE_NUM_THREADS": str(count_threads(threads)),
                # Two worker processes would be pinned to the same cores.
                "ENABLE_CPU_PINNING": "NO",
            },
        )
        self._local = threading.local()

    def run(self, views: Views) -> Logits:
        """Logits (N, K) of views (N, V, S, S, 3)."""
        return one_by_one(views, self._run_one)

    def _run_one(self, views: Views) -> Logits:
        request: Any = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._model.create_infer_request()
        # The copy matters: the next call overwrites the request's output memory.
        return request.infer([views])[0].copy()


def _available() -> Availability:
    return package_available("openvino", "serve")


def _open(bundle: ModelBundle, threads: int) -> OpenVinoEngine:
    return OpenVinoEngine(bundle.read("model.onnx"), threads)


OPENVINO = EngineInfo("openvino", "OpenVINO, CPU, float32", _available, _open)

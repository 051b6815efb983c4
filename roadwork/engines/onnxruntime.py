"""ONNX Runtime on the CPU in float32: the engine that answers everywhere."""

from __future__ import annotations

import numpy as np

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

__all__ = ["ONNX_RUNTIME", "OnnxRuntimeEngine"]


class OnnxRuntimeEngine:
    """A session on the CPU provider."""

    name = "onnxruntime"

    def __init__(self, model: bytes, threads: int = 0) -> None:
        """Load a serialised ONNX model on a number of threads (0: all CPUs of the process)."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count_threads(threads)
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        # Threads that spin between two requests take the cores from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def run(self, views: Views) -> Logits:
        """Logits (N, K) of views (N, V, S, S, 3)."""
        return one_by_one(views, self._run_one)

    def _run_one(self, views: Views) -> Logits:
        return np.asarray(self._session.run(None, {self._input: views})[0])


def _available() -> Availability:
    return package_available("onnxruntime", "serve")


def _open(bundle: ModelBundle, threads: int) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(bundle.read("model.onnx"), threads)


ONNX_RUNTIME = EngineInfo("onnxruntime", "ONNX Runtime, CPU, float32", _available, _open)

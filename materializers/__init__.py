"""How results travel between ZenML steps: Parquet, JSON, safetensors and ONNX.

Importing this package registers every materializer with ZenML. Each type has one small class; the
two ways of writing are in ``folder`` (objects with ``save`` and ``load``) and ``record`` (pydantic
models).
"""

from __future__ import annotations

from materializers import ablation, bundle, cascade, data, models, reports

__all__ = ["ablation", "bundle", "cascade", "data", "models", "reports"]

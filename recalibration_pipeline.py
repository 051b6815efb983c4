"""Makes the literal command ``zenml pipeline run recalibration_pipeline`` work.

ZenML imports a name without a dot as a module and then asks that it be a pipeline. This module
puts the pipeline in its own place, so that importing it gives the pipeline itself.
"""

import sys

from pipelines.recalibrate import recalibration_pipeline

sys.modules[__name__] = recalibration_pipeline  # pyright: ignore[reportArgumentType]

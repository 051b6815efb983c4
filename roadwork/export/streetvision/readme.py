"""The page of a submission: what the files are, how to answer with them, what is not claimed."""

from __future__ import annotations

import json

from roadwork import __version__
from roadwork.bundle import ModelBundle
from roadwork.export.streetvision.operating_point import OperatingPoint
from roadwork.export.streetvision.submission import Submission

__all__ = ["readme"]

_PAGE = """---
library_name: onnx
pipeline_tag: image-classification
tags:
- roadwork
- streetvision
---
# {name}

{description}

Version {version}, made by roadwork {roadwork} from the bundle `{bundle}`. Its evaluation, its data
and the licences of its weights: `BUNDLE.md`.

## Files

| file | content |
|---|---|
| `model.onnx` | network, calibration and operating point in one graph |
| `model_card.json` | what StreetVision asks for |
| `config.json` | labels (`None`, `Roadwork`), inputs and outputs of the graph |
| `preprocessor_config.json` | how a picture becomes the graph's input |
| `operating_point.json` | which probability was moved to 0.5, and why |
| `views.py` | cuts the input; needs numpy and Pillow |

## Answering

Needs `onnxruntime`, `numpy` and `Pillow`, nothing else. The subnet's own ViT detector loads
transformers models and cannot load this file: wrap the lines below into a detector of your own.

```python
import onnxruntime

from views import make_views

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])


def predict(image):
    \"\"\"P(Roadwork) of a PIL image; above 0.5 means roadwork.\"\"\"
    views = make_views(image.convert("RGB"), {size}, {tiles})
    return float(session.run(["probability"], {{{input}: views[None]}})[0][0])
```

## Operating point

{point}

A validator rounds the answer, half to even: exactly 0.5 counts as no roadwork. Because of the
shift, the answers are **not** calibrated probabilities{unless}.
"""

_ORIGINS = {
    "policy": (
        "The threshold of the bundle, {threshold:.4f}, lies at 0.5. No photographs were used to "
        "choose it."
    ),
    "given": "The threshold {threshold:.4f}, chosen by whoever made this folder, lies at 0.5.",
    "kept": (
        "The threshold of the bundle, {threshold:.4f}, lies at 0.5. Another was fitted on "
        "{challenges} simulated challenges made of {photographs} photographs of {groups} groups, "
        "and not taken. {worth} These photographs are used up all the same."
    ),
    "fitted": (
        "The threshold {threshold:.4f} lies at 0.5. It has the largest MCC over {challenges} "
        "simulated challenges made of {photographs} photographs of {groups} groups. {worth} These "
        "photographs are used up: figures of this model on them mean nothing."
    ),
}


def readme(submission: Submission, bundle: ModelBundle, point: OperatingPoint, name: str) -> str:
    """Markdown of ``README.md``.

    Args:
        submission: who submits what.
        bundle: what is exported.
        point: the operating point.
        name: of the graph's input.
    """
    preprocessor = bundle.preprocessor
    told = _ORIGINS[point.origin].format(
        threshold=point.threshold,
        challenges=point.challenges,
        photographs=point.photographs,
        groups=point.groups,
        worth=_worth(point),
    )
    return _PAGE.format(
        name=submission.name,
        description=submission.description,
        version=submission.version,
        roadwork=__version__,
        bundle=bundle.hash,
        size=preprocessor.size,
        tiles=repr(preprocessor.tiles),
        input=json.dumps(name),
        point=told + f" The calibrated logit is shifted by {point.shift:+.4f}.",
        unless=" (here it is 0, and they are those of the bundle)" if point.shift == 0 else "",
    )


def _worth(point: OperatingPoint) -> str:
    choice = point.choice
    if choice is None or choice.gain is None:
        return "What that is worth on other groups is not known: there were too few."
    interval = (
        f" (95 % interval {choice.low:+.3f} to {choice.high:+.3f})"
        if choice.low is not None and choice.high is not None
        else ""
    )
    return (
        "Chosen on one half of the groups and judged on the other, it changed the expected reward "
        f"by {choice.gain:+.3f}{interval}."
    )

"""Prior correction: training on sources whose label priors differ, towards one common prior.

If sources differ in how often they show roadwork but not in what roadwork looks like (label
shift), then in source s the log odds are those of the common prior plus a known offset. Training
adds that offset to the logits inside the loss alone (logit adjustment: Menon et al., "Long-tail
learning via logit adjustment", ICLR 2021, arXiv 2007.07314, there for one prior), so that the
network's own logits refer to the common prior and need not learn the source to know the prior. For
the shift of posteriors see Saerens et al., "Adjusting the Outputs of a Classifier to New a Priori
Probabilities", Neural Computation 14(1), 2002.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from roadwork import CLASSES
from roadwork.training.strata import Plan, Strata

__all__ = ["PRIOR_CORRECTIONS", "source_offsets"]

logger = logging.getLogger(__name__)


def source_offsets(strata: Strata, plan: Plan) -> NDArray[np.float64]:
    """Offsets log(pi_s(y) / pi(y)) that the loss adds to the logits of source s, (D, K).

    pi_s is the label prior of what training draws from source s; so a sampler that balances
    classes is accounted for. pi is the label prior of all training rows as they are, whatever is
    drawn: the network's own logits refer to it. Both are smoothed by one row per class, so that a
    source of one label alone has finite offsets. Such a source teaches the label next to nothing,
    as the assumption demands: in it, everything is explained by the prior.
    """
    rows = strata.counts.sum()
    for name, counts in zip(strata.sources, strata.counts, strict=True):
        if (counts == 0).any():
            logger.warning(
                "prior correction: all %d training images of %s are %s; they teach the label next "
                "to nothing once the source's prior is accounted for",
                counts.sum(),
                name,
                CLASSES[int(counts.argmax())],
            )
    own = _smoothed(plan.drawn * rows)
    return np.log(own) - np.log(_smoothed(strata.counts.sum(axis=0)))


def _smoothed(counts: NDArray[np.generic]) -> NDArray[np.float64]:
    """Shares along the last axis after one more of each."""
    more = counts.astype(np.float64) + 1.0
    return more / more.sum(axis=-1, keepdims=True)


def _nothing(strata: Strata, plan: Plan) -> NDArray[np.float64] | None:
    return None


PRIOR_CORRECTIONS: Mapping[str, Callable[[Strata, Plan], NDArray[np.float64] | None]] = (
    MappingProxyType({"none": _nothing, "source": source_offsets})
)
"""By ``finetune.prior_correction``: offsets (D, K) of the logits in the loss, or None."""

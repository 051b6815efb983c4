"""Embeddings of whole pictures, to find look-alikes that perceptual hashes miss.

ImageNet features of a small convolutional network: they know a street again under another crop,
size or compression. They say how alike two pictures are, never what is on them, and no label is
seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from roadwork.data.loading import read_image
from roadwork.data.views import make_views
from roadwork.models.backbone import load_backbone
from roadwork.progress import progress
from roadwork.settings import BackboneSettings

__all__ = ["embed_images"]

_BACKBONE = BackboneSettings(name="tf_efficientnet_lite0", weights="package", image_size=224)
_BATCH = 32


@torch.inference_mode()
def embed_images(uris: Sequence[str], workers: int = 2) -> NDArray[np.float32]:
    """Unit vectors (N, 1280) of the images at N addresses, in their order.

    Raises:
        DataError: an image cannot be read.
        ConfigError: the package that holds the weights is not installed.
    """
    backbone = load_backbone(_BACKBONE, seed=0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = backbone.network.eval().to(device)
    mean = torch.tensor(backbone.info.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(backbone.info.std, device=device).view(1, 3, 1, 1)
    vectors = np.empty((len(uris), int(network.num_features)), dtype=np.float32)  # pyright: ignore
    size = backbone.image_size
    with ThreadPoolExecutor(max(1, workers)) as pool, progress("Comparing images") as update:
        for start in range(0, len(uris), _BATCH):
            part = uris[start : start + _BATCH]
            views = list(pool.map(lambda uri: make_views(read_image(uri), size, 0)[0], part))
            pixels = torch.from_numpy(np.stack(views)).to(device).permute(0, 3, 1, 2) / 255.0
            features = torch.nn.functional.normalize(network((pixels - mean) / std), dim=1)
            vectors[start : start + len(part)] = features.cpu().numpy()
            update(start + len(part), len(uris))
    return vectors

"""A start for the vision transformer of ``benchmarks.methods``: it learns what Lite0 sees.

No published weights of DINOv3 were at hand, and a transformer that is trained with labels on a few
hundred generated drives tells nothing on photographs. So it is taught without labels, as in
knowledge distillation (Hinton et al., 1503.02531, here on features as in FitNets, Romero et al.,
1412.6550): from random crops of generated scenes, class token and mean patch together shall predict
the pooled features that Lite0, with its ImageNet weights, has of the same crop.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.methods_cells import quiet
from benchmarks.methods_plan import Plan

_EDGE = 320  # pixels, of the pictures that are kept for cropping
_BATCH = 256
_RATE = 1e-3
_WARMUP = 0.1  # share of the steps
_AREA = (0.03, 1.0)  # of a crop, as a share of the picture
_STANDARDISE = 8  # batches from which mean and spread of the teacher's features are taken


def train_vit(plan: Plan, record: Path) -> None:
    """Teach the transformer and write its weights; ``record`` says how well it learned."""
    import torch
    from safetensors.torch import save_file
    from torch import nn
    from torch.nn import functional

    from roadwork.models.backbone import BACKBONES, contiguous, load_backbone
    from roadwork.settings import parse_settings, resolve

    quiet()
    start = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = _BATCH if not plan.quick else 16

    def backbone(name: str, weights: str) -> nn.Module:
        part = {"name": name, "weights": weights, "image_size": plan.size}
        return load_backbone(resolve(parse_settings({"backbone": part})).backbone, 0).network

    pictures = torch.from_numpy(scenes(plan)).to(device)
    held = pictures[: len(pictures) // 10]  # whole drives come first
    pictures = pictures[len(held) :]
    teacher = backbone("tf_efficientnet_lite0", "package").to(device).eval()
    student = backbone(plan.vit, "random").to(device).train()
    info, teacher_info = BACKBONES[plan.vit], BACKBONES["tf_efficientnet_lite0"]
    generator = torch.Generator(device).manual_seed(0)

    def crops(source: Any) -> Any:
        return random_crops(source, batch, plan.size, generator)

    def normalised(pixels: Any, how: Any) -> Any:
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (how.mean, how.std))
        return (pixels - mean) / std

    @torch.no_grad()
    def taught(pixels: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            found = teacher(normalised(pixels, teacher_info))
        return found.float()

    first = torch.cat([taught(crops(pictures)) for _ in range(_STANDARDISE)])
    middle, spread = first.mean(dim=0), first.std(dim=0) + 1e-3
    width = int(student.num_features)  # pyright: ignore[reportArgumentType]
    head = nn.Linear(2 * width, len(middle)).to(device)

    def error(pixels: Any) -> Any:
        """Mean of one less the cosine of standardised features."""
        wanted = (taught(pixels) - middle) / spread
        with torch.autocast(device, torch.bfloat16):
            tokens = student.forward_features(normalised(pixels, info))  # pyright: ignore
            patches = tokens[:, student.num_prefix_tokens :].mean(dim=1)  # pyright: ignore
            found = head(torch.cat([tokens[:, 0], patches], dim=1))
        return 1 - functional.cosine_similarity(found.float(), wanted, dim=1).mean()

    weights = [*student.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=plan.vit_steps, pct_start=_WARMUP
    )
    for _ in range(plan.vit_steps):
        optimizer.zero_grad(set_to_none=True)
        error(crops(pictures)).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
    student.eval()
    with torch.no_grad():
        left = float(torch.stack([error(crops(held)) for _ in range(4)]).mean())
    target = Path(plan.vit_weights)
    save_file(contiguous(student.state_dict()), target.with_suffix(".partial"))
    target.with_suffix(".partial").rename(target)
    facts = {
        "backbone": plan.vit,
        "scenes": len(pictures),
        "steps": plan.vit_steps,
        "batch": batch,
        "cosine to Lite0 on scenes held out": round(1 - left, 3),
        "seconds": round(time.monotonic() - start),
    }
    record.write_text(json.dumps(facts, indent=1) + "\n")


def random_crops(pictures: Any, count: int, size: int, generator: Any) -> Any:
    """(count, 3, size, size) RGB in [0, 1]: random boxes of random pictures, mirrored and tinted.

    Args:
        pictures: uint8 (N, 3, H, W).
        count: crops.
        size: their edge in pixels.
        generator: of random numbers, on the device of the pictures.
    """
    import torch
    from torch.nn import functional

    def uniform(low: float, high: float, *shape: int) -> Any:
        found = torch.rand(*shape, generator=generator, device=pictures.device)
        return low + (high - low) * found

    chosen = torch.randint(len(pictures), (count,), generator=generator, device=pictures.device)
    area = uniform(float(np.log(_AREA[0])), float(np.log(_AREA[1])), count).exp()
    ratio = uniform(float(np.log(3 / 4)), float(np.log(4 / 3)), count).exp()
    wide, high = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    mirror = torch.sign(uniform(-1, 1, count))
    theta = pictures.new_zeros((count, 2, 3), dtype=torch.float32)
    theta[:, 0, 0], theta[:, 1, 1] = wide * mirror, high
    theta[:, 0, 2] = uniform(-1, 1, count) * (1 - wide)
    theta[:, 1, 2] = uniform(-1, 1, count) * (1 - high)
    grid = functional.affine_grid(theta, [count, 3, size, size], align_corners=False)
    pixels = pictures[chosen].float() / 255
    found = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return (found * uniform(0.7, 1.3, count, 3, 1, 1) + uniform(-0.1, 0.1, count, 1, 1, 1)).clamp(
        0, 1
    )


def scenes(plan: Plan) -> Any:
    """uint8 (N, 3, E, E): generated scenes squeezed to squares, drive by drive."""
    from concurrent.futures import ThreadPoolExecutor

    from PIL import Image

    from roadwork.data.ingest import ingest
    from roadwork.data.loading import read_image
    from roadwork.data.sources import open_sources
    from roadwork.settings import parse_settings, resolve

    cores = len(os.sched_getaffinity(0))
    source = {"kind": "synthetic", "drives": plan.vit_drives, "faults": False}
    settings = resolve(
        parse_settings({"runs": plan.scratch, "data": {"sources": [source], "workers": cores}})
    )
    table = ingest(open_sources(settings), settings.data).table.sort_by("group_id")

    def decoded(uri: str) -> Any:
        return np.asarray(read_image(uri).resize((_EDGE, _EDGE), Image.Resampling.BICUBIC))

    with ThreadPoolExecutor(cores) as pool:
        found = list(pool.map(decoded, table.column("uri").to_pylist()))
    return np.ascontiguousarray(np.stack(found).transpose(0, 3, 1, 2))

"""A start for the vision transformer of ``benchmarks.methods``: it learns what Lite0 sees.

No published weights of DINOv3 were at hand, and a transformer that is trained with labels on a few
hundred generated drives tells nothing on photographs. So it is taught without labels, as in
knowledge distillation (Hinton et al., 1503.02531, here on features as in FitNets, Romero et al.,
1412.6550): from random crops of generated scenes, class token and mean patch together shall predict
the pooled features that Lite0, with its ImageNet weights, has of the same crop.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.methods_cells import quiet
from benchmarks.methods_plan import Plan

FAMILIES = ("natix-like", "roadwork-like", "vistas-like")

_EDGE = 320  # pixels, of the pictures that are kept for cropping
_BATCH = 256
_RATE = 1e-3
_WARMUP = 0.1  # share of the steps
_AREA = (0.03, 1.0)  # of a crop, as a share of the picture
_STANDARDISE = 8  # batches from which mean and spread of the teacher's features are taken


@dataclass(frozen=True)
class Lesson:
    """What is taught.

    Attributes:
        vit: the student.
        size: edge of a crop in pixels.
        drives: generated, of all families; those of others than ``families`` are left out.
        families: camera families.
        steps: of training.
        batch: crops a step.
        seed: of scenes, weights and crops.
    """

    vit: str = "vit_pico_patch16_dinov3"
    size: int = 224
    drives: int = 300
    families: tuple[str, ...] = FAMILIES
    steps: int = 2000
    batch: int = _BATCH
    seed: int = 0


def train_vit(plan: Plan, record: Path) -> None:
    """Teach the transformer of a plan; ``record`` says how well it learned."""
    quiet()
    batch = 16 if plan.quick else _BATCH
    lesson = Lesson(plan.vit, plan.size, plan.vit_drives, FAMILIES, plan.vit_steps, batch)
    record.write_text(json.dumps(teach(lesson, Path(plan.vit_weights)), indent=1) + "\n")


def teach(lesson: Lesson, target: Path) -> dict[str, Any]:
    """Teach the transformer, write its weights to ``target``, and say how well it learned."""
    import torch
    from safetensors.torch import save_file
    from torch import nn
    from torch.nn import functional

    from roadwork.models.backbone import BACKBONES, contiguous, load_backbone
    from roadwork.settings import parse_settings, resolve

    start = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def backbone(name: str, weights: str) -> nn.Module:
        part = {"name": name, "weights": weights, "image_size": lesson.size}
        settings = resolve(parse_settings({"backbone": part}))
        return load_backbone(settings.backbone, lesson.seed).network

    pictures = torch.from_numpy(scenes(lesson)).to(device)
    held = pictures[: len(pictures) // 10]  # whole drives come first
    pictures = pictures[len(held) :]
    teacher = backbone("tf_efficientnet_lite0", "package").to(device).eval()
    student = backbone(lesson.vit, "random").to(device).train()
    info, teacher_info = BACKBONES[lesson.vit], BACKBONES["tf_efficientnet_lite0"]
    generator = torch.Generator(device).manual_seed(lesson.seed)

    def crops(source: Any) -> Any:
        return random_crops(source, lesson.batch, lesson.size, generator)

    def normalised(pixels: Any, how: Any) -> Any:
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (how.mean, how.std))
        return (pixels - mean) / std

    def sixteen_bits() -> Any:
        return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")

    @torch.no_grad()
    def taught(pixels: Any) -> Any:
        with sixteen_bits():
            found = teacher(normalised(pixels, teacher_info))
        return found.float()

    first = torch.cat([taught(crops(pictures)) for _ in range(_STANDARDISE)])
    middle, spread = first.mean(dim=0), first.std(dim=0) + 1e-3
    width = int(student.num_features)  # pyright: ignore[reportArgumentType]
    head = nn.Linear(2 * width, len(middle)).to(device)

    def error(pixels: Any) -> Any:
        """Mean of one less the cosine of standardised features."""
        wanted = (taught(pixels) - middle) / spread
        with sixteen_bits():
            tokens = student.forward_features(normalised(pixels, info))  # pyright: ignore
            patches = tokens[:, student.num_prefix_tokens :].mean(dim=1)  # pyright: ignore
            found = head(torch.cat([tokens[:, 0], patches], dim=1))
        return 1 - functional.cosine_similarity(found.float(), wanted, dim=1).mean()

    weights = [*student.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=lesson.steps, pct_start=_WARMUP
    )
    for step in range(lesson.steps):
        optimizer.zero_grad(set_to_none=True)
        loss = error(crops(pictures))
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            seconds = time.monotonic() - start
            print(
                f"{seconds:5.0f} s: step {step + 1}, cosine {1 - float(loss.detach()):.3f}",
                flush=True,
            )
    student.eval()
    with torch.no_grad():
        left = float(torch.stack([error(crops(held)) for _ in range(4)]).mean())
    partial = target.with_suffix(".partial")
    save_file(contiguous(student.state_dict()), partial)
    partial.rename(target)
    return {
        **asdict(lesson),
        "scenes": len(pictures),
        "cosine to Lite0 on scenes held out": round(1 - left, 3),
        "seconds": round(time.monotonic() - start),
    }


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


def scenes(lesson: Lesson) -> Any:
    """uint8 (N, 3, E, E): generated scenes squeezed to squares, drive by drive."""
    from concurrent.futures import ThreadPoolExecutor

    from PIL import Image

    from roadwork.data.ingest import ingest
    from roadwork.data.loading import read_image
    from roadwork.data.sources import open_sources
    from roadwork.settings import parse_settings, resolve

    cores = len(os.sched_getaffinity(0))
    source = {"kind": "synthetic", "drives": lesson.drives, "faults": False}
    edge = min(_EDGE, 2 * lesson.size)

    def decoded(uri: str) -> Any:
        return np.asarray(read_image(uri).resize((edge, edge), Image.Resampling.BICUBIC))

    with tempfile.TemporaryDirectory(prefix="roadwork-lesson-") as made:
        tree = {"runs": made, "seed": lesson.seed, "data": {"sources": [source], "workers": cores}}
        settings = resolve(parse_settings(tree))
        table = ingest(open_sources(settings), settings.data).table.sort_by("group_id")
        rows = zip(table.column("uri").to_pylist(), table.column("source").to_pylist(), strict=True)
        with ThreadPoolExecutor(cores) as pool:
            found = list(pool.map(decoded, [uri for uri, own in rows if own in lesson.families]))
    return np.ascontiguousarray(np.stack(found).transpose(0, 3, 1, 2))


def main() -> None:
    """Teach, print, write the weights and a record beside them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", type=Path, help="safetensors file to write")
    parser.add_argument("--size", type=int, default=Lesson.size)
    parser.add_argument("--drives", type=int, default=Lesson.drives)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--steps", type=int, default=Lesson.steps)
    parser.add_argument("--batch", type=int, default=Lesson.batch)
    parser.add_argument("--seed", type=int, default=Lesson.seed)
    wanted = vars(parser.parse_args())
    target = wanted.pop("target")
    target.parent.mkdir(parents=True, exist_ok=True)
    facts = teach(Lesson(**{**wanted, "families": tuple(wanted["families"])}), target)
    print(json.dumps(facts, indent=1))
    target.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

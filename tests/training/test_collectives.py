"""Sums and rows over processes: two of them compute what one does with the whole batch."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from roadwork.training.collectives import all_mean, all_rows, all_sum

# Each process takes half of the rows, computes, and compares with the whole.
PROGRAM = textwrap.dedent("""
    import sys
    import torch
    from torch import distributed
    from roadwork.training.centring import MeanCentring, SinkhornCentring
    from roadwork.training.collapse import collapse_figures
    from roadwork.training.collectives import all_mean
    from roadwork.training.dino import koleo

    torch.set_num_threads(1)
    rank, store = int(sys.argv[1]), sys.argv[2]
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(10, 6, generator=generator) * 2 - 1
    features = torch.randn(2, 6, 5, generator=generator)
    uneven = slice(0, 4) if rank == 0 else slice(4, 10)
    half = slice(0, 3) if rank == 0 else slice(3, 6)

    def computed(rows, pictures):
        sinkhorn = SinkhornCentring(6)(scores[rows], 0.05)
        mean = MeanCentring(6)
        mean(scores[rows], 0.05)
        own = features[0][pictures].clone().requires_grad_()
        loss = koleo(own)
        loss.backward()
        figures = collapse_figures(scores[rows].softmax(dim=1), features[:, pictures])
        return sinkhorn, mean.centre, loss.detach(), own.grad, figures

    whole = computed(slice(0, 10), slice(0, 6))
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    part = computed(uneven, half)
    torch.testing.assert_close(part[0], whole[0][uneven])
    torch.testing.assert_close(part[1], whole[1])
    torch.testing.assert_close(part[2], whole[2])
    # Processes average their gradients, so each has twice its share here.
    torch.testing.assert_close(part[3] / 2, whole[3][half])
    torch.testing.assert_close(all_mean(torch.tensor(float(rank))), torch.tensor(0.5))
    for name, value in whole[4].items():
        torch.testing.assert_close(part[4][name], value, msg=name)
    distributed.destroy_process_group()
""")


def test_alone_nothing_changes() -> None:
    values = torch.randn(3, 2, requires_grad=True)
    assert all_rows(values) is values
    assert torch.equal(all_sum(values), values.detach())
    assert torch.equal(all_mean(values), values.detach())
    assert not all_sum(values).requires_grad and not all_mean(values).requires_grad


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    program = tmp_path / "half.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program)]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "store")], stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        for process in running:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in running:
            process.kill()

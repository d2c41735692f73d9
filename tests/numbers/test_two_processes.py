"""What is computed over processes is what one process computes with the whole batch: values and gradients."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from unmask.nn.contrastive import cosines, info_nce, paired_nce
from unmask.nn.gather import gather, place
from unmask.nn.sinkhorn import sinkhorn


def rows(n: int, seed: int) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def contrastive(weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Anchors of this process against the other views of all, and images against captions and back."""
    a, b = x @ weight, gather(y @ weight)
    mine = torch.arange(len(a)) + place(len(a))
    views = info_nce(cosines(a, b) / 0.1, torch.nn.functional.one_hot(mine, len(b)).bool())
    return views + paired_nce(a, (y @ weight.T).sin(), 7.0, label_smoothing=0.1)


def codes(x: Tensor, queued: Tensor) -> Tensor:
    prototypes = rows(5, 3)
    return sinkhorn(cosines(x, prototypes), queued=cosines(queued, prototypes), gather=gather)


def one_of_two(rank: int, folder: str) -> None:
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", meet, rank=rank, world_size=2, timeout=timedelta(minutes=2))
    weight = rows(6, 0).requires_grad_()
    half = slice(8 * rank, 8 * rank + 8)
    loss = contrastive(weight, rows(16, 1)[half], rows(16, 2)[half])
    loss.backward()
    found = {"loss": loss.detach(), "grad": weight.grad, "codes": codes(rows(16, 1)[half], rows(7, 4))}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_one_process_equals_two(tmp_path: Path, one_thread: None) -> None:
    other = mp.get_context("spawn").Process(target=one_of_two, args=(1, str(tmp_path)))
    other.start()
    one_of_two(0, str(tmp_path))
    other.join(60)
    assert other.exitcode == 0
    two = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    weight = rows(6, 0).requires_grad_()
    loss = contrastive(weight, rows(16, 1), rows(16, 2))
    loss.backward()
    torch.testing.assert_close((two[0]["loss"] + two[1]["loss"]) / 2, loss.detach(), atol=1e-12, rtol=0)
    torch.testing.assert_close((two[0]["grad"] + two[1]["grad"]) / 2, weight.grad, atol=1e-12, rtol=0)
    both = torch.cat([two[0]["codes"], two[1]["codes"]])
    torch.testing.assert_close(both, codes(rows(16, 1), rows(7, 4)), atol=1e-12, rtol=0)

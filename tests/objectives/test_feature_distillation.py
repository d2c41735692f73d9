"""Feature distillation: targets by hand, and that the student learns while the teacher stays."""

from __future__ import annotations

import torch

from unmask.base.method import roles
from unmask.base.objective import Views
from unmask.objectives.feature_distillation import FeatureDistillation, cells, summary


def test_a_cell_has_the_mean_and_the_spread_of_its_pixels() -> None:
    maps = torch.zeros(1, 1, 16, 16)
    maps[0, 0, :2, :2] = torch.tensor([[1.0, 3.0], [5.0, 7.0]])  # mean 4, variance (9 + 1 + 1 + 9) / 4 = 5
    mean, spread = cells(maps)
    assert mean[0, 0, 0, 0] == mean.sum() == 4
    assert torch.isclose(spread[0, 0, 0, 0], torch.tensor(5.0).sqrt())
    assert torch.count_nonzero(spread) == 1


def test_a_map_as_coarse_as_the_grid_has_no_spread() -> None:
    assert len(cells(torch.rand(1, 2, 8, 8))) == 1


def test_the_face_is_summed_up_by_mean_and_spread_over_its_cells() -> None:
    target = torch.zeros(1, 64, 1)
    target[0, :32] = 2.0  # mean 1, unbiased deviation sqrt(64 / 63)
    assert torch.allclose(summary(target), torch.tensor([[1.0, (64 / 63) ** 0.5]]))


def test_the_student_learns_and_the_teacher_stays(one_thread: None) -> None:
    torch.manual_seed(0)
    method = FeatureDistillation("tiny-vit").train()
    assert {role for name, role in roles(method).items() if name.startswith("teacher.")} == {"frozen"}
    image = torch.rand(4, 3, 8, 8).repeat_interleave(32, 2).repeat_interleave(32, 3)
    batch = Views((image,), (torch.zeros(4, 4),), torch.arange(4), torch.full((4,), -1))
    teacher = {name: value.clone() for name, value in method.teacher.state_dict().items()}
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 1e-3)
    losses = []
    for _ in range(6):
        loss = torch.stack(list(method.loss(batch).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.equal(value, teacher[name]) for name, value in method.teacher.state_dict().items())
    assert method(image).shape == (4, method.encoder.kind.features)

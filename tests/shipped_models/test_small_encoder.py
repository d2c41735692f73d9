"""The small encoder's lesson: targets by hand, images and targets that stay together, a run that goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training import small_encoder
from training.collection import Entry
from training.small_encoder import Student, batch, cells, summary, taught, train
from unmask.nn.backbones import Encoder, load, save


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_encoder, "BATCH", 8)
    monkeypatch.setattr(small_encoder, "WARMUP", 5)


def lesson(n: int, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Images of 8 x 8 flat patches, and each patch's own colour as what the teacher says of it."""
    colours = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), np.uint8)
    pictures = colours.repeat(16, 1).repeat(16, 2)
    return pictures, colours.reshape(n, 64, 3)[..., :channels].astype(np.float16) / 255


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


def test_a_mirrored_picture_has_mirrored_targets() -> None:
    image, target = batch(*lesson(10), np.random.default_rng(3))
    seen = image[..., 8::16, 8::16].flatten(2).transpose(1, 2)
    assert torch.allclose(seen, target, atol=1e-3)
    firsts = {tuple(c) for c in (lesson(10)[1][:, 0] * 255).round().astype(int).tolist()}
    corner = [tuple(c) for c in (target[:, 0] * 255).round().int().tolist()]
    assert 0 < sum(c in firsts for c in corner) < len(corner)  # some of them are mirrored, some are not


def test_a_run_that_was_stopped_ends_where_one_in_a_piece_ends(tmp_path: Path) -> None:
    pictures, targets = lesson(8)
    ends = []
    for name, stops in (("whole", (4,)), ("parts", (2, 4))):
        (tmp_path / name).mkdir()
        for stop in stops:
            torch.manual_seed(0)
            student = Student(targets)
            # The schedule depends on the length: `until` stops a run of four early.
            train(student, pictures, targets, tmp_path / name, 4, 0, until=stop)
        ends.append(student.state_dict())
    assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])


def test_the_student_learns_colours(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pictures, targets = lesson(32)
    student = Student(targets)
    seen = batch(pictures, targets, np.random.default_rng(0))
    before = student.loss(*seen).item()
    train(student, pictures, targets, tmp_path, 25, 0)
    assert student.loss(*seen).item() < 0.9 * before
    save(student.encoder, tmp_path / "encoder.safetensors")
    fresh = Encoder(small_encoder.BACKBONE)
    load(fresh, tmp_path / "encoder.safetensors")
    assert torch.equal(fresh(seen[0][:2]), student.encoder(seen[0][:2]))


def test_only_real_stills_of_training_people_are_taught() -> None:
    def row(split: str, label: int, path: str = "a.jpg") -> Entry:
        return Entry(path, "set", label, "", split, "group")  # type: ignore[arg-type]

    assert taught(row("train", 0))
    assert not any(map(taught, (row("val", 0), row("test", 0), row("train", 1), row("train", 0, "clip.mp4"))))

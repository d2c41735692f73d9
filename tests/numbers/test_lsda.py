"""LSDA's changes of features and its terms, by hand; who learns from which; what a batch has to be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.detectors import lsda
from unmask.detectors.lsda import LSDA
from unmask.nn.convnets import ConvNet
from unmask.nn.iresnet import IResNet
from unmask.types import UnmaskError


def features(*values: list[float]) -> Tensor:
    """(G, D, 1, 1, 1), a row a group."""
    return torch.tensor(values, dtype=torch.float)[..., None, None, None]


def share(z: Tensor, value: float) -> Tensor:
    return torch.full(z.shape[:2], value).view(*z.shape[:2], 1, 1, 1)


def small(**options: object) -> LSDA:
    torch.manual_seed(0)
    return LSDA("tiny-resnet", "tiny-iresnet", 32, domains=3, **options)  # type: ignore[arg-type]


def groups(n: int = 2, domains: int = 3) -> Batch:
    torch.manual_seed(1)
    label = torch.tensor([0, *[1] * domains]).repeat(n)
    return Batch(torch.rand(len(label), 3, 32, 32), label, method=torch.arange(domains + 1).repeat(n))


def test_towards_the_hardest_by_hand() -> None:
    # The first kind is 0, 2, 10: mean 4, and 10 is the farthest; half way to it: 5, 6, 10.
    # The second is 1, 1, -5: mean -1, and -5 is the farthest: -2, -2, -5.
    z = features([0, 1], [2, 1], [10, -5])
    torch.testing.assert_close(lsda.to_hardest(z, share(z, 0.5)), features([5, -2], [6, -2], [10, -5]))
    torch.testing.assert_close(lsda.to_hardest(z, share(z, 1)), features([10, -5], [10, -5], [10, -5]))


def test_outwards_by_hand_and_the_mean_stays() -> None:
    # Mean 4: 0 - 0.5 * 4 = -2, 2 - 0.5 * 2 = 1, 10 + 0.5 * 6 = 13; their mean is 4 again.
    z = features([0], [2], [10])
    torch.testing.assert_close(lsda.outwards(z, share(z, 0.5)), features([-2], [1], [13]))


@pytest.mark.parametrize("way", lsda.WAYS)
def test_a_share_of_nothing_changes_nothing(way: object) -> None:
    torch.manual_seed(0)
    z = torch.randn(4, 3, 2, 2, 2)
    torch.testing.assert_close(way(z, share(z, 0)), z)  # type: ignore[operator]


def test_a_difference_is_that_of_two_of_the_same_kind() -> None:
    torch.manual_seed(0)
    z = features([0, 100], [1, 300], [3, 700])
    seen: list[set[int]] = [set(), set()]
    for _ in range(200):
        step = (lsda.by_difference(z, share(z, 1)) - z).flatten(1)
        for kind in (0, 1):
            seen[kind] |= set(step[:, kind].round().int().tolist())
    assert seen[0] == {0, 1, 3, 2, -1, -2, -3}
    assert seen[1] == {0, 200, 600, 400, -200, -400, -600}


def test_noise_is_as_strong_as_it_says() -> None:
    torch.manual_seed(0)
    z = torch.zeros(2000, 1, 8, 2, 2)
    strength = lsda.noisy(z, share(z, 0.5)).flatten(1).std(1) / 0.5
    assert abs(strength.mean().item() - 0.5) < 0.03  # s is uniform in 0..1
    assert strength.max() < 1.6


def test_blending_by_hand() -> None:
    # 0.25 * 4 + 0.75 * 8 = 7 and 0.5 * 8 + 0.5 * 4 = 6.
    found = lsda.blended(features([4, 8]), torch.tensor([[1, 0]]), torch.tensor([[0.25, 0.5]]))
    torch.testing.assert_close(found, features([7, 6]))


def test_mixtures_lie_between_the_kinds_of_their_own_group() -> None:
    torch.manual_seed(0)
    z = torch.randn(50, 4, 2, 3, 3) + 10 * torch.arange(50).view(-1, 1, 1, 1, 1)
    found = lsda.mixed(z)
    low, high = z.amin(1, keepdim=True) - 1e-3, z.amax(1, keepdim=True) + 1e-3
    assert ((found >= low) & (found <= high)).all()
    assert (found - z).flatten(2).norm(dim=2).gt(1e-3).float().mean() > 0.5  # one in four stays in its place
    same = z[:, :1].expand(-1, 4, -1, -1, -1)
    torch.testing.assert_close(lsda.mixed(same), same)  # of one kind alone there is nothing to mix


def test_every_way_is_taken_and_a_feature_moves_as_a_whole() -> None:
    torch.manual_seed(0)
    z = torch.randn(6, 2, 4, 2, 2)
    found = torch.stack([lsda.moved(z) for _ in range(100)]).sub(z)
    plain = [lsda.outwards(z, share(z, 1)) - z, lsda.to_hardest(z, share(z, 1)) - z]
    for direction in plain:
        cosine = F.cosine_similarity(found.flatten(3), direction.flatten(2)[None], dim=3)
        assert 0.15 < (cosine > 1 - 1e-4).float().mean() < 0.35  # a quarter each; the hardest itself has no way to go
    assert lsda.moved(z[:1]).shape == z[:1].shape


def test_the_terms_are_the_written_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    detector, given = small().eval(), groups()
    monkeypatch.setattr(lsda, "moved", lambda z: 2 * z)
    monkeypatch.setattr(lsda, "mixed", lambda z: z + 1)
    image = given.image.view(2, 4, 3, 32, 32)
    binary, distil, kinds = [], [], []
    for g in range(2):
        real = F.adaptive_avg_pool2d(detector.real(image[g, :1]), (1, 1))
        distil.append((detector.student(image[g, :1]) - real).square().mean() / 1)
        binary.append(F.cross_entropy(detector(image[g, :1]).logits, torch.tensor([0])))
        kinds.append(F.cross_entropy(detector.kinds(real), torch.tensor([0])))
        for n in (1, 2, 3):
            one = image[g, n : n + 1]
            z = detector.forged[n - 1](one)
            target = detector.fusion(torch.cat([2 * z, z + 1], 1))
            distil.append((detector.student(one) - target).square().mean() / 3)
            binary.append(F.cross_entropy(detector(one).logits, torch.tensor([1])))
            kinds.append(F.cross_entropy(detector.kinds(z), torch.tensor([n])))
    terms = detector.loss(given)
    torch.testing.assert_close(terms["binary"], 0.5 * torch.stack(binary).mean())
    torch.testing.assert_close(terms["distil"], torch.stack(distil).sum() / 2)  # a mean over reals and one over fakes
    torch.testing.assert_close(terms["domain"], torch.stack(kinds).mean())


def test_who_learns_from_which_term() -> None:
    detector = small().train()
    learners: dict[str, set[str]] = {}
    for name in ("binary", "distil", "domain"):
        detector.zero_grad()
        detector.loss(groups())[name].backward()
        learners[name] = {
            n.split(".")[0] for n, p in detector.named_parameters() if p.grad is not None and p.grad.any()
        }
    assert learners["binary"] == {"student", "head"}
    assert learners["distil"] == {"student", "fusion"}  # teachers do not come to meet the student
    assert learners["domain"] == {"forged", "real", "kinds"}


def test_the_detector_is_the_student_alone() -> None:
    detector, image = small().eval(), torch.rand(2, 3, 32, 32)
    before = detector(image).logits
    for part in (*detector.forged, detector.real, detector.fusion, detector.kinds):
        for weight in part.parameters():
            torch.nn.init.constant_(weight, float("nan"))
    assert torch.equal(detector(image).logits, before)


def test_what_the_real_teacher_knows_stays_as_it_was() -> None:
    detector = small().train()
    trained = {n.split(".")[0] for n, p in detector.real.named_parameters() if p.requires_grad}
    assert trained == {"layer4", "bn2"}
    before = {k: v.clone() for k, v in detector.real.state_dict().items() if not k.startswith(("layer4", "bn2"))}
    detector.loss(groups())
    assert all(torch.equal(detector.real.state_dict()[k], v) for k, v in before.items())
    assert not detector.eval().real.layer4.training


def test_it_starts_from_a_teacher_that_knows_people_and_from_imagenet(tmp_path: Path) -> None:
    torch.manual_seed(5)
    teacher, network = IResNet("tiny-iresnet"), ConvNet("tiny-resnet")
    state = {f"real.{k}": v for k, v in teacher.state_dict().items()}
    save_file(state, tmp_path / "real.safetensors")
    image = {f"image.{k}": v for k, v in network.body.state_dict().items()} | {"image.fc.weight": torch.ones(2, 2)}
    save_file(state | image, tmp_path / "both.safetensors")
    detector = small()
    own = detector.student.body.body.state_dict()["conv1.0.weight"].clone()
    detector.load_pretrained(tmp_path / "real.safetensors")
    torch.testing.assert_close(detector.real.state_dict(), teacher.state_dict())
    assert torch.equal(detector.student.body.body.state_dict()["conv1.0.weight"], own)
    detector.load_pretrained(tmp_path / "both.safetensors")
    for part in (detector.student, *detector.forged):
        torch.testing.assert_close(part.body.body.state_dict(), network.body.state_dict())  # type: ignore[union-attr]
    save_file(image, tmp_path / "none.safetensors")
    with pytest.raises(UnmaskError, match=r"none\.safetensors does not fit: missing: "):
        detector.load_pretrained(tmp_path / "none.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(UnmaskError, match="cannot read the weights"):
        detector.load_pretrained(tmp_path / "junk.safetensors")


@pytest.mark.parametrize("fault", ["length", "order", "kinds"])
def test_what_is_no_group_is_refused_with_the_remedy(fault: str) -> None:
    given = groups()
    assert given.method is not None
    if fault == "length":
        given = Batch(given.image[:6], given.label[:6])
    elif fault == "order":
        given.label = given.label.flip(0)
    else:
        given.method[5:7] = given.method[5:7].flip(0)
    with pytest.raises(UnmaskError, match=r"sampler: \{name: grouped\}.*multiple of 4"):
        small().loss(given)

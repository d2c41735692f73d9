"""Steps of the attacks on a linear model, by hand."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from unmask.attacks.attribute_evasion import meta_loss  # noqa: E402
from unmask.attacks.auto_pgd import checkpoints, dlr  # noqa: E402
from unmask.attacks.clipmasterprints import gap, outscored, weakest, without_gap  # noqa: E402
from unmask.attacks.counterfactual import Counterfactual, trace  # noqa: E402
from unmask.attacks.cpgc import CPGC, contrast, controls, farthest  # noqa: E402
from unmask.attacks.fgsm import FGSM  # noqa: E402
from unmask.attacks.hopskipjump import HopSkipJump  # noqa: E402
from unmask.attacks.patch import Patch, pasted  # noqa: E402
from unmask.attacks.pgd import PGD  # noqa: E402
from unmask.attacks.post_processing import PostProcessing, quality  # noqa: E402
from unmask.attacks.square import share  # noqa: E402
from unmask.attacks.transfer import with_momentum  # noqa: E402
from unmask.base.attack import distance, margin, noise_like, project  # noqa: E402
from unmask.nn.ascent import steepest  # noqa: E402
from unmask.nn.cosine import basis, low_frequencies  # noqa: E402
from unmask.nn.manifold import principal_components  # noqa: E402


def linear(image: Tensor) -> Tensor:
    """Logits (0, 2 r - g): more red or less green is more fake."""
    r, g = image[:, 0, 0, 0], image[:, 1, 0, 0]
    return torch.stack([torch.zeros_like(r), 2 * r - g], 1)


def grey(label: int) -> tuple[Tensor, Tensor]:
    return torch.full((1, 3, 1, 1), 100 / 255), torch.tensor([label])


def test_fgsm_steps_against_a_forgerys_evidence() -> None:
    # Label fake: the loss rises where 2 r - g falls, so red goes down by 8 levels, green up by 8, blue has no gradient.
    made = FGSM()(linear, *grey(1), [8 / 255])
    torch.testing.assert_close(made.image[0, 0, :, 0, 0] * 255, torch.tensor([92.0, 108.0, 100.0]))
    # Before: logit 2 * 100/255 - 100/255 > 0, called fake, rightly. After: 184 - 108 = 76 > 0, still fake.
    assert not made.clean
    assert not made.success[0]
    # 60 levels: red 40, green 160; 80 - 160 < 0: it passes as real.
    assert FGSM()(linear, *grey(1), [60 / 255]).success[0]


def test_pgd_in_l2_goes_along_the_gradient() -> None:
    # Direction (-2, 1) / sqrt(5); a budget of 10 levels: (-8.94, 4.47) levels, cut towards 0: (-8, 4).
    made = PGD(norm="l2", steps=60, random_start=False)(linear, *grey(1), [10 / 255])
    torch.testing.assert_close(made.image[0, 0, :, 0, 0] * 255, torch.tensor([92.0, 104.0, 100.0]))


def test_projection_and_ascent_by_hand() -> None:
    delta = torch.tensor([[3.0, -4.0]])
    torch.testing.assert_close(project(delta, "l2", 1.0), torch.tensor([[0.6, -0.8]]))  # length 5
    torch.testing.assert_close(project(delta, "linf", 3.5), torch.tensor([[3.0, -3.5]]))
    torch.testing.assert_close(steepest(delta, "l2"), torch.tensor([[0.6, -0.8]]))


def test_l0_keeps_the_places_of_the_largest_change() -> None:
    delta = torch.zeros(1, 3, 1, 4)
    delta[0, 0] = torch.tensor([0.1, -0.4, 0.2, 0.0])
    # Half of four places: the second and the third.
    torch.testing.assert_close(project(delta, "l0", 0.5)[0, 0, 0], torch.tensor([0.0, -0.4, 0.2, 0.0]))
    assert distance(delta, torch.zeros_like(delta), "l0") == 0.75


def test_noise_is_as_large_as_the_change() -> None:
    delta = torch.zeros(2, 3, 4, 4)
    delta[0, 0, 0, 0], delta[1, 1, 2] = 0.3, 0.1
    linf, l2 = noise_like(delta, "linf"), noise_like(delta, "l2")
    torch.testing.assert_close(linf.abs().flatten(1).amax(1), torch.tensor([0.3, 0.1]))
    torch.testing.assert_close(l2.flatten(1).norm(dim=1), torch.tensor([0.3, 0.2]))  # 4 places of 0.1: sqrt(0.04)
    assert ((noise_like(delta, "l0") != 0).any(1) == (delta != 0).any(1)).all()


def test_margin_and_the_difference_of_logits_ratio() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    torch.testing.assert_close(margin(logits, torch.tensor([0, 1])), torch.tensor([2.0, -2.0]))
    # -(3 - 1) / (3 - 0), and -(1 - 3) / (3 - 0)
    torch.testing.assert_close(dlr(logits, torch.tensor([0, 1])), torch.tensor([-2 / 3, 2 / 3]))
    torch.testing.assert_close(dlr(logits[:, :2], torch.tensor([0, 1])), torch.tensor([-2.0, 2.0]))


def test_auto_pgd_looks_back_ever_more_often() -> None:
    # 0, 0.22, + 0.19, + 0.16, + 0.13, + 0.10, + 0.07, then + 0.06 each.
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]


def test_square_halves_its_area_on_the_papers_schedule() -> None:
    assert [share(k, 10_000, 0.8) for k in (5, 11, 51, 201)] == [0.8, 0.4, 0.2, 0.1]
    assert share(8001, 10_000, 0.8) == 0.8 / 512
    assert share(6, 100, 0.8) == 0.8 / 16  # stands where 600 of 10,000 does: beyond 10, 50, 200 and 500


def test_momentum_adds_gradients_of_mean_size_one() -> None:
    first = with_momentum(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, -3.0]]]]), 1.0)
    torch.testing.assert_close(first, torch.tensor([[[[0.5, -1.5]]]]))  # mean of 1 and 3 is 2
    second = with_momentum(first, torch.tensor([[[[2.0, 2.0]]]]), 1.0)
    torch.testing.assert_close(second, torch.tensor([[[[1.5, -0.5]]]]))


def test_a_patch_leaves_all_other_pixels_alone() -> None:
    image, patch = torch.full((3, 3, 4), 0.5), torch.ones(3, 1, 2)
    made = pasted(image, patch, 1, 2)
    assert (made[:, 1, 2:] == 1).all()
    assert (made == 0.5).sum() == 3 * (12 - 2)


def test_one_patch_for_all_images_of_a_class() -> None:
    attack = Patch(steps=3, turns=False)
    image = torch.full((4, 3, 8, 8), 100 / 255)
    attack(lambda x: torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1), image, torch.tensor([0, 0, 1, 1]), [0.25])
    # Class 0 is bright: against it the patch darkens, 0.5 - 3 x 0.05; against class 1 it brightens.
    torch.testing.assert_close(attack.patches[0], torch.full((3, 4, 4), 0.35))
    torch.testing.assert_close(attack.patches[1], torch.full((3, 4, 4), 0.65))


def test_hopskipjump_finds_the_plane() -> None:
    # 2 r - g = 0 lies 100 / sqrt(5) = 44.7 levels from (100, 100, 100): 0.175. Saving asks for a little more.
    found = HopSkipJump(steps=6, first=50)(linear, *grey(1), [0.5, 0.1])
    assert found.success[0].all()
    assert not found.success[1].any()
    assert 44.7 / 255 <= found.distance[0] < 1.15 * 44.7 / 255
    assert found.queries[0] == found.queries[1]  # one search, cut to each budget


def test_the_strength_of_post_processing() -> None:
    assert [quality(s) for s in (0, 0.25, 0.5, 1)] == [95, 75, 55, 15]


def test_post_processing_takes_what_lowers_the_margin_most() -> None:
    # The model calls fine detail fake; of a checkerboard a blur removes most.
    board = torch.zeros(1, 3, 32, 32)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = 1

    def detail(x: Tensor) -> Tensor:
        found = (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3))
        return torch.stack([torch.full_like(found, 0.3), found], 1)

    attack = PostProcessing(operations=("jpeg", "blur"), pairs=False)
    found = attack(detail, board, torch.tensor([1]), [1.0])
    assert attack.chosen == ["blur"]  # sigma 3 x 32 / 256 = 0.4 pixels leaves less detail than JPEG 15
    assert found.queries == (3.0,)  # untouched, JPEG, blur


def test_the_weakest_caption_and_what_a_masterprint_outscores() -> None:
    scores = torch.tensor([[0.3, 0.1, 0.2], [0.1, 0.2, 0.3]])
    label = torch.tensor([1, 0])
    torch.testing.assert_close(weakest(scores, label), torch.tensor([0.2, 0.2]))  # without 0.1, without 0.1
    torch.testing.assert_close(weakest(scores, label, (1, 2)), torch.tensor([0.1, 0.2]))
    # Photographs score 0.25, 0.05 and 0.4 with captions 0, 1 and 2; the image 0.3, 0.1 and 0.2: it beats two of three.
    found = outscored(scores[0], torch.tensor([0.25, 0.05, 0.4]), torch.tensor([0, 1, 2]))
    assert found == pytest.approx(2 / 3)


def test_the_gap_is_a_vector_and_closes() -> None:
    image, text = torch.tensor([[1.0, 0.0], [0.8, 0.2]]), torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(gap(image, text), torch.tensor([0.9, -0.9]))  # not a scalar
    shifted, captions = without_gap(torch.tensor([[1.0, 0.0]]), text, torch.tensor([1.0, -1.0]), 0.5)
    torch.testing.assert_close(shifted, torch.tensor([[0.5**0.5, 0.5**0.5]]))  # (1 - 0.5, 0 + 0.5), of length 1
    torch.testing.assert_close(captions, torch.tensor([[0.5**0.5, 0.5**0.5]]))


def test_the_contrast_of_a_universal_change() -> None:
    scores = torch.tensor([[0.2, 0.1, 0.4]])
    # own 0.2, far 0.1, temperature 0.1: U = e^2, T = e^1; log(U / (U + T)) = -log(1 + e^-1) = -0.3133
    assert contrast(scores, torch.tensor([0]), torch.tensor([1])) == pytest.approx(-0.3133, abs=1e-4)
    assert farthest(scores).tolist() == [1]
    delta = torch.arange(12.0).view(3, 2, 2)
    made = controls(delta)
    assert made["mirrored"][0].tolist() == [[1, 0], [3, 2]]
    assert sorted(made["shuffled"][0].flatten().tolist()) == [0, 1, 2, 3]
    torch.testing.assert_close(made["signs"].abs(), torch.full((3, 2, 2), float(delta.square().mean() ** 0.5)))


def test_a_universal_change_is_the_same_on_all_images() -> None:
    image = torch.full((4, 3, 8, 8), 0.5) + 0.02 * torch.arange(4).view(4, 1, 1, 1)
    attack = CPGC(form="generator", steps=2, width=64, scales=(), temperature=1.0, rate=1e-2)
    found = attack.run(
        lambda x: torch.stack([x.mean((1, 2, 3)), -x[:, 0].mean((1, 2))], 1), image, torch.zeros(4).long(), 0.1
    )
    gap = (found - image).detach()
    torch.testing.assert_close(gap, gap[:1].expand_as(gap))
    assert gap.abs().max() <= 0.1


def test_smooth_images_come_from_few_coefficients() -> None:
    rows = basis(4, 8)
    torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-6, rtol=0)
    flat = torch.zeros(1, 1, 2, 2)
    flat[..., 0, 0] = 1  # the constant: 1 / sqrt(8) in each direction, times sqrt(8 / 2) each: 0.5
    torch.testing.assert_close(low_frequencies(flat, 8, 8), torch.full((1, 1, 8, 8), 0.5))


def test_a_counterfactual_moves_towards_real_and_stops() -> None:
    # One grey pixel of 100 levels, 2 r - g = 100 / 255 = 0.392 in favour of fake; each number moves by 0.02 a step:
    # -3 x 0.02 a step; beyond -0.1 after (0.392 + 0.1) / 0.06 = 8.2, so 9 steps.
    attack = Counterfactual(grid=1, steps=30, confidence=0.1)
    found = attack.run(linear, *grey(1), 0.2)
    torch.testing.assert_close(found[0, :2, 0, 0], torch.tensor([100 / 255 - 0.18, 100 / 255 + 0.18]))
    assert float(trace(grey(1)[0], found)) == pytest.approx(0.36, abs=1e-5)  # and no change of blue


def test_principal_components_hold_what_they_were_fitted_on() -> None:
    image = torch.rand(3, 3, 4, 4)
    space = principal_components(image, 3)
    torch.testing.assert_close(space.decode(space.encode(image)), image, atol=1e-5, rtol=1e-5)


def test_a_meta_step_also_counts_the_model_that_was_left_out() -> None:
    # Models say (0, w) and (0, 2 w) of label 1; softplus(z_true - z_other) is their loss.
    models = [lambda x, k=k: torch.stack([torch.zeros(1), k * x[:, 0]], 1) for k in (1.0, 2.0)]
    w = torch.tensor([[1.0]], requires_grad=True)
    found = meta_loss(models, lambda w: w, w, torch.tensor([1]), 0.1, held_out=1)
    # First: softplus(1) = 1.3133, slope sigmoid(1) = 0.7311; w' = 1 - 0.0731; softplus(2 x 0.9269) = 1.9993
    assert float(found.detach()) == pytest.approx((1.3133 + 1.9993) / 2, abs=2e-4)

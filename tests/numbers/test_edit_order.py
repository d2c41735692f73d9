"""Orders of edits: sentences, scores, kernels of pixel differences, Gaussian maps and the contrast, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from unmask.base.detector import Batch
from unmask.detectors import seqfakeformer, tsom, tsom_pp
from unmask.nn import edit_order, pixel_difference, texture_shape

CLASSES = ("", "a", "a-b", "b-a-c")
TINY = {"network": "tiny-resnet", "size": 64, "width": 32, "heads": 2, "layers": 1}


def build(kind: type, **options: object) -> edit_order.OrderDetector:
    torch.manual_seed(0)
    wide = type(kind.__name__, (kind,), {"classes": CLASSES, "__module__": kind.__module__})
    detector: edit_order.OrderDetector = wide(**TINY, **options)
    return detector.eval()


def test_sentences_by_hand() -> None:
    words = edit_order.Vocabulary.of(CLASSES)
    assert (words.steps, words.longest, words.start, words.end, words.pad, words.size) == (
        ("a", "b", "c"),
        3,
        3,
        4,
        5,
        6,
    )
    read, say = edit_order.sentences(CLASSES, words, backward=False)
    assert read.tolist() == [[3, 5, 5, 5], [3, 0, 5, 5], [3, 0, 1, 5], [3, 1, 0, 2]]
    assert say.tolist() == [[4, 5, 5, 5], [0, 4, 5, 5], [0, 1, 4, 5], [1, 0, 2, 4]]
    _, backward = edit_order.sentences(CLASSES, words, backward=True)
    assert backward[3].tolist() == [2, 0, 1, 4]
    assert edit_order.steps_of("real") == () == edit_order.steps_of("original")


def test_the_score_of_an_order_is_the_log_probability_of_its_sentence() -> None:
    # One image, two orders of length 1 with three tokens: P = softmax(0, ln 2, 0) = (1/4, 1/2, 1/4) at both places.
    logits = torch.tensor([0.0, math.log(2), 0.0]).expand(1, 2, 2, 3)
    say = torch.tensor([[1, 0], [0, 2]])  # 2 is padding
    found = edit_order.sentence_scores(logits, say, 2)
    torch.testing.assert_close(found, torch.tensor([[math.log(1 / 8), math.log(1 / 4)]]))


@pytest.mark.parametrize("kind", [seqfakeformer.SeqFakeFormer, tsom.TSOM])
def test_the_loss_is_minus_the_score_of_the_truth_and_no_token_sees_later_ones(kind: type) -> None:
    detector, image = build(kind), torch.rand(2, 3, 64, 64)
    label = torch.tensor([2, 3])
    out = detector(image)
    assert out.logits.shape == (2, 4)
    # 3 and 4 tokens are said: the mean over 7 of them is the sum of both scores.
    truth = out.logits[torch.arange(2), label].sum() / -7
    torch.testing.assert_close(detector.loss(Batch(image, label))["order"], truth, rtol=1e-4, atol=1e-4)
    memory = detector.encode(image).memory
    tokens = detector.read[label]
    other = tokens.clone()
    other[:, 2:] = 0
    one, two = detector.decode(memory, tokens), detector.decode(memory, other)
    torch.testing.assert_close(one[:, :2], two[:, :2])
    assert not torch.allclose(one[:, 2:], two[:, 2:])


def test_free_decoding_says_true_orders() -> None:
    detector = build(tsom.TSOM)
    assert detector.backward
    words = detector.words
    assert detector._order([2, 0, words.end, 1]) == ("a", "c")
    assert detector._order([0, 1, 2]) == ("c", "b", "a")
    said = detector.greedy(torch.rand(2, 3, 64, 64))
    assert len(said) == 2
    assert all(len(order) <= 3 for order in said)


def test_kernels_of_differences() -> None:
    weight = torch.arange(9.0).view(1, 1, 3, 3)
    # The sum, 36, is taken from the middle: 4 - 36.
    assert pixel_difference.central(weight).flatten().tolist() == [0, 1, 2, 3, -32, 5, 6, 7, 8]
    # Places 3 0 1 6 4 2 7 8 5 are taken from 0 .. 8.
    assert pixel_difference.angular(weight).flatten().tolist() == [-3, 1, 1, -3, 0, 3, -1, -1, 3]
    ring = pixel_difference.radial(weight)[0, 0]
    assert ring.diagonal().tolist() == [0, 0, 0, -8, 8]
    assert ring[0].tolist() == [0, 0, 1, 0, 2]
    assert ring[2].tolist() == [3, -3, 0, -5, 5]
    random = torch.randn(4, 3, 3, 3)
    flat = torch.full((1, 3, 9, 9), 0.7)
    for kernel in (pixel_difference.central, pixel_difference.angular, pixel_difference.radial):
        seen = torch.nn.functional.conv2d(flat, kernel(random))
        torch.testing.assert_close(seen, torch.zeros_like(seen), atol=1e-5, rtol=0)


def test_gaussian_maps_are_log_densities_and_kl_is_torchs() -> None:
    centre, deviation = torch.tensor([[1.0, 2.5]]), torch.tensor([[0.5, 2.0]])
    found = texture_shape.gaussian_maps(centre, deviation, 4).view(4, 4)
    want = Normal(1.0, 0.5).log_prob(torch.tensor(3.0)) + Normal(2.5, 2.0).log_prob(torch.tensor(0.0))
    torch.testing.assert_close(found[3, 0], want)
    mean, log_variance = torch.randn(3, 4), torch.randn(3, 4)
    distance = torch.distributions.kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(texture_shape.kl(mean, log_variance), distance.sum(1).mean())


def test_release_mixes_images_and_the_paper_does_not() -> None:
    tokens = torch.arange(2 * 4 * 3.0).view(2, 4, 3)  # two images, 2 x 2 places, 3 channels
    clean = texture_shape.as_maps(tokens, 2, "paper")
    assert clean[1, :, 0, 1].tolist() == tokens[1, 1].tolist()
    scrambled = texture_shape.as_maps(tokens, 2, "release")
    assert not set(scrambled[0].flatten().tolist()) <= set(tokens[0].flatten().tolist())
    alone = texture_shape.as_maps(tokens[:1], 2, "release")
    assert set(alone.flatten().tolist()) == set(tokens[0].flatten().tolist())
    with torch.inference_mode():
        image = torch.rand(2, 3, 64, 64)
        for faithful, alike in (("paper", True), ("release", False)):
            detector = build(tsom.TSOM, faithful=faithful, shape_widths=(8, 16, 16))
            both, one = detector(image).logits[:1], detector(image[:1]).logits
            assert torch.allclose(both, one, atol=1e-4) == alike


def test_the_contrast_of_answers_by_hand() -> None:
    # Answers (1,0), (1,0) of token 0, (0,1) of token 1, padding; temperature 1. The two of token 0: one positive of
    # cosine 1, one negative of 0: -log(e / (e + 1)) = 0.31326; the third has no positive and counts for nothing.
    logits = torch.tensor([[[2.0, 0.0], [5.0, 0.0]], [[0.0, 1.0], [9.0, 9.0]]])
    target = torch.tensor([[0, 0], [1, 7]])
    found = tsom_pp.sequential_contrast(logits, target, 7, 1.0)
    assert found.item() == pytest.approx(0.31326, abs=1e-5)
    # Where all tokens are equal there is nothing to push apart: no loss, and no gradient.
    logits.requires_grad_(True)
    same = tsom_pp.sequential_contrast(logits, torch.zeros_like(target), 7, 1.0)
    same.backward()
    assert same.item() == 0
    assert (logits.grad == 0).all()


def test_terms_of_tsom_pp() -> None:
    detector = build(tsom_pp.TSOMPlusPlus, relation=0.5, shape_widths=(8, 16, 16))
    batch = Batch(torch.rand(2, 3, 64, 64), torch.tensor([1, 2]))
    terms = detector.loss(batch)
    assert set(terms) == {"order", "shape", "relation"}
    logits = detector.decode(detector.encode(batch.image).memory, detector.read[batch.label])
    want = tsom_pp.sequential_contrast(logits, detector.say[batch.label], detector.words.pad, 0.07)
    torch.testing.assert_close(terms["relation"], 0.5 * want)
    plain = build(tsom.TSOM, alpha=0.0, texture=False, shape_widths=(8,))
    assert set(plain.loss(batch)) == {"order"}

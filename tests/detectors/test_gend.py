"""GenD on small encoders with random weights: what trains, what its numbers are, and what stays when it is merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.detectors.gend import GenD
from unmask.nn.adapt import adapt
from unmask.nn.backbones import BACKBONES, Encoder
from unmask.nn.hypersphere import alignment, uniformity
from unmask.registry import FAMILIES
from unmask.types import UnmaskError

SMALL = ("tiny-vit", "tiny-pe", "tiny-dinov2", "tiny-dinov3")


def pictures(detector: GenD, n: int = 4) -> torch.Tensor:
    return torch.rand(n, 3, detector.input.size, detector.input.size, generator=torch.Generator().manual_seed(0))


def test_the_papers_model_trains_104450_weights_of_303_97_million() -> None:
    with torch.device("meta"):
        detector = GenD()
    trained = [p for p in detector.parameters() if p.requires_grad]
    assert len(trained) == 102
    assert sum(p.numel() for p in trained) == 104_450
    projection = 768 * 1024  # the paper counts it, although nothing uses it
    assert sum(p.numel() for p in detector.parameters()) + projection == 303_968_258


def test_perception_encoder_trains_104448_weights() -> None:
    with torch.device("meta"):
        encoder = Encoder("pe-core-l-14-336")
        trained = adapt(encoder, "ln")
    assert len(trained) == 102
    assert sum(p.numel() for p in encoder.parameters() if p.requires_grad) == 104_448


@pytest.mark.parametrize("name", SMALL)
def test_only_layer_norms_and_the_head_get_gradients(name: str) -> None:
    detector = GenD(name)
    sum(detector.loss(Batch(pictures(detector), torch.tensor([0, 1, 0, 1]))).values()).backward()  # type: ignore[union-attr]
    norms = {n for n, m in detector.named_modules() if isinstance(m, torch.nn.LayerNorm)}
    with_gradient = {n for n, p in detector.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {n.rpartition(".")[0] for n in with_gradient} == norms | {"head"}


@pytest.mark.parametrize("name", BACKBONES)
def test_the_name_rules_find_exactly_the_layer_norms(name: str) -> None:
    with torch.device("meta"):
        encoder = Encoder(name)
        trained = adapt(encoder, "ln")
    norms = {n for n, m in encoder.named_modules() if isinstance(m, torch.nn.LayerNorm)}
    assert {n.rpartition(".")[0] for n in trained} == norms


def test_a_feature_is_as_long_as_its_entry_says() -> None:
    for name in SMALL:
        assert GenD(name)(pictures(GenD(name))).features.shape == (4, BACKBONES[name].features)


@pytest.mark.parametrize("head", ["norm", "linear"])
def test_the_loss_is_the_papers_sum(head: str) -> None:
    detector = FAMILIES["detector"].create("gend", {"backbone": "tiny-vit", "head": head})
    label = torch.tensor([0, 1, 1, 0])
    image = pictures(detector)
    terms = detector.loss(Batch(image, label))
    x = detector.encoder(image)
    z = x / x.norm(dim=1, keepdim=True)
    logits = (z if head == "norm" else x) @ detector.head.weight.T + detector.head.bias
    want = F.cross_entropy(logits, label) + 0.5 * uniformity(z) + 0.1 * alignment(z, label)
    torch.testing.assert_close(sum(terms.values()), want)


def test_it_learns_eight_pictures() -> None:
    torch.manual_seed(0)
    detector = GenD("tiny-dinov2", "full", head="linear")
    batch = Batch(pictures(detector, 8), torch.arange(8) % 2)
    optimiser = torch.optim.AdamW(detector.parameters(), 2e-3)
    for _ in range(60):
        optimiser.zero_grad()
        torch.stack(list(detector.loss(batch).values())).sum().backward()
        optimiser.step()
    assert (detector.eval()(batch.image).logits.argmax(1) == batch.label).all()


def test_half_precision_training_gives_finite_gradients() -> None:
    detector = GenD("tiny-vit", mix="class")
    batch = Batch(pictures(detector), torch.tensor([0, 0, 1, 1]))
    with torch.autocast("cpu", torch.bfloat16):
        terms = detector.loss(batch)
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)
    assert detector.head.weight.grad is not None


def test_mixing_happens_in_training_only_and_follows_the_features() -> None:
    detector = GenD("tiny-vit", uniform=0, align=0, mix="class")
    batch = Batch(pictures(detector), torch.tensor([0, 0, 1, 1]))
    assert len({detector.loss(batch)["cls"].item() for _ in range(3)}) == 3
    detector.eval()
    assert len({detector.loss(batch)["cls"].item() for _ in range(3)}) == 1


def test_pairs_mix_as_pairs() -> None:
    torch.manual_seed(0)
    detector = GenD("tiny-vit", uniform=0, align=0, mix="pair")
    label, pair = torch.tensor([0, 1, 0, 1]), torch.tensor([7, 7, 9, 9])
    seen = []
    detector.head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    for _ in range(8):
        detector.loss(Batch(pictures(detector), label, pair=pair))
    still, mixed = seen[0], torch.stack(seen[1::2])  # the head looks at features as they are, then at mixed ones
    moved = (mixed - still).norm(dim=2) > 1e-4
    assert moved.any(1).sum() > 0
    assert (moved[:, 0] == moved[:, 1]).all()  # a real face moves if and only if its forgery does
    assert (moved[:, 2] == moved[:, 3]).all()
    alone = detector.loss(Batch(pictures(detector), label, pair=torch.full((4,), -1)))["cls"]
    torch.testing.assert_close(alone, detector.eval().loss(Batch(pictures(detector), label))["cls"])
    with pytest.raises(UnmaskError, match="which rows are pairs"):
        detector.train().loss(Batch(pictures(detector), label))


@pytest.mark.parametrize("how", ["lora", "dora"])
@pytest.mark.parametrize("name", ["tiny-vit", "tiny-pe"])
def test_low_rank_updates_fold_into_the_encoder_without_a_trace(name: str, how: str) -> None:
    detector = FAMILIES["detector"].create("gend", {"backbone": name, "adaptation": how, "rank": 2}).eval()
    with torch.no_grad():
        for key, value in detector.named_parameters():
            if "lora_B" in key:
                value.normal_(std=0.1)
    image = pictures(detector)
    before = detector(image).logits
    detector.merge()
    torch.testing.assert_close(detector(image).logits, before, atol=1e-5, rtol=1e-4)
    bare = GenD(name)
    bare.load_state_dict(detector.state_dict())
    torch.testing.assert_close(bare.eval()(image).logits, before, atol=1e-5, rtol=1e-4)


def test_each_adaptation_trains_what_it_says() -> None:
    def trained(how: str) -> set[str]:
        encoder = Encoder("tiny-dinov3")
        return set(adapt(encoder, how, last=1))  # type: ignore[arg-type]

    everything = {n for n, _ in Encoder("tiny-dinov3").named_parameters()}
    assert trained("probe") == set()
    assert trained("full") == everything
    assert trained("bitfit") == {n for n in everything if n.endswith("bias")}
    assert trained("last_k") == {n for n in everything if "layer.1." in n or n.startswith("body.norm.")}
    assert all("lora_" in n for n in trained("lora"))


@pytest.mark.parametrize("how", ["probe", "lora", "dora"])
def test_whatever_of_it_trains_an_encoder_starts_from_its_file(tmp_path: Path, how: str) -> None:
    source = Encoder("tiny-vit")
    save_file(source.body.state_dict(), tmp_path / "encoder.safetensors", {"backbone": "tiny-vit"})
    detector = GenD("tiny-vit", adaptation=how)  # type: ignore[arg-type]
    before = {name for name, p in detector.named_parameters() if p.requires_grad}
    detector.load_pretrained(tmp_path / "encoder.safetensors")
    assert {name for name, p in detector.named_parameters() if p.requires_grad} == before
    image = pictures(detector)
    torch.testing.assert_close(detector.encoder(image), source(image), atol=1e-5, rtol=1e-4)


def test_an_encoder_starts_from_its_own_file_and_from_no_other(tmp_path: Path) -> None:
    source = Encoder("tiny-vit")
    save_file(source.body.state_dict(), tmp_path / "encoder.safetensors", {"backbone": "tiny-vit"})
    detector = GenD("tiny-vit")
    detector.load_pretrained(tmp_path / "encoder.safetensors")
    assert torch.equal(detector.encoder(pictures(detector)), source(pictures(detector)))
    with pytest.raises(UnmaskError, match="of the backbone 'tiny-vit'"):
        GenD("tiny-dinov2").load_pretrained(tmp_path / "encoder.safetensors")


def test_unknown_words_are_refused_with_the_known_ones() -> None:
    with pytest.raises(UnmaskError, match="there is no backbone 'clip'; there is clip-vit-b-32"):
        GenD("clip")
    with pytest.raises(UnmaskError, match="adaptation: Input should be 'ln'"):
        FAMILIES["detector"].create("gend", {"backbone": "tiny-vit", "adaptation": "layernorm"})


def test_the_first_blocks_are_those_of_the_whole_encoder() -> None:
    torch.manual_seed(0)
    whole = GenD("tiny-vit", pool="patches").eval()
    short = GenD("tiny-vit", pool="patches", blocks=2).eval()
    state = whole.state_dict()
    short.load_state_dict({name: state[name] for name in short.state_dict()})
    image = torch.rand(2, 3, 96, 96)
    body = whole.encoder.body
    tokens = body.pre_layrnorm(body.embeddings(whole.encoder.normalised(image)))
    for layer in body.encoder.layers[:2]:
        found = layer(tokens, attention_mask=None)
        tokens = found[0] if isinstance(found, tuple) else found
    expected = F.normalize(body.post_layernorm(tokens[:, 1:].mean(1)), dim=1)
    torch.testing.assert_close(short(image).features, expected, rtol=0, atol=1e-5)


def test_a_share_of_the_patches_is_seen_in_training_alone() -> None:
    torch.manual_seed(0)
    detector = GenD("tiny-vit", pool="patches", share=0.25)
    image = torch.rand(2, 3, 96, 96)
    seen: list[int] = []
    detector.encoder.body.encoder.register_forward_hook(lambda _, __, out: seen.append(out.last_hidden_state.shape[1]))
    detector.train()(image)
    detector.eval()(image)
    assert seen == [1 + 16, 1 + 64]  # a class token, and a quarter of the 8 x 8 patches or all of them


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"blocks": 7}, "has 6 blocks"),
        ({"share": 0.0}, "above 0"),
    ],
)
def test_blocks_and_shares_that_do_not_exist(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(UnmaskError, match=fault):
        GenD("tiny-vit", pool="patches", **options)

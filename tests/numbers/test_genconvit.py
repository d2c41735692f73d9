"""GenConViT's terms and its decision by hand, its latent codes, and that Swin's view of the face counts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.detectors import genconvit
from unmask.types import UnmaskError


def small(**options: object) -> genconvit.GenConViT:
    torch.manual_seed(0)
    return genconvit.GenConViT("small", size=64, width=4, **options).eval()  # type: ignore[arg-type]


def pictures(n: int = 2) -> Tensor:
    return torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def reached(term: Tensor, part: torch.nn.Module) -> bool:
    grads = torch.autograd.grad(term, list(part.parameters()), allow_unused=True, retain_graph=True)
    return any(g is not None and bool(g.any()) for g in grads)


# --- terms and decision ----------------------------------------------------------------------------------------------


def test_divergence_by_hand() -> None:
    # N(0, 1): 0. N(1, 2): (1 + 2 - 1 - ln 2) / 2 = 0.6534. Their mean: 0.3267.
    mu, log_var = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, math.log(2)]])
    assert genconvit.divergence(mu, log_var).item() == pytest.approx((2 - math.log(2)) / 4)
    mu, log_var = torch.randn(5, 7), torch.randn(5, 7)
    normal = torch.distributions.Normal(mu, (log_var / 2).exp())
    want = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(genconvit.divergence(mu, log_var), want)


def test_the_decision_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # Logits (2, 0) and (0, 1). Softmax: fake 1 / (1 + e^2) = 0.1192 and 1 / (1 + e^-1) = 0.7311: mean 0.4251.
    # The release's sigmoids: real (0.8808 + 0.5) / 2 = 0.6904, fake (0.5 + 0.7311) / 2 = 0.6155: fake's share 0.47133.
    logits = {"ed": torch.tensor([[2.0, 0.0]]), "vae": torch.tensor([[0.0, 1.0]])}
    for faithful, want in (("paper", 0.425131), ("release", 0.471335)):
        detector = small(faithful=faithful)
        said = {n: genconvit.Judged(pictures(1), pictures(1), v, torch.zeros(1, 3)) for n, v in logits.items()}
        monkeypatch.setattr(detector, "judged", lambda image, said=said: said)
        out = detector(pictures(1))
        assert out.logits.softmax(1)[0, 1].item() == pytest.approx(want, abs=1e-5)
        assert out.features.shape == (1, 6)


def test_the_terms_are_what_they_are_called_with_their_weights() -> None:
    detector, label = small(reconstruction=2.0, kl=0.25), torch.tensor([0, 1])
    terms, judged = detector.loss(Batch(pictures(), label)), detector.judged(pictures())
    standard = (pictures() - detector.mean) / detector.std  # type: ignore[operator]
    for name in ("ed", "vae"):
        net = detector.nets[name]
        rebuilt, mu, log_var = net.generator(standard)  # type: ignore[operator]
        rebuilt = F.interpolate(rebuilt, (64, 64), mode="bilinear")
        torch.testing.assert_close(terms[f"{name}_cls"], F.cross_entropy(judged[name].logits, label))
        torch.testing.assert_close(terms[f"{name}_reconstruction"], 2 * (rebuilt - standard).square().mean())
        if name == "vae":
            torch.testing.assert_close(terms["vae_kl"], 0.25 * genconvit.divergence(mu, log_var))
    assert len(terms) == 5
    assert set(small(reconstruction=0, kl=0).loss(Batch(pictures(), label))) == {"ed_cls", "vae_cls"}
    assert set(small(faithful="release").loss(Batch(pictures(), label))) == {"ed_cls", "vae_cls", "vae_reconstruction"}


def test_a_guess_and_a_grey_picture() -> None:
    # A head of zeros: CE = ln 2. A decoder of zeros: the mean square of the standardised image, ((0.5 - m) / s)^2;
    # over the three channels 0.0655^2, 0.1964^2, 0.4178^2, and their mean is 0.0725.
    detector, image = small(nets=("ed",)), torch.full((2, 3, 64, 64), 0.5)
    for part in (detector.nets["ed"].fc2, detector.nets["ed"].generator.decoder):  # type: ignore[union-attr]
        for p in part.parameters():  # type: ignore[union-attr]
            torch.nn.init.zeros_(p)
    terms = detector.loss(Batch(image, torch.tensor([0, 1])))
    assert terms["ed_cls"].item() == pytest.approx(math.log(2))
    assert terms["ed_reconstruction"].item() == pytest.approx(0.0725, abs=1e-4)


def test_which_loss_reaches_which_part() -> None:
    detector = small().train()
    terms = detector.loss(Batch(pictures(), torch.tensor([0, 1])))
    ed, vae = detector.nets["ed"], detector.nets["vae"]
    for name, term in terms.items():
        own, other = (ed, vae) if name.startswith("ed_") else (vae, ed)
        assert not reached(term, other), name
        assert reached(term, own.generator.encoder), name  # type: ignore[union-attr, arg-type]
        assert reached(term, own.generator.decoder) == (name != "vae_kl"), name  # type: ignore[union-attr, arg-type]
        assert reached(term, own.body) == name.endswith("_cls"), name  # type: ignore[arg-type]
    for part in (vae.generator.mu, vae.generator.log_var):  # type: ignore[union-attr]
        assert reached(terms["vae_kl"], part)  # type: ignore[arg-type]
        assert reached(terms["vae_cls"], part)  # type: ignore[arg-type]


# --- latent codes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", [False, True])
def test_codes_are_drawn_around_the_mean_with_the_deviation_asked_for(release: bool) -> None:
    torch.manual_seed(0)
    net = genconvit._VAE(64, 4, release, noise=True).eval()
    with torch.no_grad():
        net.mu.weight.zero_()
        net.mu.bias.fill_(0.8)
        if net.log_var is not None:
            net.log_var.weight.zero_()
            net.log_var.bias.fill_(-0.6)
    codes: list[Tensor] = []
    net.decoder.register_forward_pre_hook(lambda module, given: codes.append(given[0]))
    with torch.no_grad():
        net(torch.zeros(64, 3, 64, 64))
    code, n = codes[0].flatten(), codes[0].numel()
    variance = math.exp(0.8) if release else math.exp(-0.6)  # the release takes the mean for the logarithm
    assert code.mean().item() == pytest.approx(0.8, abs=3 * math.sqrt(variance / n))
    assert code.var().item() == pytest.approx(variance, abs=3 * variance * math.sqrt(2 / n))


def test_scores_change_from_call_to_call_only_where_noise_was_asked_for() -> None:
    image = pictures()
    for faithful in ("paper", "release"):
        quiet, noisy = small(faithful=faithful), small(faithful=faithful, noise=True)
        assert torch.equal(quiet(image).logits, quiet(image).logits)
        one, other = noisy.judged(image), noisy.judged(image)
        assert torch.equal(one["ed"].logits, other["ed"].logits)
        assert not torch.equal(one["vae"].rebuilt, other["vae"].rebuilt)


# --- the hybrid ------------------------------------------------------------------------------------------------------


def test_swin_changes_the_answer_in_the_papers_variant_and_is_absent_in_the_release() -> None:
    x, body = torch.randn(2, 3, 64, 64), small(nets=("ed",)).nets["ed"].body
    before = body(x)  # type: ignore[operator]
    for p in body.swin.parameters():  # type: ignore[union-attr]
        p.data.add_(torch.randn_like(p))
    assert not torch.allclose(before, body(x), atol=1e-3)  # type: ignore[operator]
    torch.nn.init.zeros_(body.proj.weight), torch.nn.init.zeros_(body.proj.bias)  # type: ignore[union-attr, arg-type]
    torch.testing.assert_close(body(x), body.convnext(x))  # type: ignore[operator]
    release = small(nets=("ed",), faithful="release").nets["ed"].body
    assert not any("swin" in name or "proj" in name for name, _ in release.named_parameters())
    torch.testing.assert_close(release(x), release.convnext(x))  # type: ignore[operator]


def test_both_pictures_are_judged_by_the_same_body_in_the_published_order() -> None:
    for name, first in (("ed", "rebuilt"), ("vae", "given")):
        net = small(nets=(name,)).nets[name]
        asked: list[Tensor] = []
        net.fc.register_forward_pre_hook(lambda module, given, asked=asked: asked.append(given[0]))  # type: ignore[union-attr, operator]
        judged = net(torch.randn(3, 3, 64, 64))
        act = F.gelu if name == "ed" else F.relu
        want = [act(net.body(p)) for p in (judged.given, judged.rebuilt)]  # type: ignore[operator]
        torch.testing.assert_close(
            asked[0], torch.cat(want if first == "given" else want[::-1], 1), atol=1e-5, rtol=1e-4
        )


def test_published_shapes() -> None:
    with torch.device("meta"):
        x = torch.empty(2, 3, 224, 224)
        ed, vae = genconvit._ED(16, True), genconvit._VAE(224, 16, True, False).eval()
        assert ed.encoder(x).shape == (2, 256, 7, 7)
        assert ed(x)[0].shape == (2, 3, 224, 224)
        assert vae.encoder(x).shape == (2, 128, 14, 14)
        assert (vae.mu.in_features, vae.mu.out_features) == (25088, 12544)
        assert vae(x)[0].shape == (2, 3, 112, 112)
        assert 2 * sum(p.numel() for p in vae.mu.parameters()) / 1e6 == pytest.approx(629, abs=0.5)
        whole = genconvit.GenConViT(nets=("ed",))
    fc = whole.nets["ed"].fc
    assert (fc.in_features, fc.out_features) == (2000, 500)  # type: ignore[union-attr]


# --- what is refused, and weights to start from ----------------------------------------------------------------------


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UnmaskError, match="100 pixels is no multiple of 32"):
        genconvit.GenConViT("small", size=100)
    with pytest.raises(UnmaskError, match="nets are ed, vae or both, each once"):
        small(nets=("ed", "ed"))
    with pytest.raises(UnmaskError, match="crops of 64 x 64 pixels are wanted, not 96 x 64"):
        small()(torch.rand(1, 3, 96, 64))


def test_it_starts_from_convnext_and_swin(tmp_path: Path) -> None:
    torch.manual_seed(3)
    convnext, swin = genconvit._small(64)
    both = {**convnext.state_dict(), **{f"swin.{k}": v for k, v in swin.state_dict().items()}}
    save_file({**both, "swin.head.fc.weight": torch.zeros(1)}, tmp_path / "both.safetensors")
    detector = small()
    detector.load_pretrained(tmp_path / "both.safetensors")
    for net in detector.nets.values():
        assert torch.equal(net.body.convnext.stem[0].weight, convnext.stem[0].weight)  # type: ignore[union-attr, index]
        assert torch.equal(net.body.swin.norm.bias, swin.norm.bias)  # type: ignore[union-attr]
    save_file(convnext.state_dict(), tmp_path / "half.safetensors")
    with pytest.raises(UnmaskError, match=r"swin of .*half\.safetensors does not fit: missing"):
        detector.load_pretrained(tmp_path / "half.safetensors")

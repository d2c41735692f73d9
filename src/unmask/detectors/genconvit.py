"""GenConViT: a face is judged together with what a generative network makes of it.

The idea in three sentences. An autoencoder and a variational one, trained with the classifier, each rebuild the face,
and what they cannot rebuild alike tells real from forged. Face and rebuilt face both go through one ConvNeXt into which
a Swin transformer's view of the whole face is fed, and a small head reads both answers side by side. The two networks,
one for each kind of autoencoder, learn apart and decide together by the mean of their probabilities.

Wodajo et al.: "Deepfake Video Detection Using Generative Convolutional Vision Transformer", arXiv 2307.07036; Applied
Sciences 15(12):6622, 2025.

The released code differs from the paper: its Swin is never run, its deviation is made from the mean, its KL term and
the autoencoder's error are left out. `faithful="release"` computes what it computes, for its weights; "paper" is ours.

Where it differs from the paper or from DeepfakeBench. The released code never runs its Swin, takes the mean of the
latent code for the logarithm of its variance, and trains without the KL term and without the autoencoder's error.
`faithful: release` computes the same, for its weights, and draws noise in use too if `noise` asks for it; `faithful:
paper`, the default, does what the paper describes: Swin's map is added where ConvNeXt's last stage begins (where, we
chose), the last layer of each decoder has no activation, so that standardised images can be rebuilt, both errors and
the KL term (0.5, a mean) are in the loss. The decision is the mean of both nets' probabilities; for the release that
of its sigmoids, without the jump that its reported score has at the boundary. Its faces are cut tight by another face
detector's boxes: the agreement of imported weights on our crops was not measured. `start` wants ConvNeXt and Swin in
one file: `convnext, swin = (timm.create_model(n, pretrained=True).state_dict() for n in ("convnext_tiny",
"swin_tiny_patch4_window7_224"))` and `save_file({**convnext, **{"swin." + k: v for k, v in swin.items()}},
"convnext-swin.safetensors")`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.errors import BundleError, InputError
from unmask.nn.backbones import IMAGENET, fill
from unmask.types import InputSpec

CARD = {
    "title": "GenConViT (generative convolutional vision transformer)",
    "paper": "Wodajo et al., arXiv 2307.07036; Applied Sciences 15(12):6622, 2025",
    "task": "one aligned face -> real or fake",
    "evidence": "reconstruction",
    "licence": "Apache-2.0; the networks are timm's, Apache-2.0; the authors' code is GPL-3.0, none of it is here",
    "verified": "all terms by hand, that Swin counts, the published layout; objective from memory; no tables",
    "small": {"network": "small", "size": 64, "width": 4},
}


class GenConViT(Detector):
    """One or both networks; softmax of the logits is the mean of their probabilities.

    For each: L = CE + `reconstruction` mean squared error of the rebuilt face, and for the variational one + `kl` KL.
    """

    def __init__(
        self,
        network: Literal["convnext-swin-tiny", "small"] = "convnext-swin-tiny",
        size: int = 224,
        margin: float = 1.3,
        nets: tuple[Literal["ed", "vae"], ...] = ("ed", "vae"),
        width: int = 16,
        faithful: Literal["paper", "release"] = "paper",
        noise: bool = False,
        reconstruction: float = 1.0,
        kl: float = 0.5,
    ) -> None:
        """
        Args:
            network: ConvNeXt-T with Swin-T, or a pair that a CPU trains in minutes.
            size: side of the crop, pixels; a multiple of 32.
            margin: of the crop, times the template; the authors' faces are cut tight.
            nets: autoencoder, variational autoencoder. The maps that the second one's linear layers read grow with the
                size: with 224 pixels and width 16 each of the two has 315 million weights.
            width: channels of the autoencoders' first layer; the others are multiples.
            noise: draw the latent code in use too, as the release does; scores then differ from call to call.
            reconstruction, kl: weights. The release has neither KL nor the first net's error, whatever is asked for.
        Raises: UnmaskError for another size, and for no or the same nets.
        """
        super().__init__()
        if size % 32 or size < 64:
            raise InputError(f"genconvit halves its crops five times: {size} pixels is no multiple of 32 from 64 on")
        if not nets or len(set(nets)) != len(nets):
            raise InputError(f"nets are ed, vae or both, each once, not {list(nets)}")
        self.input = InputSpec(size=size, margin=margin, mean=IMAGENET[0], std=IMAGENET[1])
        self.release, self.reconstruction, self.kl = faithful == "release", reconstruction, kl
        self.nets = nn.ModuleDict()
        for name in nets:
            generator = _ED(width, self.release) if name == "ed" else _VAE(size, width, self.release, noise)
            self.nets[name] = _Net(generator, _Hybrid(network, size, self.release), self.release)
        for key, value in zip(("mean", "std"), IMAGENET, strict=True):
            self.register_buffer(key, torch.tensor(value).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Output:
        judged = self.judged(image).values()
        logits = torch.stack([j.logits for j in judged])
        # The release takes the sigmoid of both logits, though it trains with a softmax.
        log = F.logsigmoid(logits) if self.release else F.log_softmax(logits, 2)
        return Output(log.logsumexp(0) - math.log(len(log)), torch.cat([j.hidden for j in judged], 1))

    def judged(self, image: Tensor) -> dict[str, Judged]:
        """What each net says by itself. Raises: UnmaskError for images of another size than it was built for."""
        side = self.input.size
        if image.shape[-2:] != (side, side):
            raise InputError(f"crops of {side} x {side} pixels are wanted, not {image.shape[-2]} x {image.shape[-1]}")
        standard = (image - self.mean) / self.std  # type: ignore[operator]
        return {name: net(standard) for name, net in self.nets.items()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        terms = {}
        for name, j in self.judged(batch.image).items():
            terms[f"{name}_cls"] = cross_entropy(j.logits, batch)
            if self.reconstruction and not (self.release and name == "ed"):
                terms[f"{name}_reconstruction"] = self.reconstruction * F.mse_loss(_sized(j.rebuilt, j.given), j.given)
            if j.mu is not None and j.log_var is not None and self.kl:
                terms[f"{name}_kl"] = self.kl * divergence(j.mu, j.log_var)
        return terms

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights into the ConvNeXt and the Swin of each net.

        Args:
            weights: a safetensors file with the names of timm's ConvNeXt, and those of its Swin after "swin.".
        Raises: UnmaskError for a file that cannot be read, or whose tensors do not fit.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise BundleError(f"cannot read the weights {weights}: {error}") from error
        swin = {k.removeprefix("swin."): v for k, v in state.items() if k.startswith("swin.")}
        convnext = {k: v for k, v in state.items() if not k.startswith("swin.")}
        for net in self.nets.values():
            body = net.body
            assert isinstance(body, _Hybrid)
            fill(body.convnext, convnext, str(weights))
            if body.swin is not None:
                fill(body.swin, {k: v for k, v in swin.items() if not k.startswith("head.")}, f"swin of {weights}")


class Judged(NamedTuple):
    """What one net makes of B images."""

    given: Tensor  # (B, 3, S, S), standardised
    rebuilt: Tensor  # (B, 3, S, S); the release's variational net gives half of the side
    logits: Tensor  # (B, 2)
    hidden: Tensor  # (B, D) what they are computed from
    mu: Tensor | None = None  # (B, L) mean of the latent code
    log_var: Tensor | None = None  # (B, L) and the logarithm of its variance


def divergence(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, exp(log_var)) || N(0, 1)) = (mu^2 + exp(log_var) - 1 - log_var) / 2, the mean over all entries.

    A mean, like that over pixels: neither term then outweighs the other by its size alone.
    """
    return (mu.square() + log_var.exp() - 1 - log_var).mean() / 2


class _Net(nn.Module):
    """An autoencoder, a backbone for the image and for what it was rebuilt to, and a head on both answers."""

    def __init__(self, generator: _ED | _VAE, body: _Hybrid, release: bool) -> None:
        super().__init__()
        self.generator, self.body, self.release = generator, body, release
        self.fc = nn.Linear(2 * body.answers, body.answers // 2)
        self.fc2 = nn.Linear(body.answers // 2, 2)

    def forward(self, given: Tensor) -> Judged:
        rebuilt, mu, log_var = self.generator(given)
        if not self.release:
            rebuilt = _sized(rebuilt, given)
        pictures = (given, rebuilt) if self.generator.given_first else (rebuilt, given)
        if self.release:  # they may be of two sizes
            answers = torch.cat([self.body(p) for p in pictures], 1)
        else:
            answers = self.body(torch.cat(pictures)).unflatten(0, (2, -1)).transpose(0, 1).flatten(1)
        act = self.generator.act
        hidden = act(self.fc(act(answers)))
        return Judged(given, rebuilt, self.fc2(hidden), hidden, mu, log_var)


class _ED(nn.Module):
    """Autoencoder: 16 `width` maps of a thirty-second of the side, and back."""

    given_first, act = False, staticmethod(F.gelu)

    def __init__(self, width: int, release: bool) -> None:
        super().__init__()
        plan = [3, *(width * 2**n for n in range(5))]
        inward = [(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)) for a, b in pairwise(plan)]
        outward = [(nn.ConvTranspose2d(a, b, 2, 2), nn.ReLU()) for a, b in pairwise(plan[::-1])]
        self.encoder, self.decoder = _chain(inward), _chain(outward, last=release)

    def forward(self, given: Tensor) -> tuple[Tensor, None, None]:
        return self.decoder(self.encoder(given)), None, None


class _VAE(nn.Module):
    """Variational autoencoder; it gives back images of half of the side."""

    given_first, act = True, staticmethod(F.relu)

    def __init__(self, size: int, width: int, release: bool, noise: bool) -> None:
        super().__init__()
        plan = [3, *(width * 2**n for n in range(4))]
        inward = [(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.LeakyReLU()) for a, b in pairwise(plan)]
        outward = [
            (nn.ConvTranspose2d(a, b, 2, 2), nn.LeakyReLU())
            for a, b in pairwise([16 * width, 4 * width, 2 * width, width, 3])
        ]
        self.encoder, self.decoder = _chain(inward), _chain(outward, last=release)
        self.latent = (16 * width, size // 32, size // 32)
        inside, code = plan[-1] * (size // 16) ** 2, math.prod(self.latent)
        self.mu = nn.Linear(inside, code)
        self.log_var = None if release else nn.Linear(inside, code)
        self.noise = noise

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        maps = self.encoder(given).flatten(1)
        mu = self.mu(maps)
        log_var = None if self.log_var is None else self.log_var(maps)
        code = mu
        if self.training or self.noise:
            spread = mu if log_var is None else log_var  # the release takes the mean for the logarithm of the variance
            code = mu + torch.randn_like(mu) * (0.5 * spread).exp()
        return self.decoder(code.unflatten(1, self.latent)), mu, log_var


class _Hybrid(nn.Module):
    """(B, 3, S, S) standardised -> (B, `answers`): ConvNeXt, into whose last stage Swin's map is added.

    There both have a thirty-second of the side. The paper does not say where they meet, or we do not remember it.
    """

    def __init__(self, network: str, size: int, release: bool) -> None:
        super().__init__()
        convnext, swin = _small(size) if network == "small" else _published(size)
        self.convnext, self.swin = convnext, None if release else swin
        self.answers = int(convnext.num_classes)  # type: ignore[arg-type]
        inside, outside = int(swin.num_features), int(convnext.num_features)  # type: ignore[arg-type]
        self.proj = None if release else nn.Conv2d(inside, outside, 1)

    def forward(self, picture: Tensor) -> Tensor:
        if self.swin is None or self.proj is None:
            return self.convnext(picture)  # type: ignore[no-any-return]
        net = self.convnext
        embedded = self.proj(self.swin.forward_features(picture).permute(0, 3, 1, 2))  # type: ignore[operator]
        *stages, last = net.stages  # type: ignore[misc]
        maps = net.stem(picture)  # type: ignore[operator]
        for stage in stages:
            maps = stage(maps)
        maps = last.blocks(last.downsample(maps) + embedded)
        return net.forward_head(net.norm_pre(maps))  # type: ignore[no-any-return, operator]


def _published(size: int) -> tuple[nn.Module, nn.Module]:
    import timm

    swin = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, num_classes=0, img_size=size)
    return timm.create_model("convnext_tiny", pretrained=False), swin


def _small(size: int) -> tuple[nn.Module, nn.Module]:
    from timm.models.convnext import ConvNeXt
    from timm.models.swin_transformer import SwinTransformer

    convnext = ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 24, 64, 128), num_classes=64, ls_init_value=None)
    swin = SwinTransformer(
        size, 8, embed_dim=32, depths=(1, 1, 1), num_heads=(2, 4, 8), window_size=4, num_classes=0, drop_path_rate=0.0
    )
    return convnext, swin


def _chain(steps: Sequence[Sequence[nn.Module]], last: bool = True) -> nn.Sequential:
    """All layers in a line, but for the last activation: without it standardised images can be rebuilt."""
    layers = [layer for step in steps for layer in step]
    return nn.Sequential(*(layers if last else layers[:-1]))


def _sized(picture: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(picture, like.shape[-2:], mode="bilinear")

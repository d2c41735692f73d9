"""GM-DF: one detector learns from several data sets at once without becoming worse at each of them.

The idea in three sentences. Merged naively, data sets of forgeries disturb each other: what betrays one is in another
the mark of real faces. So experts stand beside the layers of a frozen CLIP, a router chooses among them by the image,
and features are normed in the way of their data set, while hidden patches have to be painted from the rest. Each step
puts one data set aside: what was learnt from the others must, after a small step, serve on it too, with features that
are distributed alike class by class (domain-aware meta-learning).

Lai et al.: "GM-DF: Generalized Multi-Scenario Deepfake Detection", arXiv 2406.20078, 2024. The authors published no
code, and most constants are not in the paper: a re-implementation from a description. The place and number of experts,
the painter, all weights and rates are ours.

Data sets are `dataset` of the manifest, which may hold several; balance their classes (`sampler: {name: by_domain}`),
or the data set alone gives the answer away. In use no data set is named: the router decides by the image, and the norm
takes the mean of the data sets' embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.base.method import Engine
from unmask.errors import InputError, RecipeError
from unmask.nn.backbones import Encoder, load
from unmask.nn.clip import PublishedCLIP
from unmask.nn.contrastive import cosines
from unmask.nn.fixed import exactly
from unmask.nn.patches import patchify, reconstruction, restore, split
from unmask.nn.token_decoder import TokenDecoder

CARD = {
    "title": "GM-DF (several data sets at once)",
    "paper": "Lai et al., arXiv 2406.20078",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; CLIP's weights are MIT; no code or weights of the authors exist",
    "verified": "it begins as CLIP, meta-gradient and alignment by hand; constants are ours, no number of the paper",
    "small": {
        "backbone": "face-vit-128",
        "experts": 2,
        "last": 1,
        "width": 8,
        "domains": 2,
        "painter": (1, 32, 2),
        "second_order": False,
    },
}

SENTENCES = (("a photo of a real face",), ("a photo of a fake face",))


class GMDF(Detector):
    """Frozen CLIP with experts in its last blocks; logits are scaled cosines to two directions.

    L = CE + `paint` L_mim + `balance` L_bal; a step adds `held` (CE + `paint` L_mim + `align` L_da) of one data set
    after an inner step on the others.
    """

    def __init__(
        self,
        backbone: str = "clip-vit-b-16",
        domains: int = 5,
        experts: int = 4,
        last: int = 6,
        width: int = 64,
        prior: float = 1.0,
        masked: float = 0.5,
        painter: tuple[int, int, int] = (2, 256, 4),
        paint: float = 0.1,
        balance: float = 0.01,
        align: float = 0.5,
        held: float = 1.0,
        inner: float = 1e-4,
        second_order: bool = True,
    ) -> None:
        """
        Args:
            backbone: CLIP's image tower, a name in `unmask.nn.backbones`.
            domains: data sets in the training rows, at least.
            experts, last, width: bottlenecks in each of the last blocks, how many blocks, and their inner width.
            prior: added to the router's logit of a data set's own expert in half of the training steps.
            masked, painter: share of the patches that are hidden; blocks, width and heads of what paints them.
            paint, balance, align, held: weights of the terms; held 0 = plain joint training.
            inner, second_order: rate of the inner step, and whether the gradient goes through it.
        Raises: UnmaskError for an encoder that is no CLIP.
        """
        super().__init__()
        self.encoder = Encoder(backbone).requires_grad_(False)
        layers = getattr(getattr(self.encoder.body, "encoder", None), "layers", None)
        if layers is None or not hasattr(layers[0], "mlp"):
            raise RecipeError(f"gmdf adapts CLIP's image tower, and {backbone!r} is none")
        self.input = self.encoder.kind.input
        wide = self.encoder.kind.features
        for layer in layers[-last:]:
            layer.mlp = _Experts(layer.mlp, wide, width, experts)
        self.norm = _DomainNorm(wide, domains)
        self.directions = nn.Linear(wide, len(self.classes), bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(100.0)), requires_grad=False)
        body: Any = self.encoder.body
        self.patch = int(body.config.patch_size)
        side = self.input.size // self.patch
        depth, inside, heads = painter
        self.painter = TokenDecoder(wide, inside, depth, heads, 3 * self.patch**2, side)
        self.mask_token = nn.Parameter(torch.randn(inside) * 0.02)
        self.domains, self.experts, self.prior, self.masked = domains, experts, prior, masked
        self.weights = {"paint": paint, "balance": balance, "align": align, "held": held}
        self.inner, self.second_order = inner, second_order

    def forward(self, image: Tensor) -> Output:
        return self._answer(image, None)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Of all data sets together. Raises: UnmaskError for a batch that does not name them, or has too many."""
        terms, _ = self.terms(batch, self._domain(batch))
        return terms

    def step(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        """L_S at the weights, and L_t of one data set at the weights after an inner step on L_S."""
        domain = self._domain(batch)
        found = domain.unique()
        if len(found) < 2 or not self.weights["held"]:
            return super().step(batch, engine)
        held = domain == found[torch.randint(len(found), ()).to(found.device)]
        double = self.second_order  # the fast kernels of attention have no second derivative
        with sdpa_kernel(SDPBackend.MATH) if double else nullcontext(), engine.autocast():
            terms, features = self.terms(_rows(batch, ~held), domain[~held])
            moved = inner_step(torch.stack(list(terms.values())).sum(), self._adapted(), self.inner, double)
            there: dict[str, Tensor]
            there, other = _at(self, moved, _rows(batch, held), domain[held])
            there["align"] = self.weights["align"] * alignment(
                features, batch.label[~held], other, batch.label[held], len(self.classes)
            )
            terms |= {f"held_{name}": self.weights["held"] * term for name, term in there.items()}
            total = torch.stack(list(terms.values())).sum()
        engine.backward(total)
        if engine.update():
            self.updated(engine)
        return terms

    def terms(self, batch: Batch, domain: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The weighted terms of some rows, and their features (B, D)."""
        known = domain if self.training and bool(torch.rand(()) < 0.5) else None
        out = self._answer(batch.image, known)
        # The inner step moves weights that a re-weighting of rows does not know of: rows count alike within a step.
        terms = {"cls": cross_entropy(out.logits, batch)}
        experts = [m for m in self.encoder.modules() if isinstance(m, _Experts)]
        routed = [m.routed for m in experts]
        for module in experts:
            module.routed = module.routed.detach()  # a copy of the detector holds no graph
        if self.weights["balance"]:
            terms["balance"] = self.weights["balance"] * torch.stack([load_balance(r) for r in routed]).mean()
        if self.weights["paint"]:
            terms["paint"] = self.weights["paint"] * self._painted(batch.image)
        return terms, out.features

    def load_pretrained(self, weights: Path) -> None:
        """Load a published CLIP (model.safetensors, config.json and tokeniser in one folder), or an encoder's file.

        From a published one, the directions become its sentences', brought back before its projection.
        """
        bare = Encoder(self.encoder.name)
        if (weights.parent / "config.json").is_file():
            clip, projection = PublishedCLIP(weights), self._projection(weights)
            clip.fill(bare, projection)
            with torch.no_grad():
                found = torch.stack([clip.sentences(said).mean(0) for said in SENTENCES])
                self.directions.weight.copy_(F.normalize(found @ projection.weight, dim=1))
        else:
            load(bare, weights)
        state = {_beside(k, self.encoder): v for k, v in bare.body.state_dict().items()}
        self.encoder.body.load_state_dict(state, strict=False)

    def _projection(self, weights: Path) -> nn.Linear:
        out, inside = PublishedCLIP(weights).state["visual_projection.weight"].shape
        return nn.Linear(inside, out, bias=False)

    def _answer(self, image: Tensor, domain: Tensor | None) -> Output:
        prior = None
        if domain is not None:
            prior = self.prior * F.one_hot(domain % self.experts, self.experts).to(image.dtype)
        for module in self.encoder.modules():
            if isinstance(module, _Experts):
                module.favoured = prior
        features = self.norm(self.encoder(exactly(image, self.input.size)), domain)
        return Output(self.log_scale.exp() * cosines(features, self.directions.weight), features)

    def _painted(self, image: Tensor) -> Tensor:
        """L_mim: hidden patches from the tokens of those that are shown."""
        body: Any = self.encoder.body
        pixels = patchify(self.encoder.normalised(image), self.patch)
        count = pixels.shape[1]
        shown, hidden = split(len(image), count, max(1, int(self.masked * count)))
        tokens = body.embeddings(self.encoder.normalised(image))
        place = shown.to(image.device)[..., None].expand(-1, -1, tokens.shape[2])
        seen = torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, place)], 1)
        for module in self.encoder.modules():
            if isinstance(module, _Experts):
                module.favoured = None
        read = self.painter.embed(body.encoder(inputs_embeds=body.pre_layrnorm(seen)).last_hidden_state)
        filled = torch.cat([read[:, :1], restore(read[:, 1:], shown, count, self.mask_token)], 1)
        mask = torch.zeros(len(image), count, dtype=torch.bool).scatter(1, hidden, True).to(image.device)
        return reconstruction(self.painter(filled)[:, 1:], pixels, mask)

    def _domain(self, batch: Batch) -> Tensor:
        if batch.domain is None:
            raise RecipeError("gmdf has to know which data set each image comes from, and the batch does not say")
        if bool((batch.domain >= self.domains).any()):
            raise InputError(
                f"the batch holds data set {int(batch.domain.max())}, counted from 0, and this gmdf knows "
                f"{self.domains}: set options.domains to the number of data sets in the training rows"
            )
        return batch.domain

    def _adapted(self) -> dict[str, Tensor]:
        """What the inner step moves: experts, routers and norms."""
        parts = ("encoder.", "norm.")
        return {n: p for n, p in self.named_parameters() if p.requires_grad and n.startswith(parts)}


class _Experts(nn.Module):
    """FFN(x) + shared(x) + sum over the two chosen experts of g E(x); the router reads the class token."""

    def __init__(self, ffn: nn.Module, wide: int, width: int, experts: int) -> None:
        super().__init__()
        self.ffn = ffn
        self.shared, self.experts = (
            _bottleneck(wide, width),
            nn.ModuleList(_bottleneck(wide, width) for _ in range(experts)),
        )
        self.router = nn.Sequential(nn.LayerNorm(wide), nn.Linear(wide, experts))
        self.favoured: Tensor | None = None  # (B, experts), added to the router's logits
        self.routed = torch.zeros(1, experts)  # (B, experts), of the last call in training

    def forward(self, hidden_states: Tensor) -> Tensor:
        logits = self.router(hidden_states[:, 0])
        if self.favoured is not None:
            logits = logits + self.favoured
        probability = logits.softmax(1)
        if self.training:
            self.routed = probability
        share = two_best(probability)
        mixed: Tensor = self.ffn(hidden_states) + self.shared(hidden_states)
        for n, expert in enumerate(self.experts):
            mixed = mixed + share[:, n, None, None] * expert(hidden_states)
        return mixed


class _DomainNorm(nn.Module):
    """LayerNorm whose scale and shift come from an embedding of the data set; it begins as (1, 0)."""

    def __init__(self, wide: int, domains: int, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(domains, width) * 0.02)
        self.scale_shift = nn.Linear(width, 2 * wide)
        nn.init.zeros_(self.scale_shift.weight)
        nn.init.zeros_(self.scale_shift.bias)

    def forward(self, x: Tensor, domain: Tensor | None) -> Tensor:
        """`domain` (B,), or None: the mean of all."""
        which = self.embedding.mean(0, keepdim=True) if domain is None else self.embedding[domain]
        scale, shift = self.scale_shift(which).chunk(2, 1)
        # Relative to the feature as it is: with scale and shift 0 nothing is changed.
        normed: Tensor = x + F.layer_norm(x, x.shape[1:]) * scale + shift
        return normed


def _bottleneck(wide: int, width: int) -> nn.Sequential:
    """It begins as 0; what leads in differs from expert to expert, or all would learn the same."""
    down, up = nn.Linear(wide, width), nn.Linear(width, wide)
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)
    return nn.Sequential(down, nn.GELU(), up)


def two_best(probability: Tensor) -> Tensor:
    """(B, N) -> (B, N): the two largest of each row, scaled to a sum of 1; others are 0."""
    kept = min(2, probability.shape[1])
    least = probability.topk(kept, 1).values[:, -1:]
    chosen = probability * (probability >= least)
    return chosen / chosen.sum(1, keepdim=True)


def load_balance(probability: Tensor) -> Tensor:
    """N sum over experts of (share of rows whose best it is) (its mean probability): 1 if even, N if one takes all.

    Fedus et al., "Switch Transformers", JMLR 2022, equation 4.
    """
    count = probability.shape[1]
    best = F.one_hot(probability.argmax(1), count).to(probability.dtype).mean(0)
    return count * (best * probability.mean(0)).sum()


def alignment(one: Tensor, label: Tensor, other: Tensor, other_label: Tensor, classes: int) -> Tensor:
    """Sum over classes of ||mean - mean'||^2 + ||cov - cov'||_F^2 / (4 D^2): both sets' features, class by class.

    A class that either set has fewer than two rows of counts for nothing.

    Args:
        one, other: (N, D), (M, D); label, other_label: (N,), (M,).
    """
    total = one.sum() * 0
    for k in range(classes):
        a, b = one[label == k].float(), other[other_label == k].float()
        if len(a) > 1 and len(b) > 1:
            apart = (a.mean(0) - b.mean(0)).square().sum()
            total = total + apart + (a.T.cov() - b.T.cov()).square().sum() / (4 * a.shape[1] ** 2)
    return total


def inner_step(loss: Tensor, weights: Mapping[str, Tensor], rate: float, second_order: bool) -> dict[str, Tensor]:
    """theta' = theta - rate grad L(theta); with `second_order` the gradient of what follows goes through it.

    Finn et al., "Model-Agnostic Meta-Learning", ICML 2017.
    """
    slopes: tuple[Tensor | None, ...] = torch.autograd.grad(
        loss, list(weights.values()), create_graph=second_order, retain_graph=True, allow_unused=True
    )
    return {
        name: weight if slope is None else weight - rate * slope
        for (name, weight), slope in zip(weights.items(), slopes, strict=True)
    }


class _Terms(nn.Module):
    """A detector's terms as a module, so that they can be asked for at other weights."""

    def __init__(self, detector: GMDF) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, batch: Batch, domain: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        return self.detector.terms(batch, domain)


def _at(
    detector: GMDF, weights: Mapping[str, Tensor], batch: Batch, domain: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    named = {f"detector.{name}": value for name, value in weights.items()}
    found: tuple[dict[str, Tensor], Tensor] = functional_call(_Terms(detector), named, (batch, domain))
    return found


def _rows(batch: Batch, chosen: Tensor) -> Batch:
    """Images and labels of some rows."""
    return Batch(batch.image[chosen], batch.label[chosen])


def _beside(name: str, encoder: Encoder) -> str:
    """The name of a bare encoder's weight where experts stand beside its perceptron."""
    inside = name.replace(".mlp.", ".mlp.ffn.")
    return inside if inside in encoder.body.state_dict() else name

"""CLIP as it is: how far does a model of images and sentences get that was never trained what a forgery is?

The idea in three sentences. CLIP puts images and sentences into one space, where an image lies near what can be said
of it. Zero-shot, the two directions are sentences ("a photo of a real face", "a photo of a fake face") and nothing is
learnt that could change the order of two images; as a linear probe they are learnt, and nothing else is. Both are
floors: a method that adapts CLIP must beat them.

Radford et al.: "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv 2103.00020.
UnivFD (`univfd`) is a linear probe too, proposed as a detector for whole images: there the features are CLIP's before
its projection, as they come. Here they are the projected ones at unit length, those that sentences are compared with.

Where it differs from the paper or from DeepfakeBench. Features are the projected ones at unit length, those of
`univfd` are not. The sentences are ours. Zero-shot needs CLIP's tokeniser beside its weights; DeepfakeBench's `clip`
trains a whole ViT-B/16, which is `gend` with `adaptation: full`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Detector, Output
from unmask.errors import InputError
from unmask.nn.backbones import Encoder, load
from unmask.nn.clip import PublishedCLIP

CARD = {
    "title": "CLIP, zero-shot or linear probe",
    "paper": "Radford et al., ICML 2021, arXiv 2103.00020",
    "task": "one aligned face, or an image -> real or fake",
    "evidence": "foundation features",
    "answers": ("face", "whole"),
    "licence": "Apache-2.0; the encoder has terms of its own",
    "verified": "zero-shot logits against transformers' CLIPModel on random weights; not the published weights",
    "small": {"backbone": "face-vit-128"},
}

PROJECTED = {1024: 768, 768: 512}  # features before and after the projection, of the published CLIPs
Clip = Literal["clip-vit-b-32", "clip-vit-b-16", "clip-vit-l-14", "clip-vit-l-14-336", "tiny-vit", "face-vit-128"]


class ClipProbe(Detector):
    """logits = exp(s) cos(f, directions) + offset, f the projected feature; s and offset train in both modes."""

    def __init__(
        self,
        backbone: Clip = "clip-vit-l-14",
        mode: Literal["linear", "zero-shot"] = "linear",
        real: tuple[str, ...] = ("a photo of a real face", "a photo of a person", "an authentic photo of a face"),
        fake: tuple[str, ...] = ("a photo of a fake face", "a deepfake of a person", "a manipulated photo of a face"),
        margin: float = 1.3,
        tiles: int = 4,
    ) -> None:
        """
        Args:
            mode: "zero-shot" takes the directions from sentences, when it starts from a published CLIP.
            real, fake: those sentences; a class's direction is the mean of theirs. They are ours, not a paper's.
            margin: 1.3 = aligned faces; 0 = whole images.
            tiles: of a whole image, at most.
        Raises: UnmaskError for a class without a sentence.
        """
        super().__init__()
        if not (real and fake):
            raise InputError("each class needs a sentence at least: give some for real and for fake")
        self.encoder = Encoder(backbone).requires_grad_(False)
        self.input = self.encoder.kind.input.model_copy(update={"margin": margin, "tiles": 0 if margin else tiles})
        width = self.encoder.kind.features
        self.projection = nn.Linear(width, PROJECTED.get(width, width), bias=False).requires_grad_(False)
        if width not in PROJECTED:
            nn.init.eye_(self.projection.weight)  # an encoder without sentences has no space to share with them
        self.directions = nn.Linear(self.projection.out_features, len(self.classes), bias=False)
        self.directions.requires_grad_(mode == "linear")
        self.log_scale = nn.Parameter(torch.tensor(math.log(100.0)))  # where CLIP's training ended
        self.offset = nn.Parameter(torch.zeros(len(self.classes)))
        self.mode, self.sentences = mode, (real, fake)

    def forward(self, image: Tensor) -> Output:
        features = F.normalize(self.projection(self.encoder(image)).float(), dim=1)
        cosine = features @ F.normalize(self.directions.weight.float(), dim=1).T
        return Output(self.log_scale.exp() * cosine + self.offset, features)

    def load_pretrained(self, weights: Path) -> None:
        """Load a published CLIP: model.safetensors of transformers' layout, with config.json beside it.

        Zero-shot needs its tokeniser there too. A linear probe on a small encoder that knows no sentences also starts
        from a file that `unmask import encoder`, or `unmask export` of a pre-training run, wrote.

        Raises: UnmaskError for other files, and where the tokeniser is missing.
        """
        if self.mode == "linear" and self.encoder.kind.features not in PROJECTED:
            load(self.encoder, weights)
            return
        clip = PublishedCLIP(weights)
        clip.fill(self.encoder, self.projection)
        with torch.no_grad():
            self.log_scale.fill_(math.log(clip.scale))
            if self.mode == "zero-shot":
                found = [clip.sentences(said).mean(0) for said in self.sentences]
                self.directions.weight.copy_(F.normalize(torch.stack(found), dim=1))

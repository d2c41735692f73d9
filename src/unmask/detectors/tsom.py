"""TSOM: texture, shape and order tell in which order a face was edited.

The idea in three sentences. Small edits leave traces in texture, so a second stream attends by differences of pixels
(diversiform pixel difference attention), and the decoder reads both streams and their fusion. Edits have shapes, so a
variational autoencoder gives each decoding step a Gaussian map of where to look. Later edits lie over earlier ones, so
the sentence is said backwards, the last edit first.

Ni et al.: "Texture, Shape and Order Matter: A New Transformer Design for Sequential DeepFake Detection", WACV 2025,
arXiv 2404.13873, with the authors' code read at commit b5e0273.

Where it differs from the authors' code (`faithful: release` has its behaviour where weights depend on it). Sequences
become maps without mixing images, places and channels; Gaussian centres reach all of the grid, not its upper left part;
there is no noise in use; "no edit" and "start" are two tokens. Scores are of true orders: the authors score reversed
ones, which is another and higher number.
"""

from __future__ import annotations

from unmask.nn.texture_shape import TextureShapeDetector

CARD = {
    "title": "TSOM (texture, shape and order)",
    "paper": "Ni et al., WACV 2025, arXiv 2404.13873",
    "task": "one face -> the order of the edits that made it",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the authors' code names no licence, not used; the network is timm's, Apache-2.0",
    "verified": "kernels, Gaussian maps and KL by hand, no token sees later ones; no published weights or tables",
    "small": {
        "network": "tiny-resnet",
        "size": 64,
        "width": 32,
        "heads": 2,
        "layers": 1,
        "dropout": (0.0, 0.0),
        "shape_widths": (8, 16, 16),
    },
}


class TSOM(TextureShapeDetector):
    """ResNet, two-stream encoder, decoder with Gaussian maps; L = CE of the next token + L_vae."""

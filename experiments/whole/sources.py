"""Which sources are compared, trained on together, and held out by which fold."""

from __future__ import annotations

from dataclasses import dataclass

# Sources from which no fold and no release is trained: for measuring alone.
MEASURED = ("stock_real", "stock_fake", "social_real", "social_fake", "videogen_showdown", "galaxy_real", "galaxy_fake",
            "t2i_majesty_diffusion", "t2i_simulacra_pixray", "ciplab_photoshop")  # fmt: skip

# A batch takes a fake and a real image from the same family, so that content and format agree as far as they can.
FAMILIES = {
    "sd1": (("sd1",), ("coco", "imagenet_sd1set")),
    "alkemist": (("alkemist_fake",), ("alkemist_real",)),
    "stylegan": (("140k_fake",), ("140k_real",)),
    "t2i": (
        ("t2i_dalle_mini", "t2i_glid3xl", "t2i_latent_diffusion", "t2i_stable_diffusion_1"),
        ("flickr8k_1000_captions", "imagenet_sample", "coco"),
    ),
    "faces": (
        ("sdfd_sd21_faces", "omi_stylegan2", "omi_stylegan2_attribute_edit", "omi_stylegan2_inversion_edit_of_real"),
        ("unsplash_men_512", "london_faces", "140k_real", "lfw_deepfunneled", "dfdc_faces224", "utkface_crop"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Generated and real images that came through the same pipeline."""

    fake: tuple[str, ...]
    real: tuple[str, ...]
    fold: str  # that saw neither


# Sources that a fold leaves out: their names begin so.
FOLDS = {
    "B": ("alkemist", "sd1", "coco", "imagenet_sd1set", "140k", "t2i_stable"),
    "C": ("sdfd", "omi", "unsplash", "london", "flickr", "lfw", "utk", "dfdc", "t2i", "facecrops"),
}
PAIRS = {
    "SD 1.x, COCO and ImageNet": Pair(("sd1",), ("coco", "imagenet_sd1set"), "B"),
    "alkemist (modern, unnamed)": Pair(("alkemist_fake",), ("alkemist_real",), "B"),
    "StyleGAN and FFHQ, 256": Pair(("140k_fake",), ("140k_real",), "B"),
    "stock (modern, unnamed)": Pair(("stock_fake",), ("stock_real",), "A"),
    "social videos": Pair(("social_fake",), ("social_real",), "A"),
}


def begins(source: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a source, or that from which a round trip was made ("taef2@coco"), begins with one of them."""
    return any(source.startswith(p) or f"@{p}" in source for p in prefixes)


def fold_of(source: str) -> str:
    """The fold that never saw a source; "A" left out nothing but what is never trained on; "" = all folds saw it."""
    return "A" if source in MEASURED else next((name for name, out in FOLDS.items() if begins(source, out)), "")

"""Makes the contact sheet of docs/generators.md: every generator on the two portraits of the samples.

pip install -e '.[train,dev]' matplotlib && python samples/sheet.py docs/images/generators.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from make import COLLINS, HOPPER
from PIL import ExifTags, Image
from skimage import data

from unmask import card, create, names
from unmask.data.donors import Donor
from unmask.data.landmarks import Landmarks
from unmask.faces import align, matrix
from unmask.forging.contact_sheet import MARK, Panel, drawn
from unmask.forging.landmarkers import landmarker
from unmask.forging.offline import seeded
from unmask.types import Floats, InputSpec, Pixels

SPEC = InputSpec(size=256, margin=1.3)
EACH = 2  # forgeries of each portrait


class Partner:
    """The other portrait, as `Donors`."""

    def __init__(self, image: Pixels, face: Landmarks) -> None:
        self.donor = Donor(image, face, "the other portrait")

    def draw(self, rng: np.random.Generator, side: int, count: int = 1, *, among: int | None = None) -> list[Donor]:
        return [self.donor]


def main(path: Path) -> None:
    hopper = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    people = {"collins": cut(np.asarray(data.astronaut()), COLLINS), "hopper": cut(np.asarray(hopper), HOPPER)}
    panels: dict[str, list[Panel]] = {}
    for name in names("generator"):
        if "weights" in card("generator", name).small:
            continue  # it wants a folder of weights, and what it shows would be that folder's
        maker, panels[name] = create("generator", name), []
        for who, other in (("collins", "hopper"), ("hopper", "collins")):
            for number in range(EACH):
                image, face = people[who]
                made = maker(image, face, seeded(1, name, who, number), Partner(*people[other]))
                mask = np.repeat(np.ceil(made.mask * 255).astype(np.uint8)[..., None], 3, axis=2)
                panels[name].append((image, made.image, mask))
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = MARK
    Image.fromarray(drawn(panels)).save(path, quality=80, exif=exif, comment=MARK.encode())


def cut(picture: Pixels, points: Floats) -> tuple[Pixels, Landmarks]:
    to_crop = matrix(points, SPEC)
    five = points @ to_crop[:, :2].T + to_crop[:, 2]
    crop = align(picture, to_crop, SPEC.size)
    return crop, Landmarks(landmarker("embedded")(crop, five.astype(np.float32)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

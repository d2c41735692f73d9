"""Makes the samples beside this file from public-domain images that two Python packages carry.

    pip install -e '.[train,dev]' matplotlib && python samples/make.py

Running it again gives the same images; the bytes of the files also depend on the versions of the encoders. What each
sample is, where it comes from and under which terms is told in README.md.
"""

from __future__ import annotations

import math
from pathlib import Path

import av
import matplotlib
import numpy as np
from av.video.reformatter import Colorspace
from outline import mesh_from_points
from PIL import ExifTags, Image, ImageDraw, ImageFont
from skimage import data

from unmask.faces import align, matrix
from unmask.generators.sbi import self_blend
from unmask.types import Floats, InputSpec, Pixels

HERE = Path(__file__).resolve().parent
MARK = "synthetic, for detector tests: self-blended by unmask"
# Eyes, nose tip, mouth corners as seen in the image.
COLLINS = np.array([(204.7, 105.1), (246.7, 105.0), (223.9, 128.2), (205.6, 145.0), (243.0, 144.9)], np.float32)
HOPPER = np.array([(221.6, 188.5), (303.5, 192.9), (261.6, 238.6), (223.3, 270.1), (294.0, 273.9)], np.float32)
PORTRAIT_SEED, CLIP_SEED = 20, 33  # chosen by eye, for forgeries that a person can see, too

WIDTH, HEIGHT, FPS, SECONDS = 960, 540, 25, 5
CAPTION = 36  # height of the strip below the faces


def main() -> None:
    collins = np.asarray(data.astronaut())
    hopper = np.asarray(
        Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    )
    save(collins, "portrait-real.jpg", "Eileen Collins. NASA, public domain.")
    save(forge(collins, COLLINS, PORTRAIT_SEED), "portrait-forged.jpg", f"{MARK}. After a portrait by NASA.")
    save(np.asarray(data.coffee()), "no-face.jpg", "A cup of coffee. Rachel Michetti, CC0.")
    panels = [
        (collins, COLLINS, "real"),
        (hopper, HOPPER, "real"),
        (forge(hopper, HOPPER, CLIP_SEED), HOPPER, "forged, for detector tests"),
    ]
    film(panels, HERE / "clip-one-forged.mp4")


def forge(picture: Pixels, points: Floats, seed: int) -> Pixels:
    """The image with its face blended with a changed copy of itself; outside the face it stays as it is."""
    side, corner = surroundings(points)
    x, y = corner
    here = picture[y : y + side, x : x + side]
    forged, alpha = self_blend(here, mesh_from_points(points - corner), np.random.default_rng(seed))
    if not np.array_equal(forged[alpha == 0], here[alpha == 0]):
        raise SystemExit(f"seed {seed} changes the image around the face, so that a square would show: choose another")
    out = picture.copy()
    out[y : y + side, x : x + side] = forged
    return out


def surroundings(points: Floats) -> tuple[int, Floats]:
    """Side and upper left corner (x, y) of an upright square as wide as the crops that training forges in."""
    to_crop = matrix(points, InputSpec(size=256, margin=1.25))
    scale = math.sqrt(abs(np.linalg.det(to_crop[:, :2])))
    side = round(256 / scale)
    centre = np.linalg.inv(to_crop[:, :2]) @ (np.array([128, 128]) - to_crop[:, 2])
    return side, np.round(centre - side / 2).astype(int)


def film(panels: list[tuple[Pixels, Floats, str]], path: Path) -> None:
    """The images side by side, each slowly turned, shifted and zoomed in its own rhythm, with its label below."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = f"The right face is {MARK}. The two others are real."
        container.metadata["title"] = "unmask sample: one forged face among three"
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "26", "preset": "slow", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1  # the encoder's output then does not depend on the machine's cores
        for number in range(FPS * SECONDS):
            t = number / FPS
            views = [view(picture, points, t, k, len(panels)) for k, (picture, points, _) in enumerate(panels)]
            picture = np.concatenate([np.hstack(views), captions([label for *_, label in panels])])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)))
        container.mux(stream.encode())


def view(picture: Pixels, points: Floats, t: float, k: int, among: int) -> Pixels:
    """What the camera sees of one panel at `t` seconds: (HEIGHT - CAPTION, WIDTH / among, 3)."""
    width, height = WIDTH // among, HEIGHT - CAPTION
    phase = 2 * math.pi * (t / SECONDS + k / among)
    zoom = 0.95 * height / picture.shape[0] * (1.3 + 0.15 * math.sin(phase))
    turn = math.radians(4) * math.sin(phase + 1)
    linear = zoom * np.array([(math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))])
    face = points.mean(axis=0)
    lowest = min(0.42 * height, zoom * face[1])  # below that, the rim above the image would show
    middle = np.array([width / 2 + 14 * math.cos(phase), lowest - 10 + 10 * math.sin(2 * phase)])
    to_view = np.column_stack([linear, middle - linear @ face]).astype(np.float32)
    return align(picture, to_view, max(width, height))[:height, :width]


def captions(labels: list[str]) -> Pixels:
    strip = Image.new("RGB", (WIDTH, CAPTION), (20, 20, 20))
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(18)
    for k, label in enumerate(labels):
        draw.text(((k + 0.5) * WIDTH / len(labels), CAPTION / 2), label, (235, 235, 235), font, anchor="mm")
    return np.asarray(strip)


def save(picture: Pixels, name: str, description: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = description
    Image.fromarray(picture).save(HERE / name, quality=92, exif=exif, comment=description.encode())


if __name__ == "__main__":
    main()

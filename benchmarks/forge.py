"""Forgeries a second on one core, by generator, beside what any tool must do besides: read a crop and write one.

    python benchmarks/forge.py [--crops 24] [--size 256] [--repeat 3]

Crops are cut from the real faces of samples/clip-one-forged.mp4. "forge" is the generator alone, on crops and landmarks
in memory, what it reads of donors included; "all" also reads the crop, and writes forgery and mask as PNG. The peer is
OpenCV's decoding and encoding of the same crops; `faceswap`'s warp also stands beside scikit-image's, which moves the
same triangles. One thread; rates and ratios are by processor time. Generators that want a folder of weights run on
their stand-ins for tests, which says what their frame costs, and nothing of a real model.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
from common import CLIP, Times, machine, table, take_turns
from skimage.transform import PiecewiseAffineTransform, warp

from unmask import card, create, names, open_media
from unmask.data.donors import Reals
from unmask.data.manifest import FaceRow, Manifest, write
from unmask.faces import FaceDetector, crop
from unmask.forging.offline import seeded
from unmask.forging.saving import grey, png
from unmask.imageops.warping import piecewise
from unmask.types import Frame, InputSpec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        reals = cut(Path(folder), asked.crops, asked.size)
        print(machine("unmask", "opencv-python-headless", "scikit-image", "scipy"), end="\n\n", flush=True)
        variants = {"decode + encode (OpenCV)": lambda: peer(reals)}
        variants |= {name: lambda name=name: forged(reals, name) for name in names("generator")}
        found = take_turns(variants, asked.repeat)
        warps = take_turns({"ours": lambda: warped(reals), "scikit-image": lambda: naive(reals)}, asked.repeat)
    print(
        f"{len(reals)} crops of {asked.size} pixels, medians of {asked.repeat}, milliseconds a crop\n{table(found)}\n"
    )
    plain = found["decode + encode (OpenCV)"]["cpu"]
    for name in names("generator"):
        cost = found[name]["cpu"]
        print(f"{name:12} {1000 / cost:6.0f} a second and core, {cost / plain:5.1f} x decode + encode")
    print(f"\nwarp of 81 points: {table(warps)}\nratio {warps['scikit-image']['cpu'] / warps['ours']['cpu']:.1f}")


def cut(folder: Path, count: int, size: int) -> Reals:
    """Crops of the two real people in the video, at `count` moments, as a face manifest."""
    face_detector, spec, rows = FaceDetector.load(threads=1), InputSpec(size=size, margin=1.3), []
    for frame in open_media(CLIP).frames(count):
        assert isinstance(frame, Frame)
        people = sorted(face_detector.find(frame.image, frame.index, frame.t), key=lambda f: f.box[0])[:2]
        for who, one in enumerate(people):
            made = crop(frame.image, one, spec)
            name = f"{who}-{frame.index}"
            cv2.imwrite(str(folder / f"{name}.png"), made.image[..., ::-1])
            rows.append(
                FaceRow(
                    dataset="clip", item_id=name, media_id=name, relpath=f"{name}.png", label=0, group_id=str(who),
                    frame=frame.index, t=frame.t, points=tuple(map(float, one.points.ravel())), size=size,
                    matrix=tuple(map(float, made.matrix.ravel())), margin=1.3, template="gend5",
                )
            )  # fmt: skip
    return Reals(Manifest(write(folder / "faces.parquet", rows, {"clip": folder}, FaceRow).path))


def peer(reals: Reals) -> Times:
    def one(i: int) -> None:
        image = cv2.imread(str(reals.path(i)))
        cv2.imencode(".png", image)

    return each(reals, one)


def forged(reals: Reals, name: str) -> Times:
    known, spent = card("generator", name).small, [0.0]
    maker = create("generator", name, known if "weights" in known else None)

    def one(i: int) -> None:
        image, face = reals.read(i)
        began = time.perf_counter()
        made = maker(image, face, seeded(0, name, reals.name(i), 0), reals.donors(i))
        spent[0] += time.perf_counter() - began
        png(made.image, name)
        png(grey(made.mask), name)

    found = each(reals, one)
    return found | {"forge": 1000 * spent[0] / len(reals)}


def warped(reals: Reals) -> Times:
    held = [reals.read(i) for i in range(len(reals))]
    return each(reals, lambda i: piecewise(held[i][0], held[i - 1][1].points, held[i][1].points, len(held[i][0])))


def naive(reals: Reals) -> Times:
    held = [reals.read(i) for i in range(len(reals))]

    def one(i: int) -> None:
        transform = PiecewiseAffineTransform()
        transform.estimate(held[i][1].points, held[i - 1][1].points)
        warp(held[i][0], transform, output_shape=held[i][0].shape[:2])

    return each(reals, one)


def each(reals: Reals, one: Callable[[int], object]) -> Times:
    """Milliseconds a crop."""
    wall, cpu = time.perf_counter(), time.process_time()
    for i in range(len(reals)):
        one(i)
    spent = {"all": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return {name: 1000 * seconds / len(reals) for name, seconds in spent.items()}


if __name__ == "__main__":
    main()

"""Milliseconds to find the faces of a frame: the embedded finder beside YuNet, on the frames of one clip.

    python benchmarks/faces.py [CLIP] [--repeat 5] [--beside yunet]

YuNet is fetched once by `unmask pull yunet`; --beside also takes the path of its ONNX file. One thread each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import CLIP, Times, describe, machine, table, take_turns, timed, wanted_frames

from unmask.faces import Finder
from unmask.nouns import Frame, UnmaskError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", default=CLIP, metavar="CLIP")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--finder", default="embedded")
    parser.add_argument("--beside", default="yunet")
    asked = parser.parse_args()
    frames = wanted_frames(asked.clip, 32)
    print(machine("unmask", "onnxruntime"), describe(asked.clip), sep="\n", end="\n\n", flush=True)
    variants = {}
    for name in (asked.finder, asked.beside):
        try:
            finder = Finder.load(name, threads=1)
        except UnmaskError as error:
            print(f"without {name}: {error}\n")
            continue
        variants[finder.name] = lambda finder=finder: each(finder, frames)
    if variants:
        print(f"medians of {asked.repeat}, milliseconds a frame\n{table(take_turns(variants, asked.repeat))}")


def each(finder: Finder, frames: list[Frame]) -> Times:
    found: list[int] = []
    spent = timed(lambda: found.extend(len(finder.find(frame.image)) for frame in frames))
    return {name: 1000 * seconds / len(frames) for name, seconds in spent.items()} | {"faces": sum(found) / len(frames)}


if __name__ == "__main__":
    main()

"""Seconds to sample 32 frames evenly in time from one clip: our media package beside the usual ways.

    python benchmarks/decode.py [CLIP] [--repeat 5]

Ratios are to one pass of PyAV with AUTO threads that converts only the wanted frames. Ours includes what only it does:
hashing the file, reading all timestamps, rotation and colour tags, limits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
from common import CLIP, decode_only, describe, machine, table, take_turns, timed, wanted_frames

from unmask.types import Frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", default=CLIP, metavar="CLIP")
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    frames = wanted_frames(asked.clip, 32)
    wanted = {frame.index for frame in frames}
    print(machine("unmask", "av", "opencv-python-headless"), describe(asked.clip), sep="\n", end="\n\n", flush=True)
    variants = {
        "PyAV, one pass": lambda: timed(lambda: decode_only(asked.clip, wanted)),
        "unmask": lambda: timed(lambda: wanted_frames(asked.clip, 32)),
        "PyAV, a seek for each frame": lambda: timed(lambda: seek_each(asked.clip, frames)),
    }
    try:
        import cv2
    except ImportError:
        print("without OpenCV, which is not installed: pip install opencv-python-headless")
    else:
        variants["OpenCV, read every frame"] = lambda: timed(lambda: read_every(cv2.VideoCapture(str(asked.clip))))
    rows = take_turns(variants, asked.repeat)
    floor = rows["PyAV, one pass"]["all"]
    print(
        f"medians of {asked.repeat}, seconds\n{table({n: {**r, 'ratio': r['all'] / floor} for n, r in rows.items()})}"
    )


def seek_each(clip: Path, frames: list[Frame]) -> int:
    """To the keyframe before each wanted time, then forward to the frame."""
    found = 0
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        assert stream.time_base is not None
        first = stream.start_time or 0
        for wanted in frames:
            stamp = first + round(wanted.t / stream.time_base)
            container.seek(stamp, stream=stream)
            frame = next(f for f in container.decode(stream) if f.pts is not None and f.pts >= stamp)
            frame.to_ndarray(format="rgb24")
            found += 1
    return found


def read_every(capture: object) -> int:
    count = 0
    while capture.read()[0]:  # type: ignore[attr-defined]
        count += 1
    return count


if __name__ == "__main__":
    main()

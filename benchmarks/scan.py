"""Seconds for one video, cold and warm, beside decoding alone and beside a naive scanner, in the same run.

    python benchmarks/scan.py [CLIP] [--repeat 3]

cold: a fresh process, from its start to its end: interpreter, imports, both detectors loaded, one video scanned.
warm: the same video again in a process that is ready. "faces only": the same without the detector of whole images,
as before there was one. decode only: the same 32 frames, and nothing done with them.
naive: OpenCV decodes every frame, MTCNN looks at the same 32, a ViT-L/14 in eager torch scores the crops (naive.py).

Decoding runs beside the other stages, so that the stages of a scan may add up to more than its wall time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from common import CLIP, Times, decode_only, describe, machine, table, take_turns, timed, wanted_frames

from unmask.scanning.options import Options
from unmask.scanning.pipeline import Scanner
from unmask.types import FileReport

if TYPE_CHECKING:
    from naive import Naive

STAGES = ("open", "decode", "detect", "align", "score", "checks", "whole")
COLD = """
import sys, time
start = time.perf_counter()
import unmask
from unmask.scanning.options import Options
options = Options.model_validate_json(sys.argv[2])
imported = time.perf_counter()
scanner = options.ready()
loaded = time.perf_counter()
report = scanner.scan(sys.argv[1])
import json
print(json.dumps({"import": imported - start, "load": loaded - imported, **report.seconds_spent}))
"""


def main() -> None:
    asked = arguments()
    options = Options(
        detector=asked.detector, whole=asked.whole, faces=asked.faces, frames=asked.frames, threads=asked.threads
    )
    alone = options.model_copy(update={"whole": "none"})
    wanted = {frame.index for frame in wanted_frames(asked.clip, asked.frames)}
    print(machine("unmask", "av", "onnxruntime", "torch", "facenet-pytorch", "opencv-python-headless"))
    print(
        describe(asked.clip), f"of which {len(wanted)} are looked at; {asked.threads} threads\n", sep=", ", flush=True
    )

    scanner, faces_only = options.ready(), alone.ready()
    answer = scanner.scan(asked.clip)
    variants = {
        "cold": lambda: cold(asked.clip, options),
        "warm": lambda: warm(scanner, asked.clip),
        "decode only": lambda: timed(lambda: decode_only(asked.clip, wanted)),
    }
    if scanner.whole:
        variants["cold, faces only"] = lambda: cold(asked.clip, alone)
        variants["warm, faces only"] = lambda: warm(faces_only, asked.clip)
    baseline = None if asked.no_baseline else naive()
    if baseline:
        baseline.scan(asked.clip, {min(wanted)})  # warm, too
        variants["naive"] = lambda: baseline.scan(asked.clip, wanted)[0]
    rows = take_turns(variants, asked.repeat)
    print(f"medians of {asked.repeat}, seconds\n{table(rows)}\n")
    print(f"our answer: {answer.state}, {len(answer.faces)} faces in {crops(answer)} crops")
    if answer.whole:
        parts = sum(frame.tiles for frame in answer.whole.frames)
        print(f"as a whole: {answer.whole.state}, {parts} tiles in {len(answer.whole.frames)} frames")
        print(f"cold, both detectors: {rows['cold']['all']:.2f} s  (aim: under 2)")
    print(f"warm / decode only: {rows['warm']['all'] / rows['decode only']['all']:.2f}  (aim: at most 1.5)")
    if baseline:
        print(f"naive / warm: {rows['naive']['all'] / rows['warm']['all']:.1f}  (aim: at least 20)")
        print(f"naive / cold: {rows['naive']['all'] / rows['cold']['all']:.1f}  (the naive one is warm here)")


def cold(clip: Path, options: Options) -> Times:
    command = [sys.executable, "-c", COLD, str(clip), options.model_dump_json()]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall = time.perf_counter() - start
    spent = json.loads(done.stdout)
    return {"all": wall} | {stage: spent.get(stage, 0.0) for stage in ("import", "load", *STAGES)}


def warm(scanner: Scanner, clip: Path) -> Times:
    reports: list[FileReport] = []
    whole = timed(lambda: reports.append(scanner.scan(clip)))
    return whole | {stage: reports[0].seconds_spent.get(stage, 0.0) for stage in STAGES}


def naive() -> Naive | None:
    """None, and a word on how to get it, where the packages of the baseline are not installed."""
    try:
        from naive import Naive
    except ImportError as error:
        print(
            f"without the naive baseline: {error.name or error} is not installed. In an environment of its own:",
            file=sys.stderr,
        )
        print("  pip install torch torchvision opencv-python-headless requests tqdm -e .", file=sys.stderr)
        print("  pip install --no-deps facenet-pytorch\n", file=sys.stderr)
        return None
    return Naive()


def crops(answer: FileReport) -> int:
    return sum(len(face.samples) for face in answer.faces)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", default=CLIP, metavar="CLIP")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--threads", type=int, default=cores(), help="of our scan; default: one for each core")
    parser.add_argument("--detector", default="embedded")
    parser.add_argument("--whole", default="auto", help="detector of whole images, or none")
    parser.add_argument("--faces", default="embedded")
    parser.add_argument("--no-baseline", action="store_true", help="leave the naive scanner out")
    return parser.parse_args()


def cores() -> int:
    from unmask.scanning.batch import cores as available

    return available()


if __name__ == "__main__":
    main()

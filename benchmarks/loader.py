"""Crops a second and memory of a worker, beside the plain way: a list of paths, PIL, torchvision.

    python benchmarks/loader.py [--crops 1500] [--rows 1000000] [--repeat 3]

Throughput: aligned crops of the shipped samples, 256 pixels, PNG, brought to 224 by 2 workers in batches of 64, from
the file system's cache; without augmentation and with GenD's. The plain way opens with PIL, resizes, and augments by
torchvision's own classes on PIL images.

Memory: two workers, forked or spawned, each goes through all rows of a manifest (label and path; no image is read),
beside a list of as many (path, label) as `ImageFolder` keeps. What counts is by how much a worker grows over one with a
hundred rows: private memory (USS) and the share of what it has in common with others (PSS), from /proc.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import resource
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from common import CLIP, machine, take_turns, timed
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from unmask.data.loader import FaceSet
from unmask.data.manifest import FaceRow, Writer, arrow_schema
from unmask.data.samplers import shuffled
from unmask.data.transforms import build
from unmask.faces import FaceDetector, crop
from unmask.media import open_media
from unmask.tasks.loading import batches
from unmask.types import Frame, InputSpec, Pixels

STORED, WANTED = InputSpec(size=256, margin=1.3), InputSpec(size=224, margin=1.3)
BATCH, WORKERS = 64, 2
GEND = (
    v2.RandomHorizontalFlip(),
    v2.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR),
    v2.RandomApply([v2.GaussianBlur(7, (0.1, 2))], 0.1),
    v2.ColorJitter(0.1, 0.1),
    v2.PILToTensor(),
    v2.JPEG((40, 100)),
    v2.ToPILImage(),
)


class Listed(Dataset[tuple[Any, int]]):
    """The plain way: what torchvision's `ImageFolder` does."""

    def __init__(self, samples: list[tuple[str, int]], augment: bool = False) -> None:
        self.samples = samples
        last = (
            v2.Resize((224, 224), v2.InterpolationMode.BICUBIC),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        )
        self.change = v2.Compose([*(GEND if augment else ()), *last])

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        path, label = self.samples[i]
        with Image.open(path) as picture:
            return self.change(picture.convert("RGB")), label

    def touch(self) -> None:
        for path, label in self.samples:
            _ = path, label


class Compact(FaceSet):
    def touch(self) -> None:
        for i in range(len(self)):
            _ = self.label[i], self._paths[self._starts[i] : self._starts[i + 1]].tobytes()


# --- crops a second --------------------------------------------------------------------------------------------------


def faces() -> Iterator[Pixels]:
    """All faces of the samples as crops, then the same mirrored and shifted in brightness, without end."""
    face_detector, found = FaceDetector.load(), []
    for name in ("portrait-real.jpg", "portrait-forged.jpg", "clip-one-forged.mp4"):
        for frame in open_media(CLIP.parent / name).frames(40):
            if isinstance(frame, Frame):
                found += [crop(frame.image, face, STORED).image for face in face_detector.find(frame.image)]
    n = 0
    while True:
        picture = found[n % len(found)].astype(np.int16) + n // len(found) % 9 - 4
        yield picture.clip(0, 255).astype(np.uint8)[:, :: -1 if n // len(found) % 2 else 1]
        n += 1


def lay(root: Path, crops: int) -> tuple[Path, list[tuple[str, int]]]:
    samples = []
    for n, picture in zip(range(crops), faces(), strict=False):
        Image.fromarray(np.ascontiguousarray(picture)).save(root / f"{n:06d}.png")
        samples.append((str(root / f"{n:06d}.png"), n % 2))
    return written(root / "faces.parquet", root, crops), samples


def written(path: Path, root: Path, rows: int) -> Path:
    """A manifest of faces, made column by column: a million pydantic rows would take a minute."""
    number = [f"{n:06d}" for n in range(rows)]
    clip = [f"set/video{n // 32:05d}" for n in range(rows)]
    values: dict[str, Any] = {
        "dataset": ["set"] * rows, "item_id": number, "relpath": [f"{n}.png" for n in number], "group_id": clip,
        "label": [n % 2 for n in range(rows)], "media_id": clip, "pair_key": clip,
        "frame": [n % 32 for n in range(rows)],
        "t": [0.0] * rows, "size": [STORED.size] * rows, "margin": [STORED.margin] * rows, "template": ["gend5"] * rows,
    }  # fmt: skip
    with Writer(path, root, FaceRow) as out:
        columns = [
            pa.array(values[f.name], f.type) if f.name in values
            else pa.array([""] * rows) if f.type == pa.string()
            else pa.nulls(rows, f.type)
            for f in arrow_schema(FaceRow)
        ]  # fmt: skip
        out.add_table(pa.Table.from_arrays(columns, schema=arrow_schema(FaceRow)))
    return path


def throughput(root: Path, crops: int, repeat: int) -> None:
    manifest, samples = lay(root, crops)

    def ours(augment: bool) -> Callable[[], None]:
        found = FaceSet(manifest, WANTED, transform=build("gend") if augment else None)

        def run() -> None:
            plan = shuffled(len(found), BATCH, seed=0, epoch=0, keep_last=True)
            assert sum(len(b.label) for b in batches(found, plan.batches(), workers=WORKERS)) == crops

        return run

    def plain(augment: bool) -> Callable[[], None]:
        loader = DataLoader(Listed(samples, augment), BATCH, shuffle=True, num_workers=WORKERS)

        def run() -> None:
            assert sum(len(label) for _, label in loader) == crops

        return run

    for title, augment in (("no augmentation", False), ("GenD's augmentation", True)):
        runs = {"plain PIL": plain(augment), "FaceSet": ours(augment)}
        for run in runs.values():
            run()  # files into the cache, code into memory
        seconds = take_turns({name: lambda run=run: spent(run) for name, run in runs.items()}, repeat)
        print(f"\n{title}, {crops} crops:")
        for kind, unit in (("all", "crops/s"), ("cpu", "crops per second of CPU, workers included")):
            rate = {name: crops / s[kind] for name, s in seconds.items()}
            said = ", ".join(f"{name} {r:,.0f}" for name, r in rate.items())
            print(f"  {said} {unit}; ratio {rate['FaceSet'] / rate['plain PIL']:.2f}")


def spent(run: Callable[[], None]) -> dict[str, float]:
    """Wall seconds, and those of CPU by this process and the workers, which a busy machine disturbs less."""

    def cpu() -> float:
        return sum(
            u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )

    before = cpu()
    wall = timed(run)["all"]
    gc.collect()  # workers that are not yet reaped are not yet counted
    return {"all": wall, "cpu": cpu() - before}


# --- memory ----------------------------------------------------------------------------------------------------------


def kilobytes() -> dict[str, float]:
    lines = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    field = {name: float(value.split()[0]) for name, value in lines.items()}
    return {"USS": field["Private_Clean"] + field["Private_Dirty"], "PSS": field["Pss"]}


def worker(data: Any, gate: Any, out: Connection) -> None:
    data.touch()
    gate.wait()  # both are alive and done
    out.send(kilobytes())
    gate.wait()


def grown(make: Callable[[int], Any], rows: int, method: str) -> dict[str, float]:
    """MB by which a worker with `rows` rows is larger than one with a hundred."""
    few, many = (apart(make, n, method) for n in (100, rows))
    return {kind: (many[kind] - few[kind]) / 1024 for kind in many}


def apart(make: Callable[[int], Any], rows: int, method: str) -> dict[str, float]:
    """One worker's kilobytes, measured below a fresh process."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    parent = context.Process(target=below, args=(make, rows, method, send))
    parent.start()
    send.close()
    found: dict[str, float] = receive.recv()
    parent.join()
    return found


def below(make: Callable[[int], Any], rows: int, method: str, out: Connection) -> None:
    data, context = make(rows), multiprocessing.get_context(method)
    gate, (receive, send) = context.Barrier(WORKERS), context.Pipe(duplex=False)
    workers = [context.Process(target=worker, args=(data, gate, send)) for _ in range(WORKERS)]
    for one in workers:
        one.start()
    found = [receive.recv() for _ in workers]
    for one in workers:
        one.join()
    out.send({kind: float(np.mean([f[kind] for f in found])) for kind in found[0]})


class Listing:
    """Makes the list of paths, in the process that is measured."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, rows: int) -> Listed:
        return Listed([(f"{self.root}/{n:06d}.png", n % 2) for n in range(rows)])


class Compacting(Listing):
    def __call__(self, rows: int) -> Compact:
        path = self.root / f"{rows}.parquet"
        return Compact(path, WANTED)


def memory(root: Path, rows: int) -> None:
    for n in (100, rows):
        written(root / f"{n}.parquet", root, n)
    for method in ("fork", "spawn"):
        sizes = {"list": grown(Listing(root), rows, method), "FaceSet": grown(Compacting(root), rows, method)}
        print(f"\nMB that {rows:,} rows cost each of {WORKERS} workers, started by {method}:")
        for name, size in sizes.items():
            print(f"  {name:8}" + "".join(f"  {kind} {value:7.1f}" for kind, value in size.items()))
        few = {kind: max(sizes["FaceSet"][kind], 1.0) for kind in ("USS", "PSS")}  # a megabyte is within the noise
        said = (f"  {kind} {'>' if few[kind] == 1 else ''}{sizes['list'][kind] / few[kind]:.1f}x" for kind in few)
        print("  ratio   " + "".join(said))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=1500)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print(machine("torch", "torchvision", "pillow", "opencv-python-headless", "pyarrow"))
    with tempfile.TemporaryDirectory() as home:
        throughput(Path(home), arguments.crops, arguments.repeat)
        memory(Path(home), arguments.rows)
    print(f"\n{machine().splitlines()[0].replace('before', 'after')}")


if __name__ == "__main__":
    main()

"""What the benchmarks share: variants that take turns, medians, a reference for decoding, and the machine in words."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import av
import numpy as np

from unmask import open_media
from unmask.types import Frame, Pixels

CLIP = Path(__file__).resolve().parent.parent / "samples" / "clip-one-forged.mp4"
Times = dict[str, float]  # seconds by stage; "all" is wall time from end to end


def take_turns(variants: Mapping[str, Callable[[], Times]], repeat: int) -> dict[str, Times]:
    """Medians by variant and stage. The variants take turns, so that a slow minute of the machine slows all of them."""
    runs: dict[str, list[Times]] = {name: [] for name in variants}
    for number in range(repeat):
        for name, run in variants.items():
            runs[name].append(run())
            print(f"  round {number + 1}: {name} {runs[name][-1]['all']:.3f}", file=sys.stderr, flush=True)
    return {name: {stage: statistics.median(r[stage] for r in rs) for stage in rs[0]} for name, rs in runs.items()}


def timed(work: Callable[[], object]) -> Times:
    """Wall and CPU seconds (of all threads) of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"all": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def table(rows: Mapping[str, Times]) -> str:
    """One row for each variant, one column for each stage that any of them has."""
    stages = list(dict.fromkeys(["all", "cpu"] + [stage for row in rows.values() for stage in row]))
    stages = [stage for stage in stages if any(stage in row for row in rows.values())]
    wide = max(map(len, rows))
    lines = [" " * wide + "".join(f"{stage:>10}" for stage in stages)]
    for name, row in rows.items():
        lines.append(
            f"{name:<{wide}}" + "".join(f"{row[stage]:10.3f}" if stage in row else f"{'-':>10}" for stage in stages)
        )
    return "\n".join(lines)


def wanted_frames(clip: Path, count: int) -> list[Frame]:
    """The frames that a scan of this video looks at."""
    return [frame for frame in open_media(clip).frames(count) if isinstance(frame, Frame)]


def decode_only(clip: Path, wanted: Collection[int]) -> list[Pixels]:
    """The floor of a scan: one pass with PyAV and its AUTO threads, in which only the wanted frames become RGB."""
    last, found = max(wanted), []
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
            if index == last:
                break
    return found


def describe(clip: Path) -> str:
    media = open_media(clip)
    return (
        f"{clip.name}: {media.format}, {media.width} x {media.height}, {media.seconds or 0:.1f} s, "
        f"{media.total_frames} frames"
    )


def machine(*packages: str) -> str:
    """CPU, cores, Python, versions, and how busy the machine was before: numbers of a busy one are worth little."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0]
    busy = "  (NOT QUIET: read the ratios with care, and measure again)" if load > 0.5 * cores else ""
    return (
        f"{cpu}, {cores} cores, load {load:.1f} before the run{busy}\n"
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, numpy {np.__version__}, "
        + ", ".join(f"{name} {found}" for name in packages if (found := _version(name)))
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

"""A trained detector in a box: its card, its weights, and the runtimes that run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unmask.bundles import hub
from unmask.bundles.bundle import CARD, Bundle, read, read_card, write
from unmask.bundles.runtime import RUNTIMES
from unmask.bundles.scorer import Reading, Scorer
from unmask.types import Pixels

__all__ = [
    "RUNTIMES",
    "SHIPPED",
    "Bundle",
    "Reading",
    "Scorer",
    "installed",
    "load",
    "locate",
    "read",
    "read_card",
    "write",
]


SHIPPED = ("embedded", "clip", "whole")  # "clip" is a delta: `unmask pull clip-vit-b-16` fetches the rest of it


def load(
    name: str = "embedded",
    *,
    runtime: str = "auto",
    threads: int = 1,
    elsewhere: Callable[[Pixels], Reading] | None = None,
) -> Scorer:
    """A detector ready to score.

    Args:
        name: "embedded", "clip", "whole", the folder of a bundle, or "hub:owner/name[@revision]".
        runtime: "onnx" (ONNX Runtime), "openvino" (with the extra of that name), "torch" (with the extra `train`), or
            "auto": the first of them that the bundle and the installation can serve.
        threads: CPU threads of one forward pass.
        elsewhere: what reads crops with these weights in another process, for many processes that share one network.
    Raises: UnmaskError that says what is wrong with the name, the bundle or the installation.
    """
    return Scorer(read(locate(name)), runtime, threads, elsewhere)


def installed(name: str) -> bool:
    """Whether this installation holds a bundle of `SHIPPED`."""
    return (locate(name) / CARD).is_file()


def locate(name: str) -> Path:
    """The folder of a bundle; one on the hub is fetched first."""
    if name in SHIPPED:
        return Path(__file__).with_name(name)
    return hub.fetch(name.removeprefix("hub:")) if name.startswith("hub:") else Path(name)

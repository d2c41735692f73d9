"""Crops in, logits and calibrated scores out: the one thing that a loaded bundle does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unmask.bundles import delta
from unmask.bundles.bundle import Bundle
from unmask.bundles.calibration import log_odds, probabilities
from unmask.bundles.runtime import choose, start
from unmask.errors import BundleError, InputError
from unmask.types import Floats, Pixels

CHUNK = 16  # frames that go through the network together: bounds memory, and more is not quicker on a CPU


@dataclass(frozen=True)
class Reading:
    """What the network says of N crops or windows: logits (N, K), and, if it has them, distances (N,) from its training
    features."""

    logits: Floats
    features_distance: Floats | None


class Scorer:
    """A bundle ready to score. Threads may share it.

    Attributes:
        card: what is known of the detector.
        weights_sha256: of the file that runs, lower-case hex.
        runtime: "onnx", "openvino" or "torch".
    """

    def __init__(
        self,
        bundle: Bundle,
        runtime: str = "auto",
        threads: int = 1,
        elsewhere: Callable[[Pixels], Reading] | None = None,
    ) -> None:
        """`elsewhere`: reads at most `chunk` crops with these weights in another process; none are loaded here then.

        `runtime`: "auto" = the first that the bundle and the installation can serve.
        Raises: UnmaskError when nothing can run the bundle, or its network is not as the card says.
        """
        self.card = bundle.card
        self.runtime, needed = choose(runtime, bundle.files, bundle.card.name)
        self.weights_sha256 = bundle.sha256(needed)
        if elsewhere is None:
            content = bundle.files[needed]
            if self.card.base is not None:
                content = delta.complete(needed, content, delta.read_base(self.card.base))
            self._network = start(self.runtime, content, bundle.card.method, bundle.card.options, threads)
        self._run = elsewhere or self._here
        self._distances = self._run(np.zeros((1, *self.shape), np.uint8)).features_distance is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one crop, (size, size, 3), or of one window of frames that a video detector takes, (T, size, size, 3)."""
        side, frames = self.card.input.size, self.card.input.frames
        return (side, side, 3) if frames == 1 else (frames, side, side, 3)

    @property
    def chunk(self) -> int:
        """How many of them go through the network together."""
        return max(1, CHUNK // self.card.input.frames)

    def read(self, crops: Pixels) -> Reading:
        """uint8 (N, *shape) RGB -> Reading. N may be 0. Raises: UnmaskError for crops of another kind."""
        if crops.dtype != np.uint8 or crops.ndim < 4 or crops.shape[1:] != self.shape:
            expected = f"uint8 (N, {', '.join(map(str, self.shape))})"
            raise InputError(f"{self.card.name} scores crops of {expected}, not {crops.dtype} {crops.shape}")
        parts = [self._run(crops[i : i + self.chunk]) for i in range(0, len(crops), self.chunk)]
        empty = np.zeros(0, np.float32)
        logits = np.concatenate([np.zeros((0, len(self.card.classes)), np.float32), *(p.logits for p in parts)])
        distances = [p.features_distance for p in parts if p.features_distance is not None]
        return Reading(logits, np.concatenate([empty, *distances]) if self._distances else None)

    def logits(self, crops: Pixels) -> Floats:
        """uint8 (N, *shape) RGB -> float32 (N, K), in the order of `card.classes`."""
        return self.read(crops).logits

    def score(self, crops: Pixels) -> Floats:
        """uint8 (N, *shape) RGB -> calibrated P(fake), float32 (N,).

        Raises: UnmaskError when the card has no calibration.
        """
        if self.card.calibration is None:
            raise BundleError(
                f"detector {self.card.name!r} carries no calibration: its logits are no probabilities yet"
            )
        return probabilities(self.card.calibration, log_odds(self.logits(crops), self.card.classes))

    def _here(self, crops: Pixels) -> Reading:
        image = np.divide(np.moveaxis(crops, -1, -3), np.float32(255), dtype=np.float32, order="C")
        try:
            outputs = self._network(image)
        except Exception as error:  # each runtime raises errors of its own kind
            raise BundleError(f"the network of {self.card.name!r} fails on crops of its own card: {error}") from error
        logits, distance = outputs["logits"], outputs.get("distance")
        if logits.shape != (len(crops), len(self.card.classes)):
            raise BundleError(
                f"the network of {self.card.name!r} gives logits {logits.shape} for {len(crops)} crops of classes "
                f"{', '.join(self.card.classes)}"
            )
        if not np.isfinite(logits).all():
            raise BundleError(f"the network of {self.card.name!r} gives logits that are not finite")
        return Reading(
            logits.astype(np.float32, copy=False),
            None if distance is None else distance.reshape(len(crops)).astype(np.float32, copy=False),
        )

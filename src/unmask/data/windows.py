"""Windows of a face manifest: frames in a row of one face, which `unmask data extract --window` cut by one matrix."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

WINDOW = ("track", "window", "window_index")  # columns that younger manifests have
KEYS = ("dataset", "media_id", *WINDOW, "frame")


def in_windows(table: pa.Table, length: int) -> NDArray[np.int64]:
    """Rows of frames in a row of one face, (N, length); a row that does not fill a window is left out.

    Args:
        table: the columns `KEYS` of rows that have a crop.
        length: T; a stored window of 16 frames gives two of 8.
    """
    order = np.asarray(pc.sort_indices(table, [(name, "ascending") for name in KEYS[:-1]]), np.int64)
    if not len(order):
        return np.empty((0, length), np.int64)
    together = np.ones(len(order) - 1, bool)
    for name, step in zip(KEYS, (0, 0, 0, 0, 1, 1), strict=True):
        column = table[name].combine_chunks()
        code = column.dictionary_encode().indices if pa.types.is_string(column.type) else column.fill_null(-1)
        together &= np.diff(code.to_numpy(zero_copy_only=False)[order].astype(np.int64)) == step
    stored = table["window"].is_valid().to_numpy()
    runs = np.split(order, np.flatnonzero(~together) + 1)
    whole = [run[: len(run) // length * length].reshape(-1, length) for run in runs if stored[run[0]]]
    found = np.concatenate([np.empty((0, length), np.int64), *whole])
    return found[np.argsort(found[:, 0])]


def remedy(frames: int) -> str:
    """For the end of a message about columns or windows that a manifest lacks."""
    if frames == 1:
        return "extract the faces again"
    return f"this detector looks at {frames} frames together, extract with `unmask data extract --window {frames}`"

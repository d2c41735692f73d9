"""The scores table: one row for each crop that a detector was asked about, the ground of every table and image.

It is written once for a detector and a data set; its key says which ones, so that a score is never computed twice and
never mistaken for that of other weights or other data. A crop that could not be scored keeps its row: a null score and
a reason. A row with neither, or with both, is refused.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unmask.errors import InputError, UnmaskError
from unmask.output import written

SCHEMA = "unmask.scores/1"
PROTOCOL_VERSION = "1"  # of how a crop becomes a score: raised when an old table would no longer be what is measured
COLUMNS = pa.schema(
    [
        ("item_id", pa.string()),
        ("media_id", pa.string()),
        ("dataset", pa.string()),
        ("method", pa.string()),
        ("compression", pa.string()),
        ("split", pa.string()),
        ("group_id", pa.string()),
        ("label", pa.int8()),  # 0 real, 1 fake, null not labelled
        ("score", pa.float64()),  # raw logit, logit(fake) - logit(real): any real number, higher = more fake
        ("probability", pa.float64()),  # calibrated P(fake), 0..1; null without a calibration
        ("frame", pa.int32()),
        ("track", pa.int32()),
        ("state", pa.string()),  # "scored" or "failed"
        ("reason", pa.string()),  # why there is no score; empty where there is one
    ]
)
STATES = ("scored", "failed")
_NEEDED = ("item_id", "media_id", "dataset", "group_id", "state")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Key:
    """What a scores table belongs to; two tables of one key are the same table.

    Attributes:
        detector: its name, for people.
        bundle: sha256 of the weights, or of what was fitted.
        data: `Manifest.digest` of the face manifest.
        protocol: `PROTOCOL_VERSION` when it was written.
    """

    detector: str
    bundle: str
    data: str
    protocol: str = PROTOCOL_VERSION

    @property
    def digest(self) -> str:
        """sha256 over bundle, data and protocol version; the detector's name is no part of it."""
        return hashlib.sha256("\n".join((self.bundle, self.data, self.protocol)).encode()).hexdigest()

    @property
    def file_name(self) -> str:
        return f"{self.digest[:32]}.parquet"


def validate(table: pa.Table) -> pa.Table:
    """The table in the columns and types of `COLUMNS`.

    Raises: UnmaskError that names the row by its item_id: a missing or unknown column, a value of another type, an id
        that comes twice, a score that is not finite, a probability outside 0..1, a label other than 0 and 1, a state
        that the score or the reason contradicts.
    """
    missing = [n for n in COLUMNS.names if n not in table.column_names]
    unknown = [n for n in table.column_names if n not in COLUMNS.names]
    if missing or unknown:
        said = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        raise InputError(f"a scores table has the columns {', '.join(COLUMNS.names)}; this one {' and '.join(said)}")
    try:
        table = table.select(COLUMNS.names).cast(COLUMNS)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"a column of the scores table is of another type: {error}") from None
    for name in _NEEDED:
        _refuse(table, pc.is_null(table[name]), f"has no {name}")
    _refuse(table, _repeated(table["item_id"]), "comes more than once: one row for each crop")
    _refuse(table, pc.invert(pc.is_in(table["label"], pa.array([0, 1, None], pa.int8()))), "has a label not 0 or 1")
    _refuse(table, pc.invert(pc.is_finite(table["score"])), "has a score that is not finite: a failed crop has null")
    p = table["probability"]
    inside = pc.and_(pc.greater_equal(p, 0.0), pc.less_equal(p, 1.0))  # NaN is not inside
    _refuse(table, pc.invert(inside), "has a probability outside 0..1")
    _refuse(table, pc.invert(pc.is_in(table["state"], pa.array(STATES))), f"has a state not of {', '.join(STATES)}")
    scored, number = pc.equal(table["state"], "scored"), pc.is_valid(table["score"])
    _refuse(table, pc.xor(scored, number), "is scored without a score, or failed with one")
    spoken = pc.and_(pc.is_valid(p), pc.invert(number))
    _refuse(table, spoken, "has a probability without a score")
    reason = pc.not_equal(pc.fill_null(table["reason"], ""), "")
    _refuse(table, pc.equal(scored, reason), "failed without a reason, or is scored and has one")
    return table


def write(path: Path, table: pa.Table, key: Key) -> None:
    """Writes the table, validated, with its key in the metadata; it appears under its name only when it is whole.

    Raises: UnmaskError as `validate` does.
    """
    stamp = {"unmask": SCHEMA, "detector": key.detector, "bundle": key.bundle, "data": key.data, "rules": key.protocol}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as fresh:
        pq.write_table(validate(table).replace_schema_metadata(stamp), fresh, compression="zstd")


def read(path: Path) -> tuple[pa.Table, Key]:
    """A scores table and its key. Raises: UnmaskError, if there is none at `path` or it is not valid."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is not a scores table: {error}; make one with `unmask eval bench`") from None
    stamp = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    if stamp.get("unmask") != SCHEMA:
        raise InputError(f"{path} is a table but no {SCHEMA} scores table; make one with `unmask eval bench`")
    hashes = stamp.get("bundle", ""), stamp.get("data", "")
    if not all(_SHA256.fullmatch(h) for h in hashes):
        raise InputError(
            f"{path} does not say which weights and data it belongs to; make it anew with `unmask eval bench`"
        )
    try:
        valid = validate(table.replace_schema_metadata(None))
    except UnmaskError as error:
        raise InputError(f"{path}: {error}") from None
    return valid, Key(stamp.get("detector", ""), *hashes, stamp.get("rules", ""))


def cached(folder: Path, key: Key) -> pa.Table | None:
    """The table of this key in `folder`, or None; one of another key under its name is not taken for it."""
    path = folder / key.file_name
    if not path.is_file():
        return None
    table, found = read(path)
    return table if found.digest == key.digest else None


def _repeated(ids: pa.ChunkedArray) -> pa.Array:
    """True at the second and each later row of an id."""
    codes = ids.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    again = np.ones(len(codes), bool)
    again[np.unique(codes, return_index=True)[1]] = False
    return pa.array(again)


def _refuse(table: pa.Table, bad: pa.Array | pa.ChunkedArray, why: str) -> None:
    """Null counts as good: what must not be null is asked for by itself."""
    at = np.flatnonzero(np.asarray(pc.fill_null(bad, False).to_numpy(zero_copy_only=False), bool))
    if len(at):
        more = f" (and {len(at) - 1} more rows)" if len(at) > 1 else ""
        raise InputError(f"scores table, row {at[0]}, {table['item_id'][int(at[0])].as_py()!r} {why}{more}")

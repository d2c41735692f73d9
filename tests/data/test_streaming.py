"""Shards as a stream: every crop exactly once whoever reads, the same order for a seed, and damage is said."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import itertools
import json
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.data.crops import clips, face, lay, picture  # noqa: E402
from unmask.data import shards, streaming  # noqa: E402
from unmask.data.manifest import FaceRow, Manifest  # noqa: E402
from unmask.data.streaming import ShardSet, code  # noqa: E402
from unmask.tasks.loading import streamed  # noqa: E402
from unmask.types import InputSpec, Pixels, UnmaskError  # noqa: E402

SPEC = InputSpec(size=32, margin=1.0)


def pack(root: Path, rows: list[FaceRow], count: int) -> Path:
    """Shards in the published layout, of unequal sizes."""
    root.mkdir(parents=True, exist_ok=True)
    entries = []
    for s in range(count):
        data, mine = io.BytesIO(), rows[s::count]
        with tarfile.open(fileobj=data, mode="w") as tar:
            for n, row in enumerate(mine):
                members = {f"{n:06d}.json": row.model_dump_json().encode()}
                if not row.reason:
                    written = cv2.imencode(".webp" if n % 2 else ".png", picture(row.relpath)[..., ::-1], [64, 101])
                    members[f"{n:06d}.{'webp' if n % 2 else 'png'}"] = written[1].tobytes()
                for name, content in members.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        name = f"{s:06d}.tar"
        (root / name).write_bytes(data.getvalue())
        entries.append({"name": name, "count": len(mine), "sha256": hashlib.sha256(data.getvalue()).hexdigest()})
    (root / "index.json").write_text(json.dumps({"format": "unmask.shards/1", "shards": entries}))
    return root


def seen(stream: ShardSet, workers: int = 0, batch: int = 5) -> list[int]:
    return [at for b in streamed(stream, batch, workers=workers) if b.index is not None for at in b.index.tolist()]


ROWS = clips(7, 3)
ALL = Counter(code(r.item_id) for r in ROWS)


def test_an_item_is_its_crop_cut_to_the_input_with_its_row(tmp_path: Path) -> None:
    found = {item.at: item for item in ShardSet(pack(tmp_path, ROWS, 3), SPEC)}
    for row in ROWS:
        item = found[code(row.item_id)]
        np.testing.assert_array_equal(item.image, picture(row.relpath)[4:36, 4:36])
        assert (item.label, item.group, item.method) == (row.label, code(row.group_id), code(row.method))
    pairs: dict[int, list[int]] = {}
    for item in found.values():
        pairs.setdefault(item.pair, []).append(item.label)
    assert sorted(map(sorted, pairs.values())) == [[0, 1, 1]] * 21


def test_shards_that_were_written_here_are_read(tmp_path: Path) -> None:
    rows = clips(5, 2)
    rows[4] = face("swap1", 7, 1, source="p1", mask_relpath="mask.png")
    path = lay(tmp_path / "crops", rows)
    cv2.imwrite(str(tmp_path / "crops" / "mask.png"), picture("mask"))
    index = shards.pack(Manifest(path), tmp_path / "shards", crops=8)
    found = {item.at: item for item in ShardSet(index, SPEC)}
    assert len(list(tmp_path.glob("shards/*.tar"))) == 4
    assert set(found) == {code(r.item_id) for r in rows}
    for row in rows:
        np.testing.assert_array_equal(found[code(row.item_id)].image, picture(row.relpath)[4:36, 4:36])


@pytest.mark.parametrize("count", [4, 9])
def test_every_crop_comes_exactly_once_over_two_workers_of_two_processes(tmp_path: Path, count: int) -> None:
    pack(tmp_path, ROWS, count)
    parts = [seen(ShardSet(tmp_path, SPEC, rank=r, world=2, buffer=8), workers=2) for r in range(2)]
    assert all(parts)
    assert Counter(itertools.chain(*parts)) == ALL
    assert Counter(seen(ShardSet(tmp_path, SPEC), workers=2)) == ALL


def test_a_worker_more_than_there_are_shards_has_nothing_to_do(tmp_path: Path) -> None:
    assert Counter(seen(ShardSet(pack(tmp_path, ROWS, 1), SPEC), workers=2)) == ALL


def test_order_is_the_seeds_and_the_epochs(tmp_path: Path) -> None:
    pack(tmp_path, ROWS, 4)
    first = seen(ShardSet(tmp_path, SPEC, seed=1, epoch=2, buffer=16), workers=2)
    assert seen(ShardSet(tmp_path, SPEC, seed=1, epoch=2, buffer=16), workers=2) == first
    assert seen(ShardSet(tmp_path, SPEC, seed=1, epoch=3, buffer=16), workers=2) != first
    assert seen(ShardSet(tmp_path, SPEC, seed=2, epoch=2, buffer=16), workers=2) != first
    plain = seen(ShardSet(tmp_path, SPEC, buffer=1))
    stored = [[code(r.item_id) for r in ROWS[s::4]] for s in range(4)]
    at = 0
    while at < len(plain):  # without a buffer: whole shards, each in its own order
        shard = next(s for s in stored if s[0] == plain[at])
        assert plain[at : at + len(shard)] == shard
        at += len(shard)


def test_draws_are_the_items_own_or_the_pairs(tmp_path: Path) -> None:
    def draw(image: Pixels, rng: np.random.Generator) -> Pixels:
        return np.full_like(image, rng.integers(256))

    pack(tmp_path, ROWS, 3)

    def values(epoch: int, alike: bool, buffer: int = 1) -> dict[int, tuple[int, int]]:
        stream = ShardSet(tmp_path, SPEC, transform=draw, epoch=epoch, alike=alike, buffer=buffer)
        return {item.at: (item.pair, int(item.image[0, 0, 0])) for item in stream}

    own, alike = values(0, False), values(0, True)
    assert own == values(0, False, buffer=30)  # whatever the order
    assert own != values(1, False)
    assert len(set(alike.values())) == 21  # one draw for each of the pairs
    assert len(set(own.values())) > 50


def test_rows_without_a_crop_and_unwanted_rows_are_left_out(tmp_path: Path) -> None:
    rows = [*ROWS, face("p0", 90, 0, reason="no face", size=None, margin=None, template="")]
    stream = ShardSet(pack(tmp_path, rows, 2), SPEC)
    assert stream.count == len(rows)
    assert Counter(seen(stream)) == ALL
    reals = seen(ShardSet(tmp_path, SPEC, where=lambda row: row.label == 0))
    assert sorted(reals) == sorted(code(r.item_id) for r in ROWS if r.label == 0)


def spoil_start(data: bytes) -> bytes:
    return b"\x01" * 600 + data[600:]


def spoil_middle(data: bytes) -> bytes:
    return data[:6000] + b"\x00" * 40 + data[6040:]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def cut_between_members(data: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return data[: tar.getmembers()[4].offset]


@pytest.mark.parametrize(
    "damage", [spoil_start, spoil_middle, cut, cut_between_members, lambda d: b"", lambda d: d + b"x"]
)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_an_error_that_names_it(tmp_path: Path, damage: object, workers: int) -> None:
    path = pack(tmp_path, ROWS, 2) / "000001.tar"
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnmaskError) as caught:
        seen(ShardSet(tmp_path, SPEC), workers=workers)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_shard_must_not_hold_is_named(tmp_path: Path) -> None:
    def shard(*members: tuple[str, bytes]) -> None:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        sha = hashlib.sha256(data.getvalue()).hexdigest()
        (tmp_path / "0.tar").write_bytes(data.getvalue())
        index = {"format": "unmask.shards/1", "shards": [{"name": "0.tar", "count": 1, "sha256": sha}]}
        (tmp_path / "index.json").write_text(json.dumps(index))

    row = ROWS[0].model_dump_json().encode()
    png = cv2.imencode(".png", picture("x"))[1].tobytes()
    for members, why in (
        ([("a.json", row)], "'a' has a row but no crop"),
        ([("a.png", png)], "a.json is no row of faces"),
        ([("a.png", png), ("b.json", row)], "a.json is no row"),
        ([("a.png", png), ("a.json", b'{"label": 3}')], "a.json is no row of faces"),
        ([("a.png", png), ("a.exe", b"")], "'a.exe' is neither"),
        ([("a.png", b"not a picture"), ("a.json", row)], "0.tar, a, the crop of 'd/p0/000', is damaged or no image"),
        ([("a.png", png), ("a.json", row), ("b.png", png), ("b.json", row)], "holds 2 crops, the index says 1"),
    ):
        shard(*members)
        with pytest.raises(UnmaskError, match=why):
            list(ShardSet(tmp_path, SPEC))
    shard(("a.png", png), ("a.json", row))
    assert len(list(ShardSet(tmp_path, SPEC))) == 1


def test_an_index_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="cannot be read"):
        ShardSet(tmp_path, SPEC)
    good = {"name": "0.tar", "count": 1, "sha256": "0" * 64}
    for listed in ([good | {"name": "../0.tar"}], [good | {"name": "/etc/0.tar"}], [good | {"sha256": "x"}], 3):
        (tmp_path / "index.json").write_text(json.dumps({"format": "unmask.shards/1", "shards": listed}))
        with pytest.raises(UnmaskError, match=r"is no unmask\.shards/1 index"):
            ShardSet(tmp_path, SPEC)
    with pytest.raises(UnmaskError, match="2 shards cannot be shared by 3 processes"):
        ShardSet(pack(tmp_path, ROWS, 2), SPEC, world=3)
    with pytest.raises(UnmaskError, match=r"margin 1.25, but the detector wants gend5, 2.0"):
        list(ShardSet(tmp_path, InputSpec(size=32, margin=2.0)))


class Flaky(http.server.SimpleHTTPRequestHandler):
    """Breaks off in the middle of the first `breaks` tars that are asked for."""

    breaks = 0

    def copyfile(self, source: io.BufferedReader, outputfile: io.BufferedIOBase) -> None:  # type: ignore[override]
        data = source.read()
        if self.path.endswith(".tar") and type(self).breaks > 0:
            type(self).breaks -= 1
            data = data[: len(data) // 2]
        outputfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(streaming, "PAUSE", 0.0)
    pack(tmp_path, ROWS, 3)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Flaky, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.json"
    server.shutdown()
    server.server_close()


def test_shards_behind_http_are_the_same(served: str, tmp_path: Path) -> None:
    Flaky.breaks = 0
    assert seen(ShardSet(served, SPEC, seed=4)) == seen(ShardSet(tmp_path, SPEC, seed=4))
    with pytest.raises(UnmaskError, match="404"):
        ShardSet(served + "x", SPEC)


def test_a_broken_connection_goes_on_where_it_was_but_not_for_ever(served: str, tmp_path: Path) -> None:
    Flaky.breaks = 2
    assert seen(ShardSet(served, SPEC)) == seen(ShardSet(tmp_path, SPEC))
    assert Flaky.breaks == 0
    Flaky.breaks = 3
    with pytest.raises(UnmaskError, match=r"\.tar is damaged or cannot be read"):
        seen(ShardSet(served, SPEC))

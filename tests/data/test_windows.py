"""Windows of frames in a row: extracted, said in the manifest, loaded, changed alike, scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow")

from tests.data.crops import SIZE, face, lay, picture
from tests.scanning.make import clip
from unmask.bench.scoring import score_rows
from unmask.data.crop_files import Options
from unmask.data.footage import footage
from unmask.data.loader import FaceSet
from unmask.data.manifest import FaceRow, Manifest, Row, Writer
from unmask.data.media_faces import LOST_IN_WINDOW, again, extract
from unmask.data.transforms import build
from unmask.tasks.loading import batches
from unmask.tasks.recipe import DetectionRecipe, Recipe
from unmask.tasks.selection import masks, table_of
from unmask.types import InputSpec, Pixels, UnmaskError

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
TWO = Options(frames=2, window=3, size=64)


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    """(192, 192, 3): the head of Eileen Collins, NASA, public domain."""
    head = Image.open(SAMPLES / "portrait-real.jpg").convert("RGB").crop((80, 0, 400, 320))
    return np.asarray(head.resize((192, 192)))


def row(relpath: str) -> Row:
    return Row(dataset="d", item_id=f"d/{relpath}", relpath=relpath, group_id="g", label=1)


def test_frames_in_a_row_are_cut_by_one_matrix_and_say_where_they_belong(portrait: Pixels, tmp_path: Path) -> None:
    clip([np.roll(portrait, i, axis=1) for i in range(12)], tmp_path / "a.mp4")
    rows = extract(row("a.mp4"), tmp_path, tmp_path / "out", TWO)
    # Two windows of 3 among 12 frames: parts of 6, middles 3 and 9, less 1.5.
    assert [r.frame for r in rows] == [1, 2, 3, 7, 8, 9]
    assert [(r.window, r.window_index) for r in rows] == [(w, i) for w in range(2) for i in range(3)]
    assert {r.track for r in rows} == {0}
    for window in (rows[:3], rows[3:]):
        assert len({r.matrix for r in window}) == 1
        assert len({r.points for r in window}) == 3  # each has its own, in pixels of the frame
    assert rows[0].matrix != rows[3].matrix
    larger = again(rows, tmp_path, tmp_path / "larger", TWO.model_copy(update={"size": 96}))
    assert [(r.frame, r.window, r.window_index, r.size) for r in larger] == [
        (r.frame, r.window, r.window_index, 96) for r in rows
    ]
    for window in (larger[:3], larger[3:]):
        assert len({r.matrix for r in window}) == 1
    np.testing.assert_allclose(larger[0].matrix or (), 1.5 * np.array(rows[0].matrix), rtol=1e-4)


def test_where_nobody_stays_in_sight_the_rows_say_so(portrait: Pixels, tmp_path: Path) -> None:
    grey = np.full_like(portrait, 90)
    clip([grey if i == 1 else portrait for i in range(3)], tmp_path / "cut.mp4")
    rows = extract(row("cut.mp4"), tmp_path, tmp_path / "out", TWO)
    assert [r.reason for r in rows] == [LOST_IN_WINDOW] * 3
    Image.fromarray(portrait).save(tmp_path / "still.png")
    (still,) = extract(row("still.png"), tmp_path, tmp_path / "out", TWO)
    assert still.reason == "window: an image has no frames in a row"
    clip([portrait] * 2, tmp_path / "short.mp4")
    (short,) = extract(row("short.mp4"), tmp_path, tmp_path / "out", TWO)
    assert short.reason == "window: it holds no 3 frames in a row"


def test_a_folder_gives_windows_of_names_that_count_up_one_by_one(tmp_path: Path) -> None:
    for number in (1, 2, 3, 4, 10, 20, 30, 31, 32):  # of 4 in a row one window of 3; of 30 to 32 another
        Image.fromarray(picture(str(number), 8)).save(tmp_path / f"f{number:04d}.png")
    shown = footage(tmp_path.parent, tmp_path.name).shown(4, 3)
    assert [item.index for item in shown] == [0, 1, 2, 6, 7, 8]


def stored(root: Path, videos: int = 4, windows: int = 2, length: int = 4) -> Path:
    rows = []
    for video in range(videos):
        for window in range(windows):
            for i in range(length):
                about = {"window": window, "window_index": i, "track": 0, "split": "train" if video < 2 else "val"}
                rows.append(face(f"v{video}", 10 * window + i, video % 2, **about))
    rows[5] = rows[5].model_copy(update={"reason": "no face: hidden", "relpath": ""})  # of video 0, window 1
    return lay(root, rows)


def spec(frames: int) -> InputSpec:
    return InputSpec(size=SIZE, margin=1.25, frames=frames)


def test_an_item_is_a_window_and_what_does_not_fill_one_is_left_out(tmp_path: Path) -> None:
    faces = FaceSet(stored(tmp_path), spec(4))
    assert len(faces) == 7  # of eight windows one lacks a frame
    assert faces.left_out == 4
    item = faces[2]  # video 0 has one window left, so this is the second one of video 1
    assert item.image.shape == (4, SIZE, SIZE, 3)
    assert item.label == 1
    for i in range(4):
        assert np.array_equal(item.image[i], picture(f"v1/{10 + i:03d}.png"))
    halves = FaceSet(stored(tmp_path / "2"), spec(2))
    assert len(halves) == 15  # each window of 4 is two of 2; the one with a hole keeps its second half
    with pytest.raises(UnmaskError, match=r"holds no 5 frames in a row.*--window 5"):
        FaceSet(stored(tmp_path / "5"), spec(5))
    plain = lay(tmp_path / "plain", [face("v", i, 0) for i in range(4)])
    with pytest.raises(UnmaskError, match="holds no 2 frames in a row"):
        FaceSet(plain, spec(2))


def test_one_draw_changes_all_frames_of_a_window(tmp_path: Path) -> None:
    data, flip = stored(tmp_path), build([{"flip": {}}])
    plain, changed = FaceSet(data, spec(4)), FaceSet(data, spec(4), transform=flip, views=[build([{"grey": {}}])])
    flipped = set()
    for draw in range(6):
        item = changed[0, draw]
        turned = [not np.array_equal(a, b) for a, b in zip(item.image, plain[0].image, strict=True)]
        assert len(set(turned)) == 1
        flipped.add(turned[0])
        assert item.views.shape == (4, 1, SIZE, SIZE, 3)
    assert flipped == {True, False}
    (batch,) = batches(changed, [[(0, 1), (1, 1)]])
    assert batch.image.shape == (2, 4, 3, SIZE, SIZE)
    with_points = FaceSet(data, spec(4), points=True)
    (batch,) = batches(with_points, [[0, 1]])
    assert batch.points is not None
    assert batch.points.shape == (2, 4, 5, 2)
    assert batch.points.isnan().all()  # these rows say nothing of points


def test_a_recipe_counts_windows_where_its_method_looks_at_them(tmp_path: Path) -> None:
    table = table_of(stored(tmp_path))
    recipe = Recipe.model_validate(
        {"name": "r", "method": "m", "length": "1 step", "optimizer": {"lr": 1}, "data": {"frames": 1}}
    )
    assert isinstance(recipe, DetectionRecipe)
    assert [int(m.sum()) for m in masks(table, recipe)] == [2, 2]
    assert [int(m.sum()) for m in masks(table, recipe, frames=4)] == [3 + 4, 8]  # the middle one of two: the second


def test_a_window_is_scored_once_and_rows_outside_of_any_have_no_score(tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def scorer(crops, rows):  # type: ignore[no-untyped-def]
        seen.extend(c.shape for c in crops)
        return np.array([float(c.mean()) for c in crops]), None

    table = score_rows(scorer, stored(tmp_path), frames=4)
    assert seen == [(4, SIZE, SIZE, 3)] * 7
    assert table["state"].to_pylist().count("scored") == 7
    assert len(table) == 7 + 3 + 1


def test_an_older_manifest_joins_a_newer_one(tmp_path: Path) -> None:
    old = Manifest(lay(tmp_path, [face("v", 0, 0)]))
    table = old.table([n for n in old.arrow_schema.names if not n.startswith("window")])
    with Writer(tmp_path / "new.parquet", {"d": tmp_path}, FaceRow) as out:
        out.add_table(table)
    (found,) = Manifest(tmp_path / "new.parquet")
    assert isinstance(found, FaceRow)
    assert found.window is None

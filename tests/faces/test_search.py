"""Faces of files that lie on their side or stand on their head, and small ones in large images."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage import data

from unmask.faces import FaceDetector, FaceSearch, search
from unmask.faces.search import back, merged, smallest, tiles
from unmask.types import Face, Frame, Pixels

PORTRAIT = np.asarray(data.astronaut())


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector.load()


class Counted(FaceDetector):
    """The same detector, which counts how often it is asked."""

    asked = 0

    def find(self, image: Pixels, frame: int = 0, t: float = 0.0, *, thorough: bool = False) -> list[Face]:
        self.asked += 1
        return super().find(image, frame, t, thorough=thorough)


@pytest.fixture
def counted() -> Counted:
    found = Counted.load()
    assert isinstance(found, Counted)
    return found


def frame(image: Pixels, i: int = 0) -> Frame:
    return Frame(i, i / 10, np.ascontiguousarray(image))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_portrait(detector: FaceDetector, quarters: int) -> None:
    picture = np.concatenate([PORTRAIT, PORTRAIT[:, :100] // 4], axis=1)  # not square: width and height differ
    (upright,) = FaceSearch(detector, still=True).find(frame(picture))
    assert upright.turned == 0
    image = np.rot90(picture, -quarters)
    (face,) = FaceSearch(detector, still=True).find(frame(image))
    assert face.turned == 90 * quarters
    x0, y0, x1, y1 = face.box
    height, width = image.shape[:2]
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    # Turned back once more, it is the upright face.
    again = back(face, np.rot90(image, quarters), 4 - quarters)
    assert np.allclose(again.box, upright.box, atol=0.5)
    assert np.allclose(again.points, upright.points, atol=0.5)


def test_where_a_point_goes_by_hand() -> None:
    """An image 10 wide and 4 high. Turned counter-clockwise its right edge is on top: (1, 2) of it was (10 - 2, 1)."""
    image = np.zeros((4, 10, 3), np.uint8)
    face = Face(0, 0.0, (1.0, 2.0, 3.0, 3.0), np.array([[1, 2]], np.float32), 0.9)
    assert back(face, image, 1).points.tolist() == [[8, 1]]
    assert back(face, image, 2).points.tolist() == [[9, 2]]
    assert back(face, image, 3).points.tolist() == [[2, 3]]
    assert back(face, image, 1).box == (7, 1, 8, 3)


def test_a_video_on_its_side(counted: Counted) -> None:
    side = np.rot90(PORTRAIT)
    found = FaceSearch(counted, still=False)
    turns = [[face.turned for face in found.find(frame(side, i))] for i in range(6)]
    assert turns == [[270]] * 6
    assert counted.asked == 6 + 3 + 5  # upright each time, all turns once, then the one that led to a face


def test_an_upright_video_costs_nothing(counted: Counted) -> None:
    found = FaceSearch(counted, still=False)
    empty = np.full_like(PORTRAIT, 90)
    for i in range(12):
        found.find(frame(empty if 3 < i < 9 else PORTRAIT, i))
    assert counted.asked == 12


def test_a_video_without_faces_is_left_alone(counted: Counted) -> None:
    found = FaceSearch(counted, still=False)
    empty = np.full((64, 64, 3), 90, np.uint8)
    for i in range(100):
        assert found.find(frame(empty, i)) == []
    assert counted.asked == 100 + 3 * search.TRIES


def test_of_two_finds_in_one_place_the_surer_stays() -> None:
    points = np.zeros((5, 2), np.float32)
    here, there = (0.0, 0.0, 10.0, 10.0), (40.0, 0.0, 50.0, 10.0)
    upright = [Face(0, 0, here, points, 0.9), Face(0, 0, there, points, 0.95)]
    turned = [Face(0, 0, (1, 1, 11, 11), points, 0.97, turned=180)]
    assert [(face.turned, face.score) for face in merged(upright, turned)] == [(180, 0.97), (0, 0.95)]


def test_small_faces_in_large_pictures(detector: FaceDetector) -> None:
    face = PORTRAIT[:300, 80:380][::3, ::3]  # her face is 45 px wide now
    for height, width, y, x in ((4000, 4200, 1500, 3150), (1080, 9000, 400, 3190)):
        image = np.full((height, width, 3), 120, np.uint8)
        image[y : y + 100, x : x + 100] = face
        (found,) = FaceSearch(detector, still=True).find(frame(image))
        x0, y0, x1, y1 = found.box
        assert x < x0 < x1 < x + 100
        assert y < y0 < y1 < y + 100
        assert (found.points > (x, y)).all()


def test_tiles_cover_all_and_share_their_edges() -> None:
    for length in (1, 3200, 3201, 6000, 20_000):
        starts = tiles(length)
        assert starts[0] == 0
        assert starts[-1] + search.TILE >= length
        assert all(b - a == search.TILE - search.SHARED for a, b in itertools.pairwise(starts))
    assert smallest(6000, 4000, still=True) == 40
    assert smallest(1920, 1080, still=False) == 48


@pytest.mark.parametrize("shape", [(1, 300_000, 3), (300_000, 1, 3), (1, 1, 3), (2, 9000, 3)])
def test_lines_and_points_are_pictures_without_faces(detector: FaceDetector, shape: tuple[int, int, int]) -> None:
    assert FaceSearch(detector, still=True).find(frame(np.full(shape, 90, np.uint8))) == []

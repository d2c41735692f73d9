"""Tracks: one person, one track, through movement, absence, crossing and cuts."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.faces import TEMPLATES, track
from unmask.types import Face, Pixels


def face(frame: int, x: float, y: float, side: float = 100) -> Face:
    """A face whose box is centred on (x, y)."""
    points = TEMPLATES["gend5"] * side + np.array([x - side / 2, y - side / 2], np.float32)
    return Face(frame, frame / 2, (x - side / 2, y - side / 2, x + side / 2, y + side / 2), points, 0.9)


def person(seed: int, frame: int = 0) -> Pixels:
    """A pattern of their own, a little different in each frame."""
    own = np.random.default_rng(seed).uniform(30, 220, (8, 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
    noise = np.random.default_rng((seed, frame)).normal(0, 20, (64, 64, 3))
    return np.clip(own + noise, 0, 255).astype(np.uint8)


def frames_of(tracks: list[list[Face]]) -> list[list[int]]:
    return [[f.frame for f in one] for one in tracks]


def test_nothing_gives_nothing() -> None:
    assert track([]) == []
    assert track([[], []]) == []


def test_two_people_stay_apart_whatever_the_order_in_a_frame() -> None:
    left = [face(i, 200 + 20 * (i % 3), 300) for i in range(8)]
    right = [face(i, 600 - 25 * (i % 2), 310, 90) for i in range(8)]
    frames = [[a, b] if i % 2 else [b, a] for i, (a, b) in enumerate(zip(left, right, strict=True))]
    tracks = track(frames)
    assert sorted(tracks, key=lambda t: t[0].box) == [left, right]


def test_people_come_and_go() -> None:
    stays = [face(i, 200, 300) for i in range(10)]
    visits = {i: face(i, 700, 300) for i in (3, 4, 7)}
    tracks = track([[stays[i], *([visits[i]] if i in visits else [])] for i in range(10)])
    assert frames_of(tracks) == [list(range(10)), [3, 4, 7]]


def test_a_face_far_off_or_of_another_size_is_someone_else() -> None:
    assert frames_of(track([[face(0, 100, 100)], [face(1, 500, 100)]])) == [[0], [1]]
    assert frames_of(track([[face(0, 100, 100)], [face(1, 100, 100, 350)]])) == [[0], [1]]


def test_the_nearer_of_two_goes_on() -> None:
    tracks = track([[face(0, 100, 100)], [face(1, 180, 100), face(1, 110, 100)]])
    assert [[f.box[0] for f in one] for one in tracks] == [[50, 60], [130]]


def test_crossing_people_are_told_apart_by_their_looks() -> None:
    frames, crops, walkers = [], [], {1: [], 2: []}
    for i in range(11):
        pair = {1: face(i, 100 + 60 * i, 300), 2: face(i, 700 - 60 * i, 300)}
        frames.append([pair[1], pair[2]])
        crops.append([person(1, i), person(2, i)])
        for who in pair:
            walkers[who].append(pair[who])
    assert track(frames, crops) == [walkers[1], walkers[2]]


def test_a_cut_to_another_in_the_same_place_is_seen_by_the_looks() -> None:
    frames = [[face(i, 300, 300)] for i in range(9)]
    crops = [[person(1 if i < 3 or i > 5 else 2, i)] for i in range(9)]
    assert frames_of(track(frames)) == [list(range(9))]
    assert frames_of(track(frames, crops)) == [[0, 1, 2, 6, 7, 8], [3, 4, 5]]


def test_who_comes_back_elsewhere_is_known_by_the_looks() -> None:
    frames = [[face(0, 100, 100)], [], [face(2, 900, 500, 300)]]
    assert frames_of(track(frames)) == [[0], [2]]
    assert frames_of(track(frames, [[person(1, 0)], [], [person(1, 2)]])) == [[0, 2]]


@pytest.mark.parametrize("with_crops", [False, True])
def test_every_face_is_in_one_track_and_tracks_have_one_face_a_frame(with_crops: bool) -> None:
    rng = np.random.default_rng(0)
    frames = [
        [face(i, *rng.uniform(0, 500, 2), side=rng.uniform(1e-3, 300)) for _ in range(rng.integers(0, 7))]
        for i in range(30)
    ]
    crops = [[person(int(rng.integers(5)), i) for _ in faces] for i, faces in enumerate(frames)]
    tracks = track(frames, crops if with_crops else None)
    assert sorted(id(f) for one in tracks for f in one) == sorted(id(f) for faces in frames for f in faces)
    for one in frames_of(tracks):
        assert one == sorted(set(one))


def test_plain_crops_and_points_do_not_divide_by_zero() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    with np.errstate(all="raise"):
        tracks = track([[face(0, 5, 5, 0)], [face(1, 5, 5, 0)]], [[grey], [grey]])
    assert sum(map(len, tracks)) == 2

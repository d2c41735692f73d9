"""What every generator promises, whichever it is: a new file in `unmask.generators` is tested without a line here."""

from __future__ import annotations

import numpy as np
import pytest

from tests.portraits import Everyone, face
from unmask.base.generator import Forgery, Generator, Unforgeable
from unmask.data.landmarks import Landmarks
from unmask.faces import FaceDetector
from unmask.registry import FAMILIES
from unmask.types import InputSpec, Pixels, UnmaskError

pytestmark = pytest.mark.parametrize("name", FAMILIES["generator"].names())
SEEDS = 8


def create(name: str) -> Generator:
    generator: Generator = FAMILIES["generator"].create(name, FAMILIES["generator"].card(name).small)
    return generator


def forged(name: str, seed: int, person: str = "collins", size: int = 128) -> tuple[Pixels, Forgery]:
    image, points, _ = face(person, InputSpec(size=size, margin=1.3))
    return image, create(name)(image, points, np.random.default_rng(seed), Everyone(person))


def test_a_forgery_is_a_picture_and_the_mask_of_what_was_changed(name: str) -> None:
    """The final call checks form and cover; here that what it lets pass is worth learning from."""
    shares = []
    for seed in range(SEEDS):
        image, made = forged(name, seed)
        changed = (made.image != (image if made.base is None else made.base)).any(-1)
        assert (made.image != image).any()
        assert not changed[made.mask == 0].any()
        assert changed[made.mask > 0.5 * made.mask.max()].mean() > 0.3
        assert all(isinstance(k, str) and isinstance(v, str) for k, v in made.details.items())
        shares.append(float((made.mask > 0.1).mean()))
    assert min(shares) > 0.002  # something that a detector can see, ...
    assert max(shares) <= 1
    assert (made.image.astype(int) - image).std() < 80  # ... and still an image of a face


def test_it_stays_a_face(name: str) -> None:
    """A forgery that no face detector takes for a face would teach a detector nothing about faces."""
    face_detector, found = FaceDetector.load(), 0
    for seed in range(SEEDS):
        _, made = forged(name, seed, size=192)
        found += bool(face_detector.find(made.image, thorough=True))
    assert found >= SEEDS - 1


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(name: str) -> None:
    one, two, other = (forged(name, seed)[1] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.mask, two.mask)
    assert one.details == two.details
    assert (one.image != other.image).any()


def test_every_size_and_every_kind_of_landmarks(name: str) -> None:
    for size in (48, 97, 256):
        assert forged(name, 1, "hopper", size)[1].image.shape == (size, size, 3)
    image, points, _ = face("collins")
    plain = Landmarks(points.points[:68])  # no forehead

    class Plain(Everyone):
        def draw(self, *args, **options):  # type: ignore[no-untyped-def]
            drawn = super().draw(*args, **options)
            return [type(d)(d.image, Landmarks(d.face.points[:68]), d.name) for d in drawn]

    assert create(name)(image, plain, np.random.default_rng(0), Plain("collins")).mask.max() > 0


def test_it_says_what_it_cannot_forge(name: str) -> None:
    image, points, _ = face("collins")
    rng = np.random.default_rng(0)
    outside = Landmarks(points.points + np.float32(1000))
    with pytest.raises(Unforgeable, match="outside"):
        create(name)(image, outside, rng, Everyone("collins"))
    for wrong in (image.astype(np.float32), image[:100], image[:20, :20], image[..., 0]):
        with pytest.raises(UnmaskError):
            create(name)(wrong, points, rng, Everyone("collins"))
    if create(name).needs_donors:
        with pytest.raises(UnmaskError, match="other people"):
            create(name)(image, points, rng)


def test_its_card_says_where_it_comes_from(name: str) -> None:
    card = FAMILIES["generator"].card(name)
    assert card.title
    assert card.paper
    assert card.verified
    assert "Apache-2.0" in card.licence

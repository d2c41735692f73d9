"""Forgeries made while training: the right rows, called by the right names, the same for any number of workers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.portraits import PEOPLE, face, lay
from tests.train.faces import recipe
from tests.train.runs import stopped, unlike
from unmask.base.detector import Batch
from unmask.data.donors import Reals
from unmask.data.loader import FaceSet
from unmask.data.manifest import FaceRow, Manifest, Writer, write
from unmask.forging.landmarkers import landmarker
from unmask.forging.online import ForgedSet
from unmask.tasks.detection import rows
from unmask.tasks.loading import batches
from unmask.tasks.recipe import Recipe, load
from unmask.train.loop import train
from unmask.types import InputSpec, UnmaskError

SPEC = InputSpec(size=64)
SHARES = {"sbi": 0.5, "faceswap": 1 / 3}


@pytest.fixture(scope="module")
def reals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six real faces."""
    return lay(tmp_path_factory.mktemp("reals"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three real faces to train on, one of them with a stored forgery, and a real and a forged one of validation."""
    forged = {"label": 1, "method": "old"}
    return lay(
        tmp_path_factory.mktemp("mixed"),
        collins_dark=forged | {"group_id": "collins", "pair_key": "portraits/collins"},
        hopper_mirrored={"split": "val"},
        hopper_dark=forged | {"split": "val"},
    )


def forging(**changes: Any) -> Recipe:
    about: dict[str, Any] = {"forge": {"sbi": 1.0}, "batch": 4, "length": "3 epochs", "sampler": {"name": "paired"}}
    return recipe(**(about | changes))


def all_batches(path: Path, chosen: Recipe, epoch: int = 0, workers: int = 0) -> list[Batch]:
    found = rows(chosen, path, SPEC)
    return list(batches(found.train, list(found.plan(epoch).batches()), workers=workers))


def test_an_epoch_holds_the_stored_rows_and_its_share_of_twins(reals: Path) -> None:
    faces = ForgedSet(FaceSet(reals, SPEC), SHARES)
    seen = []
    for epoch in range(4):
        found = faces.epoch(7, epoch)
        forged = found.label == 1
        assert (found.at[:6] % 6).tolist() == list(range(6))
        assert [int(((found.at // 6) == g).sum()) for g in (1, 2)] == [3, 2]  # 0.5 and 1/3 of six
        assert len(set(found.at[forged] % 6)) == 5  # no crop gets two while the shares allow it
        np.testing.assert_array_equal(found.label, forged)
        np.testing.assert_array_equal(found.pair, found.at % 6)
        np.testing.assert_array_equal(found.group, faces.faces.group[found.at % 6])
        seen.append(tuple(found.at))
        np.testing.assert_array_equal(faces.epoch(7, epoch).at, found.at)
    assert len(set(seen)) > 1
    assert tuple(faces.epoch(8, 0).at) != seen[0]


def test_twins_are_forgeries_of_their_source_called_by_their_maker(reals: Path) -> None:
    faces = ForgedSet(FaceSet(reals, SPEC), SHARES)
    for g, name in enumerate(SHARES, 1):
        item, real = faces[(6 * g + 2, 7, 0, 5)], faces[(2, 7, 0, 5)]
        assert (item.label, item.pair, item.group, item.at) == (1, 2, real.group, 6 * g + 2)
        assert (real.label, real.pair, real.at) == (0, 2, 2)
        assert faces.methods[item.method] == name
        assert item.image.shape == real.image.shape
        assert (item.image != real.image).any(-1).mean() > 0.001
        np.testing.assert_array_equal(faces[(6 * g + 2, 7, 0, 5)].image, item.image)
        assert (faces[(6 * g + 2, 7, 1, 5)].image != item.image).any()  # another epoch, another forgery


def test_beside_mixtures_real_faces_are_mixtures_too(reals: Path) -> None:
    """Else straight edges would come to mean fake."""
    faces = ForgedSet(FaceSet(reals, SPEC), {"faceswap": 0.5, "clockmix": 0.5})
    found = faces.epoch(0, 0)
    twins = found.at[found.at // 6 == 2] % 6
    shown = found.at[:6] // 6
    assert sorted(twins) == sorted(np.flatnonzero(shown == 4))  # 1 + G + g, G = 2 and g = 1
    assert set(shown) == {0, 4}
    np.testing.assert_array_equal(found.label, [0] * 6 + [1] * 6)
    plain = FaceSet(reals, SPEC)
    for i in twins.tolist():
        item = faces[(6 * 4 + i, 0, 0, 1)]
        assert (item.label, item.pair, faces.methods[item.method]) == (0, i, "")
        changed = (item.image != plain[i].image).any(-1)
        assert 0.05 < changed.mean() < 0.99
        np.testing.assert_array_equal(faces[(6 * 4 + i, 0, 0, 1)].image, item.image)


def test_the_real_half_of_a_self_blend_is_what_was_blended_into(reals: Path) -> None:
    """Nothing outside the blend may tell the halves apart: a changed copy stands beside what was made of that copy."""
    faces, plain = ForgedSet(FaceSet(reals, SPEC), {"sbi": 1.0}), FaceSet(reals, SPEC)
    assert set(faces.epoch(0, 0).at[:6] // 6) == {2}  # 1 + G + g: every real face is shown as a partner
    changed = 0
    for i, seed in ((i, seed) for i in range(6) for seed in range(3)):
        fake, real = faces[(6 + i, seed)].image, faces[(12 + i, seed)].image
        outside = (fake == real).all(-1)
        assert outside.mean() > 0.1
        assert not outside.all()
        changed += bool((real[outside] != plain[i].image[outside]).any())
    assert changed > 4  # of 18: either copy is changed by a coin toss


def test_codes_of_methods_begin_with_those_of_forgeries(mixed: Path) -> None:
    found = rows(forging(forge={"sbi": 1.0}, sampler={"name": "shuffled"}), mixed, SPEC).train
    assert isinstance(found, ForgedSet)
    assert found.methods == ("old", "sbi", "")
    fakes = [found[i] for i in range(4) if found.faces.label[i]]
    assert [found.methods[f.method] for f in fakes] == ["old"]
    assert {found.methods[found[i].method] for i in range(4) if not found.faces.label[i]} == {""}


def test_batches_hold_pairs_that_share_a_draw(reals: Path, mixed: Path) -> None:
    chosen = forging(transforms=[{"flip": {}}])
    found = [b for e in range(3) for b in all_batches(mixed, chosen, e)]
    assert found
    for batch in found:
        assert batch.label.tolist() == [0, 1] * (len(batch.label) // 2)
        assert batch.pair is not None
        assert torch.equal(batch.pair[::2], batch.pair[1::2])
        for real, fake in zip(batch.image[::2], batch.image[1::2], strict=True):
            assert (real - fake).abs().mean() < (real - fake.flip(2)).abs().mean()  # both flipped, or neither
    methods = torch.cat([b.method for b in found if b.method is not None])
    assert set(methods.tolist()) == {0, 1, 2}  # stored, self-blended, real


@pytest.mark.parametrize("name", ["shuffled", "by_class", "by_method", "paired"])
def test_every_sampler_takes_them_and_workers_change_nothing(mixed: Path, name: str) -> None:
    chosen = forging(sampler={"name": name}, forge={"sbi": 1.0, "faceswap": 0.5}, transforms="degrade", batch=2)
    one, two = (all_batches(mixed, chosen, 1, workers) for workers in (0, 2))
    assert len(one) == len(two) > 1
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.image, b.image)
        for column in ("label", "pair", "method", "group", "index"):
            assert torch.equal(getattr(a, column), getattr(b, column))


def test_groups_hold_a_twin_by_each_generator(mixed: Path) -> None:
    chosen = forging(
        sampler={"name": "grouped"},
        forge={"sbi": 1.0, "fwa": 1.0},
        batch=3,
        data={"train": {"method": ["none of them"]}},
    )
    found = all_batches(mixed, chosen, 1)
    assert len(found) == 3
    for batch in found:
        assert batch.label.tolist() == [0, 1, 1]
        assert batch.method is not None
        assert batch.pair is not None
        assert batch.method.tolist()[1:] == [0, 1]
        assert len(set(batch.pair.tolist())) == 1
    with pytest.raises(UnmaskError, match="give shares of 1"):
        rows(chosen.model_copy(update={"forge": forging(forge={"sbi": 0.5}).forge}), mixed, SPEC)


def test_real_faces_alone_are_enough_to_train_on(mixed: Path, tmp_path: Path) -> None:
    """... and stopped after each step, the run comes to the same weights."""
    only = {"method": ["none of them"]}
    chosen = forging(data={"train": only}, length="4 steps", validate="2 steps", save="1 step", batch=2)
    train(chosen, mixed, tmp_path / "whole", cpu=True)
    stopped(chosen, mixed, tmp_path / "cut", times=3, workers=1)
    assert not unlike(tmp_path / "whole" / "last.safetensors", tmp_path / "cut" / "last.safetensors")


def test_what_cannot_be_is_said(reals: Path, mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="did you mean 'faceswap'"):
        rows(forging(forge={"faceswop": 0.5}), mixed, SPEC)
    with pytest.raises(UnmaskError, match="no option 'amung'; did you mean 'among'"):
        rows(forging(forge={"faceswap": {"share": 0.5, "options": {"amung": 3}}}), mixed, SPEC)
    with pytest.raises(UnmaskError, match=r"leave out sampler\.every"):
        rows(forging(sampler={"name": "paired", "every": "real"}), mixed, SPEC)
    with pytest.raises(UnmaskError, match="must leave real and forged rows"):
        rows(forging(), reals, SPEC)  # nothing to validate on
    bare = write(tmp_path / "bare.parquet", [face(p)[2].model_copy(update={"points": None}) for p in PEOPLE],
                 {"portraits": reals.parent}, type(face("hopper")[2]))  # fmt: skip
    with pytest.raises(UnmaskError, match=r"6 real crops .* no five points"):
        ForgedSet(FaceSet(bare.path, SPEC), SHARES)
    alone = ForgedSet(FaceSet(lay(tmp_path / "alone", ("collins",)), SPEC), {"faceswap": 1.0})
    with pytest.raises(UnmaskError, match=r"collins\.png gives no forgery by faceswap: there is nobody"):
        alone[(1, 0, 0, 0)]
    stored = FaceSet(mixed, SPEC)
    forged = ForgedSet(stored, {"sbi": 1.0})
    with pytest.raises(UnmaskError, match="not a real face"):
        forged[(len(stored) + int(np.flatnonzero(stored.label)[0]), 0, 0, 0)]


def test_a_recipe_writes_shares_alone_or_with_options(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "name: a\nmethod: gend\nlength: 2 epochs\noptimizer: {lr: 1e-3}\n"
        "forge: {sbi: 0.5, faceswap: {share: 0.2, options: {among: 3}}}\n"
    )
    found = load(path)
    assert {name: (one.share, one.options) for name, one in found.forge.items()} == {
        "sbi": (0.5, {}), "faceswap": (0.2, {"among": 3}),
    }  # fmt: skip
    again = tmp_path / "b.yaml"
    again.write_text(found.as_yaml())
    assert load(again) == found
    for wrong in ("forge.sbi=1.5", "forge.sbi=0", "forge.sbi={share: 1, option: 2}"):
        with pytest.raises(UnmaskError):
            load(path, [wrong])


def test_it_travels_to_processes_that_are_not_forked(mixed: Path, shared_weights: Path) -> None:
    find = landmarker(str(shared_weights / "mediapipe_face_landmark.tflite"))
    faces = ForgedSet(FaceSet(mixed, SPEC), {"upsample": 1.0, "faceswap": 1.0}, landmarker=find)
    keys = [(6 * g, 0, 0, 1) for g in (1, 2)]
    before = [faces[k].image for k in keys]
    other = pickle.loads(pickle.dumps(faces))
    for key, image in zip(keys, before, strict=True):
        np.testing.assert_array_equal(other[key].image, image)


def test_generators_with_weights_forge_while_training_and_travel(reals: Path) -> None:
    """Their networks are loaded when they are first wanted, in whichever process that is."""
    faces = ForgedSet(
        FaceSet(reals, SPEC), {"vae_roundtrip": 1.0, "inpaint": 1.0}, {"vae_roundtrip": {"weights": "dct"}}
    )
    keys = [(6 * g + 2, 7, 0, 5) for g in (1, 2)]
    before = [faces[k] for k in keys]
    assert [faces.methods[item.method] for item in before] == ["vae_roundtrip", "inpaint"]
    other = pickle.loads(pickle.dumps(faces))
    for key, item in zip(keys, before, strict=True):
        assert item.label == 1
        assert (item.image != faces[(2, 7, 0, 5)].image).any()
        np.testing.assert_array_equal(other[key].image, item.image)


def test_donors_are_of_the_training_rows(mixed: Path) -> None:
    found = rows(forging(), mixed, SPEC).train
    assert isinstance(found, ForgedSet)
    assert {found.reals.name(i) for i in range(len(found.reals))} == {
        f"portraits/{p}#0" for p in ("collins", "hopper", "collins-mirrored")
    }
    assert len(Reals(Manifest(mixed))) == 4


def test_forgeries_without_an_original_are_shown_when_asked_for_and_told_of_when_not(
    tmp_path: Path, mixed: Path
) -> None:
    table = Manifest(mixed).table(list(Manifest(mixed).arrow_schema.names))
    none = pa.array([""] * len(table), pa.string())
    alone = tmp_path / "alone.parquet"
    with Writer(alone, Manifest(mixed).roots, FaceRow) as out:
        out.add_table(table.set_column(table.column_names.index("pair_key"), "pair_key", none))
    said: list[str] = []
    train(forging(batch=2, length="1 step", validate="1 step"), alone, tmp_path / "run", cpu=True, say=said.append)
    assert said == [
        "1 of 1 forgeries have no original here, and never come up; "
        "sampler.orphans=true shows them beside other real faces"
    ]
    shown = forging(batch=2, sampler={"name": "paired", "orphans": True})
    found = rows(shown, alone, SPEC)
    assert not found.note()
    methods = {found.train.methods[int(m)] for b in all_batches(alone, shown) for m in b.method}
    assert "old" in methods
    assert "old" not in {found.train.methods[int(m)] for b in all_batches(alone, forging(batch=2)) for m in b.method}

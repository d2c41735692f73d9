"""Captions, scenes, tokenisers and changes of sentences."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.data import tokens
from unmask.data.corpus import corpus
from unmask.data.edit import join
from unmask.data.images import ImageSet
from unmask.data.manifest import Manifest, Row, SentenceRow, write
from unmask.data.scenes import COLOURS, SHAPES, Scene, draw, write_scenes
from unmask.data.wording import STOP_WORDS, build
from unmask.types import InputSpec, UnmaskError

ABOUT = {"dataset": "d", "item_id": "d/1", "relpath": "a.png", "group_id": "g"}


def test_captions_come_back_and_count_in_the_digest(tmp_path: Path) -> None:
    plain, said = Row.model_validate(ABOUT), Row.model_validate({**ABOUT, "caption": ("one", "two")})
    digests = []
    for name, row in (("a", plain), ("b", said)):
        manifest = write(tmp_path / f"{name}.parquet", [row], {"d": tmp_path})
        assert list(manifest) == [row]
        digests.append(manifest.digest)
    assert digests[0] != digests[1]
    # What it was before there were captions: sha256 of the sha256 of ["d/1","a.png",null,null,"g",""].
    assert digests[0] == "f86cf11b570e18701317f5dd87ccd9a69d20ec11a7d4f5a074f9e7e50ad63498"


def test_a_manifest_without_the_column_can_be_joined_with_one_that_has_it(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    write(tmp_path / "new.parquet", [Row.model_validate({**ABOUT, "caption": ("one",)})], {"d": tmp_path})
    write(tmp_path / "other.parquet", [Row.model_validate({**ABOUT, "item_id": "d/2"})], {"d": tmp_path})
    table = pq.read_table(tmp_path / "other.parquet")
    about = pq.read_metadata(tmp_path / "other.parquet").metadata
    old = table.drop_columns(["caption"]).replace_schema_metadata(about)
    pq.write_table(old, tmp_path / "old.parquet")
    joined = join([Manifest(tmp_path / "new.parquet"), Manifest(tmp_path / "old.parquet")], tmp_path / "both.parquet")
    assert [row.caption for row in joined] == [("one",), ()]


def test_scenes_hold_pairs_out_and_say_what_they_show(tmp_path: Path) -> None:
    manifest = write_scenes(tmp_path, 80, size=48, noise=0.5, seed=3)
    rows = list(manifest)
    train, test = ({r.identity for r in rows if r.split == s} for s in ("train", "test"))
    assert not train & test
    assert {name.split()[0] for name in train} == set(COLOURS)
    noisy = [r for r in rows if r.flags]
    assert len(noisy) == round(sum(r.split == "train" for r in rows) / 2)
    for row in rows:
        if not row.flags:
            assert all(row.extra["colour"] in c and row.extra["position"] in c for c in row.caption)
    clean = write_scenes(tmp_path / "clean", 80, size=48, noise=0, seed=3)
    assert (tmp_path / rows[0].relpath).read_bytes() == (tmp_path / "clean" / rows[0].relpath).read_bytes()
    assert not any(r.flags for r in clean)
    # A fifth of the pairs are held out: 6 of 30.
    assert sum(Scene(c, s, "top", 1).held_out for c in COLOURS for s in SHAPES) == 6


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shape_lies_where_its_caption_says(shape: str) -> None:
    image = draw(Scene("red", shape, "bottom left", 1), np.random.default_rng(0), 60).astype(int)
    red = image[..., 0] - image[..., 1] > 100
    rows, columns = np.nonzero(red)
    assert 40 < rows.mean() < 60
    assert 0 < columns.mean() < 20
    assert Scene("orange", shape, "top", 1).caption(0).startswith("an orange")


def test_whole_images_are_cut_to_their_middle_square(tmp_path: Path) -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60, 2] = 200  # OpenCV's last channel is red
    cv2.imwrite(str(tmp_path / "a.png"), image)
    video = Row.model_validate({**ABOUT, "item_id": "d/2", "relpath": "b.mp4", "media_type": "video"})
    write(tmp_path / "m.parquet", [Row.model_validate(ABOUT), video], {"d": tmp_path})
    images = ImageSet(tmp_path / "m.parquet", InputSpec(size=20, margin=0))
    assert len(images) == images.left_out == 1
    assert images[0].image.shape == (20, 20, 3)
    assert (images[0].image[..., 0] == 200).all()
    np.testing.assert_allclose(images.cut(0, images.stored(0), 20)[1], [0.25, 0, 0.75, 1])
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UnmaskError, match="damaged or no image"):
        images.stored(0)


@pytest.mark.parametrize("kind", ["words", "wordpiece", "bpe"])
def test_a_tokeniser_is_trained_saved_and_the_same_again(kind: tokens.Kind, tmp_path: Path) -> None:
    said = ["A red circle at the top", "two red squares", "a blue circle"] * 3
    made, again = (tokens.train(said, 400, kind) for _ in range(2))
    made.save(tmp_path)
    loaded = tokens.load(tmp_path)
    ids, mask = loaded(["a red circle", "two squares at the top of it"], 6)
    assert (ids == made(["a red circle", "two squares at the top of it"], 6)[0]).all()
    if kind != "wordpiece":
        assert (ids == again(["a red circle", "two squares at the top of it"], 6)[0]).all()
    assert ids.shape[1] <= 6
    assert (ids[~mask] == loaded.pad).all()
    assert loaded.text(ids[0][mask[0]]).strip() == "a red circle"


def test_bytes_read_anything_and_a_folder_without_a_tokeniser_is_refused(tmp_path: Path) -> None:
    made = tokens.load("bytes")
    ids, _ = made(["é¿ x"], 32)
    assert made.text(ids[0]) == "é¿ x"
    with pytest.raises(UnmaskError, match=r"has no tokenizer\.json"):
        tokens.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UnmaskError, match="is no tokeniser"):
        tokens.load(tmp_path)


def test_changes_of_a_sentence() -> None:
    rng = np.random.default_rng(0)
    said = "there is not a red car at the road"
    assert build([{"stop_words": {"p": 1.0}}])(said, rng) == "not red car road"
    assert "not" not in STOP_WORDS
    swapped = build([{"swap": {}}])(said, rng)
    assert swapped != said
    assert sorted(swapped.split()) == sorted(said.split())
    assert build([{"delete": {"p": 1.0}}])("a car", rng) == "a car"  # nothing left: as it was
    assert build([{"synonym": {"times": 9}}])(said, rng) == "there is not a red automobile at the street"
    assert build([{"span": {"least": 0.5}}])(said, rng) in said
    one_of = {build([{"eda": {}}])("the red car stops", np.random.default_rng(n)) for n in range(20)}
    assert len(one_of) > 3
    with pytest.raises(UnmaskError, match="did you mean 'swap'"):
        build([{"swop": {}}])


def test_the_commands_draw_scenes_and_train_a_tokeniser(tmp_path: Path) -> None:
    run = CliRunner()
    done = run.invoke(app, ["data", "scenes", "-o", str(tmp_path), "--count", "20", "--size", "24"])
    assert done.exit_code == 0, done.output
    table = tmp_path / "scenes.parquet"
    done = run.invoke(app, ["data", "tokeniser", str(table), "-o", str(tmp_path / "t"), "--kind", "words"])
    assert done.exit_code == 0, done.output
    assert tokens.load(tmp_path / "t").number("circle") > 3
    assert set(corpus(Manifest(table))) == {c for r in Manifest(table) if r.split == "train" for c in r.caption}
    sentence = SentenceRow.model_validate({**ABOUT, "relpath": "", "text": "a", "split": "test"})
    empty = write(tmp_path / "s.parquet", [sentence], {"d": tmp_path}, SentenceRow)
    with pytest.raises(UnmaskError, match="has words"):
        list(corpus(empty))

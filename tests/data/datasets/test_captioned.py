"""Layouts of captioned images and of sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unmask.data.adapter import Problem
from unmask.data.datasets import adapter
from unmask.data.index import index
from unmask.data.manifest import Manifest, Row, SentenceRow
from unmask.types import UnmaskError


def lay(root: Path, *images: str) -> None:
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"png")


def read(layout: str, root: Path) -> tuple[list[Row], list[Problem]]:
    found = list(adapter(layout).rows(root))
    return [r for r in found if isinstance(r, Row)], [p for p in found if isinstance(p, Problem)]


def test_coco_gives_each_image_its_captions(tmp_path: Path) -> None:
    lay(tmp_path, "train2017/1.jpg", "val2017/2.jpg")
    for side, number in (("train", 1), ("val", 2)):
        said = [{"image_id": number, "id": n, "caption": f" a  dog {n}"} for n in range(2)]
        held = {"images": [{"id": number, "file_name": f"{number}.jpg"}, {"id": 9, "file_name": "9.jpg"}]}
        path = tmp_path / "annotations" / f"captions_{side}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(held | {"annotations": said}))
    rows, problems = read("coco_captions", tmp_path)
    assert [(r.relpath, r.split, r.caption, r.label) for r in rows] == [
        ("train2017/1.jpg", "train", ("a dog 0", "a dog 1"), None),
        ("val2017/2.jpg", "val", ("a dog 0", "a dog 1"), None),
    ]
    assert {p.what for p in problems} == {"empty"}  # image 9 has no caption


def test_karpathys_file_gives_coco_its_usual_split(tmp_path: Path) -> None:
    lay(tmp_path, "val2014/a.jpg", "val2014/b.jpg")
    images = [
        {"filename": f"{n}.jpg", "filepath": "val2014", "split": split, "sentences": [{"raw": "a cat"}]}
        for n, split in (("a", "restval"), ("b", "test"))
    ]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images}))
    rows, _ = read("coco_captions", tmp_path)
    assert [(r.relpath, r.split) for r in rows] == [("val2014/a.jpg", "train"), ("val2014/b.jpg", "test")]


@pytest.mark.parametrize(
    ("layout", "table", "folder", "text"),
    [
        ("flickr8k", "Flickr8k.token.txt", "Flicker8k_Dataset", 'a.jpg#0\tA dog .\na.jpg#1\tA pet , "alone" .\n'),
        ("flickr8k", "captions.txt", "Images", 'image,caption\na.jpg,A dog .\na.jpg,"A pet , ""alone"" ."\n'),
        ("flickr30k", "results.csv", "flickr30k_images", "image_name| comment_number| comment\na.jpg| 0| A dog .\n"),
    ],
)
def test_flickrs_lists(layout: str, table: str, folder: str, text: str, tmp_path: Path) -> None:
    lay(tmp_path, f"{folder}/a.jpg")
    (tmp_path / table).write_text(text)
    (tmp_path / "Flickr_8k.devImages.txt").write_text("a.jpg\n")
    rows, problems = read(layout, tmp_path)
    assert problems == []
    assert rows[0].caption[0] == "A dog ."
    assert rows[0].split == ("val" if layout == "flickr8k" else None)
    if layout == "flickr8k":
        assert rows[0].caption[1] == 'A pet , "alone" .'


def test_alt_texts_as_a_table_and_as_files(tmp_path: Path) -> None:
    lay(tmp_path / "web", "0/1.jpg", "0/2.jpg")
    (tmp_path / "web" / "0" / "1.txt").write_text("a red boat\n")
    rows, problems = read("cc_tsv", tmp_path / "web")
    assert [(r.relpath, r.caption) for r in rows] == [("0/1.jpg", ("a red boat",))]
    assert [p.relpath for p in problems] == ["0/2.jpg"]
    table = tmp_path / "web" / "cc.tsv"
    table.write_text("one\t0/1.jpg\ntwo\t0/1.jpg\nthree\thttps://x.org/a.jpg\nfour\t../b.jpg\n")
    rows, problems = read("cc_tsv", table)
    assert [(r.relpath, r.caption) for r in rows] == [("0/1.jpg", ("one", "two"))]
    assert [p.what for p in problems] == ["missing", "unknown"]


def test_own_captions_as_json_lines_and_as_csv(tmp_path: Path) -> None:
    lay(tmp_path, "a.png")
    (tmp_path / "mine.jsonl").write_text(
        '{"image": "a.png", "caption": ["one", "two"], "split": "test", "group": "g"}\n'
    )
    (row,), _ = read("caption_lines", tmp_path / "mine.jsonl")
    assert (row.caption, row.split, row.group_id) == (("one", "two"), "test", "mine/g")
    (tmp_path / "mine.csv").write_text("path,caption,caption.2\na.png,one,two\n")
    (row,), _ = read("csv", tmp_path / "mine.csv")
    assert (row.caption, row.label) == (("one", "two"), None)
    (tmp_path / "mine.jsonl").write_text('{"image": "a.png", "captions": "one"}\n')
    with pytest.raises(UnmaskError, match=r"line 1, caption"):
        read("caption_lines", tmp_path / "mine.jsonl")


def test_sts_b_and_triplets_and_own_sentences_become_tables(tmp_path: Path) -> None:
    sts = tmp_path / "sts"
    sts.mkdir()
    (sts / "sts-dev.csv").write_text(
        'main\tf\t2012\t0001\t3.8\tA "quoted man\tA man\nmain\tf\t2012\t2\t0\tx\ty\tsource\n'
    )
    found = index("sts_b", sts, tmp_path / "sts.parquet")
    assert found.problems == {"missing": 2}
    rows = [r for r in Manifest(tmp_path / "sts.parquet") if isinstance(r, SentenceRow)]
    assert [(r.text, r.other, r.score, r.split) for r in rows] == [
        ('A "quoted man', "A man", pytest.approx(3.8), "val"),
        ("x", "y", 0.0, "val"),
    ]
    (tmp_path / "nli_for_simcse.csv").write_text('sent0,sent1,hard_neg\n"One, two.",It counts.,It rests.\n')
    (triplet,), _ = read("nli", tmp_path / "nli_for_simcse.csv")
    assert isinstance(triplet, SentenceRow)
    assert (triplet.text, triplet.other, triplet.negative) == ("One, two.", "It counts.", "It rests.")
    for name, text in (
        ("s.txt", "one\n\ntwo\n"),
        ("s.csv", "text,score\none,1\ntwo,\n"),
        ("s.jsonl", '{"text": "one"}\n{"text": "two"}\n'),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
        rows, problems = read("sentences", tmp_path / name)  # type: ignore[assignment]
        assert [r.text for r in rows] == ["one", "two"]
        assert problems == []
    (tmp_path / "s.csv").write_text("text,sore\none,1\n")
    with pytest.raises(UnmaskError, match="line 2, sore"):
        read("sentences", tmp_path / "s.csv")

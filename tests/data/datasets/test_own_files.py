"""Folders, tables and rearranged JSON that people bring themselves."""

from pathlib import Path

import pytest

from tests.data.datasets import lay
from unmask.data import checks
from unmask.data.datasets import adapter, csv_, names
from unmask.data.datasets.folder import LABELS
from unmask.data.index import index
from unmask.types import UnmaskError

DOCUMENTED = Path(__file__).parents[3] / "docs" / "own-data.md"


def test_a_folder_tells_label_method_set_and_group(tmp_path: Path) -> None:
    root = lay.out(
        tmp_path / "mine",
        "real/0001.png",
        "real/anna/a b.JPG",
        "real/youtube/video 7/0003.png",
        "fake/0002.png",
        "fake/swap/0001.webp",
        "Fake/swap/video 7/0001.png",
        "fake/sora/0001.mp4",
        "progan/cat/0_real/1.png",
        "progan/cat/1_fake/1.png",
    )
    rows, problems = lay.read("folder", root, "mine")
    assert problems == []
    assert {p: (r.label, r.method, r.group_id.removeprefix("mine/")) for p, r in rows.items()} == {
        "real/0001.png": (0, "", "0001"),
        "real/anna/a b.JPG": (0, "", "anna"),
        "real/youtube/video 7/0003.png": (0, "", "video 7"),
        "fake/0002.png": (1, "", "0002"),
        "fake/swap/0001.webp": (1, "swap", "0001"),
        "Fake/swap/video 7/0001.png": (1, "swap", "video 7"),
        "fake/sora/0001.mp4": (1, "sora", "0001"),
        "progan/cat/0_real/1.png": (0, "", "progan/cat/1"),
        "progan/cat/1_fake/1.png": (1, "progan", "progan/cat/1"),
    }
    assert {r.media_type for p, r in rows.items() if p.endswith("mp4")} == {"video"}
    assert {r.split for r in rows.values()} == {None}
    assert rows["real/youtube/video 7/0003.png"].extra == {"source": "youtube"}


@pytest.mark.parametrize("order", ["{split}/{label}/swap/{name}", "{label}/swap/{split}/{name}"])
def test_split_folders_stand_above_or_below_the_label(order: str, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for split in ("Train", "validation", "dev", "TEST"):
        lay.out(root, *(order.format(split=split, label=label, name="0.png") for label in ("real", "fake")))
    found = index("folder", root, tmp_path / "m.parquet")
    rows = list(found.manifest)
    assert {r.relpath.lower().find("test") >= 0 for r in rows if r.split == "test"} == {True}
    assert sorted((r.split, r.label) for r in rows) == sorted(
        (s, label) for s in ("train", "val", "val", "test") for label in (0, 1)
    )
    assert {(r.dataset, r.split_source) for r in rows} == {("mine", "folder")}


def test_a_counter_is_no_leak_and_a_person_in_two_splits_is(tmp_path: Path) -> None:
    root = lay.out(tmp_path / "s", *(f"{s}/{c}/0001.png" for s in ("train", "test") for c in ("real", "fake")))
    assert checks.straddlers(index("folder", root, tmp_path / "m.parquet").manifest) == []
    lay.out(root, "train/real/anna/1.png", "test/fake/swap/anna/2.png")
    torn = checks.straddlers(index("folder", root, tmp_path / "m.parquet").manifest)
    assert [(t.group_id, t.splits) for t in torn] == [("s/anna", ("test", "train"))]


def test_a_folder_that_does_not_say_what_it_holds_is_reported(tmp_path: Path) -> None:
    root = lay.out(
        tmp_path / "mine",
        "real/1.png",
        "stray.png",
        "reel/1.png",
        "0/1.png",
        "1/1.png",
        "really fake/1.png",
        "fake/real/1.png",
        "train/test/real/1.png",
        "fake/swap/masks/1.png",
        "real/Thumbs.db",
        "real/.hidden.png",
    )
    lay.out(root, "fake/empty.png", content=b"")
    rows, problems = lay.read("folder", root, "mine")
    assert set(rows) == {"real/1.png"}
    assert lay.of(problems, "unknown") == {
        *("stray.png", "reel/1.png", "0/1.png", "1/1.png", "really fake/1.png", "real/Thumbs.db"),
        "fake/swap/masks/1.png",
    }
    assert lay.of(problems, "inconsistent") == {"fake/real/1.png", "train/test/real/1.png"}
    assert lay.of(problems, "empty") == {"fake/empty.png"}


@pytest.mark.parametrize("name", LABELS)
def test_every_documented_label_is_one(name: str, tmp_path: Path) -> None:
    assert f"`{name}`" in DOCUMENTED.read_text()
    rows, _ = lay.read("folder", lay.out(tmp_path / "mine", f"{name}/1.png"), "mine")
    assert [r.label for r in rows.values()] == [LABELS[name]]


def table(tmp_path: Path, text: str, name: str = "mine.csv") -> Path:
    lay.out(tmp_path, "a.png", "b,c.png", "clip.mp4", "frames/0.png", "frames/1.png", "m.png", "x.txt")
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_the_layout_is_called_csv_and_is_not_pythons(tmp_path: Path) -> None:
    assert "csv" in names()
    assert adapter("CSV") is csv_
    assert csv_.csv.__file__ != csv_.__file__


@pytest.mark.parametrize(("name", "mark"), [("mine.csv", ","), ("mine.tsv", "\t"), ("mine.txt", ";")])
def test_a_table_gives_what_it_says_in_any_usual_form(name: str, mark: str, tmp_path: Path) -> None:
    lines = [
        ["\ufeffPath", "label", "split", "method", "original", "mask", "demographics.age", "extra.by"],
        ["a.png", "real", "train", "", "", "", "31", ""],
        ['"b,c.png"', "1", "train", "swap", "a.png", "m.png", "", "me; too" if mark != ";" else "me"],
        [".\\clip.mp4", "0", "", "", "", "", "", ""],
        [f"{tmp_path}/frames", "", "test", "", "", "", "", ""],
    ]
    rows, problems = lay.read("csv", table(tmp_path, "\n".join(mark.join(line) for line in lines), name), "mine")
    assert problems == []
    fake, real = rows["b,c.png"], rows["a.png"]
    assert (fake.label, fake.method, fake.mask_relpath, fake.split, fake.split_source) == (
        *(1, "swap", "m.png", "train"),
        name,
    )
    assert fake.pair_key == real.pair_key == real.item_id
    assert fake.group_id == real.group_id
    assert (real.label, real.demographics, fake.extra["by"][:2]) == (0, {"age": "31"}, "me")
    assert {p: (r.label, r.media_type, r.split) for p, r in rows.items() if p not in ("a.png", "b,c.png")} == {
        "clip.mp4": (0, "video", None),
        "frames": (None, "frame_seq", "test"),
    }
    assert len({r.group_id for r in rows.values()}) == 3


def test_a_group_of_a_table_joins_its_data_sets(tmp_path: Path) -> None:
    found = table(tmp_path, "path,label,dataset,group\na.png,1,one,anna\nclip.mp4,0,two,anna\n")
    rows = list(index("csv", found, tmp_path / "m.parquet").manifest)
    assert {r.dataset for r in rows} == {"one", "two"}
    assert {r.group_id for r in rows} == {"mine/anna"}


def test_a_table_leads_nowhere_else_and_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    lay.out(tmp_path, "secret.png")
    lay.out(tmp_path / "set", "none.png", content=b"")
    paths = ["a.png", "./a.png", "../secret.png", "/etc/passwd", "gone.png", "none.png", "x.txt", "C:\\a.png", '""']
    found = table(tmp_path / "set", "label,path\n" + "".join(f"fake,{p}\n" for p in paths))
    rows, problems = lay.read("csv", found, "mine")
    assert set(rows) == {"a.png"}
    assert lay.of(problems, "unknown") == {"../secret.png", "/etc/passwd", "x.txt", ""}
    assert lay.of(problems, "missing") == {"gone.png", "C:/a.png"}
    assert lay.of(problems, "inconsistent") == {"a.png"}
    assert lay.of(problems, "empty") == {"none.png"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("path,lable\na.png,1\n", "'lable' that is not known; did you mean 'label'"),
        ("path,label,zyx\na.png,1,2\n", "name it 'extra.zyx'"),
        ("path,label,extra\na.png,1,2\n", "'extra' that is not known"),
        ("path\na.png\n", "no column 'label'; there is path"),
        ("path,label,label\na.png,1,0\n", "two columns of one name"),
        ("", "no column 'path'; there is none"),
        ("path,label\na.png,real\nclip.mp4,yes\n", "line 3: the label is 'yes'; write real or 0"),
        ("path,label,split\na.png,1,dev\n", "line 2: the split is 'dev'"),
        ("path,label,family\na.png,1,swap\n", "line 2, family: .*'FS'"),
        ("path,label,mask\na.png,1,../m.png\n", "the mask '../m.png' is not below"),
        ("path,label\nb,c.png,1\n", "line 2 has not 2 cells; quote"),
        ("path,label\na.png\n", "line 2 has not 2 cells"),
        ('path,label\n"a.png,1\n', "is not a table"),
    ],
)
def test_a_table_that_cannot_be_meant_so_is_refused_with_its_line(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match=why):
        lay.read("csv", table(tmp_path, text), "mine")


def test_a_table_in_another_encoding_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"path,label\n\xff\xfe.png,1\n")
    with pytest.raises(UnmaskError, match="UTF-8"):
        lay.read("csv", tmp_path / "t.csv")
    with pytest.raises(UnmaskError, match="name the table itself"):
        lay.read("csv", tmp_path)


def test_every_column_is_documented() -> None:
    text = DOCUMENTED.read_text()
    assert [c for c in (csv_.CAPTION, *csv_.FIELDS, *(f"{m}.…" for m in csv_.MAPS)) if f"`{c}`" not in text] == []

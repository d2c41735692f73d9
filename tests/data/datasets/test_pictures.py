"""Seq-DeepFake, ImagiNet, GenImage and DFLIP-3K on trees as they are published or described."""

import json
from pathlib import Path

import pytest

from tests.data.datasets import lay
from unmask.data.manifest import derived_split
from unmask.types import UnmaskError


def sequences(root: Path) -> Path:
    parts, attributes = "facial_components/images", "facial_attributes/images"
    lay.out(
        root,
        f"{parts}/train/original/000001.jpg",
        f"{parts}/train/nose-eye-lip/000001.jpg",
        f"{parts}/train/lip-nose/000001.jpg",  # the list says nose-lip
        f"{parts}/test/hair/000001.jpg",
        f"{parts}/test/hair/stray.jpg",
        f"{parts}/test/list.txt",
        f"{attributes}/val/Bangs-Young/7.png",
        "facial_attributes/notes/x.jpg",
    )
    lists = {
        "facial_components/annotations/train.csv": [
            ("facial_components/images/train/original/000001.jpg", "[0 0 0 0 0]"),
            ("facial_components/images/train/nose-eye-lip/000001.jpg", "[1, 2, 4, 0, 0]"),
            ("facial_components/images/train/lip-nose/000001.jpg", "[1 4 0 0 0]"),
            ("../../../etc/passwd", "[0 0 0 0 0]"),
        ],
        "facial_components/annotations/val.csv": [],
        "facial_components/annotations/test.csv": [("facial_components/images/test/hair/000001.jpg", "[5 0 0 0 0]")],
        "facial_attributes/annotations/val.csv": [("facial_attributes/images/val/Bangs-Young/7.png", "1 5 0 0 0")],
    }
    for name, lines in lists.items():
        lay.out(root, name)
        (root / name).write_text("file_path,label\n" + "".join(f'{path},"{label}"\n' for path, label in lines))
    return root


def test_seq_deepfake_reads_steps_and_holds_folder_and_list_together(tmp_path: Path) -> None:
    rows, problems = lay.read("seq_deepfake", sequences(tmp_path))
    home = "facial_components/images"
    real, fake = rows[f"{home}/train/original/000001.jpg"], rows[f"{home}/train/nose-eye-lip/000001.jpg"]
    assert (real.label, fake.label, fake.extra["steps"], fake.label_native) == (0, 1, "nose-eye-lip", "[1, 2, 4, 0, 0]")
    assert fake.pair_key == real.item_id
    assert fake.group_id == real.group_id
    assert rows[f"{home}/test/hair/000001.jpg"].flags == fake.flags == ("straddles-source",)
    assert rows["facial_attributes/images/val/Bangs-Young/7.png"].extra["steps"] == "Bangs-Young"
    assert lay.of(problems, "inconsistent") == {f"{home}/train/lip-nose/000001.jpg"}
    assert lay.of(problems, "unknown") == {
        *(f"{home}/test/hair/stray.jpg", f"{home}/test/list.txt", "facial_attributes/notes"),
    }
    assert lay.of(problems, "missing") == {
        *(f"facial_attributes/annotations/{split}.csv" for split in ("train", "test")),
        f"{home}/../etc/passwd",
    }


@pytest.mark.parametrize("label", ["[1, 2]", "[1, 2, 4, 0, 6]", "fake", "[1, 2, 4, 0, 0, 0]"])
def test_seq_deepfake_labels_of_another_length_are_refused(label: str, tmp_path: Path) -> None:
    (sequences(tmp_path) / "facial_attributes/annotations/val.csv").write_text(
        f'file_path,label\na/b/c.jpg,"{label}"\n'
    )
    with pytest.raises(UnmaskError, match=r"val.csv, line 2: .* is not five steps"):
        lay.read("seq_deepfake", tmp_path)


def imaginet(root: Path) -> Path:
    lay.out(
        root,
        "photozilla/dataset/a, b/1.jpg",  # a comma in a path, and no quotes
        "sd_photos_fake/x.webp",
        "ffhq/1.png",
        "imagenet/never listed.jpg",
        "testset/faces/synthetic/gan/00000.webp",
    )
    lay.out(root, "journeydb/1.jpg", content=b"")
    lay.out(root, "annotations/")
    (root / "annotations/train_annotations.txt").write_text(
        "./photozilla/dataset/a, b/1.jpg,0,3,4,8\n./sd_photos_fake/x.webp,1,0,1,3\n"
    )
    (root / "annotations/test_annotations.txt").write_text(
        "./ffhq/1.png,0,2,4,8\n./journeydb/1.jpg,1,3,2,6\n./dalle3/gone.png,1,3,3,7\n./ffhq/1.png,0,2,4,8\n"
    )
    (root / "annotations/test_all.txt").write_text("./testset/faces/synthetic/gan/00000.webp,1,2,0,1\n")
    (root / "annotations/calibration.txt").write_text("./ffhq/1.png,0\n")
    return root


def test_imaginet_takes_everything_from_its_lists(tmp_path: Path) -> None:
    rows, problems = lay.read("imaginet", imaginet(tmp_path))
    assert {p: (r.label, r.method, r.extra["content"]) for p, r in rows.items()} == {
        "photozilla/dataset/a, b/1.jpg": (0, "", "uncategorized"),
        "sd_photos_fake/x.webp": (1, "SD v2.1", "photos"),
        "ffhq/1.png": (0, "", "faces"),
        "testset/faces/synthetic/gan/00000.webp": (1, "StyleGAN-XL", "faces"),
    }
    assert rows["ffhq/1.png"].split == "test"
    assert rows["sd_photos_fake/x.webp"].split in ("train", "val")
    assert [p for p, r in rows.items() if r.perturbations] == ["testset/faces/synthetic/gan/00000.webp"]
    assert lay.of(problems, "empty") == {"journeydb/1.jpg"}
    assert lay.of(problems, "missing") == {"dalle3/gone.png"}
    assert lay.of(problems, "inconsistent") == {"ffhq/1.png"}


@pytest.mark.parametrize(
    "line", ["a.png,1,0,1,8", "a.png,0,0,4,3", "a.png,1", "a.png,2,0,0,0", "../a.png,1,0,0,0", "/a,1,0,0,0"]
)
def test_a_damaged_imaginet_list_is_refused(line: str, tmp_path: Path) -> None:
    (imaginet(tmp_path) / "annotations/test_annotations.txt").write_text(f"./ffhq/1.png,0,2,4,8\n{line}\n")
    with pytest.raises(UnmaskError, match=r"test_annotations.txt, line 2 is not"):
        lay.read("imaginet", tmp_path)


def test_imaginet_without_its_lists_says_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="copy annotations/ there"):
        lay.read("imaginet", lay.out(tmp_path, "ffhq/1.png"))


GENIMAGE = {
    "ADM/imagenet_ai_0508_adm": "ADM",
    "BigGAN/imagenet_ai_0419_biggan": "BigGAN",
    "glide/imagenet_glide": "GLIDE",
    "Midjourney/imagenet_midjourney": "Midjourney",
    "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4": "SD v1.4",
    "stable_diffusion_v_1_5/imagenet_ai_0424_sdv5": "SD v1.5",
    "VQDM/imagenet_ai_0419_vqdm": "VQDM",
    "wukong/imagenet_ai_0424_wukong": "Wukong",
}


def test_genimage_tells_its_eight_generators_by_their_folders(tmp_path: Path) -> None:
    for folder in GENIMAGE:
        lay.out(tmp_path, f"{folder}/train/ai/0.PNG", f"{folder}/val/nature/ILSVRC2012_val_00000001.JPEG")
    lay.out(
        tmp_path,
        "imagenet_new/train/ai/0.png",
        "glide/wukong/train/ai/0.png",
        "glide/imagenet_glide/train/real/0.png",
        "glide/imagenet_glide/ai/0.png",
        "glide/imagenet_glide.zip",
    )
    rows, problems = lay.read("genimage", tmp_path)
    assert (
        {r.method for r in rows.values() if r.label}
        == {r.extra["set"] for r in rows.values()}
        == set(GENIMAGE.values())
    )
    for folder, generator in GENIMAGE.items():
        assert rows[f"{folder}/train/ai/0.PNG"].method == generator
        assert rows[f"{folder}/train/ai/0.PNG"].split in ("train", "val")
    natural = [r for r in rows.values() if r.label == 0]
    assert {(r.split, r.group_id) for r in natural} == {("test", "genimage/imagenet/ILSVRC2012_val_00000001")}
    assert lay.of(problems, "unknown") == {
        "imagenet_new/train/ai/0.png",
        "glide/wukong/train/ai/0.png",
        "glide/imagenet_glide/train/real/0.png",
        "glide/imagenet_glide/ai/0.png",
        "glide/imagenet_glide.zip",
    }


def test_one_generator_of_genimage_is_a_root_too(tmp_path: Path) -> None:
    root = lay.out(tmp_path / "imagenet_ai_0419_vqdm", "train/ai/0.png", "val/nature/0.jpeg")
    assert {r.extra["set"] for r in lay.read("genimage", root)[0].values()} == {"VQDM"}
    root.rename(tmp_path / "mine")
    assert lay.read("genimage", tmp_path / "mine")[0] == {}


def test_dflip_keeps_family_and_model_and_a_pair_together(tmp_path: Path) -> None:
    lay.out(
        tmp_path,
        *(f"fake/illustrious/T-Illunai/{n}.jpeg" for n in range(20)),
        *(f"real_pair/illustrious/T-Illunai/{n}.webp" for n in range(20)),
        "fake/illustrious/0.png",
        "fake/flux2-dev/a b/0.gif",
        "more/0.png",
    )
    rows, problems = lay.read("dflip3k", tmp_path)
    assert len(rows) == 40
    fake, real = (rows[p] for p in ("fake/illustrious/T-Illunai/7.jpeg", "real_pair/illustrious/T-Illunai/7.webp"))
    assert (fake.label, fake.method, fake.generator_version) == (1, "illustrious", "illustrious/T-Illunai")
    assert (real.label, real.method, real.group_id, real.split) == (0, "", fake.group_id, fake.split)
    assert all((r.split, r.split_source) == (derived_split(r.group_id), "derived") for r in rows.values())
    assert lay.of(problems, "unknown") == {"fake/illustrious/0.png", "fake/flux2-dev/a b/0.gif", "more"}


def test_dflip_takes_the_split_of_its_json_and_says_where_it_leaks(tmp_path: Path) -> None:
    paths = ("fake/a/b/1.png", "real_pair/a/b/1.png", "fake/a/b/2.png", "fake/a/b/3.png", "fake/a/b/gone.png")
    lay.out(tmp_path, *paths[:4], "fake/a/b/new.png")
    sides = ((1, "train"), (0, "test"), (1, "test"), (0, "test"), (1, "train"))
    records = [
        {"image_path": p, "is_fake": f, "family_id": 0, "version_id": None, "split": s}
        for p, (f, s) in zip(paths, sides, strict=True)
    ]
    (tmp_path / "dflip3k_meta.json").write_text(json.dumps(records))
    rows, problems = lay.read("dflip3k", tmp_path)
    assert rows["fake/a/b/1.png"].split in ("train", "val")
    assert (rows["real_pair/a/b/1.png"].split, rows["real_pair/a/b/1.png"].split_source) == (
        "test",
        "dflip3k_meta.json",
    )
    assert [p for p, r in rows.items() if r.flags] == ["fake/a/b/1.png", "real_pair/a/b/1.png"]
    assert lay.of(problems, "unknown") == {"fake/a/b/new.png"}
    assert lay.of(problems, "inconsistent") == {"fake/a/b/3.png"}
    assert lay.of(problems, "missing") == {"fake/a/b/gone.png"}
    (tmp_path / "dflip3k_meta.json").write_text('[{"image_path": "a", "is_fake": 2, "split": "train"}]')
    with pytest.raises(UnmaskError, match=r"dflip3k_meta.json is damaged"):
        lay.read("dflip3k", tmp_path)

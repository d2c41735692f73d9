"""The collection that the embedded models were trained on, as rows of a manifest; see `unmask.data.collection`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from unmask.data import collection
from unmask.data.adapter import DataCard, Problem
from unmask.data.manifest import Family, Row
from unmask.nouns import UnmaskError

CARD = DataCard(
    title="The research collection of the embedded detector",
    paper="parts of DFDC (2006.07397), FaceForensics++ (1901.08971), StyleGAN/FFHQ (1812.04948), LFW, UTKFace, CIPLAB",
    access="not distributed: put together from the named sets, with a MANIFEST.csv.gz",
    terms="research use, set by set; UTKFace and FFHQ non-commercial",
    layout="distributor",
    counts={
        "dfdc_faces224/real": 7473,
        "dfdc_faces224/fake": 7473,
        "140k_stylegan256/real": 500,
        "140k_stylegan256/fake": 500,
        "ciplab_photoshop/real": 100,
        "ciplab_photoshop/fake": 100,
        "ffpp_c23_videos/real": 10,
        "ffpp_c23_videos/fake": 30,
        "dfdc_videos/real": 1,
        "dfdc_videos/fake": 1,
        "lfw_deepfunneled/real": 900,
        "utkface_crop/real": 1465,
    },
    splits="DFDC by actor from pairs.csv; FaceForensics++, DFDC clips and CIPLAB are test only; the rest derived",
    traps=(
        "file size and power spectrum separate some of the sets: treat both classes alike before scoring",
        "LFW and UTKFace have no forgeries: beside another set's fakes they teach the source",
        "byte-identical doubles and training fakes that wear a validation or test face are flagged",
    ),
)
_FAMILY: dict[str, Family] = {"Face2Face": "FR", "StyleGAN": "EFS", "stylegan": "EFS"}
_UTK_SEX, _UTK_RACE = ("male", "female"), ("white", "black", "asian", "indian", "other")


def rows(root: Path) -> Iterator[Row | Problem]:
    """Every file that MANIFEST.csv.gz lists, those that training leaves out included, flagged.

    Raises: UnmaskError without a MANIFEST.csv.gz.
    """
    if not (root / "MANIFEST.csv.gz").is_file():
        raise UnmaskError(f"{root} holds no MANIFEST.csv.gz, so it is not the collection")
    for entry in collection.entries(root):
        path = root / entry.path
        if not path.is_file():
            yield Problem(entry.path, "missing", "MANIFEST.csv.gz lists it")
            continue
        yield _row(entry, path.stat().st_size)


def _row(entry: collection.Entry, size: int) -> Row:
    name = PurePosixPath(entry.path)
    clip = name.suffix == ".mp4"
    return Row(
        dataset=entry.set,
        item_id=str(name.with_suffix("")),
        relpath=entry.path,
        media_type="video" if clip else "image",
        label=1 if entry.label else 0,
        label_native="fake" if entry.label else "real",
        group_id=entry.group,
        task="synthetic" if entry.set == "140k_stylegan256" else "deepfake",
        method=entry.method if entry.label else "",
        family="" if not entry.label else _FAMILY.get(entry.method, "FE" if "photoshop" in entry.set else "FS"),
        compression="c23" if entry.set == "ffpp_c23_videos" else "",
        identity=entry.identity,
        pair_key=str(PurePosixPath(entry.real or entry.path).with_suffix("")) if entry.real or not entry.label else "",
        split=entry.split,
        split_source="pairs.csv" if entry.set == "dfdc_faces224" else "derived",
        demographics=_demographics(entry),
        sha256=entry.sha256,
        bytes=size,
        flags=entry.flags,
    )


def _demographics(entry: collection.Entry) -> dict[str, str]:
    """UTKFace: age in the file's name, race and sex in the folder's; the set's own labels, known to be noisy."""
    if entry.set != "utkface_crop":
        return {}
    parts = PurePosixPath(entry.path).name.split("_")
    try:
        age, sex, race = int(parts[0]), _UTK_SEX[int(parts[1])], _UTK_RACE[int(parts[2])]
    except (ValueError, IndexError):
        return {}
    return {"age": str(age), "sex": sex, "race": race}

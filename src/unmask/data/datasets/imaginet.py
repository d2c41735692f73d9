"""ImagiNet: photos, paintings, faces and other images, real and from eight generators, half and half."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import read_lines, train_or_val
from unmask.data.manifest import Row, Split
from unmask.errors import ManifestError

CARD = DataCard(
    title="ImagiNet",
    paper="Boychev and Cholakov, 2024, arXiv 2407.20020",
    access="Hugging Face delyanboychev/imaginet, or from the sources; put annotations/ of the repository at the root",
    terms="real images under their sources' terms; Midjourney under JourneyDB's; own synthetic parts CC BY 4.0",
    layout="distributor",
    splits="official train and test (annotations/); validation derived from train, image by image",
    unverified=("that models 1 and 2 are StyleGAN-XL and StyleGAN3, in this order",),
    traps=(
        "the lists have no header: path, realness, content, family, model; realness 1 is synthetic",
        "real and synthetic differ in size and file format: treat both alike before scoring",
        "testset/ is the test set again, spoilt, without the images' names: never count both",
        "what lies there and no list names (the rest of ImageNet) is not ImagiNet, and is not reported",
    ),
)
_LISTS: dict[str, Split] = {"train_annotations.txt": "train", "test_annotations.txt": "test", "test_all.txt": "test"}
CONTENTS = ("photos", "paintings", "faces", "uncategorized")
MODELS = (
    *("ProGAN", "StyleGAN-XL", "StyleGAN3", "SD v2.1", "SDXL v1.0", "Animagine XL", "Midjourney", "DALL-E 3"),
    "",  # real
)


def rows(root: Path) -> Iterator[Row | Problem]:
    """The images that the lists of annotations/ name; the spoilt test set where testset/ is there.

    Raises: UnmaskError without a list, and for a damaged one.
    """
    lists = [root / "annotations" / name for name in _LISTS if (root / "annotations" / name).is_file()]
    if not lists:
        raise ManifestError(
            f"{root} has no annotations/train_annotations.txt or test_annotations.txt; copy annotations/ there"
        )
    seen: set[str] = set()
    for path in lists:
        if path.name == "test_all.txt" and not (root / "testset").is_dir():
            continue
        for number, line in read_lines(path):
            row = _row(root, path, number, line)
            if row.relpath in seen:
                yield Problem(row.relpath, "inconsistent", f"{path.name}, line {number} names it again")
            else:
                seen.add(row.relpath)
                yield row


def _row(root: Path, table: Path, number: int, line: str) -> Row | Problem:
    name, *numbers = line.rsplit(",", 4)
    pure = PurePosixPath(name)
    try:
        real, content, _, model = (int(n) for n in numbers)
        made, what = MODELS[model], CONTENTS[content]
        fits = real in (0, 1) and bool(made) == bool(real) and ".." not in pure.parts and not pure.is_absolute()
    except (ValueError, IndexError):
        fits = False
    if not fits:
        raise ManifestError(f"{table}, line {number} is not 'path,realness,content,family,model'; fetch it again")
    relpath, split = pure.as_posix(), _LISTS[table.name]
    file, item = root / relpath, f"imaginet/{relpath}"
    if not file.is_file():
        return Problem(relpath, "missing", f"{table.name} names it")
    if not (size := file.stat().st_size):
        return Problem(relpath, "empty", "no bytes")
    chosen, by = train_or_val(item, table.name) if split == "train" else (split, table.name)
    return Row(
        dataset="imaginet",
        item_id=item,
        relpath=relpath,
        label=1 if made else 0,
        label_native=str(real),
        group_id=item,
        task="synthetic",
        method=made,
        family="EFS" if made else "",
        split=chosen,
        split_source=by,
        perturbations=("resized", "compressed") if pure.parts[0] == "testset" else (),
        bytes=size,
        extra={"content": what, "source": pure.parts[0]},
    )

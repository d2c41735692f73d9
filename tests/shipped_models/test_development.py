"""The rows by which a detector is chosen: no test row among them, and no group in two parts."""

from __future__ import annotations

from pathlib import Path

from tests.data.crops import face
from training.development import chooses, development
from unmask.data.manifest import FaceRow, Manifest, write


def test_no_test_row_is_read_and_no_group_is_in_two_parts(tmp_path: Path) -> None:
    about = {"size": 64, "margin": 1.3}
    rows = [
        face(f"{s}{n}", k, 0, split=s, **about) for s in ("train", "val", "test") for n in range(60) for k in (0, 1)
    ]
    edits = [face(f"edit{n}", 0, 1, split="test", method="expert_photoshop", **about) for n in range(40)]
    edits = [row.model_copy(update={"dataset": "ciplab_photoshop"}) for row in edits]
    made = [face(f"{s}{n}", 0, 0, split=s, **about) for s in ("train", "val") for n in range(5)]
    made = [
        row.model_copy(update={"dataset": "forged", "item_id": f"forged/{row.item_id}", "label": 1}) for row in made
    ]
    faces = write(tmp_path / "faces.parquet", rows + edits, {"d": tmp_path, "ciplab_photoshop": tmp_path}, FaceRow)
    forged = write(tmp_path / "forged.parquet", made, {"forged": tmp_path}, FaceRow)
    found = [row for row in development(faces, forged, tmp_path / "development.parquet") if isinstance(row, FaceRow)]
    was = {row.item_id: row.split for row in rows + edits + made}
    parts = {split: {row.group_id for row in found if row.split == split} for split in ("train", "val", "test")}
    assert not parts["train"] & parts["val"]
    assert len(parts["train"]) + len(parts["val"]) == 60
    assert 0 < len(parts["val"]) < 20
    for row in found:
        if row.dataset == "d":
            assert was[row.item_id] == {"train": "train", "val": "train", "test": "val"}[row.split]
        elif row.dataset == "forged":
            assert (was[row.item_id], row.split) == ("val", "test")
        else:
            assert row.split == "test"
            assert chooses(row.group_id)
    halves = [row for row in found if row.dataset == "ciplab_photoshop"]
    assert 8 < len(halves) < 32
    assert Manifest(tmp_path / "development.parquet").roots["forged"] == tmp_path.resolve()

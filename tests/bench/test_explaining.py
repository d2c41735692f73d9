"""`unmask eval explain`: a detector that looks at one corner, and the embedded one from a manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import unmask  # noqa: E402
from unmask.base.detector import Detector, Output  # noqa: E402
from unmask.base.predict import Differentiable  # noqa: E402
from unmask.bench.explaining import LINES, Crop, Explained, Measured, Wanted, explained_by, run, written  # noqa: E402
from unmask.bundles.bundle import explained, read_card  # noqa: E402
from unmask.data.manifest import FaceRow, write  # noqa: E402
from unmask.measure.faithfulness_tables import CENTRE, NOISE, entries  # noqa: E402
from unmask.types import InputSpec, UnmaskError  # noqa: E402

SIDE = 64


class Corner(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        maps = F.avg_pool2d(image, 8)
        shown = torch.zeros_like(maps)
        shown[:, :, 4:, 4:] = maps[:, :, 4:, 4:]
        return shown


class CornerDetector(Detector):
    """Its log-odds are the brightness of the lower right quarter."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.corner, self.scale = InputSpec(size=SIDE), Corner(), nn.Parameter(torch.tensor(20.0))

    def forward(self, image: Tensor) -> Output:
        bright = self.scale * self.corner(image).mean((1, 2, 3))[:, None]
        return Output(torch.cat([torch.zeros_like(bright), bright], 1), bright)


def corner_crop(seed: int) -> Crop:
    image = np.random.default_rng(seed).integers(130, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[SIDE // 2 :, SIDE // 2 :] = True
    return Crop(f"crop {seed}", f"group {seed}", "planted", image, mask)


def test_a_map_of_the_forged_corner_beats_the_centre_and_noise() -> None:
    model = Differentiable(CornerDetector())
    wanted = Wanted(detector="", data=Path(), out=Path(), explainers={}, steps=4)
    made = {name: unmask.create("explainer", name, {}) for name in ("grad_cam", "occlusion")}
    measured = Measured(wanted, Explained("corner", "", model, model, 0.0), made)
    lines = [measured(corner_crop(seed), randomised=seed == 0) for seed in range(6)]
    found = {entry.explainer: entry for entry in entries(lines, rounds=200)}
    assert list(found) == ["grad_cam", "occlusion", NOISE, CENTRE]
    for name in made:
        entry = found[name]
        assert entry.localises
        assert entry.means["pointing"].value == 1
        for metric in ("deletion", "infidelity"):  # a blurred corner is as bright: insertion sees nothing here
            assert entry.over_centre[metric].low > 0, (name, metric)
    assert found[NOISE].means["mass"].value == pytest.approx(0.25, abs=0.02)
    assert not found[NOISE].localises
    # A network whose weights are its design changes nothing when layers begin anew: the check sees that.
    assert lines[0].maps["grad_cam"].randomised == pytest.approx(1, abs=1e-6)


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forged")
    rng = np.random.default_rng(0)
    rows = []
    for number, method in enumerate(("sbi", "faceswap")):
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 20:40] = 255
        Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}-mask.png")
        rows.append(
            FaceRow(
                dataset="forged", item_id=f"forged/{number}", relpath=f"{number}.png", label=1, group_id=f"g{number}",
                method=method, split="test", mask_relpath=f"{number}-mask.png", media_id=f"m{number}", frame=0, t=0.0,
                size=64, margin=1.3, template="gend5",
            )
        )  # fmt: skip
    write(folder / "faces.parquet", rows, folder, FaceRow)
    return folder / "faces.parquet"


@pytest.mark.slow
def test_a_bundle_is_measured_once_and_goes_on_where_it_was_killed(forged: Path, tmp_path: Path) -> None:
    options = {"occlusion": {"grid": 2}, "grad_cam": {}}
    wanted = Wanted(detector="embedded", data=forged, out=tmp_path, explainers=options, steps=2, randomised=1)
    digest, first = run(wanted)
    assert [line.method for line in first] == ["faceswap", "sbi"]
    lines = (tmp_path / LINES).read_text().splitlines(keepends=True)
    (tmp_path / LINES).write_text("".join(lines[:-2]) + lines[-2][:30])  # killed while it wrote
    _, again = run(wanted)
    for one, two in zip(first, again, strict=True):
        assert one.item == two.item
        for name, quality in one.maps.items():
            assert quality.model_copy(update={"seconds": 0}) == two.maps[name].model_copy(update={"seconds": 0})
    with pytest.raises(UnmaskError, match="other options"):
        run(Wanted(detector="embedded", data=forged, out=tmp_path, explainers={"occlusion": {}}, steps=2))

    seen = [line.model_copy(update={"detected": True}) for line in again]
    text, fact = written(seen, digest, "unmask eval explain", tmp_path)
    assert "| occlusion |" in text
    assert (fact.explainer, fact.crops) == ("occlusion", 2)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    source = unmask.bundles.locate("embedded")
    (bundle / "card.json").write_bytes((source / "card.json").read_bytes())
    explained(bundle, fact)
    assert read_card(bundle / "card.json").explanation == fact


def test_the_network_inside_a_bundle_gives_the_scores_of_its_runtime() -> None:
    found = explained_by("embedded")
    crops = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3)).astype(np.uint8)
    np.testing.assert_allclose(found.model(crops), found.score(crops), atol=5e-2)

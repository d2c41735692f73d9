"""Is everything that a scan needs in the wheel, nothing else, and are the weights as light as promised?"""

from __future__ import annotations

import sys
import zipfile

NEEDED = {
    "unmask/py.typed",
    "unmask/faces/face_detector.onnx",
    "unmask/faces/face_detector.json",
    "unmask/faces/landmarker.onnx",
    "unmask/faces/landmarker.json",
    "unmask/bundles/embedded/card.json",
    "unmask/bundles/embedded/model.onnx",
    "unmask/app/serve/page/index.html",
    "unmask/app/serve/migrations/versions/v0001_scans.py",
    "unmask/data/datasets/splits/faceforensics.json",
    "unmask/measure/protocols/cross-dataset.yaml",
}
WEIGHTS = 12e6  # bytes, all embedded weights together


def main(path: str) -> str | None:
    with zipfile.ZipFile(path) as wheel:
        sizes = {item.filename: item.file_size for item in wheel.infolist()}
    weights = sum(size for name, size in sizes.items() if name.endswith((".onnx", ".safetensors")))
    print(f"{len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB, of which weights {weights / 1e6:.1f} MB")
    if missing := NEEDED - sizes.keys():
        return f"not in the wheel: {', '.join(sorted(missing))}"
    if strangers := sorted(name for name in sizes if not name.startswith(("unmask/", "unmask-"))):
        return f"does not belong in the wheel: {', '.join(strangers)}"
    if weights > WEIGHTS:
        return f"the weights take {weights / 1e6:.1f} MB, promised are {WEIGHTS / 1e6:.0f}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

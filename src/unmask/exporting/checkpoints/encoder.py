"""A published encoder becomes the file that a method starts from."""

from __future__ import annotations

from pathlib import Path

from unmask.bundles import hub
from unmask.errors import BundleError
from unmask.exporting.checkpoints import layouts
from unmask.nn.backbones import BACKBONES, Encoder, fill, save

FILES = ("open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin", "pytorch_model.bin")


def to_file(source: str, out: Path, backbone: str | None = None) -> str:
    """Write the encoder of a published checkpoint as safetensors.

    Args:
        source: a file or folder in OpenAI's and open_clip's, transformers' or timm's layout, or "hub:owner/name[@rev]".
        backbone: its name in `unmask.nn.backbones`; needed for OpenAI's and open_clip's layout, which does not say
            which GELU its weights were trained with.
    Returns: the name of the backbone.
    Raises: UnmaskError for a file that cannot be read, or whose tensors do not fit; they are named.
    """
    path = hub.first_of(source.removeprefix("hub:"), FILES) if source.startswith("hub:") else Path(source)
    files = [path / name for name in FILES] if path.is_dir() else [path]
    file = next((f for f in files if f.is_file()), None)
    if file is None:
        raise BundleError(f"no encoder at {path}: expected a file, or a folder with {' or '.join(FILES)}")
    tower, undecided = layouts.vision_tower(layouts.weights(layouts.read(file), file))
    likely = layouts.backbone_of(tower)
    if backbone is None and undecided and f"{likely}-gelu" in BACKBONES:
        raise BundleError(
            f"{file.name} does not say which GELU it wants: name --backbone {likely} for OpenAI's weights "
            f"or --backbone {likely}-gelu for LAION's and DataComp's"
        )
    encoder = Encoder(backbone or likely)
    fill(encoder.body, tower, file.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    save(encoder, out)
    return encoder.name

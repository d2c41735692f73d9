"""What a file says about where it comes from. Claims, never proof: nothing here makes an image real."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image

from unmask.media.confession import GENERATED, OTHER, confession
from unmask.media.sniff import Kind
from unmask.media.source import Source
from unmask.media.tiff import excessive

_EXIF = {
    "make": ExifTags.Base.Make,
    "model": ExifTags.Base.Model,
    "software": ExifTags.Base.Software,
    "date": ExifTags.Base.DateTime,
}
_EXIF_DETAIL = {"date": ExifTags.Base.DateTimeOriginal, "lens": ExifTags.Base.LensModel}
_CONTAINER = {
    "make": ("make", "com.apple.quicktime.make", "com.android.manufacturer"),
    "model": ("model", "com.apple.quicktime.model", "com.android.model"),
    "software": ("software", "com.apple.quicktime.software", "encoder"),
    "date": ("com.apple.quicktime.creationdate", "creation_time", "date"),
}
_LOCATION = ("location", "location-eng", "com.apple.quicktime.location.iso6709", "xyz")
_MIME = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "tiff": "image/tiff",
    "heic": "image/heic",
    "avif": "image/avif",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "avi": "video/x-msvideo",
}

# What Pillow's parsers of tags run into when these are damaged; the tags then say nothing.
TAG_DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)


def exif_of(image: Image.Image) -> Image.Exif:
    """The image's EXIF tags. Raises: one of TAG_DAMAGE."""
    stored = image.info.get("exif")
    if isinstance(stored, bytes) and excessive(stored):
        raise ValueError("its tags reach for more than they can hold")
    return image.getexif()


def exif_fields(image: Image.Image) -> dict[str, str]:
    """make, model, software, date, lens; that there is a position, not where; traces of image generators."""
    found: dict[str, str] = {}
    try:
        exif = exif_of(image)
        detail = exif.get_ifd(ExifTags.IFD.Exif)
        for tags, names in ((exif, _EXIF), (detail, _EXIF_DETAIL)):
            found |= {name: text for name, tag in names.items() if (text := _plain(tags.get(tag)))}
        if exif.get_ifd(ExifTags.IFD.GPSInfo):
            found["gps"] = "present (not shown)"
    except TAG_DAMAGE as error:
        found["exif"] = f"damaged: {_plain(error) or type(error).__name__}"
    xmp = image.info.get("xmp", b"")
    packet = xmp if isinstance(xmp, bytes) else str(xmp).encode("utf-8", "replace")
    return found | confession(_texts(image), packet)


def _texts(image: Image.Image) -> dict[str, str]:
    """Where generators write: texts of a PNG, comments, and of EXIF the user comment and two fields that ComfyUI uses
    for its graph."""
    texts = {str(key): value for key, value in image.info.items() if isinstance(value, str)}
    if isinstance(comment := image.info.get("comment"), bytes):
        texts["comment"] = comment.decode("utf-8", "replace")
    try:
        exif = exif_of(image)
        note = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
        for name in ("Make", "Model", "Software", "Artist", "ImageDescription"):
            if isinstance(value := exif.get(ExifTags.Base[name]), str):
                texts.setdefault("description" if name == "ImageDescription" else name, value)
    except TAG_DAMAGE:
        return texts
    if isinstance(note, bytes):
        texts["UserComment"] = _user_comment(note)
    elif isinstance(note, str):
        texts["UserComment"] = note
    return texts


def _user_comment(data: bytes) -> str:
    """EXIF 2.32, 4.6.5: eight bytes name the code. UTF-16 is found in either order, whatever the file's own is."""
    code, text = data[:8], data[8:]
    if code == b"UNICODE\0":
        return text.decode("utf-16-be" if text[:1] == b"\0" else "utf-16-le", "replace")
    return (text if code in (b"ASCII\0\0\0", bytes(8)) else data).decode("utf-8", "replace")


def container_fields(metadata: Mapping[str, str], xmp: bytes = b"") -> dict[str, str]:
    """The same names from a video's metadata and its XMP packet."""
    low = {key.lower(): value for key, value in metadata.items()}
    found = {}
    for name, keys in _CONTAINER.items():
        text = next((t for key in keys if (t := _plain(low.get(key)))), "")
        if text:
            found[name] = text
    if any(low.get(key) for key in _LOCATION):
        found["gps"] = "present (not shown)"
    return found | confession(low, xmp)


def c2pa_fields(source: Source, kind: Kind) -> dict[str, str]:
    """Content credentials: `c2pa` is present, valid, invalid, absent or not_checked, with signer and tool.

    "valid": the signature holds and the content is what was signed. It does not say that the signer can be trusted,
    nor that the content is true. "present": there is a manifest and the library gave no judgement. Nothing is fetched
    from the network.
    """
    mime = _MIME.get(kind.format)
    if mime is None:
        return {"c2pa": "not_checked", "c2pa_why": f"{kind.format} files are not supported by the C2PA library"}
    try:
        import c2pa
    except (ImportError, OSError):
        return {"c2pa": "not_checked", "c2pa_why": "needs the extra: pip install 'unmask[c2pa]'"}
    try:
        context = c2pa.Context.from_dict({"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}})
        with source.open() as file, c2pa.Reader(mime, file, context=context) as reader:
            return _judge(json.loads(reader.json()), reader.get_validation_state())
    except c2pa.C2paError.ManifestNotFound:
        return {"c2pa": "absent"}
    except c2pa.C2paError as error:
        return _failure(str(error))


def _failure(text: str) -> dict[str, str]:
    if "JumbfNotFound" in text or "ManifestNotFound" in text:
        return {"c2pa": "absent"}
    if "RemoteManifest" in text:
        return {"c2pa": "present", "c2pa_why": "the manifest lies on a server; it was not fetched"}
    # A damaged file is not a broken signature: whether there was one cannot be told.
    if text.startswith(("Io", "NotSupported", "Other: unsupported")) or "asset could not be parsed" in text:
        return {"c2pa": "not_checked", "c2pa_why": _plain(text)}
    return {"c2pa": "invalid", "c2pa_why": _plain(text)}


def _judge(store: dict[str, Any], state: str | None) -> dict[str, str]:
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    found = {"c2pa": {"Valid": "valid", "Trusted": "valid", "Invalid": "invalid"}.get(state or "", "present")}
    signature = manifest.get("signature_info", {})
    tools = [tool for tool in manifest.get("claim_generator_info", []) if isinstance(tool, dict)]
    tool = " ".join(str(tools[0].get(key, "")) for key in ("name", "version")) if tools else ""
    texts = {
        "c2pa_signer": signature.get("common_name") or signature.get("issuer"),
        "c2pa_issuer": signature.get("issuer"),
        "c2pa_tool": tool.strip() or manifest.get("claim_generator"),
        "c2pa_date": signature.get("time"),
    }
    found |= {name: text for name, value in texts.items() if (text := _plain(value))}
    found |= _actions(store, manifest)
    if state == "Invalid":
        # Every signer that is not on a list is "untrusted"; that is not what made it invalid.
        statuses = [s.get("code", "") for s in store.get("validation_status", []) if isinstance(s, dict)]
        codes = [code for code in statuses if code != "signingCredential.untrusted"] or statuses
        found["c2pa_why"] = _plain(", ".join(dict.fromkeys(codes)))
    elif state == "Valid":
        found["c2pa_trust"] = "the signature holds; who stands behind it was not checked against a list"
    return found


def _actions(store: dict[str, Any], manifest: dict[str, Any]) -> dict[str, str]:
    """What the manifest says was done, and whether it or one that it builds on names a generator."""
    found = {}
    done = [_action(action) for action in _listed_actions(manifest)]
    if done:
        found["c2pa_actions"] = _plain("; ".join(dict.fromkeys(done)), 500)
    everything = [a for one in store.get("manifests", {}).values() for a in _listed_actions(one)]
    kinds = dict.fromkeys(str(a.get("digitalSourceType", "")).rpartition("/")[2] for a in everything)
    said = [GENERATED[kind] for kind in kinds if kind in GENERATED]
    if said:
        found["declared"] = f"its content credentials declare it as {said[0]}, in whole or part"
    elif "rainedAlgorithmicMedia" in json.dumps(store):
        found["declared"] = "its content credentials declare it as made, in whole or part, by a trained algorithm"
    return found


def _listed_actions(manifest: Any) -> list[dict[str, Any]]:
    assertions = (manifest.get("assertions") if isinstance(manifest, dict) else None) or []
    datas = [
        a.get("data") for a in assertions if isinstance(a, dict) and str(a.get("label", "")).startswith("c2pa.act")
    ]
    lists = [data.get("actions") for data in datas if isinstance(data, dict)]
    return [action for some in lists if isinstance(some, list) for action in some if isinstance(action, dict)]


def _action(action: dict[str, Any]) -> str:
    """ "created by DALL-E (made by a trained algorithm)"."""
    agent = action.get("softwareAgent")
    agent = agent.get("name") if isinstance(agent, dict) else agent
    kind = str(action.get("digitalSourceType", "")).rpartition("/")[2]
    by = f" by {agent}" if agent else ""
    how = f" ({(GENERATED | OTHER).get(kind, kind)})" if kind else ""
    return f"{str(action.get('action', '')).removeprefix('c2pa.')}{by}{how}"


def _plain(value: object, most: int = 200) -> str:
    """One short printable line."""
    if value is None:
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())[:most]

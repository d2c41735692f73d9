"""What files say of themselves, and what becomes of it when they are tampered with."""

from __future__ import annotations

import builtins
import io
from typing import Any

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from unmask.media import open_media

from . import make


def test_camera_fields_and_no_place() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Pentax"
    exif[ExifTags.Base.Model] = "K-1\0\x07"
    exif[ExifTags.Base.Software] = "Darkroom 2"
    exif[ExifTags.Base.DateTime] = "2020:01:02 03:04:05"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.LensModel] = "50 mm"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2019:01:02 03:04:05"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (47.0, 22.0, 11.0)
    found = open_media(make.still("JPEG", exif=exif.tobytes())).provenance
    assert {key: value for key, value in found.items() if not key.startswith("c2pa")} == {
        "make": "Pentax",
        "model": "K-1",
        "software": "Darkroom 2",
        "date": "2019:01:02 03:04:05",
        "lens": "50 mm",
        "gps": "present (not shown)",
    }


def test_damaged_tags_say_nothing_and_break_nothing() -> None:
    media = open_media(make.still("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x12" * 40))
    assert "make" not in media.provenance
    assert len(list(media.frames(1))) == 1


def test_traces_of_picture_generators() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a portrait, Steps: 20, Sampler: Euler")
    assert "Stable Diffusion" in open_media(make.still("PNG", pnginfo=texts)).provenance["generator"]
    xmp = b"<x:xmpmeta><DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert "trained algorithm" in open_media(make.still("JPEG", xmp=xmp)).provenance["declared"]


def test_fields_of_a_clip() -> None:
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mov", options={"movflags": "use_metadata_tags"}) as box:
        box.metadata.update({"make": "Canon", "model": "R5", "location": "+47.37+008.54/"})
        stream: Any = box.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        box.mux(stream.encode(av.VideoFrame.from_ndarray(make.picture(0, 64, 64), "rgb24")))
        box.mux(stream.encode(None))
    found = open_media(out.getvalue()).provenance
    assert (found["make"], found["model"], found["gps"]) == ("Canon", "R5", "present (not shown)")
    assert "47" not in "".join(found.values())


@pytest.fixture(scope="module")
def signed() -> dict[str, bytes]:
    c2pa = pytest.importorskip("c2pa", reason="pip install 'unmask[c2pa]'")
    from .certificates import signer

    chain, key = signer()
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=key, ta_url=None)
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    actions = {"actions": [{"action": "c2pa.created", "digitalSourceType": source}]}
    out = {}
    files = {"image/jpeg": make.still("JPEG"), "image/png": make.still("PNG"), "video/mp4": make.clip(count=5)}
    for mime, data in files.items():
        manifest = {
            "claim_generator_info": [{"name": "unmask tests", "version": "1"}],
            "format": mime,
            "assertions": [{"label": "c2pa.actions", "data": actions}],
        }
        result = io.BytesIO()
        with c2pa.Builder(manifest) as builder, c2pa.Signer.from_info(info) as pen:
            builder.sign(pen, mime, io.BytesIO(data), result)
        out[mime] = result.getvalue()
    return out


@pytest.mark.parametrize("mime", ["image/jpeg", "image/png", "video/mp4"])
def test_signed_files_are_valid_with_signer_and_tool(signed: dict[str, bytes], mime: str) -> None:
    found = open_media(signed[mime]).provenance
    assert found["c2pa"] == "valid"
    assert found["c2pa_signer"] == "Test signer"
    assert found["c2pa_issuer"] == "Test org"
    assert found["c2pa_tool"] == "unmask tests 1"
    assert "trained algorithm" in found["declared"]
    assert "not checked against a list" in found["c2pa_trust"]
    assert "real" not in " ".join(found.values()).lower()


@pytest.mark.parametrize("mime", ["image/jpeg", "image/png", "video/mp4"])
def test_tampered_files_are_invalid(signed: dict[str, bytes], mime: str) -> None:
    data = signed[mime]
    end = {"image/jpeg": len(data), "image/png": data.find(b"IEND"), "video/mp4": data.find(b"moov")}[mime]
    # The MP4's samples lie before its index or, once signed, behind it.
    picture = data.find(b"mdat", end) + 60 if mime == "video/mp4" and data.find(b"mdat") > end else end - 40
    name = data.index(b"Test signer")
    for at in (picture, name) if mime != "image/png" else (picture,):  # Pillow itself refuses a chunk with a wrong sum
        changed = bytearray(data)
        changed[at] ^= 0x04
        found = open_media(bytes(changed)).provenance
        assert found["c2pa"] == "invalid", (at, found)
        assert found["c2pa_why"]


def test_unsigned_files_are_absent_not_worse() -> None:
    pytest.importorskip("c2pa", reason="pip install 'unmask[c2pa]'")
    for data in (make.still("JPEG"), make.still("PNG"), make.still("WEBP"), make.still("HEIF"), make.clip(count=3)):
        assert open_media(data).provenance["c2pa"] == "absent"
    assert open_media(make.clip(container="matroska", count=3)).provenance["c2pa"] == "not_checked"


def test_a_damaged_file_is_not_a_broken_signature() -> None:
    pytest.importorskip("c2pa", reason="pip install 'unmask[c2pa]'")
    for form in ("PNG", "GIF", "AVIF", "TIFF"):
        data = make.still(form)
        found = open_media(data[: len(data) * 9 // 10]).provenance
        assert found["c2pa"] in ("absent", "not_checked"), (form, found)


def test_without_the_extra_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "c2pa":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    found = open_media(make.still("JPEG")).provenance
    assert found["c2pa"] == "not_checked"
    assert "unmask[c2pa]" in found["c2pa_why"]

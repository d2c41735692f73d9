"""Images come out upright, in sRGB and opaque, whatever the file's own ways."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from unmask.media import open_media
from unmask.types import Frame, Pixels, Unread

from . import make


def pixels(data: bytes) -> Pixels:
    media = open_media(data)
    frames = list(media.frames(32))
    assert len(frames) == 1
    frame = frames[0]
    assert isinstance(frame, Frame), frame
    assert frame.image.dtype == np.uint8
    assert frame.image.shape == (media.height, media.width, 3)
    assert frame.image.flags["C_CONTIGUOUS"]
    return frame.image


@pytest.mark.parametrize(
    ("form", "name", "off"),
    [
        ("PNG", "png", 0),
        ("BMP", "bmp", 0),
        ("TIFF", "tiff", 0),
        ("JPEG", "jpeg", 6),
        ("WEBP", "webp", 8),
        ("HEIF", "heic", 6),
        ("AVIF", "avif", 6),
        ("GIF", "gif", 12),
    ],
)
def test_every_format(form: str, name: str, off: float) -> None:
    data = make.still(form)
    media = open_media(data)
    assert (media.kind, media.format, media.width, media.height) == ("image", name, 96, 64)
    assert (media.seconds, media.fps, media.total_frames, media.notes) == (None, None, None, ())
    assert np.abs(pixels(data).astype(int) - make.picture()).mean() <= off


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "HEIF"])
def test_exif_orientation(form: str, orientation: int) -> None:
    """The oracle is Pillow's own exif_transpose, on the pixels without compression."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = make.still(form, exif=exif.tobytes() if form != "TIFF" else exif)
    plain = Image.fromarray(make.picture())
    plain.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(plain)).astype(int)
    found = pixels(data)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 10


def test_icc_profile_is_applied() -> None:
    """The same number means another colour under another profile; the oracle is the formula of the profile.

    A profile with the primaries of sRGB in another order would do, but Pillow makes only sRGB and Lab: go through Lab.
    """
    lab = ImageCms.createProfile("LAB")
    srgb = ImageCms.createProfile("sRGB")
    there = ImageCms.profileToProfile(Image.fromarray(make.picture()), srgb, lab, outputMode="LAB")
    out = io.BytesIO()
    there.save(out, "TIFF", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    assert np.abs(pixels(out.getvalue()).astype(int) - make.picture()).mean() < 6


def test_a_damaged_profile_is_ignored() -> None:
    assert np.array_equal(pixels(make.still("PNG", icc_profile=b"not a profile")), make.picture())


def test_alpha_is_laid_over_white() -> None:
    image = np.dstack([make.picture(), np.full((64, 96), 255, np.uint8)])
    image[:32, :, 3] = 0
    image[32:40, :, 3] = 128
    found = pixels(make.still("PNG", image)).astype(int)
    assert (found[:32] == 255).all()
    assert np.abs(found[32:40] - (image[32:40, :, :3] * 128.0 + 255 * 127) / 255).max() <= 1
    assert np.array_equal(found[40:], image[40:, :, :3])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "CMYK", "YCbCr", "RGBA", "I;16", "I", "F"])
def test_every_mode(mode: str) -> None:
    grey = Image.fromarray(make.picture()).convert("L")
    if mode in ("I;16", "I"):
        image = Image.fromarray((np.asarray(grey).astype(np.uint16) * 257).astype(np.uint16))
        image = image if mode == "I;16" else image.convert("I")
    elif mode == "F":
        image = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    else:
        image = Image.fromarray(make.picture()).convert(mode)
    expected = np.asarray(image.convert("RGB") if mode not in ("I;16", "I", "F") else grey.convert("RGB")).astype(int)
    out = io.BytesIO()
    image.save(out, "PNG" if mode in ("LA", "RGBA", "P", "1") else "TIFF")
    assert np.abs(pixels(out.getvalue()).astype(int) - expected).max() <= 1


def test_transparent_palette() -> None:
    image = Image.fromarray(make.picture()).quantize(16)
    out = io.BytesIO()
    corner = image.getpixel((0, 0))
    image.save(out, "PNG", transparency=corner)
    assert (pixels(out.getvalue())[0, 0] == 255).all()


def test_a_cut_jpeg_is_read_up_to_the_cut() -> None:
    data = make.still("JPEG", make.picture(0, 320, 240), quality=90)
    media = open_media(data[: len(data) * 6 // 10])
    assert "cut off" in media.notes[0]
    frame = next(iter(media.frames(1)))
    assert isinstance(frame, Frame)
    expected = make.picture(0, 320, 240).astype(int)
    assert np.abs(frame.image[:80] - expected[:80]).mean() < 5
    assert np.abs(frame.image[-40:] - expected[-40:]).mean() > 20


def test_a_cut_png_is_unread_not_made_up() -> None:
    data = make.still("PNG")
    frames = list(open_media(data[: len(data) // 2]).frames(1))
    assert len(frames) == 1
    assert isinstance(frames[0], Unread)
    assert "png" in frames[0].why


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animations_are_clips(form: str) -> None:
    media = open_media(make.animation(form, 8, [100, 100, 100, 100, 400, 400, 400, 400]))
    assert media.kind == "video"
    assert media.total_frames == 8
    assert media.seconds == pytest.approx(2.0, abs=0.01)
    frames = list(media.frames(4))  # targets 0.25, 0.75, 1.25, 1.75 s; starts 0, .1, .2, .3, .4, .8, 1.2, 1.6
    assert [frame.index for frame in frames] == [2, 4, 6, 7]
    for frame in frames:
        assert isinstance(frame, Frame)
        assert np.abs(frame.image.astype(int) - make.picture(frame.index)).mean() < 12


def test_a_tiff_of_several_pages_says_so() -> None:
    out = io.BytesIO()
    pages = [Image.fromarray(make.picture(i)) for i in range(3)]
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:])
    media = open_media(out.getvalue())
    assert media.notes == ("holds 3 images; only the first is looked at",)

"""Images, still and moving, through Pillow: upright, in sRGB, over white."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from unmask.media import jpeg, sampling, tiff
from unmask.media.limits import Clock, Limits, MediaError, over
from unmask.media.provenance import TAG_DAMAGE, exif_fields, exif_of
from unmask.media.sniff import HEAD, Kind, boxes
from unmask.media.source import Source
from unmask.types import Frame, Pixels, Unread

_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height
_TURNED_BY_PLUGIN = {"heic", "tiff"}  # Pillow hands these out upright
_MOVING = {"gif", "png", "webp", "avif"}


@dataclass(frozen=True)
class Picture:
    """An opened image. `times` is (0,) for a still; `seconds` is 0 for a still."""

    source: Source
    kind: Kind
    limits: Limits
    width: int
    height: int
    times: tuple[float, ...]
    seconds: float
    notes: tuple[str, ...]
    exif: dict[str, str]
    white: int = 65535  # of deep grey
    page: int = 0  # of a file with several stills, the one that is looked at

    @property
    def moves(self) -> bool:
        return len(self.times) > 1

    def frames(self, count: int) -> Iterator[Frame | Unread]:
        return self._on_the_clock(sampling.spread(self.times, self.seconds, count) if self.moves else [0])

    def windows(self, count: int, length: int) -> Iterator[Frame | Unread]:
        """As `Clip.windows`; of a still there are none."""
        starts = sampling.windows(len(self.times), count, length)
        return self._on_the_clock([first + i for first in starts for i in range(length)])

    def _on_the_clock(self, wanted: list[int]) -> Iterator[Frame | Unread]:
        clock = Clock(self.limits.decode_seconds)
        return clock.timed(self._frames(wanted, clock)) if wanted else iter(())

    def _frames(self, wanted: list[int], clock: Clock) -> Iterator[Frame | Unread]:
        done = 0
        why = ""
        try:
            with opened(self.source, self.kind, self.limits) as image:
                for index in range(wanted[-1] + 1):
                    if clock.spent > clock.allowed:
                        raise MediaError(over("decode_seconds", clock.spent, clock.allowed))
                    if index or self.page:
                        image.seek(index + self.page)
                    if index == wanted[done]:
                        pixels = self._read(image)
                        yield Frame(index, self.times[index], pixels)
                        done += 1
        except MediaError as error:
            why = str(error)
        for index in wanted[done:]:
            yield Unread(index, self.times[index], why)

    def _read(self, image: Image.Image) -> Pixels:
        try:
            image.load()
        except OSError as error:
            if self.kind.format != "jpeg" or "truncated" not in str(error):
                raise
            with self.source.open() as file:
                return _rest_is_grey(file, self.kind)
        return to_rgb(image, self.white)


def _rest_is_grey(file: BinaryIO, kind: Kind) -> Pixels:
    """A cut JPEG up to the cut: given an end marker, libjpeg fills in what is missing."""
    with Image.open(io.BytesIO(file.read() + b"\xff\xd9" * 4), formats=[kind.name]) as image:
        image.load()
        return to_rgb(image)


@contextmanager
def opened(source: Source, kind: Kind, limits: Limits) -> Iterator[Image.Image]:
    """The image's header, with its claimed size checked; whatever is raised inside comes out as MediaError."""
    if kind.format == "heic":
        import pillow_heif  # its library takes a while to load, and most scans see no HEIC

        pillow_heif.register_heif_opener()
    with source.open() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged tags: they are as untrusted as the rest
        try:
            _check_header(file, kind, limits)
            with Image.open(file, formats=[kind.name]) as image:
                limits.check("pixels", image.width * image.height)
                yield image
        except MediaError:
            raise
        except Image.DecompressionBombError as error:
            raise MediaError(_bomb(str(error), limits)) from error
        except UnidentifiedImageError as error:
            raise MediaError(f"looks like {kind.format}, but its header is damaged") from error
        # Pillow's plug-ins raise whatever their parsing code runs into on damaged input (struct.error, SyntaxError,
        # KeyError, ...): at this boundary all of it means "not readable".
        except MemoryError as error:
            raise MediaError("it needs more memory than there may be for one file") from error
        except Exception as error:
            text = " ".join(str(error).split())[:200] or type(error).__name__
            raise MediaError(f"looks like {kind.format}, but cannot be read: {text}") from error


def _bomb(text: str, limits: Limits) -> str:
    """Pillow's own refusal of large images, in the words of ours where ours is the narrower one."""
    number = re.search(r"\d+", text)
    if number and int(number[0]) > limits.pixels:
        return over("pixels", int(number[0]), limits.pixels)
    return f"{text}; Pillow's own limit: raise PIL.Image.MAX_IMAGE_PIXELS to read it"


def _check_header(file: BinaryIO, kind: Kind, limits: Limits) -> None:
    """What Pillow, or the library behind it, would pay for before anybody can look."""
    head = file.read(HEAD)
    # Animated WebP: its library allocates the canvas when the header is opened.
    if kind.format == "webp" and head[12:16] == b"VP8X" and len(head) >= 30:
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        limits.check("pixels", width * height)
    if kind.format == "jpeg":
        jpeg.check(file)
    if kind.format == "tiff":
        tiff.pages(file)
    file.seek(0)


def open_picture(source: Source, kind: Kind, limits: Limits) -> Picture:
    """Raises MediaError: not readable, or over a limit."""
    clock = Clock(limits.decode_seconds)
    notes: list[str] = []
    page = 0
    if kind.format == "tiff":
        with source.open() as file:
            page, note = tiff.chosen(file)
        notes += [note] if note else []
    with clock, opened(source, kind, limits) as image:
        if page:
            image.seek(page)
            limits.check("pixels", image.width * image.height)
        width, height = image.size
        if _orientation(image) in _TURNED and kind.format not in _TURNED_BY_PLUGIN:
            width, height = height, width
        exif = exif_fields(image)
        white = _white(image)
        if white < 65535:
            share = 100 * white / 65535
            notes.append(f"16-bit grey of which {share:.2g} % is used: read as {white.bit_length()} bits")
        moves = kind.format in _MOVING and bool(getattr(image, "is_animated", False))
        times, seconds = _durations(image, limits, clock, notes) if moves else ((0.0,), 0.0)
        if kind.format == "heic" and getattr(image, "n_frames", 1) > 1 and not moves:
            notes.append(f"holds {image.n_frames} images; only the first is looked at")  # type: ignore[attr-defined]
    if kind.format == "jpeg":
        with source.open() as file:
            end = jpeg.end(file)
            if end is None:
                notes.append("the JPEG is cut off: what is missing is shown grey")
            elif note := jpeg.attached(file, end):
                notes.append(note)
    if kind.format in ("heic", "avif"):
        with source.open() as file:
            if any(name == b"mpvd" for name, _, _ in boxes(file)):
                notes.append(jpeg.MOTION)
    return Picture(source, kind, limits, width, height, times, seconds, tuple(notes), exif, white, page)


def _durations(image: Image.Image, limits: Limits, clock: Clock, notes: list[str]) -> tuple[tuple[float, ...], float]:
    """Start of every frame and the end of the last. Pillow knows a frame's duration only once it is there."""
    times: list[float] = []
    now = 0.0
    try:
        while True:
            limits.check("frames", len(times) + 1)
            clock.check()
            image.seek(len(times))
            image.load()
            times.append(now)
            milliseconds = float(image.info.get("duration") or 0)
            now += (milliseconds if milliseconds > 10 else 100.0) / 1000  # as browsers do
            limits.check("seconds", now)
    except EOFError:
        pass  # Pillow's way of saying that there is no further frame
    except (OSError, ValueError, SyntaxError) as error:
        if not times:
            raise
        notes.append(f"reading stopped after {len(times)} frames: {error}")
    return tuple(times), now


def _orientation(image: Image.Image) -> int:
    try:
        return int(exif_of(image).get(0x0112, 1))
    except TAG_DAMAGE:
        return 1


def to_rgb(image: Image.Image, white: int = 65535) -> Pixels:
    """(H, W, 3) uint8: ICC profile applied, EXIF orientation applied, alpha over white, 16 bits scaled to 8."""
    turned = _orientation(image)
    image = _eight_bits(image, white)
    alpha = None
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    out = _srgb(image)
    if alpha is not None:
        over = Image.new("RGB", out.size, (255, 255, 255))
        over.paste(out, mask=alpha)
        out = over
    method = _TRANSPOSE.get(turned)
    out = out.transpose(method) if method is not None else out
    return np.array(out, dtype=np.uint8)


_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _eight_bits(image: Image.Image, white: int) -> Image.Image:
    """Deep grey to 8 bits by its natural range: 16 bits by `white`, floats by 1, and by the maximum beyond these."""
    if not _is_deep(image):
        return image
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    top = float(values.max(initial=0.0))
    natural = 1.0 if image.mode == "F" else float(white)
    scaled = np.clip(values * (255.0 / max(natural, top)), 0, 255) + 0.5
    return Image.fromarray(scaled.astype(np.uint8), "L")


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _white(image: Image.Image) -> int:
    """The value of white in 16-bit grey. Cameras of industry and night store 8 to 13 bits in 16: read by 65535, all of
    it is black."""
    if not image.mode.startswith("I"):
        return 65535
    try:
        image.load()
        top = int(np.asarray(image).max())
    except (OSError, ValueError, SyntaxError):
        return 65535  # reading it will say what is wrong
    return 65535 if top > 8191 else (1 << max(top.bit_length(), 8)) - 1


def _srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return image.convert("RGB")
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        done = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        done = None  # a damaged profile, or one for other channels: viewers ignore it, and so do we
    return done if done is not None else image.convert("RGB")

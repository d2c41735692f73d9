"""What a file is, by its first bytes. Suffixes and MIME types are claims; they are only compared with the content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

HEAD = 4096  # bytes of the file that are looked at


@dataclass(frozen=True)
class Kind:
    """`format` is the public name. `reader`: which package of media/ opens it, and under which of its names."""

    format: str
    reader: Literal["picture", "video"]
    name: str  # Pillow's or libavformat's name
    suffixes: tuple[str, ...]


PICTURES = {
    "jpeg": Kind("jpeg", "picture", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif")),
    "png": Kind("png", "picture", "PNG", (".png", ".apng")),
    "webp": Kind("webp", "picture", "WEBP", (".webp",)),
    "bmp": Kind("bmp", "picture", "BMP", (".bmp", ".dib")),
    "tiff": Kind("tiff", "picture", "TIFF", (".tif", ".tiff")),
    "gif": Kind("gif", "picture", "GIF", (".gif",)),
    "heic": Kind("heic", "picture", "HEIF", (".heic", ".heif", ".hif")),
    "avif": Kind("avif", "picture", "AVIF", (".avif", ".avifs")),
    "jpeg2000": Kind("jpeg2000", "picture", "JPEG2000", (".jp2", ".j2k", ".j2c", ".jpf", ".jpx")),
    "netpbm": Kind("netpbm", "picture", "PPM", (".pgm", ".ppm", ".pbm", ".pnm")),
}
VIDEOS = {
    "mp4": Kind("mp4", "video", "mov", (".mp4", ".m4v", ".3gp", ".3g2", ".f4v", ".mov")),
    "mov": Kind("mov", "video", "mov", (".mov", ".qt", ".mp4")),
    "matroska": Kind("matroska", "video", "matroska", (".mkv", ".mk3d")),
    "webm": Kind("webm", "video", "matroska", (".webm",)),
    "avi": Kind("avi", "video", "avi", (".avi",)),
    "flv": Kind("flv", "video", "flv", (".flv",)),
    "asf": Kind("asf", "video", "asf", (".wmv", ".asf")),
    "ogg": Kind("ogg", "video", "ogg", (".ogv", ".ogg", ".ogx")),
    "mpegts": Kind("mpegts", "video", "mpegts", (".ts", ".mts", ".m2ts")),
    "mpeg": Kind("mpeg", "video", "mpeg", (".mpg", ".mpeg", ".vob")),
    "mxf": Kind("mxf", "video", "mxf", (".mxf",)),
    "ivf": Kind("ivf", "video", "ivf", (".ivf",)),
    "nut": Kind("nut", "video", "nut", (".nut",)),
    "yuv4mpeg": Kind("yuv4mpeg", "video", "yuv4mpegpipe", (".y4m",)),
    "h264": Kind("h264", "video", "h264", (".h264", ".264", ".avc")),
    "hevc": Kind("hevc", "video", "hevc", (".h265", ".265", ".hevc")),
    "realmedia": Kind("realmedia", "video", "rm", (".rm", ".rmvb")),
}

# (offset, magic, name). Longer and rarer ones first where one begins another.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
    (0, b"FLV\x01", "flv"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"OggS", "ogg"),
    (0, b"\0\0\x01\xba", "mpeg"),
    (0, b"\0\0\x01\xb3", "mpeg"),
    (0, b"\0\0\x01\xe0", "mpeg"),  # cut: it begins with a packet of video
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (0, b"\xff\x4f\xff\x51", "jpeg2000"),
    (0, b"\x06\x0e\x2b\x34", "mxf"),
    (0, b"DKIF", "ivf"),
    (0, b"nut/multimedia container\0", "nut"),
    (0, b"YUV4MPEG2 ", "yuv4mpeg"),
    (0, b".RMF", "realmedia"),
)

# Things that people do drop in, so that the refusal can call them by their name.
_OTHER: tuple[tuple[int, bytes, str], ...] = (
    (0, b"#EXTM3U", "an HLS playlist; give the video itself, not a list that points to it"),
    (0, b"ffconcat version", "a list of files for FFmpeg; give the videos themselves"),
    (0, b"[playlist]", "a playlist; give the video itself"),
    (0, b"%PDF", "a PDF document; take the images out of it first"),
    (0, b"PK\x03\x04", "a ZIP archive or an office document; unpack it first"),
    (0, b"\x1f\x8b", "a gzip archive; unpack it first"),
    (0, b"BZh", "a bzip2 archive; unpack it first"),
    (0, b"\xfd7zXZ\0", "an xz archive; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a Windows program"),
    (0, b"ID3", "an MP3 sound file; there is nothing to see in it"),
    (0, b"fLaC", "a FLAC sound file; there is nothing to see in it"),
    (0, b"8BPS", "a Photoshop document; export it as PNG or TIFF"),
    (0, b"\xff\x0a", "a JPEG XL image; convert it to PNG"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image; convert it to PNG"),
    (0, b"IIRO", "a camera RAW (ORF); develop it to JPEG or TIFF first"),
    (0, b"IIRS", "a camera RAW (ORF); develop it to JPEG or TIFF first"),
    (0, b"IIU\0", "a camera RAW (RW2); develop it to JPEG or TIFF first"),
    (0, b"FUJIFILMCCD-RAW", "a camera RAW (RAF); develop it to JPEG or TIFF first"),
    (0, b"FOVb", "a camera RAW (X3F); develop it to JPEG or TIFF first"),
    (0, b"\0MRM", "a camera RAW (MRW); develop it to JPEG or TIFF first"),
    (4, b"ftypcrx ", "a camera RAW (CR3); develop it to JPEG or TIFF first"),
    (0, b"SQLite format 3\0", "a database"),
    (0, b"PAR1", "a Parquet table"),
)


_NETPBM = re.compile(rb"P[1-6](\s+|\s*#[^\n]*\n\s*)\d")


def sniff(head: bytes) -> Kind | None:
    """The kind of the file that begins with `head` (its first HEAD bytes), or None if it is none that we read."""
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return PICTURES.get(name) or VIDEOS[name]
    if head[:4] == b"RIFF":
        return {b"WEBP": PICTURES["webp"], b"AVI ": VIDEOS["avi"]}.get(head[8:12])
    # "BM" alone is two letters that text may begin with: the header's size field must be one that exists.
    if head[:2] == b"BM" and head[14:18] in {bytes([n, 0, 0, 0]) for n in (12, 16, 40, 52, 56, 64, 108, 124)}:
        return PICTURES["bmp"]
    if head[:4] == b"\x1aE\xdf\xa3":
        return VIDEOS["webm" if b"webm" in head[:128] else "matroska"]
    if head[:1] == b"P" and head[1:2] in b"123456" and _NETPBM.match(head[:64]):
        return PICTURES["netpbm"]
    # MPEG-TS: a sync byte every 188 bytes, or every 192 behind a 4-byte time code (AVCHD cameras).
    if any(head[at::step][:3] == b"GGG" for at, step in ((0, 188), (4, 192))):
        return VIDEOS["mpegts"]
    return _iso(head) or _stream(head)


def _stream(head: bytes) -> Kind | None:
    """Video without a container: H.264 and HEVC by their first unit, and MPEG-TS that was cut inside a packet."""
    start = 4 if head[:4] == b"\0\0\0\x01" else 3 if head[:3] == b"\0\0\x01" else 0
    if start and head[start : start + 2] in (b"\x40\x01", b"\x42\x01", b"\x46\x01"):
        return VIDEOS["hevc"]
    if start and head[start : start + 1] in (b"\x67", b"\x27", b"\x47", b"\x09"):
        return VIDEOS["h264"]
    if len(head) > 12 * 188 and any(head[at::188][:12] == 12 * b"G" for at in range(1, 188)):
        return VIDEOS["mpegts"]
    return None


def _iso(head: bytes) -> Kind | None:
    """ISO base media (MP4 and its family): the brands tell images from clips."""
    box = head[4:8]
    if box in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):  # QuickTime from before there were brands
        return VIDEOS["mov"]
    if box != b"ftyp":
        return None
    size = int.from_bytes(head[:4], "big")
    brands = {head[8:12]} | {head[i : i + 4] for i in range(16, min(max(size, 16), len(head), 256), 4)}
    major = head[8:12]
    if major in (b"avif", b"avis") or (major in (b"mif1", b"msf1") and brands & {b"avif", b"avis"}):
        return PICTURES["avif"]
    if major in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return PICTURES["heic"]
    if major in (b"jxl ", b"jp2 ", b"crx "):
        return None
    return VIDEOS["mov" if major == b"qt  " else "mp4"]


def describe(head: bytes) -> str:
    """In words, for the refusal: what a file that `sniff` does not know looks like."""
    if not head:
        return "an empty file"
    for offset, magic, words in _OTHER:
        if head[offset : offset + len(magic)] == magic:
            return words
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "a WAV sound file; there is nothing to see in it"
    if head[4:8] == b"ftyp":
        return f"an ISO media file of the unsupported brand {head[8:12]!r}"
    start = head[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page; give the address of the image or video itself"
    if b"<mpd" in start or b"<smoothstreamingmedia" in start:
        return "a streaming manifest; give the video itself, not a list that points to it"
    if b"<svg" in start:
        return "an SVG drawing; export it as PNG"
    if min(head) >= 9 and sum(byte < 128 for byte in head) > len(head) * 0.7:
        return "text"
    return f"data of an unknown kind (it begins with {head[:8].hex(' ')})"


def boxes(file: BinaryIO, most: int = 64) -> Iterator[tuple[bytes, int, int]]:
    """The outermost boxes of an ISO media file, the first `most` of them: name, place of the content, bytes of it."""
    place = 0
    for _ in range(most):
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            return
        size, start = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), 16
        yield head[4:8], place + start, max(size - start, 0)
        if size < start or place + size >= 1 << 62:
            return
        place += size


def xmp(file: BinaryIO) -> bytes:
    """The XMP packet of an ISO media file (ISO 16684-1, its box is a UUID); at most 4 MiB of it."""
    for name, place, size in boxes(file):
        if name == b"uuid":
            file.seek(place)
            if file.read(16) == bytes.fromhex("be7acfcb97a942e89c71999491e3afac"):
                return file.read(min(size - 16, 4 << 20))
    return b""

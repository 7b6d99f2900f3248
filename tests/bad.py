"""Thirty kinds of bad image files, made here."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from verger import drawing


def encoded(format_: str, side: int = 100) -> bytes:
    """A drawn fruit as a file of a format."""
    file = io.BytesIO()
    drawing.draw("Kiwi", 0, side=side).save(file, format_)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing: a decompression bomb."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def float_tiff() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ones((8, 8), np.float32)).save(file, "TIFF")
    return file.getvalue()


def bad_images(folder: Path, count: int) -> dict[str, str]:
    """Write `count` bad files; returns the kind of reason that each must get, by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    random_ = random.Random(1)
    files: list[tuple[str, bytes, str]] = [
        ("empty.jpg", b"", "empty"),
        ("text.jpg", b"not an image", "not an image"),
        ("noise.jpg", random_.randbytes(3000), "not an image"),
        ("page.png", b"<html><body>404</body></html>", "not an image"),
        ("zeros.tif", bytes(2000), "not an image"),
        ("document.pdf", b"%PDF-1.7\n" + random_.randbytes(500), "not an image"),
        ("bomb.png", png_header(60_000, 60_000), "too many pixels"),
        ("float.tif", float_tiff(), "unsupported"),
        ("head-only.jpg", encoded("JPEG")[:20], "damaged"),
    ]
    for share in (0.3, 0.5, 0.7, 0.9):
        for format_, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("BMP", "bmp"), ("GIF", "gif"), ("WEBP", "webp")):
            data = encoded(format_)
            files.append((f"cut-{share}.{suffix}", data[: int(len(data) * share)], "truncated"))
    files.append(("damaged.png", damaged_png(), "damaged"))
    assert len(files) == count
    for name, data, _ in files:
        (folder / name).write_bytes(data)
    return {name: kind for name, _, kind in files}


def damaged_png() -> bytes:
    """A PNG whose pixels do not fit their checksum."""
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)

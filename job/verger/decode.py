"""Bytes of an image file -> RGB uint8 224x224, or the reason why not.

The size is reached with Pillow's bicubic filter (antialiased when shrinking), whatever the decoder: cv2's and
TensorFlow's cubic filters use other coefficients, and the features would differ.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

SIDE = 224  # pixels a side, the input of MobileNetV2 1.0
MAGIC = {  # how the files of each format that is read begin
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "WEBP": (b"RIFF",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
FORMATS = tuple(MAGIC)
VERSION = "pillow-bicubic-224-rgb-white-1"  # change it with anything here that changes a pixel

ORIENTATION = ExifTags.Base.Orientation
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Pixels = NDArray[np.uint8]

Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and checked before a pixel is decoded


class BadImage(Exception):
    """Why an image can't be embedded: `code` is one of REASONS, `detail` says more.

    A bad image is data, not an error of the program: it becomes a row with this as its reason.
    """

    REASONS = ("empty", "not an image", "truncated", "damaged", "too many pixels", "too many bytes", "unsupported")

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code


@dataclass(frozen=True)
class Decoded:
    """An image ready for the network, and what it was: `width` and `height` in pixels, as shown."""

    pixels: Pixels  # uint8 [224, 224, 3]
    width: int
    height: int
    format: str


@dataclass(frozen=True)
class Decoder:
    """The choices of decoding.

    Usage: Decoder().decode(Path("kiwi.jpg").read_bytes()).pixels
    """

    exif: bool = True
    max_pixels: int = 100_000_000

    @property
    def version(self) -> str:
        """Names everything that decides the pixels: part of a feature's model."""
        return VERSION if self.exif else f"{VERSION}-as-stored"

    def decode(self, data: bytes | memoryview) -> Decoded:
        """Decode one file's bytes; BadImage says why that can't be."""
        if len(data) == 0:
            raise BadImage("empty", "the file has no bytes")
        return self._plain_jpeg(data) or self._any(data)

    def _plain_jpeg(self, data: bytes | memoryview) -> Decoded | None:
        """The common case at three times Pillow's speed: same library, same pixels; None leaves it to Pillow."""
        if bytes(data[:3]) != b"\xff\xd8\xff" or (self.exif and b"Exif\0" in bytes(data)):
            return None
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if colours in ("CMYK", "YCCK"):
                return None
            self._check_size(width, height)
            pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", fastdct=False, fastupsample=False)
        except ValueError:
            return None  # a warning or an error of libjpeg: Pillow decides whether that is fatal
        image = Image.fromarray(pixels)
        return Decoded(_resize(image), width, height, "JPEG")

    def _any(self, data: bytes | memoryview) -> Decoded:
        _check_webp(data)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as file:
                kind = file.format or "?"
                self._check_size(*file.size)
                _check_whole(kind, data)
                image = self._turned(file)
                width, height = image.size
                return Decoded(_resize(_rgb(image)), width, height, kind)
        except BadImage:
            raise
        except UnidentifiedImageError:
            raise _unidentified(data) from None
        except Exception as error:  # Pillow's plugins raise whatever their parser meets, struct.error to SyntaxError
            raise _why(error) from error

    def _turned(self, file: ImageFile.ImageFile) -> Image.Image:
        """The loaded image, as its EXIF orientation says, or as it is stored."""
        turn = _orientation(file)
        if file.format == "TIFF":  # Pillow has turned these when they are loaded
            turn = 1 if self.exif else {6: 8, 8: 6}.get(turn, turn)
        elif not self.exif:
            turn = 1
        file.load()
        return file.transpose(TURNS[turn]) if turn in TURNS else file

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise BadImage("too many pixels", f"{width}x{height}, more than {self.max_pixels}")


def _orientation(file: ImageFile.ImageFile) -> int:
    """The EXIF orientation, 1 (upright) where there is none or none that can be read: the pixels are whole."""
    try:
        return int(file.getexif().get(ORIENTATION, 1))
    except Exception:  # whatever the parser of a broken header meets
        return 1


def _check_whole(kind: str, data: bytes | memoryview) -> None:
    """A PNG's checksums, which Pillow's decoder does not look at."""
    if kind == "PNG":
        with Image.open(io.BytesIO(data), formats=("PNG",)) as file:
            file.verify()


def _check_webp(data: bytes | memoryview) -> None:
    """The length that a WebP gives itself: libwebp does not say that a file was cut."""
    if bytes(data[:4]) == b"RIFF" and bytes(data[8:12]) == b"WEBP":
        length = int.from_bytes(data[4:8], "little") + 8
        if length > len(data):
            raise BadImage("truncated", f"{len(data)} of {length} bytes")


def _unidentified(data: bytes | memoryview) -> BadImage:
    """Why no format of Pillow's took the file: it is none, or its beginning is broken."""
    start = bytes(data[:12])
    kind = next((kind for kind, magics in MAGIC.items() if start.startswith(magics)), None)
    if kind is None or (kind == "WEBP" and start[8:] != b"WEBP"):
        return BadImage("not an image", f"no {', '.join(FORMATS)} starts like this")
    return BadImage("damaged", f"starts as {kind}, but its header can't be read")


def _why(error: Exception) -> BadImage:
    message = " ".join(str(error).split()) or type(error).__name__
    cut = isinstance(error, EOFError) or any(word in message.lower() for word in ("truncated", "end of", "eof"))
    return BadImage("truncated" if cut else "damaged", message)


def _resize(image: Image.Image) -> Pixels:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _rgb(image: Image.Image) -> Image.Image:
    """RGB by definition: 16-bit is scaled to 8, alpha is laid on white, CMYK and palettes are converted."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.uint16)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise BadImage("unsupported", f"{image.mode} pixels (32-bit) have no agreed range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")

"""Every kind of image file, good and bad, and Pillow as the oracle of the pixels."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from verger.decode import SIDE, BadImage, Decoded, Decoder

ORIENTATION = 0x0112  # EXIF tag
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}, "TIFF": {}}
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(width: int = 70, height: int = 50, seed: int = 0) -> Image.Image:
    """Smooth colours, different in each corner: RGB."""
    spots = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC)


def plain(colour: Any, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (20, 10), colour)


def palette() -> Image.Image:
    """Colour 3 of a palette of eight."""
    image = plain(3, "P")
    image.putpalette([*range(24)])
    return image


def shown(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels that an RGB image must give."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = number
    return exif


def decode(data: bytes) -> Decoded:
    return Decoder().decode(data)


def why_not(data: bytes, decoder: Decoder | None = None) -> str:
    """The code of the reason why `data` can't be decoded."""
    with pytest.raises(BadImage) as bad:
        (decoder or Decoder()).decode(data)
    return bad.value.code


# Formats


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_give_the_pixels_that_were_stored(kind: str) -> None:
    image = picture()
    decoded = decode(encode(image, kind, **LOSSLESS[kind]))
    assert (decoded.width, decoded.height, decoded.format) == (70, 50, kind)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(decoded.pixels, shown(image))


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_lossy_formats_give_about_the_pixels_that_were_stored(kind: str) -> None:
    decoded = decode(encode(picture(), kind))
    assert (decoded.width, decoded.height, decoded.format) == (70, 50, kind)
    difference = np.abs(decoded.pixels.astype(int) - shown(picture()))
    assert difference.mean() < 8


@pytest.mark.parametrize("kind", FORMATS)
def test_a_new_process_can_decode_any_format_first(kind: str) -> None:
    # Pillow loads its plugins on demand: what an earlier image loaded must not matter.
    script = "import sys; from verger.decode import *; print(Decoder().decode(sys.stdin.buffer.read()).format)"
    child = subprocess.run(
        [sys.executable, "-c", script], input=encode(picture(), kind), capture_output=True, check=False
    )
    assert child.stdout.decode().strip() == kind, child.stderr.decode()[-500:]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(plain(RED), kind, save_all=True, append_images=[plain(BLUE), plain(WHITE)], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    np.testing.assert_array_equal(decode(data).pixels[0, 0], RED)


def test_of_a_multi_picture_jpeg_the_first_is_taken() -> None:
    data = encode(picture(seed=1), "MPO", save_all=True, append_images=[picture(seed=2)])
    decoded = decode(data)
    assert decoded.format in ("JPEG", "MPO")
    np.testing.assert_array_equal(decoded.pixels, shown(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_memoryview_is_as_good_as_bytes(kind: str) -> None:
    data = encode(picture(), kind)
    arrow = memoryview(pa.py_buffer(b"before" + data).slice(6)).cast("B")  # as features.py passes them
    np.testing.assert_array_equal(Decoder().decode(arrow).pixels, decode(data).pixels)


# Modes: RGB by definition


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA"])
def test_png_modes_are_converted_to_rgb_before_they_are_resized(mode: str) -> None:
    image = picture().convert(mode)
    np.testing.assert_array_equal(decode(encode(image, "PNG")).pixels, shown(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_greyscale_image_is_its_rgb_copy(kind: str) -> None:
    grey = picture().convert("L")
    data = encode(grey, kind)
    as_stored = Image.open(io.BytesIO(data))
    assert as_stored.mode == "L"
    np.testing.assert_array_equal(decode(data).pixels, decode(encode(as_stored.convert("RGB"), "PNG")).pixels)


@pytest.mark.parametrize(
    ("ink", "colour"), [((0, 255, 255, 0), RED), ((0, 0, 0, 0), WHITE), ((0, 0, 0, 255), (0, 0, 0))]
)
def test_cmyk_jpegs_show_the_colours_of_their_inks(ink: tuple[int, ...], colour: tuple[int, ...]) -> None:
    data = encode(plain(ink, "CMYK"), "JPEG", quality=100)
    np.testing.assert_allclose(decode(data).pixels[0, 0].astype(int), colour, atol=2)


@pytest.mark.parametrize(("value", "shade"), [(0, 0), (255, 0), (256, 1), (32768, 128), (40000, 156), (65535, 255)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str, value: int, shade: int) -> None:
    data = encode(Image.fromarray(np.full((10, 20), value, np.uint16)), kind)
    np.testing.assert_array_equal(decode(data).pixels[0, 0], (shade,) * 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("alpha", "colour"), [(255, RED), (0, WHITE), (51, (255, 204, 204))])
def test_alpha_is_laid_on_white(kind: str, alpha: int, colour: tuple[int, ...]) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encode(plain((*RED, alpha), "RGBA"), kind, **options)
    np.testing.assert_array_equal(decode(data).pixels[5, 5], colour)


@pytest.mark.parametrize(
    ("image", "key"),
    [(plain(0, "L"), 0), (plain(0, "1"), 0), (plain(RED), RED), (palette(), 3), (palette(), bytes(8))],
    ids=["grey", "one bit", "colour", "palette", "palette with alphas"],
)
def test_a_transparent_png_colour_is_white(image: Image.Image, key: Any) -> None:
    np.testing.assert_array_equal(decode(encode(image, "PNG", transparency=key)).pixels[5, 5], WHITE)


def test_a_transparent_gif_colour_is_white() -> None:
    image = plain(1, "P")
    image.putpalette([*BLUE, *RED])
    assert tuple(decode(encode(image, "GIF")).pixels[5, 5]) == RED
    assert tuple(decode(encode(image, "GIF", transparency=1)).pixels[5, 5]) == WHITE


def test_grey_with_alpha_is_laid_on_white() -> None:
    np.testing.assert_array_equal(decode(encode(plain((0, 51), "LA"), "PNG")).pixels[5, 5], (204,) * 3)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bit_pixels_have_no_agreed_range_and_are_unsupported(mode: str) -> None:
    assert why_not(encode(Image.new(mode, (20, 10)), "TIFF")) == "unsupported"


# EXIF


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("number", range(1, 9))
def test_exif_orientation_is_applied(kind: str, number: int) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(picture(), kind, exif=orientation(number), **options)
    stored = Image.open(io.BytesIO(encode(picture(), kind, **options))).convert("RGB")
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(number)
    expected = stored if method is None else stored.transpose(method)
    decoded = decode(data)
    assert (decoded.width, decoded.height) == expected.size
    np.testing.assert_array_equal(decoded.pixels, shown(expected))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])  # Pillow itself turns a TIFF when it loads it
@pytest.mark.parametrize("number", [3, 6])
def test_exif_orientation_can_be_left_alone(kind: str, number: int) -> None:
    decoded = Decoder(exif=False).decode(encode(picture(), kind, exif=orientation(number)))
    assert (decoded.width, decoded.height) == (70, 50)
    np.testing.assert_array_equal(decoded.pixels, decode(encode(picture(), kind)).pixels)


def test_whether_images_are_turned_is_part_of_the_version() -> None:
    assert Decoder().version != Decoder(exif=False).version


def test_the_size_limit_is_no_part_of_the_version() -> None:
    assert Decoder().version == Decoder(max_pixels=5).version


def test_exif_orientation_is_applied_wherever_the_header_holds_it() -> None:
    data = encode(picture(), "JPEG", exif=orientation(6))
    comment = b"\xff\xfe" + struct.pack(">H", 65_002) + bytes(65_000)
    late = data[:2] + comment + comment + data[2:]
    assert (decode(late).width, decode(late).height) == (50, 70)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # "Corrupt EXIF data": a line on a worker's stderr
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM", b"Exif\0\0MM\0*\0\0\0\x08\0\x09", b"Exif\0\0 no TIFF header"]
)
def test_an_unreadable_exif_leaves_the_image_as_stored(kind: str, exif: bytes) -> None:
    data = encode(picture(), kind, exif=exif)
    np.testing.assert_array_equal(decode(data).pixels, decode(encode(picture(), kind)).pixels)


# Pillow's exif_transpose writes all other tags anew, and fails at what it can't write.
def test_an_orientation_beside_a_strange_tag_is_applied() -> None:
    maker_as_numbers = struct.pack(">HHII", 0x010F, 5, 1, 38) + struct.pack(">HHIHH", ORIENTATION, 3, 1, 6, 0)
    rational = struct.pack(">II", 72, 1)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + maker_as_numbers + bytes(4) + rational
    decoded = decode(encode(picture(), "JPEG", exif=exif))
    assert (decoded.width, decoded.height) == (50, 70)


# The fast path of JPEG: the same pixels as Pillow's


def jpeg(pixels: NDArray[np.uint8], subsampling: str, quality: int) -> bytes:
    if subsampling == "Gray":
        data = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels[..., :1]), quality=quality, colorspace="GRAY", colorsubsampling="Gray"
        )
    else:
        data = simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling=subsampling)
    return bytes(data)


def by_pillow(data: bytes) -> NDArray[np.uint8]:
    return shown(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411", "Gray"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 3), (3, 7), (2, 16), (17, 15), (100, 100), (301, 227)])
def test_jpegs_give_the_pixels_of_pillow(width: int, height: int, subsampling: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for quality in (20, 75, 100):
        data = jpeg(pixels, subsampling, quality)
        decoded = decode(data)
        assert (decoded.width, decoded.height, decoded.format) == (width, height, "JPEG")
        np.testing.assert_array_equal(decoded.pixels, by_pillow(data))


@settings(max_examples=60)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(["444", "422", "420", "440", "411", "Gray"]),
    st.integers(1, 100),
    st.integers(0, 9),
)
def test_any_jpeg_gives_the_pixels_of_pillow(
    width: int, height: int, subsampling: str, quality: int, seed: int
) -> None:
    data = jpeg(np.ascontiguousarray(picture(width, height, seed)), subsampling, quality)
    np.testing.assert_array_equal(decode(data).pixels, by_pillow(data))


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"keep_rgb": True},
        {"restart_marker_blocks": 1},
        {"icc_profile": bytes(200)},
        {"dpi": (1, 2)},
    ],
    ids=["progressive", "RGB without YCbCr", "restart markers", "ICC profile", "oblong pixels"],
)
def test_unusual_jpegs_give_the_pixels_of_pillow(options: dict[str, Any]) -> None:
    data = encode(picture(), "JPEG", **options)
    np.testing.assert_array_equal(decode(data).pixels, by_pillow(data))


def test_shrinking_is_antialiased() -> None:
    board = np.indices((10 * SIDE, 10 * SIDE)).sum(axis=0) % 2 * 255
    pixels = decode(encode(Image.fromarray(board.astype(np.uint8)), "PNG")).pixels
    assert np.abs(pixels.astype(int) - 127).max() <= 2


def test_enlarging_is_bicubic_not_nearest_or_bilinear() -> None:
    edge = Image.fromarray(np.array([[64] * 4 + [192] * 4] * 8, np.uint8))
    pixels = decode(encode(edge, "PNG")).pixels
    assert pixels.min() < 64  # only a cubic filter overshoots
    assert pixels.max() > 192


# Bad images


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    )


def jpeg_bomb(width: int, height: int) -> bytes:
    data = bytearray(encode(plain(RED), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_bomb(width: int, height: int) -> bytes:
    data = bytearray(encode(plain(RED), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def bmp_bomb(width: int, height: int) -> bytes:
    data = bytearray(encode(plain(RED), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def test_no_bytes_are_empty() -> None:
    assert why_not(b"") == "empty"
    with pytest.raises(BadImage, match="empty"):
        Decoder().decode(memoryview(b""))


@pytest.mark.parametrize(
    "data",
    [b"not an image", b"\x00", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", bytes(5000)],
)
def test_what_is_no_image_is_told_so(data: bytes) -> None:
    assert why_not(data) == "not an image"


@pytest.mark.parametrize("kind", ["PPM", "ICO", "PCX", "TGA", "EPS"])
def test_formats_outside_the_list_are_refused(kind: str) -> None:
    assert why_not(encode(picture(16, 16), kind)) == "not an image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_file_cut_off_in_its_pixels_is_truncated(kind: str, share: float) -> None:
    data = encode(picture(200, 150), kind)
    if kind == "TIFF":  # its table of contents is first here, its pixels last
        assert data.index(struct.pack("<HHI", 0x0100, 4, 1)) < 100
    assert why_not(data[: int(len(data) * share)]) == "truncated"


def test_a_webp_cut_off_is_refused() -> None:
    data = encode(picture(200, 150), "WEBP")
    assert why_not(data[: len(data) // 2]) in ("truncated", "damaged")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("length", [4, 12, 18])
def test_half_a_header_is_refused(kind: str, length: int) -> None:
    assert why_not(encode(picture(), kind)[:length]) in ("not an image", "truncated", "damaged")


def test_a_png_with_a_damaged_chunk_is_refused() -> None:
    data = bytearray(encode(picture(), "PNG"))
    data[data.index(b"IDAT") + 20] ^= 0xFF
    assert why_not(bytes(data)) in ("damaged", "truncated")


@pytest.mark.parametrize("bomb", [png_bomb, jpeg_bomb, gif_bomb, bmp_bomb])
def test_a_small_file_that_claims_huge_pixels_is_not_decoded(bomb: Callable[[int, int], bytes]) -> None:
    data = bomb(50_000, 50_000)
    assert len(data) < 2000
    with pytest.raises(BadImage, match="too many pixels: 50000x50000, more than 100000000"):
        Decoder().decode(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_limit_of_pixels_is_inclusive(kind: str) -> None:
    data = encode(picture(), kind)
    assert Decoder(max_pixels=70 * 50).decode(data).width == 70
    assert why_not(data, Decoder(max_pixels=70 * 50 - 1)) == "too many pixels"


# Whatever comes, the answer is an image or a reason


def outcome(data: bytes | memoryview, decoder: Decoder) -> str:
    """What decoding came to; anything but pixels or a known reason fails the test."""
    try:
        decoded = decoder.decode(data)
    except BadImage as error:
        bad = error
    else:
        return _sound(decoded, decoder)
    assert bad.code in BadImage.REASONS
    assert str(bad).startswith(bad.code)
    assert "\n" not in str(bad)
    return bad.code


def _sound(decoded: Decoded, decoder: Decoder) -> str:
    assert decoded.pixels.shape == (SIDE, SIDE, 3)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.width * decoded.height <= decoder.max_pixels
    return "decoded"


SMALL = picture(24, 18)
SEEDS = {
    "JPEG": encode(SMALL, "JPEG"),
    "JPEG with EXIF": encode(SMALL, "JPEG", exif=orientation(6)),
    "progressive JPEG": encode(SMALL, "JPEG", progressive=True),
    "CMYK JPEG": encode(SMALL.convert("CMYK"), "JPEG"),
    "MPO": encode(SMALL, "MPO", save_all=True, append_images=[SMALL]),
    "PNG": encode(SMALL, "PNG"),
    "PNG with EXIF": encode(SMALL, "PNG", exif=orientation(6)),
    "palette PNG": encode(SMALL.convert("P"), "PNG", transparency=0),
    "WebP": encode(SMALL, "WEBP"),
    "lossless WebP": encode(SMALL, "WEBP", lossless=True, exif=orientation(6)),
    "GIF": encode(SMALL, "GIF", save_all=True, append_images=[SMALL.rotate(180)]),
    "BMP": encode(SMALL, "BMP"),
    "palette BMP": encode(SMALL.convert("P"), "BMP"),
    "TIFF": encode(SMALL, "TIFF"),
    "LZW TIFF": encode(SMALL, "TIFF", compression="tiff_lzw", exif=orientation(6)),
}
CAREFUL = Decoder(max_pixels=1_000_000)  # else an enlarged header makes a test slow
fuzzed = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # in a run, a line on a worker's stderr


@fuzzed
@settings(max_examples=150)
@given(st.sampled_from(["", *SEEDS]), st.binary(max_size=300), st.integers(0, 64))
def test_random_bytes_are_an_image_or_a_reason(seed: str, data: bytes, length: int) -> None:
    start = SEEDS[seed][:length] if seed else b""  # so that they get past the signature
    outcome(start + data, CAREFUL)


@fuzzed
@pytest.mark.parametrize("seed", SEEDS)
def test_every_truncation_is_an_image_or_a_reason(seed: str) -> None:
    whole = SEEDS[seed]
    assert outcome(whole, CAREFUL) == "decoded"
    lengths = [*range(1, min(64, len(whole))), *range(64, len(whole), max(1, len(whole) // 60))]
    assert {outcome(whole[:length], CAREFUL) for length in lengths} & {"truncated", "damaged", "not an image"}


@fuzzed
@pytest.mark.parametrize("seed", SEEDS)
@settings(max_examples=60)
@given(st.data(), st.integers(0, 255), st.booleans())
def test_any_changed_byte_leaves_an_image_or_a_reason(seed: str, data: st.DataObject, byte: int, exif: bool) -> None:
    changed = bytearray(SEEDS[seed])
    changed[data.draw(st.integers(0, len(changed) - 1))] = byte
    outcome(bytes(changed), Decoder(exif=exif, max_pixels=CAREFUL.max_pixels))


def test_every_reason_is_one_of_the_known_ones() -> None:
    assert str(BadImage("empty")) == "empty"
    assert str(BadImage("damaged", "a chunk")) == "damaged: a chunk"
    assert len(set(BadImage.REASONS)) == len(BadImage.REASONS)


def test_pixels_are_the_same_whatever_was_decoded_before() -> None:
    first = [decode(SEEDS[seed]).pixels for seed in SEEDS]
    for seed, pixels in zip(reversed(SEEDS), reversed(first), strict=True):
        np.testing.assert_array_equal(decode(SEEDS[seed]).pixels, pixels)

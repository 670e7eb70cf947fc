"""Every kind of image file has one rule: the table in `genmetrics_rt.decode`, row by row, and hostile bytes."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image, ImageCms

import genmetrics_rt as gm
from genmetrics_rt import decode as decoding
from genmetrics_rt.decode import decode
from genmetrics_rt.sources import RawImage, Undecodable
from tests import makers

COLOURS = makers.pictures(1, size=12)[0][:, :9]  # (12, 9, 3): higher than wide
GREY = COLOURS[..., 0]
OPACITY = np.arange(12 * 9, dtype=np.uint8).reshape(12, 9) * 2  # 0 … 214
WIDE = np.arange(65_536, dtype=np.uint16).reshape(256, 256)  # every 16-bit value once
WIDE_AS_BYTES = np.rint(WIDE / 257).astype(np.uint8)
SINCE_PILLOW_13 = pytest.mark.skipif(
    int(PIL.__version__.split(".")[0]) < 13, reason="Pillow before 13 calls these files truncated, and so do we"
)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(encoded: bytes, *, alpha: str = "white", name: str = "image") -> np.ndarray:
    pixels = decode(RawImage(name, encoded=encoded), alpha=alpha)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.flags.c_contiguous
    return pixels


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples: np.ndarray, *, depth: int, colour: int, extra: bytes = b"") -> bytes:
    """A PNG from packed samples (H, bytes per row), for what Pillow does not write. ``colour``: 0 grey, 2 RGB."""
    height, row_bytes = samples.shape
    width = row_bytes * 8 // depth // (3 if colour == 2 else 1)
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def grey(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3, axis=-1)


def on_white(colours: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    share = opacity[..., None] / 255
    return np.rint(share * colours + (1 - share) * 255).astype(np.uint8)


def test_grey_is_repeated() -> None:
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        assert (read(saved(Image.fromarray(GREY), kind)) == grey(GREY)).all(), kind


def test_one_bit_is_black_and_white() -> None:
    bits = GREY > np.median(GREY)
    for kind in ("PNG", "PPM", "TIFF"):
        assert (read(saved(Image.fromarray(bits), kind)) == grey(np.where(bits, 255, 0))).all(), kind


def test_a_palette_gives_its_colours() -> None:
    palette = Image.fromarray(COLOURS).quantize(16)
    for kind in ("PNG", "GIF", "BMP"):
        assert (read(saved(palette, kind)) == np.asarray(palette.convert("RGB"))).all(), kind


def test_transparent_palette_entries_are_alpha() -> None:
    palette = Image.fromarray(COLOURS).quantize(4)
    index, colours = np.asarray(palette), np.asarray(palette.convert("RGB"))
    encoded = saved(palette, "PNG", transparency=bytes([0, 100, 255, 255]))
    assert (read(encoded, alpha="drop") == colours).all()
    assert (read(encoded) == on_white(colours, np.array([0, 100, 255, 255])[index])).all()
    encoded = saved(palette, "GIF", transparency=2)
    assert (read(encoded) == on_white(colours, np.where(index == 2, 0, 255))).all()


@pytest.mark.parametrize(
    "encoded",
    [
        saved(Image.fromarray(WIDE), "PNG"),
        saved(Image.fromarray(WIDE), "TIFF"),
        saved(Image.fromarray(WIDE.astype(">u2")), "TIFF"),
        b"P5 256 256 65535 " + WIDE.astype(">u2").tobytes(),
    ],
    ids=["PNG", "TIFF", "TIFF big-endian", "PGM"],
)
def test_16_bit_grey_is_divided_by_257(encoded: bytes) -> None:
    assert (read(encoded) == grey(WIDE_AS_BYTES)).all()


def test_16_bit_colour_keeps_the_high_byte() -> None:
    samples = np.random.default_rng(0).integers(0, 65_536, (7, 5, 3)).astype(">u2")
    pixels = read(png(samples.reshape(7, 15).view(np.uint8), depth=16, colour=2))
    assert (pixels == samples // 256).all()
    assert np.abs(pixels - np.rint(samples / 257)).max() <= 1


@pytest.mark.parametrize(("dtype", "reason"), [(np.int32, "32-bit samples"), (np.float32, "floating-point samples")])
def test_samples_without_a_known_white_are_refused(dtype: type, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        read(saved(Image.fromarray(GREY.astype(dtype)), "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "ICO"])
def test_alpha_is_composited_on_white_or_dropped(kind: str) -> None:
    image = Image.fromarray(np.dstack([COLOURS, OPACITY]))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {"sizes": [image.size]} if kind == "ICO" else {}
    encoded = saved(image, kind, **options)
    assert (read(encoded, alpha="drop") == COLOURS).all()
    assert (read(encoded) == on_white(COLOURS, OPACITY)).all()


def test_grey_with_alpha() -> None:
    encoded = saved(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(OPACITY)]), "PNG")
    assert (read(encoded, alpha="drop") == grey(GREY)).all()
    assert (read(encoded) == on_white(grey(GREY), OPACITY)).all()


@pytest.mark.parametrize(
    "colours", [COLOURS, pytest.param(GREY[..., None], marks=SINCE_PILLOW_13)], ids=["colour", "grey"]
)
def test_premultiplied_alpha_is_divided_out(colours: np.ndarray) -> None:
    opacity = np.full_like(GREY, 128)
    premultiplied = np.rint(colours * (128 / 255)).astype(np.uint8)
    straight = saved(Image.fromarray(np.dstack([premultiplied, opacity])), "TIFF")
    tag = struct.pack("<HHIHH", 338, 3, 1, 2, 0)  # ExtraSamples: one, 2 is straight alpha, 1 premultiplied
    assert straight.count(tag) == 1
    encoded = straight.replace(tag, struct.pack("<HHIHH", 338, 3, 1, 1, 0))
    colours = np.broadcast_to(colours, COLOURS.shape)
    assert np.abs(read(encoded, alpha="drop").astype(int) - colours).max() <= 2  # 8 bits hold no more
    assert np.abs(read(encoded).astype(int) - on_white(colours, opacity)).max() <= 1


@pytest.mark.parametrize("depth", [2, 8, 16])
def test_the_transparent_colour_of_a_grey_png(depth: int) -> None:
    values = np.arange(4).reshape(1, 4) * ((1 << depth) - 1) // 3  # black … white
    samples = {
        2: np.array([[0b00011011]], np.uint8),
        8: values.astype(np.uint8),
        16: values.astype(">u2").view(np.uint8),
    }[depth]
    encoded = png(samples, depth=depth, colour=0, extra=chunk(b"tRNS", struct.pack(">H", values[0, 1])))
    assert read(encoded, alpha="drop")[0, :, 0].tolist() == [0, 85, 170, 255]
    assert read(encoded)[0, :, 0].tolist() == [0, 255, 170, 255]


@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_colour_of_a_colour_png(depth: int) -> None:
    samples = np.array([[[10, 20, 30], [10, 20, 31]]]).astype({8: ">u1", 16: ">u2"}[depth]) * (1 if depth == 8 else 257)
    key = chunk(b"tRNS", struct.pack(">HHH", *samples[0, 0].tolist()))
    encoded = png(samples.reshape(1, 6).view(np.uint8), depth=depth, colour=2, extra=key)
    assert read(encoded, alpha="drop").tolist() == [[[10, 20, 30], [10, 20, 31]]]
    assert read(encoded).tolist() == [[[255, 255, 255], [10, 20, 31]]]


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "TIFF"), ("CMYK", "JPEG"), pytest.param("YCbCr", "TIFF", marks=SINCE_PILLOW_13)]
)
def test_cmyk_and_ycbcr_are_converted_plainly(mode: str, kind: str) -> None:
    encoded = saved(Image.fromarray(COLOURS).convert(mode), kind)
    assert (read(encoded) == np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))).all()


def test_black_ink_alone_is_grey() -> None:
    black_ink = np.zeros((2, 2, 4), np.uint8)
    black_ink[..., 3] = 255 - 40  # no colour, this much black
    assert (read(saved(Image.fromarray(black_ink, "CMYK"), "TIFF")) == 40).all()


def test_lab_is_refused() -> None:
    with pytest.raises(Undecodable, match="colour mode LAB"):
        read(saved(Image.merge("LAB", [Image.fromarray(GREY)] * 3), "TIFF"))


def test_profile_and_gamma_are_ignored() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert (read(saved(Image.fromarray(COLOURS), "PNG", icc_profile=profile)) == COLOURS).all()
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
    assert (read(png(COLOURS.reshape(12, 27), depth=8, colour=2, extra=gamma)) == COLOURS).all()


# How the stored pixels must be turned to stand upright, by the EXIF standard.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
    9: lambda pixels: pixels,  # no such orientation
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    encoded = saved(Image.fromarray(COLOURS), kind, exif=exif, **options)
    expected = UPRIGHT[orientation](COLOURS)
    assert read(encoded).shape == expected.shape
    assert np.abs(read(encoded).astype(int) - expected).max() <= (4 if kind == "JPEG" else 0)


def test_orientation_keeps_alpha_and_colour_key() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.dstack([COLOURS, OPACITY]))
    assert (read(saved(image, "PNG", exif=exif)) == np.rot90(on_white(COLOURS, OPACITY), -1)).all()
    key = tuple(COLOURS[0, 0].tolist())
    turned = read(saved(Image.fromarray(COLOURS), "PNG", exif=exif, transparency=key))
    assert (turned[0, -1] == 255).all() and (turned[0, 0] == COLOURS[-1, 0]).all()


def test_unreadable_exif_counts_as_none() -> None:
    encoded = saved(Image.fromarray(COLOURS), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert (read(encoded) == COLOURS).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame(kind: str) -> None:
    first, second = np.zeros((2, 6, 4, 3), np.uint8)
    first[2:4], second[:] = 255, 99
    options = {"lossless": True} if kind == "WEBP" else {}
    encoded = saved(Image.fromarray(first), kind, save_all=True, append_images=[Image.fromarray(second)], **options)
    assert getattr(Image.open(io.BytesIO(encoded)), "n_frames", 1) == 2
    assert (read(encoded) == first).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_truncated_files_are_refused(kind: str) -> None:
    whole = saved(Image.fromarray(makers.pictures(1, size=64)[0]), kind)
    assert read(whole).shape == (64, 64, 3)
    for share in (0.02, 0.5, 0.9):
        with pytest.raises(Undecodable):
            read(whole[: int(share * len(whole))])


def test_a_png_with_a_wrong_checksum_is_refused() -> None:
    encoded = bytearray(saved(Image.fromarray(COLOURS), "PNG"))
    start = encoded.index(b"IDAT")
    size = int.from_bytes(encoded[start - 4 : start], "big")
    encoded[start + 4 + size] ^= 1
    with pytest.raises(Undecodable, match="checksum"):
        read(bytes(encoded))


def test_sizes_are_judged_before_anything_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    def claims(width: int, height: int) -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")

    for size in ((17_895_698, 10), (10, 17_895_698), (1 << 30, 1 << 30)):
        for limit_of_the_host in (None, 1 << 20, 1 << 40):
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit_of_the_host)
            with pytest.raises(Undecodable, match="178,956,970 pixels"):
                read(claims(*size))
    for size in ((0, 5), (5, 0)):
        with pytest.raises(Undecodable):
            read(claims(*size))


def test_the_content_decides_not_the_suffix() -> None:
    encoded = saved(Image.fromarray(COLOURS), "PNG")
    for name in ("a.jpg", "a.tga", "a"):
        assert (read(encoded, name=name) == COLOURS).all()


def test_tga_has_no_signature_so_the_suffix_must_say_it() -> None:
    encoded = saved(Image.fromarray(COLOURS), "TGA")
    assert (read(encoded, name="A.TGA") == COLOURS).all()
    with pytest.raises(Undecodable, match="no image format"):
        read(encoded, name="a.png")


def test_files_that_are_no_image_are_refused() -> None:
    with pytest.raises(Undecodable, match="empty"):
        read(b"")
    for encoded in (b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0", b"II*\0" + b"\xff" * 40):
        with pytest.raises(Undecodable):
            read(encoded)
    postscript = saved(Image.fromarray(COLOURS), "EPS")  # an interpreter would have to run it
    with pytest.raises(Undecodable, match="no image format"):
        read(postscript, name="a.eps")


def test_pixels_pass_through_and_unknown_rules_do_not() -> None:
    assert decode(RawImage("row", pixels=COLOURS), alpha="white") is COLOURS
    with pytest.raises(gm.InputError, match="white, drop"):
        decode(RawImage("row", pixels=COLOURS), alpha="black")


def noisy_png() -> bytes:
    """Its animation header is wrong, of which Pillow warns."""
    encoded = png(COLOURS.reshape(12, 27), depth=8, colour=2, extra=chunk(b"acTL", struct.pack(">II", 0, 0)))
    with pytest.warns(UserWarning, match="APNG"):
        Image.open(io.BytesIO(encoded)).load()
    return encoded


def test_warnings_of_pillow_are_no_errors_and_the_filters_stay_as_they_were() -> None:
    encoded = noisy_png()
    before = list(warnings.filters)
    with pytest.raises(UserWarning, match="APNG"):  # so warnings are errors here
        Image.open(io.BytesIO(encoded)).load()
    with ThreadPoolExecutor(8) as pool:
        for pixels in pool.map(read, [encoded] * 64):
            assert (pixels == COLOURS).all()
    assert list(warnings.filters) == before


def test_a_host_that_changes_its_filters_meanwhile_gets_its_own_back() -> None:
    before = list(warnings.filters)
    host = warnings.catch_warnings()
    host.__enter__()
    warnings.simplefilter("ignore")
    with decoding._pillow_warnings_ignored():
        host.__exit__(None, None, None)
    assert list(warnings.filters) == before


# Of Pillow's own odd images; the others must be used.
REFUSED = {
    "broken_data_stream.png": "checksum",
    "combined_larger_than_size.psd": "header",
    "decompression_bomb.gif": "178,956,970 pixels",
    "negative_size.ppm": "header",
    "test-ole-file.doc": "no image format",
    "truncated_image.png": "checksum",
    "ultrahdr.jpg": "truncated",
    "zero_height.j2k": "header",
}


@pytest.mark.data
def test_odd_images_are_used_or_refused_with_a_reason(data: Path) -> None:
    paths = sorted(path for path in (data / "odd").iterdir() if path.suffix != ".zip")
    assert len(paths) > 35
    for path in paths:
        if path.name in REFUSED:
            with pytest.raises(Undecodable, match=REFUSED[path.name]):
                read(path.read_bytes(), name=path.name)
        else:
            assert read(path.read_bytes(), name=path.name).size > 0


@pytest.mark.data
def test_turned_pictures_of_the_same_person_look_alike(data: Path) -> None:
    upright = read((data / "odd" / "hopper.png").read_bytes()).astype(float)
    for name in ("hopper_orientation_2.jpg", "hopper_orientation_5.webp", "hopper_orientation_8.jpg"):
        assert np.abs(read((data / "odd" / name).read_bytes()) - upright).mean() < 8, name


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (OSError("image file is truncated (3 bytes not processed)"), False),
        (SyntaxError("broken PNG file"), False),
        (OSError(24, "Too many open files"), True),
        (OSError("out of memory error when reading image file"), True),
        (MemoryError(), True),
        (ImportError("libavif.so: cannot open"), True),
    ],
)
def test_a_refusal_says_whether_another_attempt_may_succeed(
    monkeypatch: pytest.MonkeyPatch, error: Exception, transient: bool
) -> None:
    def fail(raw: RawImage, **rules: bool) -> None:
        raise error

    monkeypatch.setattr(decoding, "_colours_and_opacity", fail)
    with pytest.raises(Undecodable) as caught:
        read(b"whatever")
    assert caught.value.transient is transient


@pytest.mark.data
def test_the_png_suite(data: Path) -> None:
    """Exactly the files named x… are damaged; all others are 32 × 32 or as small as their name says."""
    archive = zipfile.ZipFile(data / "odd" / "pngsuite.zip")
    refused = set()
    for name in archive.namelist():
        try:
            assert max(read(archive.read(name), name=name).shape[:2]) <= 40 or name.startswith(("cs", "PngSuite"))
        except Undecodable:
            refused.add(name)
    assert refused == {name for name in archive.namelist() if name.startswith("x")} and len(refused) >= 13

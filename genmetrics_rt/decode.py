"""From the bytes of an image file to uint8 RGB: one rule for each kind of file, and no other.

==================================================  ================================================================
kind                                                rule
==================================================  ================================================================
grey (L), 1 bit                                     repeated to three channels; 1 bit is 0 and 255
palette (P)                                         its colours; transparent entries are alpha, as below
16-bit grey (I;16…; I of PNG and PGM)               value / 257, rounded: 65,535 is 255; never clipped
16-bit colour (PNG)                                 the high byte, as Pillow reads it (at most 1 off value / 257)
32-bit and float samples (I of TIFF, F)             refused: the file does not say which value is white
alpha (RGBA, LA, PA, premultiplied, PNG colour key) ``"white"``: composited on white, round(a·c + (1 − a)·255);
                                                    ``"drop"``: the colours as they are stored, alpha ignored
CMYK, YCbCr, HSV                                    Pillow's plain conversion to RGB
Lab and other modes                                 refused
ICC profile, gamma                                  ignored, as by every tool whose numbers are published
EXIF orientation                                    ``"applied"``, unreadable EXIF counts as none; or ``"ignored"``
animation, several pages, layers                    the first frame or page; the merged picture of a PSD
truncated, damaged, a PNG whose checksum is wrong   refused
more than 178,956,970 pixels, or none               refused
==================================================  ================================================================

The format is taken from the content, whatever the suffix says (a PNG named ``.jpg`` is common); only the formats in
`FORMATS` are tried, so no file can start an interpreter, as EPS would. Pillow's global settings are neither read nor
changed here; a host that sets ``ImageFile.LOAD_TRUNCATED_IMAGES`` makes Pillow accept truncated files all the same.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import sys
import threading
import warnings
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray
from genmetrics_rt.errors import InputError
from genmetrics_rt.sources import RawImage, Undecodable

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 178_956_970  # of one image: where Pillow, too, speaks of a decompression bomb
ALPHA_RULES = ("white", "drop")
ORIENTATION_RULES = ("applied", "ignored")
RULES = 1  # raise it when a rule above, or one of `resize`, changes: features in the cache are then computed again
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "PSD", "QOI")

_WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
_PLAIN_MODES = ("P", "RGBX", "CMYK", "YCbCr", "HSV")
_WHITE = 255


def decode(raw: RawImage, *, alpha: str, orientation: str = "applied") -> ImageArray:
    """uint8 (H, W, 3) of a raw image, by the rules above.

    ``alpha`` is ``"white"`` or ``"drop"``, ``orientation`` ``"applied"`` or ``"ignored"``.

    Thread-safe. Pillow's warnings neither show nor, where a host makes them errors, stop it.

    Raises
    ------
    Undecodable
        With the reason in plain words.
    InputError
        An unknown ``alpha`` or ``orientation``.
    """
    if alpha not in ALPHA_RULES:
        raise InputError(f"alpha is {alpha!r}; it must be one of {', '.join(ALPHA_RULES)}.")
    if orientation not in ORIENTATION_RULES:
        raise InputError(f"orientation is {orientation!r}; it must be one of {', '.join(ORIENTATION_RULES)}.")
    if raw.pixels is not None:
        return raw.pixels
    if not raw.encoded:
        raise Undecodable("an empty file")
    with _pillow_warnings_ignored():
        try:
            colours, opacity = _colours_and_opacity(raw, upright=orientation == "applied")
        except Undecodable:
            raise
        except Exception as error:  # OSError, ValueError, SyntaxError, struct.error, IndexError, …: by format
            raise Undecodable(_reason(error), transient=_is_transient(error)) from error
    if opacity is not None and alpha == "white":
        colours = _on_white(colours, opacity)
    return np.ascontiguousarray(colours)


def rules_in_force() -> str:
    """All that the pixels depend on beside the bytes: our rules, Pillow's codecs, and its settings in this process."""
    import PIL
    from PIL import Image, ImageFile

    settings = f"{ImageFile.LOAD_TRUNCATED_IMAGES} {Image.MAX_IMAGE_PIXELS}"
    return f"rules {RULES}, Pillow {PIL.__version__} {' '.join(_known_formats())}, {settings}"


def _colours_and_opacity(raw: RawImage, *, upright: bool) -> tuple[ImageArray, NDArray[np.uint8] | None]:
    """uint8 (H, W, 3), and (H, W) where 0 is transparent and 255 opaque; None when there is no transparency."""
    from PIL import Image

    # Open.
    tga = ("TGA",) if raw.may_be_tga else ()
    image: Image.Image = Image.open(io.BytesIO(raw.encoded), formats=_known_formats() + tga)
    kind = image.format
    if 0 in image.size:
        raise Undecodable("an image of no size")
    if image.width * image.height > MAX_PIXELS:
        raise Undecodable(_TOO_MANY_PIXELS)
    if kind == "PNG" and not _png_data_is_intact(raw.encoded):
        raise Undecodable("damaged: the checksum of its pixel data does not hold")

    # Load, upright.
    image.load()
    key = _colour_key(image, raw.encoded) if kind == "PNG" else image.info.get("transparency")
    if upright:
        image = _upright(image)

    # Convert.
    if image.mode in _WIDE_MODES or (image.mode == "I" and kind in ("PNG", "PPM")):
        wide = np.asarray(image).astype(np.int32)
        return _repeated(((wide + 128) // 257).astype(np.uint8)), _keyed(wide[..., None], key)
    if image.mode in ("1", "L"):
        grey = np.asarray(image.convert("L"))
        return _repeated(grey), _keyed(grey[..., None], key)
    if image.mode == "RGB":
        colours = np.asarray(image)
        return colours, _keyed(colours, key)
    if image.mode in _ALPHA_MODES or (image.mode == "P" and image.has_transparency_data):
        straight = image.convert("LA") if image.mode == "La" else image
        rgba = np.asarray(straight.convert("RGBA"))
        return rgba[..., :3], rgba[..., 3]
    if image.mode in _PLAIN_MODES:
        return np.asarray(image.convert("RGB")), None
    if image.mode in ("I", "F"):
        what = "32-bit" if image.mode == "I" else "floating-point"
        raise Undecodable(f"{what} samples: the file does not say which value is white; save it with 8 or 16 bits")
    raise Undecodable(f"colour mode {image.mode} is not read; save it as RGB")


@functools.cache
def _known_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow knows (AVIF is optional)."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _upright(image: Image) -> Image:
    """The image turned as its EXIF orientation says (TIFF files: Pillow has turned them on loading)."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # malformed EXIF says nothing about the pixels
        return image
    return image.transpose(turns[orientation]) if orientation in turns else image


def _png_data_is_intact(encoded: bytes) -> bool:
    """Whether the CRC of every IDAT chunk holds. Pillow skips this check; libpng and the browsers refuse such files."""
    view = memoryview(encoded)
    start = 8
    while start + 12 <= len(view):
        size = int.from_bytes(view[start : start + 4], "big")
        kind, end = bytes(view[start + 4 : start + 8]), start + 8 + size
        if kind == b"IDAT" and zlib.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return False
        start = end + 4
    return True


def _colour_key(image: Image, encoded: bytes) -> int | tuple[int, ...] | None:
    """The one transparent colour of a PNG without alpha channel, in the units of the loaded pixels.

    Pillow hands over the number in the file's own bit depth, also where it has brought the pixels to 8 bits.
    """
    key: int | tuple[int, ...] | bytes | None = image.info.get("transparency")
    depth = encoded[24]  # of the IHDR chunk, always the first
    if key is None or isinstance(key, bytes) or image.mode == "P":
        return None
    if isinstance(key, tuple):
        return tuple(value >> 8 for value in key) if depth == 16 else key
    return key * 255 // (2**depth - 1) if depth < 8 else key


def _keyed(values: NDArray[np.integer], key: object) -> NDArray[np.uint8] | None:
    """Opacity (H, W) of pixels (H, W, C) where those of the key colour are transparent."""
    if key is None or isinstance(key, bytes):
        return None
    return np.where((values == np.asarray(key)).all(axis=-1), 0, 255).astype(np.uint8)


def _repeated(grey: NDArray[np.uint8]) -> ImageArray:
    return np.repeat(grey[..., None], 3, axis=-1)


def _on_white(colours: ImageArray, opacity: NDArray[np.uint8]) -> ImageArray:
    """round(a·c + (1 − a)·255) with a = opacity / 255, in whole numbers; 255 is odd, so there are no ties."""
    weight = opacity[..., None].astype(np.uint16)
    blended: ImageArray = ((colours * weight + _WHITE * (255 - weight) + 127) // 255).astype(np.uint8)
    return blended


_TOO_MANY_PIXELS = f"more than {MAX_PIXELS:,} pixels: refused as a possible decompression bomb"


def _reason(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its own text holds a memory address
        return "no image format that is read here, or its header is damaged"
    if isinstance(error, Image.DecompressionBombError):
        return _TOO_MANY_PIXELS
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    return f"damaged: {error}" if str(error) else f"damaged ({type(error).__name__})"


def _is_transient(error: Exception) -> bool:
    """Whether the machine failed rather than the image. Pillow's own OSErrors, of damaged files, carry no errno."""
    if isinstance(error, OSError):
        return error.errno is not None or "out of memory" in str(error)
    return isinstance(error, MemoryError | ImportError)


_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as `warnings.filterwarnings` would write it
_quiet_lock = threading.Lock()
_quiet_threads = 0


@contextlib.contextmanager
def _pillow_warnings_ignored() -> Iterator[None]:
    """Ignore warnings issued by Pillow's modules while at least one thread decodes.

    Otherwise a host that turns warnings into errors would find other images damaged than one that does not.
    `warnings.catch_warnings` saves and restores the filters of the whole process, so threads that enter and leave it
    in turns restore each other's; here one filter is put in front and that one is taken out again.
    """
    global _quiet_threads
    if getattr(sys.flags, "context_aware_warnings", False):  # Python 3.14, free-threaded: filters belong to a context
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
        return
    filters: list[object]
    with _quiet_lock:
        _quiet_threads += 1
        filters = cast("list[object]", warnings.filters)
        if filters[:1] != [_QUIET]:
            filters.insert(0, _QUIET)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_threads -= 1
            filters = cast("list[object]", warnings.filters)  # the host may have put another list there meanwhile
            while _quiet_threads == 0 and _QUIET in filters:
                filters.remove(_QUIET)

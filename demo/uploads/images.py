"""Images: what Pillow reads in their headers, and whether any of them is whole."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from PIL import Image

from uploads.files import keep, size_of
from uploads.limits import ADVICE, Limits, Refused, Side, megabytes, too_large, too_many_pixels
from uploads.names import Names, shown_name

# Those that genmetrics_rt reads, without ICO: the picture inside may be larger than an icon says. TGA has no
# signature, so it is only tried where the name says so.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "PSD", "QOI")
TRYING_SECONDS = 2.0  # to find one image that is whole; genmetrics_rt finds out about the others anyway
_FORMAT_NAMES = {"WEBP": "WebP", "JPEG2000": "JPEG 2000", "MPO": "JPEG", "DIB": "BMP"}
_OTHERS = {
    b"MZ": "a program, no image",
    b"\x7fELF": "a program, no image",
    b"\xcf\xfa\xed\xfe": "a program, no image",
    b"\xca\xfe\xba\xbe": "a program, no image",
    b"#!": "a script, no image",
    b"%PDF": "a PDF, no image",
    b"Rar!": "a RAR archive, which is not read here: pack a zip",
    b"7z\xbc\xaf": "a 7z archive, which is not read here: pack a zip",
}


def _image_suffixes() -> dict[str, str]:
    Image.init()
    known = {*FORMATS, "TGA", "ICO", "MPO"}
    return {suffix: kind for suffix, kind in Image.registered_extensions().items() if kind in known}


SUFFIXES = _image_suffixes()  # ".jpg": "JPEG", …: the files that genmetrics_rt tries


@dataclass
class Seen:
    """What was found so far among files that may be images."""

    formats: Counter[str] = field(default_factory=Counter)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    broken: list[tuple[str, str]] = field(default_factory=list)  # name, reason
    tried: int = 0  # images that were decoded
    until: float = field(default_factory=lambda: time.monotonic() + TRYING_SECONDS)
    is_any_whole: bool = False

    @property
    def num_images(self) -> int:
        return self.formats.total()

    def look(self, name: str, opened: IO[bytes], limits: Limits) -> str | None:
        """The format that Pillow reads in a file, and decode it if none has been decoded yet; None if it is no image.

        Only the header is read, so thousands cost a second. `Refused` if it says more pixels than are decoded here.
        """
        tga = ("TGA",) if SUFFIXES.get(PurePosixPath(name).suffix.lower()) == "TGA" else ()
        try:
            with Image.open(opened, formats=FORMATS + tga) as image:
                if image.width * image.height > limits.pixels:
                    raise too_many_pixels(name, f"{image.width:,} × {image.height:,} pixels", limits)
                kind, size = image.format or "", image.size
                self._decode(name, image)
        except (Refused, MemoryError):
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise too_many_pixels(name, "even more pixels", limits) from error
        except Exception:  # every format has errors of its own
            head = _head(opened)
            if head.startswith(b"\0\0\1\0"):
                raise Refused(f"{name} is an icon, which is not taken here. Leave it out, or save it as PNG.") from None
            self.broken.append((name, _what(head)))
            return None
        self.formats[_FORMAT_NAMES.get(kind, kind)] += 1
        self.sizes.add(size)
        return kind

    def _decode(self, name: str, image: Image.Image) -> None:
        if self.is_any_whole or time.monotonic() > self.until:
            return
        self.tried += 1
        try:
            image.load()
            self.is_any_whole = True
        except MemoryError:
            raise
        except Exception as error:
            self.broken.append((name, f"cut off or damaged ({error})"))

    def require_any(self, what: str) -> None:
        """Raise `Refused` unless there is an image, and one of those that were tried is whole."""
        if self.is_any_whole or self.num_images > self.tried:
            return
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.broken[:3])
        more = f"; and {len(self.broken) - 3:,} more" if len(self.broken) > 3 else ""
        raise Refused(f"{what}: none can be read as an image. {reasons}{more}. {ADVICE}")

    def summary(self, size: int) -> str:
        """ "300 PNG images, 32 × 32, 0.4 MB"."""
        count, kinds = self.num_images, self.formats.most_common()
        noun = "image" if count == 1 else "images"
        told = f"{count:,} {kinds[0][0]} {noun}"
        if len(kinds) > 1:
            told = f"{count:,} {noun} ({', '.join(f'{number:,} {kind}' for kind, number in kinds)})"
        by_area = sorted(self.sizes, key=math.prod)
        sizes = [f"{width:,} × {height:,}" for width, height in (by_area[0], by_area[-1])]
        return f"{told}, {' to '.join(dict.fromkeys(sizes))}, {megabytes(size)}"


def accept_images(paths: list[Path], folder: Path, limits: Limits) -> Side:
    seen, names = Seen(), Names()
    for path in paths:
        if (size := size_of(path)) > limits.file_bytes:
            raise too_large(shown_name(path), size, limits)
        name = shown_name(path)
        with path.open("rb") as file:
            kind = seen.look(name, file, limits)
        if kind is not None:  # what is an image shall be read as one
            name = name.lstrip(".") or "image"
            if PurePosixPath(name).suffix.lower() not in SUFFIXES:
                name += f".{kind.lower()}" if f".{kind.lower()}" in SUFFIXES else ".jp2"  # JPEG2000, the only other
        keep(path, folder / names.unused(name))
    seen.require_any(f"{len(paths):,} {'file was' if len(paths) == 1 else 'files were'} uploaded")
    total = sum(size_of(path) for path in folder.iterdir())
    rest = len(paths) - seen.num_images
    summary = seen.summary(total) + (f"; {rest:,} other {'file' if rest == 1 else 'files'}" if rest else "")
    return Side(folder, summary, "images", seen.num_images)


def _head(opened: IO[bytes]) -> bytes:
    try:
        opened.seek(0)
        return opened.read(512)
    except Exception:  # a member of an archive that cannot be unpacked
        return b"\xff"


def _what(head: bytes) -> str:
    """What a file seems to be that is no image, in words."""
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            return what
    text = head.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n").lower()
    if text.startswith(("<!doctype html", "<html", "<head", "<script", "<body")):
        return "a web page, no image"
    if text.startswith("<") and "<svg" in text:
        return "a vector drawing (SVG), which has no pixels: export it as PNG"
    if not head:
        return "an empty file"
    is_text = not any(byte < 9 or 13 < byte < 32 for byte in head)
    return "a text, no image" if is_text else "no image format that is read here, or a damaged header"

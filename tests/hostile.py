"""Hostile and broken files of weights, written by hand: each in one container or several, and why it is refused."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from typing import Any

MAGIC = 0x1950A86A20F9469CFC6C
LAUGHS = 40  # doublings: 2⁴⁰ nodes


def lit(value: Any) -> bytes:
    """The instructions that put a plain value on the stack."""
    return pickle.dumps(value, 2)[2:-1]


def plain(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def torch_zip(body: bytes, storages: dict[str, bytes] | None = None, **others: bytes) -> bytes:
    """A PyTorch file with this pickle; storage 0 has four float32 if nothing else is said."""
    members = {"data.pkl": plain(body), "byteorder": b"little"}
    members |= {f"data/{key}": stored for key, stored in ({"0": bytes(16)} if storages is None else storages).items()}
    members |= {name.replace("__", "."): content for name, content in others.items()}
    return zipped({f"archive/{name}": content for name, content in members.items()})


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def legacy(
    body: bytes, keys: Any = ("0",), storages: bytes = struct.pack("<q", 4) + bytes(16), little: bool = True
) -> bytes:
    head = b"".join(pickle.dumps(value, 2) for value in (MAGIC, 1001, {"little_endian": little}))
    return head + plain(body) + pickle.dumps(list(keys), 2) + storages


def call(module: str, name: str, *arguments: Any) -> bytes:
    return f"c{module}\n{name}\n".encode() + lit(arguments) + b"R"


def storage(
    key: Any = "0", count: Any = 4, kind: str = "torch\nFloatStorage", is_legacy: bool = False, view: Any = None
) -> bytes:
    more = lit(view) if is_legacy else b""
    return b"(" + lit("storage") + f"c{kind}\n".encode() + lit(key) + lit("cpu") + lit(count) + more + b"tQ"


def tensor(
    offset: Any = 0, size: Any = (2, 2), stride: Any = (2, 1), of: bytes = b"", more: bytes = b"", version: int = 2
) -> bytes:
    stored = of or storage()
    name = f"ctorch._utils\n_rebuild_tensor_v{version}\n(".encode()
    return name + stored + lit(offset) + lit(size) + lit(stride) + b"\x89}" + more + b"tR"


def array(dtype: bytes = b"", state: Any = (3, "<", None, None, None, -1, -1, 0), shape: Any = (2,)) -> bytes:
    kind = dtype or call("numpy", "dtype", "f4", False, True)
    begun = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + lit((0,)) + b"C\x01btR"
    return begun + b"(K\x01" + lit(shape) + kind + lit(state) + b"b\x89C\x08" + bytes(8) + b"tb"


def laughs(first: bytes, opening: bytes, closing: bytes, inside: bytes = b"(??") -> bytes:
    """Each of them holds the one before it twice."""
    body = first + b"q\x000"
    for index in range(LAUGHS):
        body += opening + inside.replace(b"?", bytes([ord("h"), index])) + closing + bytes([ord("q"), index + 1]) + b"0"
    return body + bytes([ord("h"), LAUGHS])


def patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def in_directory(content: bytes, offset: int, new: bytes, member: bytes = b"archive/data/0") -> bytes:
    """The zip with other bytes at this offset of the member's entry in the directory."""
    return patched(content, content.rindex(member) - 46 + offset, new)


def in_header(content: bytes, offset: int, new: bytes, member: bytes = b"archive/data/0") -> bytes:
    return patched(content, content.index(member) - 30 + offset, new)


def nested_in_storage() -> bytes:
    """A member whose bytes hold the header and the bytes of another one."""
    inner = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, 4, 4, 14, 0) + b"archive/data/1" + bytes(4)
    content = torch_zip(tensor(of=storage(count=len(inner) // 4)), {"0": inner, "1": bytes(4)})
    at = content.index(inner)
    content = in_directory(content, 42, struct.pack("<I", at), b"archive/data/1")
    return in_directory(content, 16, bytes(4), b"archive/data/1")


def duplicated() -> bytes:
    """Two members of one name, which the standard library would warn of."""
    return torch_zip(tensor(), {"0": bytes(16), "X": bytes(16)}).replace(b"archive/data/X", b"archive/data/0")


def bomb(name: str) -> bytes:
    """64 MiB of zeros, or the pickle of as many, packed into a few kB."""
    members = {"data.pkl": plain(tensor()), "data/0": bytes(16)}
    members[name] = plain(b"B" + struct.pack("<I", 1 << 26) + bytes(1 << 26)) if name == "data.pkl" else bytes(1 << 26)
    return zipped({f"archive/{name}": content for name, content in members.items()}, zipfile.ZIP_DEFLATED)

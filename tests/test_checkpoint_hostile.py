"""Files that would run code, exhaust memory or are merely broken: refused with a reason, in little memory."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genmetrics_rt.checkpoints.checkpoint import flatten, read_checkpoint
from genmetrics_rt.checkpoints.damage import Damage
from genmetrics_rt.errors import UnreadableInput
from tests.hostile import (
    array,
    bomb,
    call,
    duplicated,
    in_directory,
    in_header,
    laughs,
    legacy,
    lit,
    nested_in_storage,
    patched,
    plain,
    storage,
    tensor,
    torch_zip,
    zipped,
)

MEMORY = 8 << 20  # bytes beside the file

# What would run a command. Each stands in every container.
RUNS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "os.system": (lambda command: call("os", "system", command), r"run os\.system"),
    "posix.system": (lambda command: call("posix", "system", command), r"run posix\.system"),
    "eval": (lambda command: call("builtins", "eval", f"__import__('os').system({command!r})"), r"run builtins\.eval"),
    "exec": (lambda command: call("builtins", "exec", f"__import__('os').system({command!r})"), r"run builtins\.exec"),
    "eval of Python 2": (lambda command: call("__builtin__", "eval", command), r"run __builtin__\.eval"),
    "subprocess": (lambda command: call("subprocess", "Popen", command, 0), r"run subprocess\.Popen"),
    "importlib": (lambda command: call("importlib", "import_module", "os"), r"run importlib\.import_module"),
    "getattr": (lambda command: call("builtins", "getattr", "os", "system"), r"run builtins\.getattr"),
    "a dotted name": (lambda command: call("collections", "OrderedDict.fromkeys", command), r"OrderedDict\.fromkeys"),
    "copyreg": (lambda command: call("copyreg", "_reconstructor", 0, 0, 0), r"run copyreg\._reconstructor"),
    "copyreg.__newobj__": (lambda command: call("copyreg", "__newobj__", 0), r"run copyreg\.__newobj__"),
    "torch.load": (lambda command: call("torch.serialization", "load", command), r"run torch\.serialization\.load"),
    "a pickled storage": (lambda command: call("torch.storage", "_load_from_bytes", command), r"_load_from_bytes"),
    "numpy.load": (lambda command: call("numpy", "load", command), r"run numpy\.load"),
    "a class of a module": (lambda command: b"c__main__\nNetwork\n)\x81}b", r"run __main__\.Network"),
    "within the arguments of another call": (
        lambda command: b"ccollections\nOrderedDict\n(" + call("os", "system", command) + b"tR",
        r"run os\.system",
    ),
    "a subclass of OrderedDict": (
        lambda command: b"ccollections\nOrderedDict\n)R" + call("evil", "Ordered", command) + b"b",
        r"run evil\.Ordered",
    ),
    "INST": (lambda command: b"(" + lit(command) + b"ios\nsystem\n", r"run os\.system"),
    "OBJ": (lambda command: b"(cos\nsystem\n" + lit(command) + b"o", r"run os\.system"),
    "NEWOBJ": (lambda command: b"csubprocess\nPopen\n" + lit((command,)) + b"\x81", r"run subprocess\.Popen"),
    "NEWOBJ_EX": (lambda command: b"ccollections\nOrderedDict\n)}\x92", r"NEWOBJ_EX"),
    "EXT1": (lambda command: b"\x82\x01)R", r"EXT1"),
    "EXT2": (lambda command: b"\x83\x01\x00)R", r"EXT2"),
    "EXT4": (lambda command: b"\x84\x01\x00\x00\x00)R", r"EXT4"),
    "a name put together on the stack": (
        lambda command: b"\x8c\x02osq\x00\x8c\x06systemq\x010h\x00h\x01\x93" + lit((command,)) + b"R",
        r"run os\.system",
    ),
    "a name with line breaks": (lambda command: b"\x8c\x03o\ns\x8c\x02\x1b[\x93", "run o\ufffds.\ufffd\\["),
    "a name of 10,000 letters": (lambda command: b"c" + b"x" * 10_000 + b"\ny\n", r"a line of more than"),
    "a text that is called": (lambda command: lit(command) + b")R", r"call a value of type str"),
    "a dtype that is called": (lambda command: b"ctorch\nfloat32\n)R", r"call torch\.float32"),
    "a tensor that is called": (lambda command: array() + b")R", r"call a value of type ndarray"),
    "BUILD on a dict": (lambda command: b"}" + lit({"__class__": command}) + b"b", r"set attributes"),
    "BUILD on a list": (lambda command: b"]" + lit({"append": command}) + b"b", r"set attributes"),
    "BUILD on an array": (lambda command: array() + lit({"data": command}) + b"b", r"set attributes"),
    "BUILD on a function": (
        lambda command: b"ccollections\nOrderedDict\n" + lit({"call": command}) + b"b",
        r"set attributes of collections\.OrderedDict",
    ),
    "BUILD with slots": (lambda command: b"c__torch__\nX\n)\x81" + lit((None, {"name": 1})) + b"b", r"of __torch__\.X"),
    "a codec": (lambda command: call("_codecs", "encode", command, "zlib"), r"_codecs\.encode on something else"),
    "NEXT_BUFFER": (lambda command: b"\x97", r"NEXT_BUFFER"),
    "an unknown instruction": (lambda command: b"\xfe", r"0xfe"),
}
CONTAINERS = {"plain": plain, "zip": torch_zip, "legacy": legacy}


def require_refused(content: bytes, reason: str) -> UnreadableInput:
    """Read, and fail unless that is refused for this reason in little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableInput, match=reason) as caught:
            flatten(read_checkpoint(content, what="weights.pth"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith("weights.pth ") or message.startswith("The checkpoint ")
    assert message.endswith(".") and len(message) < 500 and message.isprintable()
    assert peak < len(content) + MEMORY, f"{peak:,} bytes"
    return caught.value


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("case", RUNS)
def test_nothing_is_run(case: str, container: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    body, reason = RUNS[case]
    require_refused(CONTAINERS[container](body(f"touch {sentinel}")), reason)
    assert not sentinel.exists()


def test_the_message_gives_fact_meaning_and_way_out() -> None:
    error = require_refused(plain(call("os", "system", "true")), "os")
    assert str(error) == (
        "weights.pth asks to run os.system, which no file of weights needs: it is refused and nothing was run. "
        "Get the file from its publisher again."
    )


def test_what_pickle_itself_would_run(tmp_path: Path) -> None:
    """The sentinel is worth something: pickle does create it."""
    content = plain(call("os", "system", f"touch {tmp_path / 'sentinel'}"))
    require_refused(content, "os")
    assert not (tmp_path / "sentinel").exists()
    pickle.loads(content.replace(b"cos\n", b"cposix\n"))
    assert (tmp_path / "sentinel").exists()


HUGE = 1 << 40
GIGABYTE_TWICE = struct.pack("<2I", 1 << 30, 1 << 30)
NEAR = (1 << 63) - 1
BYTES = storage(kind="torch.storage\nUntypedStorage", count=16)
VIEW_BEYOND = storage(is_legacy=True, view=("1", 3, 2))
TENSOR_OF_LEGACY = tensor(of=storage(is_legacy=True))
GOOD_ZIP = torch_zip(tensor())
FIRST_STORAGE = struct.pack("<I", GOOD_ZIP.index(b"archive/data/0") - 30)  # where its header is
GOOD_LEGACY = legacy(TENSOR_OF_LEGACY)
MODULE = b"c__torch__\nX\n)\x81"
SHARED = b"(" + b"".join(map(lit, range(5_000))) + b"lq\x000"  # a list that many others are then made of


def chained(times: int, body: bytes) -> bytes:
    return b"(" + body * times + b"l"


HOSTILE: dict[str, tuple[bytes, str]] = {
    # Tensors.
    "negative stride": (torch_zip(tensor(stride=(-2, 1))), "is -2"),
    "negative size": (torch_zip(tensor(size=(-2, 2))), "is -2"),
    "negative offset": (torch_zip(tensor(offset=-1)), "is -1"),
    "huge shape": (torch_zip(tensor(size=(HUGE, HUGE))), "more elements than a machine can address"),
    "large shape": (torch_zip(tensor(size=(1 << 20, 1 << 20))), "does not fit"),
    "huge shape without elements": (torch_zip(tensor(size=(0, NEAR))), "more elements than a machine can address"),
    "offset out of the storage": (torch_zip(tensor(offset=1)), "does not fit"),
    "offset near 2**63": (torch_zip(tensor(offset=NEAR)), "does not fit"),
    "strides whose sum wraps around": (torch_zip(tensor(size=(3, 1), stride=(NEAR, 1))), "does not fit"),
    "stride 0 to 1 TB": (torch_zip(tensor(size=(1 << 38,), stride=(0,))), "does not fit"),
    "as many strides as not": (torch_zip(tensor(stride=(1,))), "number of strides"),
    "33 axes": (torch_zip(tensor(size=(1,) * 33, stride=(1,) * 33)), "up to 32"),
    "a float as size": (torch_zip(tensor(size=(2.0, 2))), r"is 2\.0"),
    "a bool as size": (torch_zip(tensor(size=(True, 2))), "is True"),
    "a list as size": (torch_zip(tensor(size=[2, 2])), "no tuple"),
    "no storage": (torch_zip(tensor(of=lit("storage"))), "has no storage"),
    "conjugated": (torch_zip(tensor(more=lit({"conj": True}))), "conjugated"),
    "complex": (torch_zip(tensor(of=storage(kind="torch\nComplexFloatStorage"))), r"complex numbers \(torch\.Complex"),
    "quantised": (torch_zip(call("torch._utils", "_rebuild_qtensor")), "quantised tensors"),
    "sparse": (torch_zip(call("torch._utils", "_rebuild_sparse_tensor")), "sparse tensors"),
    "float8": (
        torch_zip(tensor(of=BYTES, more=b"ctorch\nfloat8_e5m2\n", version=3)),
        "float8_e5m2",
    ),
    "a tensor with too few arguments": (torch_zip(call("torch._utils", "_rebuild_tensor_v2", 1)), "other arguments"),
    "a parameter of nothing": (torch_zip(call("torch._utils", "_rebuild_parameter", 1, True, ())), "no tensor"),
    # Storages.
    "a key that climbs": (torch_zip(tensor(of=storage("../../etc/passwd"))), r"refers to archive/data/\.\./\.\./etc"),
    "legacy: a key that moves the cursor": (
        legacy(tensor(of=storage("\x1b[2J" * 999, 5, is_legacy=True)), ["\x1b[2J" * 999]),
        "storage \ufffd.2J.*… would end",
    ),
    "an absolute key": (torch_zip(tensor(of=storage("/etc/passwd"))), "which it does not hold"),
    "a key that is a tuple": (torch_zip(tensor(of=storage(("0",)))), "no class or no key"),
    "more elements than bytes": (torch_zip(tensor(of=storage(count=5))), "16 bytes for 5 elements"),
    "1 TB of elements": (torch_zip(tensor(of=storage(count=1 << 38))), "16 bytes for 274,877,906,944"),
    "negative count": (torch_zip(tensor(of=storage(count=-4))), "is -4"),
    "a storage of two dtypes": (torch_zip(b"(" + tensor() + storage(kind="torch\nIntStorage") + b"l"), "int32"),
    "persistent id: a text": (torch_zip(lit("storage") + b"Q"), "no storage"),
    "persistent id: too short": (torch_zip(lit(("storage", 1)) + b"Q"), "no storage"),
    "persistent id: a module": (legacy(lit(("module", 0, "net.py", "import os", 0, 0)) + b"Q"), "no storage"),
    "persistent id: no class": (torch_zip(lit(("storage", "torch.FloatStorage", "0", "cpu", 4)) + b"Q"), "no class"),
    "persistent id: numpy.ndarray for a class": (torch_zip(storage(kind="numpy\nndarray")), "no class"),
    "persistent id in a plain pickle": (plain(storage()), "refers to data that it does not hold"),
    "persistent id of protocol 0": (torch_zip(b"P0\n"), "PERSID"),
    "legacy: lying count": (legacy(TENSOR_OF_LEGACY, storages=struct.pack("<q", 5) + bytes(20)), "5 where it lies"),
    "legacy: negative count": (legacy(TENSOR_OF_LEGACY, storages=b"\xff" * 8 + bytes(16)), "-1 where it lies"),
    "legacy: 1 TB": (legacy(tensor(of=storage(count=1 << 38, is_legacy=True))), "cut off: storage 0 would end"),
    "legacy: view out of range": (legacy(tensor(of=VIEW_BEYOND, size=(2,), stride=(1,))), "elements 3 to 5"),
    "legacy: view before it": (legacy(tensor(of=storage(is_legacy=True, view=("1", -1, 2)))), "is -1"),
    "legacy: view of the wrong shape": (legacy(tensor(of=storage(is_legacy=True, view=("1", 2)))), "not described"),
    "legacy: no keys": (legacy(TENSOR_OF_LEGACY, keys=()), "list of storages"),
    "legacy: other keys": (legacy(TENSOR_OF_LEGACY, keys=("7",)), "list of storages"),
    "legacy: a key twice": (legacy(TENSOR_OF_LEGACY, keys=("0", "0")), "list of storages"),
    "legacy: bytes behind the end": (GOOD_LEGACY + b"x", "1 bytes follow"),
    "legacy: big-endian": (legacy(TENSOR_OF_LEGACY, little=False), "big-endian"),
    "legacy: two descriptions": (
        legacy(b"(" + TENSOR_OF_LEGACY + storage(count=3, is_legacy=True) + b"l"),
        "described in two ways",
    ),
    "big-endian": (zipped({"a/data.pkl": plain(b"}"), "a/byteorder": b"big"}), "big-endian"),
    # Zips.
    "bomb: the pickle": (bomb("data.pkl"), "decompression bomb|are not read"),
    "bomb: a storage": (bomb("data/0"), "decompression bomb"),
    "lying size of a storage": (in_directory(GOOD_ZIP, 20, GIGABYTE_TWICE), "contradicts"),
    "lying sizes in both headers": (
        in_header(in_directory(GOOD_ZIP, 20, GIGABYTE_TWICE), 18, GIGABYTE_TWICE),
        "reach beyond",
    ),
    "two sizes of one stored member": (in_directory(GOOD_ZIP, 24, struct.pack("<I", 1 << 30)), "two different sizes"),
    "zip64 sizes that are not there": (in_directory(GOOD_ZIP, 20, b"\xff" * 8), "64-bit sizes"),
    "another name in the header": (in_header(GOOD_ZIP, 30, b"archive/data/9"), "calls another member"),
    "another method in the header": (in_header(GOOD_ZIP, 8, b"\x08"), "contradicts"),
    "encrypted": (in_header(in_directory(GOOD_ZIP, 8, b"\x01"), 6, b"\x01"), "encrypted"),
    "a checksum that fails": (GOOD_ZIP.replace(bytes(16), bytes(15) + b"\x01"), "checksum"),
    "two entries for one member": (
        in_directory(torch_zip(tensor(), {"0": bytes(16), "1": bytes(16)}), 42, FIRST_STORAGE, b"archive/data/1"),
        "calls another member",
    ),
    "a member within another": (nested_in_storage(), "overlaps"),
    "duplicate members": (duplicated(), "two members of the name archive/data/0"),
    "a header beyond the file": (in_directory(GOOD_ZIP, 42, b"\xff\xff\xff\x7f"), "not where the directory"),
    "too many members": (patched(GOOD_ZIP, len(GOOD_ZIP) - 14, b"\xff\xff\xff\xff"), "said to have 65,535 members"),
    "one disk of two": (patched(GOOD_ZIP, len(GOOD_ZIP) - 18, b"\x01"), "several files"),
    "a directory elsewhere": (patched(GOOD_ZIP, len(GOOD_ZIP) - 6, b"\x00\x00\x00\x00"), "not where it says"),
    "two data.pkl": (zipped({"a/data.pkl": plain(b"}"), "b/data.pkl": plain(b"}")}), "2 data.pkl"),
    "no data.pkl": (zipped({"images.npy": b""}), "0 data.pkl"),
    "bytes behind the pickle": (torch_zip(b"}." + b"x" * 10), "bytes follow the end of its data.pkl"),
    "constants without a module": (torch_zip(b"}", constants__pkl=plain(b")")), "no module that they belong to"),
    # Pickles.
    "memo index 2**32-1": (plain(b"]r\xff\xff\xff\xff"), "numbers an object 4,294,967,295"),
    "memo index in digits": (plain(b"]p99999999999\n"), "numbers an object 99,999,999,999"),
    "memo index that was never set": (plain(b"h\x05"), "does not exist"),
    "memo of an empty stack": (plain(b"q\x00"), "than was put there"),
    "LONG4 of 2 GB": (plain(b"\x8b\xff\xff\xff\x7f"), "whole number of 2,147,483,647 bytes"),
    "LONG4 of less than nothing": (plain(b"\x8b\xff\xff\xff\xff"), "whole number of -1 bytes"),
    "a million digits": (plain(b"L" + b"9" * 1_000_000 + b"L\n"), "a line of more than"),
    "digits that are none": (plain(b"Iabc\n"), "is written b'abc'"),
    "BINUNICODE8 that lies": (plain(b"\x8d" + struct.pack("<Q", 1 << 60)), "wants 1,152,921,504,606,846,976 more"),
    "BINBYTES8 that lies": (plain(b"\x8e" + struct.pack("<Q", (1 << 64) - 1)), "cut off or damaged"),
    "BYTEARRAY8 that lies": (plain(b"\x96" + struct.pack("<Q", HUGE)), "cut off or damaged"),
    "BINSTRING of less than nothing": (plain(b"T\xff\xff\xff\xff"), "wants -1 more"),
    "FRAME that lies": (b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"}.", "cut off or damaged"),
    "protocol 200": (b"\x80\xc8}.", "protocol 200"),
    "a text that is no UTF-8": (plain(b"X\x02\x00\x00\x00\xff\xfe"), "is none"),
    "half a character": (plain(b"V\\ud800\n"), "is none"),
    "billion laughs in lists": (plain(laughs(b"]", b"]", b"e")), "unfolds to more"),
    "billion laughs in tuples": (plain(laughs(b")", b"", b"t")), "unfolds to more"),
    "billion laughs in dicts": (plain(laughs(b"}", b"}", b"u", b"(K\x00?K\x01?")), "unfolds to more"),
    "billion laughs in modules": (plain(laughs(b"}", MODULE + b"}", b"ub", b"(\x8c\x01a?\x8c\x01b?")), "unfolds to"),
    "a key that takes 2**40 steps to hash": (plain(b"}" + laughs(b")", b"", b"t") + b"Ns"), "a key, or"),
    "a member that takes 2**40 steps to hash": (plain(b"\x8f(" + laughs(b")", b"", b"t") + b"\x90"), "member of a set"),
    "a key of 256 bits": (plain(b"}\x8a\x20" + b"\x01" * 32 + b"Ns"), "a key, or"),
    "100,000 lists in each other": (plain(b"]" * 100_000 + b"a" * 99_999), "nested 64 deep|many times"),
    "1,000 dicts in each other": (plain(b"}N" * 1_000 + b"}" + b"s" * 1_000), "nested 64 deep"),
    "100,000 tuples in each other": (plain(b")" + b"\x85" * 100_000), "nested 64 deep"),
    "100,000 marks": (plain(b"(" * 100_000), "many times its own size"),
    "a list that holds itself": (plain(b"]q\x00h\x00a"), "within itself"),
    "a dict that holds itself": (plain(b"}q\x00K\x01h\x00s"), "within itself"),
    "a tuple that holds itself": (plain(b"]q\x00h\x00\x85a"), "within itself"),
    "a module that holds itself": (plain(b"c__torch__\nX\n)\x81q\x00}\x8c\x01ah\x00sb"), "within itself"),
    "a million sets": (plain(b"(" + b"\x8f" * 1_000_000 + b"l"), "many times its own size"),
    "a million dicts of one": (plain(b"(" + b"}NNs" * 1_000_000 + b"l"), "many times its own size"),
    "a list as 1,000 sets": (plain(SHARED + chained(1_000, b"cbuiltins\nset\nh\x00\x85R")), "many times its own size"),
    "a list of one value as 10,000 sets": (
        plain(b"(" + b"N" * 20_000 + b"lq\x000" + chained(10_000, b"cbuiltins\nset\nh\x00\x85R")),
        "many times its own size",
    ),
    "a class with a name of 100,000 letters": (
        plain(lit("__torch__") + lit("x" * 100_000) + b"\x93"),
        "name is 100,009 letters long",
    ),
    "a text as 10,000 bytes objects": (
        plain(lit("x" * 100_000) + b"q\x000" + chained(10_000, b"c_codecs\nencode\nh\x00\x8c\x06latin1\x86R")),
        "many times its own size",
    ),
    "an odd dictionary": (plain(b"}(Nu"), "key without a value"),
    "items of a list": (plain(b"](NNu"), "sets items of a value of type list"),
    "members of a dict": (plain(b"}(N\x90"), "adds members to a value of type dict"),
    "elements of a dict": (plain(b"}Na"), "appends to a value of type dict"),
    "a mark that was never set": (plain(b"t"), "mark that was never set"),
    "an empty stack": (plain(b""), "than was put there"),
    "two values": (plain(b"NN"), "stops in the middle"),
    "an OrderedDict of numbers": (plain(call("collections", "OrderedDict", [1, 2])), "not made of pairs"),
    "bytes of 1 TB of zeros": (plain(call("builtins", "bytes", HUGE)), "bytes are not made of bytes"),
    "a bytearray of 1 TB of zeros": (plain(call("builtins", "bytearray", HUGE)), "bytes are not made of bytes"),
    # NumPy.
    "an array of objects": (pickle.dumps(np.array([1, "x"], object)), "dtype O8"),
    "an array of objects, protocol 2": (pickle.dumps(np.array([None]), 2), "dtype O8"),
    "an array of records": (pickle.dumps(np.zeros(2, "f4,i4")), "dtype V8"),
    "an array of texts": (pickle.dumps(np.array(["ab"])), "dtype U2"),
    "an array of complex numbers": (pickle.dumps(np.zeros(2, complex)), "dtype c16"),
    "an array of times": (pickle.dumps(np.zeros(2, "M8[s]")), "dtype M8"),
    "fields of a plain dtype": (plain(array(state=(3, "<", None, ("a",), {"a": 1}, 4, 1, 0))), "of records"),
    "a dtype of no byte order": (plain(array(state=(3, "?", None, None, None, -1, -1, 0))), "incomplete"),
    "an array larger than its bytes": (plain(array(shape=(1 << 38,))), "has 8 bytes"),
    "an array of negative shape": (plain(array(shape=(-2,))), "is -2"),
    "an array of no dtype": (plain(array(dtype=b"N}")), "damaged|attributes"),
    "a matrix": (plain(b"cnumpy\nmatrix\n"), r"run numpy\.matrix"),
    "an array of a list": (plain(array().replace(b"C\x08" + bytes(8), b"]")), "no dtype or no bytes"),
    "an array that is used before it is filled": (
        plain(array()[: array().index(b"(K\x01")] + b"\x85"),
        r"uses numpy\.ndarray before it is complete",
    ),
    "an array that is never filled": (plain(array()[: array().index(b"(K\x01")]), "before it is complete"),
    # No weights at all.
    "empty": (b"", "is empty"),
    "a text": (b"This is no checkpoint.\n", "neither a PyTorch file nor a pickle"),
    "a pointer of git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "neither"),
    "a web page": (b"\n<!DOCTYPE html><html><title>404 Not Found</title></html>", "is a web page"),
    "an answer in XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
    "zeros": (bytes(1000), "neither a PyTorch file nor a pickle"),
    "safetensors": (struct.pack("<Q", 50) + b'{"x":{"dtype":"F32"}}', "neither"),
    "one byte": (b"\x80", "cut off"),
    "a truncated zip": (GOOD_ZIP[:-30], "cut off"),
    "a zip without its first half": (GOOD_ZIP[:4] + GOOD_ZIP[200:], "not where it says"),
    "a truncated legacy file": (GOOD_LEGACY[:-5], "cut off"),
    "a legacy file that ends before its storages": (GOOD_LEGACY[:-24], "cut off"),
    "a truncated pickle": (pickle.dumps({"mu": np.zeros(100)})[:500], "cut off"),
    "a pickle and more": (pickle.dumps({}) * 2, "bytes follow"),
    # Names.
    "two tensors of one name": (
        plain(b"}(" + lit("a.b") + array() + lit("a") + b"}" + lit("b") + array() + b"su"),
        r"two tensors of the name a\.b",
    ),
    "a name that is None": (plain(b"}N" + array() + b"s"), "None stands where the name"),
    "a name of 1,001 letters": (plain(b"}" + lit("x" * 1_001) + array() + b"s"), "more than 1,000 characters"),
    "50,001 tensors": (plain(array() + b"q\x000" + chained(50_001, b"h\x00")), "more than 50,000 tensors"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused(case: str) -> None:
    error = require_refused(*HOSTILE[case])
    assert isinstance(error.__cause__, Damage)


def test_instructions_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle may do nothing for a long time."""
    monkeypatch.setattr("genmetrics_rt.checkpoints.pickles.MAX_INSTRUCTIONS", 1_000)
    assert read_checkpoint(plain(b"N0" * 400 + b"}"), what="x") == {}
    require_refused(plain(b"N0" * 600 + b"}"), "more than 1,000 instructions")


def test_an_old_tar_of_weights_is_refused() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    require_refused(file.getvalue(), "neither a PyTorch file nor a pickle")


def test_the_good_files_are_good() -> None:
    for content in (GOOD_ZIP, GOOD_LEGACY, plain(array())):
        (found,) = flatten(read_checkpoint(content, what="x")).values()
        assert not found.any()


def test_zips_of_other_writers_are_read() -> None:
    """64-bit sizes, a comment, and compressed members that nothing refers to."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = b"zipped again"
        archive.writestr("a/code/net.py", "x" * 1000, zipfile.ZIP_DEFLATED)
        archive.mkdir("a/data")
        for name, content in {"a/data.pkl": plain(tensor()), "a/data/0": np.arange(4, dtype="<f4").tobytes()}.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
    assert read_checkpoint(file.getvalue(), what="x").tolist() == [[0, 1], [2, 3]]


def test_a_large_tensor_without_elements_takes_nothing() -> None:
    found = read_checkpoint(torch_zip(tensor(size=(0, 1 << 30))), what="x")
    assert found.shape == (0, 1 << 30)


def test_flatten_guards_itself_against_trees_from_elsewhere() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for tree in (loop, {"x": loop}):
        with pytest.raises(UnreadableInput, match="within itself"):
            flatten(tree)
    with pytest.raises(UnreadableInput, match=r"^w\.pth .*no text"):
        flatten({1.5: np.ones(2)}, what="w.pth")

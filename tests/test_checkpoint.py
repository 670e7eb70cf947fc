"""Checkpoints are read as torch reads them, bit by bit, without torch. (Hostile ones: test_checkpoint_hostile.py.)"""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import tracemalloc
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from genmetrics_rt.checkpoints.checkpoint import flatten, read_checkpoint  # noqa: E402
from genmetrics_rt.checkpoints.pickle_machine import Symbol  # noqa: E402
from genmetrics_rt.errors import UnreadableInput  # noqa: E402

DTYPES = "float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool".split()
CONTAINERS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


def saved(value: Any, is_zip: bool = True, **settings: Any) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own about storages
        torch.save(value, file, _use_new_zipfile_serialization=is_zip, **settings)
    return file.getvalue()


def read(content: bytes) -> Any:
    return read_checkpoint(content, what="weights.pth")


def assert_same(array: Any, tensor: Any) -> None:
    expected = tensor.detach()
    expected = (expected.float() if expected.dtype == torch.bfloat16 else expected).numpy()
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    assert array.tobytes() == expected.tobytes()
    assert not array.flags.writeable


def assert_view(array: np.ndarray, content: bytes) -> None:
    assert np.shares_memory(array, np.frombuffer(content, np.uint8))


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)
        self.register_buffer("grid", torch.arange(6.0).reshape(2, 3))
        self.sizes = [1, 2]
        self.rates = [0.5]
        self.flags = [True]
        self.table = {"a": 1.5}
        self.pair = (1, "x")
        self.pieces = [torch.ones(2), torch.zeros(3)]
        self.large = 1 << 40
        self.nothing = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x)) * torch.tensor([3.0]).sum() + self.sizes[0] + self.pieces[0].sum()


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    network = Network()
    network(torch.randn(4, 3, 8, 8))  # so that the running statistics are not the initial ones
    return network.eval()


@CONTAINERS
def test_a_state_dict(network: Network, is_zip: bool) -> None:
    content, expected = saved(network.state_dict(), is_zip), network.state_dict()
    tree = read(content)
    assert list(tree) == list(expected)
    for name, tensor in expected.items():
        assert_same(tree[name], tensor)
        assert_view(tree[name], content)
    assert tree["bn.num_batches_tracked"].shape == ()


@CONTAINERS
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype: str, is_zip: bool) -> None:
    tensor = torch.arange(-3, 9).to(getattr(torch, dtype)).reshape(3, 4)
    content = saved({"x": tensor, "rows": tensor[1:], "empty": tensor[:0]}, is_zip)
    tree = read(content)
    assert_same(tree["x"], tensor)
    assert_same(tree["rows"], tensor[1:])
    assert_same(tree["empty"], tensor[:0])
    if dtype == "bfloat16":  # widened once for all tensors of the storage
        assert np.shares_memory(tree["x"], tree["rows"])
    else:
        assert_view(tree["x"], content)


@CONTAINERS
@pytest.mark.parametrize("pattern", [0x0000, 0x8000, 0x0001, 0x7F80, 0xFF80, 0x7FC1, 0x3F80])
def test_bfloat16_keeps_every_bit(pattern: int, is_zip: bool) -> None:
    """Zeros, subnormals, infinities, NaN: the bits are the upper half of a float32."""
    tensor = torch.tensor([pattern], dtype=torch.uint16).view(torch.bfloat16)
    assert read(saved(tensor, is_zip)).view(np.uint32).item() == pattern << 16


@CONTAINERS
def test_nested_trees_keep_their_order(network: Network, is_zip: bool) -> None:
    tree = read(
        saved(
            {
                "state_dict": {"module." + name: tensor for name, tensor in network.state_dict().items()},
                "epoch": 3,
                "best": 91.78,
                "arch": "résnet",
                "history": [1.0, (2, None, True)],
                "large": 1 << 100,
                "optimizer": {"state": {0: {"step": torch.tensor(5.0)}}, "param_groups": [{"lr": 1e-3}]},
                "shape": torch.Size([2, 3]),
                "dtype": torch.float32,
                "raw": b"bytes",
                "set": {1, 2},
            },
            is_zip,
        )
    )
    assert (tree["epoch"], tree["best"], tree["arch"], tree["large"]) == (3, 91.78, "résnet", 1 << 100)
    assert tree["history"] == [1.0, (2, None, True)]
    assert tree["shape"] == (2, 3) and tree["set"] == {1, 2} and tree["raw"] == b"bytes"
    assert tree["dtype"] == Symbol("torch.float32")
    names = [f"state_dict.module.{name}" for name in network.state_dict()]
    assert list(flatten(tree)) == [*names, "optimizer.state.0.step"]


@CONTAINERS
def test_views_share_their_storage(is_zip: bool) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    one = torch.ones(1)
    tensors = {
        "base": base,
        "transposed": base.T,
        "slice": base[1:3, 2:5],
        "stepped": base[::2, ::3],
        "permuted": base.reshape(2, 3, 4).permute(2, 0, 1),
        "element": base[2, 3],
        "none": base[4:],
        "odd stride": one.as_strided((1, 1), (1 << 40, 7)),
        "tied": base,
        "parameter": torch.nn.Parameter(base),
    }
    content = saved(tensors, is_zip)
    tree = read(content)
    for name, tensor in tensors.items():
        assert_same(tree[name], tensor)
    for name in ("transposed", "slice", "stepped", "permuted", "element", "tied", "parameter"):
        assert np.shares_memory(tree["base"], tree[name]), name


@CONTAINERS
def test_parameters_and_numpy_inside(is_zip: bool) -> None:
    values = {
        "p": torch.nn.Parameter(torch.ones(2, 3), requires_grad=False),
        "list": torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(2))]).state_dict(),
        "array": np.arange(6, dtype=np.int16).reshape(2, 3),
        "scalar": np.float32(0.1),
    }
    tree = read(saved(values, is_zip))
    assert_same(tree["p"], values["p"])
    assert_same(tree["list"]["0"], torch.zeros(2))
    assert tree["array"].dtype == np.int16 and np.array_equal(tree["array"], values["array"])
    assert tree["scalar"].dtype == np.float32 and tree["scalar"] == values["scalar"]


def test_a_bare_tensor_and_an_empty_tree() -> None:
    assert_same(flatten(read(saved(torch.ones(3))))[""], torch.ones(3))
    assert flatten(read(saved({}))) == {}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@CONTAINERS
def test_other_pickle_protocols(network: Network, protocol: int, is_zip: bool) -> None:
    tree = read(saved(network.state_dict(), is_zip, pickle_protocol=protocol))
    assert_same(tree["conv.weight"], network.conv.weight)


def test_a_zip_without_checksums() -> None:
    torch.serialization.set_crc32_options(False)
    try:
        content = saved({"x": torch.arange(5)})
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(read(content)["x"], torch.arange(5))


@pytest.mark.parametrize("is_traced", [True, False], ids=["traced", "scripted"])
def test_torchscript(network: Network, is_traced: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.trace(network, torch.ones(1, 3, 8, 8)) if is_traced else torch.jit.script(network)
        file = io.BytesIO()
        torch.jit.save(module, file)
    content = file.getvalue()
    tree = read(content)
    arrays = flatten(tree)
    for name, tensor in module.state_dict().items():
        assert_same(arrays[name], tensor)
        assert_view(arrays[name], content)
    if is_traced:  # the literal 3 of the network's code
        assert float(tree["CONSTANTS"]["c0"].sum()) == 3 and "CONSTANTS.c0" in arrays
    else:
        assert (tree["sizes"], tree["rates"], tree["flags"]) == ([1, 2], [0.5], [True])
        assert (tree["table"], tree["pair"], tree["large"], tree["nothing"]) == ({"a": 1.5}, (1, "x"), 1 << 40, None)
        assert [array.tolist() for array in tree["pieces"]] == [[1, 1], [0, 0, 0]]
        assert tree["conv"].name.endswith(".Conv2d")


# Plain pickles.


def statistics() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "fid": {"mu": rng.normal(size=5), "sigma": rng.normal(size=(5, 5))},
        "fortran": np.asfortranarray(rng.normal(size=(3, 4)).astype(np.float32)),
        "permuted": rng.normal(size=(2, 3, 4)).transpose(1, 0, 2),
        "strided": np.arange(10)[::2],
        "empty": np.zeros((0, 3), np.float32),
        "none": np.array(7),
        "big-endian": np.arange(3, dtype=">f8"),
        "half": np.ones(2, np.float16),
        "bool": np.array([True, False]),
        "tied": [np.arange(3)] * 2,
        "scalar": np.float64(0.1),
        "small": np.int8(-3),
    }


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_arrays(protocol: int) -> None:
    expected = statistics()
    tree = read(pickle.dumps(expected, protocol))
    assert list(tree) == list(expected)
    for name, array in expected.items():
        if isinstance(array, np.ndarray | np.generic):
            assert (tree[name].dtype, tree[name].shape) == (array.dtype, array.shape), name
            assert tree[name].tobytes() == array.tobytes() and not tree[name].flags.writeable, name
    assert np.array_equal(tree["fid"]["sigma"], expected["fid"]["sigma"])
    assert tree["tied"][0] is tree["tied"][1]
    assert list(flatten(tree))[:2] == ["fid.mu", "fid.sigma"]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_large_arrays_of_a_plain_pickle_are_views(protocol: int) -> None:
    content = pickle.dumps({"mu": np.arange(1e5)}, protocol)
    assert_view(read(content)["mu"], content)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_everything_else(protocol: int) -> None:
    shared = ["x"]
    expected = {
        "numbers": [0, 1, -1, 255, 256, 65536, -(1 << 31), 1 << 31, 1 << 70, -(1 << 70), 0.1, -0.0, float("inf")],
        "texts": ["", "a" * 300, "é", "線", "\U0001f600", "line\nbreak\\"],
        "others": (None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}),
        "bytes": [b"", b"abc", b"\xff" * 300, bytearray(b"xy")],
        "sets": [set(), {1, 2}, frozenset({"a"}), frozenset()],
        "ordered": OrderedDict(a=1, b=[2]),
        "shared": [shared, shared],
        3: "number",
    }
    tree = read(pickle.dumps(expected, protocol))
    assert tree == expected
    assert tree["shared"][0] is tree["shared"][1]


def test_a_memoryview_and_a_writable_buffer_give_read_only_arrays() -> None:
    content = bytearray(saved({"x": torch.arange(3)}))
    for given in (memoryview(content), memoryview(bytes(content))):
        assert_same(read_checkpoint(given, what="x")["x"], torch.arange(3))


# Real files, written long ago.


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["resnet20_cifar10.th", "lpips_v0.1_alex.pth", "lpips_v0.1_squeeze.pth", "lpips_v0.1_vgg.pth"]
)
def test_published_legacy_checkpoints(data: Path, name: str) -> None:
    """LPIPS's were written by Python 2, and all of them on a GPU."""
    path = data / "weights" / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    content = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.load(path, map_location="cpu", weights_only=True)
    tree = read(content)
    assert list(tree) == list(expected)
    found, tensors = flatten(tree), expected.get("state_dict", expected)
    assert len(found) == len(tensors)
    for array, tensor in zip(found.values(), tensors.values(), strict=True):
        assert_same(array, tensor)
        assert_view(array, content)
    assert tree.get("best_prec1") == expected.get("best_prec1")


def test_reading_needs_no_torch(tmp_path: Path, network: Network) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(saved(network.state_dict()))
    code = (
        "import sys, pathlib; from genmetrics_rt.checkpoints.checkpoint import *; "
        f"tree = read_checkpoint(pathlib.Path({str(path)!r}).read_bytes(), what='x'); "
        "print(len(flatten(tree)), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == [str(len(network.state_dict())), "False"]


# Damage.


@pytest.fixture(scope="module")
def containers(network: Network) -> dict[str, bytes]:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), file)
    state = {
        **network.state_dict(),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "permuted": network.conv.weight.permute(1, 0, 3, 2),
    }
    return {
        "zip": saved(state),
        "legacy": saved(state, is_zip=False),
        "torchscript": file.getvalue(),
        "protocol 0": pickle.dumps(statistics(), 0),
        "protocol 2": pickle.dumps(statistics(), 2),
        "protocol 5": pickle.dumps(statistics(), 5),
    }


def require_read_or_refused(content: bytes) -> None:
    """Whatever was done to a file, it is read or refused by the one error, and takes memory in proportion."""
    tracemalloc.start()
    try:
        flatten(read(content))
    except UnreadableInput as error:
        assert str(error).startswith(("weights.pth ", "The checkpoint "))
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < len(content) + (8 << 20)


@pytest.mark.parametrize("container", ["zip", "legacy", "torchscript", "protocol 0", "protocol 2", "protocol 5"])
def test_damaged_bytes_raise_no_other_error(containers: dict[str, bytes], container: str) -> None:
    content = containers[container]
    require_read_or_refused(content)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[at] = rng.choice([damaged[at] ^ (1 << rng.integers(8)), 0, 255, rng.integers(256)])
        require_read_or_refused(bytes(damaged))


@pytest.mark.parametrize("container", ["zip", "legacy", "torchscript", "protocol 0", "protocol 2", "protocol 5"])
def test_truncated_files_are_refused(containers: dict[str, bytes], container: str) -> None:
    content = containers[container]
    for size in np.random.default_rng(0).integers(1, len(content), 200):
        with pytest.raises(UnreadableInput, match=r"cut off|damaged|web page|neither"):
            read(content[:size])

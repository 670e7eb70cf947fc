"""Bundles are trusted only after every check; hostile ones are refused with a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import genmetrics_rt as gm
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.onnx_file import external_data
from tests import makers


@pytest.fixture
def bundle(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "bundle"))


def edit(folder: Path, **changes: object) -> None:
    record = json.loads((folder / "manifest.json").read_text())
    record.update(changes)
    (folder / "manifest.json").write_text(json.dumps(record))


def test_a_good_bundle_opens(bundle: Path) -> None:
    opened = gm.load_bundle(bundle)
    opened.verify()
    assert (opened.name, opened.kind) == ("tiny", "extractor")
    assert opened.manifest.protocol().size == (8, 8)


def test_unknown_name_lists_what_ships() -> None:
    with pytest.raises(gm.MissingBundle, match="scattering"):
        gm.load_bundle("no-such-bundle")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"schema": "genmetrics.bundle/2"}, "schema"),
        ({"kind": "program"}, "kind"),
        ({"name": "../evil"}, "plain name"),
        ({"files": {}}, "files"),
        ({"files": {"../../etc/passwd": {"sha256": "0" * 64, "bytes": 1, "form": "onnx"}}}, "plain name"),
        ({"files": {"/etc/passwd": {"sha256": "0" * 64, "bytes": 1, "form": "onnx"}}}, "plain name"),
        ({"files": {"manifest.json": {"sha256": "0" * 64, "bytes": 1, "form": "onnx"}}}, "plain name"),
        ({"files": {"graph.onnx": {"sha256": "short", "bytes": 1, "form": "onnx"}}}, "sha256"),
        ({"files": {"graph.onnx": {"sha256": "0" * 64, "bytes": 1 << 60, "form": "onnx"}}}, "bytes"),
        ({"files": {"graph.onnx": {"sha256": "0" * 64, "bytes": -1, "form": "onnx"}}}, "bytes"),
        ({"files": {"graph.onnx": {"sha256": "0" * 64, "bytes": 1, "form": "pickle"}}}, "form"),
        ({"inputs": []}, "inputs"),
        ({"outputs": [{"name": "features", "dtype": "float32", "shape": ["N", 1 << 40]}]}, "shape"),
        ({"taps": {}}, "taps"),
        ({"taps": {"features": "elsewhere"}}, "taps"),
        ({"protocols": {}}, "protocols"),
        ({"protocols": {"p": {"size": [1 << 20, 8]}}}, "protocol"),
    ],
)
def test_a_hostile_manifest_is_refused(bundle: Path, changes: dict, complaint: str) -> None:
    edit(bundle, **changes)
    with pytest.raises(gm.DamagedBundle, match=complaint):
        gm.load_bundle(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "[" * 100_000])
def test_a_manifest_that_is_no_object_is_refused(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(gm.DamagedBundle):
        gm.load_bundle(bundle)


def test_a_huge_manifest_is_not_read(bundle: Path) -> None:
    with (bundle / "manifest.json").open("ab") as file:
        file.truncate(2 << 20)
    with pytest.raises(gm.DamagedBundle, match="bytes is refused"):
        gm.load_bundle(bundle)


def test_one_flipped_bit_is_found(bundle: Path) -> None:
    content = bytearray((bundle / "graph.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "graph.onnx").write_bytes(content)
    with pytest.raises(gm.DamagedBundle, match="not the file that was frozen"):
        open_graph(gm.load_bundle(bundle))


def test_another_size_is_found_before_reading(bundle: Path) -> None:
    with (bundle / "graph.onnx").open("ab") as file:
        file.truncate(50 << 30)  # sparse: reading it would exhaust the memory
    with pytest.raises(gm.DamagedBundle, match="its manifest says"):
        gm.load_bundle(bundle).verify()


def test_a_link_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "graph.onnx").rename(tmp_path / "elsewhere.onnx")
    (bundle / "graph.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(gm.DamagedBundle, match="link"):
        gm.load_bundle(bundle).verify()


def test_a_missing_file_is_said(bundle: Path) -> None:
    (bundle / "graph.onnx").unlink()
    with pytest.raises(gm.DamagedBundle, match=r"lacks its file graph\.onnx"):
        gm.load_bundle(bundle).verify()


def external_graph(location: str, offset: int, length: int) -> onnx.GraphProto:
    """A graph whose weights lie outside, inside the branch of an If so that the walk must go deep."""
    tensor = onnx.TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[192, 12])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, None)
    branch = helper.make_graph(
        [helper.make_node("MatMul", ["flat", "weights"], ["features"])], "b", [], [output], [tensor]
    )
    condition = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"], axis=1),
        condition,
        helper.make_node("If", ["yes"], ["features"], then_branch=branch, else_branch=branch),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 8, 8])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 12])
    return helper.make_graph(nodes, "external", [images], [features])


@pytest.mark.parametrize(
    ("location", "offset"),
    [("/etc/passwd", 0), ("../../secret", 0), ("weights.bin", 1), ("weights.bin", 1 << 40), ("other.bin", 0)],
)
def test_external_data_outside_the_bundle_is_refused(bundle: Path, location: str, offset: int) -> None:
    length = 192 * 12 * 4
    model = helper.make_model(external_graph(location, offset, length), opset_imports=[helper.make_opsetid("", 20)])
    (bundle / "graph.onnx").write_bytes(model.SerializeToString())
    (bundle / "weights.bin").write_bytes(bytes(length))
    record = json.loads((bundle / "manifest.json").read_text())
    makers.write_manifest(bundle, {key: record[key] for key in record if key != "files"})
    assert {entry["location"] for entry in external_data(model.SerializeToString())} == {location}
    with pytest.raises(gm.DamagedBundle, match="wants"):
        open_graph(gm.load_bundle(bundle))


@pytest.mark.parametrize("content", [b"\x3a\xff", b"\xff" * 20, b"not an onnx file", b"\x3a\x80\x80\x80\x80\x10"])
def test_a_file_that_is_no_graph_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "graph.onnx").write_bytes(content)
    record = json.loads((bundle / "manifest.json").read_text())
    makers.write_manifest(bundle, {key: record[key] for key in record if key != "files"})
    with pytest.raises(gm.DamagedBundle):
        open_graph(gm.load_bundle(bundle))


def test_numeric_id_ignores_what_changes_no_number(bundle: Path) -> None:
    before = gm.load_bundle(bundle).manifest
    edit(bundle, title="another title", frozen={"commit": "other"}, agreement={"rows": []}, version="2")
    after = gm.load_bundle(bundle).manifest
    assert after.digest() != before.digest()
    assert after.numeric_id(after.protocol()) == before.numeric_id(before.protocol())


@pytest.mark.parametrize("change", [{"scale": 1 / 128}, {"resize": "none"}, {"size": [9, 9]}, {"alpha": "drop"}])
def test_numeric_id_follows_the_protocol(bundle: Path, change: dict) -> None:
    before = gm.load_bundle(bundle).manifest
    edit(bundle, protocols={"tiny": {**makers.PROTOCOL, **change}})
    after = gm.load_bundle(bundle).manifest
    assert after.numeric_id(after.protocol()) != before.numeric_id(before.protocol())


def test_numeric_id_follows_the_graph(tiny: Path, tmp_path: Path) -> None:
    other = gm.load_bundle(makers.make_extractor(tmp_path / "other", seed=1)).manifest
    mine = gm.load_bundle(tiny).manifest
    assert other.numeric_id(other.protocol()) != mine.numeric_id(mine.protocol())


def test_an_unknown_protocol_is_a_mistake_of_the_caller_not_damage(bundle: Path) -> None:
    with pytest.raises(gm.InputError, match=r"no protocol 'clean'\. It supports: tiny") as caught:
        gm.load_bundle(bundle).manifest.protocol("clean")
    assert not isinstance(caught.value, gm.DamagedBundle)


def test_shipped_bundles_hold() -> None:
    names = gm.list_bundles()
    assert "scattering" in names
    for name in names:
        gm.load_bundle(name).verify()

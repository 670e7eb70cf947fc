"""The workshop: freezing is reproducible, and verification notices every kind of corruption."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from export.__main__ import main  # noqa: E402
from export.blueprint import Blueprint, Tolerance  # noqa: E402
from export.freeze import FILES, freeze, onnx_bytes  # noqa: E402
from export.registry import BLUEPRINTS  # noqa: E402
from export.verify import Disagreement, verify  # noqa: E402
from genmetrics_rt.bundle import list_bundles, load_bundle  # noqa: E402
from genmetrics_rt.errors import DamagedBundle  # noqa: E402
from genmetrics_rt.manifest import TensorSpec  # noqa: E402

REPOSITORY = Path(__file__).parent.parent
FACTORY = f"{__file__}:log_energy_blueprint"


class LogEnergy(torch.nn.Module):
    """A little of all that can go wrong: a padding mode, a weight, an epsilon, an integer output."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.tensor([[[[1.0, 2.0, 1.0], [0.0, 0.5, 0.0], [-1.0, -2.0, -1.0]]]]))

    def forward(self, images, weight):
        padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
        energy = torch.log(torch.nn.functional.conv2d(padded, self.kernel).square() + 0.01) * weight
        return energy, torch.clamp(torch.round(energy * 16), -128, 127).to(torch.int8)


def log_energy_blueprint(**changes) -> Blueprint:
    stream = np.random.RandomState(0)

    def probes():
        sizes = {"one": (1, 5, 4), "odd": (3, 7, 9)}
        drawn = {name: stream.uniform(-1, 1, (n, 1, h, w)).astype(np.float32) for name, (n, h, w) in sizes.items()}
        drawn["zero"] = np.zeros((2, 1, 4, 4), np.float32)
        return {name: {"images": images, "weight": np.float32([2])} for name, images in drawn.items()}

    settings = dict(
        name="log-energy",
        version="1",
        kind="kernel",
        title="log energy",
        label="",
        licence="Apache-2.0",
        command="python -m export freeze tests/test_export_freeze.py:log_energy_blueprint",
        module=LogEnergy().eval(),
        inputs=(TensorSpec("images", "float32", ("N", 1, "H", "W")), TensorSpec("weight", "float32", (1,))),
        outputs=(
            TensorSpec("energy", "float32", ("N", 1, "H", "W")),
            TensorSpec("levels", "int8", ("N", 1, "H", "W")),
        ),
        example={"images": torch.rand(2, 1, 5, 6), "weight": torch.ones(1)},
        probes=probes,
        tolerance=Tolerance(1e-5, 1e-5),
        selftest_range={"images": (-1.0, 1.0), "weight": (1.0, 2.0)},
        selftest_sizes={"H": 6, "W": 5},
    )
    return Blueprint(**(settings | changes))


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen") / "log-energy"
    freeze_in_another_process(folder)
    return folder


def freeze_in_another_process(folder: Path, source: Path = Path(__file__)) -> None:
    command = [sys.executable, "-m", "export", "freeze", f"{source}:log_energy_blueprint", "-o", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    folder.mkdir(exist_ok=True)
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


def copy_with_graph(frozen: Path, folder: Path, corrupt) -> Path:
    """A copy whose ONNX graph was changed and whose manifest names the hash of the changed file."""
    shutil.copytree(frozen, folder)
    model = onnx.load(folder / "graph.onnx")
    corrupt(model.graph)
    content = model.SerializeToString()
    (folder / "graph.onnx").write_bytes(content)
    record = json.loads((folder / "manifest.json").read_text())
    record["files"]["graph.onnx"] |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(record))
    return folder


def change_constant(graph, old: float, new: float) -> None:
    """Change the first entry of a constant that equals ``old``."""
    for constant in graph.initializer:
        values = onnx.numpy_helper.to_array(constant).copy()
        hits = np.flatnonzero(np.isclose(values, old, rtol=1e-6)) if values.dtype.kind == "f" else ()
        if len(hits):
            values.reshape(-1)[hits[0]] = new
            constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
            return
    raise AssertionError(f"the graph holds no {old}")


def change_padding(graph) -> None:
    node = next(node for node in graph.node if node.op_type == "Pad")
    next(attribute for attribute in node.attribute if attribute.name == "mode").s = b"edge"


def test_manifest_lists_every_form_probe_and_pair(frozen):
    record = json.loads((frozen / "manifest.json").read_text())
    assert {entry["form"] for entry in record["files"].values()} == {"onnx", "torchscript"}
    rows = record["agreement"]["rows"]
    assert {row["inputs"] for row in rows} == {"one", "odd", "zero", "self-test"}
    pairs = {"eager-torchscript", "eager-onnx", "eager-onnx unoptimised", "eager-numpy", "manifest-onnx"}
    assert {row["pair"] for row in rows} == pairs
    assert {row["output"] for row in rows} == {"energy", "levels"}
    assert len(rows) == 3 * 4 * 2 + 2


def test_the_graph_says_nothing_about_its_making(frozen):
    model = onnx.load(frozen / "graph.onnx")
    assert model.producer_name == "genmetrics-rt" and not model.producer_version and not model.metadata_props
    assert model.ir_version <= 10 and [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert [axis.dim_param for axis in model.graph.input[0].type.tensor_type.shape.dim] == ["N", "", "H", "W"]
    for name in ("graph.onnx", "graph.ts", "manifest.json"):
        assert str(REPOSITORY).encode() not in (frozen / name).read_bytes()


def test_freezing_twice_gives_the_same_bytes(frozen, tmp_path):
    # From a file of the same name at another place with other line numbers: neither may get into the bundle.
    moved = tmp_path / "moved" / Path(__file__).name
    moved.parent.mkdir()
    moved.write_text("\n\n" + Path(__file__).read_text())
    freeze_in_another_process(tmp_path / "again", moved)
    for name in ("graph.onnx", "graph.ts", "manifest.json"):
        assert (tmp_path / "again" / name).read_bytes() == (frozen / name).read_bytes(), name


def test_the_onnx_file_is_the_same_from_any_process(frozen):
    assert onnx_bytes(log_energy_blueprint()) == (frozen / "graph.onnx").read_bytes()
    assert onnx_bytes(log_energy_blueprint()) == (frozen / "graph.onnx").read_bytes()


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda graph: change_constant(graph, 0.5, 0.505),  # one weight
        lambda graph: change_constant(graph, 0.01, 0.0101),  # the epsilon
        change_padding,
    ],
    ids=["weight", "epsilon", "padding"],
)
def test_verify_notices_one_changed_value_of_the_graph(frozen, tmp_path, corrupt):
    folder = copy_with_graph(frozen, tmp_path / "copy", corrupt)
    load_bundle(folder).verify()  # the hashes hold: only the numbers can tell
    before = (folder / "manifest.json").read_bytes()
    agreement = verify(folder, log_energy_blueprint())
    assert not agreement.holds
    assert {row.pair for row in agreement.rows if not row.holds} >= {"eager-onnx", "manifest-onnx"}
    assert main(["verify", str(folder), "--blueprint", FACTORY]) == 1
    assert (folder / "manifest.json").read_bytes() == before  # a failed table is not written


def test_verify_refuses_a_flipped_byte_by_its_hash(frozen, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(frozen, folder)
    content = bytearray((folder / "graph.ts").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "graph.ts").write_bytes(content)
    with pytest.raises(DamagedBundle, match="sha256"):
        verify(folder, log_energy_blueprint())


def test_freeze_refuses_a_module_whose_trace_froze_a_branch(tmp_path):
    class Branching(LogEnergy):
        def forward(self, images, weight):
            scale = 2.0 if torch.jit.is_tracing() else 1.0  # a form that computes something else
            return super().forward(images * scale, weight)

    with pytest.raises(Disagreement, match="eager-torchscript"):
        freeze(log_energy_blueprint(module=Branching().eval()), tmp_path)


def test_an_integer_output_may_move_by_one_level_on_one_value_in_a_hundred(frozen):
    def shifted(share: float, levels: int):
        def twin(inputs):
            outputs = log_energy_blueprint().eager(inputs)
            flat = outputs["levels"].reshape(-1)
            flat[: int(share * flat.size)] += np.int8(levels)
            return outputs

        wide = {"wide": {"images": np.zeros((4, 1, 10, 10), np.float32), "weight": np.float32([1])}}
        return verify(frozen, log_energy_blueprint(numpy_reference=twin, probes=lambda: wide)).holds

    manifest = (frozen / "manifest.json").read_bytes()
    try:
        assert shifted(0.01, 1)
        assert not shifted(0.02, 1)
        assert not shifted(0.01, 2)
    finally:
        (frozen / "manifest.json").write_bytes(manifest)


def test_not_a_number_agrees_only_with_itself(frozen, tmp_path):
    shutil.copytree(frozen, tmp_path / "copy")
    probe = {"nan": {"images": np.full((2, 1, 4, 4), np.nan, np.float32), "weight": np.float32([1])}}

    def finite(inputs):
        return {name: np.zeros_like(value) for name, value in log_energy_blueprint().eager(inputs).items()}

    agreement = verify(tmp_path / "copy", log_energy_blueprint(probes=lambda: probe, numpy_reference=finite))
    held = {row.pair: row.holds for row in agreement.rows if row.output == "energy"}
    assert held["eager-onnx"] and not held["eager-numpy"]


def test_pt2_and_a_scripted_module_agree_too(tmp_path):
    agreement = freeze(log_energy_blueprint(torchscript="script"), tmp_path, formats=("onnx", "torchscript", "pt2"))
    assert agreement.holds
    assert "eager-pt2" in {row.pair for row in agreement.rows}


def test_command_line_exit_codes(frozen, tmp_path, capsys):
    assert main(["verify", str(frozen), "--blueprint", FACTORY]) == 0
    damaged = copy_with_graph(frozen, tmp_path / "copy", change_padding)
    assert main(["verify", str(damaged), "--blueprint", FACTORY]) == 1
    assert "FAIL eager-onnx" in capsys.readouterr().out
    assert main(["verify", str(tmp_path)]) == 2  # no bundle
    assert main(["verify", str(frozen)]) == 2  # no known code
    new = str(tmp_path / "new")
    assert main(["freeze", "nowhere.py:factory", "-o", new]) == 2
    assert main(["freeze", f"{__file__}:nothing", "-o", new]) == 2
    assert main(["freeze", FACTORY, "-o", new, "--format", "tflite"]) == 2


@pytest.mark.parametrize("form", ["onnx", "torchscript", "pt2"])
def test_the_command_freezes_and_verifies_each_form_by_itself(tmp_path, form):
    assert main(["freeze", FACTORY, "-o", str(tmp_path), "--format", form]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", FILES[form]}
    assert main(["verify", str(tmp_path), "--blueprint", FACTORY]) == 0


def test_a_shipped_bundle_is_frozen_again_by_its_name(tmp_path, capsys):
    assert main(["freeze", "digits-gan", "-o", str(tmp_path), "--format", "onnx,pt2"]) == 0
    assert "ok   eager-pt2" in capsys.readouterr().out
    again, shipped = load_bundle(tmp_path).manifest.record, load_bundle("digits-gan").manifest.record
    for key in ("title", "label", "licence", "latent"):
        assert again[key] == shipped[key]
    assert again["frozen"]["data"] == shipped["frozen"]["data"]
    assert main(["verify", str(tmp_path)]) == 2  # no graph.ts to take the weights from
    assert main(["verify", str(tmp_path), "--blueprint", "digits-gan"]) == 0


def test_a_loop_over_data_has_no_pt2_form_and_nothing_is_written(tmp_path, capsys):
    assert main(["freeze", "knn_radii", "-o", str(tmp_path / "new"), "--format", "onnx,pt2"]) == 2
    assert "knn_radii has no pt2 form" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_workshop_knows_the_code_of_every_shipped_bundle():
    shipped = {name for name in list_bundles() if not load_bundle(name).is_weight_free}
    assert set(BLUEPRINTS) == shipped


def test_packing_keeps_every_number_and_halves_what_float16_holds_exactly():
    from onnx import TensorProto, helper, numpy_helper

    from export.half import packed

    stream = np.random.RandomState(0)
    exact = stream.standard_normal((16, 16)).astype(np.float16).astype(np.float32)
    inexact = stream.standard_normal((16, 16)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "exact"], ["y"]), helper.make_node("MatMul", ["y", "inexact"], ["z"])]
    x, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 16]) for name in "xz")
    tensors = [numpy_helper.from_array(values, name) for name, values in (("exact", exact), ("inexact", inexact))]
    model = helper.make_model(helper.make_graph(nodes, "two", [x], [z], tensors))
    small = packed(model)
    onnx.checker.check_model(small, full_check=True)
    kinds = {tensor.name: tensor.data_type for tensor in small.graph.initializer}
    assert kinds == {"exact_half": TensorProto.FLOAT16, "inexact": TensorProto.FLOAT}
    inputs = {"x": stream.standard_normal((3, 16)).astype(np.float32)}
    before, after = (onnx.reference.ReferenceEvaluator(graph).run(None, inputs)[0] for graph in (model, small))
    np.testing.assert_array_equal(before, after)

"""Generators as sides: bundles and bare files, every way to be wrong, and samples that depend on nothing else."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import genmetrics_rt as gm
from genmetrics_rt.bare_generators import is_generator_file
from genmetrics_rt.generators import GeneratorSource, OpenGenerator, draw_latents
from genmetrics_rt.onnx_signature import read_signature
from genmetrics_rt.sides import open_side
from tests.makers import make_generator, write_manifest

SIZE = 8


def write_onnx(
    path: Path,
    *,
    latent: tuple[int | str, ...] = ("N", 4),
    classes: int = 0,
    one_hot: bool = False,
    layout: str = "NCHW",
    activation: str = "Tanh",
    channels: int = 3,
    bad: float | None = None,
) -> Path:
    """A bare generator: activation(latent @ weights [+ a row for the class]) as floats in the layout."""
    rng = np.random.default_rng(1)
    dim = int(np.prod([axis for axis in latent[1:] if isinstance(axis, int)])) if len(latent) > 1 else 4
    dim = dim if all(isinstance(axis, int) for axis in latent[1:]) else 4
    pixels = channels * SIZE * SIZE
    stored = [
        numpy_helper.from_array(rng.standard_normal((dim, pixels)).astype(np.float32) / 2, "weights"),
        numpy_helper.from_array(np.array([-1, dim], np.int64), "flat_shape"),
    ]
    shapes = {"NCHW": [-1, channels, SIZE, SIZE], "NHWC": [-1, SIZE, SIZE, channels], "flat": [-1, pixels]}
    stored.append(numpy_helper.from_array(np.array(shapes[layout], np.int64), "shape"))
    nodes = [
        helper.make_node("Reshape", ["z", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["raw"]),
    ]
    inputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, list(latent))]
    before = "raw"
    if classes:
        table = numpy_helper.from_array(rng.standard_normal((classes, pixels)).astype(np.float32), "classes")
        stored.append(table)
        kind, shape = (TensorProto.FLOAT, ["N", classes]) if one_hot else (TensorProto.INT64, ["N"])
        inputs.append(helper.make_tensor_value_info("y", kind, shape))
        choice = helper.make_node("MatMul", ["y", "classes"], ["row"])
        nodes.append(choice if one_hot else helper.make_node("Gather", ["classes", "y"], ["row"]))
        nodes.append(helper.make_node("Add", ["raw", "row"], ["shifted"]))
        before = "shifted"
    nodes.append(helper.make_node(activation, [before], ["active"]))
    last = "active"
    if bad is not None:
        stored.append(numpy_helper.from_array(np.float32(bad), "bad"))
        nodes.append(helper.make_node("Mul", [last, "bad"], ["scaled"]))
        last = "scaled"
    nodes.append(helper.make_node("Reshape", [last, "shape"], ["image"]))
    free = ["M" if axis == -1 else axis for axis in shapes[layout]]
    graph = helper.make_graph(
        nodes, "generator", inputs, [helper.make_tensor_value_info("image", TensorProto.FLOAT, free)], stored
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def samples(generator: gm.Generator, count: int, seed: int = 0) -> np.ndarray:
    source = GeneratorSource(generator, count, seed=seed, device="cpu", threads=1)
    return np.stack([source.read(index).pixels for index in range(count)])


def test_a_bare_file_is_a_side(tiny: Path, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    generator = gm.Generator(path, output_range=(-1, 1))
    assert (generator.latent_dim, generator.distribution, generator.num_classes) == (4, "normal", 0)
    reference = np.random.default_rng(0).integers(0, 256, (60, SIZE, SIZE, 3), dtype=np.uint8)
    report = gm.evaluate(generator, reference, extractor=tiny)
    assert report.generated.num_images == 60
    assert report.generated.source == "model.onnx (seed 0)"
    summary = report.generators["generated"]
    assert set(report.generators) == {"generated"}
    assert summary.num_parameters == 4 * 3 * SIZE * SIZE
    assert summary.size_bytes == path.stat().st_size
    assert summary.images_per_second == pytest.approx(1 / summary.seconds_per_image)
    assert (summary.batch_size, summary.image_size, summary.device) == (64, (SIZE, SIZE), "cpu")
    assert gm.Report.from_json(report.to_json()).generators == report.generators
    for text in (report.to_text(width=60), report.to_markdown(), report.to_html()):
        assert "768 parameters" in text
        assert "images/s" in text


def test_the_speed_is_not_part_of_the_fingerprint(tiny: Path, tiny_generator: Path) -> None:
    reference = np.random.default_rng(0).integers(0, 256, (60, SIZE, SIZE, 3), dtype=np.uint8)
    one, two = (gm.evaluate(tiny_generator, reference, extractor=tiny, metrics="fd") for _ in range(2))
    assert one.fingerprint == two.fingerprint
    plain = gm.evaluate(samples(gm.Generator(tiny_generator), 60), reference, extractor=tiny, metrics="fd")
    assert plain.fingerprint == one.fingerprint
    assert plain.generators == {}
    assert "images/s, " not in plain.to_markdown()


@pytest.mark.parametrize(("activation", "output_range", "low"), [("Tanh", (-1, 1), -1.0), ("Sigmoid", (0, 1), 0.0)])
def test_floats_become_the_pixels_that_the_range_says(
    tmp_path: Path, activation: str, output_range: tuple[float, float], low: float
) -> None:
    path = write_onnx(tmp_path / "model.onnx", activation=activation)
    opened = OpenGenerator(gm.Generator(path, output_range=output_range), device="cpu", threads=1)
    latents = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    weights = numpy_helper.to_array(onnx.load(path).graph.initializer[0]).astype(np.float64)
    raw = latents.astype(np.float64) @ weights
    values = np.tanh(raw) if activation == "Tanh" else 1 / (1 + np.exp(-raw))
    expected = ((values - low) / (output_range[1] - low) * 255).reshape(5, 3, SIZE, SIZE).transpose(0, 2, 3, 1)
    assert np.abs(opened.pixels(latents) - expected).max() < 1e-3
    assert opened.pixels(latents).dtype == np.float32
    away = np.abs(expected - np.floor(expected) - 0.5) > 1e-3  # where rounding does not hang on the last bit
    assert (opened.images(latents)[away] == np.rint(expected)[away]).all()


def test_nothing_is_clipped_in_silence(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "wide.onnx", bad=1.5)
    with pytest.raises(
        gm.InputError, match=r"values from -1\.\d+ to 1\.\d+, and its output range is said to be -1 to 1"
    ):
        samples(gm.Generator(path, output_range=(-1, 1)), 3)
    clipped = samples(gm.Generator(path, output_range=(-1, 1), clip=True), 64)
    assert clipped.min() == 0
    assert clipped.max() == 255


def test_a_float_output_needs_its_range(tmp_path: Path) -> None:
    for activation, suggested in (("Tanh", "--output-range=-1,1"), ("Sigmoid", "--output-range=0,1")):
        path = write_onnx(tmp_path / f"{activation}.onnx", activation=activation)
        with pytest.raises(gm.InputError, match="nothing says which of them are black and white") as error:
            samples(gm.Generator(path), 64)
        assert suggested in str(error.value)


def test_nan_is_an_error(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "nan.onnx", bad=float("nan"))
    with pytest.raises(gm.InputError, match="NaN or infinity in 64 of 64 images"):
        samples(gm.Generator(path, output_range=(-1, 1)), 3)


def test_an_output_that_is_no_image(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "flat.onnx", layout="flat")
    with pytest.raises(gm.UnreadableInput, match="are no images"):
        samples(gm.Generator(path, output_range=(-1, 1)), 3)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3])
def test_layouts_are_recognised(tmp_path: Path, layout: str, channels: int) -> None:
    path = write_onnx(tmp_path / "model.onnx", layout=layout, channels=channels)
    found = samples(gm.Generator(path, output_range=(-1, 1)), 3)
    assert found.shape == (3, SIZE, SIZE, 3)
    if channels == 1:
        assert (found[..., 0] == found[..., 2]).all()


def test_the_latent_is_recognised_or_asked_for(tmp_path: Path) -> None:
    fixed = gm.Generator(write_onnx(tmp_path / "fixed.onnx", latent=("N", 4, 1, 1)))
    assert (fixed.latent_dim, fixed.latent_shape) == (4, (4, 1, 1))
    assert gm.Generator(tmp_path / "fixed.onnx", latent_dim=4).latent_shape == (4, 1, 1)
    with pytest.raises(gm.InputError, match="so latent_dim cannot be"):
        gm.Generator(tmp_path / "fixed.onnx", latent_dim=5)
    free = write_onnx(tmp_path / "free.onnx", latent=("N", "L"))
    with pytest.raises(gm.InputError, match="does not say how long its latent vectors are"):
        gm.Generator(free)
    assert gm.Generator(free, latent_dim=4).latent_dim == 4
    with pytest.raises(gm.InputError, match="its first axis is not the number of images"):
        samples(gm.Generator(free, latent_dim=7, output_range=(-1, 1)), 2)
    assert samples(gm.Generator(fixed.bundle, output_range=(-1, 1)), 2).shape == (2, SIZE, SIZE, 3)


def test_a_file_for_one_batch_size_is_filled_up(tmp_path: Path) -> None:
    free = gm.Generator(write_onnx(tmp_path / "free.onnx"), output_range=(-1, 1))
    fixed = gm.Generator(write_onnx(tmp_path / "fixed.onnx", latent=(5, 4)), output_range=(-1, 1))
    assert fixed.batch_size == 5
    assert np.abs(samples(fixed, 70).astype(int) - samples(free, 70)).max() <= 1
    with pytest.raises(gm.InputError, match="exported for batches of 5"):
        gm.Generator(tmp_path / "fixed.onnx", batch_size=8)


@pytest.mark.parametrize(("latent", "options"), [("uniform", {}), ("truncnorm", {"truncation": 0.5}), ("normal", {})])
def test_latents_follow_their_distribution(tmp_path: Path, latent: str, options: dict) -> None:
    from scipy import stats

    generator = gm.Generator(write_onnx(tmp_path / "model.onnx"), latent=latent, **options)
    drawn = draw_latents(np.random.default_rng(0), 5000, generator).ravel()
    law = {
        "uniform": stats.uniform(-1, 2),
        "normal": stats.norm(),
        "truncnorm": stats.truncnorm(-0.5, 0.5),
    }[latent]
    assert stats.kstest(drawn, law.cdf).pvalue > 0.01
    if latent == "truncnorm":
        assert np.abs(drawn).max() <= 0.5


def test_a_truncation_implies_its_distribution_and_is_named(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    generator = gm.Generator(path, truncation=0.7, output_range=(-1, 1))
    assert generator.distribution == "truncnorm"
    assert GeneratorSource(generator, 1).name == "model.onnx (seed 0, truncnorm ±0.7)"
    for wrong in ({"latent": "normal", "truncation": 0.5}, {"latent": "truncnorm"}, {"truncation": 0}, {"latent": "x"}):
        with pytest.raises(gm.InputError):
            gm.Generator(path, **wrong)


@pytest.mark.parametrize("name", ["digits-vae", "digits-gan"])
def test_a_sample_depends_on_its_number_alone(name: str) -> None:
    few, many = samples(gm.Generator(name), 70), samples(gm.Generator(name), 200)
    assert (many[:70] == few).all()
    alone = GeneratorSource(gm.Generator(name), 1000, device="cpu", threads=1)
    assert (alone.read(131).pixels == many[131]).all()
    smaller = samples(gm.Generator(name, batch_size=7), 70)
    assert np.abs(smaller.astype(int) - few).max() <= 1
    assert (samples(gm.Generator(name), 70, seed=1) != few).any()


@pytest.mark.parametrize("one_hot", [False, True])
def test_classes(tmp_path: Path, one_hot: bool) -> None:
    path = write_onnx(tmp_path / "conditional.onnx", classes=5, one_hot=one_hot)
    options = {} if one_hot else {"num_classes": 5}
    if not one_hot:
        with pytest.raises(gm.InputError, match="does not say how many classes"):
            gm.Generator(path)
    uniform = GeneratorSource(gm.Generator(path, output_range=(-1, 1), **options), 640, device="cpu", threads=1)
    drawn = [uniform.label(index) for index in range(640)]
    assert set(drawn) == set(range(5))
    assert max(np.bincount(drawn)) < 170  # 128 expected
    balanced = GeneratorSource(gm.Generator(path, classes="balanced", output_range=(-1, 1), **options), 70)
    assert [balanced.label(index) for index in range(70)] == [index % 5 for index in range(70)]
    assert balanced.entry_name(66) == "1/sample 66"
    given = GeneratorSource(gm.Generator(path, classes=[3, 0, 4], output_range=(-1, 1), **options), 70)
    assert [given.label(index) for index in range(5)] == [3, 0, 4, 3, 0]
    # One latent under two labels gives two pictures, and the label of a sample is the one it is made with.
    opened = uniform.opened
    latents = np.zeros((5, 4), np.float32)
    by_class = opened.images(latents, np.arange(5))
    assert len({picture.tobytes() for picture in by_class}) == 5
    whole = opened.images(uniform.latents(0), uniform.labels(0))
    assert (uniform.read(9).pixels == whole[9]).all()
    for wrong in ([5], [-1], [0.5], []):
        with pytest.raises(gm.InputError, match="classes"):
            gm.Generator(path, classes=wrong, **options)


def test_scores_by_class_need_no_labels_of_a_generator(tiny: Path, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "conditional.onnx", classes=2)
    generator = gm.Generator(path, num_classes=2, classes="balanced", output_range=(-1, 1))
    reference = samples(generator, 80, seed=5)
    found = gm.evaluate_by_class(
        generator, reference, reference_labels=[str(i % 2) for i in range(80)], extractor=tiny, num_images=80
    )
    assert "0" in found.to_text() and "1" in found.to_text()


def test_what_cannot_be_a_generator(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(gm.InputError, match=r"is a bundle of kind extractor, not a generator"):
        gm.Generator(tiny)
    (tmp_path / "junk.onnx").write_bytes(b"junk that is no protobuf \xff\xff")
    with pytest.raises(gm.UnreadableInput, match="is no ONNX file"):
        gm.Generator(tmp_path / "junk.onnx")
    with pytest.raises(gm.MissingInput, match="does not exist"):
        gm.Generator(tmp_path / "missing.onnx")
    (tmp_path / "weights.pt").write_bytes(b"PK\x03\x04")
    assert not is_generator_file(tmp_path / "weights.pt")
    with pytest.raises(gm.UnreadableInput, match="is no generator"):
        gm.Generator(tmp_path / "weights.pt")
    no_classes = write_onnx(tmp_path / "model.onnx")
    with pytest.raises(gm.InputError, match="takes no labels"):
        gm.Generator(no_classes, num_classes=3)
    with pytest.raises(gm.InputError, match="takes no labels, so classes cannot be chosen"):
        gm.Generator(no_classes, classes="balanced")
    with pytest.raises(gm.InputError, match="output_layout"):
        gm.Generator(no_classes, output_layout="HWC")
    with pytest.raises(gm.InputError, match="output_range"):
        gm.Generator(no_classes, output_range=(1, 0))
    three = onnx.load(no_classes)
    three.graph.input.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["N", 4]))
    (tmp_path / "three.onnx").write_bytes(three.SerializeToString())
    with pytest.raises(gm.InputError, match=r"three\.onnx takes z .* noise"):
        gm.Generator(tmp_path / "three.onnx")


def test_weights_beside_the_graph(tmp_path: Path) -> None:
    inside = gm.Generator(write_onnx(tmp_path / "inside.onnx"), output_range=(-1, 1))
    model = onnx.load(tmp_path / "inside.onnx")
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="split.data", size_threshold=1024)
    split = gm.Generator(tmp_path / "split.onnx", output_range=(-1, 1))
    assert (samples(split, 3) == samples(inside, 3)).all()
    assert split.num_parameters() == inside.num_parameters()
    assert split.size_bytes == sum((tmp_path / name).stat().st_size for name in ("split.onnx", "split.data"))
    (tmp_path / "split.data").unlink()
    with pytest.raises(gm.MissingInput, match=r"keeps its weights in split\.data"):
        gm.Generator(tmp_path / "split.onnx")


def test_torchscript_runs_only_when_it_is_trusted(tmp_path: Path, tiny: Path) -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.linear = torch.nn.Linear(6, 3 * SIZE * SIZE)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.linear(z)).reshape(-1, 3, SIZE, SIZE)

    path = tmp_path / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript
        torch.jit.save(torch.jit.trace(Net().eval(), torch.zeros(2, 6)), path)
    assert is_generator_file(path)
    with pytest.raises(gm.InputError, match="torch runs the code that such a file carries"):
        open_side(path)
    with pytest.raises(gm.InputError, match="does not say how long its latent vectors are"):
        gm.Generator(path, backend="torchscript")
    generator = gm.Generator(path, backend="torchscript", latent_dim=6, output_range=(-1, 1))
    found = samples(generator, 70)
    assert found.shape == (70, SIZE, SIZE, 3)
    assert (samples(generator, 3) == found[:3]).all()
    reference = np.random.default_rng(0).integers(0, 256, (60, SIZE, SIZE, 3), dtype=np.uint8)
    summary = gm.evaluate(generator, reference, extractor=tiny, metrics="fd").generators["generated"]
    assert (summary.backend, summary.num_parameters) == ("torchscript", 7 * 3 * SIZE * SIZE)


def test_the_code_of_a_bundle_runs_only_when_it_is_trusted(tmp_path: Path, tiny: Path) -> None:
    """``backend="torchscript"`` of an evaluation is for the extractor and for what ships, not for anybody's code."""
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def forward(self, latent: torch.Tensor) -> torch.Tensor:
            return (latent.abs() * 60).clamp(0, 255).to(torch.uint8).reshape(-1, 2, 2, 1).repeat(1, 4, 4, 3)

    folder = make_generator(tmp_path / "bundle", latent=4, size=SIZE)
    bare = write_onnx(tmp_path / "model.onnx")
    only_onnx = make_generator(tmp_path / "onnx", latent=4, size=SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript
        torch.jit.save(torch.jit.trace(Net().eval(), torch.zeros(2, 4)), folder / "graph.ts")
    record = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, {key: record[key] for key in ("name", "kind", "inputs", "outputs", "latent")})
    options = {"device": "cpu", "threads": 1}
    for given in (folder, gm.load_bundle(folder), gm.Generator(folder)):
        with pytest.raises(gm.InputError, match=r"did not come with this package.*--generator-backend torchscript"):
            gm.examine_latent_space(given, backend="torchscript", num_paths=10, **options)
    for given in (gm.Generator(only_onnx), gm.Generator(bare, output_range=(-1, 1))):
        with pytest.raises(gm.InputError, match=r"holds no TorchScript graph.*--generator-backend onnx"):
            OpenGenerator(given, backend="torchscript", **options)
    trusted = OpenGenerator(gm.Generator(folder, backend="torchscript"), **options)
    latents = np.full((3, 4), 1.5, np.float32)
    assert trusted.backend == "torchscript" and (trusted.images(latents) == 90).all()
    assert OpenGenerator(gm.Generator(folder), **options).backend == "onnx"
    as_onnx = gm.Generator(folder, backend="onnx")
    assert OpenGenerator(as_onnx, backend="torchscript", **options).backend == "onnx"
    assert not gm.load_bundle(folder).is_shipped and gm.load_bundle("digits-gan").is_shipped
    shipped = gm.Generator("digits-gan")
    assert OpenGenerator(shipped, backend="torchscript", **options).backend == "torchscript"


def test_the_signature_of_shipped_generators() -> None:
    for name in ("digits-vae", "digits-gan", "digits-memoriser"):
        bundle = gm.load_bundle(name)
        found = read_signature(bundle.read("graph.onnx"), what=name)
        declared = [(spec.name, spec.dtype, spec.shape[1:]) for spec in bundle.manifest.inputs]
        assert [(value.name, value.dtype, value.shape[1:]) for value in found.inputs] == declared
        outputs = {spec.name for spec in bundle.manifest.outputs}
        assert {value.name for value in found.outputs} == outputs
        stored = onnx.load_from_string(bundle.read("graph.onnx")).graph.initializer
        weights = [tensor for tensor in stored if tensor.data_type in (1, 2, 3, 10) and np.prod(tensor.dims) > 1]
        assert found.num_parameters >= sum(int(np.prod(tensor.dims)) for tensor in weights) > 0


def test_the_pixels_of_shipped_generators_are_their_images_unrounded() -> None:
    for name in ("digits-vae", "digits-gan"):
        opened = OpenGenerator(gm.Generator(name), device="cpu", threads=1)
        latents = draw_latents(np.random.default_rng(0), 32, opened.generator)
        if not opened.gives_floats:
            pytest.fail(f"{name} has no output pixels")
        pixels = opened.pixels(latents)
        assert np.abs(pixels - opened.images(latents)).max() <= 0.5 + 1e-4
        assert (pixels != np.rint(pixels)).any()


def test_a_manifest_with_classes_and_factors(tmp_path: Path, tiny_generator: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for file in ("graph.onnx",):
        (folder / file).write_bytes((tiny_generator / file).read_bytes())
    record = json.loads((tiny_generator / "manifest.json").read_text())
    record["factors"] = [{"name": "pose", "dims": [0, 1]}, {"name": "light", "dims": [2]}]
    record["latent"] = {"dim": 4, "distribution": "truncnorm", "truncation": 1.5}
    (folder / "manifest.json").write_text(json.dumps(record))
    generator = gm.Generator(folder)
    assert [(factor.name, factor.dims) for factor in generator.factors] == [("pose", (0, 1)), ("light", (2,))]
    assert (generator.distribution, generator.truncation) == ("truncnorm", 1.5)
    record["factors"] = [{"name": "pose", "dims": [4]}]
    (folder / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(gm.DamagedBundle, match="names dimensions outside 0 to 3"):
        gm.Generator(folder)


def test_the_stream_of_latents_is_part_of_every_saved_score() -> None:
    """As drawn since the first release, with numpy 2.4: ``default_rng([seed, block]).standard_normal``, float32."""
    source = GeneratorSource(gm.Generator("digits-vae"), 1, seed=3)
    for block in (0, 7):
        expected = np.random.default_rng([3, block]).standard_normal((64, 10), dtype=np.float32)
        assert (source.latents(block) == expected).all()

"""The weight-free networks beside FID's Inception: what ships, what fills it, what is refused, what it is called."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.bundle import SHIPPED, Bundle
from genmetrics_rt.cli import app
from genmetrics_rt.manifest import read_manifest
from genmetrics_rt.resize import resize, to_tensor
from tests import makers

# name → side, dimension, default protocol, others, bytes of the published file (spec of the publishers)
NETWORKS: dict[str, tuple[int, int, str, set[str], int]] = {
    "dinov2-vits14": (224, 384, "dgm-eval", {"dgm-eval-clean", "edm2", "torch-fidelity"}, 88_283_115),
    "dinov2-vitb14": (224, 768, "dgm-eval", {"dgm-eval-clean", "edm2", "torch-fidelity"}, 346_378_731),
    "dinov2-vitl14": (224, 1024, "dgm-eval", {"dgm-eval-clean", "edm2", "torch-fidelity"}, 1_217_586_395),
    "clip-vit-b-32": (224, 512, "clean-fid", {"torch-fidelity"}, 353_976_522),
    "clip-vit-l-14-336": (336, 768, "cmmd", {"clip", "torch-fidelity"}, 934_088_680),
    "inception-torchvision": (299, 2048, "biggan", {"torcheval"}, 108_949_747),
    "vgg16": (224, 4096, "tf1", set(), 553_433_881),
}
IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
CLIP = (np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711]))


def shipped(name: str) -> Bundle:
    return Bundle(SHIPPED / name, read_manifest(SHIPPED / name / "manifest.json"))


def protocol(name: str, which: str | None = None) -> gm.Protocol | Any:
    return shipped(name).manifest.protocol(which)


# What ships


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_ships_and_the_weights_do_not(name: str) -> None:
    side, dimension, default, others, size = NETWORKS[name]
    bundle = shipped(name)
    bundle.verify()
    manifest = bundle.manifest
    assert bundle.is_weight_free and sum(entry["bytes"] for entry in manifest.record["files"].values()) < 420_000
    assert [(spec.name, spec.shape) for spec in manifest.inputs] == [("images", ("N", 3, side, side))]
    assert {spec.name: spec.shape[-1] for spec in manifest.outputs}["features"] == dimension
    assert ("logits" in manifest.taps) == (name == "inception-torchvision")
    (source,) = manifest.weights["sources"]
    assert source["bytes"] == size and len(source["sha256"]) == 64 and source["licence"]
    assert source["urls"][0].startswith("https://")
    assert manifest.protocol().name == default and set(manifest.protocols) == {default, *others}
    for entry in manifest.protocols.values():
        assert entry.size == (side, side) and entry.title and (entry.alpha, entry.orientation) == ("drop", "ignored")
    assert manifest.record["agreement"]["rows"], "it was never proven that its forms agree"


@pytest.mark.parametrize("name", NETWORKS)
def test_what_fills_the_graph_lies_outside_it(name: str) -> None:
    onnx = pytest.importorskip("onnx")
    manifest = shipped(name).manifest
    tensors = manifest.record["recipe"]["tensors"]
    model = onnx.load(SHIPPED / name / "graph.onnx", load_external_data=False)
    outside = {
        initializer.name: list(initializer.dims)
        for initializer in model.graph.initializer
        if initializer.data_location == onnx.TensorProto.EXTERNAL
    }
    assert outside == {tensor: entry["shape"] for tensor, entry in tensors.items()}
    recipe = manifest.record["recipe"]
    named = {*recipe["copies"], *(f"{unit}.{end}" for unit in recipe.get("units", {}) for end in ("weight", "bias"))}
    assert named == set(tensors), "each tensor of the graph is filled, and nothing else"


def test_the_sha256_of_pytorch_files_begins_as_their_names_say() -> None:
    for name in ("inception-torchvision", "vgg16"):
        (source,) = shipped(name).manifest.weights["sources"]
        assert source["urls"][0].removesuffix(".pth").endswith(f"-{source['sha256'][:8]}")
    for name in ("clip-vit-b-32", "clip-vit-l-14-336"):
        (source,) = shipped(name).manifest.weights["sources"]
        assert source["urls"][0].split("/")[-2] == source["sha256"]


# What is done to a picture


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "inception-torchvision"])
def test_pixels_are_standardised_as_the_network_was_trained(name: str) -> None:
    mean, std = CLIP if name.startswith("clip") else IMAGENET
    for entry in shipped(name).manifest.protocols.values():
        image = makers.pictures(1, size=entry.size[0])[0]  # of the size already: nothing is resampled
        found = to_tensor(resize(image, entry), entry)
        expected = (image.astype(np.float64) / 255 - mean) / std
        assert np.abs(found - expected.transpose(2, 0, 1)).max() < 2e-6


def test_the_recipes_say_what_the_reference_implementations_do() -> None:
    def recipe(name: str, which: str | None = None) -> tuple[str, str, str]:
        found = protocol(name, which)
        return found.resize, found.rounding, found.crop

    for size in ("dinov2-vits14", "dinov2-vitb14", "dinov2-vitl14"):
        assert recipe(size) == ("pillow-bicubic", "uint8", "none")
        assert recipe(size, "dgm-eval-clean") == ("pillow-bicubic", "clip", "none")
        assert recipe(size, "edm2") == ("pillow-bicubic", "none", "none")
        assert recipe(size, "torch-fidelity") == ("bilinear-tf1", "none", "none")
    assert recipe("clip-vit-b-32") == ("pillow-bicubic", "uint8", "shorter-side")
    assert recipe("clip-vit-l-14-336") == ("pillow-bicubic", "uint8", "centre-square")
    assert recipe("inception-torchvision") == ("bilinear-corners", "none", "none")
    assert recipe("vgg16") == ("bilinear-tf1", "none", "none")
    assert protocol("vgg16").metrics["precision"] == {"nearest_k": 3, "border_counts": True}
    assert protocol("dinov2-vitl14").metrics["precision"] == {"nearest_k": 5, "border_counts": False}
    assert protocol("clip-vit-l-14-336").metrics["rbf"]["sigma"] == 10.0


def test_every_protocol_has_features_of_its_own() -> None:
    for name in NETWORKS:
        manifest = shipped(name).manifest
        ids = [manifest.numeric_id(entry) for entry in manifest.protocols.values()]
        assert len(set(ids)) == len(ids)


# What they are called


def test_cmmd_goes_by_its_name_on_its_protocol_alone(tmp_path: Path) -> None:
    own = {**makers.PROTOCOL, "published": "cmmd", "metrics": {"rbf": {"sigma": 5.0}}}
    other = {**makers.PROTOCOL, "default": False}
    bundle = makers.make_extractor(tmp_path / "bundle", protocols={"cmmd": own, "other": other})
    sides = [makers.image_folder(tmp_path / name, 30, seed=seed) for name, seed in (("out", 1), ("real", 2))]
    report = gm.evaluate(*sides, extractor=bundle)
    score = report.scores["cmmd"]  # without being asked for: the network is there for it
    assert score.name == "CLIP maximum mean discrepancy (CMMD) on tiny features" and score.settings["sigma"] == 5.0
    assert {"fd", "kid"} <= set(report.scores) and not {"fid", "rbf"} & set(report.scores)
    assert "cmmd" in report.to_text().lower() and gm.Report.from_json(report.to_json()).extractor.published == "cmmd"
    assert gm.evaluate(*sides, extractor=bundle, metrics="cmmd").scores["cmmd"].value == score.value
    with pytest.raises(gm.InputError, match="published name, 'cmmd'"):
        gm.evaluate(*sides, extractor=bundle, metrics="rbf")
    with pytest.raises(gm.InputError, match="clip-vit-l-14-336"):
        gm.evaluate(*sides, extractor=bundle, protocol="other", metrics="cmmd")
    plain = gm.evaluate(*sides, extractor=bundle, protocol="other")
    assert not {"cmmd", "rbf"} & set(plain.scores)
    assert "cmmd" in gm.compare({"first": report, "second": report}).to_text()
    reference = gm.make_reference(sides[1], extractor=bundle)
    reference.save(tmp_path / "real.npz")
    again = gm.evaluate(sides[0], tmp_path / "real.npz", extractor=bundle)
    assert again.scores["cmmd"].value == score.value
    run = CliRunner().invoke(app, ["evaluate", *map(str, sides), "-e", str(bundle), "-q", "--fail-if", "cmmd>-1"])
    assert run.exit_code == 1, run.output


def test_unverified_weights_make_no_cmmd(tmp_path: Path) -> None:
    own = {**makers.PROTOCOL, "published": "cmmd"}
    bundle = makers.make_extractor(tmp_path / "bundle", protocols={"cmmd": own}, published_scores=False)
    manifest = gm.load_bundle(bundle).manifest
    assert manifest.published_by(manifest.protocol()) is False


def test_torchvisions_inception_makes_no_fid() -> None:
    manifest = shipped("inception-torchvision").manifest
    assert not manifest.published and "not that of FID" in manifest.label


# What fills them


torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    networks = pytest.importorskip("tests.networks")  # needs torchvision


def test_the_workshop_can_prove_every_network_without_weights_again() -> None:
    registry = pytest.importorskip("export.registry")
    weight_free = {
        path.parent.name for path in SHIPPED.glob("*/manifest.json") if shipped(path.parent.name).is_weight_free
    }
    assert set(registry.WEIGHTLESS) == weight_free


def test_a_bundle_is_proven_again_by_the_name_in_its_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from export.__main__ import main

    shutil.copytree(SHIPPED / "dinov2-vits14", tmp_path / "elsewhere")
    assert main(["verify", str(tmp_path / "elsewhere")]) == 0
    assert "all forms agree" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["dinov2-vits14", "clip-vit-b-32", "inception-torchvision"])
def test_a_file_in_the_published_layout_fills_the_network(name: str, tmp_path: Path) -> None:
    """Both forms, against the workshop's module. The larger ones are in tests/test_parity_networks.py."""
    module = networks.network(name)
    checkpoint = networks.write(name, networks.published(name, module), tmp_path / "weights.pth")
    bundle = networks.filled(name, checkpoint, tmp_path / "bundle")
    assert bundle.manifest.record["assembled"]["source"]
    side = NETWORKS[name][0]
    images = np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32)
    with torch.no_grad():
        given = module(torch.from_numpy(images))
    expected = (given if isinstance(given, torch.Tensor) else given[0]).numpy()
    for backend in ("onnx", "torchscript"):
        found, _ = gm.FeatureExtractor(bundle, backend=backend, device="cpu", batch_size=1).run(images)
        assert np.abs(found - expected).max() < 1e-4, backend
    assert bundle.manifest.published_by(bundle.manifest.protocol()) is False


def test_a_network_of_another_size_is_refused_as_such(tmp_path: Path) -> None:
    """The shapes of ViT-L where those of ViT-S are wanted, cut to its number of layers to keep the file small."""
    state = networks.published("dinov2-vits14", networks.network("dinov2-vits14"))
    larger = {name: torch.zeros([size + 1 for size in value.shape]) for name, value in state.items()}
    torch.save(larger, tmp_path / "larger.pth")
    with pytest.raises(
        gm.InputError, match=r"cls_token has shape \[2, 2, 385\], not \[1, 1, 384\]; .*same family"
    ) as told:
        gm.fetch_bundle("dinov2-vits14", weights=tmp_path / "larger.pth", unverified=True, name="mine")
    assert "more" in str(told.value) and "mine" not in gm.list_bundles()


def test_a_file_of_hugging_face_and_one_of_another_network_are_refused(tmp_path: Path) -> None:
    of_hugging_face = {"embeddings.cls_token": torch.zeros(1, 1, 384)}
    of_hugging_face |= {"embeddings.patch_embeddings.projection.weight": torch.zeros(384, 3, 14, 14)}
    torch.save(of_hugging_face, tmp_path / "hf.pth")
    with pytest.raises(gm.InputError, match="Hugging Face's transformers"):
        gm.fetch_bundle("dinov2-vits14", weights=tmp_path / "hf.pth", unverified=True, name="mine")
    torch.save({"vision_model.embeddings.class_embedding": torch.zeros(768)}, tmp_path / "hf-clip.pth")
    with pytest.raises(gm.InputError, match="Hugging Face's transformers"):
        gm.fetch_bundle("clip-vit-b-32", weights=tmp_path / "hf-clip.pth", unverified=True, name="mine")
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "resnet.pth")
    with pytest.raises(gm.InputError, match=r"nothing that is cls_token"):
        gm.fetch_bundle("dinov2-vits14", weights=tmp_path / "resnet.pth", unverified=True, name="mine")
    with pytest.raises(gm.InputError, match=r"sha256 is .*88,283,115.*dinov2_vits14_pretrain\.pth"):
        gm.fetch_bundle("dinov2-vits14", weights=tmp_path / "resnet.pth")


# What people see


def test_the_list_names_them_with_what_they_weigh() -> None:
    listed = CliRunner().invoke(app, ["bundles", "list"]).stdout.splitlines()
    lines = {line.split()[0]: line for line in listed if line.strip()}
    for name in NETWORKS:
        assert f"genmetrics bundles fetch {name}" in lines[name] and " MB" in lines[name]


@pytest.mark.parametrize("name", ["dinov2-vitl14", "clip-vit-l-14-336"])
def test_the_page_of_a_network_says_where_its_weights_are_and_how_pictures_are_prepared(name: str) -> None:
    shown = CliRunner().invoke(app, ["bundles", "show", name])
    assert shown.exit_code == 0
    assert f"{NETWORKS[name][4]:,} bytes" in shown.stdout and "no: the weights have to be fetched" in shown.stdout
    assert "pixels × (0.01" in shown.stdout
    if name.startswith("clip"):
        assert "crop centre-square" in shown.stdout and "published as cmmd" in shown.stdout


def test_a_recipe_by_channels_is_explained_as_papers_write_it() -> None:
    from genmetrics_rt.explaining.glosses import value_words

    entry = protocol("dinov2-vitl14")
    words = value_words("scaling", json.loads(json.dumps((entry.scale, entry.offset))))
    assert words == "(x/255 − (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)"
    assert value_words("crop", "shorter-side") == "shorter-side"
    assert replace(entry, crop="centre-square").numeric_part()["crop"] == "centre-square"

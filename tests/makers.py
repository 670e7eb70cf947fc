"""Small real things for tests: a bundle with a tiny frozen network, folders of images."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIZE = 8  # pixels a side that the tiny extractor takes
PROTOCOL = {
    "default": True, "size": [SIZE, SIZE], "resize": "triangle-antialias", "rounding": "none", "alpha": "white",
    "layout": "NCHW", "dtype": "float32", "scale": 1 / 255, "offset": 0.0, "metrics": {},
}  # fmt: skip


def make_extractor(
    folder: Path,
    *,
    dimension: int = 12,
    classes: int = 0,
    head: np.ndarray | None = None,
    name: str = "tiny",
    seed: int = 0,
    protocol: dict | None = None,
    protocols: dict[str, dict] | None = None,
    **entries: object,
) -> Path:
    """A bundle whose features are tanh of a fixed random projection of the pixels, with optional class logits.

    The logits are features @ ``head`` (dimension, classes), by default random.
    ``protocols`` are all of its protocols by name; ``entries`` are further entries of the manifest.
    """
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((3 * SIZE * SIZE, dimension)).astype(np.float32) / 4
    initializers = [numpy_helper.from_array(weights, "weights")]
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["projected"]),
        helper.make_node("Tanh", ["projected"], ["features"]),
    ]
    outputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", dimension])]
    specs = [{"name": "features", "dtype": "float32", "shape": ["N", dimension]}]
    taps = {"features": "features"}
    if classes:
        random = rng.standard_normal((dimension, classes)).astype(np.float32)
        head = random if head is None else head.astype(np.float32)
        initializers.append(numpy_helper.from_array(head, "head"))
        nodes.append(helper.make_node("MatMul", ["features", "head"], ["logits"]))
        outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes]))
        specs.append({"name": "logits", "dtype": "float32", "shape": ["N", classes]})
        taps["logits"] = "logits"
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])
    graph = helper.make_graph(nodes, name, [images], outputs, initializers)
    write_bundle(
        folder,
        graph,
        {
            "name": name,
            "kind": "extractor",
            "inputs": [{"name": "images", "dtype": "float32", "shape": ["N", 3, SIZE, SIZE]}],
            "outputs": specs,
            "taps": taps,
            "protocols": protocols or {"tiny": protocol or PROTOCOL},
            **entries,
        },
    )
    return folder


def make_generator(folder: Path, *, name: str = "tiny-generator", latent: int = 4, size: int = 8) -> Path:
    """A generator bundle: uint8 images from a fixed random linear map of the latent."""
    rng = np.random.default_rng(7)
    weights = (40 * rng.standard_normal((latent, size * size * 3))).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["latent", "weights"], ["raw"]),
        helper.make_node("Add", ["raw", "grey"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "low", "high"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "shape"], ["images"]),
    ]
    initializers = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.float32(128), "grey"),
        numpy_helper.from_array(np.float32(0), "low"),
        numpy_helper.from_array(np.float32(255), "high"),
        numpy_helper.from_array(np.array([-1, size, size, 3], np.int64), "shape"),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["N", latent])],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size, size, 3])],
        initializers,
    )
    write_bundle(
        folder,
        graph,
        {
            "name": name,
            "kind": "generator",
            "inputs": [{"name": "latent", "dtype": "float32", "shape": ["N", latent]}],
            "outputs": [{"name": "images", "dtype": "uint8", "shape": ["N", size, size, 3]}],
            "latent": {"dim": latent, "distribution": "normal"},
        },
    )
    return folder


def write_bundle(folder: Path, graph: onnx.GraphProto, entries: dict) -> None:
    """Write graph.onnx and a manifest with its hash."""
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    (folder / "graph.onnx").write_bytes(model.SerializeToString())
    write_manifest(folder, entries)


def write_manifest(folder: Path, entries: dict) -> None:
    """A manifest for the files that lie in the folder, with their true hashes."""
    forms = {
        "graph.onnx": "onnx", "graph.fp16.onnx": "onnx-fp16", "graph.ts": "torchscript", "weights.bin": "weights",
    }  # fmt: skip
    files = {
        path.name: {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
            "form": forms[path.name],
        }
        for path in sorted(folder.iterdir())
        if path.name in forms
    }
    record = {"schema": "genmetrics.bundle/1", "version": "1", "files": files, **entries}
    (folder / "manifest.json").write_text(json.dumps(record, indent=1))


def picture(rng: np.random.Generator, size: int = 16) -> np.ndarray:
    """A random uint8 picture (size, size, 3) with some structure: a gradient, a disc, noise."""
    y, x = np.mgrid[:size, :size] / size
    colour = rng.uniform(40, 215, 3)
    slope = rng.uniform(-80, 80, 2)
    image = colour + (slope[0] * x + slope[1] * y)[..., None]
    centre, radius = rng.uniform(0.2, 0.8, 2), rng.uniform(0.1, 0.4)
    disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
    image[disc] = rng.uniform(0, 255, 3)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def pictures(count: int, *, seed: int = 0, size: int = 16) -> np.ndarray:
    """uint8 (count, size, size, 3)."""
    rng = np.random.default_rng(seed)
    return np.stack([picture(rng, size) for _ in range(count)])


def image_folder(folder: Path, count: int, *, seed: int = 0, size: int = 16, suffix: str = ".png") -> Path:
    """A folder of ``count`` picture files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, pixels in enumerate(pictures(count, seed=seed, size=size)):
        Image.fromarray(pixels).save(folder / f"{index:04d}{suffix}")
    return folder


CHANNELS = 4  # of the weightless network below
CLASSES = 6


def make_weightless(folder: Path, checkpoint: bytes | None = None, *, urls: tuple[str, ...] = ()) -> Path:
    """A weight-free extractor with one unit (3 × 3 convolution, batch norm, ReLU), a global average, and classes.

    ``checkpoint``: the bytes whose hash counts as published.
    """
    shapes = {"stem.weight": [CHANNELS, 3, 3, 3], "stem.bias": [CHANNELS], "fc.weight": [CLASSES, CHANNELS]}
    tensors, at = {}, 0
    for tensor, shape in shapes.items():
        tensors[tensor] = {"offset": at, "shape": shape}
        at += -(-4 * int(np.prod(shape)) // 64) * 64
    initializers = []
    for tensor, entry in tensors.items():
        initializer = TensorProto(name=tensor, data_type=TensorProto.FLOAT, dims=entry["shape"])
        initializer.data_location = TensorProto.EXTERNAL
        length = 4 * int(np.prod(entry["shape"]))
        for key, value in (("location", "weights.bin"), ("offset", entry["offset"]), ("length", length)):
            initializer.external_data.add(key=key, value=str(value))
        initializers.append(initializer)
    nodes = [
        helper.make_node("Conv", ["images", "stem.weight", "stem.bias"], ["maps"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["maps"], ["rectified"]),
        helper.make_node("GlobalAveragePool", ["rectified"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "fc.weight"], ["logits"], transB=1),
    ]
    outputs = [("features", CHANNELS), ("logits", CLASSES)]
    graph = helper.make_graph(
        nodes,
        "weightless",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", size]) for output, size in outputs],
        initializers,
    )
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "graph.onnx").write_bytes(model.SerializeToString())
    published = checkpoint or b"unknown"
    write_manifest(
        folder,
        {
            "name": "weightless",
            "kind": "extractor",
            "published_scores": True,
            "inputs": [{"name": "images", "dtype": "float32", "shape": ["N", 3, SIZE, SIZE]}],
            "outputs": [{"name": output, "dtype": "float32", "shape": ["N", size]} for output, size in outputs],
            "taps": {output: output for output, _ in outputs},
            "protocols": {"tiny": PROTOCOL},
            "weights": {
                "sources": [
                    {
                        "name": "publisher",
                        "layout": "torch",
                        "urls": list(urls) or ["http://127.0.0.1:9/weights.pth"],
                        "sha256": hashlib.sha256(published).hexdigest(),
                        "bytes": len(published),
                    }
                ]
            },
            "recipe": {
                "file": "weights.bin",
                "bytes": at,
                "epsilon": 1e-3,
                "units": {"stem": {"torch": "stem", "torchscript": "layers.stem", "tensorflow": "scope/stem"}},
                "copies": {
                    "fc.weight": {
                        "torch": "fc.weight",
                        "torchscript": "output.weight",
                        "tensorflow": "softmax/weights",
                    }
                },
                "tensors": tensors,
            },
        },
    )
    return folder

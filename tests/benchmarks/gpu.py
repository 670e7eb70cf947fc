"""The FID network on a CUDA device: images/s at every precision, beside torch-fidelity, and what it does to the scores.

    python -m tests.benchmarks.gpu [IMAGES [PART …]]      (1,024 a side, all parts: about four minutes on one H200)

Parts: rates, jobs, and those of `gpu_limits`.

Needs onnxruntime-gpu, torch with CUDA, torchvision and torch-fidelity. The weights are of nobody (`tests.inception`);
the peer gets the same checkpoint. Images wait in memory as its input wants them, and features come back as NumPy
arrays, so copies count. The best of three passes counts. "One by one" is the way without page-locked memory, a call at
a time; "kernels alone" is the session with its inputs on the device already.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

import genmetrics_rt as gm
from genmetrics_rt.assembly import assemble
from genmetrics_rt.extraction import extract
from genmetrics_rt.features import FeatureCollector
from genmetrics_rt.graph_on_onnxruntime import import_onnxruntime, silence_onnxruntime
from genmetrics_rt.images import open_images
from genmetrics_rt.threads import available_threads
from tests.benchmarks import gpu_limits
from tests.benchmarks.flops import gigaflops_per_image
from tests.inception import crops, write_checkpoint

PASSES = 3
CHECKED = 64  # images whose features are compared with those of the CPU
DEVICE = os.environ.get("GENMETRICS_BENCH_DEVICE", "cuda")  # "cpu" tries the script out
RUNS = [("onnx", "fp32"), ("onnx", "tf32"), ("onnx", "fp16"), ("torchscript", "fp32"), ("torchscript", "fp16")]


def main(count: int, *parts: str) -> None:
    warnings.simplefilter("ignore")
    silence_onnxruntime()
    started = time.perf_counter()
    card = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU"
    print(f"{card}, torch {torch.__version__}, onnxruntime {import_onnxruntime().__version__}, {count} images\n")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GENMETRICS_HOME"] = folder
        checkpoint = write_checkpoint(Path(folder) / "weights.pth")
        bundle = assemble(gm.load_bundle("inception-fid"), checkpoint, unverified=True, name="random-weights")
        sides = _prepared(bundle, count)
        print(f"prepared after {time.perf_counter() - started:.0f} s\n")

        known: dict[str, Callable] = {
            "rates": lambda: _rates(bundle, checkpoint, sides),
            "jobs": lambda: _jobs(bundle, checkpoint, Path(folder), count),
            **{part.__name__: lambda part=part: part(bundle, sides[0]) for part in gpu_limits.PARTS},
        }
        for name, part in known.items():
            if parts and name not in parts:
                continue
            print(f"\n{name}, after {time.perf_counter() - started:.0f} s\n", flush=True)
            with _reporting(name):
                part()
        print(f"\nall in {time.perf_counter() - started:.0f} s")


def _rates(bundle: gm.Bundle, checkpoint: Path, sides: list[np.ndarray]) -> None:
    """Every precision beside the peer: rates, errors and what becomes of the scores."""
    truth = [gm.FeatureExtractor(bundle, device="cpu").run(side[:CHECKED])[0] for side in sides]
    whole: list[np.ndarray] = []  # features of both sides by onnx in fp32, which the others are compared with
    print(
        "| network | batch | images/s | one by one | kernels alone | TFLOP/s | feature error | FID | its change | "
        "KID change | IS change |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for backend, precision in RUNS:
        if precision == "tf32" and DEVICE == "cpu":
            continue
        with _reporting(f"{backend} {precision}"):
            network = gm.FeatureExtractor(bundle, backend=backend, device=DEVICE, precision=precision)
            features, logits, rate = _timed(network.run, sides)
            whole = whole or [*features, logits]
            limits = gpu_limits.beside(network, sides[0][: 4 * gpu_limits.BATCH])
            name = f"ours, {backend}, {precision}"
            _row(name, network.batch_size, rate, features, logits, truth, whole, limits)
            if backend == "onnx" and precision != "tf32":
                smaller = gm.FeatureExtractor(bundle, device=DEVICE, precision=precision, batch_size=32)
                features, logits, rate = _timed(smaller.run, sides)
                _row(name, 32, rate, features, logits, truth, whole)
            del network
    for tf32, batch_size in ((True, 64), (True, 128), (False, 64)):
        with _reporting("torch-fidelity"):
            torch.backends.cudnn.allow_tf32 = tf32
            features, logits, rate = _timed(_peer(checkpoint, batch_size), sides)
            name = f"torch-fidelity, {'as it comes (TF32 convolutions)' if tf32 else 'TF32 switched off'}"
            _row(name, batch_size, rate, features, logits, truth, whole)
    torch.backends.cudnn.allow_tf32 = False


def _prepared(bundle: gm.Bundle, count: int) -> list[np.ndarray]:
    """Two sides of photographs, one with less contrast, as the network takes them (float32, 299 × 299)."""
    network = gm.FeatureExtractor(bundle, device="cpu", threads=1)
    sides = []
    for side in range(2):
        photos = [np.ascontiguousarray(photo) for photo in crops(count, seed=side)]
        if side == 0:
            photos = [(0.8 * photo + 20).astype(np.uint8) for photo in photos]
        with ThreadPoolExecutor() as pool:
            sides.append(np.stack(list(pool.map(network.prepare, photos))))
    return sides


def _timed(run: Callable, sides: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray, float]:
    """Features of both sides, logits of the first, images/s of the best pass."""
    run(sides[0][:256])  # the first call of each shape is slow: kernels are chosen, memory is taken
    best = float("inf")
    for _ in range(PASSES):
        start = time.perf_counter()
        outputs = [run(side) for side in sides]
        best = min(best, time.perf_counter() - start)
    return [output[0] for output in outputs], outputs[0][1], sum(map(len, sides)) / best


def _row(
    name: str,
    batch_size: int,
    rate: float,
    features: list[np.ndarray],
    logits: np.ndarray,
    truth: list[np.ndarray],
    whole: list[np.ndarray],
    limits: tuple[float, float] | None = None,
) -> None:
    error = max(float(np.abs(found[:CHECKED] - right).max()) for found, right in zip(features, truth, strict=True))
    found, right = _scores(features, logits), _scores(whole[:2], whole[2])
    changes = " | ".join(f"{a / b - 1:+.1e}" for a, b in zip(found, right, strict=True))
    tera = rate * gigaflops_per_image() / 1e3
    fid, *others = changes.split(" | ")
    print(
        f"| {name} | {batch_size} | {rate:.0f} | {' | '.join(f'{limit:.0f}' for limit in limits) if limits else ' | '} "
        f"| {tera:.1f} | {error:.1e} | {found[0]:.4f} | {fid} | {' | '.join(others)} |",
        flush=True,
    )


def _scores(features: list[np.ndarray], logits: np.ndarray) -> tuple[float, float, float]:
    count = min(1000, len(features[0]))
    return (
        gm.frechet_distance(*features),
        gm.kernel_distance(*features, subset_size=count).mean,
        gm.inception_score(logits).mean,
    )


def _peer(checkpoint: Path, batch_size: int) -> Callable:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3(
        "", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(checkpoint)
    ).to(DEVICE)
    pixels: dict[int, torch.Tensor] = {}

    def run(side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # It takes bytes, which its resizing leaves alone at 299 × 299. Rounded here, so its features differ a little.
        if id(side) not in pixels:
            pixels[id(side)] = torch.from_numpy(np.rint(side * 128 + 128).clip(0, 255).astype(np.uint8))
        rows = []
        with torch.no_grad():
            for start in range(0, len(side), batch_size):
                batch = pixels[id(side)][start : start + batch_size].to(DEVICE)
                rows.append([output.cpu().numpy() for output in network(batch)])
        features, logits = (np.concatenate(blocks) for blocks in zip(*rows, strict=True))
        return features, logits

    return run


def _jobs(bundle: gm.Bundle, checkpoint: Path, root: Path, count: int) -> None:
    """Two folders of JPEGs to a FID, in this process: decoding and resizing on the CPU's cores included."""
    from PIL import Image
    from torch_fidelity import calculate_metrics

    for side in range(2):
        (root / f"side{side}").mkdir()
        for index, photo in enumerate(crops(count, seed=side, sizes=(300, 301))):
            Image.fromarray(np.ascontiguousarray(photo)).save(root / f"side{side}" / f"{index:05d}.jpg", quality=90)
    network = gm.FeatureExtractor(bundle, device="cpu", threads=1)
    photos = [np.asarray(Image.open(path)) for path in sorted((root / "side0").iterdir())]
    with ThreadPoolExecutor(available_threads()) as pool:
        start = time.perf_counter()
        list(pool.map(lambda photo: network.prepare(photo).shape, photos))
        rate = count / (time.perf_counter() - start)
    print(f"\nresizing and scaling alone, {available_threads()} threads: {rate:.0f} images/s")
    print(f"\n| a folder of {count} JPEGs of 300 px to features, images/s | one by one | overlapped |")
    print("| --- | ---: | ---: |")
    for precision in gpu_limits.PRECISIONS:
        network = gm.FeatureExtractor(bundle, device=DEVICE, precision=precision)
        rates = []
        for _ in range(2):  # the second pass counts
            with gpu_limits.one_by_one(network):
                rates = [_rate_of_files(network, root / "side0")]
            rates.append(_rate_of_files(network, root / "side0"))
        print(f"| {precision} | {rates[0]:.0f} | {rates[1]:.0f} |", flush=True)
    print(f"\n| two folders of {count} JPEGs of 300 px to FID | seconds | FID |\n| --- | ---: | ---: |")
    for precision in ("fp32", "tf32", "fp16"):
        if precision == "tf32" and DEVICE == "cpu":
            continue
        start = time.perf_counter()
        report = gm.evaluate(
            root / "side0", root / "side1", extractor=bundle, metrics="fd", device=DEVICE, precision=precision,
            cache=False, intervals=False,
        )  # fmt: skip
        print(
            f"| ours, {precision} | {time.perf_counter() - start:.2f} | {report.scores['fd'].value:.5f} |", flush=True
        )
    torch.backends.cudnn.allow_tf32 = True
    start = time.perf_counter()
    found = calculate_metrics(
        input1=str(root / "side0"), input2=str(root / "side1"), fid=True, cuda=DEVICE == "cuda", verbose=False,
        feature_extractor_weights_path=str(checkpoint), cache=False, batch_size=64,
    )  # fmt: skip
    seconds, value = time.perf_counter() - start, found["frechet_inception_distance"]
    print(f"| torch-fidelity, as it comes | {seconds:.2f} | {value:.5f} |", flush=True)


def _rate_of_files(network: gm.FeatureExtractor, folder: Path) -> float:
    done = extract(network, open_images(folder), FeatureCollector())
    return done.computed / done.seconds


class _reporting:
    """A part that fails says so and does not cost the others."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is not None and isinstance(error, Exception):
            print(f"{self._name} failed: {type(error).__name__}: {str(error)[:500]}", flush=True)
            return True
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1024, *sys.argv[2:])

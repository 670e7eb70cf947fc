"""From a source to features: what the cache may remember, what it is keyed by, and what each image costs."""

from __future__ import annotations

import errno
import importlib.util
import inspect
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

import genmetrics_rt as gm
from genmetrics_rt import decode as decoding
from genmetrics_rt import extractor as extractors
from genmetrics_rt.cache import FeatureCache
from genmetrics_rt.extraction import Extraction, extract, key_of
from genmetrics_rt.extractor import CHUNK, FeatureExtractor
from genmetrics_rt.features import FeatureCollector, Features
from genmetrics_rt.images import open_images
from genmetrics_rt.progress import Progress
from genmetrics_rt.provenance import peak_memory
from genmetrics_rt.sources import FolderSource, ImageSource, RawImage, Undecodable
from genmetrics_rt.threads import available_threads
from tests import makers


def run(extractor: FeatureExtractor, source: ImageSource, cache: FeatureCache) -> tuple[Features | None, Extraction]:
    collector = FeatureCollector()
    done = extract(extractor, source, collector, cache=cache)
    return (collector.result() if collector.num_images else None), done


def blocks(root: Path) -> list[Path]:
    return sorted(root.glob("features/*/*.block"))


@pytest.fixture
def extractor(tiny: Path) -> FeatureExtractor:
    return FeatureExtractor(tiny, device="cpu", threads=2)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


class Disturbed(FolderSource):
    """A folder in which something happens before the second read, which is the one that is decoded."""

    def __init__(self, root: Path, disturb: Callable[[Path], None]) -> None:
        super().__init__(root, str(root))
        self.root, self.disturb, self.reads = root, disturb, 0

    def read(self, index: int) -> RawImage:
        if self.entry_name(index) == "0001.png":
            self.reads += 1
            if self.reads == 2:
                self.disturb(self.root / "0001.png")
        return super().read(index)


# What the cache may remember.


def too_many_open_files(path: Path) -> None:
    raise Undecodable("cannot be read: Too many open files", transient=True)


def test_a_failure_of_the_moment_is_not_remembered(
    extractor: FeatureExtractor, cache: FeatureCache, tmp_path: Path
) -> None:
    folder = makers.image_folder(tmp_path / "images", 5)
    _, first = run(extractor, Disturbed(folder, too_many_open_files), cache)
    assert [entry.name for entry in first.skipped] == ["0001.png"] and first.transient == 1
    features, again = run(extractor, FolderSource(folder, "images"), cache)
    assert again.skipped == () and again.transient == 0 and features is not None and features.num_images == 5


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), MemoryError(), OSError("out of memory error when reading")]
)
def test_a_decoder_out_of_resources_is_not_remembered(
    extractor: FeatureExtractor,
    cache: FeatureCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    source = open_images(makers.image_folder(tmp_path / "images", 5))

    def fail(raw: RawImage, **rules: bool) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "_colours_and_opacity", fail)
        assert len(run(extractor, source, cache)[1].skipped) == 5
    assert run(extractor, source, cache)[1].skipped == ()


def test_open_files_that_run_out_are_a_failure_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_images(makers.image_folder(tmp_path / "images", 1))

    def exhausted(*args: object, **options: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("builtins.open", exhausted)
    with pytest.raises(Undecodable) as caught:
        source.read(0)
    assert caught.value.transient


def test_a_file_that_is_gone_is_no_failure_of_the_moment(tmp_path: Path) -> None:
    """A part of a large job must not wait for it for ever."""
    folder = makers.image_folder(tmp_path / "images", 2)
    source = open_images(folder)
    next(iter(sorted(folder.iterdir()))).unlink()
    with pytest.raises(Undecodable, match="No such file") as caught:
        source.read(0)
    assert not caught.value.transient


def test_a_damaged_image_is_remembered(extractor: FeatureExtractor, cache: FeatureCache, tmp_path: Path) -> None:
    folder = makers.image_folder(tmp_path / "images", 5)
    (folder / "0002.png").write_bytes((folder / "0002.png").read_bytes()[:-40])  # truncated: an OSError of Pillow
    first, again = (run(extractor, open_images(folder), cache)[1] for _ in range(2))
    assert first.skipped == again.skipped != () and (first.computed, again.computed) == (4, 0)


def test_a_file_replaced_between_the_reads_leaves_nothing_wrong(
    extractor: FeatureExtractor, cache: FeatureCache, tmp_path: Path
) -> None:
    folder = makers.image_folder(tmp_path / "images", 5)
    before = (folder / "0001.png").read_bytes()
    other = io.BytesIO()
    Image.fromarray(makers.pictures(1, seed=99)[0]).save(other, "PNG")
    raced, done = run(extractor, Disturbed(folder, lambda path: path.write_bytes(other.getvalue())), cache)
    after, again = run(extractor, FolderSource(folder, "images"), cache)
    assert raced is not None and after is not None
    np.testing.assert_array_equal(raced.values, after.values)
    assert done.content_hash == again.content_hash  # of what was decoded
    (folder / "0001.png").write_bytes(before)
    found, _ = run(extractor, FolderSource(folder, "images"), cache)
    expected, _ = run(extractor, FolderSource(folder, "images"), FeatureCache(None))
    assert found is not None and expected is not None
    np.testing.assert_array_equal(found.values, expected.values)


def test_generated_images_are_remembered_by_their_recipe(tiny: Path, tiny_generator: Path) -> None:
    seen: list[Progress] = []
    for _ in range(2):
        gm.extract_features(tiny_generator, extractor=tiny, num_images=40, progress=seen.append)
    assert seen[-1].from_cache == 40


# What it is keyed by.


def test_bytes_that_only_a_suffix_makes_an_image_have_a_digest_of_their_own(
    extractor: FeatureExtractor, cache: FeatureCache, tmp_path: Path
) -> None:
    content = io.BytesIO()
    Image.fromarray(makers.pictures(1)[0]).save(content, "TGA")
    for name in ("a.png", "a.tga"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(content.getvalue())
    assert run(extractor, open_images(tmp_path / "a.png"), cache)[0] is None
    found, done = run(extractor, open_images(tmp_path / "a.tga"), cache)
    assert found is not None and found.num_images == 1 and done.skipped == ()


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        ("PIL", "__version__", "99.0"),
        (decoding, "RULES", 99),
        (ImageFile, "LOAD_TRUNCATED_IMAGES", True),
        (Image, "MAX_IMAGE_PIXELS", 10_000),
    ],
)
def test_the_key_follows_the_rules_of_decoding(
    extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, value: object
) -> None:
    before = key_of(extractor, ["digest"])
    assert key_of(extractor, ["digest"]) == before
    monkeypatch.setattr(sys.modules[owner] if isinstance(owner, str) else owner, name, value)
    assert key_of(extractor, ["digest"]) != before


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_the_key_follows_the_graph_that_is_run(tmp_path: Path) -> None:
    """Two bundles with one graph.onnx and so one numeric id, but each with a graph.ts of its own."""
    code = (
        "import sys, torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        return images.flatten(1)[:, :12] * {factor}\n"
        "torch.jit.trace(Net(), torch.zeros(2, 3, 8, 8)).save(sys.argv[1])\n"
    )
    keys = {"onnx": set(), "torchscript": set()}
    for factor in (1, 2):
        folder = makers.make_extractor(tmp_path / str(factor))
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code.format(factor=factor), str(folder / "graph.ts")], check=True
        )
        entries = json.loads((folder / "manifest.json").read_text())
        del entries["files"]
        makers.write_manifest(folder, entries)
        for backend, found in keys.items():
            found.add(key_of(FeatureExtractor(folder, device="cpu", threads=1, backend=backend), ["digest"]))
    assert [len(found) for found in keys.values()] == [1, 2]


# What it takes, and what it costs.


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), r"expected uint8 pixels 0…255, got float32.*round\(\)\.clip"),
        (np.zeros((8, 8, 3), np.int64), "expected uint8 pixels 0…255, got int64"),
        (np.zeros((3, 8, 8), np.uint8), r"expected \(H, W, 3\).*transpose\(1, 2, 0\)"),
        (np.zeros((8, 8, 4), np.uint8), r"expected \(H, W, 3\) or \(H, W\), got \(8, 8, 4\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "expected"),
        (np.zeros(8, np.uint8), "expected"),
        (np.zeros((0, 8, 3), np.uint8), "no size"),
    ],
)
def test_what_is_no_image_is_refused(extractor: FeatureExtractor, image: np.ndarray, message: str) -> None:
    with pytest.raises(gm.InputError, match=message):
        extractor.prepare(image)
    with pytest.raises(gm.InputError, match=message):
        extractor([image])


def test_grey_is_repeated_and_one_array_is_a_batch(extractor: FeatureExtractor) -> None:
    colour = makers.pictures(3, size=8)
    grey = colour[..., 0]
    expected, _ = extractor(np.stack([grey] * 3, axis=-1))
    for images in (grey, grey[..., None], list(grey), [image[..., None] for image in grey]):
        np.testing.assert_array_equal(extractor(images)[0], expected)
    np.testing.assert_array_equal(extractor(colour[0])[0], extractor([colour[0]])[0])  # not its 8 rows
    np.testing.assert_array_equal(extractor(iter(colour))[0], extractor(colour)[0])
    assert extractor([])[0].shape == extractor(colour[:0])[0].shape == (0, 12)
    with pytest.raises(gm.InputError, match=r"transpose\(0, 2, 3, 1\)"):
        extractor(colour.transpose(0, 3, 1, 2))
    thin = makers.pictures(1, size=8)[0][:3]  # three rows of pixels are no three grey images
    assert extractor([thin])[0].shape == (1, 12)


@pytest.mark.parametrize("batch_size", [CHUNK, 512])
def test_a_large_batch_puts_each_image_through_once(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    extractor = FeatureExtractor(tiny, device="cpu", threads=1, batch_size=batch_size)
    rows = []
    real = extractor._graph.run
    monkeypatch.setattr(extractor._graph, "run", lambda inputs: (rows.append(len(inputs["images"])), real(inputs))[1])
    _, done = run(extractor, open_images(makers.pictures(2 * CHUNK, size=8)), FeatureCache(None))
    assert sum(rows) == done.computed == 2 * CHUNK


def test_images_that_are_skipped_were_not_computed(
    extractor: FeatureExtractor, cache: FeatureCache, tmp_path: Path
) -> None:
    folder = makers.image_folder(tmp_path / "images", 5)
    (folder / "0002.png").write_bytes(b"damaged")
    seen: list[Progress] = []
    done = extract(extractor, open_images(folder), FeatureCollector(), progress=seen.append)
    assert done.computed == 4 and (seen[-1].done, seen[-1].total) == (5, 5)


def test_threads_and_spinning_are_what_they_say(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for threads in (0, -2):
        with pytest.raises(gm.InputError, match=f"threads is {threads}"):
            FeatureExtractor(tiny, threads=threads)
        with pytest.raises(gm.InputError, match=f"threads is {threads}"):
            gm.evaluate(makers.pictures(30), makers.pictures(30), extractor=tiny, threads=threads)
    assert FeatureExtractor(tiny, device="cpu").threads == available_threads()
    monkeypatch.setenv("GENMETRICS_THREADS", "3")  # more than this machine may have, but wished for
    assert FeatureExtractor(tiny, device="cpu").threads == 3
    seen = []
    real = extractors.open_graph
    monkeypatch.setattr(
        extractors, "open_graph", lambda *args, **named: (seen.append(named["spinning"]), real(*args, **named))[1]
    )
    gm.extract_features(makers.pictures(3), extractor=tiny, device="cpu")
    FeatureExtractor(tiny, device="cpu", spinning=True)
    assert seen == [False, True]


def test_every_option_is_documented() -> None:
    text = inspect.getdoc(FeatureExtractor) or ""
    for name in inspect.signature(FeatureExtractor).parameters:
        assert any(name in line.split(", ") for line in text.splitlines()), name


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_not_that_of_the_parent() -> None:
    ballast = np.ones(40_000_000)  # 320 MB in this process
    code = "from genmetrics_rt.provenance import peak_memory; print(peak_memory())"
    child = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    own = peak_memory()
    assert own is not None and own > ballast.nbytes and 1e6 < child < ballast.nbytes

"""Weight-free bundles and their publishers' checkpoints, on a network of one convolution."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt import assembly
from genmetrics_rt.assembly import assemble
from genmetrics_rt.bundle import Bundle, assembled_folder, assembled_home
from genmetrics_rt.errors import (
    DamagedBundle,
    InputError,
    MissingBundle,
    MissingInput,
    UnknownMetric,
    UnreadableInput,
)
from tests import makers

torch = pytest.importorskip("torch")

Tensors = dict[str, Any]


def tensors(seed: int = 0) -> Tensors:
    """A checkpoint in pytorch-fid's layout."""
    stream = torch.Generator().manual_seed(seed)
    channels = makers.CHANNELS
    return {
        "stem.conv.weight": torch.randn(channels, 3, 3, 3, generator=stream) / 5,
        "stem.bn.weight": torch.rand(channels, generator=stream) + 0.5,
        "stem.bn.bias": torch.randn(channels, generator=stream),
        "stem.bn.running_mean": torch.randn(channels, generator=stream),
        "stem.bn.running_var": torch.rand(channels, generator=stream) + 0.5,
        "stem.bn.num_batches_tracked": torch.tensor(7),
        "fc.weight": torch.randn(makers.CLASSES, channels, generator=stream),
        "fc.bias": torch.randn(makers.CLASSES, generator=stream),
    }


def saved(state: Any, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def as_torchscript(state: Tensors) -> bytes:
    """The layout of NVIDIA's file: modules in modules, no γ (so the state's must be 1)."""

    class Unit(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", state["stem.conv.weight"])
            self.register_buffer("beta", state["stem.bn.bias"])
            self.register_buffer("mean", state["stem.bn.running_mean"])
            self.register_buffer("var", state["stem.bn.running_var"])

        def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[name-defined]
            return x + self.weight.sum() + self.beta.sum() + self.mean.sum() + self.var.sum()

    class Network(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleDict({"stem": Unit()})
            self.output = torch.nn.Linear(makers.CHANNELS, makers.CLASSES)
            self.output.weight.data = state["fc.weight"]

        def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[name-defined]
            return self.output(self.layers["stem"](x))

    buffer = io.BytesIO()
    from export.verify import torchscript_without_warnings

    with torchscript_without_warnings():
        traced = torch.jit.trace(Network(), torch.zeros(1, makers.CHANNELS), check_trace=False)
        torch.jit.save(traced, buffer)
    return buffer.getvalue()


def as_tensorflow(state: Tensors) -> bytes:
    """A GraphDef of constants, written by hand: (H, W, in, out), transposed classifier."""
    constants = {
        "scope/stem/conv2d_params": state["stem.conv.weight"].permute(2, 3, 1, 0),
        "scope/stem/batchnorm/gamma": state["stem.bn.weight"],
        "scope/stem/batchnorm/beta": state["stem.bn.bias"],
        "scope/stem/batchnorm/moving_mean": state["stem.bn.running_mean"],
        "scope/stem/batchnorm/moving_variance": state["stem.bn.running_var"],
        "softmax/weights": state["fc.weight"].T,
    }

    def field(number: int, content: bytes | str) -> bytes:
        content = content.encode() if isinstance(content, str) else content
        size, length = len(content), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    graph = b""
    for name, value in constants.items():
        array = np.ascontiguousarray(value.numpy())
        shape = b"".join(field(2, b"\x08" + bytes([size])) for size in array.shape)
        tensor = b"\x08\x01" + field(2, shape) + field(4, array.tobytes())
        attribute = field(1, "value") + field(2, field(8, tensor))
        graph += field(1, field(1, name) + field(2, "Const") + field(5, attribute))
    return graph


@pytest.fixture
def published(tmp_path: Path) -> tuple[Bundle, Path]:
    """A weight-free bundle and the file that its manifest names."""
    return world(tmp_path, saved(tensors()))


def world(folder: Path, content: bytes, **options: Any) -> tuple[Bundle, Path]:
    (folder / "weights.pth").write_bytes(content)
    return gm.load_bundle(makers.make_weightless(folder / "weightless", content, **options)), folder / "weights.pth"


def weights_of(bundle: Bundle) -> bytes:
    return bundle.read("weights.bin")


# What comes out


def test_the_folded_network_gives_the_numbers_of_the_checkpoint(published: tuple[Bundle, Path]) -> None:
    state = tensors()
    images = np.random.default_rng(0).uniform(-1, 1, (5, 3, makers.SIZE, makers.SIZE)).astype(np.float32)
    with torch.no_grad():
        x = torch.nn.functional.conv2d(torch.from_numpy(images).double(), state["stem.conv.weight"].double())
        x = torch.nn.functional.batch_norm(
            x,
            *(state[f"stem.bn.{name}"].double() for name in ("running_mean", "running_var", "weight", "bias")),
            eps=1e-3,
        )
        expected = x.relu().mean(dim=(2, 3))
    values, logits = gm.FeatureExtractor(assemble(*published)).run(images)
    assert np.abs(values - expected.numpy()).max() < 1e-6
    assert logits is not None
    assert np.abs(logits - (expected @ state["fc.weight"].double().T).numpy()).max() < 1e-5


def test_folding_rounds_once_from_float64(published: tuple[Bundle, Path]) -> None:
    state = {name: value.numpy().astype(np.float64) for name, value in tensors().items()}
    scale = state["stem.bn.weight"] / np.sqrt(state["stem.bn.running_var"] + 1e-3)
    bundle = assemble(*published)
    entries = bundle.manifest.record["recipe"]["tensors"]
    for name, expected in (
        ("stem.weight", state["stem.conv.weight"] * scale[:, None, None, None]),
        ("stem.bias", state["stem.bn.bias"] - state["stem.bn.running_mean"] * scale),
        ("fc.weight", state["fc.weight"]),
    ):
        assert entries[name]["offset"] % 64 == 0
        found = np.frombuffer(weights_of(bundle), "<f4", expected.size, entries[name]["offset"])
        assert np.array_equal(found, expected.astype(np.float32).ravel())


def without_gamma(state: Tensors) -> Tensors:
    return {**state, "stem.bn.weight": torch.ones(makers.CHANNELS)}


def module(state: Tensors) -> Any:
    return {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}


def no_counters(state: Tensors) -> Tensors:
    return {name: value for name, value in state.items() if "num_batches" not in name}


@pytest.mark.parametrize(
    "write",
    [
        lambda state: saved(state, legacy=True),
        lambda state: saved(no_counters(state)),
        lambda state: saved(module(state)),
        lambda state: saved({name: torch.nn.Parameter(value) if value.is_floating_point() else value
                             for name, value in state.items()}),
        as_torchscript,
        as_tensorflow,
    ],
    ids=["legacy", "without counters", "inside state_dict and module", "parameters", "torchscript", "tensorflow"],
)  # fmt: skip
def test_every_layout_gives_the_same_bytes_and_the_same_numeric_id(
    write: Callable[[Tensors], bytes], tmp_path: Path
) -> None:
    state = without_gamma(tensors())
    bundle = assemble(*world(tmp_path, saved(state)))
    (tmp_path / "other").mkdir()
    other = assemble(*world(tmp_path / "other", write(state)))
    assert other.path != bundle.path
    assert weights_of(other) == weights_of(bundle)
    assert other.manifest.numeric_id() == bundle.manifest.numeric_id()


def test_an_assembled_bundle_is_found_by_the_weight_free_one(published: tuple[Bundle, Path]) -> None:
    bundle, checkpoint = published
    assert bundle.is_weight_free
    assemble(bundle, checkpoint)
    found = gm.load_bundle(bundle.path)
    assert not found.is_weight_free and found.path == assembled_folder(bundle)
    found.verify()
    assert found.manifest.record["assembled"]["source"] == "publisher"
    assert sorted(path.name for path in assembled_home().iterdir()) == [found.path.name]  # nothing half-made beside it


def test_scores_on_published_weights_go_by_their_published_names(
    published: tuple[Bundle, Path], tmp_path: Path
) -> None:
    bundle = assemble(*published)
    sides = [makers.image_folder(tmp_path / name, 30, seed=seed) for name, seed in (("out", 1), ("real", 2))]
    report = gm.evaluate(*sides, extractor=bundle)
    assert {"fid", "is", "kid"} <= set(report.scores) and not {"fd", "class_score"} & set(report.scores)
    assert report.scores["fid"].name.startswith("Fréchet Inception distance")
    assert report.extractor.published and report.extractor.label == ""
    with pytest.raises(UnknownMetric, match="published name, 'fid'"):
        gm.evaluate(*sides, extractor=bundle, metrics="fd")
    only = gm.evaluate(*sides, extractor=bundle, metrics="fid")
    assert only.scores["fid"].value == report.scores["fid"].value
    reference = gm.make_reference(sides[1], extractor=bundle)
    reference.save(tmp_path / "real.npz")
    again = gm.evaluate(sides[0], tmp_path / "real.npz", extractor=bundle)
    assert again.scores["fid"].value == report.scores["fid"].value
    assert again.scores["fid"].fingerprint == report.scores["fid"].fingerprint


def test_unverified_weights_carry_their_name_and_a_warning_and_make_no_fid(
    published: tuple[Bundle, Path], tmp_path: Path
) -> None:
    bundle, _ = published
    (tmp_path / "mine.pth").write_bytes(saved(tensors(seed=1)))
    assemble(bundle, tmp_path / "mine.pth", unverified=True, name="mine")
    mine = gm.load_bundle("mine")
    assert mine.name == "mine" and "mine" in gm.list_bundles("extractor")
    sides = [makers.image_folder(tmp_path / name, 20, seed=seed) for name, seed in (("out", 1), ("real", 2))]
    report = gm.evaluate(*sides, extractor="mine")
    assert {"fd", "class_score"} <= set(report.scores) and "fid" not in report.scores
    for text in (report.to_text(), report.to_html(), report.to_markdown(), report.to_json()):
        assert "UNVERIFIED" in text
    first = weights_of(mine)
    (tmp_path / "mine.pth").write_bytes(saved(tensors(seed=2)))
    assert weights_of(assemble(bundle, tmp_path / "mine.pth", unverified=True, name="mine")) != first


# What is refused


def changed(**new: Any) -> Tensors:
    state = tensors()
    for name, value in new.items():
        key = name.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(changed(stem__bn__bias=None)), r"stem\.bn\.bias is missing"),
        (saved(changed(fc__weight=None)), r"fc\.weight is missing"),
        (saved(changed(fc__weight=torch.zeros(5, 4))), r"fc\.weight has shape \[5, 4\], not \[6, 4\]"),
        (saved(changed(stem__conv__weight=torch.zeros(4, 3, 3))), r"has shape \[4, 3, 3\], not \[4, 3, 3, 3\]"),
        (saved(changed(stem__bn__bias=torch.zeros(4, dtype=torch.int64))), "int64, not a float"),
        (saved(changed(stem__bn__bias=torch.full((4,), torch.nan))), "NaN or infinity"),
        (saved(changed(stem__bn__running_var=torch.full((4,), -1.0))), "negative variance"),
        (saved({**changed(fc__weight=torch.zeros(5, 4)), "AuxLogits.fc.weight": torch.zeros(5, 4)}), "torchvision"),
        (saved({"encoder.weight": torch.zeros(3)}), "not in a layout .*encoder.weight"),
        (saved({}), "no tensor at all"),
        (saved(tensors())[:-300], "cut off|damaged|truncated|whole"),
        (
            saved(changed(stem__bn__running_var=torch.zeros(4), stem__bn__weight=torch.full((4,), 3e38))),
            "exceeds float32",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match=message):
        assemble(*world(tmp_path, content))
    assert not list(assembled_home().glob("*")), "something half-made was left"


def test_another_hash_is_refused_with_both_hashes_and_the_way_out(published: tuple[Bundle, Path]) -> None:
    bundle, checkpoint = published
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:-1])
    with pytest.raises(UnreadableInput) as caught:
        assemble(bundle, checkpoint)
    for part in (
        hashlib.sha256(content).hexdigest(),
        hashlib.sha256(content[:-1]).hexdigest(),
        "--unverified",
        "whole",
    ):
        assert part in str(caught.value)
    with pytest.raises(MissingInput, match="does not exist"):
        assemble(bundle, checkpoint.with_name("nowhere.pth"))
    with pytest.raises(UnreadableInput, match="cannot be read"):
        assemble(bundle, checkpoint.parent)


@pytest.mark.parametrize(
    ("name", "message"),
    [(None, "--name"), ("../up", "letters"), ("a b", "letters"), ("scattering", "shipped"), ("x" * 80, "letters")],
)
def test_unverified_weights_need_a_name_of_their_own(
    name: str | None, message: str, published: tuple[Bundle, Path]
) -> None:
    with pytest.raises(InputError, match=message):
        assemble(*published, unverified=True, name=name)


def test_without_weights_the_network_says_how_to_get_them(published: tuple[Bundle, Path]) -> None:
    with pytest.raises(MissingBundle, match=r"genmetrics bundles fetch weightless .*--weights FILE"):
        gm.FeatureExtractor(published[0])


def test_a_recipe_that_does_not_fit_its_graph_is_refused(published: tuple[Bundle, Path]) -> None:
    bundle, checkpoint = published
    record = json.loads((bundle.path / "manifest.json").read_text())
    record["recipe"]["tensors"]["stem.bias"]["shape"] = [5]
    (bundle.path / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(UnreadableInput, match=r"\[4\]"):
        assemble(gm.load_bundle(bundle.path), checkpoint)


# What goes wrong on the way


def test_a_damaged_assembled_bundle_is_made_again(published: tuple[Bundle, Path]) -> None:
    bundle = assemble(*published)
    right = weights_of(bundle)
    (bundle.path / "weights.bin").write_bytes(right[:-4] + b"\0\0\0\1")
    with pytest.raises(DamagedBundle):
        gm.FeatureExtractor(gm.load_bundle(published[0].path))
    assert weights_of(assemble(*published)) == right


def test_a_full_disk_leaves_nothing_behind(published: tuple[Bundle, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match=r"No space left on device.*GENMETRICS_HOME"):
            assemble(*published)
    assert not list(assembled_home().glob("*"))
    assemble(*published)


def test_of_several_that_assemble_at_once_one_is_first_and_all_work(
    published: tuple[Bundle, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(4)
    running = assembly._require_running

    def wait(bundle: Bundle) -> None:
        running(bundle)
        together.wait(timeout=30)

    monkeypatch.setattr(assembly, "_require_running", wait)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(weights_of(assemble(*published)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1
    assert len(list(assembled_home().iterdir())) == 1


# From the network


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server over a folder, and the paths that were asked for."""
    root, asked = tmp_path / "www", []
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(root))

        def log_message(self, *arguments: Any) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


def test_fetching_downloads_checks_assembles_and_tidies_up(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = server
    content = saved(tensors())
    (tmp_path / "www" / "weights.pth").write_bytes(content)
    bundle, _ = world(tmp_path, content, urls=(f"{url}/weights.pth",))
    seen: list[gm.Progress] = []
    fetched = gm.fetch_bundle(bundle, progress=seen.append)
    assert not fetched.is_weight_free and seen[-1].done == len(content) and seen[-1].unit == "bytes"
    assert not [path for path in (assembled_home().parent / "downloads").rglob("*") if path.is_file()]
    assert asked == ["/weights.pth"]
    gm.fetch_bundle(gm.load_bundle(bundle.path))  # there already
    assert asked == ["/weights.pth"]


def test_the_first_evaluation_fetches_and_says_so_unless_it_must_not(
    server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = server
    content = saved(tensors())
    (tmp_path / "www" / "weights.pth").write_bytes(content)
    bundle, _ = world(tmp_path, content, urls=(f"{url}/weights.pth",))
    sides = [makers.image_folder(tmp_path / name, 12, seed=seed) for name, seed in (("out", 1), ("real", 2))]
    monkeypatch.setenv("GENMETRICS_OFFLINE", "1")
    with pytest.raises(InputError, match="GENMETRICS_OFFLINE"):
        gm.evaluate(*sides, extractor=bundle)
    assert asked == []
    monkeypatch.delenv("GENMETRICS_OFFLINE")
    stages: list[str] = []
    report = gm.evaluate(*sides, extractor=bundle, progress=lambda state: stages.append(state.stage))
    assert "fid" in report.scores and stages[0] == "weights of weightless"
    assert asked == ["/weights.pth"]


def test_a_wrong_file_on_the_server_is_never_assembled(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, _ = server
    content = saved(tensors())
    (tmp_path / "www" / "weights.pth").write_bytes(content[:-1] + b"\1")
    bundle, _ = world(tmp_path, content, urls=(f"{url}/weights.pth",))
    with pytest.raises(InputError, match=r"sha256|hash"):
        gm.fetch_bundle(bundle)
    assert not list(assembled_home().glob("*"))
    (tmp_path / "www" / "mirror.pth").write_bytes(content)
    assert not gm.fetch_bundle(bundle, mirrors=[f"{url}/mirror.pth"]).is_weight_free


def test_what_makes_no_sense_together_is_said(published: tuple[Bundle, Path], tiny: Path) -> None:
    bundle, checkpoint = published
    for options, message in (
        ({"unverified": True, "name": "x"}, "--weights"),
        ({"weights": checkpoint, "name": "x"}, "--unverified"),
    ):
        with pytest.raises(InputError, match=message):
            gm.fetch_bundle(bundle, **options)
    with pytest.raises(InputError, match="carries its weights"):
        gm.fetch_bundle(tiny)


def test_removing_takes_what_was_assembled_and_nothing_else(published: tuple[Bundle, Path], tiny: Path) -> None:
    bundle, checkpoint = published
    assemble(bundle, checkpoint)
    removed = assembly.remove("weightless", gm.load_bundle(bundle.path))
    assert not removed.exists() and gm.load_bundle(bundle.path).is_weight_free
    for other in (bundle, gm.load_bundle(tiny), gm.load_bundle("scattering")):
        with pytest.raises(InputError, match="not assembled here"):
            assembly.remove(other.name, other)


# Weights in several files


def two_files(folder: Path) -> tuple[Bundle, Path, Path]:
    """The same network, its convolution in one published file and its classifier in half precision in another."""
    state = tensors()
    trunk = {name: value for name, value in state.items() if name.startswith("stem.")}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trunk.pth").write_bytes(saved(trunk))
    (folder / "head.pth").write_bytes(saved({"fc.weight": state["fc.weight"].half()}))
    made = makers.make_weightless(folder / "weightless", (folder / "trunk.pth").read_bytes())
    record = json.loads((made / "manifest.json").read_text())
    (source,) = record["weights"]["sources"]
    head = (folder / "head.pth").read_bytes()
    other = {"part": "head", "name": "head's publisher", "sha256": hashlib.sha256(head).hexdigest(), "bytes": len(head)}
    record["weights"]["sources"] = [source | {"part": "trunk"}, source | other | {"urls": ["http://127.0.0.1:9/h.pth"]}]
    record["recipe"]["units"]["stem"]["part"] = "trunk"
    record["recipe"]["copies"]["fc.weight"]["part"] = "head"
    (made / "manifest.json").write_text(json.dumps(record))
    return gm.load_bundle(made), folder / "trunk.pth", folder / "head.pth"


def test_weights_in_two_files_fill_one_network_in_either_order(tmp_path: Path) -> None:
    bundle, trunk, head = two_files(tmp_path / "two")
    made = gm.fetch_bundle(bundle, weights=[head, trunk])
    state = tensors()
    (tmp_path / "one").mkdir()
    one = world(tmp_path / "one", saved({**state, "fc.weight": state["fc.weight"].half().float()}))
    assert weights_of(made) == weights_of(assemble(*one)), "half precision is widened, and nothing else changes"
    parts = made.manifest.record["assembled"]["parts"]
    assert {part: entry["source"] for part, entry in parts.items()} == {
        "trunk": "publisher",
        "head": "head's publisher",
    }
    assert weights_of(gm.load_bundle(bundle.path)) == weights_of(made)


def test_of_weights_in_two_files_each_is_needed_once(tmp_path: Path) -> None:
    bundle, trunk, head = two_files(tmp_path)
    with pytest.raises(InputError, match=r"from 2 files, and the 'head' weights are missing: get http://127.0.0.1:9/h"):
        assemble(bundle, trunk)
    with pytest.raises(InputError, match="both hold the 'trunk' weights"):
        assemble(bundle, [trunk, head, trunk])
    with pytest.raises(MissingBundle, match=r"weights\.pth and http://127.0.0.1:9/h\.pth.*--weights FILE for each"):
        gm.FeatureExtractor(bundle)
    assert list(bundle.manifest.weight_parts) == ["trunk", "head"]


def test_unverified_files_are_told_apart_by_their_tensors(tmp_path: Path) -> None:
    bundle, trunk, head = two_files(tmp_path)
    state = tensors(seed=1)
    (tmp_path / "mine.pth").write_bytes(saved({"fc.weight": state["fc.weight"]}))
    made = assemble(bundle, [tmp_path / "mine.pth", trunk], unverified=True, name="mine")
    digest = hashlib.sha256((tmp_path / "mine.pth").read_bytes()).hexdigest()[:16]
    assert f"UNVERIFIED weights (sha256 {digest}…)" in made.manifest.label, "only the file that nobody published"
    (tmp_path / "other.pth").write_bytes(saved({"encoder.weight": torch.zeros(3)}))
    with pytest.raises(UnreadableInput, match=r"other\.pth is not in a layout"):
        assemble(bundle, [tmp_path / "other.pth", head], unverified=True, name="mine")


def test_two_files_are_fetched_one_after_the_other(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = server
    bundle, trunk, head = two_files(tmp_path)
    record = json.loads((bundle.path / "manifest.json").read_text())
    for source, file in zip(record["weights"]["sources"], (trunk, head), strict=True):
        (tmp_path / "www" / file.name).write_bytes(file.read_bytes())
        source["urls"] = [f"{url}/{file.name}"]
    (bundle.path / "manifest.json").write_text(json.dumps(record))
    assert not gm.fetch_bundle(gm.load_bundle(bundle.path)).is_weight_free
    assert asked == ["/trunk.pth", "/head.pth"]
    assert not [path for path in (assembled_home().parent / "downloads").rglob("*") if path.is_file()]


def test_a_file_whose_hash_nobody_knows_is_not_downloaded(published: tuple[Bundle, Path]) -> None:
    bundle, checkpoint = published
    record = json.loads((bundle.path / "manifest.json").read_text())
    record["weights"]["sources"][0]["sha256"] = None
    (bundle.path / "manifest.json").write_text(json.dumps(record))
    bundle = gm.load_bundle(bundle.path)
    with pytest.raises(InputError, match="--weights FILE --unverified --name NAME"):
        gm.fetch_bundle(bundle)
    with pytest.raises(UnreadableInput, match="nobody has published"):
        assemble(bundle, checkpoint)
    assert assemble(bundle, checkpoint, unverified=True, name="mine").manifest.label.startswith("UNVERIFIED")


def test_a_size_may_be_unknown_where_the_hash_is_known(published: tuple[Bundle, Path]) -> None:
    bundle, checkpoint = published
    record = json.loads((bundle.path / "manifest.json").read_text())
    del record["weights"]["sources"][0]["bytes"]
    (bundle.path / "manifest.json").write_text(json.dumps(record))
    bundle = gm.load_bundle(bundle.path)
    with pytest.raises(MissingBundle, match=r"fetched once \(checked by sha256\)"):
        bundle.require_weights()
    assert not assemble(bundle, checkpoint).is_weight_free


def test_a_larger_network_and_a_layout_of_hugging_face_are_named(tmp_path: Path) -> None:
    names = [f"fc{index}.weight" for index in range(7)]
    bundle, _ = world(tmp_path, saved({name: torch.zeros(2, 2) for name in names}))
    record = json.loads((bundle.path / "manifest.json").read_text())
    record["recipe"] |= {"units": {}, "copies": {name: {"torch": name} for name in names}}
    record["recipe"]["tensors"] |= {name: {"offset": 0, "shape": [4, 4]} for name in names}
    (bundle.path / "manifest.json").write_text(json.dumps(record))
    bundle = gm.load_bundle(bundle.path)
    with pytest.raises(
        UnreadableInput, match=r"\[2, 2\], not \[4, 4\]; .*larger or smaller network of the same family"
    ):
        assemble(bundle, tmp_path / "weights.pth")
    (tmp_path / "hf.pth").write_bytes(saved({"embeddings.patch_embeddings.projection.weight": torch.zeros(2)}))
    with pytest.raises(UnreadableInput, match="Hugging Face"):
        assemble(bundle, tmp_path / "hf.pth", unverified=True, name="mine")

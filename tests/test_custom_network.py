"""`python -m export custom`: a network of one's own becomes a bundle, and what is wrong with it is said first."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli import app
from tests import makers

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from export.__main__ import main  # noqa: E402
from export.custom import custom_blueprint  # noqa: E402

ROOT = Path(__file__).parent.parent
# The example of CONTRIBUTING.md, as it stands there.
EXAMPLE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```python\n# mine.py\n")[1].split("```")[0]


def test_a_small_network_becomes_a_bundle_that_evaluate_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLE)
    assert main(["custom", f"{tmp_path / 'mine.py'}:network", "-o", str(tmp_path / "bundle")]) == 0
    told = capsys.readouterr().out
    assert "my-network: takes images of 32 × 24 pixels, gives features 8, logits 4" in told
    assert f"genmetrics evaluate GENERATED REFERENCE --extractor {tmp_path / 'bundle'}" in told and "FAIL" not in told

    namespace: dict[str, Any] = {}
    exec(EXAMPLE, namespace)
    module = namespace["network"]()["module"].eval()
    images = makers.pictures(3, size=40)
    from PIL import Image

    resized = [np.asarray(Image.fromarray(image).resize((32, 24), Image.Resampling.BICUBIC)) for image in images]
    pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = module((pixels - mean) / std)
    features, logits = gm.FeatureExtractor(tmp_path / "bundle", device="cpu")(images)
    assert logits is not None
    assert np.abs(features - expected["features"].numpy()).max() < 1e-5
    assert np.abs(logits - expected["logits"].numpy()).max() < 1e-5

    sides = [str(makers.image_folder(tmp_path / name, 24, seed=seed)) for name, seed in (("out", 1), ("real", 2))]
    run = CliRunner().invoke(app, ["evaluate", *sides, "-e", str(tmp_path / "bundle"), "--json", "-", "-q"])
    assert run.exit_code == 0, run.stderr
    report = gm.Report.from_json(run.stdout)
    assert report.extractor.name == "my-network" and {"fd", "kid", "class_score"} <= set(report.scores)
    verified = CliRunner().invoke(app, ["bundles", "verify", str(tmp_path / "bundle")])
    assert verified.exit_code == 0 and "my-network  features  holds" in verified.stdout


class Pooled(torch.nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3)

    def forward(self, images: Any) -> Any:
        return self.layer(images).mean(dim=(2, 3))


class Of(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A module by its forward function."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self._of = forward

    def forward(self, images: Any) -> Any:
        return self._of(images)


def entry(**changes: Any) -> dict[str, Any]:
    made = {"name": "own", "module": Pooled(), "size": 16, "scale": 2 / 255, "offset": -1, **changes}
    return {key: value for key, value in made.items() if value is not None}


def of(forward: Any, **changes: Any) -> dict[str, Any]:
    return entry(module=Of(forward), **changes)


def flat(images: Any) -> Any:
    return images.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Pooled(), "returned a Pooled; it must return a dict with name, module, size"),
        (entry(module=None), "lacks module.*--help"),
        (entry(sizes=3), r"'sizes', which means nothing here\. Did you mean 'size'\?"),
        (entry(name="../up"), "letters, digits"),
        (entry(name="scattering"), "shipped bundle"),
        (entry(module=Pooled), "the class Pooled; it must be a torch.nn.Module"),
        (entry(module=Pooled().half()), r"layer\.weight of the module is torch\.float16.*module\.float\(\)"),
        (entry(size=(16, 16, 3)), r"size is \(16, 16, 3\)"),
        (entry(size=0), "1 to 4,096"),
        (entry(scale=None, offset=None), "either mean and std .* or scale and offset"),
        (entry(mean=0.5, std=0.5), "either mean and std"),
        (entry(scale=None, offset=None, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)), "divide both by 255"),
        (entry(scale=(1, 2)), r"scale is \(1, 2\); it must be a number, or three"),
        (entry(scale=0.0), "must not be 0"),
        (entry(outputs="features"), "tuple of names"),
        (entry(outputs=("pooled",)), "must be called 'features'"),
        (entry(outputs=("features", "logits")), "returns 1 outputs, and outputs names 2"),
        (of(lambda x: {"values": flat(x)}), "dict without 'features'"),
        (of(lambda x: x), r"shape \[7, 3, 16, 16\].*x\.mean\(dim=\(2, 3\)\)"),
        (of(lambda x: flat(x).double()), "float64; it must be float32"),
        (of(lambda x: flat(x) / 0), "not finite"),
        (of(lambda x: flat(x) + torch.rand(len(x), 3)), "random, even in eval mode"),
        (of(lambda x: flat(x) - flat(x).mean(dim=0)), "depends on the others in its batch"),
        (of(lambda x: flat(x) * 0 + 1), "same for noise, black, white and stripes"),
        (of(lambda x: x.reshape(len(x), 5)), r"fails on images of shape \[7, 3, 16, 16\].*invalid for input"),
        (of(lambda x: "features"), "must return a tensor"),
        (entry(crop="left"), "crop is 'left'"),
        (entry(crop="shorter-side", size=(16, 20)), "for squares"),
        (entry(alpha="black"), "white or drop"),
    ],
)
def test_what_is_wrong_with_a_network_is_said_before_it_is_frozen(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        custom_blueprint(given)


def test_an_unknown_filter_is_refused_with_those_that_exist() -> None:
    with pytest.raises(gm.InputError, match="resize 'lanczos' is unknown: this version knows none, triangle-antialias"):
        custom_blueprint(entry(resize="lanczos"))


@pytest.mark.parametrize(
    ("source", "message"), [("nowhere.py:network", "there is no file"), ("mine.py:other", "has no function 'other'")]
)
def test_a_factory_that_is_not_there(
    source: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLE)
    assert main(["custom", f"{tmp_path}/{source}", "-o", str(tmp_path / "b")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "b").exists()


def test_a_module_that_decides_by_its_data_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Deciding(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        pooled = x.mean(dim=(2, 3))\n"
        "        return pooled if pooled.sum().item() > 1e9 else pooled * 2\n"
        "def network():\n"
        "    return {'name': 'own', 'module': Deciding(), 'size': 16, 'scale': 1 / 255, 'offset': 0}\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["custom", f"{tmp_path / 'mine.py'}:network", "-o", str(tmp_path / "b")]) == 2
    told = capsys.readouterr().err
    assert "cannot be frozen" in told and "torch.where" in told and "Traceback" not in told
    assert not (tmp_path / "b").exists()


def test_arrays_of_features_need_no_bundle(tmp_path: Path) -> None:
    stream = np.random.default_rng(0)
    for name in ("gen", "ref"):
        np.save(tmp_path / f"{name}.npy", stream.standard_normal((60, 6)))
    run = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "gen.npy"), str(tmp_path / "ref.npy"), "--json", "-", "-q"]
    )
    assert run.exit_code == 0, run.stderr
    assert {"fd", "kid", "precision", "recall"} <= set(gm.Report.from_json(run.stdout).scores)

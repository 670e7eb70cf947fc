"""The example service: its images, its switch for a fault, and the monitor's routes beside them."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import genmetrics_rt as gm
from tests import makers

APP = Path(__file__).parents[1] / "examples" / "service" / "app.py"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The application as a module of its own, without its monitor."""
    monkeypatch.setenv("MONITOR", "off")
    spec = importlib.util.spec_from_file_location("example_service", APP)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.generator._rng = np.random.default_rng(0)
    return module


def test_it_serves_pictures_and_breaks_on_request(service: ModuleType) -> None:
    client = TestClient(service.app)

    def some(count: int = 24) -> np.ndarray:
        answers = [client.get("/image") for _ in range(count)]
        assert all(answer.headers["content-type"] == "image/png" for answer in answers)
        return np.stack([np.asarray(Image.open(io.BytesIO(answer.content)), np.float64) for answer in answers])

    def sharpness(images: np.ndarray) -> float:
        return float(np.square(np.diff(images, n=2, axis=2)).mean())

    healthy = some()
    assert healthy.shape == (24, 32, 32, 3) and healthy.std(axis=0).max() > 50
    assert client.post("/fault/blur").json() == {"fault": "blur"}
    assert sharpness(some()) < 0.6 * sharpness(healthy)
    client.post("/fault/collapse")
    collapsed = some()
    nearest = [np.sort(np.square(collapsed - image).mean(axis=(1, 2, 3)))[1] for image in collapsed]
    assert np.median(nearest) < 200  # each image has another like it
    assert client.post("/fault/fire").status_code == 404
    client.post("/fault/none")
    assert sharpness(some()) > 0.7 * sharpness(healthy)


def test_a_request_hands_its_image_to_the_monitor(service: ModuleType, tiny: Path) -> None:
    with gm.QualityMonitor(makers.pictures(240), extractor=tiny, window=80, panes=4) as monitor:
        service.monitor = monitor
        client = TestClient(service.app)
        for _ in range(3):
            assert client.get("/image").status_code == 200
        monitor.wait()  # the service hands its arrays over without a copy: they are counted a little later
        assert monitor.counts()["observed"] == 3 and monitor.counts()["errors"] == 0

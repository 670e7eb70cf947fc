from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests import makers

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # some tests import onnxruntime without our door
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A script that runs us in the background makes us ignore Ctrl-C, and what we start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache, and none depends on the caller's settings."""
    for name in list(os.environ):
        if name.startswith("GENMETRICS_") and name != "GENMETRICS_TEST_DATA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("GENMETRICS_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extractor bundle with 12 features of an 8 × 8 image."""
    return makers.make_extractor(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def tiny_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with logits of 5 classes."""
    return makers.make_extractor(tmp_path_factory.mktemp("bundles") / "tiny-classes", classes=5, name="tiny-classes")


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return makers.make_generator(tmp_path_factory.mktemp("bundles") / "tiny-generator")


@pytest.fixture(scope="session")
def data() -> Path:
    """The developers' real images; the test is skipped where they are absent."""
    folder = Path(os.environ.get("GENMETRICS_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("the developers' data folder is not here")
    return folder

"""A polite guest in other people's processes: light to import, silent on the network, no global state."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "scipy", "onnxruntime", "PIL", "typer", "rich", "platformdirs", "gradio")


def python(code: str, *, isolated_from: str = "", **environment: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_loads_nothing_heavy() -> None:
    loaded = python(f"import sys, genmetrics_rt; print([name for name in {HEAVY!r} if name in sys.modules])")
    assert loaded == "[]"


def test_every_public_name_exists_and_is_sorted() -> None:
    import genmetrics_rt as gm

    assert gm.__all__ == sorted(gm.__all__)
    assert set(gm._HOMES) | {"__version__"} == set(gm.__all__)
    for name in gm.__all__:
        assert getattr(gm, name) is not None
    assert dir(gm) == gm.__all__
    with pytest.raises(AttributeError):
        _ = gm.no_such_name


EVALUATE = """
import numpy as np, genmetrics_rt as gm
rng = np.random.default_rng(0)
a, b = (rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8) for _ in range(2))
"""


def test_evaluating_never_loads_torch() -> None:
    assert python(EVALUATE + "gm.evaluate(a, b).to_html(); import sys; print('torch' in sys.modules)") == "False"


def test_evaluating_opens_no_socket_and_writes_no_telemetry(tmp_path: Path) -> None:
    """Python sockets are forbidden; ONNX Runtime's native telemetry is looked for where it keeps its device id.

    The marker variable CI also silences ONNX Runtime, so it is removed: the switch of ours must do it alone.
    """
    code = (
        "import os, socket\nos.environ.pop('CI', None)\n"
        "def refuse(*a, **k): raise AssertionError('a socket was opened')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse; socket.create_connection = refuse\n"
        + EVALUATE
        + "gm.evaluate(a, b)\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "GENMETRICS_HOME": str(tmp_path / "gm"),
    }
    assert python(code, **environment) == "1"
    written = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(tmp_path / "gm")]
    # On a machine with CUDA the driver keeps what it compiles, by itself.
    assert [path for path in written if not path.is_relative_to(tmp_path / ".nv")] == []


def test_the_system_calls_show_no_connection(tmp_path: Path) -> None:
    """The same from outside, where strace is installed: no connect() to an internet address, native code included."""
    import shutil

    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed; the in-process test above covers Python's own sockets")
    log = tmp_path / "strace.txt"
    import os

    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    watched = [sys.executable, "-c", EVALUATE + "gm.evaluate(a, b)"]
    subprocess.run(
        [strace, "-f", "-e", "trace=connect,sendto", "-o", str(log), *watched],
        check=True,
        cwd=ROOT,
        env=environment,
        timeout=300,
    )
    assert "AF_INET" not in log.read_text()


def test_global_random_state_and_thread_settings_are_left_alone() -> None:
    code = EVALUATE + (
        "np.random.seed(5); before = np.random.get_state()[1].tolist()\n"
        "gm.evaluate(a, b)\nprint(before == np.random.get_state()[1].tolist())"
    )
    assert python(code) == "True"


def test_the_runtime_never_mentions_the_workshop() -> None:
    for path in (ROOT / "genmetrics_rt").rglob("*.py"):
        text = path.read_text()
        assert "import export" not in text and "from export" not in text, path


FLOORS = {
    1: {"errors", "arrays", "report", "version", "threads", "provenance", "protobuf", "textbook", "progress"},
    2: {"manifest", "bundle", "cache", "download", "onnx_file", "onnx_signature", "images", "archives",
        "decode", "sources", "resize", "statistics", "features", "kernels", "frozen_kernels", "frozen",
        "graph_call", "graph_on_onnxruntime", "graph_on_torch",
        "manifold", "distances", "clustering", "selftest", "staging", "checkpoints", "layouts", "assembly",
        "statistics_files", "uncertainty", "deletions", "tables", "event_files", "texts", "wordpiece", "wording",
        "datasets", "stores"},
    3: {"metrics", "generators", "generator_files", "bare_generators", "reference", "extractor", "extraction", "sides",
        "scoring", "galleries", "render", "perceptual", "likelihood", "doctor", "fetch", "public_references",
        "serving_layouts", "paired", "training_run", "training_log", "training_log_files", "class_labels"},
    4: {"preparation", "evaluation", "explaining", "tracking", "by_class", "copying", "pairwise", "calibration",
        "meaning", "sample_files", "latent", "diagnosis", "scorecard", "scale"},
    5: {"cli", "cli_bundles", "cli_references", "cli_reports", "cli_track", "cli_paper", "cli_copies", "cli_perceptual",
        "cli_likelihood", "cli_adversarial", "cli_scorecard", "cli_shards",
        "options", "cli_sample", "cli_latent", "generator_options", "gate", "terminal", "monitor", "__main__"},
}  # fmt: skip


def test_no_arrow_points_upward() -> None:
    """Imports at module level go to the same floor or below; a lazy import inside a function may look up once."""
    import ast

    floor_of = {name: floor for floor, names in FLOORS.items() for name in names}
    for path in (ROOT / "genmetrics_rt").rglob("*.py"):
        module = path.relative_to(ROOT / "genmetrics_rt").parts[0].removesuffix(".py")
        if module == "__init__":
            continue
        assert module in floor_of, f"{module} has no floor: add it to the picture"
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genmetrics_rt."):
                target = node.module.split(".")[1]
                assert floor_of[target] <= floor_of[module], f"{path.name} imports {target} from a floor above"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_holds_the_runtime_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"genmetrics_rt"}
    for needed in (
        "py.typed",
        "bundles/scattering/manifest.json",
        "bundles/scattering/graph.onnx",
        "examples/digits.npz",
    ):
        assert f"genmetrics_rt/{needed}" in names
    assert not [name for name in names if name.endswith((".pth", ".pkl", ".pt"))]
    assert wheel.stat().st_size < 8e6


def test_the_wheel_asks_for_no_torch_and_no_onnxruntime(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
    required = [line for line in archive.read(metadata).decode().splitlines() if line.startswith("Requires-Dist")]
    base = [line for line in required if "extra ==" not in line]
    assert len(base) == 5, base
    assert not any("torch" in line or "onnxruntime" in line or "gradio" in line for line in base)

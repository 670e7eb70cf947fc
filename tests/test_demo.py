"""The page without a browser: what it shows from the start is true, its endpoints answer, it is a Space as it lies."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import genmetrics_rt as gm
from tests import makers
from tests.servers import serving

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
if str(DEMO) not in sys.path:
    sys.path.append(str(DEMO))  # behind everything else: its plain names shadow nothing

from generators import DENSITIES, GENERATORS, NUM_PATHS  # noqa: E402

PRECOMPUTED = DEMO / "precomputed"
pytestmark = pytest.mark.timeout(600)


# What it shows from the start


def test_the_example_on_the_page_is_what_this_version_computes() -> None:
    shown = gm.Report.from_json((PRECOMPUTED / "report.json").read_text(encoding="utf-8"))
    again = gm.evaluate("digits-gan", "digits", extractor="scattering", num_images=1_000)
    assert shown.version == gm.__version__
    assert shown.fingerprint == again.fingerprint
    assert shown.scores.keys() == again.scores.keys()
    for key, score in again.scores.items():
        assert shown.scores[key].value == pytest.approx(score.value, rel=1e-4, abs=1e-4), key
        assert shown.scores[key].interval == pytest.approx(score.interval, rel=1e-2, abs=1e-3), key
    assert [(f.key, f.severity) for f in shown.findings] == [(f.key, f.severity) for f in again.findings]
    assert shown.verdict == again.verdict
    assert f"{shown.scores['fd'].value:.4g}" in (PRECOMPUTED / "fragment.html").read_text(encoding="utf-8")


def test_the_pages_are_fragments_of_this_style() -> None:
    """Pages that were made by an older style sheet would look wrong beside new ones."""
    shown = gm.Report.from_json((PRECOMPUTED / "report.json").read_text(encoding="utf-8"))
    style = re.compile(r"<style>.*?</style>", re.S)
    (today,) = style.findall(shown.to_html(fragment=True))
    pages = set(PRECOMPUTED.glob("*.html")) - {PRECOMPUTED / "report.html"}
    assert len(pages) == 4 + len(GENERATORS) + len(DENSITIES)
    for page in pages:
        (found,) = style.findall(page.read_text(encoding="utf-8"))
        assert found == today, f"{page.name} is old: run python demo/precompute.py"


def test_the_scorecard_on_the_page_is_what_this_version_computes() -> None:
    shown = json.loads((PRECOMPUTED / "scorecard.json").read_text(encoding="utf-8"))
    cards = {card["name"]: card["found"] for card in shown["cards"]}
    assert list(cards) == list(GENERATORS)
    for name in ("digits-flow", "digits-diffusion"):
        report = gm.evaluate(name, "digits", num_images=1_000)
        for key in ("quality", "coverage"):
            for measure in cards[name][key]["measures"]:
                assert measure["value"] == pytest.approx(report.scores[measure["key"]].value, rel=1e-3, abs=1e-4)
    for name in GENERATORS:
        values = {measure["key"]: measure["value"] for measure in cards[name]["latent_space"]["measures"]}
        looked = gm.examine_latent_space(name, num_paths=NUM_PATHS, seed=0)
        assert values["path_length"] == pytest.approx(looked.path_length.value, rel=1e-2), name
        page = (PRECOMPUTED / f"latent-{name}.html").read_text(encoding="utf-8")
        assert page.count("data:image/png") == len(looked.strips)
    for name, density in DENSITIES.items():
        values = {measure["key"]: measure["value"] for measure in cards[name]["likelihood"]["measures"]}
        likely = gm.likelihood_of_images(density, "digits", num_images=1_000, generated=False)
        assert values["bits_per_dim"] == pytest.approx(likely.entries[0].test.bits_per_dim, rel=1e-3)
        assert (PRECOMPUTED / f"likelihood-{name}.html").is_file()
    assert all("why_not" in cards[name]["likelihood"] for name in GENERATORS.keys() - DENSITIES.keys())


# Which way its arrows point


@pytest.mark.parametrize("path", sorted(DEMO.rglob("*.py")), ids=lambda path: path.name)
def test_it_imports_the_public_face_alone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith(("genmetrics_rt", "export", "tests")), ast.unparse(node)
        if isinstance(node, ast.Import):
            for name in node.names:
                assert not name.name.startswith(("genmetrics_rt.", "export", "tests")), name.name
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gm":
            assert node.attr in gm.__all__, f"gm.{node.attr} is not public"


# Its endpoints


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gradio")
    with serving(sys.executable, DEMO / "app.py", tmp_path_factory.mktemp("server") / "home") as address:
        yield address


# In a process of its own: gradio_client warns, and would look for telemetry settings of this one.
CLIENT = """
import json, os, sys, threading
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
import warnings; warnings.simplefilter("ignore")
from gradio_client import Client, handle_file
address, calls = sys.argv[1], json.loads(sys.argv[2])
answers = [None] * len(calls)
def ask(place, call):
    client = Client(address, verbose=False)
    api_name, arguments = call
    def value(entry):
        if isinstance(entry, dict) and "file" in entry: return handle_file(entry["file"])
        return [value(part) for part in entry] if isinstance(entry, list) else entry
    try:
        answers[place] = client.predict(*map(value, arguments), api_name=api_name)
    except Exception as error:
        answers[place] = {"error": str(error)}
threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(calls)]
for thread in threads: thread.start()
for thread in threads: thread.join()
names = sorted(Client(address, verbose=False).view_api(return_format="dict")["named_endpoints"])
print(json.dumps({"answers": answers, "names": names}))
"""


def asked(address: str, *calls: tuple[str, list[object]]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CLIENT, address, json.dumps(calls)],
        capture_output=True,
        text=True,
        timeout=400,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_four_people_at_once_get_their_own_reports(address: str, tmp_path: Path) -> None:
    calls, expected = [], []
    for person in range(4):
        images = makers.pictures(60 + 20 * person, seed=person)
        path = tmp_path / f"person-{person}.npy"
        np.save(path, images)
        calls.append(("/evaluate", [{"file": str(path)}, None, "", "digits", "scattering", "fd,kid", 60, 0]))
        expected.append(gm.evaluate(images, "digits", extractor="scattering", metrics="fd,kid", num_images=60))
    found = asked(address, *calls)
    assert found["names"] == ["/compare", "/evaluate", "/scorecard"]  # and nothing of the page's own
    for person, (answer, right) in enumerate(zip(found["answers"], expected, strict=True)):  # type: ignore[call-overload]
        assert answer["schema"] == "genmetrics.report/1", answer
        assert answer["generated"]["source"] == f"person-{person}.npy"
        assert answer["generated"]["content_hash"] == right.generated.content_hash
        for key, score in right.scores.items():
            assert answer["scores"][key]["value"] == pytest.approx(score.value, rel=1e-3, abs=1e-5)


def test_endpoints_refuse_in_words_and_read_nothing_of_the_server(address: str, tmp_path: Path) -> None:
    words = tmp_path / "words.png"
    words.write_text("no picture")
    empty = ["", 0, 0]
    calls = [
        ("/evaluate", [{"file": str(words)}, None, "", "digits", "scattering", *empty]),
        ("/evaluate", [None, None, "/etc", "digits", "scattering", *empty]),
        ("/evaluate", [None, None, "digits-gan", "digits", "/etc/passwd", *empty]),
        ("/evaluate", [None, None, "digits-gan", "digits", "scattering", "nonsense", 0, 0]),
    ]
    answers = asked(address, *calls)["answers"]
    for answer, message in zip(answers, ("words.png", "no example", "extractor", "nonsense"), strict=True):  # type: ignore[call-overload]
        assert message in answer["error"], answer
        assert "Traceback" not in answer["error"]


def test_compare_by_program(address: str, tmp_path: Path) -> None:
    paths = []
    for name in ("digits-gan", "digits-vae"):
        report = gm.evaluate(name, "digits", extractor="digits-classifier", num_images=200, metrics="fd,kid")
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(report.to_json())
    (answer,) = asked(address, ("/compare", [[{"file": str(path)} for path in paths]]))["answers"]  # type: ignore[misc]
    assert answer["schema"] == "genmetrics.comparison/1"
    assert set(answer["reports"]) == {"digits-gan", "digits-vae"}


def test_a_scorecard_by_program(address: str) -> None:
    calls = [
        ("/scorecard", ["digits-gan", 60, 3]),
        ("/scorecard", ["/etc", 60, 0]),
        ("/scorecard", ["digits-gan", 9999, 0]),
    ]
    card, path, many = asked(address, *calls)["answers"]  # type: ignore[misc]
    assert card["schema"] == "genmetrics.scorecard/1" and card["seed"] == 3
    assert [entry["name"] for entry in card["cards"]] == ["digits-gan"]
    report = gm.evaluate("digits-gan", "digits", num_images=60, seed=3)
    (precision,) = [entry for entry in card["cards"][0]["found"]["quality"]["measures"] if entry["key"] == "precision"]
    assert precision["value"] == pytest.approx(report.scores["precision"].value, abs=1e-6)
    assert "no generator '/etc'" in path["error"] and "9,999" in many["error"]


def test_nothing_of_anybody_is_left_when_the_server_ends(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", makers.pictures(40))
    place = tmp_path / "place"
    place.mkdir()
    call = ("/evaluate", [{"file": str(tmp_path / "images.npy")}, None, "", "digits", "scattering", "kid", 40, 0])
    with serving(sys.executable, DEMO / "app.py", tmp_path / "home", TMPDIR=str(place)) as address:
        (answer,) = asked(address, call)["answers"]  # type: ignore[misc]
        assert answer["scores"]["kid"]["value"] is not None
        assert list(place.glob("genmetrics-uploads-*/*/*.npy"))  # until it is an hour old
        assert not list(place.glob("genmetrics-demo-*/job-*"))
    assert not list(place.glob("genmetrics-*"))


def test_agents_see_the_endpoints_where_that_is_wanted(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    with (
        serving(sys.executable, DEMO / "app.py", tmp_path / "home", GENMETRICS_MCP="1") as address,
        urllib.request.urlopen(f"{address}/gradio_api/mcp/schema", timeout=30) as answer,
    ):
        tools = {tool["name"]: tool for tool in json.load(answer)}
    assert set(tools) == {"evaluate", "compare", "scorecard"}
    assert "Score generated images" in tools["evaluate"]["description"]
    assert {"generated", "reference", "metrics", "num_images"} <= set(tools["evaluate"]["inputSchema"]["properties"])


def test_where_weights_are_fetched_in_the_background_the_page_says_so_and_goes_on(tmp_path: Path) -> None:
    """There is no network here, or a slow one: either way the page is there at once."""
    home, proxy = tmp_path / "home", "http://127.0.0.1:9"  # nobody listens there
    off = {"HTTPS_PROXY": proxy, "https_proxy": proxy, "HTTP_PROXY": proxy, "http_proxy": proxy}
    with (
        serving(sys.executable, DEMO / "app.py", home, GENMETRICS_DEMO_FETCH="1", **off) as address,
        urllib.request.urlopen(f"{address}/config", timeout=30) as answer,
    ):
        assert "fetches the weights of the ImageNet Inception" in answer.read().decode()


# The Space


def test_the_space_installs_into_an_empty_environment_and_starts(tmp_path: Path) -> None:
    """What `make space` renders, as a Space would install and run it: no checkout, no torch."""
    pytest.importorskip("gradio")
    space = tmp_path / "space"
    subprocess.run([sys.executable, DEMO / "make_space.py", space], check=True, timeout=300)
    front = (space / "README.md").read_text(encoding="utf-8").split("---")[1]
    entries = dict(line.split(":", 1) for line in front.strip().splitlines() if ":" in line)
    assert entries["sdk"].strip() == "gradio" and (space / entries["app_file"].strip()).is_file()
    assert len(entries["short_description"].strip()) <= 60
    assert not list(space.rglob("precompute.py")) and list(space.glob("*.whl"))

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "-r", "requirements.txt"], check=True, cwd=space, timeout=500)
    listed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "torch" not in listed and "genmetrics" in listed
    with (
        serving(python, space / "app.py", tmp_path / "home") as address,
        urllib.request.urlopen(address, timeout=30) as page,
    ):
        assert b"genmetrics" in page.read()

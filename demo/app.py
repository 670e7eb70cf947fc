"""The window: one page with a tab for each question. `python app.py` starts it; a Space runs this file as it lies."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

# Before gradio is imported: afterwards it has already asked for versions, and told who runs it.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Uploads lie in a folder of this process, readable by its user only, and not among those of other programs.
if "GRADIO_TEMP_DIR" not in os.environ:
    os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="genmetrics-uploads-")
    atexit.register(shutil.rmtree, os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)

import gradio as gr

import about_tab
import api
import compare_tab
import evaluate_tab
import genmetrics_rt as gm
import network
import perceptual_tab
import playground_tab
import scorecard_tab
import training_tab
from jobs import Jobs

# The blue of the reports, dark enough for white text on it.
INK = gr.themes.Color(
    *("#eef6fa", "#d6e9f2", "#aed3e4", "#7cc3e2", "#3d93b8", "#0b5a7a", "#0a5271", "#094863", "#083d54", "#062f41"),
    "#04202d",
    name="ink",
)
HERE = Path(__file__).parent
PRECOMPUTED = HERE / "precomputed"
HEAD = f"""
<header class="gm-head"><h1>genmetrics</h1>
<p>How good is a generative model? Two sets of images in; FID, KID, Inception Score, precision and recall out, with how
sure each number is and what it means. Frozen graphs, no torch: the same number on every machine.
<span>genmetrics-rt {gm.__version__}</span></p></header>
"""


def build(jobs: Jobs) -> gr.Blocks:
    """The page."""
    with gr.Blocks(
        title="genmetrics: how good is a generative model?",
        fill_width=True,
        analytics_enabled=False,
        delete_cache=(600, 3600),
    ) as page:
        gr.HTML(HEAD)
        with gr.Tabs():
            with gr.Tab("Evaluate", id="evaluate"):
                evaluate_tab.build(page, jobs, PRECOMPUTED)
            with gr.Tab("Compare", id="compare"):
                compare_tab.build(page, jobs, PRECOMPUTED)
            with gr.Tab("Scorecard", id="scorecard"):
                scorecard_tab.build(jobs, PRECOMPUTED)
            with gr.Tab("Two pictures", id="pictures"):
                perceptual_tab.build(page, jobs)
            with gr.Tab("Training", id="training"):
                training_tab.build((PRECOMPUTED / "track.html").read_text(encoding="utf-8"))
            with gr.Tab("Playground", id="playground"):
                playground_tab.build()
            with gr.Tab("What the numbers mean", id="about"):
                about_tab.build()
        api.build(jobs)
    return page


def launch(**options: Any) -> Any:
    """Build the page and listen: nothing is sent out, no error of ours is shown, nothing is served but the page."""
    network.fetch_in_background()
    settings: dict[str, Any] = {
        "css_paths": [HERE / "style.css"],
        "theme": gr.themes.Default(
            primary_hue=INK,
            neutral_hue=gr.themes.colors.stone,
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        "show_error": False,
        "allowed_paths": [],
        "enable_monitoring": False,
        "footer_links": ["api"],
        "max_file_size": "500mb",
        "share": False,
        "ssr_mode": False,
        "mcp_server": os.environ.get("GENMETRICS_MCP") == "1",
        "run_history": False,
    }
    jobs = Jobs(concurrent=network.CONCURRENT)
    return build(jobs).queue(max_size=64, api_open=False).launch(**(settings | options))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that folders are removed as after Ctrl-C
    launch()

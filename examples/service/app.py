"""A small service that makes pictures of digits, and watches whether they are still good.

    pip install 'genmetrics-rt[cpu,serve]'
    uvicorn app:app --app-dir examples/service

``GET /image`` gives a PNG. ``/quality/healthz``, ``/quality/metrics`` and ``/quality/report?format=html`` tell how the
images are. ``POST /fault/blur``, ``/fault/collapse`` and ``/fault/none`` damage the generator and repair it: they are
there to see the alarm, and a real service has nothing like it.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Response
from PIL import Image, ImageFilter

import genmetrics_rt as gm

FAULTS = ("none", "blur", "collapse")
WINDOW = int(os.environ.get("WINDOW", "400"))
log = logging.getLogger("uvicorn.error")


class DigitsGan:
    """The generator that this service serves: a frozen ONNX graph, with a switch for a fault."""

    def __init__(self) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        graph = gm.load_bundle("digits-gan").path / "graph.onnx"
        self._session = onnxruntime.InferenceSession(str(graph), options)
        (latent,) = self._session.get_inputs()
        self._input, self._dim = latent.name, int(latent.shape[1])
        self._rng = np.random.default_rng()
        self.fault = "none"

    def __call__(self, count: int) -> np.ndarray:
        """uint8 (count, 32, 32, 3)."""
        latents = self._rng.standard_normal((count, self._dim), dtype=np.float32)
        if self.fault == "collapse":  # all images from the neighbourhood of a few points
            few = np.random.default_rng(0).standard_normal((5, self._dim))
            latents = (few[self._rng.integers(0, 5, count)] + 0.05 * latents).astype(np.float32)
        images = self._session.run(["images"], {self._input: latents})[0]
        if self.fault == "blur":
            soft = (Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)) for image in images)
            images = np.stack([np.asarray(image) for image in soft])
        return images


def say(alarm: gm.Alarm) -> None:
    """Where a real service would page somebody."""
    if alarm.active:
        log.warning("quality alarm: %s %s", alarm.key, alarm.claim or f"{alarm.value:.4g}, limit {alarm.limit:.4g}")
    else:
        log.warning("quality alarm over: %s", alarm.key)


def make_monitor() -> gm.QualityMonitor:
    """The generator as it is shipped counts as healthy, so the alarm is about what becomes of it here."""
    return gm.QualityMonitor(
        "digits",
        healthy="digits-gan",
        window=WINDOW,
        panes=4,
        max_rows=WINDOW,
        state=os.environ.get("STATE"),
        on_alarm=say,
        name="digits",
    )


generator = DigitsGan()
monitor = make_monitor() if os.environ.get("MONITOR", "on") == "on" else None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    if monitor is not None:
        monitor.close()


app = FastAPI(title="Digits", lifespan=lifespan)
if monitor is not None:
    app.include_router(monitor.router(), prefix="/quality")


@app.get("/image", response_class=Response)
def image() -> Response:
    made = generator(1)
    if monitor is not None:
        monitor.observe(made, copy=False)  # nobody changes it after this
    buffer = io.BytesIO()
    Image.fromarray(made[0]).save(buffer, "PNG")
    return Response(buffer.getvalue(), media_type="image/png")


@app.post("/fault/{name}")
def fault(name: str) -> dict[str, Any]:
    if name not in FAULTS:
        raise HTTPException(404, f"There are the faults {', '.join(FAULTS)}.")
    generator.fault = name
    return {"fault": name}

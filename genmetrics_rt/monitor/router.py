"""``/healthz``, ``/metrics`` and ``/report`` of a monitor, to be mounted in a FastAPI application."""

import threading
from typing import TYPE_CHECKING, Any

from genmetrics_rt.errors import EmptySide, GenmetricsError, MissingPackage
from genmetrics_rt.monitor.exposition import exposition

if TYPE_CHECKING:
    from genmetrics_rt.monitor.quality import QualityMonitor

_UP = ("running", "starting", "calibrating", "restarting")
_PATIENCE = 10.0  # seconds for a report


def monitor_router(monitor: "QualityMonitor") -> Any:
    """A ``fastapi.APIRouter``: ``app.include_router(monitor_router(monitor), prefix="/quality")``.

    ``/healthz`` is about the monitor, not about the images: 503 once the worker has failed for good, fails again and
    again, or hangs. An alarm changes no status code, lest an orchestrator kill a service because its pictures are
    blurred. ``/report`` is JSON, or a page with ``?format=html``; 503 until a first whole window has come, and while
    another report is being made.

    Raises `MissingPackage` without fastapi.
    """
    try:
        from fastapi import APIRouter, Response
        from fastapi.responses import HTMLResponse, JSONResponse
    except ModuleNotFoundError as error:
        raise MissingPackage("The router needs the package fastapi: pip install 'genmetrics-rt[serve]'.") from error
    router = APIRouter(tags=["quality"])

    reporting = threading.Lock()

    # On the event loop: it waits for nothing, and must answer when the host's threads are all taken.
    @router.get("/healthz")
    async def healthz() -> Response:
        status = monitor.status()
        record = {
            "status": status["state"],
            "active_alarms": sorted(alarm.key for alarm in monitor.alarms if alarm.active),
            "counts": status["counts"],
            "restarts": status["restarts"],
        }
        if status.get("error"):
            record["error"] = status["error"]
        return JSONResponse(record, status_code=200 if status["state"] in _UP else 503)

    # Plain functions: the framework runs them in threads, so that the event loop never waits.
    @router.get("/metrics")
    def metrics() -> Response:
        text, kind = exposition(monitor)
        return Response(text, media_type=kind)

    @router.get("/report")
    def report(format: str = "json") -> Response:
        if not reporting.acquire(blocking=False):  # the threads are the host's: no more than one may wait here
            return JSONResponse(
                {"detail": "Another report is being made."}, status_code=503, headers={"Retry-After": "1"}
            )
        try:
            if format == "html":
                return HTMLResponse(monitor.report_html(timeout=_PATIENCE))
            return Response(monitor.report(timeout=_PATIENCE).to_json(), media_type="application/json")
        except EmptySide as error:
            return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": "10"})
        except GenmetricsError as error:
            return JSONResponse({"detail": str(error)}, status_code=503)
        finally:
            reporting.release()

    return router

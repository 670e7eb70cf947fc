"""``/healthz``, ``/metrics`` and ``/report`` of a monitor, to be mounted in a FastAPI application."""

from typing import TYPE_CHECKING, Any

from genmetrics_rt.errors import EmptySide, GenmetricsError, MissingPackage
from genmetrics_rt.monitor.exposition import exposition

if TYPE_CHECKING:
    from genmetrics_rt.monitor.quality import QualityMonitor

_UP = ("running", "starting", "calibrating", "restarting")


def monitor_router(monitor: "QualityMonitor") -> Any:
    """A ``fastapi.APIRouter``: ``app.include_router(monitor_router(monitor), prefix="/quality")``.

    ``/healthz`` is about the monitor, not about the images: 503 once the worker has failed for good or hangs. An alarm
    changes no status code, lest an orchestrator kill a service because its pictures are blurred. ``/report`` is JSON,
    or a page with ``?format=html``; 503 until a first whole window has come.

    Raises `MissingPackage` without fastapi.
    """
    try:
        from fastapi import APIRouter, Response
        from fastapi.responses import HTMLResponse, JSONResponse
    except ModuleNotFoundError as error:
        raise MissingPackage("The router needs the package fastapi: pip install 'genmetrics-rt[serve]'.") from error
    router = APIRouter(tags=["quality"])

    # Plain functions: the framework runs them in threads of its own, so that the event loop never waits.
    @router.get("/healthz")
    def healthz() -> Response:
        status = monitor.status()
        record = {
            "status": status["state"],
            "active_alarms": sorted(alarm.key for alarm in monitor.alarms if alarm.active),
            "counts": status["counts"],
            "restarts": status["restarts"],
        }
        if "error" in status:
            record["error"] = status["error"]
        return JSONResponse(record, status_code=200 if status["state"] in _UP else 503)

    @router.get("/metrics")
    def metrics() -> Response:
        text, kind = exposition(monitor)
        return Response(text, media_type=kind)

    @router.get("/report")
    def report(format: str = "json") -> Response:
        try:
            if format == "html":
                return HTMLResponse(monitor.report_html())
            return Response(monitor.report().to_json(), media_type="application/json")
        except EmptySide as error:
            return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": "10"})
        except GenmetricsError as error:
            return JSONResponse({"detail": str(error)}, status_code=503)

    return router

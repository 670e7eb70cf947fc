"""The monitor's figures for Prometheus, by its conventions: base units, ``_total`` on counters, few label values.

Labels are ``stream`` (the name of the monitor), ``window`` (``sliding`` or ``tumbling``), ``reason``, ``alarm`` and
``finding``; the last three come from fixed lists, so that a scrape never grows. Averages of these gauges over replicas
mean nothing: merge the replicas' state with `genmetrics_rt.monitor.replicas.merge_replicas`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from genmetrics_rt.diagnosis.rules import RULES
from genmetrics_rt.errors import MissingPackage
from genmetrics_rt.version import __version__

if TYPE_CHECKING:
    from genmetrics_rt.monitor.quality import QualityMonitor

# Key of a value → the name of its gauge, and what it says.
_GAUGES = {
    "fd": ("frechet_distance", "Fréchet distance to the reference (lower is better)."),
    "fid": ("frechet_inception_distance", "Fréchet inception distance to the reference (lower is better)."),
    "kid": ("kernel_distance", "Kernel distance to the reference, unbiased (lower is better)."),
    "precision": ("precision_ratio", "Share of images that look like the reference."),
    "recall": ("recall_ratio", "Share of the reference that the images reach."),
    "density": ("density", "How densely the images lie among the reference (1 for a perfect model)."),
    "coverage": ("coverage_ratio", "Share of reference images with an image near them."),
    "class_score": ("class_score", "Inception Score's formula on the extractor's classes (higher is better)."),
    "is": ("inception_score", "Inception Score (higher is better)."),
    "sharpness": ("high_frequency_ratio", "Mean share of high frequencies in the variation of an image."),
    "brightness": ("brightness", "Mean luminance of the images, 0 to 255."),
    "contrast": ("contrast", "Mean standard deviation of the luminance, 0 to 255."),
}
REASONS = ("busy", "closed", "invalid", "overwritten", "queue_full", "sampled_out", "too_large")
_WINDOWS = ("sliding", "tumbling")


class MonitorCollector:
    """For ``registry.register(MonitorCollector(monitor))``. Reads the latest figures; asks the worker nothing.

    Several monitors of a process go into one collector, and are told apart by their names (label ``stream``).

    Raises `MissingPackage` without prometheus-client.
    """

    def __init__(self, *monitors: QualityMonitor) -> None:
        self._monitors = monitors
        self._core = _core()

    def describe(self) -> list[Any]:
        """Nothing: which gauges there are depends on the metrics that were asked for."""
        return []

    def collect(self) -> Iterator[Any]:
        """The metric families of one scrape."""
        families: dict[str, Any] = {}
        for monitor in self._monitors:
            for made in self._families(monitor):
                families.setdefault(made.name, made)
                if families[made.name] is not made:
                    families[made.name].samples += made.samples
        return iter(families.values())

    def _families(self, monitor: QualityMonitor) -> Iterator[Any]:
        core = self._core
        status, counts, stream = monitor.status(), monitor.counts(), [monitor.name]

        def family(kind: Any, name: str, text: str, labels: tuple[str, ...] = (), unit: str = "") -> Any:
            return kind(f"genmetrics_{name}", text, labels=("stream", *labels), unit=unit)

        counter, gauge = core.CounterMetricFamily, core.GaugeMetricFamily
        for name, value, text in (
            ("images_observed", counts["observed"], "Images that the service handed over."),
            ("images_extracted", counts["extracted"], "Images whose features were extracted."),
            ("images_failed", counts["failed"], "Images that the network could not take."),
            ("images_lost", counts["lost"], "Images that were on their way to the network when a worker died."),
            ("images_unsaved", counts["unsaved"], "Extracted images that went with an unfinished pane."),
            ("observe_errors", counts["errors"], "Calls of observe() that failed."),
            ("worker_restarts", monitor.restarts, "Times that the worker died and was started again."),
            ("alarms_raised", sum(alarm.raised for alarm in monitor.alarms), "Alarms that began."),
        ):
            made = family(counter, name, text)
            made.add_metric(stream, value)
            yield made
        made = family(counter, "extraction_seconds", "Time that the worker spent on extracting features.")
        made.add_metric(stream, monitor.extraction_seconds)
        yield made
        made = family(counter, "images_dropped", "Images that were not looked at, by reason.", ("reason",))
        for reason in REASONS:
            dropped = counts["overwritten"] if reason == "overwritten" else counts.get(f"dropped_{reason}", 0)
            made.add_metric([*stream, reason], dropped)
        yield made
        for name, level, text in (
            ("queue_images", float(counts["waiting"]), "Images that wait for the worker."),
            ("worker_up", float(status["state"] == "running"), "Whether the worker runs."),
        ):
            made = family(gauge, name, text)
            made.add_metric(stream, level)
            yield made
        made = family(gauge, "build_info", "Version and extractor.", ("version", "extractor"))
        made.add_metric([*stream, __version__, status.get("extractor", "")], 1)
        yield made
        yield from self._of_windows(monitor, status, family)
        yield from self._of_alarms(monitor, status, family)

    def _of_windows(self, monitor: QualityMonitor, status: dict[str, Any], family: Any) -> Iterator[Any]:
        gauge, stream = self._core.GaugeMetricFamily, monitor.name
        windows = {name: status["scores"][name] for name in _WINDOWS if name in status.get("scores", {})}
        ended = family(
            gauge, "last_evaluation_timestamp_seconds", "Unix time at which the window's last image came.", ("window",)
        )
        images = family(gauge, "window_images", "Images of the window.", ("window",))
        for name, window in windows.items():
            ended.add_metric([stream, name], window["ended"])
            images.add_metric([stream, name], window["num_images"])
        yield ended
        yield images
        for key, (name, text) in _GAUGES.items():
            made = family(gauge, name, text, ("window",))
            for which, window in windows.items():
                if key in window["values"]:
                    made.add_metric([stream, which], window["values"][key])
            if made.samples:
                yield made
        found = family(gauge, "finding", "Whether the diagnosis of the sliding window says so.", ("finding",))
        said = windows.get("sliding", {}).get("findings", {})
        for rule in RULES:
            if rule.severity in ("problem", "warning") and not rule.condition.__module__.endswith(
                "training_conditions"
            ):
                found.add_metric([stream, rule.key], float(rule.key in said))
        yield found

    def _of_alarms(self, monitor: QualityMonitor, status: dict[str, Any], family: Any) -> Iterator[Any]:
        stream = monitor.name
        active = {alarm.key for alarm in monitor.alarms if alarm.active}
        made = family(self._core.GaugeMetricFamily, "alarm", "Whether a score lies beyond its limit.", ("alarm",))
        limit = family(self._core.GaugeMetricFamily, "alarm_limit", "The limit of a score.", ("alarm",))
        for key, value in status.get("limits", {}).items():
            made.add_metric([stream, key], float(key in active))
            limit.add_metric([stream, key], value)
        yield made
        yield limit
        some = family(self._core.GaugeMetricFamily, "alarms_active", "Alarms that are active, findings included.")
        some.add_metric([stream], len(active))
        yield some


def exposition(monitor: QualityMonitor) -> tuple[bytes, str]:
    """The text of one scrape, and its content type."""
    core = _core()
    registry = core.CollectorRegistry()
    registry.register(MonitorCollector(monitor))
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    return generate_latest(registry), CONTENT_TYPE_LATEST


def _core() -> Any:
    try:
        import prometheus_client.core
    except ModuleNotFoundError as error:
        raise MissingPackage(
            "Metrics for Prometheus need the package prometheus-client: pip install 'genmetrics-rt[serve]'."
        ) from error
    return prometheus_client.core

"""Metrics of the service for Prometheus: its use, its speed, and the latest result of `monitor`."""

from collections import Counter
from datetime import UTC, datetime
from functools import cache, partial
from threading import Lock
from typing import Any

import prometheus_client as prometheus

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]


class Telemetry:
    """The metrics behind /metrics, in a registry of their own."""

    def __init__(self, edges: list[float]) -> None:
        """Start at zero. edges: (k,) quantiles of the amounts in training; none where classes are predicted."""
        self.registry, self.lock = prometheus.CollectorRegistry(), Lock()
        counter = partial(prometheus.Counter, registry=self.registry)
        gauge = partial(prometheus.Gauge, registry=self.registry)
        histogram = partial(prometheus.Histogram, registry=self.registry)
        requests = counter("requests", "Requests by path and status", ["path", "status"])
        seconds = histogram("request_seconds", "Time to answer", ["path"])
        self.request_metrics = cache(lambda path, status: (requests.labels(path, status), seconds.labels(path)))
        self.refused = counter("refused_requests", "Requests that break the contract")
        predictions = counter("predictions", "Answers by prediction", ["prediction"])
        self.prediction_counter = cache(lambda prediction: predictions.labels(str(prediction)))
        buckets = edges[:: max(1, len(edges) // 20)] or [0]
        self.amounts = histogram("predicted_amount", "Predicted amounts", buckets=buckets)
        self.unusual_values = counter("unusual_values", "Values that training data never held")
        self.version = gauge("model_version", "The version in use")
        self.answers_changed = gauge("answers_changed", "1: it does not answer as when it was released")
        self.monitored = gauge("monitor_time_seconds", "When monitor last looked, Unix time")
        self.alerts = gauge("monitor_alerts", "What monitor alerts for")
        self.drift = gauge("drift", "Drift, as a share of its limit", ["column", "what"])
        self.drift_alerts = gauge("drift_alert", "1: large and no chance", ["column", "what"])
        self.quality = gauge("quality", "Leading figure in use and in the test", ["where"])

    def count_request(self, path: str, status: int, duration_s: float) -> None:
        """Count a request and its duration."""
        requests, seconds = self.request_metrics(path, status)
        requests.inc()
        seconds.observe(duration_s)

    def count_answers(self, answers: list[dict[str, Any]]) -> None:
        """Count the answers of a request, of which there is at least one."""
        if n_unusual := sum(len(answer["unusual"]) for answer in answers):
            self.unusual_values.inc(n_unusual)
        predictions = [answer["prediction"] for answer in answers]
        if answers[0]["probabilities"]:
            for prediction, count in Counter(predictions).items():
                self.prediction_counter(prediction).inc(count)
        else:
            for amount in predictions:
                self.amounts.observe(amount)

    def _set_monitoring(self, result: dict[str, Any]) -> None:
        """Set the gauges to a result of `monitor`."""
        for gauge in (self.drift, self.drift_alerts, self.quality):  # or columns that are gone would stay
            gauge.clear()
        self.monitored.set(datetime.fromisoformat(result["until"]).replace(tzinfo=UTC).timestamp())
        self.alerts.set(len(result["alerts"]))
        for row in result["differences"]:
            self.drift.labels(row["column"], row["what"]).set(row["effect"] / row["limit"])
            self.drift_alerts.labels(row["column"], row["what"]).set(row["alert"])
        for where, name in [("use", "now"), ("test", "then")]:
            if name in result["quality"]:
                self.quality.labels(where).set(result["quality"][name]["value"])

    def render(self, version: str, monitoring: dict[str, Any] | None) -> bytes:
        """Render all metrics in Prometheus' format, with the version in use and the latest result of `monitor`."""
        with self.lock:  # another request must not read between the clearing and the setting
            self.version.set(int(version))
            if monitoring:
                self._set_monitoring(monitoring)
            return prometheus.generate_latest(self.registry)

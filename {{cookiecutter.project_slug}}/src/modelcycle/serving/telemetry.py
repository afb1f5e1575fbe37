"""What the service tells Prometheus: how it is used, how fast it is, and what `monitor` found last."""

from collections import Counter
from datetime import UTC, datetime
from functools import cache
from threading import Lock
from typing import Any

import prometheus_client as prometheus

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]


class Telemetry:
    """The figures behind /metrics, with a registry of their own."""

    def __init__(self, edges: list[float]) -> None:
        """Start with no figure. edges: (k,) quantiles of the amounts in training; none where classes are predicted."""
        own = self.registry = prometheus.CollectorRegistry()
        self.lock = Lock()
        requests = prometheus.Counter("requests", "Requests by path and status", ["path", "status"], registry=own)
        seconds = prometheus.Histogram("request_seconds", "Time to answer", ["path"], registry=own)
        self.request = cache(lambda path, status: (requests.labels(path, status), seconds.labels(path)))
        self.refused = prometheus.Counter("refused_requests", "Requests that break the contract", registry=own)
        predictions = prometheus.Counter("predictions", "Answers by prediction", ["prediction"], registry=own)
        self.prediction = cache(lambda prediction: predictions.labels(str(prediction)))
        buckets = edges[:: max(1, len(edges) // 20)] or [0]
        self.amounts = prometheus.Histogram("predicted_amount", "Predicted amounts", buckets=buckets, registry=own)
        self.unusual = prometheus.Counter("unusual_values", "Values that training data never held", registry=own)
        self.version = prometheus.Gauge("model_version", "The version in use", registry=own)
        self.monitored = prometheus.Gauge("monitor_time_seconds", "When monitor last looked, Unix time", registry=own)
        self.alerts = prometheus.Gauge("monitor_alerts", "What monitor alerts for", registry=own)
        self.drift = prometheus.Gauge("drift", "Drift, as a share of its limit", ["column", "what"], registry=own)
        self.drifted = prometheus.Gauge("drift_alert", "1: large and no chance", ["column", "what"], registry=own)
        self.quality = prometheus.Gauge("quality", "Leading figure in use and in the test", ["where"], registry=own)

    def count_request(self, path: str, status: int, taken_s: float) -> None:
        """Count a request and its seconds."""
        requests, seconds = self.request(path, status)
        requests.inc()
        seconds.observe(taken_s)

    def count_answers(self, answers: list[dict[str, Any]]) -> None:
        """Count the answers of a request, of which there is at least one."""
        if unusual := sum(len(given["unusual"]) for given in answers):
            self.unusual.inc(unusual)
        predictions = [given["prediction"] for given in answers]
        if answers[0]["probabilities"]:
            for prediction, count in Counter(predictions).items():
                self.prediction(prediction).inc(count)
        else:
            for amount in predictions:
                self.amounts.observe(amount)

    def _show_monitoring(self, result: dict[str, Any]) -> None:
        """Set the gauges to a result of `monitor`."""
        for gauge in (self.drift, self.drifted, self.quality):  # of columns that are no more
            gauge.clear()
        self.monitored.set(datetime.fromisoformat(result["until"]).replace(tzinfo=UTC).timestamp())
        self.alerts.set(len(result["alerts"]))
        for row in result["differences"]:
            self.drift.labels(row["column"], row["what"]).set(row["effect"] / row["limit"])
            self.drifted.labels(row["column"], row["what"]).set(row["alert"])
        for where, name in [("use", "now"), ("test", "then")]:
            if name in result["quality"]:
                self.quality.labels(where).set(result["quality"][name]["value"])

    def text(self, version: str, monitoring: dict[str, Any] | None) -> bytes:
        """Give all figures as Prometheus reads them, with the version in use and the last result of `monitor`."""
        with self.lock:  # another request must not read between the clearing and the setting
            self.version.set(int(version))
            if monitoring:
                self._show_monitoring(monitoring)
            return prometheus.generate_latest(self.registry)

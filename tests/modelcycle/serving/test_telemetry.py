import pytest

from modelcycle.serving.telemetry import Telemetry

RESULT = {
    "until": "2024-03-01T00:00:00",
    "alerts": ["a", "b"],
    "differences": [
        {"column": "price", "what": "values", "effect": 0.3, "limit": 0.2, "alert": True},
        {"column": "shop", "what": "missing", "effect": 0.01, "limit": 0.05, "alert": False},
    ],
    "quality": {"now": {"value": 0.7}, "then": {"value": 0.75}},
}


def value(telemetry, name, **labels):
    return telemetry.registry.get_sample_value(name, labels)


def answer(prediction, unusual=(), classes=True):
    return {"prediction": prediction, "probabilities": {"x": 1.0} if classes else {}, "unusual": list(unusual)}


def test_requests_are_counted_by_path_and_status_with_their_time_by_path():
    telemetry = Telemetry([])
    for status, duration_s in [(200, 0.25), (200, 0.5), (422, 1.0)]:
        telemetry.count_request("/predict", status, duration_s)
    assert value(telemetry, "requests_total", path="/predict", status="200") == 2
    assert value(telemetry, "requests_total", path="/predict", status="422") == 1
    assert value(telemetry, "request_seconds_sum", path="/predict") == 1.75
    assert value(telemetry, "request_seconds_count", path="/predict") == 3


def test_answers_are_counted_by_prediction_and_unusual_values_all_together():
    telemetry = Telemetry([])
    telemetry.count_answers([answer(True), answer(False, ["a", "b"]), answer(True, ["c"])])
    telemetry.count_answers([answer(True)])
    assert value(telemetry, "predictions_total", prediction="True") == 3
    assert value(telemetry, "predictions_total", prediction="False") == 1
    assert value(telemetry, "unusual_values_total") == 3
    assert (value(telemetry, "predicted_amount_count"), value(telemetry, "predicted_amount_bucket", le="0.0")) == (0, 0)


def test_amounts_are_counted_in_buckets_of_the_training_s_quantiles():
    telemetry = Telemetry([float(edge) for edge in range(60)])  # every third is a bucket's end
    telemetry.count_answers([answer(amount, classes=False) for amount in (0, 2.5, 3.5, 99)])
    counts = [value(telemetry, "predicted_amount_bucket", le=end) for end in ("0.0", "3.0", "6.0", "57.0", "+Inf")]
    assert counts == [1, 2, 3, 3, 4]
    assert value(telemetry, "predicted_amount_bucket", le="1.0") is None
    assert value(telemetry, "predicted_amount_sum") == 105
    assert "predictions_total{" not in telemetry.render("1", None).decode()


@pytest.mark.parametrize(("n_edges", "n_buckets"), [(0, 1), (1, 1), (19, 19), (20, 20), (40, 20), (101, 21)])
def test_there_are_about_twenty_buckets(n_edges, n_buckets):
    text = Telemetry([float(edge) for edge in range(n_edges)]).render("1", None).decode()
    assert text.count("predicted_amount_bucket{") == n_buckets + 1  # and that of all amounts


def test_the_latest_result_of_monitor_is_shown_and_the_one_before_forgotten():
    telemetry = Telemetry([])
    text = telemetry.render("3", None).decode()
    assert "\nmodel_version 3.0\n" in text
    assert "\nmonitor_time_seconds 0.0\n" in text
    assert "drift{" not in text
    telemetry.render("3", RESULT)
    assert value(telemetry, "monitor_time_seconds") == 1709251200
    assert value(telemetry, "monitor_alerts") == 2
    assert value(telemetry, "drift", column="price", what="values") == pytest.approx(1.5)
    assert value(telemetry, "drift", column="shop", what="missing") == pytest.approx(0.2)
    assert value(telemetry, "drift_alert", column="price", what="values") == 1
    assert value(telemetry, "drift_alert", column="shop", what="missing") == 0
    assert (value(telemetry, "quality", where="use"), value(telemetry, "quality", where="test")) == (0.7, 0.75)
    later = {"until": "2024-03-02T00:00:00", "alerts": [], "differences": RESULT["differences"][1:], "quality": {}}
    text = telemetry.render("4", later).decode()
    assert "\nmodel_version 4.0\n" in text
    assert "\nmonitor_alerts 0.0\n" in text
    assert 'drift{column="shop",what="missing"}' in text
    assert 'column="price"' not in text
    assert "quality{" not in text
    assert "_created" not in text

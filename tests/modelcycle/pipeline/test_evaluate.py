import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from modelcycle.core.contract import Contract
from modelcycle.core.metrics import round_to_six_digits
from modelcycle.core.model_file import predict
from modelcycle.core.params import Evaluate, Train, read_params
from modelcycle.core.paths import BASELINES, CALIBRATION, INTERVALS, SLICES
from modelcycle.core.team import make_features
from modelcycle.pipeline.baselines import CONSTANT, IN_TRAINING, LINEAR
from modelcycle.pipeline.evaluate import (
    compute_calibration,
    compute_importance,
    evaluate_predictions,
    label_slices,
    score_slices,
)
from modelcycle.pipeline.train import fit_model
from modelcycle.versions.reference import make_monitoring_reference

random = np.random.default_rng(0)


def chances(probability: np.ndarray) -> pd.DataFrame:
    """Give predictions of two classes."""
    return pd.DataFrame(
        {"prediction": probability > 0.5, "probability_False": 1 - probability, "probability_True": probability}
    )


def test_a_slice_is_a_category_or_a_quarter_of_the_numbers():
    assert label_slices(pd.Series(["a", None])).tolist() == ["a", "missing"]
    assert label_slices(pd.Series([1.0, 2, 3, 4, 1])).tolist() == ["1.0", "2.0", "3.0", "4.0", "1.0"]
    assert label_slices(pd.Series([True, None], dtype="boolean")).tolist() == ["True", "missing"]
    quarters = label_slices(pd.Series([*range(1, 9), None], dtype="Int64"))
    assert quarters.value_counts().to_dict() == {
        **{"(0.999, 2.75]": 2, "(2.75, 4.5]": 2, "(4.5, 6.25]": 2, "(6.25, 8.0]": 2},
        "missing": 1,
    }


def test_slices_are_scored_where_they_have_rows_enough_and_both_classes():
    shops = ["Köln"] * 90 + ["Ulm"] * 30 + ["Bonn"] * 29 + ["Trier"] * 51
    rows = pd.DataFrame({"shop": shops, "many": [f"{i % 5:02}" for i in range(200)]})
    truth = random.random(200) < 0.4
    truth[149:] = False  # Trier's
    probability = np.clip(0.3 * truth + 0.5 * random.random(200), 0, 1)
    linear = chances(np.where(truth, 0.6, 0.4))
    table = score_slices(rows, truth, chances(probability), linear, 50)
    assert table["slice"].tolist() == ["shop = Köln", "shop = Ulm", *(f"many = 0{i}" for i in range(5))]
    koeln = table.loc[0]
    assert koeln["rows"] == 90
    assert koeln["value"] == round_to_six_digits(roc_auc_score(truth[:90], probability[:90]))
    assert koeln["low"] <= koeln["value"] <= koeln["high"]
    assert (koeln["baseline"], koeln["linear"]) == (0.5, 1)
    many = pd.DataFrame({"x": [f"{i % 25}" for i in range(1000)]})
    five = chances(np.tile(probability, 5))
    assert len(score_slices(many, np.tile(truth, 5), five, five, 20)) == 20
    assert score_slices(rows[[]], truth, linear, linear, 20).empty


def test_a_slice_of_amounts_is_compared_with_its_own_median():
    rows = pd.DataFrame({"shop": ["Köln"] * 40 + ["Ulm"] * 40})
    truth = np.r_[np.linspace(0, 1, 40), np.linspace(100, 120, 40)]
    table = score_slices(rows, truth, *(pd.DataFrame({"prediction": truth + more}) for more in (2, 1)), 20)
    assert table["linear"].tolist() == [1, 1]
    assert table["value"].tolist() == [2, 2]
    medians = np.repeat([0.5, 110], 40)
    expected = np.abs(truth - medians).reshape(2, 40).mean(axis=1)
    assert table["baseline"].tolist() == [round_to_six_digits(value) for value in expected]


def test_calibrated_probabilities_stay_within_the_margin_and_others_do_not():
    probability = random.random(4000)
    happened = random.random(4000) < probability
    right, wrong = (compute_calibration(happened, chances(p)) for p in (probability, probability**3))
    assert right["rows"].tolist() == [400] * 10
    assert (np.abs(right["predicted"] - right["observed"]) <= right["margin"]).all()
    assert (np.abs(wrong["predicted"] - wrong["observed"]) > wrong["margin"]).sum() > 5
    group = np.sort(probability)[:400]
    assert right["predicted"][0] == pytest.approx(group.mean())
    quantile = stats.t.ppf(1 - 0.025 / 10, 399)
    assert right["margin"][0] == pytest.approx(quantile * np.sqrt((group * (1 - group)).mean() / 400))


def test_of_many_classes_all_probabilities_are_calibrated_and_few_rows_are_one_group():
    shares = random.dirichlet([1, 1, 1], 1000)
    happened = np.array([random.choice(["a", "b", "c"], p=share) for share in shares], object)
    predictions = pd.DataFrame(shares, columns=["probability_a", "probability_b", "probability_c"])
    predictions.insert(0, "prediction", "a")
    table = compute_calibration(happened, predictions)
    assert table["rows"].sum() == 3000
    assert (np.abs(table["predicted"] - table["observed"]) <= table["margin"]).all()
    assert table["observed"].mean() == pytest.approx(1 / 3)
    few = compute_calibration(np.array([True, False]), chances(np.array([0.25, 0.75])))
    assert few[["predicted", "observed", "rows"]].to_numpy().tolist() == [[0.5, 0.5, 2]]
    assert len(compute_calibration(happened[:7], predictions[:7])) == 2


def test_amounts_are_calibrated_by_the_spread_of_their_errors():
    truth = random.normal(100, 10, 500)
    guess = truth + random.normal(0, 5, 500)
    table = compute_calibration(truth, pd.DataFrame({"prediction": guess}))
    assert table["predicted"].is_monotonic_increasing
    first = np.argsort(guess)[:50]
    spread = (truth - guess)[first].std(ddof=1) / np.sqrt(50)
    assert table["margin"][0] == pytest.approx(stats.t.ppf(1 - 0.025 / 10, 49) * spread)
    assert table["observed"][0] == pytest.approx(truth[first].mean())
    assert compute_calibration(truth[:1], pd.DataFrame({"prediction": guess[:1]}))["margin"].tolist() == [0]


@pytest.mark.parametrize("kind", ["boolean", "number"])
def test_a_column_matters_by_how_much_worse_the_model_is_without_it(kind):
    columns = {name: {"role": "feature", "type": "number"} for name in ("useless", "weak", "strong")}
    contract = Contract.model_validate(
        {"description": "", "columns": columns | {"y": {"role": "target", "type": kind}}}
    )
    rows = pd.DataFrame({name: random.normal(size=600) for name in columns}, index=range(100, 700))
    amount = 3 * rows["strong"] + rows["weak"]
    rows["y"] = (amount > 0).astype("boolean") if kind == "boolean" else amount
    model, _ = fit_model(Train(estimator="sklearn.ensemble.HistGradientBoosting", seed=0), rows, contract)
    table = compute_importance(model, rows, rows["y"].to_numpy(bool if kind == "boolean" else float), contract)
    assert table["column"].tolist() == ["strong", "weak", "useless"]
    assert table["worse"][0] > 3 * table["worse"][1] > 30 * abs(table["worse"][2])
    order = [rows["strong"].sample(frac=1, random_state=seed).set_axis(rows.index) for seed in range(3)]
    answers = [predict(model, make_features(rows.assign(strong=column), contract)) for column in order]
    if kind == "number":
        errors = [np.abs(answer["prediction"] - rows["y"]).mean() for answer in answers]
        own = np.abs(predict(model, make_features(rows, contract))["prediction"] - rows["y"]).mean()
        assert table["worse"][0] == pytest.approx(np.mean(errors) - own, rel=1e-5)


def test_the_gate_goes_by_metrics_slices_calibration_and_simpler_models():
    columns = {"shop": {"role": "feature", "type": "category"}, "returned": {"role": "target", "type": "boolean"}}
    contract = Contract.model_validate({"description": "", "columns": columns})
    shops = pd.Series(["NO", "DE"] * 300, dtype="str")
    rows = pd.DataFrame({"shop": shops, "returned": pd.array([True, False, False, False] * 150, "boolean")})
    truth = rows["returned"].to_numpy(bool)
    predictions = chances(np.where(truth, 0.9, 0.2))
    params = read_params().model_copy(update={"evaluate": Evaluate(bootstrap=20, slices=["shop"])})
    model, _ = fit_model(Train(estimator="sklearn.tree.DecisionTree", seed=0), rows, contract)
    tables = evaluate_predictions(model, rows, rows, rows, predictions, contract, params)
    assert list(tables) == [INTERVALS, SLICES, CALIBRATION, BASELINES]
    metrics = tables[INTERVALS].set_index("metric")
    assert metrics.loc["roc_auc"].tolist() == [1, 1, 1, 0.5]
    assert metrics.loc["accuracy", ["value", "baseline"]].tolist() == [1, 0.75]
    assert metrics.loc["brier", "baseline"] == 0.1875
    (slice_,) = tables[SLICES].to_dict("records")  # all in the other are of one class
    assert slice_ == {"slice": "shop = NO", "rows": 300} | dict.fromkeys(["value", "low", "high"], 1.0) | dict.fromkeys(
        ["baseline", "linear"], 0.5
    )
    values = tables[BASELINES].set_index(["metric", "baseline"])["value"]["roc_auc"]
    assert values[LINEAR] == values[IN_TRAINING] == pytest.approx(5 / 6)


def test_what_operation_is_compared_with_is_the_second_class_or_the_prediction():
    metrics = pd.DataFrame({"value": [0.7, np.nan], "low": 0.6, "high": 0.8, "baseline": 0.5}, ["roc_auc", "r2"])
    two = make_monitoring_reference(chances(np.linspace(0, 1, 11)), metrics)
    assert (two["prediction"]["of"], two["prediction"]["median"]) == ("probability_True", 0.5)
    assert two["figures"] == {"roc_auc": {"value": 0.7, "low": 0.6, "high": 0.8}}
    three = pd.DataFrame([["a", 0.5, 0.3, 0.2]] * 4, columns=["prediction", *(f"probability_{x}" for x in "abc")])
    assert make_monitoring_reference(three, metrics)["prediction"]["shares"] == {"a": 1}
    amounts = make_monitoring_reference(pd.DataFrame({"prediction": [1.0, 3.0]}), metrics)
    assert (amounts["prediction"]["of"], amounts["prediction"]["mean"]) == ("prediction", 2)


def test_the_files_of_an_evaluation_agree(reproduced, monkeypatch):
    """metrics.json, predictions, tables and reference are about the same predictions."""
    monkeypatch.chdir(reproduced.path)
    predictions = pd.read_parquet("reports/predictions.parquet")
    assert list(predictions) == ["flight_id", "late", "prediction", "probability_False", "probability_True"]
    auc = round_to_six_digits(roc_auc_score(predictions["late"].astype(bool), predictions["probability_True"]))
    metrics = json.loads(reproduced.read("reports/metrics.json"))
    assert metrics["roc_auc"] == auc
    assert metrics["rows"] == len(predictions) == len(pd.read_parquet("data/test.parquet"))
    table = pd.read_csv("reports/intervals.csv", index_col="metric")
    others = {"rows", "train_roc_auc"}
    assert table["value"].to_dict() == {name: value for name, value in metrics.items() if name not in others}
    baselines = pd.read_csv("reports/baselines.csv").set_index(["metric", "baseline"])
    assert baselines["value"]["roc_auc"][IN_TRAINING] == metrics["train_roc_auc"] > auc
    assert table["baseline"].to_dict() == baselines.xs(CONSTANT, level="baseline")["value"].to_dict()
    expected = json.loads(reproduced.read("reports/expected.json"))
    assert expected["figures"]["roc_auc"]["value"] == auc
    assert expected["prediction"]["mean"] == pytest.approx(predictions["probability_True"].mean())
    slices = pd.read_csv("reports/slices.csv")["slice"].str.partition(" = ")[0]
    assert list(slices.unique()) == ["origin", "carrier"]
    importance = pd.read_csv("reports/importance.csv")
    assert importance["column"][0] == "scheduled_departure"
    assert importance["worse"].is_monotonic_decreasing


@pytest.mark.slow
def test_an_evaluation_says_the_leading_metric_and_is_recorded_with_its_training(reproduced, tmp_path):
    import mlflow

    project = reproduced.copy_to(tmp_path)
    printed = project.verb("evaluate")
    lead = pd.read_csv(project.path / "reports/intervals.csv", index_col="metric").loc["roc_auc"]
    simpler = pd.read_csv(project.path / "reports/baselines.csv").set_index(["metric", "baseline"])["value"]["roc_auc"]
    said = f"roc_auc {lead['value']:.3f} ({lead['low']:.3f} to {lead['high']:.3f}), baseline 0.500, "
    said += f"linear {simpler[LINEAR]:.3f}, train {simpler[IN_TRAINING]:.3f}"
    judged = r"Judged on 3,\d\d\d rows that it was not trained on, held out by key."
    assert re.fullmatch(rf"evaluate +{re.escape(said)} +reports/report.html\n +{judged}\n", printed)
    client = mlflow.MlflowClient(f"sqlite:///{project.path}/.mlflow/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("flight_delays").experiment_id])
    assert run.data.metrics["roc_auc"] == pytest.approx(lead["value"])
    assert "train_rows" in run.data.metrics

import pandas as pd
import pytest

from modelcycle.pipeline.baselines import COLUMN, CONSTANT, IN_TRAINING, LINEAR
from modelcycle.pipeline.train import make_estimator
from modelcycle.release.simpler import REMEDIES, judge_baselines
from modelcycle.versions.params import Gate

GATE = Gate(duel={"margin": 0.01, "confidence": 0.95})
BETTER = (0.04, 0.01, 0.07)


def judge(classification, constant=BETTER, column=BETTER, linear=BETTER):
    """Judge a model that is better by so much, with an interval."""
    metrics = {True: ["roc_auc", "log_loss"], False: ["mae"]}[classification]
    rows = [
        {"baseline": name, "metric": metric, "value": 0.65, "difference": by, "low": low, "high": high}
        for metric in metrics
        for name, (by, low, high) in [(CONSTANT, constant), (COLUMN, column), (LINEAR, linear)]
    ]
    rows += [{"baseline": IN_TRAINING, "metric": metric, "value": 0.972} for metric in metrics]
    return list(judge_baselines(GATE, classification, pd.DataFrame(rows)))


def failed(*given, **differences):
    return [verdict.rule for verdict in judge(*given, **differences) if not verdict.passed]


@pytest.mark.parametrize(
    ("linear", "passes"),
    [
        ((0.04, 0.01, 0.07), True),
        ((-0.04, -0.07, 0.001), True),  # it may be as good
        ((-0.009, -0.014, -0.004), True),  # worse for certain, by what does not matter
        ((-0.011, -0.014, -0.004), False),
        ((float("nan"),) * 3, True),  # the leading metric says so already
    ],
)
def test_a_model_is_rejected_that_is_worse_than_a_linear_one_for_certain_and_by_what_matters(linear, passes):
    assert failed(True, linear=linear) == ([] if passes else ["not worse than a linear model"])
    assert failed(True, column=linear) == ([] if passes else ["not worse than the best column alone"])


def test_for_amounts_the_margin_is_a_share_of_the_error():
    assert failed(False, linear=(-0.006, -0.008, -0.004)) == []
    assert failed(False, linear=(-0.007, -0.008, -0.004)) == ["not worse than a linear model"]


@pytest.mark.parametrize(
    ("constant", "passed"), [((0.001, -0.02, 0.02), True), ((-0.001, -0.02, 0.02), None), ((-9, -12, -7), False)]
)
def test_probabilities_have_to_tell_more_than_the_shares_of_the_classes(constant, passed):
    verdict = judge(True, constant=constant)[0]
    assert (verdict.rule, verdict.passed) == ("probabilities better than guessing", passed)
    assert failed(False, constant=constant) == []  # "better than guessing" compares an amount with the median


def test_the_reason_is_said_with_the_training_rows_and_what_to_type():
    verdict = judge(True, linear=(-0.038, -0.06, -0.016))[-1]
    assert verdict.found == "roc_auc 0.038 worse than the 0.65 of a linear model (-0.06 to -0.016)"
    assert verdict.expected == "not worse for certain, by more than 0.01"
    assert "On its training rows the model's roc_auc is 0.972" in verdict.meaning
    assert "`estimator: sklearn.linear_model.LogisticRegression` and `parameters: {max_iter: 1000}`" in verdict.meaning
    *_, column, linear = judge(False)
    assert "sklearn.linear_model.Ridge" in linear.meaning
    assert "params.yaml" not in column.meaning
    assert column.found == "mae 0.04 better than the 0.65 of the best column alone (+0.01 to +0.07)"


@pytest.mark.parametrize("classification", [True, False])
def test_what_is_named_to_type_can_be_trained(classification):
    name = REMEDIES[classification].split("`")[1].removeprefix("estimator: ")
    parameters = {"max_iter": 1000} if classification else {}
    assert type(make_estimator(name, parameters, 0, classification)).__name__ == name.rpartition(".")[2]

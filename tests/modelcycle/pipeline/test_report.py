import re

import numpy as np
import pandas as pd
import pytest

from modelcycle.core.contract import Contract
from modelcycle.pipeline.report import TEMPLATE, write_report
from modelcycle.release.duel import Duel, plot_duel
from modelcycle.release.release import PAGE
from modelcycle.versions.registry import Verdict

CALIBRATION = pd.DataFrame({"predicted": [0.2, 0.7], "observed": [0.25, 0.6], "rows": 50, "margin": 0.1})
NUMBERS = {"value": 0.7, "difference": 0.04, "low": 0.03, "high": 0.05}
BASELINES = pd.DataFrame(
    [
        {"metric": metric, "baseline": name, "column": column} | (NUMBERS if column != "-" else {"value": 0.9})
        for metric in ("roc_auc", "mae", "log_loss")
        for name, column in [("the best column alone", "price"), ("a linear model", ""), ("on training rows", "-")]
    ]
).replace("-", "")
IMPORTANCE = pd.DataFrame({"column": ["price", "shop", "gift"], "worse": [0.1, 0.0, -0.01]})


def make_contract(**target: object) -> Contract:
    columns = {"price": {"role": "feature", "type": "number"}, "lasts": {"role": "target", **target}}
    return Contract.model_validate({"description": "How <long> it lasts.", "columns": columns})


def metrics(**values: tuple) -> pd.DataFrame:
    """Value, low, high and baseline of each metric."""
    rows = [(name, *numbers) for name, numbers in values.items()]
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "baseline"])


def slices(**values: tuple) -> pd.DataFrame:
    rows = [(f"shop = {name}", 40, *numbers, 0.5) for name, numbers in values.items()]
    return pd.DataFrame(rows, columns=["slice", "rows", "value", "low", "high", "baseline"])


CLASSES = metrics(roc_auc=(0.74, 0.72, 0.76, 0.5), accuracy=(0.8, 0.7, 0.9, 0.75), log_loss=(np.nan,) * 4)
AMOUNTS = metrics(mae=(5, 4, 6, 9), r2=(0.4, 0.3, 0.5, 0))


@pytest.fixture
def report(tmp_path):
    """Write the page and give its text, the parts of HTML left out, and the page itself."""

    def write(contract: Contract, *tables: pd.DataFrame, template=TEMPLATE, **gate) -> tuple[str, str]:
        path = tmp_path / "report.html"
        parts = [*tables, CALIBRATION, BASELINES, IMPORTANCE]
        write_report(path, contract, "Judged on 5,847 rows.", parts, template, **gate)
        page = path.read_text(encoding="utf-8")
        body = page[page.index("<body>") :]
        return " ".join(re.sub("<svg.*?</svg>|<[^>]*>", " ", body, flags=re.DOTALL).split()), page

    return write


def test_classes_are_told_by_pairs_of_cases_and_the_weak_slices(report):
    tables = CLASSES, slices(NO=(0.8, 0.7, 0.9), Ulm=(0.65, 0.6, 0.74), Köln=(0.6, 0.5, 0.7), Bonn=(0.5, 0.4, 0.6))
    text, page = report(make_contract(type="boolean", description="Does it last?"), *tables)
    assert "Flight delays: how good is the model? Judged on 5,847 rows." in text
    assert "How &lt;long&gt; it lasts." in text
    assert "Take one case where lasts is true and one where it is not" in text
    assert "probability in 74 of 100 pairs" in text
    assert "roc_auc 0.740 0.720 to 0.760 0.500" in text
    assert "log_loss" not in text
    assert "no better than guessing" not in text
    assert "Clearly worse than on all cases together: shop = Bonn (0.500), shop = Köln (0.600)." in text
    assert "Of no use to this model: shop, gift." in text
    assert "What the gate says" not in text
    assert page.count("<svg") == 3
    order = [page.index(f"shop = {name}  (40)") for name in ("NO", "Ulm", "Köln")]
    assert order == sorted(order)  # drawn from below: the weakest first


def test_what_simpler_models_achieve_stands_beside_the_leading_metric(report):
    text, _ = report(make_contract(type="boolean"), CLASSES, slices())
    assert "roc_auc this model is better by 95 % interval the best column alone, price 0.700 0.040" in text
    assert "a linear model 0.700 0.040 0.030 to 0.050 on training rows 0.900 Any model" in text
    assert text.count("a linear model") == 1


def test_of_more_classes_it_is_a_certain_one(report):
    text, _ = report(make_contract(type="category", values=["a", "b", "c"]), CLASSES, slices())
    assert "one case where lasts is a certain class" in text
    assert "No slices are looked at." in text
    text, _ = report(make_contract(type="category", values=["yes", "maybe"]), CLASSES, slices())
    assert "one case where lasts is yes" in text


def test_an_amount_is_told_by_its_distance_and_is_weak_where_that_is_large(report):
    contract = make_contract(type="number", unit="h")
    text, page = report(contract, AMOUNTS, slices(NO=(4, 3, 5), Köln=(8, 5.5, 9), Ulm=(6, 4.5, 7)))
    assert "The prediction is off by 5 h on average. Always saying the same, the median, is off by 9." in text
    assert "Clearly worse than on all cases together: shop = Köln (8.000)." in text
    assert "Can its predictions be taken" in text
    order = [page.index(f"shop = {name}  (40)") for name in ("NO", "Ulm", "Köln")]
    assert order == sorted(order)


def test_a_model_that_is_no_better_than_guessing_is_called_that(report):
    guessing = metrics(roc_auc=(0.5, 0.45, 0.55, 0.5))
    text, _ = report(make_contract(type="boolean"), guessing, slices(NO=(0.5, 0.4, 0.6)))
    assert "That is no better than guessing: do not use this model." in text
    assert "No slice is clearly worse" in text
    text, _ = report(make_contract(type="number"), metrics(mae=(9, 8, 10, 9)), slices())
    assert "That is no better than guessing" in text
    unknown = metrics(roc_auc=(np.nan,) * 4, accuracy=(1, 1, 1, 1))
    assert "too few cases to say" in report(make_contract(type="boolean"), unknown, slices())[0]


def test_the_gate_says_what_it_found_and_how_the_champion_compares(report):
    passed = Verdict("bound", True, "0.74", "0.62 or more", "Not as good as agreed.")
    failed = Verdict("slice", False, "0.5", "0.6 or more", "A group is badly served.")
    duel = Duel("3", "roc_auc", 0.015, np.linspace(-0.02, 0.03, 500))
    gate = {"template": PAGE, "verdicts": [passed, failed], "duel": duel, "duel_plot": plot_duel(duel)}
    text, page = report(make_contract(type="boolean"), CLASSES, slices(), **gate)
    assert "Rejected : 1 of 2 rules failed." in text
    assert "slice failed 0.5 0.6 or more A group is badly served." in text
    assert "bound passed 0.74 0.62 or more slice" in text
    assert "Compared with the champion, version 3" in text
    assert "how much better roc_auc is than the champion's, in 500 resamples" in page
    text, _ = report(make_contract(type="boolean"), CLASSES, slices(), template=PAGE, verdicts=[passed], duel=None)
    assert "Passed : all 1 rules." in text
    assert "Compared with the champion" not in text

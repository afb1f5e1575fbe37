"""The duel: a model is compared with the champion on rows that neither was trained on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup
from ruamel.yaml import YAML

from modelcycle.core.contract import Contract, extract_target
from modelcycle.core.errors import first_line
from modelcycle.core.metrics import LEADING_METRIC, direction, draw_resamples, score_predictions, score_resamples
from modelcycle.core.paths import EXAMPLE, PARAMS
from modelcycle.core.plots import BLUE, GREY, ORANGE, make_axes, render_svg
from modelcycle.pipeline.prepare import is_test
from modelcycle.versions import params
from modelcycle.versions.bundle import Bundle
from modelcycle.versions.code import read_file_at
from modelcycle.versions.registry import Verdict, Version

RULE = "duel with the champion"


@dataclass
class Duel:
    """How a model compares with the champion: the differences of the metric in each resample, above 0 where better."""

    version: str
    metric: str
    margin: float
    differences: np.ndarray


def select_duel_rows(champion: Bundle, test_share: float, test: pd.DataFrame, contract: Contract) -> pd.DataFrame | str:
    """Select today's test rows that the champion was not trained on, or say why there can be no duel.

    test_share: the champion's. It was trained on the other rows, so where the share has grown, those are left out.
    """
    old = champion.contract
    if (old.target, old.columns[old.target].type) != (contract.target, contract.columns[contract.target].type):
        return f"The champion predicts {old.target} as {old.columns[old.target].type}."
    if [(name, old.columns[name].type) for name in old.identity] != [
        (name, contract.columns[name].type) for name in contract.identity
    ]:
        return "The champion's test rows were chosen by other columns; it may have been trained on today's."
    if missing := [name for name in old.inputs if name not in test]:
        return f"The champion needs {', '.join(missing)}, which today's contract no longer has."
    return test[is_test(test[contract.identity], test_share)]


def is_the_examples(champion: Version) -> bool:
    """Say whether a version's source lay in example/."""
    params = YAML(typ="safe", pure=True).load(read_file_at(champion.commit, str(PARAMS)) or b"{}")
    return Path(params.get("ingest", {}).get("source", "")).is_relative_to(EXAMPLE)


def compare_with_champion(
    champion: Bundle,
    test_share: float,
    test: pd.DataFrame,
    predictions: pd.DataFrame,
    contract: Contract,
    parameters: params.Params,
    no_duel: str = "",
) -> tuple[Verdict, Duel | None]:
    """Compare a model's (n, 1 + c) predictions with those that the champion makes for today's (n, m) test rows.

    no_duel: the reason to do without, where there is one.
    """
    if no_duel:
        return judge_missing_duel("a person has decided so.", no_duel), None
    rows = select_duel_rows(champion, test_share, test, contract)
    if isinstance(rows, str):
        return judge_missing_duel(rows, ""), None
    try:
        champion.require_same_answers()
        champion_predictions = champion.predict(rows)
    except Exception as error:  # the team's code and every library raise their own
        return judge_missing_duel(f"The champion can't be asked: {first_line(error)}", ""), None
    if list(predictions) != list(champion_predictions):
        return judge_missing_duel("The champion knows other classes.", ""), None
    return judge_duel(
        parameters.gate.duel,
        champion.version,
        extract_target(rows, contract),
        predictions.loc[rows.index],
        champion_predictions,
        parameters.evaluate.bootstrap,
        contract.is_classification,
    )


def judge_duel(
    duel: params.Duel,
    version: str,
    truth: np.ndarray,
    new: pd.DataFrame,
    champion: pd.DataFrame,
    n_resamples: int,
    classification: bool,
) -> tuple[Verdict, Duel]:
    """Compare a model with the champion on the same test rows, by a paired bootstrap of the difference.

    version: the champion's number. truth: (n,). new, champion: (n, 1 + c) predictions. The one-sided test of
    non-inferiority: at the wanted confidence, the difference must not lie below the margin.
    """
    metric = LEADING_METRIC[classification]
    sign = direction(metric)
    new_score, champion_score = (score_predictions(truth, rows)[metric] for rows in (new, champion))
    differences = sign * np.concatenate(
        [
            score_resamples(truth, new, weights)[metric] - score_resamples(truth, champion, weights)[metric]
            for weights in draw_resamples(len(truth), n_resamples)
        ]
    )
    differences = differences[np.isfinite(differences)]
    margin = duel.margin * (1 if classification else champion_score)
    worst = float(np.quantile(differences, 1 - duel.confidence)) if len(differences) else np.nan
    verdict = Verdict(
        RULE,
        bool(worst >= -margin),
        f"{metric} {new_score:.4g}, version {version} {champion_score:.4g}; at worst {worst:+.4f}",
        f"at worst {-margin:+.4f} with {duel.confidence:.0%} confidence",
        "Users would get worse answers than today.",
    )
    return verdict, Duel(version, metric, margin, differences)


def judge_missing_duel(obstacle: str, reason: str) -> Verdict:
    """Fail a model that can't be compared with the champion, unless a person has given a reason to do without."""
    return Verdict(
        RULE,
        bool(reason),
        f"not held: {obstacle}",
        f"none, since {reason}" if reason else "the champion's answers to the same rows",
        "Nobody knows whether users would get worse answers. If people have decided that they may, type "
        '`make release NO_DUEL="the reason, for the ledger"`.',
    )


def judge_retirement(version: str) -> Verdict:
    """Pass the first model of the team's own data: the example's has no task any more."""
    return Verdict(
        RULE,
        True,
        f"not held: version {version} is the example's",
        "none, since the data is your own now",
        "The example's model retires with the first release of your own.",
    )


def plot_duel(duel: Duel) -> Markup:
    """Draw how much better the model is than the champion, in each of the resamples."""
    figure, plot = make_axes(2.8, left_open=True)
    plot.hist(duel.differences, bins=40, color=BLUE)
    plot.axvline(0, color=GREY, linestyle="--", label="as good as the champion")
    plot.axvline(-duel.margin, color=ORANGE, label="worse than this is refused")
    plot.set_yticks([])
    plot.set_xlabel(f"how much better {duel.metric} is than the champion's, in {len(duel.differences):,} resamples")
    plot.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return render_svg(figure, "Differences from the champion in the resamples")

"""The duel: a model is compared with the champion on rows that neither was trained on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from ruamel.yaml import YAML

from modelcycle.core.contract import Contract, extract_target, extract_weights
from modelcycle.core.errors import first_line
from modelcycle.core.holdout import group_rows, holdout_columns, is_test
from modelcycle.core.metrics import (
    LEADING_METRIC,
    count_groups,
    direction,
    draw_resamples,
    expand_tail,
    score_predictions,
    score_resamples,
)
from modelcycle.core.params import Holdout
from modelcycle.core.paths import EXAMPLE, PARAMS
from modelcycle.core.plots import BLUE, GREY, ORANGE, make_axes, render_svg
from modelcycle.release.gate import decide
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


def describe_holdout(
    train: pd.DataFrame, test: pd.DataFrame, contract: Contract, parameters: params.Params
) -> dict[str, Any]:
    """Describe which rows a model was not trained on, for the duel with its successor.

    train, test: (t, m) and (n, m). trained_until is the time of its newest training row.
    """
    holdout, time = parameters.prepare.holdout, contract.time
    until = pd.concat([train, test] if parameters.train.refit else [train])[time].max() if time else None
    return {
        "by": holdout.by,
        "columns": holdout_columns(holdout, contract),
        "share": parameters.prepare.test_share,
        "refit": parameters.train.refit,
        "trained_until": until.isoformat() if until is not None else None,
    }


def read_holdout(champion: Version, contract: Contract) -> dict[str, Any]:
    """Read what `describe_holdout` recorded of a version; earlier ones were all split by the identity columns."""
    if "holdout" in champion.tags:
        return dict(json.loads(champion.tags["holdout"]))
    return {"by": "key", "columns": contract.identity, "share": float(champion.tags["test_share"]), "refit": False}


def select_duel_rows(
    champion: Bundle, old: dict[str, Any], test: pd.DataFrame, contract: Contract, holdout: Holdout
) -> pd.DataFrame | str:
    """Select today's test rows that the champion was not trained on, or say why there can be no duel.

    old: which rows the champion was not trained on, see `describe_holdout`.
    """
    before, names = champion.contract, holdout_columns(holdout, contract)
    if (before.target, before.columns[before.target].type) != (contract.target, contract.columns[contract.target].type):
        return f"The champion predicts {before.target} as {before.columns[before.target].type}."
    if old["by"] != holdout.by:
        return f"The champion's test rows were chosen by {old['by']}, today's are by {holdout.by}."
    if [(name, before.columns[name].type) for name in old["columns"]] != [
        (name, contract.columns[name].type) for name in names
    ]:
        return "The champion's test rows were chosen by other columns; it may have been trained on today's."
    if missing := [name for name in before.inputs if name not in test]:
        return f"The champion needs {', '.join(missing)}, which today's contract no longer has."
    if holdout.by != "time" and not old["refit"]:  # where the share has grown, the champion was trained on some
        return test[is_test(test[names], old["share"])]
    newer = test[test[contract.time] > pd.Timestamp(old["trained_until"])] if contract.time else test[:0]
    if holdout.by == "time" and not old["refit"] and len(newer) < len(test):
        return f"The test span begins before {old['trained_until']}, until when the champion was trained."
    return (
        newer
        if len(newer)
        else f"No test row is newer than {old['trained_until']}, until when the champion was trained."
    )


def is_the_examples(champion: Version) -> bool:
    """Say whether a version's source lay in example/."""
    params = YAML(typ="safe", pure=True).load(read_file_at(champion.commit, str(PARAMS)) or b"{}")
    return Path(params.get("ingest", {}).get("source", "")).is_relative_to(EXAMPLE)


def compare_with_champion(
    champion: Bundle,
    old: dict[str, Any],
    test: pd.DataFrame,
    predictions: pd.DataFrame,
    contract: Contract,
    parameters: params.Params,
    no_duel: str = "",
) -> tuple[Verdict, Duel | None]:
    """Compare a model's (n, 1 + c) predictions with those that the champion makes for today's (n, m) test rows.

    old: which rows the champion was not trained on, see `describe_holdout`.
    no_duel: the reason to do without, where there is one.
    """
    if no_duel:
        return judge_missing_duel("a person has decided so.", no_duel), None
    holdout = parameters.prepare.holdout
    rows = select_duel_rows(champion, old, test, contract, holdout)
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
        group_rows(rows, holdout, contract),
        extract_weights(rows, contract),
    )


def judge_duel(
    duel: params.Duel,
    version: str,
    truth: np.ndarray,
    new: pd.DataFrame,
    champion: pd.DataFrame,
    n_resamples: int,
    groups: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> tuple[Verdict, Duel]:
    """Compare a model with the champion on the same test rows, by a paired bootstrap of the difference.

    version: the champion's number. truth: (n,). new, champion: (n, 1 + c) predictions. The one-sided test of
    non-inferiority: at the wanted confidence, the difference must not lie below the margin.
    """
    metric = LEADING_METRIC[len(new.columns) > 1]
    sign = direction(metric)
    new_score, champion_score = (score_predictions(truth, rows, weights)[metric] for rows in (new, champion))
    differences = sign * np.concatenate(
        [
            score_resamples(truth, new, drawn)[metric] - score_resamples(truth, champion, drawn)[metric]
            for drawn in draw_resamples(len(truth), n_resamples, 0, groups, weights)
        ]
    )
    differences = differences[np.isfinite(differences)]
    margin = duel.margin * (1 if len(new.columns) > 1 else champion_score)
    tail = expand_tail(1 - duel.confidence, count_groups(len(truth), groups))
    worst, best = np.quantile(differences, [tail, 1 - tail]) if len(differences) else (np.nan, np.nan)
    verdict = Verdict(
        RULE,
        decide(bool(worst >= -margin), not best >= 0),
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

"""The report for domain experts: one HTML page that needs nothing else, with its plots inside."""

from pathlib import Path
from typing import Any, get_args

import pandas as pd
from markupsafe import Markup

from modelcycle.core.contract import Contract, DatePart
from modelcycle.core.metrics import LEADING_METRIC, METRIC_MEANINGS, direction
from modelcycle.core.page import render_page
from modelcycle.core.plots import BLUE, GREY, ORANGE, make_axes, render_svg
from modelcycle.core.team import read_project

TEMPLATE = Path(__file__).with_name("report.html")


def plot_calibration(groups: pd.DataFrame, classification: bool) -> Markup:
    """Draw the (g, 4) groups of `compute_calibration`, predicted against observed, beside the diagonal."""
    figure, plot = make_axes(3.6)
    diagonal = [groups[["predicted", "observed"]].min().min(), groups[["predicted", "observed"]].max().max()]
    plot.plot(diagonal, diagonal, color=GREY, linestyle="--", label="prediction and truth agree")
    label = "this model, a group of cases each, with margin"
    plot.errorbar(groups["predicted"], groups["observed"], groups["margin"], fmt="o-", color=BLUE, label=label)
    plot.set_xlabel("predicted probability" if classification else "predicted")
    plot.set_ylabel("share that happened" if classification else "mean of the truth")
    plot.legend(frameon=False)
    return render_svg(figure, "Predicted against observed, in groups")


def plot_importance(table: pd.DataFrame, metric: str) -> Markup:
    """Draw the most important columns, at most 15, as bars."""
    top = table.head(15)[::-1]
    figure, plot = make_axes(0.6 + 0.26 * len(top), left_open=True)
    plot.barh(top["column"], top["worse"], color=BLUE)
    plot.set_xlabel(f"how much worse {metric} gets without the column's information")
    return render_svg(figure, "Importance of each column")


def plot_slices(table: pd.DataFrame, overall: float, metric: str) -> Markup:
    """Draw each slice's score with its interval beside the score of all rows; weak slices stand out."""
    rows = table[::-1].reset_index(drop=True)
    figure, plot = make_axes(0.8 + 0.26 * len(rows), left_open=True)
    colors = [ORANGE if weak else BLUE for weak in rows["weak"]]
    plot.axvline(overall, color=GREY, linestyle="--", label=f"all cases: {overall:.3f}")
    plot.hlines(rows.index, rows["low"], rows["high"], color=colors)
    plot.scatter(rows["value"], rows.index, color=colors, zorder=3)
    plot.set_yticks(rows.index, rows["slice"] + "  (" + rows["rows"].map("{:,}".format) + ")")
    plot.set_xlabel(f"{metric} with its 95 % interval")
    plot.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1))
    return render_svg(figure, "Each slice's figure with its interval")


def write_report(
    path: Path, contract: Contract, note: str, tables: list[pd.DataFrame], template: Path = TEMPLATE, **more: Any
) -> None:
    """Write the page.

    note: what the model is judged on. tables: intervals, slices, calibration, baselines and importance, as in reports/.
    template: a page that extends report.html, with what it shows besides in `more`.
    """
    leading = LEADING_METRIC[contract.is_classification]
    sign = direction(leading)
    intervals, slices, calibration, baselines, importance = tables
    metrics = intervals.set_index("metric")
    lead = metrics.to_dict("index")[leading]
    target = contract.columns[contract.target]
    classes = ["false", "true"] if target.type == "boolean" else sorted(target.values or [])
    is_weak = slices["high"] < lead["value"] if sign == 1 else slices["low"] > lead["value"]
    slices = slices.assign(weak=is_weak).sort_values("value", ascending=sign == 1)
    content = render_page(
        template,
        read_project().title,
        contract=contract,
        date_parts=get_args(DatePart),
        target=target,
        target_is=f"{contract.target} is {classes[1] if len(classes) == 2 else 'a certain class'}",
        figures=metrics.dropna(subset="value").to_dict("index"),
        note=note,
        leading=leading,
        lead=lead,
        is_better=(lead["value"] - lead["baseline"]) * sign > 0,
        meaning=METRIC_MEANINGS,
        simpler=baselines[baselines["metric"] == leading].to_dict("records"),
        weak=slices[slices["weak"]].to_dict("records"),
        slices=plot_slices(slices.head(25), lead["value"], leading) if len(slices) else None,
        calibration=plot_calibration(calibration, contract.is_classification),
        importance=plot_importance(importance, leading),
        useless=importance.loc[importance["worse"] <= 0, "column"].tolist(),
        **more,
    )
    path.write_text(content, encoding="utf-8")

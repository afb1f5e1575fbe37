"""The page of `monitor`: the alerts in plain words, then everything over time."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modelcycle.core.page import render_page
from modelcycle.core.plots import BLUE, GREY, ORANGE, make_axes, render_svg
from modelcycle.core.team import read_project
from modelcycle.monitoring.histogram import Histogram, Profile
from modelcycle.monitoring.observations import Observations
from modelcycle.versions.params import Monitor

MAX_PANELS = 6


def period_length(starts: np.ndarray) -> Any:
    """Return the length of a period, of (p,) that start one after the other, in minutes, so that it can be divided."""
    unit = np.ones(1, starts.dtype.str.replace("M8", "m8"))  # an hour or a day, where there is one period
    return np.append(np.diff(starts), unit)[0].astype("timedelta64[m]")


def format_time_axis(plot: Axes, starts: np.ndarray) -> None:
    """Let the x axis show all periods, with as few dates as can be read."""
    plot.set_xlim(starts[0] - period_length(starts), starts[-1] + 2 * period_length(starts))
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    plot.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
    plot.xaxis.set_major_formatter(formatter)


def plot_effects(differences: list[dict[str, Any]], limit: float) -> Markup:
    """Draw how far each column has moved beside the limit, the 15 that moved most; those that alert stand out."""
    rows = [row for row in differences if row["what"] in ("values", "prediction")]
    rows = sorted(rows, key=lambda row: row["effect"])[-15:]
    names = [("prediction of " if row["what"] == "prediction" else "") + row["column"] for row in rows]
    figure, plot = make_axes(0.8 + 0.26 * len(rows), left_open=True)
    plot.barh(names, [row["effect"] for row in rows], color=[ORANGE if row["alert"] else BLUE for row in rows])
    plot.axvline(limit, color=GREY, linestyle="--", label=f"limit: {limit:g}")
    plot.set_xlabel("how far from the training data (standard deviations; for categories Jensen-Shannon distance)")
    plot.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1))
    return render_svg(figure, "How far each column has moved")


def compute_trend(row: dict[str, Any], histogram: Histogram, profile: Profile) -> tuple[np.ndarray, str]:
    """Compute what a panel shows, (p,) by period, and its title: a share, the mean, or a category's share."""
    name = f"prediction of {row['column']}" if row["what"] == "prediction" else row["column"]
    present = histogram.present
    with np.errstate(invalid="ignore"):  # a period without rows is a gap
        if row["what"] == "missing":
            return histogram.missing / histogram.rows, f"{name}: share that is missing"
        if row["category"]:
            category_bin = list(profile["shares"]).index(row["category"])
            return histogram.inside[:, category_bin] / present, f"{name}: share of {row['category']}"
        if "edges" in profile and row["what"] != "unseen":
            return histogram.sums / present, f"{name}: mean"
        return histogram.unseen / present, f"{name}: share that training never held"


def plot_trends(rows: list[dict[str, Any]], observations: Observations) -> Markup:
    """Draw the most important differences over time, each beside its value in training."""
    n_lines = -(-len(rows) // 2)
    figure = Figure(figsize=(7, 1.9 * n_lines), layout="constrained")
    for panel, row in enumerate(rows, 1):
        plot = figure.add_subplot(n_lines, 2, panel)
        plot.spines[["top", "right"]].set_visible(False)
        name = row["column"]
        trend, title = compute_trend(row, observations.histograms[name], observations.profiles[name])
        plot.axhline(row["then"], color=GREY, linestyle="--")
        color = ORANGE if row["alert"] else BLUE
        plot.plot(observations.starts, trend, "o-", markersize=2.5, linewidth=1.2, color=color)
        plot.set_title(title, fontsize=9, loc="left")
        plot.tick_params(labelsize=8)
        plot.margins(y=0.25)
        format_time_axis(plot, observations.starts)
    return render_svg(figure, "The columns that have changed most, over time")


def plot_quality(quality: dict[str, Any], starts: np.ndarray) -> Markup:
    """Draw the leading metric of the cases with a known outcome over time, beside that of the test data."""
    figure, plot = make_axes(2.8)
    reference, points = quality["then"], pd.DataFrame(quality["over_time"])
    plot.axhspan(reference["low"], reference["high"], color=GREY, alpha=0.25, linewidth=0, label="on the test data")
    plot.axhline(reference["value"], color=GREY, linestyle="--")
    errors = [points["value"] - points["low"], points["high"] - points["value"]]
    color = ORANGE if quality["alert"] else BLUE
    plot.errorbar(points["at"], points["value"], errors, fmt="o-", color=color, label="in use")
    plot.set_ylabel(f"{quality['metric']} with its 95 % interval")
    plot.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    format_time_axis(plot, starts)
    return render_svg(figure, "Quality over time")


def plot_load(periods: pd.DataFrame, starts: np.ndarray, is_slow: bool) -> Markup:
    """Draw how many answers each period has and, where it was logged, how long they took."""
    has_latencies = periods["milliseconds_50"].notna().any()
    figure = Figure(figsize=(7, 4.2 if has_latencies else 2.2), layout="constrained")
    plots = figure.subplots(2 if has_latencies else 1, sharex=True, squeeze=False)[:, 0]
    plots[0].bar(starts, periods["answers"], width=0.8 * period_length(starts), align="edge", color=BLUE)
    plots[0].set_ylabel("answers")
    plots[0].yaxis.set_major_locator(MaxNLocator(4, integer=True))
    if has_latencies:
        plots[1].plot(starts, periods["milliseconds_50"].astype(float), ".-", color=BLUE, label="half took at most")
        color = ORANGE if is_slow else GREY
        plots[1].plot(starts, periods["milliseconds_95"].astype(float), ".-", color=color, label="95 % took at most")
        plots[1].set_ylabel("milliseconds")
        plots[1].set_ylim(0, 1.15 * periods["milliseconds_95"].max())
        plots[1].legend(frameon=False, fontsize=9)
    for plot in plots:
        plot.spines[["top", "right"]].set_visible(False)
    format_time_axis(plots[-1], starts)
    return render_svg(figure, "Answers and the time they took")


def write_monitoring_report(
    path: Path, result: dict[str, Any], observations: Observations, expected: dict[str, Any], limits: Monitor
) -> None:
    """Write the page.

    result: what reports/monitoring.json holds. expected: the metrics on the test data.
    """
    quality, speed, rows = result["quality"], result["speed"], result["differences"]
    # The prediction comes first, then what alerts, then all others; each by its size.
    ranked = sorted(
        rows, key=lambda row: (row["what"] != "prediction", not row["alert"], -row["effect"] / row["limit"])
    )
    content = render_page(
        Path(__file__).with_name("monitoring.html"),
        read_project().title,
        result=result,
        quality=quality,
        expected=expected,
        limits=limits,
        speed=speed,
        quality_plot=plot_quality(quality, observations.starts) if quality["over_time"] else None,
        effects=plot_effects(rows, limits.shift),
        courses=plot_trends([row for row in ranked if row["effect"]][:MAX_PANELS], observations),
        load=plot_load(pd.DataFrame(result["periods"]), observations.starts, speed["alert"]),
    )
    path.write_text(content, encoding="utf-8")

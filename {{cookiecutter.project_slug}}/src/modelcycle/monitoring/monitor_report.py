"""The page that shows what `monitor` has found: what alerts in plain words, then everything over time."""

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
from modelcycle.core.params import Monitor
from modelcycle.core.plots import BLUE, GREY, ORANGE, make_axes, render_svg
from modelcycle.core.project import read_project
from modelcycle.monitoring.histogram import Histogram, Profile

PANELS = 6


def width(starts: np.ndarray) -> Any:
    """Give the length of a period, of (p,) that start one after the other, in minutes, so that it can be divided."""
    alone = np.ones(1, starts.dtype.str.replace("M8", "m8"))  # an hour or a day
    return np.append(np.diff(starts), alone)[0].astype("timedelta64[m]")


def time_axis(plot: Axes, starts: np.ndarray) -> None:
    """Let the x axis show all periods, with as few dates as can be read."""
    plot.set_xlim(starts[0] - width(starts), starts[-1] + 2 * width(starts))
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


def course(row: dict[str, Any], histogram: Histogram, profile: Profile) -> tuple[np.ndarray, str]:
    """Give what a panel shows, (p,) by period, and its title: a share, the mean, or a category's share."""
    name = f"prediction of {row['column']}" if row["what"] == "prediction" else row["column"]
    known = histogram.present
    with np.errstate(invalid="ignore"):  # a period without rows is a gap
        if row["what"] == "missing":
            return histogram.missing / histogram.rows, f"{name}: share that is missing"
        if row["category"]:
            place = list(profile["shares"]).index(row["category"])
            return histogram.inside[:, place] / known, f"{name}: share of {row['category']}"
        if "edges" in profile and row["what"] != "unseen":
            return histogram.sums / known, f"{name}: mean"
        return histogram.unseen / known, f"{name}: share that training never held"


def plot_courses(rows: list[dict[str, Any]], seen: Any) -> Markup:
    """Draw for the most important differences how they came about, each beside what it was in training."""
    height = -(-len(rows) // 2)
    figure = Figure(figsize=(7, 1.9 * height), layout="constrained")
    for place, row in enumerate(rows, 1):
        plot = figure.add_subplot(height, 2, place)
        plot.spines[["top", "right"]].set_visible(False)
        now, title = course(row, seen.histograms[row["column"]], seen.profiles[row["column"]])
        plot.axhline(row["then"], color=GREY, linestyle="--")
        plot.plot(seen.starts, now, "o-", markersize=2.5, linewidth=1.2, color=ORANGE if row["alert"] else BLUE)
        plot.set_title(title, fontsize=9, loc="left")
        plot.tick_params(labelsize=8)
        plot.margins(y=0.25)
        time_axis(plot, seen.starts)
    return render_svg(figure, "The columns that have changed most, over time")


def plot_quality(quality: dict[str, Any], starts: np.ndarray) -> Markup:
    """Draw the leading figure of the cases with a known outcome over time, beside that of the test data."""
    figure, plot = make_axes(2.8)
    then, points = quality["then"], pd.DataFrame(quality["over_time"])
    plot.axhspan(then["low"], then["high"], color=GREY, alpha=0.25, linewidth=0, label="on the test data")
    plot.axhline(then["value"], color=GREY, linestyle="--")
    errors = [points["value"] - points["low"], points["high"] - points["value"]]
    color = ORANGE if quality["alert"] else BLUE
    plot.errorbar(points["at"], points["value"], errors, fmt="o-", color=color, label="in use")
    plot.set_ylabel(f"{quality['metric']} with its 95 % interval")
    plot.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    time_axis(plot, starts)
    return render_svg(figure, "Quality over time")


def plot_load(periods: pd.DataFrame, starts: np.ndarray, slow: bool) -> Markup:
    """Draw how many answers each period has and, where it was noted, how long they took."""
    timed = periods["milliseconds_50"].notna().any()
    figure = Figure(figsize=(7, 4.2 if timed else 2.2), layout="constrained")
    plots = figure.subplots(2 if timed else 1, sharex=True, squeeze=False)[:, 0]
    plots[0].bar(starts, periods["answers"], width=0.8 * width(starts), align="edge", color=BLUE)
    plots[0].set_ylabel("answers")
    plots[0].yaxis.set_major_locator(MaxNLocator(4, integer=True))
    if timed:
        plots[1].plot(starts, periods["milliseconds_50"].astype(float), ".-", color=BLUE, label="half took at most")
        color = ORANGE if slow else GREY
        plots[1].plot(starts, periods["milliseconds_95"].astype(float), ".-", color=color, label="95 % took at most")
        plots[1].set_ylabel("milliseconds")
        plots[1].set_ylim(0, 1.15 * periods["milliseconds_95"].max())
        plots[1].legend(frameon=False, fontsize=9)
    for plot in plots:
        plot.spines[["top", "right"]].set_visible(False)
    time_axis(plots[-1], starts)
    return render_svg(figure, "Answers and the time they took")


def write_monitoring(path: Path, result: dict[str, Any], seen: Any, expected: dict[str, Any], limits: Monitor) -> None:
    """Write the page.

    result: what reports/monitoring.json holds. seen: the histograms, see `monitor.Seen`. expected: the test figures.
    """
    quality, speed, rows = result["quality"], result["speed"], result["differences"]
    # The prediction comes first, then what alerts, then all others; each by its size.
    ranked = sorted(rows, key=lambda x: (x["what"] != "prediction", not x["alert"], -x["effect"] / x["limit"]))
    content = render_page(
        Path(__file__).with_name("monitoring.html"),
        read_project().title,
        result=result,
        quality=quality,
        expected=expected,
        limits=limits,
        speed=speed,
        quality_plot=plot_quality(quality, seen.starts) if quality["over_time"] else None,
        effects=plot_effects(rows, limits.shift),
        courses=plot_courses([row for row in ranked if row["effect"]][:PANELS], seen),
        load=plot_load(pd.DataFrame(result["periods"]), seen.starts, speed["alert"]),
    )
    path.write_text(content, encoding="utf-8")

"""Plots as SVG that stands inside a page."""

import io

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

matplotlib.rcParams["text.parse_math"] = False  # a column may have a $ in its name

BLUE, ORANGE, GREY = "#1f5fa8", "#d9721f", "#8a929c"


def picture(figure: Figure, description: str) -> Markup:
    """Draw a figure as SVG to put into a page, with a description for those who can't see it."""
    with matplotlib.rc_context({"svg.hashsalt": "report", "svg.fonttype": "none", "font.family": "sans-serif"}):
        target = io.StringIO()
        figure.savefig(target, format="svg", bbox_inches="tight", metadata={"Date": None})
    svg = target.getvalue()[target.getvalue().index("<svg") :]
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{Markup.escape(description)}"', 1))  # noqa: S704


def axes(height: float, left_open: bool = False) -> tuple[Figure, Axes]:
    """Give an empty plot, 7 inches wide, without the frame that nobody reads."""
    figure = Figure(figsize=(7, height))
    plot = figure.subplots()
    plot.spines[["top", "right"] + (["left"] if left_open else [])].set_visible(False)
    return figure, plot

"""Plots as inline SVG for the pages."""

import io

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

matplotlib.rcParams["text.parse_math"] = False  # a column may have a $ in its name

BLUE, ORANGE, GREY = "#1f5fa8", "#d9721f", "#8a929c"


def render_svg(figure: Figure, description: str) -> Markup:
    """Render a figure as SVG to put into a page, with a description for those who can't see it."""
    with matplotlib.rc_context({"svg.hashsalt": "report", "svg.fonttype": "none", "font.family": "sans-serif"}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    svg = buffer.getvalue()[buffer.getvalue().index("<svg") :]
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{Markup.escape(description)}"', 1))  # noqa: S704


def make_axes(height: float, left_open: bool = False) -> tuple[Figure, Axes]:
    """Make an empty plot, 7 inches wide, without the frame at the top and right (with `left_open`, at the left)."""
    figure = Figure(figsize=(7, height))
    plot = figure.subplots()
    plot.spines[["top", "right"] + (["left"] if left_open else [])].set_visible(False)
    return figure, plot

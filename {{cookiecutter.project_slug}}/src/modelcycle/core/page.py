"""Fill in the HTML pages that people look at. A page lies beside the module that fills it in."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from modelcycle.core.metrics import format_metrics


def short(figure: float) -> str:
    """Write a figure as people read it: three decimals, more only where it is very small, fewer where it is large."""
    return f"{figure:.3f}" if figure == 0 or 0.001 <= abs(figure) < 1000 else f"{figure:.4g}"


def as_html(markdown: str) -> Markup:
    """Turn Markdown into HTML. HTML in it is shown, not obeyed; comments are left out."""
    text = re.sub("<!--.*?-->", "", markdown, flags=re.DOTALL)
    return Markup(MarkdownIt("js-default").render(text))  # noqa: S704  escaped by js-default


def fill(page: Path, project: str, **facts: Any) -> str:
    """Fill a page in; it can include style.css and name the project."""
    return environment(page.parent).get_template(page.name).render(project=project, **facts)


def environment(folder: Path) -> Environment:
    """Give Jinja's environment for the pages of a folder."""
    loader = FileSystemLoader([folder, Path(__file__).parent])
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    pages.filters |= {"short": short, "metrics": format_metrics, "as_html": as_html}
    return pages

"""The pages that people look at, filled in from templates/."""

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup


def short(figure: float) -> str:
    """Write a figure as people read it: three decimals, more only where it is very small, fewer where it is large."""
    return f"{figure:.3f}" if figure == 0 or 0.001 <= abs(figure) < 1000 else f"{figure:.4g}"


def as_html(markdown: str) -> Markup:
    """Turn Markdown into HTML. HTML in it is shown, not obeyed; comments are left out."""
    text = re.sub("<!--.*?-->", "", markdown, flags=re.DOTALL)
    return Markup(MarkdownIt("js-default").render(text))  # noqa: S704  escaped by js-default


PAGES = Environment(loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined)
PAGES.filters |= {"short": short, "as_html": as_html}


def fill(template: str, **facts: Any) -> str:
    """Fill a page in; a template can also name the project."""
    return PAGES.get_template(template).render(project=str(__package__).replace("_", " "), **facts)

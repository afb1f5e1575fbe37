"""Render the HTML pages that people look at. A page's template lies beside the module that renders it."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from modelcycle.core.metrics import format_metrics


def format_number(number: float) -> str:
    """Format a number for people: three decimals, or four significant digits where it is very small or large."""
    return f"{number:.3f}" if number == 0 or 0.001 <= abs(number) < 1000 else f"{number:.4g}"


def render_markdown(markdown: str) -> Markup:
    """Turn Markdown into HTML. HTML in it is escaped; comments are left out."""
    text = re.sub("<!--.*?-->", "", markdown, flags=re.DOTALL)
    return Markup(MarkdownIt("js-default").render(text))  # noqa: S704  escaped by js-default


def render_page(template: Path, project: str, **context: Any) -> str:
    """Render a template; it can include style.css, extend another room's page and name the project."""
    return make_jinja_environment(template.parent).get_template(template.name).render(project=project, **context)


def make_jinja_environment(folder: Path) -> Environment:
    """Make the Jinja environment for the templates of a folder."""
    core = Path(__file__).parent
    loader = FileSystemLoader([folder, core, core.parent])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"short": format_number, "metrics": format_metrics, "as_html": render_markdown}
    return environment

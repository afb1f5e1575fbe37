"""Render the HTML pages that people look at. A page's template lies beside the module that renders it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def format_number(number: float) -> str:
    """Format a number for people: three decimals, or four significant digits where it is very small or large."""
    return f"{number:.3f}" if number == 0 or 0.001 <= abs(number) < 1000 else f"{number:.4g}"


def render_page(template: Path, project: str, **context: Any) -> str:
    """Render a template; it can include style.css, extend another room's page and name the project."""
    core = Path(__file__).parent
    loader = FileSystemLoader([template.parent, core, core.parent])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["short"] = format_number
    return environment.get_template(template.name).render(project=project, **context)

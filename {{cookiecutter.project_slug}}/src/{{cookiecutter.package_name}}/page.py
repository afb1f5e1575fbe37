"""The pages that people look at, filled in from templates/."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def short(figure: float) -> str:
    """Write a figure as people read it: three decimals, more only where it is very small, fewer where it is large."""
    return f"{figure:.3f}" if figure == 0 or 0.001 <= abs(figure) < 1000 else f"{figure:.4g}"


PAGES = Environment(loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined)
PAGES.filters["short"] = short


def fill(template: str, **facts: Any) -> str:
    """Fill a page in; a template can also name the project."""
    return PAGES.get_template(template).render(project=str(__package__).replace("_", " "), **facts)

"""How `make docs` makes the site of README.md, these pages and those of deploy/: Sphinx reads this file."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

MORE = """
## The parameters

```{literalinclude} params.yaml
:language: yaml
```

```{toctree}
:hidden:
:glob:
:caption: The process

docs/process
docs/roles
docs/scrum/*
docs/crisp-dm/*
docs/decisions/*
```

```{toctree}
:hidden:
:glob:
:caption: In operation

docs/ci
docs/scale
docs/updates
deploy/*/README
docs/operations/*
docs/model_card
docs/data_card
```
"""
YOURS = """
```{toctree}
:hidden:
:caption: Your own pages

PAGES
```
"""

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
root_doc = "README"
include_patterns = ["README.md", "docs/**.md", "deploy/*/README.md"]
exclude_patterns = [".*", "reports"]
extensions = ["myst_parser"]
myst_heading_anchors = 3
html_theme = "furo"  # loads nothing from elsewhere
html_title = project
html_copy_source = html_show_sphinx = html_show_copyright = False


def add_parameters_and_contents(app: Any, page: str, source: list[str]) -> None:
    """Put params.yaml and the side bar below the README, which would show them as code wherever else it is read."""
    if page == root_doc:
        listed = MORE.splitlines()
        yours = {name for name in app.env.found_docs - {page} if not any(fnmatch(name, line) for line in listed)}
        source[0] += MORE + (YOURS.replace("PAGES", "\n".join(sorted(yours))) if yours else "")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_parameters_and_contents)

"""Refuse answers that would not work, each with one sentence that says what to type instead."""

import json
import keyword
import re
import sys

answers = json.loads(r'''{{ cookiecutter | tojson }}''')
# {% raw %}
TAKEN = set(  # what the generated project installs or has as a folder
    "altair con prn aux nul data deploy detect_secrets docs dvc example fastapi hatchling ipykernel jinja2 joblib "
    "jupyter jupyterlab matplotlib mlflow models mypy nbclient nbstripout notebooks numpy pandas pandas_stubs pandera "
    "pip pre_commit pre_commit_hooks pyarrow pydantic pytest reports rich ruamel ruamel_yaml ruff scikit_learn scipy "
    "setuptools skops sklearn sqlalchemy src tests typer uv yaml".split()
) | {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
LONGEST = {  # characters
    "project_name": 60, "project_slug": 50, "package_name": 50, "description": 200, "author_name": 80, "author_email": 120
}
FORM = {
    "project_slug": (r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "lower-case letters, digits and single hyphens, such as flight-delays"),
    "package_name": (r"[a-z][a-z0-9]*(_[a-z0-9]+)*", "lower-case letters, digits and single underscores, such as flight_delays"),
    "author_email": (r"[\w.+-]+@([a-z0-9-]+\.)+[a-z]{2,}", "an address such as team@example.com"),
}


def complaint(name, value):
    """Say what to type instead of a bad answer, or nothing."""
    if not value.strip():
        return "type at least one word"
    if len(value) > LONGEST[name]:
        return f"type at most {LONGEST[name]} characters, not {len(value)}"
    if value != value.strip() or not value.replace("\u200d", "").isprintable():
        return "type it without spaces at its ends and without characters that can't be seen"
    if re.search(r"\{[{%#]|[}%#]\}", value):
        return "type it without doubled or marked braces, which the template would take for its own"
    if name in FORM and not re.fullmatch(FORM[name][0], value, re.ASCII | re.IGNORECASE * (name == "author_email")):
        return f"type {FORM[name][1]}"
    module = value.replace("-", "_")
    if name in ("project_slug", "package_name") and (keyword.iskeyword(module) or module in sys.stdlib_module_names | TAKEN):
        return f"type a longer name, such as our{value}; this one is Python's, Windows's or a library's"
    return None


for name in LONGEST:
    if instead := complaint(name, str(answers[name])):
        sys.exit(f"{name} can't be {answers[name]!r}: {instead}.")
# {% endraw %}

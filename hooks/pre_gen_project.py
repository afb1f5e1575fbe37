"""Refuse answers that would not work, each with one sentence that says what to type instead."""

import json
import keyword
import re
import shlex
import sys

answers = json.loads(r"""{{ cookiecutter | tojson }}""")  # {% raw %}
# What the generated project installs, calls or brings along, and what Windows keeps for its devices.
TAKEN = """airflow bash buildah charset_normalizer cookiecutter dask detect_secrets distributed docker dvc fastapi
fastapi_offline filelock furo gh git hatchling httptools ipykernel ipywidgets jinja2 joblib jupyter jupyterlab make
markdown_it markdown_it_py markupsafe matplotlib mlflow mypy myst_parser nbclient nbstripout numpy packaging pandas
pandas_stubs pandera pip podman pre_commit pre_commit_hooks prometheus_client psycopg pyarrow pydantic pydantic_core
pydantic_settings pytest python python3 python_calamine rich ruamel ruamel_yaml ruff scikit_learn scipy setuptools sh
sklearn skops sphinx sqlalchemy src starlette test tests threadpoolctl typer typing_extensions uv uvicorn uvloop uvx
yaml modelcycle con prn aux nul"""
RULES = {  # question: most characters, the form as a pattern, the form in words
    "project_name": (60, r".+", ""),
    "project_slug": (50, r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "lower-case letters, digits and hyphens, as in flight-delays"),
    "package_name": (40, r"[a-z][a-z0-9]*(_[a-z0-9]+)*", "lower-case letters, digits and _, as in flight_delays"),
    "description": (200, r".+", ""),
    "author_name": (80, r".+", ""),
    "author_email": (120, r"[A-Za-z0-9_.+-]+@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}", "an address such as team@example.com"),
    "container_registry": (200, r"[a-z0-9][a-z0-9.-]*(:\d+)?(/[a-z0-9._-]+)*", "host/folder, as in example.com/team"),
}


def instead_of(name, value):
    """Say what to type instead of a bad answer, or nothing."""
    most, form, form_in_words = RULES[name]
    if not value.strip():
        return "type at least one word"
    if len(value) > most:
        return f"type at most {most} characters, not {len(value)}"
    if value != value.strip() or not value.replace("\u200d", "").isprintable():
        return "type it without spaces at its ends and without characters that can't be seen"
    if re.search(r"\{[{%#]|[}%#]\}", value):
        return "type it without doubled or marked braces, which the template would take for its own"
    if not re.fullmatch(form, value):
        return f"type {form_in_words}"
    module = value.replace("-", "_")
    taken = {*keyword.kwlist, *sys.stdlib_module_names, *TAKEN.split()}
    if name in ("project_slug", "package_name") and (module in taken or re.match(r"(com|lpt)\d$", module)):
        return f"type a longer name, such as our{value}; this one is Python's, Windows's or a library's"


for name in RULES:
    if instead := instead_of(name, str(answers[name])):
        others = shlex.join(f"{key}={value}" for key, value in answers.items() if key[0] != "_" and key != name)
        checkout = ["--checkout", answers["_checkout"]] if answers.get("_checkout") else []
        template = shlex.join([*checkout, answers["_template"]])
        print(f"To be asked again with your other answers as defaults: cookiecutter {template} {others}")
        sys.exit(f"{name} can't be {answers[name]!r}: {instead}.")
# {% endraw %}

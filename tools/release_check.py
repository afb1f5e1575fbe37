"""Say what a release still lacks: version, CHANGELOG, and what the rules of the house keep from changing.

    .venv/bin/python tools/release_check.py

Compares the work tree with the newest tag, if there is one. Exit status 1 with a line for each fault.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

TREE = "{{cookiecutter.project_slug}}"
SECTIONS = ("What this update touches", "New options and their defaults", "What you have to do")
VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


def git(*words: str) -> str:
    """Ask git."""
    return subprocess.run(["git", *words], check=True, capture_output=True, encoding="utf-8").stdout.strip()


def number(version: str) -> list[int]:
    """Give the three numbers of a version."""
    return [int(part) for part in VERSION.fullmatch(version).groups()]


def choices(questions: dict) -> dict[str, list]:
    """Give the choices of each question; the first is the default."""
    asked = {name: value for name, value in questions.items() if not name.startswith("_")}
    return {name: value if isinstance(value, list) else [value] for name, value in asked.items()}


def sections(changelog: str, version: str) -> dict[str, str]:
    """Give the text of a version's sections by their title; none where the version is not the newest, with its date."""
    found = re.search(r"^## .*", changelog, re.MULTILINE)
    if not found or not re.fullmatch(rf"## {re.escape(version)} - \d{{4}}-\d\d-\d\d", found[0]):
        return {}
    text = re.split(r"^## ", changelog[found.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    parts = re.split(r"^### (.*)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def faults() -> list[str]:
    """Say in a sentence each what keeps the commit in the current folder from being a release."""
    said = ["something is not committed"] if git("status", "--porcelain") else []
    questions = json.loads(Path("cookiecutter.json").read_text(encoding="utf-8"))
    version = questions["_version"]
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        return [*said, f"_version in cookiecutter.json is {version!r}; a release's has three numbers, as in 1.2.0"]
    told = sections(Path("CHANGELOG.md").read_text(encoding="utf-8"), version)
    if not told:
        return [*said, f"CHANGELOG.md does not begin with `## {version} - ` and the release's day"]
    said += [f"{version} in CHANGELOG.md has no `### {title}`" for title in SECTIONS if not told.get(title, "").strip()]
    tags = sorted(filter(VERSION.fullmatch, git("tag").split()), key=number)
    if not tags:
        return said
    last = tags[-1]
    if number(version) <= number(last):
        said.append(f"{last} is a release already; raise _version in cookiecutter.json")
    before, now = choices(json.loads(git("show", f"{last}:cookiecutter.json"))), choices(questions)
    for name, values in before.items():
        if name not in now:
            said.append(f"the question {name} is gone, which {last} asked")
        elif lost := [str(value) for value in values if len(values) > 1 and value not in now[name]]:
            said.append(f"{name} has no choice {', '.join(lost)} any more, which {last} had")
    options, touched = (told.get(title, "") for title in SECTIONS[1::-1])
    new = {name: values[0] for name, values in now.items() if name not in before}
    said += [
        f"{name} and its default {default} are not told under `### {SECTIONS[1]}`"
        for name, default in new.items()
        if f"`{name}`" not in options or str(default).lower() not in options.lower()
    ]
    changed = git("diff", "--name-only", "--no-renames", "-z", last, "--", TREE).split("\0")[:-1]
    said += [
        f"{entry} has changed since {last}, and is not told under `### {SECTIONS[0]}`"
        for entry in sorted({Path(path).relative_to(TREE).parts[0] for path in changed})
        if f"`{entry}" not in touched
    ]
    return said


if __name__ == "__main__":
    found = faults()
    for fault in found:
        print(f"release-check: {fault}", file=sys.stderr)
    sys.exit(bool(found))

"""Run a workflow of GitHub Actions as its runner does: job by job, each in a clone of its own, step by step.

It knows what ci.yml uses and refuses the rest: an unknown key, action or expression stops it. Conditions and
expressions are a small subset of GitHub's language, read by a parser of their own.
"""

import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

JOB = set("needs if runs-on timeout-minutes environment concurrency permissions steps".split())
STEP = set("uses with run env if name".split())
TOP = set("name on permissions defaults env concurrency jobs".split())
IGNORED = ("actions/cache@",)  # it makes a run faster, and no other
TOKEN = re.compile(r"\s*(?:(?P<text>'[^']*')|(?P<name>[\w.-]+)|(?P<sign>==|!=|&&|\|\||!|\(|\)|,))")


class Refused(Exception):
    """The workflow holds what this runner or GitHub does not know."""


@dataclass
class Run:
    """What is known of a run: what triggered it, what is secret, who approves, what came of each job."""

    event: str
    ref: str
    secrets: dict[str, str]
    variables: dict[str, str]
    approved: set[str]
    results: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def evaluate(text: str, run: Run, failed: bool, folder: Path) -> Any:
    """Evaluate an expression: literals, contexts, ==, !=, !, &&, ||, parentheses and a few functions."""
    tokens = []
    position = 0
    while position < len(text.rstrip()):
        if not (found := TOKEN.match(text, position)):
            raise Refused(f"expression: {text}")
        tokens.append(found)
        position = found.end()

    def take(sign: str | None = None) -> re.Match[str] | None:
        if tokens and (sign is None or tokens[0]["sign"] == sign):
            return tokens.pop(0)
        return None

    def unary() -> Any:
        if take("!"):
            return not unary()
        if take("("):
            value = either()
            if not take(")"):
                raise Refused(f"expression: {text}")
            return value
        token = take()
        if token is None:
            raise Refused(f"expression: {text}")
        if token["text"] is not None:
            return token["text"][1:-1]
        if take("("):
            arguments = []
            while not take(")"):
                arguments.append(either())
                take(",")
            return function(token["name"], arguments)
        return context(token["name"])

    def function(name: str | None, arguments: list[Any]) -> Any:
        if name in ("cancelled", "always", "failure"):
            return {"cancelled": False, "always": True, "failure": failed}[name]
        if name == "hashFiles":
            return "".join(str((folder / path).exists()) for path in arguments)
        raise Refused(f"function: {name}")

    def context(name: str | None) -> Any:
        kind, _, key = (name or "").partition(".")
        if kind == "secrets":
            return run.secrets.get(key, "")
        if kind == "vars":
            return run.variables.get(key, "")
        known = {"github.event_name": run.event, "github.ref": run.ref, "github.run_id": "1", "runner.os": "Linux"}
        known["github.token"] = "the job's token"
        if name not in known:
            raise Refused(f"context: {name}")
        return known[name]

    def compare() -> Any:
        left = unary()
        for sign in ("==", "!="):
            if take(sign):
                return (left == unary()) == (sign == "==")
        return left

    def both() -> Any:
        left = compare()
        while take("&&"):
            right = compare()
            left = left and right
        return left

    def either() -> Any:
        left = both()
        while take("||"):
            right = both()
            left = left or right
        return left

    value = either()
    if tokens:
        raise Refused(f"expression: {text}")
    return value


def check_keys(found: dict[str, Any], known: set[str], where: str) -> None:
    """Raise Refused for a key that is unknown."""
    if unknown := set(found) - known:
        raise Refused(f"{where}: unknown key {', '.join(sorted(unknown))}")


def execute(workflow: str, origin: Path, commit: str, scratch: Path, run: Run, base: dict[str, str]) -> Run:
    """Run the jobs that this event is for, in the order of their needs. base: the machine's environment variables."""
    content = YAML(typ="safe", pure=True).load(workflow)
    check_keys(content, TOP, "workflow")
    if content["permissions"] != {} or content["defaults"] != {"run": {"shell": "bash"}}:
        raise Refused("workflow: permissions are not empty, or the shell is not bash")
    triggers = {"pull_request": "pull_request", "push": "push", "schedule": "schedule"}
    if triggers[run.event] not in content["on"]:
        raise Refused(f"workflow: not triggered by {run.event}")
    for job in content["jobs"].values():
        needed = job.get("needs", [])
        for name in [needed] if isinstance(needed, str) else needed:
            if name not in content["jobs"]:
                raise Refused(f"needs: no job {name}")
    waiting = dict(content["jobs"])
    while waiting:
        ready = [name for name, job in waiting.items() if not set(listed(job.get("needs"))) & set(waiting)]
        if not ready:
            raise Refused(f"needs: {', '.join(waiting)} wait for each other")
        for name in ready:
            run_job(name, waiting.pop(name), content.get("env", {}), origin, commit, scratch, run, base)
    return run


def listed(value: Any) -> list[str]:
    """Give a text or a list as a list."""
    return [value] if isinstance(value, str) else list(value or [])


def run_job(
    name: str,
    job: dict[str, Any],
    environment: dict[str, str],
    origin: Path,
    commit: str,
    scratch: Path,
    run: Run,
    base: dict[str, str],
) -> None:
    """Run one job where its needs and its condition say so."""
    check_keys(job, JOB, name)
    if any(run.results[need] != "success" for need in listed(job.get("needs"))):
        run.results[name] = "skipped"
        return
    if not evaluate(job.get("if", "always()"), run, False, scratch):
        run.results[name] = "skipped"
        return
    if job.get("environment") == "production" and "production" not in run.approved:
        run.results[name] = "waiting"
        return
    if "timeout-minutes" not in job or "permissions" not in job:
        raise Refused(f"{name}: no timeout or no permissions")
    folder, summary = scratch / name, scratch / f"{name}.summary"
    folder.mkdir(parents=True)
    own = {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_JOB": name, "GITHUB_STEP_SUMMARY": str(summary)}
    failed, said, began = False, "", time.monotonic()
    for step in job["steps"]:
        check_keys(step, STEP, name)
        condition = str(step.get("if", "")).removeprefix("${{").removesuffix("}}")
        wanted = evaluate(condition, run, failed, folder) if condition else not failed
        if not wanted:
            continue

        def fill(text: str, failed: bool = failed) -> str:
            return re.sub(r"\$\{\{(.*?)\}\}", lambda found: str(evaluate(found[1], run, failed, folder)), str(text))

        if "uses" in step:
            said += action(
                step["uses"], {k: fill(v) for k, v in step.get("with", {}).items()}, folder, origin, commit, run
            )
            if said.endswith("error\n"):
                failed = True
            continue
        if "${{" in step["run"]:
            raise Refused(f"{name}: an expression in a script")
        given = {key: fill(value) for key, value in {**environment, **step.get("env", {})}.items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=folder,
            env=base | own | given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        said += done.stdout
        failed = failed or done.returncode != 0
    run.results[name] = "failure" if failed else "success"
    run.seconds[name] = time.monotonic() - began
    run.said[name] = said + (summary.read_text() if summary.exists() else "")
    shutil.rmtree(folder)


def action(uses: str, given: dict[str, str], folder: Path, origin: Path, commit: str, run: Run) -> str:
    """Stand in for the actions that are used. Gives a line for the log, which ends in `error` where it failed."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", uses):
        raise Refused(f"action: {uses} is not pinned by its commit")
    kind = uses.partition("@")[0]
    if uses.startswith(IGNORED):
        return ""
    if kind == "actions/checkout":
        if given.get("fetch-depth") != "0":
            raise Refused("checkout: the comparison needs fetch-depth: 0")
        subprocess.run(["git", "clone", "--quiet", str(origin), "."], cwd=folder, check=True)
        subprocess.run(["git", "checkout", "--quiet", "--detach", commit], cwd=folder, check=True)
        return ""
    if kind == "actions/upload-artifact":
        paths = [found for line in given["path"].split("\n") if line for found in sorted(folder.glob(line))]
        if not paths and given.get("if-no-files-found") == "error":
            return f"No files were found with the provided path: {given['path']}: error\n"
        run.artifacts[given["name"]] = [(path.name, path.read_bytes()) for path in paths]
        return ""
    if kind == "actions/download-artifact":
        if given["name"] not in run.artifacts:
            return f"Unable to download artifact(s): Artifact not found for name: {given['name']}: error\n"
        (folder / given["path"]).mkdir(exist_ok=True)
        for name, content in run.artifacts[given["name"]]:
            (folder / given["path"] / name).write_bytes(content)
        return ""
    raise Refused(f"action: {uses}")

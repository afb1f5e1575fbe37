"""Read a workflow of GitHub Actions."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from support.ci.stage import Stage, Unknown, check_keys, look_up

GITHUB_WHEN = {  # by its own condition; a job also runs only where those that it needs did
    None: {"change", "main", "schedule", "hand"},
    "github.event_name == 'pull_request' || github.event_name == 'push'": {"change", "main"},
    "github.ref == 'refs/heads/main' && github.event_name == 'push'": {"main"},
    "github.ref == 'refs/heads/main' && (github.event_name == 'schedule' || inputs.verb == NAME)": {"schedule", "hand"},
    "github.ref == 'refs/heads/main' && inputs.verb == NAME": {"hand"},
    "github.event_name == 'schedule'": {"schedule"},
}
GITHUB_RIGHTS = {  # whether the job may push
    "{'contents': 'read'}": False,
    "{'contents': 'write'}": True,
    "{'contents': 'write', 'pull-requests': 'write'}": True,
}
GITHUB_SETTING = r"^\$\{\{ (?:secrets|vars)\.(\w+)(?: \|\| github\.token)? \}\}$"
GITHUB_INPUT = r"^\$\{\{ inputs\.(\w+) \}\}$"
GITHUB_TOKEN = "${{ secrets.UPDATE_TOKEN || github.token }}"


def read_github(path: Path) -> dict[str, Stage]:
    """Read a workflow of GitHub Actions."""
    content = YAML(typ="safe", pure=True).load(path)
    check_keys(content, "name on permissions defaults env concurrency jobs", "workflow")
    if content["permissions"] != {} or content["defaults"] != {"run": {"shell": "bash"}}:
        raise Unknown("workflow: permissions are not empty, or the shell is not bash with pipefail")
    triggers = {"pull_request": "change", "push": "main", "schedule": "schedule", "workflow_dispatch": "hand"}
    triggered = {look_up(triggers, name, "on") for name in content["on"]}
    if content["on"]["push"] != {"branches": ["main"]}:
        raise Unknown("on: pushes to other branches than main")
    inputs = content["on"].get("workflow_dispatch", {"inputs": {}})["inputs"]
    stages: dict[str, Stage] = {}
    artifacts: dict[str, set[str]] = {}
    for name, job in content["jobs"].items():
        check_keys(job, "needs if runs-on timeout-minutes environment concurrency permissions steps", name)
        if "timeout-minutes" not in job:
            raise Unknown(f"{name}: no timeout")
        condition = job["if"].replace(f"'{name}'", "NAME") if "if" in job else None
        stage = stages[name] = Stage(triggered & look_up(GITHUB_WHEN, condition, name))
        if "needs" in job:
            before = look_up(stages, job["needs"], f"{name}: needs")
            stage.when &= before.when
            stage.needs = {job["needs"], *before.needs}
        if "hand" in stage.when and name not in inputs["verb"]["options"]:
            raise Unknown(f"{name}: nobody can choose it")
        place = job.get("environment", "").replace("${{ inputs.environment }}", name)
        stage.person = place in ("production", "deploy")  # the settings of production name those who review
        stage.pushes = look_up(GITHUB_RIGHTS, str(job.get("permissions")), f"{name}: permissions")
        scope = f"{place}/" if place else ""  # secrets for main are an environment's
        for step in job["steps"]:
            if "run" in step:
                check_keys(step, "run env", name)
                values = content["env"] | step.get("env", {})
                variables = {key: re.sub(GITHUB_SETTING, rf"${scope}\1", value) for key, value in values.items()}
                for key, value in variables.items():
                    if asked := re.match(GITHUB_INPUT, value):
                        look_up(inputs, asked[1], f"{name}: inputs")
                        variables[key] = f"${asked[1].upper()}"
                stage.scripts.append((step["run"], variables))
            else:
                check_keys(step, "uses with if", name)
                use_action(name, step, stage, artifacts)
    return stages


def use_action(name: str, step: dict[str, Any], stage: Stage, artifacts: dict[str, set[str]]) -> None:
    """Note which files an action brings or keeps."""
    action, inputs = step["uses"].partition("@")[0], step["with"]
    if "secrets." in str(inputs) and (action, inputs.get("token")) != ("actions/checkout", GITHUB_TOKEN):
        raise Unknown(f"{name}: {action} is given a secret")
    if step.get("if", "${{ !cancelled() }}") != "${{ !cancelled() }}":
        raise Unknown(f"{name}: unknown {step['if']}")
    match action:
        case "actions/checkout":
            if inputs.get("fetch-depth") != 0 or inputs["persist-credentials"] != stage.pushes:
                raise Unknown(f"{name}: checkout needs fetch-depth: 0 to compare, and keeps its token only to push")
        case "actions/upload-artifact":
            artifacts[inputs["name"]] = set(inputs["path"].split("\n")) - {""}
            stage.keep(artifacts[inputs["name"]])
            if inputs["if-no-files-found"] != "error":
                raise Unknown(f"{name}: an artifact that is not there has to be an error")
        case "actions/download-artifact":
            stage.take(look_up(artifacts, inputs["name"], f"{name}: artifact"), inputs["path"])
        case "actions/cache":  # it makes a run faster, and no other
            pass
        case _:
            raise Unknown(f"{name}: unknown {action}")

"""Read the workflows of GitHub Actions, with those that they call."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from support.ci.stage import Stage, Unknown, check_keys, look_up

TRIGGERS = {"pull_request": "change", "push": "main", "schedule": "schedule", "workflow_dispatch": "hand"}
WHEN = {  # by its own condition; a job also runs only where those that it needs did
    None: {"change", "main", "schedule", "hand"},
    "github.event_name == 'push'": {"main"},
    "github.ref == 'refs/heads/main' && (github.event_name == 'schedule' || inputs.verb == NAME)": {"schedule", "hand"},
    "github.ref == 'refs/heads/main' && inputs.verb == NAME": {"hand"},
    "github.event_name == 'schedule'": {"schedule"},
}
RIGHTS = {  # whether the job may push
    "{'contents': 'read'}": False,
    "{'contents': 'write'}": True,
    "{'contents': 'write', 'pull-requests': 'write'}": True,
}
CONCURRENCY = {  # of checks; a run has the group of no other, and a workflow not that of one which calls it
    "group": "change-${{ github.event.pull_request.number || github.run_id }}",
    "cancel-in-progress": True,
}
SETTING = r"^\$\{\{ (?:secrets|vars)\.(\w+)(?: \|\| github\.token)? \}\}$"
INPUT = r"^\$\{\{ inputs\.(\w+) \}\}$"
TOKEN = "${{ secrets.UPDATE_TOKEN || github.token }}"
Artifacts = dict[str, set[str]]  # of a run: name -> files


def read_github(*paths: Path) -> dict[str, Stage]:
    """Read all workflows: first what main runs, then the night, then what a person starts."""
    workflows = {f"./.github/workflows/{path.name}": YAML(typ="safe", pure=True).load(path) for path in paths}
    stages: dict[str, Stage] = {}
    for content in workflows.values():
        kinds = {look_up(TRIGGERS, name, "on") for name in content["on"] if name != "workflow_call"}
        for name, stage in read_workflow(content, kinds, workflows, {}).items():
            known = stages.setdefault(name, stage)
            if (vars(known) | {"when": set()}) != (vars(stage) | {"when": set()}):
                raise Unknown(f"{name}: one workflow runs it in another way than the other")
            known.when |= stage.when
    return dict(sorted(stages.items(), key=lambda item: ("main" not in item[1].when, item[1].when == {"hand"})))


def read_workflow(
    content: dict[str, Any],
    kinds: set[str],
    workflows: dict[str, Any],
    artifacts: Artifacts,
    passed: dict[str, str] | None = None,
) -> dict[str, Stage]:
    """Read a workflow that runs of some kinds start or call; passed: which secret of the caller is one of its own."""
    check_keys(content, "name on permissions defaults env concurrency jobs", "workflow")
    if content["permissions"] != {} or content["defaults"] != {"run": {"shell": "bash"}}:
        raise Unknown("workflow: permissions are not empty, or the shell is not bash with pipefail")
    if content["on"].get("push", {"branches": ["main"]}) != {"branches": ["main"]}:
        raise Unknown("on: pushes to other branches than main")
    if content.get("concurrency") != (CONCURRENCY if "pull_request" in content["on"] else None):
        raise Unknown(f"workflow: unknown concurrency {content.get('concurrency')}")
    stages: dict[str, Stage] = {}
    done: dict[str, set[str]] = {}  # job -> the stages that have succeeded when it has
    for name, job in content["jobs"].items():
        condition = job["if"].replace(f"'{name}'", "NAME") if "if" in job else None
        when = kinds & look_up(WHEN, condition, name)
        needs = look_up(done, job["needs"], f"{name}: needs") if "needs" in job else set()
        when = when.intersection(*(stages[other].when for other in needs))
        if "uses" in job:
            new = read_call(name, job, when, workflows, artifacts)
        else:
            new = {name: read_job(name, job, Stage(when), content, artifacts, passed)}
        for stage in new.values():
            stage.needs |= needs
        stages |= new
        done[name] = needs | set(new)
    return stages


def read_call(
    name: str, job: dict[str, Any], when: set[str], workflows: dict[str, Any], artifacts: Artifacts
) -> dict[str, Stage]:
    """Read a job that calls another workflow, which sees no secret and has no right but what it is given."""
    check_keys(job, "needs if uses permissions secrets", name)
    called = look_up(workflows, job["uses"], f"{name}: uses")
    if set(called["on"]["workflow_call"]["secrets"]) != set(job["secrets"]):
        raise Unknown(f"{name}: {job['uses']} asks for other secrets")
    passed = {f"${{{{ secrets.{secret} }}}}": value for secret, value in job["secrets"].items()}
    stages = read_workflow(called, when, workflows, artifacts, passed)
    if look_up(RIGHTS, str(job.get("permissions")), f"{name}: permissions") != any(s.pushes for s in stages.values()):
        raise Unknown(f"{name}: {job['uses']} needs other permissions")
    return stages


def read_job(
    name: str,
    job: dict[str, Any],
    stage: Stage,
    content: dict[str, Any],
    artifacts: Artifacts,
    passed: dict[str, str] | None,
) -> Stage:
    """Read a job of a workflow into its stage."""
    check_keys(job, "needs if runs-on timeout-minutes environment concurrency permissions steps", name)
    if "timeout-minutes" not in job:
        raise Unknown(f"{name}: no timeout")
    if job.get("concurrency", {"cancel-in-progress": False})["cancel-in-progress"]:
        raise Unknown(f"{name}: it may be stopped half-way")
    inputs = content["on"].get("workflow_dispatch", {"inputs": {}})["inputs"]
    if "hand" in stage.when and "verb" in str(job.get("if")) and name not in inputs["verb"]["options"]:
        raise Unknown(f"{name}: nobody can choose it")
    place = job.get("environment", "").replace("${{ inputs.environment }}", name)
    stage.person = place in ("production", "deploy")  # the settings of production name those who review
    stage.pushes = look_up(RIGHTS, str(job.get("permissions")), f"{name}: permissions")
    scope = f"{place}/" if place else ""  # secrets for main are an environment's
    for step in job["steps"]:
        if "uses" in step:
            check_keys(step, "uses with if", name)
            use_action(name, step, stage, artifacts)
            continue
        check_keys(step, "run env", name)
        variables = content["env"] | step.get("env", {})
        for key, value in variables.items():
            given = passed.get(value, "") if passed is not None and "secrets." in value else value
            variables[key] = re.sub(SETTING, rf"${scope}\1", given)
            if asked := re.match(INPUT, value):
                look_up(inputs, asked[1], f"{name}: inputs")
                variables[key] = f"${asked[1].upper()}"
        stage.scripts.append((step["run"], variables))
    return stage


def use_action(name: str, step: dict[str, Any], stage: Stage, artifacts: Artifacts) -> None:
    """Note which files an action brings or keeps."""
    action, inputs = step["uses"].partition("@")[0], step["with"]
    if "secrets." in str(inputs) and (action, inputs.get("token")) != ("actions/checkout", TOKEN):
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
        case "actions/cache" if name != "update":  # it makes a run faster, and no other
            pass
        case _:
            raise Unknown(f"{name}: unknown {action}")

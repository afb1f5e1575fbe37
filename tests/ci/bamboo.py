"""Check a Bamboo specification and run it as an agent does: stage by stage, each job in a clone of its own.

Bamboo's own check needs a server. This one knows what bamboo.yaml uses and refuses the rest.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PLAN = set("version plan triggers branches other stages variables".split())
JOB = set("key requirements tasks final-tasks artifacts artifact-subscriptions other".split())
ARTIFACT, SUBSCRIPTION = set("name location pattern shared required".split()), {"artifact", "destination"}
SCRIPT = set("interpreter scripts conditions".split())
SECRET = re.compile(r"(?i)(password|secret|token|key)\w*=[\"']?(?!\$)[\w+/-]{8,}")


class Refused(Exception):
    """The specification holds what this runner or Bamboo does not know."""


@dataclass
class Run:
    """What is known of a run, and what came of each job."""

    branch: str
    variables: dict[str, str]
    approved: set[str]
    results: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)


def check_keys(found: dict[str, Any], known: set[str], where: str) -> None:
    """Raise Refused for a key that is unknown."""
    if unknown := set(found) - known:
        raise Refused(f"{where}: unknown key {', '.join(sorted(unknown))}")


def plans(text: str) -> dict[str, dict[str, Any]]:
    """Read a specification and check it; gives its plans by key."""
    if found := SECRET.search(text):
        raise Refused(f"a secret in clear text: {found[0].partition('=')[0]}")
    found = {}
    for plan in YAML(typ="safe", pure=True).load_all(text):
        if plan is None:
            continue
        stages = {name: stage for entry in plan["stages"] for name, stage in entry.items()}
        jobs = {name: job for name, job in plan.items() if name not in PLAN}
        used = [job for stage in stages.values() for job in stage["jobs"]]
        for name in used:
            if name not in jobs:
                raise Refused(f"stages: no job {name}")
        if unused := set(jobs) - set(used):
            raise Refused(f"plan: {', '.join(sorted(unused))} is neither a known key nor a job of a stage")
        for name, stage in stages.items():
            check_keys(stage, {"manual", "jobs"}, f"stage {name}")
        order, shared = {name: number for number, name in enumerate(used)}, {}
        for name in used:
            job = jobs[name]
            check_keys(job, JOB, name)
            for artifact in job.get("artifacts", []):
                check_keys(artifact, ARTIFACT, f"{name}: artifact")
                if artifact.get("shared"):
                    shared[artifact["name"]] = order[name]
            for wanted in job.get("artifact-subscriptions", []):
                check_keys(wanted, SUBSCRIPTION, f"{name}: subscription")
                if wanted["artifact"] not in shared:
                    raise Refused(f"{name}: no earlier job shares the artifact {wanted['artifact']}")
            for task in job["tasks"]:
                if task == "checkout":
                    continue
                if not isinstance(task, dict) or set(task) != {"script"}:
                    raise Refused(f"{name}: unknown task {task}")
                check_keys(task["script"], SCRIPT, f"{name}: script")
                for script in task["script"]["scripts"]:
                    if not str(script).startswith("set -eu\n"):
                        raise Refused(f"{name}: a script does not begin with set -eu, so that a failure is passed over")
                for condition in task["script"].get("conditions", []):
                    holds(name, condition, "")
        found[plan["plan"]["key"]] = plan
    return found


def holds(name: str, condition: dict[str, Any], branch: str) -> bool:
    """Say whether a task's condition holds."""
    wanted = condition.get("variable", {}).get("equals", {})
    if set(condition) != {"variable"} or set(wanted) != {"planRepository.branch"}:
        raise Refused(f"{name}: unknown condition {condition}")
    return bool(wanted["planRepository.branch"] == branch)


def execute(plan: dict[str, Any], origin: Path, commit: str, scratch: Path, run: Run, base: dict[str, str]) -> Run:
    """Run a plan's stages until one fails or waits for a person. base: the machine's environment variables."""
    for entry in plan["stages"]:
        ((name, stage),) = entry.items()
        if stage.get("manual") and name not in run.approved:
            run.results[name] = "waiting"
            return run
        for job in stage["jobs"]:
            run_job(job, plan[job], origin, commit, scratch, run, base)
        if any(run.results[job] == "failure" for job in stage["jobs"]):
            return run
    return run


def run_job(
    name: str, job: dict[str, Any], origin: Path, commit: str, scratch: Path, run: Run, base: dict[str, str]
) -> None:
    """Run one job's tasks, then its final tasks, then keep its artefacts."""
    folder = scratch / name
    folder.mkdir(parents=True)
    own = {
        "bamboo_shortJobName": name,
        "bamboo_planRepository_branch": run.branch,
        "bamboo_planRepository_repositoryUrl": str(origin),
    } | {f"bamboo_{key}": value for key, value in run.variables.items()}
    status, said = "skipped", ""
    for wanted in job.get("artifact-subscriptions", []):
        (folder / wanted["destination"]).mkdir(exist_ok=True)
        for file, content in run.artifacts.get(wanted["artifact"], []):
            (folder / wanted["destination"] / file).write_bytes(content)
    for task in job["tasks"]:
        if task == "checkout":
            subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
            subprocess.run(["git", "remote", "add", "origin", str(origin)], cwd=folder, check=True)
            subprocess.run(["git", "fetch", "--quiet", "origin"], cwd=folder, check=True)
            subprocess.run(["git", "checkout", "--quiet", "--detach", commit], cwd=folder, check=True)
            continue
        script = task["script"]
        if not all(holds(name, condition, run.branch) for condition in script.get("conditions", [])):
            continue
        for lines in script["scripts"]:
            done = subprocess.run(
                ["sh", "-c", lines],  # without -e, as Bamboo does
                cwd=folder,
                env=base | own,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                check=False,
            )
            said += done.stdout
            status = "failure" if done.returncode else "success"
        if status == "failure":
            break
    for task in job.get("final-tasks", []):
        ((kind, given),) = task.items()
        if kind != "test-parser" or given["type"] != "junit":
            raise Refused(f"{name}: unknown final task {kind}")
        if not all((folder / path).exists() for path in given["test-results"]):
            status, said = "failure", said + "Failing task since test cases were expected but none were found.\n"
    for artifact in job.get("artifacts", []):
        place = folder / artifact["location"]
        files = [path for path in sorted(place.glob("*")) if fnmatch(path.name, artifact["pattern"])]
        run.artifacts[artifact["name"]] = [(path.name, path.read_bytes()) for path in files]
    run.results[name], run.said[name] = status, said
    shutil.rmtree(folder)

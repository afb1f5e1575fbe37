"""Read Bamboo's plans."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from support.ci.stage import Stage, Unknown, check_keys, look_up

BAMBOO_TRIGGERS = {  # version, plan, trigger, and which branches get a plan of their own
    (2, "CI", "polling", "for-pull-request"): {"change", "main"},
    (2, "WATCH", "cron", "manually"): {"schedule", "hand"},
    (2, "RETRAIN", "manually"): {"hand"},
    (2, "DEPLOY", "manually"): {"hand"},
    (2, "ROLLBACK", "manually"): {"hand"},
    (2, "UPDATE", "cron", "manually"): {"schedule"},
}


def read_bamboo(path: Path) -> dict[str, Stage]:
    """Read Bamboo's plans."""
    everywhere = dict(re.findall(r"(\w+)=(\S+)", path.with_name("environment.sh").read_text(encoding="utf-8")))
    stages: dict[str, Stage] = {}
    for plan in YAML(typ="safe", pure=True).load_all(path):
        if plan is None:
            continue
        kinds = "version plan triggers branches variables other stages"
        triggers, branches = [name for trigger in plan["triggers"] for name in trigger], plan["branches"]["create"]
        when = look_up(BAMBOO_TRIGGERS, (plan["version"], plan["plan"]["key"], *triggers, branches), "plan")
        before: set[str] = set()
        shared: dict[str, set[str]] = {}
        for entry in plan["stages"]:
            ((title, group),) = entry.items()
            check_keys(group, "manual jobs", f"stage {title}")
            for name in group["jobs"]:
                job = look_up(plan, name, "stages: job")
                check_keys(job, "key requirements tasks final-tasks artifacts artifact-subscriptions", name)
                stage = stages[name] = Stage(when, group.get("manual", False), set(before))
                read_job(name, job, stage, everywhere, shared)
            before |= set(group["jobs"])
        check_keys(plan, f"{kinds} {' '.join(before)}", "plan")
    return stages


def read_job(
    name: str, job: dict[str, Any], stage: Stage, everywhere: dict[str, str], shared: dict[str, set[str]]
) -> None:
    """Read a job of Bamboo into its stage."""
    key = name.replace("-", "").upper()
    if (job["key"], job["requirements"], job["tasks"][0]) != (key, ["mlops"], "checkout"):
        raise Unknown(f"{name}: no key, no agent of ours, or no checkout")
    for subscription in job.get("artifact-subscriptions", []):
        paths = look_up(shared, subscription["artifact"], f"{name}: artifact")
        stage.take(paths, subscription["destination"])
    for task in job["tasks"][1:]:
        check_keys(task, "script", name)
        check_keys(task["script"], "interpreter scripts conditions", f"{name}: script")
        look_up({"SHELL": "sh"}, task["script"]["interpreter"], f"{name}: interpreter")
        for condition in task["script"].get("conditions", []):
            if condition != {"variable": {"equals": {"planRepository.branch": "main"}}}:
                raise Unknown(f"{name}: unknown condition {condition}")
            stage.when = stage.when & {"main"}
        for script in task["script"]["scripts"]:
            if not script.startswith("set -eu\n. bamboo-specs/environment.sh\n"):
                raise Unknown(f"{name}: a script does not begin with set -eu, so that a failure is passed over")
            if re.search(r"^make", script, re.MULTILINE):
                raise Unknown(f"{name}: no timeout")
            exports = re.findall(r'^export (\w+)="\$\{bamboo_(\w+):-\}"$', script, re.MULTILINE)
            stage.scripts.append((script, everywhere | {variable: f"${setting}" for variable, setting in exports}))
            stage.pushes |= 'git remote set-url origin "$bamboo_planRepository_repositoryUrl"' in script
    for task in job.get("final-tasks", []):
        check_keys(task, "test-parser", name)
        look_up({"junit": "XML"}, task["test-parser"]["type"], f"{name}: test-parser")
        stage.keeps |= set(task["test-parser"]["test-results"])
    for artifact in job.get("artifacts", []):
        check_keys(artifact, "name location pattern shared", name)
        path = f"{artifact['location']}/{artifact['pattern']}"
        stage.keeps.add(path)
        if artifact.get("shared"):
            shared[artifact["name"]] = {path}

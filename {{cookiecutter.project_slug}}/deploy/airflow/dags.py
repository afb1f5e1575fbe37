"""Two DAGs for Airflow 3: the pipeline, which ends at the gate, and a daily look at the model, which may retrain it.

The pipeline is read from dvc.yaml: a stage is a task, and an edge is there where one reads what another writes. Tasks
run the project's own commands; nothing of the project is imported here.
"""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from posixpath import join, normpath
from typing import Any

import httpx
import yaml
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, BaseOperator, Param

PROJECT = "{{ cookiecutter.project_slug }}"
ROOT = Path(__file__).resolve().parents[2]
MONITOR_AT = "0 5 * * *"  # UTC
RETRY_AFTER = timedelta(minutes=5)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of DVC's with each value as text, since PyYAML takes a stage called `on` for true."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506  makes nothing but texts


def read_stages(root: Path) -> dict[str, set[str]]:
    """Give each stage of dvc.yaml with those that it needs: DVC's own edges.

    Raises ValueError for a stage that stands for several.
    """
    params, stages = read_yaml(root / "params.yaml"), read_yaml(root / "dvc.yaml")["stages"]

    def value(found: re.Match[str]) -> str:
        inside: Any = params
        for name in found[1].split("."):
            inside = inside.get(name) if isinstance(inside, dict) else None
        return inside if isinstance(inside, str) else found[0]

    def paths(stage: dict[str, Any], entries: list[Any]) -> set[PurePosixPath]:
        names = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]  # or {path: options}
        names = [re.sub(r"\$\{([\w.]+)\}", value, name) for name in names]
        return {PurePosixPath(normpath(join(stage.get("wdir", "."), name))) for name in names}

    reads, writes = {}, {}
    for name, stage in stages.items():
        if several := {"foreach", "matrix"} & stage.keys():
            raise ValueError(f"dvc.yaml: {name} uses {several.pop()}, which the DAG does not read; list its stages.")
        files = [entry for entry in stage.get("params", []) if isinstance(entry, dict)]  # others than params.yaml
        reads[name] = paths(stage, stage.get("deps", []) + files)
        writes[name] = paths(stage, [path for kind in ("outs", "metrics", "plots") for path in stage.get(kind, [])])

    def overlap(reader: str, writer: str) -> bool:
        pairs = [(a, b) for a in reads[reader] for b in writes[writer]]
        return any(a.is_relative_to(b) or b.is_relative_to(a) for a, b in pairs)

    return {name: {other for other in stages if overlap(name, other)} for name in stages}


def tell(context: Any) -> None:
    """Say in a sentence what failed: in the log and, where ALERT_WEBHOOK is set, in a chat."""
    task = context["task_instance"]
    sentence = f"{task.dag_id}: the task {task.task_id} failed in the run {task.run_id}."
    print(sentence)
    if webhook := os.environ.get("ALERT_WEBHOOK"):
        httpx.post(webhook, json={"text": sentence}, timeout=10).raise_for_status()


def run(name: str, *words: str, **options: Any) -> BaseOperator:
    """Make the task that does a verb of the project, in this checkout with its own environment."""
{%- if cookiecutter.deployment != "server" %}
    if image := os.environ.get("PIPELINE_IMAGE"):  # in the CronJobs' pod instead, whose entry is deploy/pipeline.sh
        from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

        job = yaml.safe_load((ROOT / "deploy/kubernetes/base/pipeline_pod.yaml").read_text(encoding="utf-8"))
        pod = job["spec"]["jobTemplate"]["spec"]["template"]
        return KubernetesPodOperator(
            task_id=name,
            namespace=os.environ.get("PIPELINE_NAMESPACE", f"{PROJECT}-production"),
            image=image,
            labels={"app.kubernetes.io/name": PROJECT},  # which the network policies ask for
            arguments=[*words, "--propose"] if name == "retrain" else list(words),  # a person merges what comes of it
            env_vars={"NOTHING_DONE": "99"},
            skip_on_exit_code=99,
            base_container_name=pod["spec"]["containers"][0]["name"],
            pod_template_dict={"apiVersion": "v1", "kind": "Pod", **pod},
            **options,
        )
{%- endif %}
    command = " ".join(["sh deploy/airflow/task.sh", *(f'"{word}"' for word in words)])
    return BashOperator(task_id=name, bash_command=command, cwd=str(ROOT), **options)


# Airflow fills in what stands in double braces here, at each run.{% raw %}
EVERY_DAG: dict[str, Any] = {
    "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    "catchup": False,
    "max_active_runs": 1,
    "max_active_tasks": 1,  # a workspace of DVC's runs one stage at a time
    "doc_md": __doc__,
    "tags": [PROJECT],
    "default_args": {
        "retries": 1,
        "retry_delay": RETRY_AFTER,
        "execution_timeout": timedelta(hours=4),
        "on_failure_callback": tell,
    },
}

with DAG(
    f"{PROJECT}-pipeline",
    description="The stages of dvc.yaml, then release",
    schedule=None,
    params={"force": Param(False, type="boolean", description="Run the stages that are up to date as well")},
    **EVERY_DAG,
):
    stages = read_stages(ROOT)
    tasks = {name: run(name, "stage", name, "{{ '--force' if params.force else '' }}") for name in stages}
    for name, needed in stages.items():
        tasks[name].set_upstream([tasks[other] for other in sorted(needed)])
    last = [task for name, task in tasks.items() if not any(name in needed for needed in stages.values())]
    release = run("release", "release", "{{ run_id }}", retries=0)  # a gate that says no says so again
    release.set_upstream(last)

with DAG(
    f"{PROJECT}-monitor-retrain",
    description="Look at the champion's last 30 days; where that alerts, retrain",
    schedule=MONITOR_AT,
    params={
        "until": Param(
            "",
            type="string",
            pattern=r"^[0-9T:.+-]*$",
            description="Retrain with the rows before this time, such as 2027-01-31; empty: as params.yaml says",
        )
    },
    **EVERY_DAG,
):
    # The 30 days before the run's own time, also where it is late or repeated. A manual run has that one time alone; in
    # full: what came in the same second counts.
    monitor = run("monitor", "monitor", "--until", "{{ dag_run.run_after.isoformat() }}")
    # What monitor came to is its last line in this checkout; a pod hands on nothing, so retrain looks itself.
    found = "{{ ti.xcom_pull('monitor') or '--if-alert' }}"
    run("retrain", "retrain", found, "--until", "{{ params.until }}", retries=0).set_upstream(monitor){% endraw %}

"""Read GitLab's pipeline."""

from pathlib import Path

from ruamel.yaml import YAML

from support.ci.stage import Stage, Unknown, asked_in, check_keys, look_up

GITLAB_CHANGE = '$CI_PIPELINE_SOURCE == "merge_request_event" || $CI_PIPELINE_SOURCE == "schedule"'
GITLAB_MAIN = "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"
GITLAB_WHEN = {
    '$CI_PIPELINE_SOURCE != "schedule"': {"change", "main"},
    '$CI_PIPELINE_SOURCE != "schedule" && $VERB == ""': {"change", "main"},
    f'$CI_PIPELINE_SOURCE != "schedule" && $VERB == "" && {GITLAB_MAIN}': {"main"},
    f'{GITLAB_MAIN} && ($CI_PIPELINE_SOURCE == "schedule" || $VERB == NAME)': {"schedule", "hand"},
    f"{GITLAB_MAIN} && $VERB == NAME": {"hand"},
    f'{GITLAB_MAIN} && $CI_PIPELINE_SOURCE == "schedule"': {"schedule"},
}
GITLAB_JOB = (
    "stage extends needs rules script before_script variables environment artifacts cache timeout resource_group "
    "interruptible"
)


def read_gitlab(path: Path) -> dict[str, Stage]:
    """Read GitLab's pipeline. Its settings say which jobs see which secret; of these, the file has an environment's."""
    content = YAML(typ="safe", pure=True).load(path)
    order, default = content.pop("stages"), content.pop("default")
    check_keys(default, "image interruptible timeout cache", "default")
    if [rule["if"] for rule in content.pop("workflow")["rules"]] != [GITLAB_CHANGE, GITLAB_MAIN]:
        raise Unknown("workflow: other pipelines than a change's, main's and the schedule's")
    everywhere = {name: value for name, value in content.pop("variables").items() if "$" not in value}
    asked = {name: everywhere.pop(name) for name in list(everywhere) if isinstance(everywhere[name], dict)}
    stages: dict[str, Stage] = {}
    place: dict[str, int] = {}
    for key, own in content.items():
        if key.startswith("."):
            continue
        job = look_up(content, own["extends"], f"{key}: extends") | own
        check_keys(job, GITLAB_JOB, key)
        name = "image" if key == "build-image" else key  # to GitLab, image is a keyword
        (rule,) = job["rules"]
        if rule.get("when", "manual") != "manual":
            raise Unknown(f"{name}: unknown when: {rule['when']}")
        stage = stages[name] = Stage(
            look_up(GITLAB_WHEN, rule["if"].replace(f'"{name}"', "NAME"), name), "when" in rule
        )
        if "hand" in stage.when and name not in asked["VERB"]["options"]:
            raise Unknown(f"{name}: nobody can choose it")
        if job["stage"] not in order:
            raise Unknown(f"{name}: unknown stage {job['stage']}")
        place[name] = order.index(job["stage"])
        if job.get("cache", default["cache"]) != ([] if name == "update" else default["cache"]):
            raise Unknown(f"{name}: a cache of other jobs, or none")
        variables = everywhere | job.get("variables", {})
        if "environment" in job:  # the scope of a secret; the settings of production name who may deploy there
            scope = job["environment"]["name"].replace("$ENVIRONMENT", name)
            variables["DEPLOY_ACCESS"] = f"${scope}/DEPLOY_ACCESS"
            stage.person |= scope == "deploy"
        variables |= asked_in("\n".join(job["script"]), asked, name)
        stage.scripts = [(line, variables) for line in job.get("before_script", [])]
        stage.scripts.append(("\n".join(job["script"]), variables))  # one shell runs them
        artifacts = job.get("artifacts", {})
        check_keys(artifacts, "when expose_as paths reports expire_in", name)
        stage.keeps = {*artifacts.get("paths", []), *artifacts.get("reports", {}).values()}
    for name, stage in stages.items():
        own = content.get(name, {}).get("needs")
        stage.needs = set(own or (other for other in stages if place[other] < place[name]))
        stage.takes = {path for other in stage.needs for path in stages[other].keeps}
    return stages

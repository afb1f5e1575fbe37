"""Read each CI provider's file into the same table: stage -> needs, when it runs, scripts with their variables, files.

The readers know what our files use and raise Unknown for the rest, which could change what runs when.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FILES = {
    "github": ".github/workflows/ci.yml",
    "gitlab": ".gitlab-ci.yml",
    "jenkins": "Jenkinsfile",
    "bamboo": "bamboo-specs/bamboo.yaml",
}


class Unknown(Exception):
    """The file holds what neither its reader nor the provider knows."""


@dataclass
class Stage:
    """A job of a pipeline, whatever its provider calls it."""

    when: set[str]  # of change, main, schedule, hand
    person: bool = False  # it waits for a person's yes
    needs: set[str] = field(default_factory=set)  # the stages that have to succeed before it
    scripts: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # and variables; $NAME is a setting's value
    keeps: set[str] = field(default_factory=set)  # files
    takes: set[str] = field(default_factory=set)  # files of an earlier stage that its scripts read
    pushes: bool = False  # it may push a branch

    def keep(self, paths: set[str]) -> None:
        """Keep files that a script has written."""
        if not self.scripts:
            raise Unknown(f"{', '.join(sorted(paths))} would be kept before a script has written it")
        self.keeps |= paths

    def take(self, paths: set[str], folder: str = "") -> None:
        """Take files of an earlier stage, which come to a folder, before a script reads them."""
        if self.scripts or (folder and any(folder != path.rpartition("/")[0] for path in paths)):
            raise Unknown(f"{', '.join(sorted(paths))} would come too late, or to another folder")
        self.takes |= paths

    def calls(self) -> list[str]:
        """List the arguments of each line that calls make."""
        lines = "\n".join(script for script, _ in self.scripts)
        return re.findall(r"^\s*(?:timeout \d+[mh] )?make (.+)$", lines, re.MULTILINE)

    def variables(self) -> dict[str, str]:
        """Give the variables of all scripts together."""
        return {name: value for _, variables in self.scripts for name, value in variables.items()}


def read(provider: str, folder: Path) -> dict[str, Stage]:
    """Read the pipeline of a repository."""
    reader = {"github": read_github, "gitlab": read_gitlab, "jenkins": read_jenkins, "bamboo": read_bamboo}[provider]
    try:
        stages = reader(folder / FILES[provider])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unknown(f"something is missing or has another form: {error!r}") from error
    for stage in stages.values():  # a stage waits only for those that its kind of pipeline has
        stage.needs = {name for name in stage.needs if stages[name].when & stage.when}
        stage.takes = {path for path in stage.takes if any(is_read(path, script) for script, _ in stage.scripts)}
    return stages


def is_read(path: str, script: str) -> bool:
    """Say whether a script reads a file: it names it, or calls the verb that does."""
    return path in script or (path == "reports/update.bundle" and "make propose" in script)


def check_keys(content: dict[str, Any], known: str, where: str) -> None:
    """Raise Unknown for a key that is not known."""
    if unknown := set(content) - set(known.split()):
        raise Unknown(f"{where}: unknown {', '.join(sorted(map(str, unknown)))}")


def look_up(known: dict[Any, Any], value: Any, where: str) -> Any:
    """Give what a value means; Unknown where it is not known."""
    if value not in known:
        raise Unknown(f"{where}: unknown {value}")
    return known[value]


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


GITLAB_CHANGE = '$CI_PIPELINE_SOURCE == "merge_request_event" || $CI_PIPELINE_SOURCE == "schedule"'
GITLAB_MAIN = "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"
GITLAB_WHEN = {
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


def asked_in(script: str, asked: Iterable[str], where: str) -> dict[str, str]:
    """Give the variables of a script, as "$NAME" in it, whose values are asked of who starts it by hand."""
    names = {name for name in re.findall(r'"\$(\w+)"', script) if name.isupper()}
    return {name: f"${name}" for name in names if look_up(dict.fromkeys(asked, True), name, f"{where}: variable")}


JENKINS_WHEN = {
    "": {"change", "main", "schedule", "hand"},
    "not triggeredBy 'TimerTrigger', expression !params.VERB": {"change", "main"},
    "branch 'main', not triggeredBy 'TimerTrigger', expression !params.VERB": {"main"},
    "branch 'main', anyOf triggeredBy 'TimerTrigger', anyOf expression params.VERB == NAME": {"schedule", "hand"},
    "branch 'main', expression params.VERB == NAME": {"hand"},
    "triggeredBy 'TimerTrigger'": {"schedule"},
}
TEXT = r"'[^'\\$]*'"
JENKINS_ACCESS = '"DEPLOY_ACCESS_${params.ENVIRONMENT.toUpperCase()}"'
SCRIPT = r"""'([^'\\$]|"\$[A-Z]+")*'"""
JENKINS = {  # which lines, as regular expressions, a block may have; it is known by the first word of its head
    "": ["pipeline", r"def deployTo\(String environment\)"],
    "pipeline": ["agent none", "triggers", "parameters", "options", "environment", "stages"],
    "parameters": [
        rf"choice\(name: {TEXT}, choices: \[({TEXT}(, )?)+\], description: {TEXT}\)",
        rf"string\(name: {TEXT}, defaultValue: '', description: {TEXT}\)",
    ],
    "triggers": [r"cron\(env\.BRANCH_NAME == 'main' \? 'H 3 \* \* \*' : ''\)"],
    "options": [
        r"timeout\(time: \d+, unit: '(MINUTES|HOURS|DAYS)'\)",
        r"buildDiscarder\(logRotator\(numToKeepStr: '\d+'\)\)",
        r"lock\('delivery'\)",
    ],
    "environment": [rf"\w+ = {TEXT}", r"\w+ = credentials\('\w+'\)"],
    "stages": [r"stage\('[\w-]+'\)"],
    "parallel": [r"stage\('[\w-]+'\)"],
    "stage": ["agent", "when", "options", "environment", "input", "stages", "parallel", "steps", "post"],
    "agent": ["label 'mlops'"],
    "when": [
        "beforeAgent true",
        "beforeInput true",
        "branch 'main'",
        "triggeredBy 'TimerTrigger'",
        "not",
        "anyOf",
        "expression",
    ],
    "not": ["triggeredBy 'TimerTrigger'"],
    "anyOf": ["triggeredBy 'TimerTrigger'", "expression"],
    "expression": ["!params.VERB", r"params.VERB == '[\w-]+'"],
    "input": [f"message {TEXT}", f"ok {TEXT}", "submitter 'maintainers'"],
    "steps": [
        f"sh {SCRIPT}",
        r"deployTo '\w+'",
        f"archiveArtifacts artifacts: {TEXT}",
        f"stash name: {TEXT}, includes: {TEXT}",
        r"lock\('production'\)",
        r"withCredentials\(\[gitUsernamePassword\(credentialsId: 'GIT_PUSH'\)\]\)",
        rf"withCredentials\(\[string\(credentialsId: {re.escape(JENKINS_ACCESS)}, variable: 'DEPLOY_ACCESS'\)\]\)",
        r"deleteDir\(\)",
        "checkout scm",
        f"unstash {TEXT}",
    ],
    "lock": [r"deployTo '\w+'"],
    "withCredentials": [f"sh {SCRIPT}"],
    "post": ["always"],
    "always": [f"junit {TEXT}", f"archiveArtifacts artifacts: {TEXT}, allowEmptyArchive: true"],
    "def": [f"unstash {TEXT}", 'sh """'],
}


def parse_jenkins(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield the lines of a Jenkinsfile, each with the heads of the blocks that it is in, which end with a line `}`."""
    text = re.sub(r"(^|\s+)//.*", "", text, flags=re.MULTILINE)
    lines = iter(re.sub(r"^ *(\w+) \{ (.+) \}$", r"\1 {\n\2\n}", text, flags=re.MULTILINE).splitlines())
    heads: list[str] = []
    earlier = []
    for line in filter(None, map(str.strip, lines)):
        if line == "}" and heads:
            heads.pop()
            continue
        at, head = list(heads), line.removesuffix(" {")
        block = at[-1] if at else ""
        if (at, head) in earlier or not any(re.fullmatch(known, head) for known in JENKINS[re.split(r"\W", block)[0]]):
            raise Unknown(f"{block or 'Jenkinsfile'}: unknown {head}")
        earlier.append((at, head))
        if line != head:
            heads.append(head)
        elif line.endswith('"""'):
            yield at, "\n".join([line, *iter(lambda: next(lines, '"""').strip(), '"""')])
        else:
            yield at, line
    if heads:
        raise Unknown(f"{heads[-1]}: the block does not end")


def read_jenkins(path: Path) -> dict[str, Stage]:
    """Read a declarative Jenkinsfile."""
    lines = list(parse_jenkins(path.read_text(encoding="utf-8")))

    def under(*heads: str) -> list[str]:
        """List the lines in a block, each with what else it is in."""
        return [" ".join([*at[len(heads) :], line]) for at, line in lines if at[: len(heads)] == list(heads)]

    if "agent none" not in under("pipeline"):
        raise Unknown("pipeline: no agent")
    stages: dict[str, Stage] = {}
    homes: dict[str, list[str]] = {}
    asked = {quoted(line)[0]: quoted(line) for line in under("pipeline", "parameters")}
    variables: dict[str, str] = {}
    stashes: dict[str, set[str]] = {}
    for at, line in lines:
        if not {"steps", "post"} & set(at):
            continue
        home = at[: at.index("steps" if "steps" in at else "post")]
        (name,) = quoted(home[-1])
        if name not in stages:  # begin with what it and the blocks around it say
            stage = stages[name] = Stage(
                {"change", "main"}
                | ({"schedule"} if under("pipeline", "triggers") else set())
                | ({"hand"} if name in asked.get("VERB", []) else set())
            )
            stage.needs = {other for other in homes if common(homes[other], home)[-1] != "parallel"}
            stage.person = bool(under(*home, "input"))
            homes[name] = home
            variables, agents = {}, []
            for block in (home[: length + 1] for length in range(len(home))):
                words = [word for word in under(*block, "when") if not word.startswith("before")]
                stage.when &= look_up(JENKINS_WHEN, ", ".join(words).replace(f"== '{name}'", "== NAME"), block[-1])
                agents += under(*block, "agent")
                for value in under(*block, "environment"):
                    variables[value.split()[0]] = "$" * ("credentials(" in value) + quoted(value)[0]
            if not agents or not any(word.startswith("timeout") for word in under(*home, "options")):
                raise Unknown(f"{name}: no agent or no timeout")
            if stage.person and not {"when beforeInput true", "input submitter 'maintainers'"} <= {*under(*home)}:
                raise Unknown(f"{name}: anybody may approve, or is asked before the condition is known")
        for step in under("def deployTo(String environment)") if line.startswith("deployTo") else [line]:
            match step.split()[0]:
                case "sh":
                    script = jenkins_script(step, line)
                    if JENKINS_ACCESS in " ".join(at):
                        variables["DEPLOY_ACCESS"] = f"$DEPLOY_ACCESS_{name.upper()}"
                    variables |= asked_in(script, asked, name)
                    stages[name].scripts.append((script, variables))
                    stages[name].pushes |= "GIT_PUSH" in " ".join(at)
                case "junit" | "archiveArtifacts":
                    stages[name].keep(set(quoted(step)[0].split(",")))
                case "stash":
                    stashes[quoted(step)[0]] = {quoted(step)[1]}
                case "unstash":
                    stages[name].take(look_up(stashes, quoted(step)[0], f"{name}: stash"))
    return stages


def jenkins_script(step: str, call: str) -> str:
    """Give the script of a step: one in three quotes is deployTo's, in which Groovy fills in the name."""
    if not step.startswith('sh """'):
        return quoted(step)[0]
    script = step.removeprefix('sh """\n').replace("$environment", quoted(call)[0])
    if re.search(r"(?<!\\)\$|\\(?!\$)", script):
        raise Unknown(f"deployTo: unknown $ or \\ in {script}")
    return script.replace("\\$", "$")


def common(one: list[str], other: list[str]) -> list[str]:
    """List the blocks that two stages are both in, from the outermost."""
    return [a for a, b in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))]


def quoted(line: str) -> list[str]:
    """List the texts in quotes."""
    return re.findall("'([^']*)'", line)


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

"""Read a declarative Jenkinsfile."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from support.ci.stage import Stage, Unknown, asked_in, look_up

JENKINS_WHEN = {
    "": {"change", "main", "schedule", "hand"},
    "not triggeredBy 'TimerTrigger', expression !params.VERB": {"change", "main"},
    "not triggeredBy 'TimerTrigger'": {"change", "main"},
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

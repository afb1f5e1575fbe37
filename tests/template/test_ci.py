"""Four providers, one pipeline: each file keeps to its schema and linters, and has the stages of docs/ci.md."""

import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML, YAMLError

from support.ci import FILES, Unknown, list_files, read
from support.ci.faults import FAULTS
from support.repository import Repository

BIN = Path(sys.executable).parent
TABLE = """
| check | a change, and main | `make check` | |
| test | a change, and main | `make login fetch test TESTS="tests/unit tests/model"` | `DVC_CONFIG` |
| pipeline | a change, and main | `make login fetch verify compare`, `make gate` | `DVC_CONFIG`, `MLFLOW_TRACKING_URI` |
| system | a change, and main | `make login fetch test TESTS="tests/pipeline tests/system"` | `DVC_CONFIG` |
| release | main | `make login fetch release` | `DVC_CONFIG`, `MLFLOW_TRACKING_URI` |
| image | main | `make login image push` | `MLFLOW_TRACKING_URI`, `REGISTRY_PASSWORD`, `REGISTRY_USER` |
| staging | main | `make login deploy ENV=staging DIGEST=...` | `DEPLOY_ACCESS`, `MLFLOW_TRACKING_URI` |
| production | main, when a person approves | `make login deploy ENV=production DIGEST=...` | `DEPLOY_ACCESS`, `MLFLOW_TRACKING_URI` |
| monitor | every night, or by hand | `make monitor` | `DATABASE_URL`, `MLFLOW_TRACKING_URI` |
| retrain | every night, or by hand | `make login fetch retrain RETRAIN="--if-alert --propose"` | `DATABASE_URL`, `DVC_CONFIG`, `MLFLOW_TRACKING_URI` |
| audit | every night, or by hand | `make audit` | `MLFLOW_TRACKING_URI` |
| update | every night | `make update PROPOSE=1` | |
| propose | every night | `make propose` | |
| retrain-now | by hand | `make login fetch retrain RETRAIN=--propose` | `DATABASE_URL`, `DVC_CONFIG`, `MLFLOW_TRACKING_URI` |
| deploy | by hand, when a person approves | `make login deploy ENV=... DIGEST=...` | `DEPLOY_ACCESS`, `MLFLOW_TRACKING_URI` |
| rollback | by hand | `make rollback VERSION=... REASON=...` | `MLFLOW_TRACKING_URI` |
""".strip().split("\n")  # noqa: E501  as in docs/ci.md
ROOM = dict.fromkeys("system release rollback".split(), "release")  # which room a stage belongs to, if not to all
ROOM |= dict.fromkeys("image staging production audit deploy".split(), "delivery")
ROOM |= dict.fromkeys("monitor retrain retrain-now".split(), "monitoring")
WHEN = {
    "a change, and main": {"change", "main"},
    "main": {"main"},
    "main, when a person approves": {"main"},
    "every night": {"schedule"},
    "every night, or by hand": {"schedule", "hand"},
    "by hand": {"hand"},
    "by hand, when a person approves": {"hand"},
}
KEEPS = {
    "test": {"reports/tests.xml"},
    "pipeline": {"reports/report.html", "reports/comparison.md"},
    "system": {"reports/tests.xml"},
    "release": {"reports/release.html", "docs/*_card.md"},
    "image": {"reports/service.digest", "reports/service.cdx.json"},
    "monitor": {"reports/monitoring.html"},
    "update": {"reports/update.bundle"},
}
TAKES = {"propose": {"reports/update.bundle"}} | {
    name: {"reports/service.digest"} for name in ("staging", "production")
}
NEEDS_AT_NIGHT = {"propose": {"update"}}
SECRETS = sorted(set(re.findall("`([A-Z_]+)`", "".join(TABLE))))
EVERYWHERE = {"UV_LOCKED": "1"} | {
    f"GIT_{who}_{what}": text
    for who in ("AUTHOR", "COMMITTER")
    for what, text in [("NAME", "CI"), ("EMAIL", "ci@example.com")]
}
OWN = {  # GitHub and GitLab set CI themselves; GitLab is told to fetch the history, which the comparison needs
    "github": {},
    "gitlab": {"GIT_DEPTH": "0"},
    "jenkins": {"CI": "true"},
    "bamboo": {"CI": "true"},
}


def table_of(repository: Repository) -> list[str]:
    """Give the rows of the table that the rooms of a repository bring."""
    rows = [row for row in TABLE if not ROOM.get(row.split()[1]) or has_room(repository, ROOM[row.split()[1]])]
    if not has_room(repository, "release"):
        rows = [row.replace(' TESTS="tests/unit tests/model"', "").replace(", `make gate`", "") for row in rows]
    return rows


def has_room(repository: Repository, name: str) -> bool:
    return (repository.path / "src/modelcycle" / name).exists()


def expected(provider: str, row: str, stages: list[str]) -> dict[str, object]:
    """Say what a row of the table means at a provider: of a variable's value, `$NAME` is the setting that holds it."""
    stage, when, calls, secrets = [cell.strip() for cell in row.split("|")[1:-1]]
    names = re.findall(r"\w+", secrets)
    deploys = "DEPLOY_ACCESS" in names
    plain = ["DEPLOY_HOST", "SSH_KNOWN_HOSTS"] if deploys else ["AUDIT_DATABASE"] if stage == "audit" else []
    by_hand = "hand" in WHEN[when]
    filled = re.sub(r"(\w+)=\.\.\.", r'\1="$\1"', calls).replace("$ENV", "$ENVIRONMENT")  # asked of a person
    calls = filled if by_hand else calls.replace("...", '"$digest"')
    of_change = "change" in WHEN[when]  # what a change may read; main's secrets have the right to write
    variables = EVERYWHERE | OWN[provider]
    if provider == "github":  # secrets for main are those of an environment
        scope = "" if of_change else f"{stage if deploys else 'release'}/"
        variables |= {name: f"${scope}{name}" for name in [*names, *plain]}
        variables |= {"GH_TOKEN": f"${scope}UPDATE_TOKEN"} if stage == "propose" else {}
    elif provider == "gitlab":  # its settings say which jobs see which secret; the file says the environment
        variables |= {name: f"${stage}/{name}" for name in names if name == "DEPLOY_ACCESS"}
        variables |= {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"} if stage == "image" else {}
    elif provider == "jenkins":
        other = {"DEPLOY_ACCESS": f"DEPLOY_ACCESS_{stage.upper()}"}
        other |= {} if of_change else {"MLFLOW_TRACKING_URI": "MLFLOW_TRACKING_URI_RELEASE"}
        variables |= {name: f"${other.get(name, name)}" for name in names}
    else:  # Bamboo masks what has SECRET or PASSWORD in its name
        other = {name: name for name in ["REGISTRY_USER", "REGISTRY_PASSWORD", *plain]}
        other |= {"DEPLOY_ACCESS": f"DEPLOY_ACCESS_{'STAGING' if by_hand else stage.upper()}_SECRET"}
        variables |= {name: f"${other.get(name, f'{name}_SECRET')}" for name in [*names, *plain]}
    variables |= {name: f"${name}" for name in re.findall(r'"\$([A-Z]+)"', calls)}
    return {
        "when": WHEN[when],
        "person": "person" in when and not (by_hand and provider == "bamboo"),  # there, who may build that plan
        "needs": set(stages[: stages.index(stage)]) if "main" in WHEN[when] else NEEDS_AT_NIGHT.get(stage, set()),
        "calls": re.findall("`make (.+?)`", calls),
        "variables": variables,
        "keeps": KEEPS.get(stage, set()),
        "takes": TAKES.get(stage, set()),
        "pushes": stage in ("retrain", "retrain-now", "propose") and provider != "gitlab",  # there by a setting
    }


def complaints(provider: str, folder: Path, table: list[str] = TABLE) -> Iterator[str]:
    """Yield what is wrong with the pipeline of a repository, and who says so."""
    names = [row.split()[1] for row in table]
    paths = list_files(provider, folder)
    texts = [path.read_text(encoding="utf-8") for path in paths]
    clear_text = r"(?i)\b\w*(?:password|secret|token)\w*['\"]?\s*[:=] *['\"]?(?!\$|credentials)[\w+/.-]{6,}"
    yield from (f"secrets: a secret in clear text: {name}" for text in texts for name in re.findall(clear_text, text))
    yaml = YAML(typ="safe", pure=True)
    try:
        documents = [document for text in texts for document in yaml.load_all(text)] if provider != "jenkins" else []
    except YAMLError as error:
        yield f"yaml: {error}"
        return
    wrong = [error for document in documents if document for error in schema_errors(provider, document)]
    yield from wrong
    if wrong:
        return
    try:
        stages = read(provider, folder)
    except Unknown as error:
        yield f"reader: {error}"
    else:
        stages.pop("pages", None)  # GitLab's alone; production waits for it as well
        if sorted(stages) != sorted(names):
            yield f"table: the stages are {', '.join(stages)}"
        for row in table:
            if stage := stages.get(row.split()[1]):
                actual = vars(stage) | {"calls": stage.calls(), "variables": stage.variables()}
                actual["needs"] = stage.needs - {"pages"}
                for column, value in expected(provider, row, names).items():
                    if actual[column] != value:
                        yield f"table: {row.split()[1]}: {column}: {actual[column]}, expected {value}"
        scripts = [(name, script) for name, stage in stages.items() for script, _ in stage.scripts]
        for name, script in scripts:
            lines = re.sub(r"^ *export \w+=.*", "", script, flags=re.MULTILINE)  # Bamboo's way to pass one on
            yield from (f"secrets: {name}: {secret} is in a script" for secret in SECRETS if secret in lines)
        whole = "\n".join(f"(\n{script}\n)" for _, script in scripts)
        head = "export bamboo_planRepository_repositoryUrl=\n"  # by Bamboo
        yield from run(
            "shellcheck", "--norc", "--shell=sh", "--exclude=SC1091,SC2030,SC2031,SC2153", "-", text=head + whole
        )
    if provider == "github":
        yield from run("zizmor", "--offline", "--no-progress", "--min-severity", "low", *map(str, paths))


def schema_errors(provider: str, document: object) -> Iterator[str]:
    """Yield what a schema has against a document, down to the last of its alternatives."""
    from check_jsonschema.builtin_schemas import get_builtin_schema  # takes two seconds, in each process at its start
    from jsonschema.validators import validator_for

    names = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci", "bamboo": "vendor.bamboo-spec"}
    schema = get_builtin_schema(names[provider])
    errors = list(validator_for(schema)(schema).iter_errors(document))
    for error in errors:
        yield f"schema: {error.json_path}: {error.message}"
        errors += error.context


def run(name: str, *arguments: str, text: str = "") -> Iterator[str]:
    """Yield a linter's output where it found something."""
    command = [BIN / name, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        yield f"{name}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def bakes(bake: Callable[..., Repository]) -> dict[str, Repository]:
    """A repository for each provider."""
    return {provider: bake(ci_provider=provider) for provider in FILES}


@pytest.fixture(params=FILES)
def provider(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("rooms", [{}, {"deployment": "none"}, {"scope": "exploration"}], ids=str)
def test_each_provider_does_what_the_table_in_its_docs_says(bake, provider, rooms):
    repository = bake(ci_provider=provider, **rooms)
    table = table_of(repository)
    assert list(complaints(provider, repository.path, table)) == []
    lines = repository.read("docs/ci.md").partition("| stage |")[2].split("\n")[2:]
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    assert ["|".join(row.split("|")[:5]) + "|" for row in rows] == table


KINDS = {"syntax", "key", "need", "step", "order", "artefact", "condition", "approval", "secret", "script"}


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name, faults in FAULTS.items() for fault in faults])
def test_a_planted_fault_is_found(bakes, tmp_path, name, fault):
    _, right, wrong, message = fault
    source = bakes[name].path
    for path in [*list_files(name, source), *source.glob("bamboo-specs/*.sh")]:
        (tmp_path / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(source))
    texts = {path: path.read_text(encoding="utf-8") for path in list_files(name, tmp_path)}
    path = next(path for path, text in texts.items() if right in text)
    path.write_text(texts[path].replace(right, wrong, 1), encoding="utf-8")
    output = ""
    for complaint in complaints(name, tmp_path):
        output += f"{complaint}\n"
        if message in complaint:
            break
    assert message in output, f"{wrong!r} in the place of {right!r} gives {output!r} without {message!r}"


def test_faults_of_all_kinds_are_planted_for_each_provider():
    missing = {name: KINDS - {kind for kind, *_ in faults} for name, faults in FAULTS.items()}
    assert missing == {name: set() for name in FILES}

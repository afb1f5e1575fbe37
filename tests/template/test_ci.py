"""Four providers, one pipeline: each file keeps to its schema and linters, and has the stages of docs/ci.md."""

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML, YAMLError

from support.ci import FILES, Unknown, read
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
STAGES = [row.split()[1] for row in TABLE]
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


def expected(provider: str, row: str) -> dict[str, object]:
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
        "needs": set(STAGES[: STAGES.index(stage)]) if "main" in WHEN[when] else NEEDS_AT_NIGHT.get(stage, set()),
        "calls": re.findall("`make (.+?)`", calls),
        "variables": variables,
        "keeps": KEEPS.get(stage, set()),
        "takes": TAKES.get(stage, set()),
        "pushes": stage in ("retrain", "retrain-now", "propose") and provider != "gitlab",  # there by a setting
    }


def complaints(provider: str, folder: Path) -> Iterator[str]:
    """Yield what is wrong with the pipeline of a repository, and who says so."""
    path = folder / FILES[provider]
    text = path.read_text(encoding="utf-8")
    clear_text = r"(?i)\b\w*(?:password|secret|token)\w*['\"]?\s*[:=]\s*['\"]?(?!\$|credentials)[\w+/.-]{6,}"
    yield from (f"secrets: a secret in clear text: {name}" for name in re.findall(clear_text, text))
    try:
        documents = list(YAML(typ="safe", pure=True).load_all(text)) if provider != "jenkins" else []
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
        if list(stages) != STAGES:
            yield f"table: the stages are {', '.join(stages)}"
        for row in TABLE:
            if stage := stages.get(row.split()[1]):
                actual = vars(stage) | {"calls": stage.calls(), "variables": stage.variables()}
                actual["needs"] = stage.needs - {"pages"}
                for column, value in expected(provider, row).items():
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
        yield from run("zizmor", "--offline", "--no-progress", "--min-severity", "low", str(path))


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


def test_each_provider_does_what_the_table_says(bakes, provider):
    assert list(complaints(provider, bakes[provider].path)) == []


def test_the_docs_have_this_table(bakes, provider):
    lines = bakes[provider].read("docs/ci.md").partition("| stage |")[2].split("\n")[2:]
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    assert ["|".join(row.split("|")[:5]) + "|" for row in rows] == TABLE


MAIN, CHECK = "github.ref == 'refs/heads/main' && github.event_name == 'push'", "      - run: make check\n"
TEST, PIPELINE = (f"  - {name}:\n      jobs: [{name}]\n" for name in ("test", "pipeline"))
SOURCED, PROBE = "            . bamboo-specs/environment.sh\n", "            echo $bamboo_REGISTRY_USER\n"
ON_MAIN = (
    "        conditions:\n          - variable:\n              equals:\n                planRepository.branch: main\n"
)
BRANCH, TIMER = "        branch 'main'\n", "        not { triggeredBy 'TimerTrigger' }\n"
CRON = "    cron(env.BRANCH_NAME == 'main' ? 'H 3 * * *' : '')\n"
ARCHIVE = "            archiveArtifacts artifacts: 'reports/service.digest,reports/service.cdx.json'\n"
BUILD = "            sh 'make login image push'\n"
SCHEDULED = "    if: github.event_name == 'schedule'\n    runs-on: ubuntu-24.04\n"
RENDER_JOB = f"{SCHEDULED}    timeout-minutes: 15\n    permissions:\n      contents: read\n"
SET_URL = '            git remote set-url origin "$bamboo_planRepository_repositoryUrl"\n'
PUSHED = """                withCredentials([gitUsernamePassword(credentialsId: 'GIT_PUSH')]) {
                  sh 'make update PROPOSE=1'
                }
"""
DATABASE = "        env:\n          X: ${{ secrets.DATABASE_URL }}\n"
FAULTS = {  # kind, right, wrong, a part of the complaint
    "github": [
        ("syntax", "jobs:\n", "jobs\n", "yaml: "),
        ("key", "    runs-on: ubuntu-24.04\n", "    run-on: ubuntu-24.04\n", "'runs-on' is a required property"),
        (
            "key",
            "needs: check\n",
            "needs: check\n    continue-on-error: true\n",
            "reader: test: unknown continue-on-error",
        ),
        ("key", "    timeout-minutes: 15\n", "", "reader: check: no timeout"),
        ("value", "timeout-minutes: 15", "timeout-minutes: long", "'long' is not of type 'number'"),
        ("need", "needs: pipeline", "needs: pipelines", "reader: system: needs: unknown pipelines"),
        ("need", "needs: release", "needs: staging", "reader: image: needs: unknown staging"),
        ("need", "needs: system", "needs: check", "table: release: needs: "),
        ("step", "make gate", "make gaet", "table: pipeline: calls: "),
        ("step", "make gate", "make gate || true", "table: pipeline: calls: "),
        ("step", CHECK, "      - run: 'true'\n", "table: check: calls: "),
        ("order", "fetch verify compare", "fetch compare verify", "table: pipeline: calls: "),
        ("artefact", "path: reports/tests.xml", "path: reports/test.xml", "table: test: keeps: "),
        ("artefact", "reports/service.digest\n", "reports/*.digests\n", "table: image: keeps: "),
        (
            "artefact",
            "path: reports\n",
            "path: report\n",
            "or to another folder",
        ),
        (
            "condition",
            "if: github.event_name == 'pull",
            "if: github.event_nam == 'pull",
            "reader: check: unknown github.event_nam",
        ),
        (
            "condition",
            "github.ref == 'refs/heads/main' && ",
            "",
            "reader: release: unknown github.event_name == 'push'",
        ),
        ("condition", f"    if: {MAIN}\n", "", "table: release: when: "),
        ("condition", '  schedule:\n    - cron: "23 3 * * *"\n', "", "table: monitor: when: "),
        ("condition", "[monitor, retrain, ", "[monitor, ", "reader: retrain: nobody can choose it"),
        ("condition", " && inputs.verb == 'deploy'", "", "reader: deploy: unknown github.ref"),
        (
            "step",
            "VERSION: ${{ inputs.version }}",
            "VERSION: ${{ inputs.digests }}",
            "rollback: inputs: unknown digests",
        ),
        ("approval", "environment: ${{ inputs.environment }}", "environment: release", "table: deploy: "),
        ("approval", "environment: production", "environment: staging", "table: production: person: False"),
        ("secret", "${{ secrets.REGISTRY_PASSWORD }}", "hunter2hunter2", "secrets: a secret in clear text"),
        ("secret", CHECK, CHECK + DATABASE, "table: check: variables: "),
        ("secret", "environment: release", "environment: staging", "table: release: variables: "),
        ("secret", "restore-keys: ", "restore-keys: ${{ secrets.DVC_CONFIG }}", "reader: check: actions/cache is"),
        ("rights", "contents: read", "contents: write", "reader: check: checkout needs"),
        ("rights", "permissions:\n      contents: read", "permissions: write-all", "excessive-permissions"),
        ("rights", "persist-credentials: false", "clean: true", "artipacked"),
        ("rights", RENDER_JOB, RENDER_JOB.replace("read", "write"), "reader: update: checkout needs"),
        ("need", "needs: update", "needs: monitor", "table: propose: needs: "),
        ("pin", "@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "@v5", "unpinned-uses"),
        ("script", "make check", "make check ${{ github.head_ref }}", "template-injection"),
        ("script", 'DIGEST="$digest"', "DIGEST=$digest", "SC2086"),
        ("depth", "fetch-depth: 0", "fetch-depth: 1", "reader: check: checkout needs fetch-depth: 0"),
    ],
    "gitlab": [
        ("syntax", "stages: [check", "stages: [check]\n  check", "yaml: "),
        ("key", "  script:\n    - make check", "  scripts:\n    - make check", "schema: "),
        ("key", "stage: test\n", "stage: test\n  allow_failure: true\n", "reader: test: unknown allow_failure"),
        ("value", "when: always", "when: allways", "'allways' is not one of"),
        ("value", "timeout: 60 minutes", "timeout: [60]", "[60] is not of type 'string'"),
        ("need", "  stage: pipeline\n", "  stage: pipelin\n", "reader: pipeline: unknown stage pipelin"),
        ("need", "extends: .main", "extends: .mainn", "reader: release: extends: unknown .mainn"),
        ("need", "stage: release\n", "stage: check\n", "table: release: needs: "),
        ("step", "make gate", "make gates", "table: pipeline: calls: "),
        ("step", "    - make gate\n", "", "table: pipeline: calls: "),
        ("order", "system, release, image", "system, image, release", "table: image: needs: "),
        ("artefact", "[reports/service.digest,", "[reports/service.digests,", "table: image: keeps: "),
        ("condition", '!= "schedule" && $VERB', '!= "schedule && $VERB', "reader: check: unknown $CI_PIPELINE_SOURCE"),
        ("condition", "extends: .main", "extends: .change", "table: release: when: "),
        ("condition", '", monitor, retrain, ', '", monitor, ', "reader: retrain: nobody can choose it"),
        ("condition", '&& $VERB == "deploy"', "", "reader: deploy: unknown $CI_COMMIT_BRANCH"),
        ("step", 'VERSION="$VERSION"', 'VERSION="$VERSIONS"', "reader: rollback: variable: unknown VERSIONS"),
        ("approval", "name: $ENVIRONMENT", "name: staging", "table: deploy: person: False"),
        ("approval", "      when: manual\n", "", "table: production: person: False"),
        ("secret", "GIT_AUTHOR_NAME: CI", "DB_PASSWORD: hunter2hunter2", "secrets: a secret in clear text"),
        (
            "secret",
            "extends: .change\n",
            "extends: .change\n  variables: {X: $DATABASE_URL}\n",
            "table: check: variables",
        ),
        ("secret", "- make check\n", "- make check\n    - echo $DATABASE_URL\n", "secrets: check: DATABASE_URL"),
        ("secret", "name: staging", "name: production", "table: staging: variables: "),
        ("script", 'DIGEST="$digest"', "DIGEST=$digest", "SC2086"),
        ("depth", '  GIT_DEPTH: "0"', '  GIT_DEPTH: "1"', "table: check: variables: "),
        ("need", "needs: [update]", "needs: [monitor]", "table: propose: needs: "),
        ("artefact", "paths: [reports/update.bundle]", "paths: [reports/updates]", "table: propose: takes: "),
        ("rights", "  cache: []\n", "", "reader: update: a cache of other jobs"),
    ],
    "jenkins": [
        ("syntax", "sh 'make check'", "sh 'make check", "reader: steps: unknown sh 'make check"),
        (
            "syntax",
            "sh 'make check'\n          }\n",
            "sh 'make check'\n",
            "reader: stage('check'): unknown stage('test')",
        ),
        ("syntax", "digest=\\$(cat", "digest=$(cat", "reader: deployTo: unknown $"),
        ("key", "options { timeout(time: 15", "option { timeout(time: 15", "reader: stage('check'): unknown option"),
        ("key", "parallel {", "parallel {\n      failFast true", "reader: parallel: unknown failFast true"),
        ("key", "      agent { label 'mlops' }\n", "", "reader: check: no agent or no timeout"),
        ("need", "credentials('DVC_CONFIG')", "credentials('DVC')", "table: test: variables: "),
        ("need", "agent { label 'mlops' }", "agent { label 'mlop' }", "reader: agent: unknown label 'mlop'"),
        ("need", "      parallel {", "      stages {", "table: retrain: needs: "),
        ("step", "make gate", "make gates", "table: pipeline: calls: "),
        ("step", "            sh 'make gate'\n", "", "table: pipeline: calls: "),
        ("step", "deployTo 'staging'", "deployAt 'staging'", "reader: steps: unknown deployAt"),
        ("step", "deployTo 'staging'", "deployTo 'production'", "table: staging: calls: "),
        ("order", "fetch verify compare", "fetch compare verify", "table: pipeline: calls: "),
        ("artefact", "unstash 'image'", "unstash 'picture'", "reader: staging: stash: unknown picture"),
        ("artefact", "junit 'reports/tests.xml'", "junit 'reports/test.xml'", "table: test: keeps: "),
        ("artefact", BUILD + ARCHIVE, ARCHIVE + BUILD, "would be kept before a script has written it"),
        ("condition", "branch 'main'", "brunch 'main'", "reader: when: unknown brunch 'main'"),
        ("condition", BRANCH + TIMER, BRANCH, "reader: stage('deliver'): unknown branch 'main'"),
        ("condition", BRANCH + TIMER, TIMER, "table: release: when: "),
        ("condition", CRON, "", "table: monitor: when: "),
        ("condition", "'monitor', 'retrain', ", "'monitor', ", "table: retrain: when: "),
        ("condition", "            expression { params.VERB == 'deploy' }\n", "", "reader: stage('deploy'): unknown"),
        ("step", 'VERSION="$VERSION"', 'VERSION="$VERSIONS"', "reader: rollback: variable: unknown VERSIONS"),
        ("secret", "DEPLOY_ACCESS_${params.", "DEPLOY_ACCESS_${env.", "reader: steps: unknown withCredentials"),
        ("approval", "submitter 'maintainers'", "ok 'Go'", "reader: production: anybody may approve"),
        ("approval", "        beforeInput true\n", "", "reader: production: anybody may approve, or is asked"),
        ("secret", "CI = 'true'", "DB_PASSWORD = 'hunter2hunter2'", "secrets: a secret in clear text"),
        ("secret", "    CI = 'true'", "    X = credentials('DATABASE_URL')", "table: check: variables: "),
        ("secret", "DEPLOY_ACCESS_PRODUCTION", "DEPLOY_ACCESS_STAGING", "table: production: variables: "),
        ("script", 'DIGEST="\\$digest"', "DIGEST=\\$digest", "SC2086"),
        ("rights", "                sh 'make update PROPOSE=1'\n", PUSHED, "table: update: pushes: True"),
        ("artefact", "unstash 'update'", "unstash 'updates'", "reader: propose: stash: unknown updates"),
    ],
    "bamboo": [
        ("syntax", "stages:\n", "stages\n", "yaml: "),
        ("key", "requirements: [mlops]", "requirement: [mlops]", "reader: check: unknown requirement"),
        ("key", "timeout 15m make check", "make check", "reader: check: no timeout"),
        ("value", "polling: 60", "polling: often", "schema: $.triggers[0]"),
        ("need", "jobs: [pipeline]", "jobs: [pipelines]", "reader: stages: job: unknown pipelines"),
        ("need", "[monitor, retrain, audit]", "[monitor, audit]", "reader: plan: unknown retrain"),
        ("need", ", retrain, audit]", ", audit]\n  - second:\n      jobs: [retrain]", "table: retrain: needs: "),
        (
            "rights",
            "            timeout 15m make update",
            f"{SET_URL}            timeout 15m make update",
            "update: pushes",
        ),
        ("step", "make gate", "make gates", "table: pipeline: calls: "),
        ("step", "            timeout 30m make gate\n", "", "table: pipeline: calls: "),
        ("step", f"            set -eu\n{SOURCED}", SOURCED, "reader: check: a script does not begin with set -eu"),
        ("order", TEST + PIPELINE, PIPELINE + TEST, "table: the stages are check, pipeline, test"),
        ("artefact", "- artifact: Image", "- artifact: Picture", "reader: staging: artifact: unknown Picture"),
        ("artefact", "      shared: true\n", "", "reader: staging: artifact: unknown Image"),
        ("artefact", "results: [reports/tests.xml]", "results: [reports/test.xml]", "table: test: keeps: "),
        ("condition", "planRepository.branch: m", "planRepository.brunch: m", "reader: release: unknown condition"),
        ("condition", ON_MAIN, "", "table: release: when: "),
        ("condition", "create: for-pull-request", "create: manually", "reader: plan: unknown"),
        ("condition", "triggers: []", "triggers: [{polling: 60}]", "reader: plan: unknown (2, 'RETRAIN', 'polling'"),
        ("step", 'VERSION="$VERSION"', 'VERSION="$VERSIONS"', "table: rollback: calls: "),
        ("approval", "manual: true", "manual: false", "table: production: person: False"),
        ("secret", '"${bamboo_REGISTRY_PASSWORD:-}"', '"hunter2hunter2"', "secrets: a secret in clear text"),
        ("secret", SOURCED, SOURCED + PROBE, "secrets: check: REGISTRY_USER"),
        ("secret", "DEPLOY_ACCESS_PRODUCTION", "DEPLOY_ACCESS_STAGING", "table: production: variables: "),
        ("script", 'DIGEST="$digest"', "DIGEST=$digest", "SC2086"),
    ],
}
KINDS = {"syntax", "key", "need", "step", "order", "artefact", "condition", "approval", "secret", "script"}


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name, faults in FAULTS.items() for fault in faults])
def test_a_planted_fault_is_found(bakes, tmp_path, name, fault):
    _, right, wrong, message = fault
    folder = (tmp_path / FILES[name]).parent
    folder.mkdir(parents=True, exist_ok=True)
    if name == "bamboo":
        (folder / "environment.sh").write_text(bakes[name].read("bamboo-specs/environment.sh"), encoding="utf-8")
    text = bakes[name].read(FILES[name])
    assert right in text
    (tmp_path / FILES[name]).write_text(text.replace(right, wrong, 1), encoding="utf-8")
    output = ""
    for complaint in complaints(name, tmp_path):
        output += f"{complaint}\n"
        if message in complaint:
            break
    assert message in output, f"{wrong!r} in the place of {right!r} gives {output!r} without {message!r}"


def test_faults_of_all_kinds_are_planted_for_each_provider():
    missing = {name: KINDS - {kind for kind, *_ in faults} for name, faults in FAULTS.items()}
    assert missing == {name: set() for name in FILES}

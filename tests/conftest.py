"""Bake repositories and run what is in them."""

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from containers import base_image, free_port, pipeline_image, registry_host, service_image, system_program  # noqa: F401  fixtures
from cookiecutter.main import cookiecutter
from forks import PROGRAMS
from playwright.sync_api import Page, sync_playwright

sys.modules["conftest"] = sys.modules[__name__]  # tests import from here; to pytest its name is tests.conftest
TEMPLATE = Path(__file__).parents[1]
TREE = TEMPLATE / "{{cookiecutter.project_slug}}"
QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
# The answers to choose from, the default first.
CHOICES = {
    name: [asked, not asked] if isinstance(asked, bool) else asked
    for name, asked in QUESTIONS.items()
    if isinstance(asked, bool | list) and not name.startswith("_")
}


def swap(path: Path, old: str, new: str) -> None:
    """Replace a text in a file that holds it."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@dataclass
class Repository:
    """A generated repository."""

    path: Path

    def files(self) -> list[Path]:
        """List all files, without those of git."""
        inside = [path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file()]
        return sorted(path for path in inside if path.parts[0] not in (".git", ".venv"))

    def read(self, name: str | Path) -> str:
        """Read a file as text."""
        return (self.path / name).read_text(encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file that holds it."""
        swap(self.path / name, old, new)

    def environment(self) -> dict[str, str]:
        """Give the environment variables that commands run with here."""
        # PYTHONDONTWRITEBYTECODE would make each start slow; it is not what a user's machine has.
        left_out = (
            "VIRTUAL_ENV",
            "MAKEFLAGS",
            "MAKELEVEL",
            "PYTEST_ADDOPTS",
            "PYTHONDONTWRITEBYTECODE",
            "CI",
            "GITHUB_ACTIONS",
            "GITLAB_CI",
        )
        clean = {name: value for name, value in os.environ.items() if name not in left_out}
        if (self.path / ".venv").is_symlink():  # another repository's, which has that one's package installed
            clean["PYTHONPATH"] = str(self.path / "src")
        path = os.pathsep.join([str(self.path / ".venv/bin"), os.environ["PATH"], str(TEMPLATE / ".uv/bin")])
        return clean | {"PATH": path, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}

    def run(self, *command: str, fails: bool = False, **environment: str) -> str:
        """Run a command here and give all it printed; it has to succeed, or with `fails` to fail."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment() | {"TESTS_FORKS": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        assert (done.returncode != 0) == fails, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def commit(self, message: str = "change") -> None:
        """Put everything into git."""
        self.run("git", "init", "--quiet", "--initial-branch=main")
        self.run("git", "add", "--all")
        author = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
        self.run("git", *author, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", message)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest test, and in the second half with those that go on while its repository is made."""
    items.sort(key=lambda item: item.path.name != "test_year.py")
    own = [item for item in items if item.name.startswith("test_other_answers_set_up")]
    others = [item for item in items if item not in own]
    half = len(items) // 2
    items[:] = others[:half] + own + others[half:]


def folder_of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of this run that all workers share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def types_of_libraries(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let mypy read the libraries' types once, instead of once for each bake; all workers share them."""
    os.environ["MYPY_CACHE_DIR"] = str(folder_of_all_workers(tmp_path_factory) / "mypy")


@pytest.fixture(scope="session")
def bake(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Repository]:
    """Bake with the given answers; all others have their default."""
    home = tmp_path_factory.mktemp("cookiecutter")
    config = home / "config.yaml"
    config.write_text(f"cookiecutters_dir: {home / 'templates'}\nreplay_dir: {home / 'replay'}\n")

    def make(**answers: str | bool) -> Repository:
        output = tmp_path_factory.mktemp("bake")
        path = cookiecutter(
            str(TEMPLATE), no_input=True, extra_context=answers, output_dir=str(output), config_file=str(config)
        )
        return Repository(Path(path))

    return make


@contextmanager
def uncompiled(repository: Repository) -> Iterator[None]:
    """Install without compiling 15,000 files, of which a third is ever used: an import compiles what it needs."""
    project, ready = repository.path / "pyproject.toml", repository.path / ".venv/ready"
    text = repository.read("pyproject.toml")
    repository.replace("pyproject.toml", "compile-bytecode = true", "compile-bytecode = false")
    yield
    project.write_text(text, encoding="utf-8")
    if ready.exists():
        ready.touch()  # or make would install again


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[], Repository]], Repository]:
    """Give a repository under a name: one worker makes it, the others wait. Tests must leave it as it is."""
    folder = folder_of_all_workers(tmp_path_factory)

    def give(name: str, make: Callable[[], Repository]) -> Repository:
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / name).exists():
                (folder / name).symlink_to(make().path)
        return Repository((folder / name).resolve())

    return give


@pytest.fixture(scope="session")
def default(bake: Callable[..., Repository], shared: Callable) -> Repository:
    """The default answers, set up and reproduced as a newcomer would."""

    def make() -> Repository:
        repository = bake()
        with uncompiled(repository):
            repository.run("make", "setup")
        repository.commit("bake")
        repository.run("make", "cycle")
        repository.commit("reproduce")
        start_forks(repository)
        return repository

    return shared("default", make)


@pytest.fixture
def copy(default: Repository, tmp_path: Path) -> Repository:
    """A copy of the default repository, to be changed."""
    return fork(default, tmp_path)


def environment_to_share(owner: Repository) -> Path:
    """Give the environment that other repositories may use: where there is one, that whose programs start as forks."""
    environment = owner.path / ".venv"
    return environment / "forks" if (environment / "forks").exists() else environment


def use_environment(path: Path, owner: Repository) -> None:
    """Let a repository run with the environment of another one, instead of installing its own."""
    (path / ".venv").symlink_to(environment_to_share(owner))
    os.utime(owner.path / ".venv/ready")


def start_forks(owner: Repository) -> None:
    """Let the repositories that share an environment start its programs as forks; forks.py says how and why."""
    if sys.platform != "linux":  # others lack this kind of socket, and fork is not safe on them
        return
    environment = owner.path / ".venv"
    shared = environment / "forks"
    (shared / "bin").mkdir(parents=True)
    for path in [*environment.iterdir(), *(environment / "bin").iterdir()]:
        if path.name not in (".gitignore", "bin", "forks", *PROGRAMS):
            (shared / path.relative_to(environment)).symlink_to(path)
    code = Path(__file__).with_name("forks.py")
    program = shared / "program"
    program.write_text(f"#!{Path(environment / 'bin/python').resolve()} -IS\n{code.read_text('utf-8')}", "utf-8")
    program.chmod(0o755)
    for name in PROGRAMS:
        (shared / "bin" / name).symlink_to(program)
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()  # all workers ask the same server
    command = [environment / "bin/python", code, shared / "server", str(run)]
    server = subprocess.Popen(command, env=owner.environment() | {"MLFLOW_LOGGING_LEVEL": "WARNING"})
    while not (shared / "server").exists():
        assert server.poll() is None
        time.sleep(0.1)


@pytest.fixture(scope="session")
def released(default: Repository, tmp_path_factory: pytest.TempPathFactory, shared: Callable) -> Repository:
    """The default repository after its first release."""

    def make() -> Repository:
        repository = fork(default, tmp_path_factory.mktemp("released"))
        repository.run("modelcycle", "release")
        repository.run("git", "checkout", "--quiet", "docs")
        return repository

    return shared("released", make)


@pytest.fixture(scope="session")
def retrained(released: Repository, tmp_path_factory: pytest.TempPathFactory, shared: Callable) -> Repository:
    """The released repository with another model in its last commit."""

    def make() -> Repository:
        repository = fork(released, tmp_path_factory.mktemp("retrained"))
        commit_change(repository, "seed: 0", "seed: 3")
        return repository

    return shared("retrained", make)


def commit_change(repository: Repository, old: str, new: str, path: str = "params.yaml", **environment: str) -> None:
    """Replace a text in a file, reproduce the pipeline and commit."""
    repository.replace(path, old, new)
    repository.run("dvc", "repro", **environment)
    repository.commit(new)


def fork(repository: Repository, path: Path) -> Repository:
    """Copy a repository with its DVC cache and its tracking store into a folder; both share an environment."""
    path = path / repository.path.name
    shutil.copytree(repository.path, path, ignore=shutil.ignore_patterns(".venv", "__pycache__"), symlinks=True)
    use_environment(path, repository)
    with sqlite3.connect(path / ".mlflow/mlflow.db") as store:  # the store notes where it lies
        for table, column in [
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("model_versions", "source"),
            ("model_versions", "storage_location"),
        ]:
            moved = f"replace({column}, '{repository.path}', '{path}')"
            store.execute(f"update {table} set {column} = {moved}")
    return Repository(path)


@pytest.fixture(scope="module")
def postgres():
    """A PostgreSQL server on loopback, and how to stop and start it."""
    found = shutil.which("pg_ctl") or next(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), None)
    if found is None or shutil.which("psql") is None:
        pytest.skip("install postgresql")
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to PostgreSQL's user
    port = free_port()

    def control(*words):
        subprocess.run(
            [found, "-D", str(folder / "data"), "-w", *words], check=True, stdout=subprocess.DEVNULL, cwd="/", **user
        )

    user = {"user": "postgres"} if os.getuid() == 0 else {}  # PostgreSQL refuses to run as root
    shutil.chown(folder, user.get("user", os.getuid()))
    control("initdb", "-o", "--auth=trust --username=log")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    start = ["start", "-o", options, "-l", str(folder / "log")]
    control(*start)
    yield f"postgresql+psycopg://log@127.0.0.1:{port}/postgres", control, start
    control("stop", "-m", "immediate")
    shutil.rmtree(folder)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in a browser. What it shows must ask nothing of other machines, as behind a firewall."""
    chromium = system_program("chromium", "chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    foreign = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        shown = browser.new_page()
        shown.on("request", lambda request: foreign.append(request.url))
        yield shown
        browser.close()
    assert [url for url in foreign if not url.startswith(("http://127.0.0.1", "file:", "data:"))] == []


@contextmanager
def small_disk(path: Path) -> Iterator[Callable[[], object]]:
    """A disk of 100 kB at a path; calling what is given makes it a hundred times as large."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "none", str(path), "-o"]
    subprocess.run([*mount, "size=100k"], check=True)
    try:
        yield lambda: subprocess.run([*mount, "remount,size=10m"], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)  # a worker may still have a file open

"""What the tests of this room may ask for: images and a registry, a database, a browser, a disk that is soon full."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from support.containers import BASE, NEEDED, add_python, build, make_image, registry
from support.repository import Repository
from support.service import free_port, system_program


@pytest.fixture(scope="session")
def base_image() -> str:
    """The image that the Dockerfile begins with. Skips where a tool is missing."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing or os.geteuid():
        pytest.skip(f"Containers need root and {' '.join(NEEDED)}; apt install {' '.join(missing) or 'has them all'}.")
    return make_image(BASE, "bookworm", "ca-certificates,python3.11-minimal,python3-venv", add_python)


@pytest.fixture(scope="session")
def service_image(base_image: str, released: Repository) -> str:
    """The image of a released version, as `make image` builds it."""
    source = [path for path in sorted((released.path / "src").rglob("*.*")) if path.suffix != ".pyc"]
    return build(released, "service", "Dockerfile", "uv.lock", "contract.yaml", *source)


@pytest.fixture(scope="session")
def pipeline_image(base_image: str, released: Repository) -> str:
    """The image that runs monitor and retrain, as `make image PIPELINE=1` builds it."""
    return build(released, "pipeline", "Dockerfile", "uv.lock", "pyproject.toml", "deploy/pipeline.sh")


@pytest.fixture(scope="session")
def registry_host(base_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry on this machine, as host:port."""
    with registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[str, Callable, list[str]]]:
    """A PostgreSQL server on loopback: its URL, a function that controls it, and the words that start it."""
    found = shutil.which("pg_ctl") or next(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), None)
    if found is None or shutil.which("psql") is None:
        pytest.skip("There is no PostgreSQL; install it with `apt install postgresql`.")
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to PostgreSQL's user
    port = free_port()

    def control(*words: str) -> None:
        command = [found, "-D", str(folder / "data"), "-w", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **user)

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


@pytest.fixture
def small_disk() -> Callable[[Path], AbstractContextManager[Callable[[], object]]]:
    """Mount a disk of 100 kB at a path, which needs root; calling what the block is given makes it larger."""
    if os.geteuid():
        pytest.skip("Only root may mount a small disk.")

    @contextmanager
    def mounted(path: Path) -> Iterator[Callable[[], object]]:
        path.mkdir()
        mount = ["mount", "-t", "tmpfs", "none", str(path), "-o"]
        subprocess.run([*mount, "size=100k"], check=True)
        try:
            yield lambda: subprocess.run([*mount, "remount,size=10m"], check=True)
        finally:
            subprocess.run(["umount", "--lazy", str(path)], check=True)  # a worker may still have a file open

    return mounted

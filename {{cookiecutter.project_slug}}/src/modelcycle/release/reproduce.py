"""Run a version's pipeline again in a scratch work tree of its commit, and compare what it writes."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

from modelcycle.core.errors import InputError
from modelcycle.core.paths import JUDGED, MODEL, PARAMS, PREDICTIONS, REPORT
from modelcycle.release.chain import Link, open_stores
from modelcycle.tracking.git import git
from modelcycle.versions.code import read_file_at
from modelcycle.versions.environment import LOCK, read_other_lock, sync_environment
from modelcycle.versions.lineage import parse_lock, read_lock
from modelcycle.versions.registry import Version

# A model's bytes depend on the number of cores; its predictions, which are compared, do not. The report quotes git.
UNSTABLE = (MODEL.as_posix(), JUDGED.as_posix(), REPORT.as_posix())


def reproduce(version: Version) -> Link:
    """Run the version's pipeline again in a scratch work tree of its commit and compare what it writes, bit for bit."""
    revision = version.commit
    link = Link("reproduced", f"commit {revision}")
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        root = tree / git("rev-parse", "--show-prefix")
        try:
            git("worktree", "add", "--quiet", "--detach", tree, revision)
            environment, description = prepare_environment(root, revision, f"sqlite:///{scratch}/runs.db")
            link.facts += description
            link_cache(root)
            link.facts += run_pipeline(root, revision, environment)
            reproduced = parse_lock((root / "dvc.lock").read_bytes(), (root / "dvc.yaml").read_bytes())
        except (InputError, subprocess.CalledProcessError) as error:
            link.broken.append(f"the pipeline of commit {revision[:7]} does not run any more: {error}")
            return link
        finally:
            if tree.exists():
                git("worktree", "remove", "--force", tree)
    for path, digest in read_lock(revision).items():
        if path not in UNSTABLE and reproduced.get(path) != digest:
            link.broken.append(f"{path}, reproduced, has md5 {reproduced.get(path)}, the commit says {digest}")
    link.facts += f", {PREDICTIONS} md5 {reproduced.get(PREDICTIONS.as_posix())}"
    return link


def prepare_environment(root: Path, revision: str, store: str) -> tuple[dict[str, str], str]:
    """Return the variables for the pipeline in a work tree, and which environment it is for the chain.

    root: the project's folder in the work tree. store: the address of an MLflow store for its runs. Where the commit's
    uv.lock is not today's, its environment is installed there.
    """
    environment = os.environ | {
        "PYTHONPATH": str(root / "src"),
        "MLFLOW_TRACKING_URI": store,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    if read_file_at(revision, LOCK.name) is None:
        return environment, ", present environment: no uv.lock in the commit"
    if read_other_lock(revision):
        environment["PATH"] = f"{sync_environment(root).parent}{os.pathsep}{os.environ['PATH']}"
    return environment, ", environment from uv.lock"


def link_cache(root: Path) -> None:
    """Let DVC in a work tree use this repository's cache, and its credentials of the remote."""
    if (local := Path(".dvc/config.local")).exists():
        shutil.copy(local, root / ".dvc")
    cache = Path(open_stores()["cache"].path.removesuffix(f"{os.sep}files{os.sep}md5"))
    cache.mkdir(parents=True, exist_ok=True)  # a fresh clone has none yet
    (root / ".dvc/cache").symlink_to(cache)


def run_pipeline(root: Path, revision: str, environment: dict[str, str]) -> str:
    """Run the pipeline in a work tree, and return what the chain should say about it. Raises CalledProcessError."""
    dvc, description = [sys.executable, "-m", "dvc"], ""
    subprocess.run([*dvc, "pull", "--quiet", "--allow-missing"], cwd=root, env=environment, check=False)
    repro = [*dvc, "repro", "--force", "--no-run-cache"]
    params = YAML(typ="safe", pure=True).load(read_file_at(revision, str(PARAMS)) or b"")
    if params["ingest"]["source"].endswith(".sql"):
        description = ", not from the database, which gives today's rows, but from those that it gave then"
        subprocess.run([*dvc, "checkout", "--quiet", "ingest"], cwd=root, env=environment, check=True)
        repro += ["--downstream", "prepare"]
    subprocess.run(repro, cwd=root, env=environment, stdout=sys.stderr, check=True)
    return description

"""Run a version's pipeline again in a scratch work tree of its commit, and compare what it writes."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

from modelcycle.core.paths import MODEL, PARAMS, PREDICTIONS, REPORT
from modelcycle.release.chain import Link, stores
from modelcycle.tracking.git import git, read_file_at
from modelcycle.tracking.lineage import parse_lock, read_lock
from modelcycle.tracking.registry import Version

# A model's bytes depend on the number of cores; its predictions, which are compared, do not. The report quotes git.
UNSTABLE = (MODEL.as_posix(), REPORT.as_posix())


def reproduce(version: Version) -> Link:
    """Run the version's pipeline again in a scratch work tree of its commit and compare what it writes, bit for bit."""
    revision = version.commit
    link = Link("reproduced", f"commit {revision}")
    cache = stores()["cache"].path.removesuffix(f"{os.sep}files{os.sep}md5")
    dvc = [sys.executable, "-m", "dvc"]
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        root = tree / git("rev-parse", "--show-prefix")
        try:
            subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), revision], check=True)
            if (local := Path(".dvc/config.local")).exists():
                shutil.copy(local, root / ".dvc")  # credentials of the remote
            environment = os.environ | {
                "PYTHONPATH": str(root / "src"),
                "MLFLOW_TRACKING_URI": f"sqlite:///{scratch}/runs.db",
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            }
            lock = read_file_at(revision, "uv.lock")
            if lock and lock != (Path("uv.lock").read_bytes() if Path("uv.lock").exists() else b""):
                own = Path(".uv/bin/uv").resolve()  # where the machine has none that can do this
                uv = str(own) if own.exists() else "uv"
                subprocess.run([uv, "sync", "--frozen", "--quiet"], cwd=root, check=True)
                environment["PATH"] = f"{root / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
            link.facts += ", environment from uv.lock" if lock else ", present environment: no uv.lock in the commit"
            Path(cache).mkdir(parents=True, exist_ok=True)  # a fresh clone has none yet
            (root / ".dvc/cache").symlink_to(cache)
            subprocess.run([*dvc, "pull", "--quiet", "--allow-missing"], cwd=root, env=environment, check=False)
            repro, source = [*dvc, "repro", "--force", "--no-run-cache"], read_file_at(revision, str(PARAMS)) or b""
            if YAML(typ="safe", pure=True).load(source)["ingest"]["source"].endswith(".sql"):
                link.facts += ", not from the database, which gives today's rows, but from those that it gave then"
                subprocess.run([*dvc, "checkout", "--quiet", "ingest"], cwd=root, env=environment, check=True)
                repro += ["--downstream", "prepare"]
            subprocess.run(repro, cwd=root, env=environment, stdout=sys.stderr, check=True)
            again = parse_lock((root / "dvc.lock").read_bytes(), (root / "dvc.yaml").read_bytes())
        except subprocess.CalledProcessError as error:
            link.broken.append(f"the pipeline of commit {revision[:7]} does not run any more: {error}")
            return link
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], check=False)
    for path, noted in read_lock(revision).items():
        if path not in UNSTABLE and again.get(path) != noted:
            link.broken.append(f"{path}, reproduced, has md5 {again.get(path)}, the commit says {noted}")
    link.facts += f", {PREDICTIONS} md5 {again.get(PREDICTIONS.as_posix())}"
    return link

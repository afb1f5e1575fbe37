"""Bake into build/dev after each edit of the template, and say which files of the bake are different.

    make dev [ANSWERS="ci_provider=gitlab airflow=false"]

In build/dev, `git diff` shows what the edits since the start change. What is made in there (.venv, data) stays.
"""

import os
import re
import sys
import tempfile
from itertools import chain
from pathlib import Path
from subprocess import PIPE, STDOUT, run

from watchfiles import watch

DEV = Path("build/dev").resolve()


def git(*words: str, folder: Path = DEV, index: str = "index") -> str:
    """Ask git in build/dev, about the files of a folder. The index `baked` holds what came from the template."""
    where = {"GIT_DIR": f"{DEV}/.git", "GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": f"{DEV}/.git/{index}"}
    command = ["git", "-c", "user.name=Dev", "-c", "user.email=dev@example.com", *words]
    return run(command, cwd=folder, env=os.environ | where, check=True, stdout=PIPE, encoding="utf-8").stdout.strip()


def fault(said: str) -> str:
    """Say in a line what cookiecutter says in many: file and line of the template, and the error."""
    said = re.split(r"^(?:Context: {|ERROR: Stopping)", said, flags=re.MULTILINE)[0]
    places = re.findall(r'^  File "(?![/<])(.+)", line (\d+)', said, re.MULTILINE)[-1:]
    words = re.findall(r"^(?!Traceback|To be asked again)\S.*", said, re.MULTILINE)[-2:]
    return " ".join([*(f"{file}, line {line}:" for file, line in places), *words])


def main() -> None:
    """Bake, then bake after each change until Ctrl+C; only files that differ are written."""
    if not (DEV / ".git").exists():
        DEV.mkdir(parents=True, exist_ok=True)
        git("init", "--quiet")
    started = False
    for _ in chain([()], watch("cookiecutter.json", "hooks", "{{cookiecutter.project_slug}}", raise_interrupt=False)):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "cookiecutter", "--no-input", "--output-dir", folder, ".", *sys.argv[1:]]
            done = run(command, stdout=PIPE, stderr=STDOUT, encoding="utf-8", check=False)
            if done.returncode:
                print(f"not baked: {fault(done.stdout)}", flush=True)
                continue
            git("add", "--all", folder=next(Path(folder).iterdir()), index="new")
        git("read-tree", "--reset", "-u", git("write-tree", index="new"), index="baked")
        git("add", *(["--intent-to-add", "--ignore-removal", "."] if started else ["--all"]))
        if not started:
            git("commit", "--quiet", "--allow-empty", "--no-verify", "--message", "Start")
        print(git("diff", "--stat") or ("as at the start" if started else "build/dev is baked"), flush=True)
        started = True


if __name__ == "__main__":
    main()

"""Bake into build/dev whenever a file of the template changes, and say which files of the bake are different.

    make dev [ANSWERS="ci_provider=gitlab airflow=false"]

build/dev is a git repository: `git diff` in it shows what the edits since the start have changed. What is made in there
(.venv, data, reports) stays from bake to bake, so a verb or a test can be run after each edit.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from watchfiles import watch

WATCHED = ("cookiecutter.json", "hooks", "{{cookiecutter.project_slug}}")
DEV = Path("build/dev")
BAKED = DEV / ".git/baked"  # the names of the files that came from the template; the others are made in there

CALLS = ("Traceback", '  File "/', "    ")  # lines of a traceback that say nothing of the template


def git(*words: str) -> str:
    """Ask git in the bake."""
    author = ("-c", "user.name=Dev", "-c", "user.email=dev@example.com")
    return subprocess.run(["git", *author, *words], cwd=DEV, check=True, capture_output=True, encoding="utf-8").stdout


def bake(answers: list[str]) -> bool:
    """Bake anew; only files that differ are written. Says in a line what is wrong if it can't be baked."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cookiecutter", "--no-input", "--output-dir", folder, ".", *answers]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if done.returncode:
            said = (line for line in done.stderr.splitlines() if not line.startswith(CALLS))
            print(f"not baked: {' '.join(dict.fromkeys(line.strip() for line in said))}", flush=True)
            return False
        (made,) = Path(folder).iterdir()
        names = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
        DEV.mkdir(parents=True, exist_ok=True)
        if not (DEV / ".git").exists():
            git("init", "--quiet")
        before = BAKED.read_text(encoding="utf-8").splitlines() if BAKED.exists() else []
        for gone in set(map(Path, before)) - names:
            (DEV / gone).unlink(missing_ok=True)
        BAKED.write_text("\n".join(map(str, names)), encoding="utf-8")
        for name in names:
            (DEV / name).parent.mkdir(parents=True, exist_ok=True)
            if not (DEV / name).exists() or (DEV / name).read_bytes() != (made / name).read_bytes():
                shutil.copy(made / name, DEV / name)
    return True


def main() -> None:
    """Bake, then bake after each change until Ctrl+C."""
    answers = sys.argv[1:]
    if bake(answers):
        git("add", "--all")
        git("commit", "--quiet", "--allow-empty", "--no-verify", "--message", "Start")
        print(f"{DEV} is baked; edit the template, look with git diff in there, end with Ctrl+C", flush=True)
    for _ in watch(*WATCHED, raise_interrupt=False):
        if bake(answers):
            git("add", "--all", "--intent-to-add")
            print(git("diff", "--stat", "HEAD") or "as at the start", flush=True)


if __name__ == "__main__":
    main()

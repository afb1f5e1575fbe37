"""A generated repository, commands in it, and cheap copies of it, each with an environment of its own."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).parents[2]
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
        path = os.pathsep.join([str(self.path / ".venv/bin"), os.environ["PATH"], str(TEMPLATE / ".uv/bin")])
        return os.environ | {"PATH": path, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}

    def run(self, *command: str, fails: bool = False, **environment: str) -> str:
        """Run a command here and give all it printed; it has to succeed, or with `fails` to fail."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        assert (done.returncode != 0) == fails, (
            f"in {self.path}: {' '.join(command)}: exit {done.returncode}\n{done.stdout}"
        )
        return done.stdout

    def commit(self, message: str = "change") -> None:
        """Put everything into git."""
        if not (self.path / ".git").exists():
            self.run("git", "init", "--quiet")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--no-verify", "--allow-empty", "-m", message)

    def publish(self, folder: Path) -> None:
        """Push all branches to a remote, which is made in a folder."""
        if not self.run("git", "remote"):
            self.run("git", "init", "--quiet", "--bare", str(folder))
            self.run("git", "remote", "add", "origin", str(folder))
        self.run("git", "push", "--quiet", "--all", "origin")

    def reproduce(self, **environment: str) -> None:
        """Run the stages of the pipeline that are not up to date."""
        self.run("dvc", "repro", **environment)

    def commit_change(self, old: str, new: str, path: str = "params.yaml", **environment: str) -> None:
        """Replace a text in a file, reproduce the pipeline and commit."""
        self.replace(path, old, new)
        self.reproduce(**environment)
        self.commit(new)

    def copy_to(self, folder: Path) -> "Repository":
        """Copy it, with its DVC cache, tracking store and environment, into a folder."""
        path = folder / self.path.name
        shutil.copytree(self.path, path, ignore=shutil.ignore_patterns(".venv", "__pycache__"), symlinks=True)
        if (self.path / ".venv").exists():
            link_environment(self, path)
        return type(self)(path)


def render(template: Path, folder: Path, **answers: str | bool) -> Path:
    """Generate a repository from a template in a folder; gives its path. All other answers have their default."""
    config = folder / "cookiecutter.yaml"
    config.write_text(f"cookiecutters_dir: {folder}\nreplay_dir: {folder / 'replay'}\n", encoding="utf-8")
    output = folder / "rendering"
    return Path(
        cookiecutter(
            str(template), no_input=True, extra_context=answers, output_dir=str(output), config_file=str(config)
        )
    )


def link_environment(owner: Repository, path: Path) -> None:
    """Give a repository at a path an environment of its own, like that of another one: a second with hard links.

    What names its place is written again, as a file of its own; nothing else of it is ever written to in place.
    """
    shutil.copytree(owner.path / ".venv", path / ".venv", symlinks=True, copy_function=os.link)
    environment = path / ".venv"
    naming = [*environment.glob("bin/*"), *environment.glob("lib/*/site-packages/*.pth"), environment / "ready"]
    naming += environment.glob("lib/*/site-packages/*.dist-info/direct_url.json")
    for file in [*naming, path / ".git/hooks/pre-commit"]:
        if file.is_symlink() or not file.exists() or str(owner.path).encode() not in file.read_bytes():
            continue
        content, status = file.read_bytes(), file.stat()
        file.unlink()
        file.write_bytes(content.replace(str(owner.path).encode(), str(path).encode()))
        file.chmod(status.st_mode)
    os.utime(environment / "ready")  # or make would install again

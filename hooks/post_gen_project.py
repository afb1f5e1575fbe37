"""Drop what was not chosen, record the template's commit and the machinery's digests, and say what to type next."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

answers = json.loads(r"""{{ cookiecutter | tojson }}""")
# {% raw %}
# `_rooms` says which paths a room brings, `__rooms` which rooms are chosen. A path inside another one goes before it.
chosen = set(answers["__rooms"].split())
kept = {path for room in chosen for path in answers["_rooms"][room]}
for path in sorted({path for paths in answers["_rooms"].values() for path in paths} - kept, reverse=True):
    shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
    if not any(Path(path).parent.iterdir()):
        Path(path).parent.rmdir()
for path in Path().rglob("__pycache__"):  # of who has run the machinery inside the template
    shutil.rmtree(path)


def read_commit(folder):
    """Read from git's files which commit a work tree is at; nothing where the folder has no git of its own."""
    git = folder / ".git"
    if git.is_file():  # a linked work tree, with a HEAD of its own and the branches of the other
        git = folder / git.read_text().removeprefix("gitdir: ").strip()
    shared = git / (git / "commondir").read_text().strip() if (git / "commondir").exists() else git
    head = (git / "HEAD").read_text().strip() if (git / "HEAD").exists() else ""
    branch = head.removeprefix("ref: ")
    if branch == head or (shared / branch).exists():
        return (head if branch == head else (shared / branch).read_text().strip()) or None
    packed = (shared / "packed-refs").read_text() if (shared / "packed-refs").exists() else ""
    return next((line.split()[0] for line in packed.splitlines() if line.endswith(f" {branch}")), None)


# A relative path of the template begins where cookiecutter was started: the shell's folder, the output's or one above.
output = Path(answers.get("_output_dir", ""))
starts = [Path(os.environ.get("PWD", output)), output, *output.parents] if "_repo_dir" in answers else []
folders = (start / answers["_repo_dir"] for start in starts)
template = next((folder for folder in folders if (folder / "hooks/post_gen_project.py").exists()), None)
record = json.loads(Path(".cruft.json").read_text(encoding="utf-8"))
record["commit"] = read_commit(template) if template else None
if record["commit"] and (":" not in record["template"] or Path(record["template"]).exists()):
    record["template"] = str(template.resolve())
Path(".cruft.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
machinery = [path for path in [Path("modelcycle.mk"), *sorted(Path("src/modelcycle").rglob("*"))] if path.is_file()]
digests = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.as_posix()}\n" for path in machinery]
Path(".modelcycle.sha256").write_text("".join(digests), encoding="utf-8")  # read by src/modelcycle/patches.py

# cruft renders into a temporary folder during an update, where there is nothing to do next.
if "_output_dir" in answers or not Path.cwd().is_relative_to(Path(tempfile.gettempdir()).resolve()):
    print(f"\n{answers['project_name']} is ready. Type:\n\n    cd {answers['project_slug']}\n    make cycle\n")
# {% endraw %}

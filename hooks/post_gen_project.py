"""Drop what was not chosen, and say what to type next."""

import json
import shutil
import tempfile
from pathlib import Path

answers = json.loads(r"""{{ cookiecutter | tojson }}""")
# {% raw %}
# `_rooms` of cookiecutter.json says which paths a room brings, `__rooms` which rooms the answers have chosen.
chosen = set(answers["__rooms"].split())
kept = {path for room in chosen for path in answers["_rooms"][room]}
for path in sorted({path for paths in answers["_rooms"].values() for path in paths} - kept):
    shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
for folder in ("deploy",):  # of several rooms
    if not any(Path(folder).iterdir()):
        Path(folder).rmdir()
for path in Path().rglob("__pycache__"):  # of who has run the machinery inside the template
    shutil.rmtree(path)

# cruft renders into a temporary folder during an update, where there is nothing to do next.
if "_output_dir" in answers or not Path.cwd().is_relative_to(Path(tempfile.gettempdir()).resolve()):
    print(f"\n{answers['project_name']} is ready. Type:\n\n    cd {answers['project_slug']}\n    make cycle\n")
# {% endraw %}

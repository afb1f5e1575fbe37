"""Drop what was not chosen, and say what to type next."""

import json
import shutil
import tempfile
from pathlib import Path

answers = json.loads(r"""{{ cookiecutter | tojson }}""")
# {% raw %}
# Option -> value -> paths that are there for this value. A path stays when the chosen value lists it.
OPTIONAL = {
    "ci_provider": {
        "github": [".github"],
        "gitlab": [".gitlab-ci.yml", ".gitlab"],
        "jenkins": ["Jenkinsfile"],
        "bamboo": ["bamboo-specs"],
    },
    "deployment": {
        "server": ["deploy/server"],
        "kubernetes": ["deploy/kubernetes"],
        "openshift": ["deploy/kubernetes", "deploy/openshift"],
    },
    "airflow": {True: ["deploy/airflow"], False: []},
    "license": {"Proprietary": [], "MIT": ["LICENSE"], "BSD-3-Clause": ["LICENSE"], "Apache-2.0": ["LICENSE"]},
}


def dropped():
    """List the paths that belong to values which were not chosen."""
    for option, values in OPTIONAL.items():
        listed = {path for paths in values.values() for path in paths}
        yield from sorted(listed - set(values[answers[option]]))


for path in map(Path, dropped()):
    shutil.rmtree(path) if path.is_dir() else path.unlink()

# cruft renders into a temporary folder during an update, where there is nothing to do next.
if "_output_dir" in answers or not Path.cwd().is_relative_to(Path(tempfile.gettempdir()).resolve()):
    print(f"\n{answers['project_name']} is ready. Type:\n\n    cd {answers['project_slug']}\n    make cycle\n")
# {% endraw %}

"""What tells Dependabot and Renovate where to look for newer versions: its schema, and that there are files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

BIN = Path(sys.executable).parent
FILES = {"dependabot": (".github/dependabot.yml", "github"), "renovate": (".gitlab/renovate.json", "gitlab")}
MANIFESTS = {  # what each looks for, of which a repository has to have some
    "uv": ["uv.lock", "pyproject.toml"],
    "github-actions": [".github/workflows/*.yml"],
    "docker-compose": ["compose.yaml"],
    "pep621": ["pyproject.toml"],
    "dockerfile": ["Dockerfile"],
    "gitlabci": [".gitlab-ci.yml"],
}


def check(kind: str, path: Path) -> str:
    command = [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{kind}", path]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "right", "wrong", "complaint"),
    [
        ("dependabot", "package-ecosystem: uv", "package-ecosystem: uvx", "'uvx' is not one of"),
        ("dependabot", "interval: weekly", "interval: sometimes", "'sometimes' is not one of"),
        ("renovate", '"minimumReleaseAge": "7 days"', '"minimumReleaseAge": 7', "7 is not of type 'string'"),
        ("renovate", '"enabledManagers": [', '"enabledManagers": 7, "x": [', "7 is not of type 'array'"),
    ],
)
def test_each_keeps_to_its_schema_which_finds_a_planted_fault(bake, kind, right, wrong, complaint):
    name, provider = FILES[kind]
    repository = bake(ci_provider=provider)
    assert check(kind, repository.path / name) == ""
    repository.replace(name, right, wrong)
    assert complaint in check(kind, repository.path / name)


@pytest.mark.parametrize("deployment", ["server", "kubernetes", "openshift"])
def test_dependabot_looks_where_files_are_and_groups_what_it_finds(bake, deployment):
    repository = bake(ci_provider="github", deployment=deployment)
    updates = YAML(typ="safe", pure=True).load(repository.read(FILES["dependabot"][0]))["updates"]
    images = ["docker-compose"] if deployment == "server" else []
    assert [update["package-ecosystem"] for update in updates] == ["uv", "github-actions", *images]
    for update in updates:
        folder = repository.path / update["directory"].strip("/")
        assert [path for pattern in MANIFESTS[update["package-ecosystem"]] for path in folder.glob(pattern)], update
        assert [group["patterns"] for group in update["groups"].values()] == [["*"]]


def test_renovate_looks_for_what_is_there_and_groups_all_of_it(bake):
    repository = bake(ci_provider="gitlab")
    config = json.loads(repository.read(FILES["renovate"][0]))
    groups = [rule for rule in config["packageRules"] if "groupName" in rule]
    assert sorted(name for rule in groups for name in rule["matchManagers"]) == sorted(config["enabledManagers"])
    for manager in config["enabledManagers"]:
        assert [path for name in MANIFESTS[manager] for path in repository.path.rglob(name)], manager


@pytest.mark.parametrize("provider", ["github", "gitlab", "jenkins", "bamboo"])
def test_a_provider_s_bot_is_there_with_its_provider_only(bake, provider):
    repository = bake(ci_provider=provider)
    assert {own for name, own in FILES.values() if (repository.path / name).exists()} == {provider} & {
        "github",
        "gitlab",
    }

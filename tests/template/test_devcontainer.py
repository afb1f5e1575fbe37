"""The dev container keeps to the reference of its format, and sets up what the verbs need."""

import json
import re

import pytest
from jsonschema.validators import Draft202012Validator

TEXT, PORT = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1, "maximum": 65535}
# What our file uses of https://containers.dev/implementors/json_reference/, whose schema is not in this repository.
SCHEMA = {
    "type": "object",
    "required": ["name", "image", "postCreateCommand"],
    "additionalProperties": False,
    "properties": {
        "name": TEXT,
        "image": TEXT | {"pattern": r"^[a-z0-9.]+/[a-z0-9/]+:3\.\d+$"},
        "postCreateCommand": TEXT,
        "forwardPorts": {"type": "array", "items": PORT, "uniqueItems": True},
        "portsAttributes": {
            "type": "object",
            "propertyNames": {"pattern": r"^\d+$"},
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"label": TEXT},
            },
        },
        "customizations": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "vscode": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "extensions": {"type": "array", "items": {"type": "string", "pattern": r"^[\w-]+\.[\w-]+$"}},
                        "settings": {"type": "object"},
                    },
                }
            },
        },
    },
}


def complaints(text: str) -> str:
    return "\n".join(error.message for error in Draft202012Validator(SCHEMA).iter_errors(json.loads(text)))


@pytest.mark.parametrize("python_version", ["3.11", "3.14"])
def test_it_has_the_python_of_the_answers_and_runs_setup(bake, python_version):
    repository = bake(python_version=python_version)
    text = repository.read(".devcontainer/devcontainer.json")
    assert complaints(text) == ""
    content = json.loads(text)
    assert content["image"].endswith(f":{python_version}")
    makefile = repository.read("modelcycle.mk")
    verbs = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    labels = {int(port): about["label"] for port, about in content["portsAttributes"].items()}
    assert sorted(labels) == content["forwardPorts"]
    assert {command.removeprefix("make ") for command in [content["postCreateCommand"], *labels.values()]} <= verbs
    for port in (8000, 5000):  # by its line of help
        verb = labels[port].removeprefix("make ")
        assert re.search(rf"^{verb}: .*127\.0\.0\.1:{port}", makefile, re.MULTILINE)


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ('"postCreateCommand"', '"postCreateComand"', "'postCreateComand' was unexpected"),
        ('"make setup"', "7", "7 is not of type 'string'"),
        ("python:", "python", "does not match"),
        ("5000, 8000", "5000, 80000", "80000 is greater than the maximum"),
        ('"label"', '"lable"', "'lable' was unexpected"),
    ],
)
def test_a_planted_fault_is_found(bake, right, wrong, complaint):
    text = bake().read(".devcontainer/devcontainer.json")
    assert right in text
    assert complaint in complaints(text.replace(right, wrong))

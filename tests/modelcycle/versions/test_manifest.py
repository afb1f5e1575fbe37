import json
from pathlib import Path

import pytest

from modelcycle.core.errors import InputError
from modelcycle.versions.manifest import manifest_path, read_manifest

WHOLE = dict.fromkeys(("version", "when", "input", "input_md5", "output_md5", "git_commit", "md5.model"), "1")


def test_a_manifest_lies_beside_its_output(tmp_path):
    output = tmp_path / "out.csv"
    assert manifest_path(Path("a/out.csv")) == Path("a/out.csv.manifest.json")
    assert read_manifest(output) == {}
    manifest_path(output).write_text(json.dumps(WHOLE | {"rows": 5}))
    assert read_manifest(output) == WHOLE | {"rows": 5}


@pytest.mark.parametrize(
    "text", ["{", "5", "[]", "{}", *(json.dumps({**WHOLE, name: 1}).replace(f'"{name}"', '"x"') for name in WHOLE)]
)
def test_what_is_no_manifest_is_refused(tmp_path, text):
    output = tmp_path / "out.csv"
    manifest_path(output).write_text(text)
    with pytest.raises(InputError, match=r"out\.csv\.manifest\.json is not the manifest of a prediction; delete it"):
        read_manifest(output)

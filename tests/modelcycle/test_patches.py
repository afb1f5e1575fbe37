import hashlib

import pytest

from modelcycle import patches


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Two files of the machinery with their digests; the second is not ASCII."""
    monkeypatch.chdir(tmp_path)
    lines = []
    for name, content in (("modelcycle.mk", b"all:\n"), ("code.py", "# ä\r\n".encode())):
        (tmp_path / name).write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    (tmp_path / ".modelcycle.sha256").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def test_what_is_as_it_was_made_is_not_listed(made):
    (made / "ours.py").touch()
    assert patches.list_patched() == []


def test_what_has_changed_or_is_gone_is_listed(made):
    (made / "code.py").write_bytes(b"# \xc3\xa4\n")
    (made / "modelcycle.mk").unlink()
    assert patches.list_patched() == ["modelcycle.mk", "code.py"]


def test_without_digests_nothing_is_told(made):
    (made / ".modelcycle.sha256").unlink()
    assert patches.list_patched() == []

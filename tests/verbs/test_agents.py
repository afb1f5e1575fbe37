"""Each command of AGENTS.md, as it stands there."""

import re
import shlex


def test_each_command_runs(copy):
    page = copy.read("AGENTS.md")
    block = page.partition("```\n")[2].partition("```")[0]
    commands = [line.partition(" #")[0].strip() for line in block.splitlines()]
    assert len(commands) > 8
    inline = re.findall(r"`((?:make|uv run) [^`]+)`", page)
    others = {
        f"make {verb}" for verb in "update release rollback push deploy retrain".split()
    }  # each has its own tests
    assert set(inline) - set(commands) == others
    for command in commands:
        # tests/verbs/test_cycle.py runs them all
        options = {"PYTEST_ADDOPTS": "--collect-only"} if command == "make test" else {}
        copy.run(*shlex.split(command), **options)
    copy.run("uv", "add", "--quiet", "humanize")
    assert "humanize" in copy.read("uv.lock")
    assert '"humanize' in copy.read("pyproject.toml")

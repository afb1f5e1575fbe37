"""Tables of different kinds, each from `adopt` to the gate, and a second clone that gives the same bytes."""

import pytest

from support.tables import TABLES


# The small ones go through the stages in tests/modelcycle.
@pytest.mark.parametrize("name", ["messy", "digits", "panel", "tiny", "wide", "huge"])
def test_a_table_is_learned_from_released_and_reproduced(installed, tmp_path, name):
    table, repository = TABLES[name], installed()
    table.check(repository, repository.run("modelcycle", *table.command(tmp_path)))
    repository.commit("adopt")
    assert "then: make release" in repository.run("make", "cycle")
    table.check_metrics(repository)
    repository.commit("reproduce")
    assert "passed" in repository.run("make", "test")  # with test_another_clone_gives_the_same_bytes
    assert "Failed" not in repository.run("make", "check")
    assert "is the champion, none was before" in repository.run("make", "release")
    assert 'all_broken": []' in repository.run("modelcycle", "trace", "1", "--json")

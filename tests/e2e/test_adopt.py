"""Tables of different kinds, each from `adopt` to the gate, and a second clone that gives the same bytes."""

import pytest

from support.tables import TABLES


# The messy table goes the whole way in tests/verbs, the small ones through the stages in tests/modelcycle.
@pytest.mark.parametrize("name", ["digits", "panel", "tiny", "wide", "huge"])
def test_a_table_is_learned_from_released_and_reproduced(installed, tmp_path, name):
    table, repository = TABLES[name], installed()
    table.check(repository, repository.run("modelcycle", *table.command(tmp_path)))
    repository.commit("adopt")
    repository.run("make", "cycle")
    table.check_metrics(repository)
    repository.commit("reproduce")
    assert "passed" in repository.run("make", "test")  # with test_another_clone_gives_the_same_bytes
    assert "is the champion, none was before" in repository.run("modelcycle", "release")

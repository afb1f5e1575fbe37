"""A team's own table, as it is, from `adopt` to a version that can be traced: no line of code is changed."""

from support.tables import TABLES


def test_a_messy_table_goes_the_whole_way(installed, tmp_path):
    table, repository = TABLES["messy"], installed()
    table.check(repository, repository.run("modelcycle", *table.command(tmp_path)))
    repository.commit("adopt")
    assert "then: make release" in repository.run("make", "cycle")
    table.check_metrics(repository)
    assert "passed" in repository.run("make", "test")
    repository.commit("reproduce")
    assert "Failed" not in repository.run("make", "check")
    assert "is the champion, none was before" in repository.run("make", "release")
    assert 'all_broken": []' in repository.run("modelcycle", "trace", "1", "--json")

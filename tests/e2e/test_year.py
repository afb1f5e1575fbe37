"""The year's story: a model is released, meets what it never saw, is watched, retrained, and judged again."""

import json
import re

from support.repository import TEMPLATE


def test_the_year_is_played_to_its_end_and_shown_on_one_page(copy, tmp_path):
    copy.run("python", str(TEMPLATE / "tools/year.py"), str(tmp_path))
    year = json.loads((tmp_path / "year.json").read_text(encoding="utf-8"))
    months = year["months"]

    assert [month["month"] for month in months] == [f"2013-{number:02}" for number in range(7, 13)]
    assert sum(month["answers"] for month in months) == 18_670
    assert min(month["in_use"][0] for month in months) < year["test"]["low"] - 0.05  # it really gets worse
    assert all(month["alerts"] for month in months)
    assert months[0]["drift"]["temperature"] > 10 > 1 > months[0]["drift"]["origin"]
    assert any("the answers have got worse" in alert for month in months for alert in month["alerts"])
    assert all(month["outcomes"] > 1000 for month in months)  # half of them have come back by then
    assert months[0]["decision"] == "version 2 promoted"
    assert months[1]["version"] == "2"
    assert months[1]["difference"][1] > 0  # the new champion is better on the next month, for certain
    assert all(month["difference"][2] > 0 for month in months[1:])  # and in no month worse, for certain
    assert sum(month["difference"][0] for month in months[1:]) > 0.02

    page = (tmp_path / "year.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert all(month["month"] in page for month in months)
    assert not re.search("""(src|href)=["']http""", page)  # nothing from elsewhere
    assert copy.run("git", "status", "--porcelain") == ""
    assert len(copy.run("modelcycle", "release", "--history").splitlines()) == len(months) + 1
    assert 'all_broken": []' in copy.run("modelcycle", "trace", "champion", "--json")

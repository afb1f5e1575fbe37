"""The pages in a browser: what a domain expert does with the service's, and the site of `make docs`."""

import re
from itertools import chain

from support.service import serving


def test_a_domain_expert_asks_and_answers_in_the_browser(released, page, tmp_path):
    with serving(released, DATABASE_URL=f"sqlite:///{tmp_path}/log.db") as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        page.get_by_role("button", name="Predict").click()  # with the usual values, but now
        usual = r"(2013-\d\d-\d\d \d\d:\d\d)"
        drove = page.get_by_text(re.compile(rf"scheduled_departure 20.* instead of the usual {usual}: .* points"))
        typical = re.search(rf"usual {usual}", drove.inner_text())[1]
        page.get_by_label("scheduled_departure").fill(typical.replace(" ", "T"))
        page.get_by_role("button", name="Predict").click()
        page.get_by_text("No single value sets it apart from the usual case.").wait_for()
        page.get_by_label("scheduled_departure").fill("2013-03-01T17:30")
        page.locator("[name=carrier]").select_option("B6")
        page.get_by_label("humidity").fill("")
        page.get_by_label("flight_id").fill("told on the page")
        page.get_by_role("button", name="Predict").press("Enter")
        answer = page.locator("#answer")
        answer.wait_for()
        assert "of 100 such cases (version 1)" in answer.inner_text()
        page.get_by_text("What drove it:").wait_for()
        assert "humidity unknown instead of the usual" in answer.inner_text()
        page.get_by_label("Comment").fill("it rained")
        page.get_by_role("button", name="That was wrong").click()
        page.get_by_text("Thank you.").wait_for()
        page.get_by_text("The model's card").click()
        page.get_by_role("heading", name="Intended use").wait_for()
        page.get_by_label("humidity").fill("300")
        page.get_by_role("button", name="Predict").click()
        assert page.evaluate("document.querySelector('[name=humidity]').validity.rangeOverflow")


def test_the_site_has_every_page_finds_words_and_loads_nothing_from_elsewhere(copy, page):
    copy.run("make", "docs")
    site = copy.path / "reports/site"
    for source in chain.from_iterable(map(copy.path.glob, ["README.md", "docs/**/*.md", "deploy/*/README.md"])):
        assert (site / source.relative_to(copy.path)).with_suffix(".html").is_file()
    page.goto((site / "index.html").as_uri())
    for word, heading in [("slice_gap", "Flight Delays"), ("hand-over", "On call")]:  # a parameter, a form
        page.get_by_placeholder("Search").fill(word)
        page.get_by_placeholder("Search").press("Enter")
        page.locator("#search-results").get_by_role("link", name=re.compile(heading)).first.click()
        page.locator("#furo-main-content").get_by_text(word).first.wait_for()

"""`make process`, the gate that asks for it, and `make review`, as a team types them."""

from datetime import date


def test_the_process_is_told_agreed_judged_and_reviewed(released, tmp_path):
    repository = released.copy_to(tmp_path)
    repository.run("git", "tag", "sprint-2", "--message", "It begins")
    assert "error: 7 of 7 phases are not in order" in repository.run("make", "process", fails=True)
    repository.run("git", "checkout", "--quiet", "docs")
    repository.commit_change("process: false", "process: true")
    for page in (repository.path / "docs/crisp-dm").iterdir():  # the team owns every page and has read it today
        agreed = page.read_text(encoding="utf-8").replace("owner: null", "owner: the team")
        agreed = agreed.replace("status: example", "status: agreed")
        page.write_text(agreed.replace("last_review: null", f"last_review: {date.today()}"), encoding="utf-8")
    repository.commit("Agree")
    assert "process: in order" in repository.run("make", "gate")
    assert "reports/review.html" in repository.run("make", "review", "SINCE=sprint-2")
    page = repository.read("reports/review.html")
    assert "2 changes and 0 trainings" in page
    assert "Agree" in page

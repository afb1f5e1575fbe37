"""The sprint review: one page for domain experts, of what came of a sprint in which all kinds of things happened."""

import re
import time
from pathlib import Path

from conftest import commit_change, fork

TOOL = "modelcycle"
FILL = str(Path(__file__).parent / "fill_log.py")
SAY = """
from modelcycle.tracking.prediction_log import ANSWERS, open_log, write_feedback
from sqlalchemy import select
log = open_log("sqlite:///.mlflow/predictions.db")
with log.connect() as connection:
    given = connection.execute(select(ANSWERS.c.id, ANSWERS.c.answer).limit(4)).all()
for wrong, (name, answer) in enumerate(given[:3]):
    write_feedback(log, name, answer["prediction"] != (wrong == 2), ["", "Ja, Köln", "<script src='http://x.example'>"][wrong])
write_feedback(log, given[3][0], None, "Why is it so late?")
"""


def words(html: str) -> str:
    """Give what is read of a part of the page, without plots."""
    text = re.sub("<svg.*?</svg>|<[^>]*>", " ", re.sub("</?strong>", "", html), flags=re.DOTALL)
    return " ".join(text.split())


def section(page: str, title: str) -> str:
    """Give what is read of a section."""
    found = re.search(rf"<h2>{re.escape(title)}</h2>(.*?)(<h2>|</body>)", page, re.DOTALL)
    return words(found[1])


def test_a_sprint_is_told_on_one_page(released, tmp_path):
    repository = fork(released, tmp_path)
    time.sleep(1)  # git's times are whole seconds
    repository.run("git", "-c", "user.name=T", "-c", "user.email=t@example.com", "tag", "sprint-2", "-m", "It begins")
    commit_change(repository, "seed: 0", "seed: 3")
    repository.run(TOOL, "release")
    repository.commit("Write the cards")
    repository.run("python", FILL, "2013-07-01", "2013-07-15", "0.5")
    repository.run(TOOL, "monitor", "--since", "2013-07-01", "--until", "2013-07-15", fails=True)
    repository.run("python", "-c", SAY)
    repository.run(TOOL, "rollback", "--reason", "too slow")
    commit_change(repository, "bound: 0.62", "bound: 0.8")
    repository.run(TOOL, "release", fails=True)
    printed = repository.run("make", "review", "SINCE=sprint-2")
    assert "3 decisions since" in printed
    assert "reports/review.html" in printed
    page = repository.read("reports/review.html")

    short = words(page.partition("In short")[2].partition("</ul>")[0])
    assert "2 changes and 1 training; 1 model released, 1 rejected, 1 rollback." in short
    assert "In use is version 1, as at the beginning" in short
    tried = section(page, "What did we try?")
    assert "seed: 3 (version 2, released)" in tried
    assert "bound: 0.8 (version 3, rejected)" in tried
    assert "seed 3 instead of 0" in tried
    assert "Write the cards" not in tried
    svg = page[page.index("<svg") : page.index("</svg>")]
    assert all(label in svg for label in ("version 1", "version 2", "version 3", "rejected by the gate", "this review"))
    rows = section(page, "Which data came in?")
    assert "all data 18,330 18,330 0 to learn from" in rows
    assert "4 answers have got feedback, 3 of them with what really happened" in rows
    decided = section(page, "What was decided, and why?")
    assert "Back to version 1, instead of version 2" in decided
    assert "too slow" in decided
    assert re.search(r"Version 2 released, instead of version 1 .* On the same cases: roc_auc [\d.]+, version", decided)
    assert re.search(r"Version 3 rejected by .* The model is not as good as was agreed\. \(minimum: roc_auc", decided)
    said = section(page, "What did users say?")
    assert "2 answers were right, 1 were wrong" in said
    assert "Ja, Köln" in said
    assert "Why is it so late?" in said
    assert "&lt;script src=" in said
    assert "<script" not in page
    risks = section(page, "Which risks are open?")
    assert "Version 1 is clearly worse" in risks
    assert "Version 2, which is no longer in use, 2013-07-01 to 2013-07-15:" in risks
    assert "temperature is higher than in training" in risks
    assert "modelling: no owner; still the example; never reviewed" in risks
    assert not re.search(r"""(src|href)=["']?http|@import|url\(http""", page.replace("src=&#39;http", ""))

    printed = repository.run(TOOL, "review", fails=True, DATABASE_URL="sqlite:///no/such/folder/log.db")
    assert printed.startswith("error: The prediction log (DATABASE_URL) can't be read")
    assert len(printed.splitlines()) == 1

"""From a committed model to a version, back again, and back to the bytes that it came from, as a user types it."""

import hashlib
import re
import shutil
import signal
import subprocess

import pytest

from support.registry import ask, history
from support.service import wait


@pytest.fixture(scope="session")
def retrained(released, shared, tmp_path_factory):
    """The released repository with another model in its last commit."""

    def make():
        repository = released.copy_to(tmp_path_factory.mktemp("retrained"))
        repository.commit_change("seed: 0", "seed: 3")
        return repository

    return shared("retrained", make)


def start(repository, *command):
    """Start a command in a repository."""
    pipe, environment = subprocess.PIPE, repository.environment()
    return subprocess.Popen(command, cwd=repository.path, env=environment, stdout=pipe, stderr=pipe, text=True)


ANSWERS = """
import sys
import pandas as pd
from modelcycle.versions.bundle import load_champion
test = pd.read_parquet("data/test.parquet")
table = pd.concat([test[["flight_id", "late"]], load_champion(client).predict(test)], axis=1)
table.to_parquet(sys.argv[1], index=False)
"""


def test_a_model_is_judged_released_traced_and_rolled_back(retrained, released, tmp_path):
    """After the rollback the champion answers like before, bit for bit."""
    repository, answers = retrained.copy_to(tmp_path), tmp_path / "answers.parquet"
    before = (released.path / "reports/predictions.parquet").read_bytes()
    assert "passed, beside version 1" in repository.run("make", "gate")
    printed = repository.run("make", "release")
    assert re.search(r"duel with the champion: roc_auc 0\.\d+, version 1 0\.\d+; at worst", printed)
    assert "version 2 is the champion, 1 was before" in printed
    assert repository.run("git", "status", "--porcelain").split() == "M docs/data_card.md M docs/model_card.md".split()
    repository.commit("cards")
    ask(repository, ANSWERS, str(answers))
    assert answers.read_bytes() == (repository.path / "reports/predictions.parquet").read_bytes() != before
    printed = repository.run("make", "rollback", 'REASON=too many "alarms" `id` at $$night')
    assert "version 1 is the champion, 2 was before" in printed
    assert 'too many "alarms" `id` at $night' in repository.run("modelcycle", "release", "--history")
    ask(repository, ANSWERS, str(answers))
    assert answers.read_bytes() == before
    printed = repository.run("make", "trace")
    assert "version 1 (champion)" in printed
    assert "broken" not in printed
    assert "There is no version '9'. Versions: 2, 1." in repository.run("make", "rollback", "VERSION=9", fails=True)


def test_a_killed_release_leaves_nothing_half_made_and_two_at_once_make_one_champion(retrained, tmp_path):
    repository = retrained.copy_to(tmp_path)
    killed = start(repository, "modelcycle", "release")
    wait(lambda: any((repository.path / ".mlflow").rglob("release-*/contract.yaml")), "the release")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert history(repository) == ["1 promoted"]
    both = [start(repository, "modelcycle", "release") for _ in range(2)]
    printed = ["".join(process.communicate()) for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert sum("version 2 is the champion, 1 was before" in text for text in printed) == 1
    assert sum("version 2 of this commit is the champion already" in text for text in printed) == 1
    assert history(repository) == ["1 promoted", "2 promoted"]
    state = "print(find_champion(client).number, len(list_versions(client)), find_version(client, 'champion').number)"
    assert ask(repository, state) == "2 2 2"


def test_several_first_uses_at_once_make_one_store(copy):
    shutil.rmtree(copy.path / ".mlflow")
    several = [start(copy, "modelcycle", "release", "--history") for _ in range(3)]
    assert [(*process.communicate(), process.returncode) for process in several] == [("", "", 0)] * 3


STAGE = """  photos:
    cmd: mkdir data/photos && echo 1 > data/photos/a && echo 2 > data/photos/b
    outs: [data/photos]
"""


def test_a_version_is_reproduced_bit_for_bit_but_for_what_was_mended_by_hand(released, tmp_path):
    repository = released.copy_to(tmp_path)
    repository.replace("dvc.yaml", "\nplots:", f"{STAGE}\nplots:")
    repository.run("dvc", "repro", "photos")
    report = repository.path / "reports/intervals.csv"
    content = report.read_text(encoding="utf-8")
    report.unlink()  # it is read-only
    report.write_text(content.replace("roc_auc,0.7", "roc_auc,0.9"), encoding="utf-8")
    repository.run("dvc", "commit", "--force", "evaluate")
    repository.commit("looks good")
    repository.run("modelcycle", "release")
    before = repository.run("git", "status", "--porcelain")

    printed = repository.run("modelcycle", "trace", "2", "--reproduce", fails=True)
    (fault,) = printed.partition("error: The trace of version 2 is broken:\n")[2].splitlines()
    assert fault.startswith("  reports/intervals.csv, reproduced, has md5 ")
    assert repository.run("git", "status", "--porcelain") == before
    assert len(repository.run("git", "worktree", "list").splitlines()) == 1

    digest = hashlib.md5(b"2\n").hexdigest()
    stored = repository.path / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    stored.chmod(0o644)
    stored.write_text("3\n")
    printed = repository.run("modelcycle", "trace", fails=True)
    assert re.search(r"error: .*\n  data/photos has md5 \w+ \(b\) in the cache, dvc\.lock says \w+\.dir\n", printed)

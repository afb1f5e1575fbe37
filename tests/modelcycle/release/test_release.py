import json
import re
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from modelcycle.core.contract import read_contract
from modelcycle.core.errors import InputError
from modelcycle.release import release
from modelcycle.release.release import Judgement, report_verdicts
from modelcycle.versions import registry
from modelcycle.versions.ledger import read_ledger
from modelcycle.versions.params import read_params
from modelcycle.versions.registry import Verdict


def decisions(client):
    """List the ledger as `1 promoted`, and so on."""
    return [f"{entry.version} {entry.event}" for entry in read_ledger(client)]


def change_gate(repository, old="slice_gap: 0.1\n", new="slice_gap: 0.2\n"):
    """Make a commit that is another version, of the same model."""
    repository.replace("params.yaml", old, new)
    repository.commit(new)


@pytest.fixture
def passing(first_release, monkeypatch):
    """Let every model pass the gate, without a look at it or at what it was made from."""
    names = ("intervals", "slices", "calibration", "baselines")
    tables = [pd.read_csv(first_release.path / f"reports/{name}.csv") for name in names]
    verdicts = [Verdict("minimum", True, "enough", "enough", "Too little.")]
    monkeypatch.setattr(release, "judge_model", lambda *_: Judgement(verdicts, tables, "judged"))
    monkeypatch.setattr(release, "require_reproduced", lambda: None)
    monkeypatch.setattr(release, "write_report", lambda path, *_, **__: path.write_text("the report", encoding="utf-8"))


def test_the_first_release_makes_the_champion_and_a_second_one_changes_nothing(repository, client):
    assert "all 2" in repository.read("reports/release.html")
    for _ in range(2):
        assert decisions(client) == ["1 promoted"]
        assert registry.find_version(client, "champion").number == "1"
        assert repository.run("git", "status", "--porcelain") == ""
        assert "version 1 of this commit is the champion already" in repository.verb("release")


def test_a_release_registers_judges_documents_and_decides(repository, client):
    card = repository.path / "docs/model_card.md"
    card.write_text(f"{repository.read(card)}\nAsk Ada.\n", encoding="utf-8")
    change_gate(repository)
    printed = repository.verb("release")
    assert re.search(
        r"^ {10}duel with the champion: roc_auc 0\.7\d+, version 1 0\.7\d+; at worst \+0\.0000", printed, re.M
    )
    assert re.search(r"^release +version 2 is the champion, 1 was before +reports/release\.html$", printed, re.M)
    assert "Passed" in repository.read("reports/release.html")
    assert decisions(client) == ["1 promoted", "2 promoted"]

    first, second = (registry.find_version(client, name) for name in ("1", "champion"))
    assert (second.number, second.aliases) == ("2", ["champion"])
    assert second.commit == repository.run("git", "rev-parse", "HEAD").strip() != first.commit
    assert second.tags["verdict"] == "passed"
    assert json.loads(second.tags["holdout"]) == {
        "by": "key",
        "columns": ["flight_id"],
        "share": 0.2,
        "refit": False,
        "trained_until": pd.read_parquet("data/train.parquet")["scheduled_departure"].max().isoformat(),
    }
    assert int(second.tags["train_rows"]) == len(pd.read_parquet("data/train.parquet"))
    assert (
        json.loads(second.tags["metrics"])["roc_auc"] == json.loads(repository.read("reports/metrics.json"))["roc_auc"]
    )
    assert {"training rows", "duel with the champion"} == {v.rule for v in second.verdicts} - {
        v.rule for v in first.verdicts
    }
    assert {path.name for path in registry.download_version(client, second).iterdir()} == {
        *(path.name for path in registry.VERSION_FILES),
        "model_card.md",
        "release.html",
        "data_card.md",
    }
    entry = read_ledger(client)[-1]
    assert (entry.commit, entry.replaced, entry.metrics) == (second.commit, "1", second.tags["metrics"])
    assert json.loads(repository.verb("trace", "1", "--json"))["all_broken"] == []
    assert json.loads(repository.verb("trace", "2", "--json"))["all_broken"] == []  # the gate's rules may change

    assert repository.run("git", "status", "--porcelain").split() == "M docs/data_card.md M docs/model_card.md".split()
    written = repository.read("docs/model_card.md")
    for text in ("| version | 2 |", "Ask Ada.", "## Intended use", "duel with the champion"):
        assert text in written
    assert "| humidity | feature | integer |" in repository.read("docs/data_card.md")


@pytest.mark.slow
def test_a_rejected_model_is_a_version_but_no_champion(repository, client):
    change_gate(repository, "bound: 0.62", "bound: 0.99")
    printed = repository.verb("release", fails=True)
    assert re.search(
        r"^FAILED    minimum: roc_auc 0\.7\d+ \(0\.7\d+ to 0\.7\d+\) +expected at least 0\.99", printed, re.M
    )
    assert "\nerror: The gate rejects version 2:\n  minimum: found roc_auc 0.7" in printed
    assert "expected at least 0.99 for certain. The model is not as good as was agreed." in printed
    assert decisions(client) == ["1 promoted", "2 rejected"]
    assert registry.find_version(client, "champion").number == "1"
    assert registry.find_version(client, "2").tags["verdict"] == "rejected"
    assert "Rejected" in repository.read("reports/release.html")
    assert repository.run("git", "status", "--porcelain") == ""  # the cards are the champion's
    assert "The gate has not promoted version 2; add --force" in repository.verb("rollback", "2", fails=True)
    assert "version 2 is the champion, 1 was before" in repository.verb("rollback", "2", "--force")


@pytest.mark.slow
def test_the_gate_alone_judges_what_is_not_committed_and_writes_nothing(repository, client):
    repository.replace("params.yaml", "bound: 0.62", "bound: 0.99")
    before = contents(repository)
    assert "error: The gate rejects this model:\n  minimum: found" in repository.verb("gate", fails=True)
    assert contents(repository) == before
    assert decisions(client) == ["1 promoted"]


def contents(repository):
    left_out = (".mlflow", ".dvc")  # where they lock and note what they have looked at
    return {path: (repository.path / path).read_bytes() for path in repository.files() if path.parts[0] not in left_out}


def test_the_gate_says_beside_which_champion_a_model_has_passed(repository, reproduced, tmp_path, passing):
    assert repository.verb("gate").splitlines()[-1] == "gate      passed, beside version 1"
    assert reproduced.copy_to(tmp_path / "new").verb("gate").splitlines()[-1] == "gate      passed, beside no champion"


def test_figures_in_reports_are_not_believed(repository, monkeypatch):
    """What is judged is computed from model and data again, whatever the reports say."""
    for name in ("intervals", "slices", "calibration", "baselines"):
        (repository.path / f"reports/{name}.csv").unlink()
    contract, params = read_contract(), read_params()
    train, test = (pd.read_parquet(f"data/{name}.parquet") for name in ("train", "test"))
    shuffled = test.assign(late=test["late"].sample(frac=1, random_state=0).to_numpy())
    params.gate.process = True
    monkeypatch.setattr(release, "judge_process", lambda: Verdict("process", False, "nobody", "somebody", "Nobody."))
    judgement = release.judge_model(None, None, train, shuffled, contract, params)
    failed = [verdict.rule for verdict in judgement.verdicts if not verdict.passed]
    assert failed[0] == "better than guessing"
    assert "probabilities better than guessing" in failed
    assert failed[-1] == "process"
    assert abs(judgement.tables[0].set_index("metric").loc["roc_auc", "value"] - 0.5) < 0.05
    assert judgement.duel is None
    assert judgement.state == "rejected"


SEED = {"params.yaml": "seed: 0->seed: 5"}


def edit(repository, changes):
    """Edit files by name (`old->new`, a new text or, empty, delete it), commit, and run git commands, in this order."""
    for name, text in changes.items():
        path, (old, _, new) = repository.path / name, text.partition("->")
        if name == "commit":
            repository.commit()
        elif name.startswith("git "):
            repository.run(*name.split(), "--quiet")
        elif new:
            repository.replace(name, old, new)
        elif old:
            path.write_text(old, encoding="utf-8")
        else:
            path.unlink()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"notes.txt": "mine"}, "The work tree differs from the commit: notes.txt. A version names exactly one commit"),
        (SEED, "The work tree differs from the commit: params.yaml. "),
        ({f"n{i}": "mine" for i in range(6)}, "the commit: n0, n1, n2, n3, n4 and more. "),
        ({"params.yaml": ""}, "params.yaml is not in "),
        ({".git/HEAD": "ref: refs/heads/empty\n"}, "Nothing is committed yet; commit the project, then release again."),
        (SEED | {"commit": ""}, "The pipeline is not up to date: train, evaluate has changed. Run `make reproduce`"),
        (
            {"dvc.lock": "", "commit": ""},
            "The pipeline is not up to date: ingest, prepare, train, evaluate has changed",
        ),
        ({"dvc.lock": "schema: '2.0'->schema: [", "commit": ""}, "DVC can't read the pipeline: "),
        (
            {".dvc/tmp/rwlock": "{"},
            "'.dvc/tmp/rwlock'. JSON structure is corrupted. Remove it: a command that was stop",
        ),
        (
            {"dvc.yaml": "params: [train]\n->params: [train]\n    frozen: true\n", "commit": ""},
            "dvc.yaml: train is frozen",
        ),
        ({".gitignore": "dvc.lock", "git rm --cached dvc.lock": "", "commit": ""}, "dvc.lock' is git-ignored."),
        (
            {"docs/model_card.md": "no markers", "commit": ""},
            "docs/model_card.md has no lines '<!-- generated ... -->'",
        ),
        ({"git checkout --detach": "", "commit": ""}, "The commit is on no branch, so that git may delete it"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:40],
)
def test_what_is_no_single_commit_with_its_results_is_not_released(repository, client, change, sentence):
    edit(repository, change)
    printed = repository.verb("release", fails=True)
    assert f"error: {sentence}" in printed or sentence in printed.partition("error: ")[2], printed
    assert len(printed.partition("error: ")[2].splitlines()) == 1
    assert decisions(client) == ["1 promoted"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "word", "remedy"),
    [
        ({"notes.txt": "mine"}, "commit or stash", {"git stash --include-untracked": ""}),
        ({"notes.txt": "mine"}, "commit or stash", {"commit": ""}),
        ({"git checkout --detach": "", "commit": ""}, "check out a branch", {"git checkout -b ours": ""}),
        ({".dvc/tmp/rwlock": "{"}, "Remove it", {".dvc/tmp/rwlock": ""}),
        (
            {"dvc.yaml": "params: [train]\n->params: [train]\n    frozen: true\n", "commit": ""},
            "remove `frozen`",
            {"dvc.yaml": "params: [train]\n    frozen: true\n->params: [train]\n", "commit": ""},
        ),
        ({"docs/model_card.md": "no markers", "commit": ""}, "", {"git checkout HEAD~1 docs": "", "commit": ""}),
    ],
    ids=["stash", "commit", "branch", "lock", "frozen", "markers"],
)
def test_what_is_said_to_be_done_makes_it_one(repository, change, word, remedy):
    edit(repository, change)
    assert word in repository.verb("release", fails=True)
    edit(repository, remedy)
    assert re.search("version [12] .*is the champion", repository.verb("release"))


def test_documents_may_differ_from_the_commit(repository):
    (repository.path / "docs/notes.md").write_text("ours", encoding="utf-8")
    assert "is the champion already" in repository.verb("release")


def test_in_ci_a_release_needs_the_team_s_store(repository, client):
    printed = repository.verb("release", fails=True, CI="true")
    assert "error: MLFLOW_TRACKING_URI is not set, and what CI would release into goes away with the job" in printed
    assert decisions(client) == ["1 promoted"]


@pytest.mark.slow
def test_a_shallow_clone_does_not_skip_the_duel(repository, client):
    change_gate(repository)
    (repository.path / ".git/shallow").write_text(repository.run("git", "rev-parse", "HEAD"))
    repository.run("git", "reflog", "expire", "--expire=now", "--all")
    repository.run("git", "gc", "--quiet", "--prune=now")
    assert "is not in this repository: `git fetch --unshallow`" in repository.verb("release", fails=True)
    assert decisions(client) == ["1 promoted"]


def test_a_champion_that_was_changed_ends_the_release(repository, client):
    """Neither is it believed, nor does the duel go away with it."""
    change_gate(repository)
    (stored,) = Path(".mlflow").rglob("release-*/model.skops")
    stored.write_bytes(b"")
    assert "error: model.skops in the registry has md5" in repository.verb("release", fails=True)
    assert decisions(client) == ["1 promoted"]


def test_a_deleted_champion_is_named_and_can_be_left_behind(repository, client, passing):
    change_gate(repository)
    repository.verb("release")
    repository.commit("cards")
    client.delete_model_version("flight_delays", "2")
    printed = repository.verb("release", fails=True)
    assert "error: There is no version '2'. Versions: 1. It is the champion by the ledger" in printed
    assert "version 1 is the champion, 2 was before" in repository.verb("rollback", "1")


def test_a_card_that_the_team_has_deleted_is_written_among_the_reports(repository, client, passing):
    (repository.path / "docs/data_card.md").unlink()
    change_gate(repository)
    repository.verb("release")
    assert "| humidity | feature | integer |" in repository.read("reports/data_card.md")
    assert not (repository.path / "docs/data_card.md").exists()
    files = registry.download_version(client, registry.find_version(client, "2"))
    assert (files / "data_card.md").read_text(encoding="utf-8") == repository.read("reports/data_card.md")


@pytest.mark.slow
def test_a_release_that_another_machine_overtook_is_no_champion_and_can_be_tried_again(
    repository, client, passing, monkeypatch
):
    change_gate(repository)

    def overtake(*_):
        first = registry.find_version(client, "1")
        other = client.create_model_version("flight_delays", first.source, first.run_id, tags=first.tags)
        facts = {"commit": first.commit, "facts": registry.digest_tags(first.tags)}
        registry.record_decision(client, "promoted", str(other.version), replaced="1", **facts)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(release, "write_documents", overtake)
        printed = repository.verb("release", fails=True)
    assert "error: Version 3 has become the champion meanwhile; try again." in printed
    assert decisions(client) == ["1 promoted", "3 promoted", "2 overtaken"]
    assert registry.find_version(client, "champion").number == "3"
    assert "version 4 is the champion, 3 was before" in repository.verb("release")
    assert decisions(client)[3:] == ["4 promoted"]
    assert "broken" not in repository.verb("trace")


@pytest.mark.slow
def test_wherever_a_release_is_interrupted_the_next_one_goes_on(repository, client, passing, monkeypatch):
    change_gate(repository)
    for call, is_done in [
        ("log_artifact", True),
        ("create_model_version", False),
        ("create_model_version", True),
        ("create_run", False),  # an entry of the ledger
        ("create_run", True),
    ]:
        assert decisions(client) == ["1 promoted"]
        if len(registry.list_versions(client)) == 2:
            client.set_model_version_tag("flight_delays", "2", "metrics", "of an earlier attempt")
        with monkeypatch.context() as during:
            during.setattr(MlflowClient, call, interrupt(getattr(MlflowClient, call), is_done))
            assert repository.attempt("release")[0] == 9, f"{call} was not called"
    assert decisions(client) == ["1 promoted", "2 promoted"]
    assert registry.find_version(client, "2").tags["metrics"] == read_ledger(client)[-1].metrics
    assert registry.find_version(client, "champion").number == "2"  # by the ledger, though the alias is behind it
    assert registry.find_version(client, "1").aliases == ["champion"]
    assert "version 2 of this commit is the champion already" in repository.verb("release")
    assert registry.find_version(client, "2").aliases == ["champion"]
    assert [version.number for version in registry.list_versions(client)] == ["2", "1"]
    assert "broken" not in repository.verb("trace")


def interrupt(call, is_done):
    """End the process instead of a call, or right after it."""

    def end(*given, **named):
        if is_done:
            call(*given, **named)
        raise SystemExit(9)

    return end


def test_an_alias_that_was_lost_is_mended(repository, client):
    client.delete_registered_model_alias("flight_delays", "champion")
    repository.verb("release")
    assert registry.find_version(client, "1").aliases == ["champion"]


@pytest.mark.slow
def test_a_champion_that_answers_differently_here_is_not_compared(repository, client, other_answers):
    other_answers()
    printed = repository.verb("gate", fails=True)
    assert (
        "duel with the champion: found not held: The champion can't be asked: Version 1 does not answer here" in printed
    )


@pytest.mark.slow
def test_a_person_may_do_without_the_duel_and_the_ledger_says_why(repository, client):
    repository.replace("contract.yaml", "  dest:\n", "  destination:\n")
    repository.replace("example/flights.csv", "dest", "destination")
    repository.reproduce()
    repository.commit("another name for a column")
    refused = repository.verb("release", fails=True)
    assert "duel with the champion: not held: The champion needs dest, which today's contract no longer has." in refused
    assert 'type `make release NO_DUEL="the reason, for the ledger"`' in refused
    assert "--no-duel is a person's decision" in repository.verb("release", "--no-duel", "new name", fails=True, CI="1")
    assert decisions(client) == ["1 promoted", "2 rejected"]
    released = repository.verb("release", "--no-duel", "the source has a new name")
    assert "duel with the champion: not held: a person has decided so." in released
    assert decisions(client)[-1] == "3 promoted"
    assert "no duel: the source has a new name" in repository.verb("release", "--history").splitlines()[-1]


@pytest.fixture
def doubting(passing, monkeypatch):
    """Let the gate find that it can't decide about any model."""
    judgement = release.judge_model()
    judgement.verdicts.append(Verdict("better than guessing", None, "0.6 (0.4 to 0.8)", "above 0.5", "Of no use."))
    monkeypatch.setattr(release, "judge_model", lambda *_: judgement)


def test_an_undecided_model_is_released_by_a_person_alone_with_a_reason(repository, client, doubting):
    card = repository.read("docs/model_card.md")
    change_gate(repository)
    status, printed = repository.attempt("gate")
    assert status == 3
    assert "UNDECIDED better than guessing: 0.6 (0.4 to 0.8)" in printed
    status, printed = repository.attempt("release")
    assert status == 3
    assert "The gate can't decide about version 2: there is too little data to tell." in printed
    assert 'type `make release UNDECIDED="the reason, for the ledger"`' in printed
    assert decisions(client) == ["1 promoted", "2 undecided"]
    assert registry.find_version(client, "champion").number == "1"
    assert repository.read("docs/model_card.md") == card
    refused = repository.verb("release", "--undecided", "more rows cost too much", fails=True, CI="1")
    assert "--undecided is a person's decision" in refused
    assert "version 3 is the champion" in repository.verb("release", "--undecided", "more rows cost too much")
    assert decisions(client)[-1] == "3 promoted"
    assert "undecided: more rows cost too much" in repository.verb("release", "--history").splitlines()[-1]
    assert "**undecided**" in repository.read("docs/model_card.md")


def test_a_reason_against_doubt_does_not_release_what_is_rejected(repository, client, doubting, monkeypatch):
    judgement = release.judge_model()
    judgement.verdicts.append(Verdict("minimum", False, "0.5", "0.7", "Too bad."))
    change_gate(repository)
    assert "The gate rejects version 2" in repository.verb("release", "--undecided", "we want it", fails=True)
    assert decisions(client) == ["1 promoted", "2 rejected"]


@pytest.mark.slow
def test_models_that_are_fitted_on_all_rows_learn_the_latest_at_each_retraining(repository, client):
    repository.replace("params.yaml", "holdout: {by: key}", "holdout: {by: time, last: 30d}")
    repository.replace("params.yaml", "refit: false", "refit: true")
    repository.replace("params.yaml", "bound: 0.62", "bound: null")
    repository.replace("params.yaml", "margin: 0.015", "margin: 0.5")
    repository.replace("params.yaml", "calibration_gap: 0.03", "calibration_gap: 1")
    repository.replace("params.yaml", "slice_gap: 0.1", "slice_gap: 1")
    repository.replace("params.yaml", "expect: higher", "expect: different")
    newest, reasons = [], ["by time from now on", "", ""]
    for until, reason in zip(("2013-05-01", "2013-06-01", "2013-07-01"), reasons, strict=True):
        text = repository.read("params.yaml")
        (repository.path / "params.yaml").write_text(re.sub("until: .*", f'until: "{until}"', text), encoding="utf-8")
        repository.reproduce()
        repository.commit(f"until {until}")
        repository.verb("release", "--undecided", "no rows", *(["--no-duel", reason] if reason else []))
        repository.run("git", "checkout", "--quiet", "docs")
        newest.append(json.loads(registry.find_version(client, "champion").tags["holdout"])["trained_until"])
        assert newest[-1] == pd.read_parquet("data/test.parquet")["scheduled_departure"].max().isoformat()
    assert decisions(client)[1:] == ["2 promoted", "3 promoted", "4 promoted"]
    assert newest == sorted(set(newest))
    assert "It was trained until" in repository.read("reports/release.html")


@pytest.mark.slow
def test_the_example_s_champion_retires_when_the_team_s_own_data_comes(repository, client):
    (repository.path / "data").mkdir(exist_ok=True)
    header, *lines = repository.read("example/flights.csv").splitlines(keepends=True)
    (repository.path / "data/own.csv").write_text(header + "".join(lines[:9000]), encoding="utf-8")
    repository.replace("params.yaml", "example/flights.csv", "data/own.csv")
    repository.replace("params.yaml", "origin, carrier", "origin")  # some carriers have few of these rows
    repository.run("git", "add", "--force", "data/own.csv")
    repository.reproduce()
    repository.commit("our own data")
    printed = repository.verb("release")
    assert "duel with the champion: not held: version 1 is the example's" in printed
    assert "training rows" not in printed  # half of the example's
    assert decisions(client) == ["1 promoted", "2 promoted"]
    change_gate(repository)
    assert "duel with the champion: roc_auc" in repository.verb("release")


def test_each_rule_has_a_line_and_each_failed_one_its_reason(capsys):
    verdicts = [
        Verdict("first", True, "1", "at most 2", "Too much."),
        Verdict("second", False, "3", "at most 2", "Too much."),
        Verdict("third", False, "no", "yes", "Not so."),
    ]
    report_verdicts(Judgement(verdicts[:1], [], ""), "it")
    with pytest.raises(InputError) as error:
        report_verdicts(Judgement(verdicts, [], ""), "version 3")
    assert str(error.value) == (
        "The gate rejects version 3:\n"
        "  second: found 3, expected at most 2. Too much.\n"
        "  third: found no, expected yes. Not so."
    )
    good, *lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(" {10}first: 1 +expected at most 2", good)
    assert lines[0] == good
    assert re.fullmatch("FAILED {4}second: 3 +expected at most 2", lines[1])

"""From a committed model to a version, back again, and back to the bytes that it came from."""

import hashlib
import json
import re
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest
from conftest import Repository, commit_change, fork

TOOL = "modelcycle"
LOOK = """
from modelcycle.core.errors import InputError
from modelcycle.release.trace import trace
try:
    trace("1", False, False)
except InputError as error:
    print("error:", error)
"""


def ledger(repository: Repository) -> list[str]:
    return re.findall(r"version (\d+ \w+(?: back)?)", repository.run(TOOL, "release", "--history"))


def ask(repository: Repository, code: str, *arguments: str) -> str:
    """Run Python with a client of the registry named `client`."""
    names = "client, EXPERIMENT = connect(), read_project().registered_name\n"
    lines = f"from modelcycle.tracking.registry import *\nfrom modelcycle.tracking.store import connect\n{names}{code}"
    return repository.run("python", "-c", lines, *arguments).strip()


def test_the_first_release_makes_the_champion_and_a_second_one_changes_nothing(released):
    assert ledger(released) == ["1 promoted"]
    assert "version 1 of this commit is the champion already" in released.run("make", "release")
    assert ledger(released) == ["1 promoted"]
    assert "all 2" in released.read("reports/release.html")
    assert released.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"notes.txt": "mine"}, "The work tree differs from the commit: notes.txt"),
        ({"params.yaml": "seed: 0->seed: 5"}, "The work tree differs from the commit: params.yaml"),
        ({"params.yaml": "seed: 0->seed: 5", "commit": ""}, "The pipeline is not up to date: train has changed"),
        ({"dvc.lock": "", "commit": ""}, "The pipeline is not up to date"),
        ({"dvc.lock": "schema: '2.0'->schema: [", "commit": ""}, "DVC can't read the pipeline: "),
        ({".dvc/tmp/rwlock": "{"}, "'.dvc/tmp/rwlock'. JSON structure is corrupted. Remove it: "),
        (
            {"dvc.yaml": "    params: [train]\n->    params: [train]\n    frozen: true\n", "commit": ""},
            "train is frozen",
        ),
        (
            {"params.yaml": "add: {precipitation: 5}->add: {rain: 5}", "commit": ""},
            "params.yaml: gate.behaviour changes",
        ),
    ],
    ids=[
        "untracked file",
        "uncommitted parameter",
        "stale pipeline",
        "no dvc.lock",
        "broken dvc.lock",
        "DVC stopped",
        "frozen stage",
        "unknown column in a rule",
    ],
)
def test_what_is_no_single_commit_is_not_released(released, tmp_path, change, sentence):
    repository = fork(released, tmp_path)
    for name, edit in change.items():
        path, (old, _, new) = repository.path / name, edit.partition("->")
        if name == "commit":
            repository.commit()
        elif new:
            path.write_text(repository.read(name).replace(old, new), encoding="utf-8")
        elif old:
            path.write_text(old, encoding="utf-8")
        else:
            path.unlink()
    printed = repository.run(TOOL, "release", fails=True)
    assert sentence in printed
    assert "Traceback" not in printed
    assert ledger(repository) == ["1 promoted"]


def test_a_commit_on_no_branch_is_not_released(retrained, tmp_path):
    repository = fork(retrained, tmp_path)
    repository.run("git", "checkout", "--quiet", "--detach")
    repository.commit("nowhere")
    assert "The commit is on no branch" in repository.run(TOOL, "release", fails=True)
    assert ledger(repository) == ["1 promoted"]


def test_figures_in_reports_are_not_believed(released, tmp_path):
    """A model that guesses, with a report that was mended by hand and committed as the pipeline's own."""
    repository = fork(released, tmp_path)
    good = repository.read("reports/intervals.csv")
    commit_change(repository, "max_iter: 200", "max_iter: 1")
    (repository.path / "reports/intervals.csv").unlink()
    (repository.path / "reports/intervals.csv").write_text(good, encoding="utf-8")
    repository.run("dvc", "commit", "--force", "evaluate")
    repository.commit("looks good")
    assert "better than guessing: roc_auc 0.66" in repository.run(TOOL, "release", fails=True)
    assert "intervals.csv, reproduced, has md5" in repository.run(TOOL, "trace", "2", "--reproduce", fails=True)


def test_a_rejected_model_is_a_version_but_no_champion(released, tmp_path):
    repository = fork(released, tmp_path)
    commit_change(repository, "max_iter: 200", "max_iter: 2")
    printed = repository.run(TOOL, "release", fails=True)
    assert "error: The gate rejects version 2:" in printed
    assert re.search(
        r"duel with the champion: found roc_auc .*, expected at worst -0.0150 .* Users would get worse", printed
    )
    assert ledger(repository) == ["1 promoted", "2 rejected"]
    assert "Rejected" in repository.read("reports/release.html")
    assert "version 1 (champion)" in repository.run(TOOL, "trace", fails=False).splitlines()[0]
    assert "The gate has not promoted version 2; add --force" in repository.run(TOOL, "rollback", "2", fails=True)
    assert "version 2 is the champion" in repository.run(TOOL, "rollback", "2", "--force")


def test_a_shallow_clone_does_not_skip_the_duel(retrained, tmp_path):
    repository = fork(retrained, tmp_path)
    (repository.path / ".git/shallow").write_text(repository.run("git", "rev-parse", "HEAD"))
    repository.run("git", "reflog", "expire", "--expire=now", "--all")
    repository.run("git", "gc", "--quiet", "--prune=now")
    assert "is not in this repository: `git fetch --unshallow`" in repository.run(TOOL, "release", fails=True)
    assert ledger(repository) == ["1 promoted"]


@pytest.mark.parametrize("name", ["model.skops", "contract.yaml", "params.yaml", "profile.json"])
def test_a_champion_that_was_changed_ends_the_release(retrained, tmp_path, name):
    """Neither is it believed, nor does the duel go away with it."""
    repository = fork(retrained, tmp_path)
    (stored,) = (repository.path / ".mlflow").rglob(f"release-*/{name}")
    with changed_byte(stored):
        assert f"error: {name} in the registry has md5" in repository.run(TOOL, "release", fails=True)
    assert ledger(repository) == ["1 promoted"]


def test_a_grown_test_share_leaves_out_what_the_champion_was_trained_on(released, tmp_path):
    repository = fork(released, tmp_path)
    commit_change(repository, "test_share: 0.2", "test_share: 0.4")
    code = """
import sys, pandas as pd
from modelcycle.core.contract import read_contract
from modelcycle.release.release import select_duel_rows
from modelcycle.tracking.bundle import load_champion
test, contract = pd.read_parquet("data/test.parquet"), read_contract()
rows = select_duel_rows(load_champion(client), 0.2, test, contract)
seen = pd.read_parquet(sys.argv[1])
print(len(test), len(rows), len(rows.merge(seen, on=contract.identity)))
"""
    rows, used, seen = map(int, ask(repository, code, str(released.path / "data/train.parquet")).split())
    assert seen == 0
    assert 0.45 * rows < used < 0.55 * rows
    # With a quarter less to learn from it is a close call, so only that there was a duel is certain.
    assert "duel with the champion: roc_auc" in repository.run("sh", "-c", f"{TOOL} release || true")


def test_what_is_no_version_of_ours_is_refused(released, tmp_path):
    repository = fork(released, tmp_path)
    ask(repository, "client.create_model_version(EXPERIMENT, client.get_model_version(EXPERIMENT, 1).source)")
    for command in (["rollback", "2", "--force"], ["trace", "2"]):
        printed = repository.run(TOOL, *command, fails=True)
        assert "Version 2 was not made by `make release`: it names no commit." in printed
        assert "Traceback" not in printed


def test_a_deleted_champion_is_named_and_can_be_left_behind(retrained, tmp_path):
    repository = fork(retrained, tmp_path)
    repository.run(TOOL, "release")
    repository.commit("cards")
    ask(repository, "client.delete_model_version(EXPERIMENT, 2)")
    printed = repository.run(TOOL, "release", fails=True)
    assert "error: There is no version '2'. Versions: 1. It is the champion by the ledger" in printed
    assert "version 1 is the champion, 2 was before" in repository.run(TOOL, "rollback", "1")


def test_a_command_in_another_folder_says_so_and_leaves_nothing_there(released):
    folder = Repository(released.path / "docs")
    printed = folder.run(str(released.path / ".venv/bin" / TOOL), "release", "--history", fails=True)
    assert "error: params.yaml is not in" in printed
    assert not (folder.path / ".mlflow").exists()


def test_a_changed_gate_does_not_break_the_trace(released, tmp_path):
    repository = fork(released, tmp_path)
    commit_change(repository, "slice_gap: 0.1 ", "slice_gap: 0.2 ")
    repository.run(TOOL, "release")
    assert 'all_broken": []' in repository.run(TOOL, "trace", "2", "--json")


def test_the_rollback_drill(released, retrained, tmp_path):
    """Release A, release B, roll back: the champion answers like A, bit for bit."""
    repository = fork(retrained, tmp_path)
    before = (released.path / "reports/predictions.parquet").read_bytes()
    repository.run(TOOL, "release")
    repository.commit("cards")
    assert (repository.path / "reports/predictions.parquet").read_bytes() != before
    answers = """
import pandas as pd
from modelcycle.core.contract import read_contract
from modelcycle.core.team import make_features
from modelcycle.core.model_file import load_model, predict
contract, test = read_contract(), pd.read_parquet("data/test.parquet")
model = load_model(download_version(client, find_champion(client)) / "model.skops")
made = predict(model, make_features(test, contract))
pd.concat([test[["flight_id", "late"]], made], axis=1).to_parquet("again.parquet", index=False)
"""
    ask(repository, answers)
    assert (repository.path / "again.parquet").read_bytes() != before
    assert "version 1 is the champion, 2 was before" in repository.run("make", "rollback", "REASON=too slow")
    ask(repository, answers)
    assert (repository.path / "again.parquet").read_bytes() == before
    (repository.path / "again.parquet").unlink()
    assert ledger(repository) == ["1 promoted", "2 promoted", "1 rolled back"]
    assert "too slow" in repository.run(TOOL, "release", "--history")
    assert "no earlier champion" in repository.run(TOOL, "rollback", fails=True)
    assert "There is no version '9'. Versions: 2, 1." in repository.run(TOOL, "rollback", "9", fails=True)


def test_a_champion_with_another_contract_is_compared_or_the_gate_says_why_not(released, tmp_path):
    repository = fork(released, tmp_path)
    contract = repository.read("contract.yaml")
    humidity = re.search(r"  humidity:\n(?:    .*\n)+", contract)[0]
    commit_change(repository, humidity, "  humidity: {role: ignored, type: number, nullable: true}\n", "contract.yaml")
    printed = repository.run(TOOL, "release")
    assert "duel with the champion: not held" in printed
    assert "needs humidity, which today" in repository.read("reports/release.html") or "not held" in printed
    assert ledger(repository)[-1] == "2 promoted"


def test_two_releases_at_once_make_one_champion(retrained, tmp_path):
    repository = fork(retrained, tmp_path)
    environment = repository.environment()
    command = [TOOL, "release"]
    both = [
        subprocess.Popen(command, cwd=repository.path, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("version 2 is the champion, 1 was before" in text for text in printed) == 1
    assert sum("version 2 of this commit is the champion already" in text for text in printed) == 1
    assert ledger(repository) == ["1 promoted", "2 promoted"]


def test_a_release_that_another_machine_overtook_is_no_champion_and_can_be_tried_again(retrained, tmp_path):
    repository = fork(retrained, tmp_path)
    overtaken = """
from modelcycle.release import release
from modelcycle.core.errors import InputError
write = release.write_documents
def overtake(*given):
    write(*given)
    first = find_version(client, "1")
    other = client.create_model_version(EXPERIMENT, first.source, first.run_id, tags=first.tags)
    facts = {"commit": first.tags["git_commit"], "facts": digest_tags(first.tags)}
    record_decision(client, "promoted", other.version, replaced="1", **facts)
release.write_documents = overtake
try:
    release.release()
except InputError as error:
    print(error)
"""
    assert "Version 3 has become the champion meanwhile; try again." in ask(repository, overtaken)
    assert ledger(repository) == ["1 promoted", "3 promoted", "2 overtaken"]
    assert ask(repository, "print(find_version(client, 'champion').number)") == "3"
    assert "version 4 is the champion, 3 was before" in repository.run(TOOL, "release")
    assert "broken" not in repository.run(TOOL, "trace")
    repository.run("make", "rollback", 'REASON=too many "alarms" `id` at $$night')
    assert ledger(repository)[-2:] == ["4 promoted", "3 rolled back"]
    assert 'too many "alarms" `id` at $night' in repository.run(TOOL, "release", "--history")


def test_several_first_uses_at_once_make_one_store(copy):
    shutil.rmtree(copy.path / ".mlflow")
    environment, command = copy.environment(), [TOOL, "release", "--history"]
    several = [subprocess.Popen(command, cwd=copy.path, env=environment, stderr=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[1] for process in several] == [b"", b"", b""]
    assert [process.returncode for process in several] == [0, 0, 0]


def test_a_killed_release_leaves_nothing_half_made(retrained, tmp_path):
    repository = fork(retrained, tmp_path)
    environment = repository.environment() | {"TESTS_FORKS": "1"}
    clone = fork(repository, tmp_path / "timed")
    started = time.monotonic()
    clone.run(TOOL, "release")
    whole = time.monotonic() - started
    for share in (0.5, 0.7, 0.8, 0.9, 0.95):
        process = subprocess.Popen([TOOL, "release"], cwd=repository.path, env=environment, stdout=subprocess.DEVNULL)
        time.sleep(whole * share)
        process.kill()
        process.wait()
    (repository.path / ".dvc/tmp/rwlock").unlink(missing_ok=True)  # which DVC may have been writing; `release` says so
    repository.run(TOOL, "release")
    assert ledger(repository) == ["1 promoted", "2 promoted"]
    state = "print(find_champion(client).number, len(list_versions(client)), find_version(client, 'champion').number)"
    assert ask(repository, state) == "2 2 2"
    assert "broken" not in repository.run(TOOL, "trace")


def test_an_interruption_between_ledger_and_alias_is_mended(released, tmp_path):
    repository = fork(released, tmp_path)
    ask(repository, "client.delete_registered_model_alias(EXPERIMENT, 'champion')")
    repository.run(TOOL, "release")
    assert ask(repository, "print(find_version(client, 'champion').number)") == "1"


def test_a_registry_out_of_reach_is_named(released):
    printed = released.run(TOOL, "release", fails=True, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "error: The tracking store http://127.0.0.1:9 does not answer" in printed
    assert "Traceback" not in printed


def test_a_trace_leads_to_every_byte(released):
    printed = released.run(TOOL, "trace")
    for part in ("version 1 (champion)", "ledger promoted", "gate 2", "estimator HistGradient", "2013-06-30", "code "):
        assert part in printed
    chain = json.loads(released.run(TOOL, "trace", "1", "--json"))
    assert chain["all_broken"] == []
    assert "version 1" in released.run(TOOL, "trace", "reports/predictions.parquet")
    raw = re.search(r"data/raw.parquet md5 (\w+)", printed)[1]
    assert released.run(TOOL, "trace", "--data", raw).split()[:2] == ["version", "1"]
    assert "No version comes from" in released.run(TOOL, "trace", "--data", "0" * 32, fails=True)


@contextmanager
def changed_byte(path):
    """Change the last byte of a file for a while, also of a file that DVC has made read-only."""
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        yield
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    "data/raw.parquet data/train.parquet data/test.parquet models/model.skops reports/predictions.parquet "
    "contract.yaml params.yaml dvc.lock src/flight_delays/features.py example/flights.csv".split(),
)
def test_a_changed_byte_in_the_workspace_is_named(released, tmp_path, name):
    repository = fork(released, tmp_path)
    with changed_byte(repository.path / name):
        printed = repository.run(TOOL, "trace", fails=True)
    assert re.search(rf"error: The trace of version 1 is broken:\n  {re.escape(name)} ", printed), printed[-800:]


def test_a_changed_byte_in_the_workspace_is_named_after_later_commits(released, tmp_path):
    repository = fork(released, tmp_path)
    repository.commit("cards")
    assert "broken" not in repository.run(TOOL, "trace")
    for name in ("data/train.parquet", "params.yaml"):
        with changed_byte(repository.path / name):
            printed = repository.run(TOOL, "trace", fails=True)
        assert re.search(rf"error: The trace of version 1 is broken:\n  {re.escape(name)} ", printed), printed[-800:]


@pytest.mark.parametrize("name", ["data/train.parquet", "models/model.skops"])
def test_a_changed_or_deleted_cache_object_is_named(released, tmp_path, name):
    repository = fork(released, tmp_path)
    digest = re.search(rf"{name} md5 (\w+)", repository.run(TOOL, "trace"))[1]
    stored = repository.path / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    with changed_byte(stored):
        assert f"{name} has md5" in repository.run(TOOL, "trace", fails=True).partition("error:")[2]
    stored.unlink()
    printed = repository.run(TOOL, "trace", fails=True)
    assert f"{name}, md5 {digest}, is neither in the cache nor in the remote" in printed


def test_a_changed_file_in_a_folder_of_the_cache_is_named(released, tmp_path):
    repository = fork(released, tmp_path)
    stage = "  photos:\n    cmd: mkdir data/photos && echo 1 > data/photos/a && echo 2 > data/photos/b\n"
    commit_change(repository, "\nplots:", f"{stage}    outs: [data/photos]\n\nplots:", "dvc.yaml")
    repository.run(TOOL, "release")
    assert "broken" not in repository.run(TOOL, "trace", "--reproduce")
    digest = hashlib.md5(b"2\n").hexdigest()
    with changed_byte(repository.path / ".dvc/cache/files/md5" / digest[:2] / digest[2:]):
        printed = repository.run(TOOL, "trace", fails=True)
    assert re.search(r"data/photos has md5 \w+ \(b\) in the cache", printed)


@pytest.mark.parametrize("name", ["model.skops", "contract.yaml", "params.yaml", "profile.json", "expected.json"])
def test_a_changed_file_in_the_registry_is_named(released, tmp_path, name):
    repository = fork(released, tmp_path)
    (stored,) = (repository.path / ".mlflow").rglob(f"release-*/{name}")
    with changed_byte(stored):
        assert f"{name} in the registry has md5" in repository.run(TOOL, "trace", fails=True)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ("client.set_model_version_tag(EXPERIMENT, 1, 'md5.train', '0' * 32)", "the version's tag md5.train says 000"),
        ("client.set_model_version_tag(EXPERIMENT, 1, 'git_commit', '1' * 40)", "is not in this repository"),
        (
            "client.set_tag(client.get_model_version(EXPERIMENT, 1).run_id, 'md5.raw', 'x')",
            "the run's tag md5.raw differs",
        ),
        *[
            (
                f"client.set_model_version_tag(EXPERIMENT, 1, '{name}', '5')",
                "tags are not those that the ledger has noted",
            )
            for name in ("verdict", "gate", "train_rows", "metrics")
        ],
        ("client.delete_registered_model_alias(EXPERIMENT, 'champion')", "the alias champion does not name"),
        *[
            (
                f"book = client.get_experiment_by_name(f'{{EXPERIMENT}} ledger').experiment_id\n"
                f"client.set_tag(client.search_runs([book])[0].info.run_id, '{name}', 'x')",
                "in the ledger was edited later",
            )
            for name in ("by", "metrics", "replaced")
        ],
        (
            "book = client.get_experiment_by_name(f'{EXPERIMENT} ledger').experiment_id\n"
            "client.delete_tag(client.search_runs([book])[0].info.run_id, 'commit')",
            "in the ledger was edited later",
        ),
    ],
)
def test_an_edited_registry_is_noticed(released, tmp_path, edit, sentence):
    repository = fork(released, tmp_path)
    assert sentence in ask(repository, edit + LOOK).partition("error: ")[2]


def test_a_deleted_entry_stays_in_the_ledger(released, tmp_path):
    repository = fork(released, tmp_path)
    book = "client.get_experiment_by_name(f'{EXPERIMENT} ledger').experiment_id"
    ask(repository, f"client.delete_run(client.search_runs([{book}])[0].info.run_id)")
    assert ledger(repository) == ["1 promoted"]


def test_rewritten_history_is_noticed(released, tmp_path):
    repository = fork(released, tmp_path)
    (repository.path / "params.yaml").write_text(repository.read("params.yaml") + "# late\n", encoding="utf-8")
    repository.run("git", "add", "--all")
    repository.run("git", "update-ref", "refs/stash", "HEAD")  # no branch, so nothing to rely on
    author = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    repository.run("git", *author, "commit", "--quiet", "--no-verify", "--amend", "-m", "rewritten")
    assert "is on no branch or tag: history has been rewritten" in repository.run(TOOL, "trace", fails=True)


def test_a_version_is_reproduced_bit_for_bit_and_the_workspace_stays(released):
    before = released.run("git", "status", "--porcelain")
    printed = released.run(TOOL, "trace", "--reproduce")
    assert "reproduced" in printed
    assert released.run("git", "status", "--porcelain") == before
    assert len(released.run("git", "worktree", "list").splitlines()) == 1


def test_the_cards_are_written_and_what_the_team_wrote_stays(retrained, tmp_path):
    repository = fork(retrained, tmp_path)
    card = repository.path / "docs/model_card.md"
    card.write_text(repository.read("docs/model_card.md") + "\nAsk Ada.\n", encoding="utf-8")
    repository.commit("ours")
    repository.run(TOOL, "release")
    written = repository.read("docs/model_card.md")
    assert "| version | 2 |" in written
    assert "Ask Ada." in written
    assert "## Intended use" in written
    assert "duel with the champion" in written
    assert "| humidity | feature | integer |" in repository.read("docs/data_card.md")
    assert repository.run("git", "status", "--porcelain").split() == [
        "M",
        "docs/data_card.md",
        "M",
        "docs/model_card.md",
    ]

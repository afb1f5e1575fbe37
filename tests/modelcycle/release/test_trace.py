import json
import re
import shutil
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
from dvc.repo import Repo

from modelcycle.core.errors import InputError
from modelcycle.core.output import md5
from modelcycle.release import trace
from modelcycle.release.chain import Link
from modelcycle.release.trace import resolve_version
from modelcycle.versions import registry
from modelcycle.versions.ledger import append_to_ledger, read_ledger
from modelcycle.versions.prediction_log import connect_writer, open_log, write_answers


@pytest.fixture(scope="module")
def kept(first_release, tmp_path_factory):
    """A copy of the first release that tests change for a while."""
    return first_release.copy_to(tmp_path_factory.mktemp("kept"))


@contextmanager
def changed_bytes(*paths):
    """Change the last byte of files for a while, also of files that DVC has made read-only."""
    contents = {path: path.read_bytes() for path in paths}
    for path, content in contents.items():
        path.chmod(0o644)
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        yield
    finally:
        for path, content in contents.items():
            path.write_bytes(content)


def broken(repository, *words):
    """Trace a version whose chain is broken; gives the faults."""
    printed = repository.verb("trace", *words, fails=True)
    chain, _, faults = re.split(r"(error: The trace of version \d is broken:\n)", printed)
    assert "broken" in chain
    assert all(fault.strip() in chain for fault in faults.splitlines())
    return [fault.strip() for fault in faults.splitlines()]


def test_a_trace_leads_to_every_byte(first_release):
    lines = [re.sub("^[ │├└─]+", "", line) for line in first_release.verb("trace").splitlines()]
    commit = first_release.run("git", "log", "-1", "--format=%H %cs %an: %s").strip()
    days = first_release.run("git", "log", "--format=%cd", "--date=short-local", TZ="UTC0")
    described = dict(line.split(" ", 1) for line in lines)
    assert lines[0] == "version 1 (champion) gate: passed"
    assert re.fullmatch(r"promoted \d{4}-\d\d-\d\d \d\d:\d\d:\d\d by .+", described["ledger"])
    assert re.fullmatch(r"2\d rules, not passed: none", described["gate"])
    assert described["run"].split()[1] in days  # on which it was trained
    assert re.search(r"\d\d:\d\d, estimator HistGradient\w+, l2_regularization 1\.0, .*, seed 0$", described["run"])
    names = ["model.skops", "contract.yaml", "params.yaml", "profile.json", "expected.json", "questions.json"]
    assert described["files"] == f"{', '.join(names)}: as released"
    assert described["commit"] == commit
    assert re.fullmatch(r"\d\d files, as dvc\.lock says", described["code"])
    raw = first_release.path / "data/raw.parquet"
    assert described["data/raw.parquet"] == (
        f"md5 {md5(raw)}, cache ok, remote has none, workspace ok, 18,330 rows, 2013-01-01 06:00 to 2013-06-30 22:50"
    )
    assert described["example/flights.csv"].endswith(", git ok, workspace ok")
    assert described["contract.yaml"] == f"md5 {md5(first_release.path / 'contract.yaml')}"
    assert described["uv.lock"] == "not in the commit"


def test_the_chain_is_there_for_machines_too(first_release):
    chain = json.loads(first_release.verb("trace", "1", "--json"))
    assert chain["all_broken"] == []
    assert chain["name"] == "version 1 (champion)"
    assert [part["name"] for part in chain["parts"]] == ["ledger", "gate", "run", "commit"]


def test_versions_are_found_by_what_they_were_made_from(first_release):
    raw = first_release.path / "data/raw.parquet"
    for data in (str(raw), md5(raw)):
        assert first_release.verb("trace", "--data", data) == "version 1    passed    data/raw.parquet\n"
    code = first_release.verb("trace", "--data", "src/flight_delays/features.py")
    assert code == "version 1    passed    src/flight_delays/features.py\n"
    assert "No version comes from a file with md5 000" in first_release.verb("trace", "--data", "0" * 32, fails=True)
    refused = first_release.verb("trace", "--data", "nothing.csv", fails=True)
    assert refused == "error: --data is nothing.csv; expected a file that is here, or an md5, 32 digits from 0 to f.\n"


def test_changed_bytes_in_the_workspace_are_named(kept):
    names = (
        "contract.yaml params.yaml dvc.lock example/flights.csv data/raw.parquet data/train.parquet data/test.parquet "
    )
    names = f"{names}models/model.skops reports/predictions.parquet src/flight_delays/features.py".split()
    with changed_bytes(*[kept.path / name for name in names]):
        assert sorted(fault.split()[0] for fault in broken(kept)) == sorted(names)
    assert "broken" not in kept.verb("trace")


@pytest.mark.slow
def test_changed_bytes_in_the_workspace_are_named_after_later_commits(repository):
    (repository.path / "docs/notes.md").write_text("ours")
    repository.commit("cards")
    assert "broken" not in repository.verb("trace")
    with changed_bytes(Path("data/train.parquet"), Path("params.yaml")):
        assert [fault.split()[0] for fault in broken(repository)] == ["params.yaml", "data/train.parquet"]
    repository.replace("params.yaml", "seed: 0", "seed: 5")
    repository.commit("another model")
    assert "broken" not in repository.verb("trace")  # the workspace need not be the version's


@pytest.mark.slow
def test_a_helper_module_is_part_of_the_chain(repository):
    """What lies beside features.py is the version's as well: changed, deleted or added, it is named."""
    helper = repository.path / "src/flight_delays/shift.py"
    helper.write_text("SHIFT = 1")
    assert broken(repository) == ["src/flight_delays/shift.py is in the workspace alone"]
    repository.reproduce()
    repository.commit("helper")
    assert "broken" not in repository.verb("trace")  # version 1 had none
    repository.replace("params.yaml", "slice_gap: 0.1\n", "slice_gap: 0.2\n")
    repository.commit("another gate")
    repository.verb("release")
    assert "broken" not in repository.verb("trace")
    found = repository.verb("trace", "--data", "src/flight_delays/shift.py")
    assert re.findall(r"version +(\d) .* (src/\S+)", found) == [("2", "src/flight_delays/shift.py")]
    helper.write_text("SHIFT = 2")
    assert broken(repository, "2") == [
        f"src/flight_delays/shift.py in the workspace differs from commit {head(repository)}"
    ]
    helper.unlink()
    assert broken(repository, "2") == ["src/flight_delays/shift.py is in the commit alone"]


def head(repository):
    return repository.run("git", "rev-parse", "--short=7", "HEAD").strip()


def test_changed_and_deleted_cache_objects_are_named(kept):
    digests = {name: md5(kept.path / name) for name in ("data/test.parquet", "data/train.parquet")}
    stored = {name: kept.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:] for name, md5 in digests.items()}
    with changed_bytes(*stored.values()):
        assert broken(kept) == [
            f"{name} has md5 {md5(stored[name])} in the cache, dvc.lock says {digest}"
            for name, digest in digests.items()
        ]
    for path in stored.values():
        path.rename(path.with_suffix(".away"))
    assert broken(kept) == [
        f"{name}, md5 {digest}, is neither in the cache nor in the remote" for name, digest in digests.items()
    ]
    for path in stored.values():
        path.with_suffix(".away").rename(path)


def test_a_changed_file_in_the_registry_is_named(kept):
    (stored,) = (kept.path / ".mlflow").rglob("release-*/expected.json")
    with changed_bytes(stored):
        (fault,) = broken(kept)
    assert fault.startswith("expected.json in the registry has md5")


NAME, LEDGER = "flight_delays", "flight_delays ledger"


def entry_id(client):
    (entry,) = client.search_runs([client.get_experiment_by_name(LEDGER).experiment_id])
    return entry.info.run_id


def test_an_edited_registry_is_noticed(repository, client):
    version, commit = registry.find_version(client, "1"), repository.run("git", "rev-parse", "HEAD").strip()
    train = version.tags["md5.train"]
    client.set_model_version_tag(NAME, "1", "md5.train", "0" * 32)
    client.set_model_version_tag(NAME, "1", "image.service", "x@sha256:1")
    client.set_tag(version.run_id, "md5.raw", "x")
    client.delete_registered_model_alias(NAME, "champion")
    client.set_tag(entry_id(client), "by", "x")
    assert broken(repository, "1") == [
        "the version's tag image.service says x@sha256:1, the ledger says nothing",
        "the alias champion does not name the version that the ledger does",
        "the version's tags are not those that the ledger has noted",
        f"the entry `promoted` of {read_ledger(client)[0].time} in the ledger was edited later",
        "the run's tag md5.raw differs from the version's",
        "the run's tag md5.train differs from the version's",
        f"the version's tag md5.train says {'0' * 32}, the commit says {train}",
    ]
    client.set_model_version_tag(NAME, "1", "git_commit", "1" * 40)
    client.set_tag(entry_id(client), "version", "7")
    faults = broken(repository, "1")
    assert "the ledger has no entry for version 1" in faults
    assert faults[-1] == f"commit {'1' * 40} is not in this repository; try `git fetch`"
    client.set_tag(entry_id(client), "version", "1")
    assert f"the ledger says commit {commit}, the version {'1' * 40}" in broken(repository, "1")


@pytest.mark.slow
def test_an_image_whose_tag_is_deleted_is_noticed(repository, client):
    image = f"host/x@sha256:{'1' * 64}"
    registry.record_decision(client, "pushed", "1", commit="c", image=image, target="service")
    client.set_model_version_tag(NAME, "1", "image.service", image)
    whole = broken(repository)
    client.delete_model_version_tag(NAME, "1", "image.service")
    assert set(broken(repository)) - set(whole) == {
        f"the version's tag image.service says nothing, the ledger says {image}"
    }


def test_a_run_that_is_gone_is_named(repository, client):
    run = registry.find_version(client, "1").run_id
    client._tracking_client.store._hard_delete_run(run)
    assert f"run {run} can't be read: Run with id={run} not found" in broken(repository)


def test_a_clone_that_turns_line_ends_round_elsewhere_traces_here(repository, tmp_path):
    """core.autocrlf=true, as Git for Windows sets it, would change bytes that a version is compared with."""
    repository.run("git", "-c", "core.autocrlf=true", "clone", "--quiet", ".", str(tmp_path / "clone/flight-delays"))
    clone = type(repository)(tmp_path / "clone/flight-delays")
    clone.run("git", "config", "core.autocrlf", "true")
    for folder in (".mlflow", ".dvc/cache"):
        shutil.copytree(repository.path / folder, clone.path / folder)
    with chdir(clone.path):
        Repo().checkout()
    assert clone.run("git", "status", "--porcelain") == ""
    assert "broken" not in clone.verb("trace")


def test_a_deleted_entry_stays_in_the_ledger(repository, client):
    client.delete_run(entry_id(client))
    assert "version 1 promoted" in repository.verb("release", "--history")
    assert "broken" not in repository.verb("trace")


def test_rewritten_history_is_noticed(repository):
    commit = repository.run("git", "rev-parse", "HEAD").strip()
    repository.run("git", "update-ref", "refs/stash", "HEAD")  # no branch, so nothing to rely on
    repository.run("git", "commit", "--quiet", "--no-verify", "--amend", "-m", "rewritten")
    assert broken(repository) == [f"commit {commit} is on no branch or tag: history has been rewritten"]
    repository.run("git", "update-ref", "-d", "refs/stash")
    repository.run("git", "reflog", "expire", "--expire=now", "--all")
    repository.run("git", "gc", "--quiet", "--prune=now")
    assert f"commit {commit} is not in this repository; try `git fetch`" in broken(repository)
    found = repository.verb("trace", "--data", md5(Path("data/raw.parquet")))
    assert found == "version 1    passed    md5.raw\n"  # by the registry's tags alone


def test_a_version_that_no_release_made_is_refused(repository, client):
    client.create_model_version(NAME, registry.find_version(client, "1").source)
    printed = repository.verb("trace", "2", fails=True)
    assert "the ledger has no entry for version 2" in printed
    assert "Version 2 was not made by `make release`: it names no commit." in printed
    assert "commit none is not in this repository" in printed
    assert "Version 2 was not made" in repository.verb("trace", "2", "--reproduce", fails=True)


def test_a_version_is_named_by_number_alias_or_predictions(repository, client):
    for name in ("1", "champion", "reports/predictions.parquet"):
        version = resolve_version(client, name)
        assert (version.number, version.aliases) == ("1", ["champion"])
    for name, sentence in [
        ("2", "There is no version '2'. Versions: 1."),
        (
            "data/raw.parquet",
            f"data/raw.parquet, md5 {md5(Path('data/raw.parquet'))}, holds the predictions of no version",
        ),
    ]:
        with pytest.raises(InputError, match=re.escape(sentence)):
            resolve_version(client, name)


def test_a_version_is_named_by_the_digest_of_its_image(repository, client):
    digest = f"sha256:{'a' * 64}"
    with pytest.raises(InputError, match=f"The ledger knows no image with {digest}: it was not pushed by `make push`"):
        resolve_version(client, digest)
    append_to_ledger(
        client, None, "pushed", "1", commit="c", image=f"registry.example.com/flights@{digest}", target="x"
    )
    for name in (digest, f"registry.example.com/flights@{digest}", f"mirror/flights@{digest}"):
        assert resolve_version(client, name).number == "1"


def test_a_version_is_named_by_a_prediction_in_the_log(repository):
    log, prediction = {"DATABASE_URL": "sqlite:///log.db"}, "0123456789abcdef" * 2
    line = (prediction, "2024-03-01 12:00:00.000000", "1", "ada", '{"price": 5}', '{"prediction": true}', "[]")
    with connect_writer(open_log(log["DATABASE_URL"])) as connection:
        write_answers(connection, [line])
    said, version = repository.verb("trace", prediction, **log).splitlines()[:2]
    assert said == f"prediction {prediction} 2024-03-01 12:00:00 {{'prediction': True}}"
    assert version == "version 1 (champion) gate: passed"
    printed = repository.verb("trace", "0" * 32, fails=True, **log)
    assert printed == f"error: The prediction log holds no prediction {'0' * 32}; DATABASE_URL says where the log is.\n"


@pytest.mark.slow
def test_a_file_of_predictions_is_checked_against_its_manifest(repository):
    new, out = repository.path / "new.csv", repository.path / "out.csv"
    new.write_text("a\n1\n")
    out.write_text("prediction\nyes\n")
    model = repository.path / "models/model.skops"
    facts = {"git_commit": repository.run("git", "rev-parse", "HEAD").strip(), "md5.model": md5(model)}
    facts |= {"version": "1", "when": "2024-03-01", "input": "new.csv", "input_md5": md5(new), "output_md5": md5(out)}

    def trace(fails=False, **changes):
        (repository.path / "out.csv.manifest.json").write_text(json.dumps(facts | changes))
        return repository.verb("trace", "out.csv", fails=fails).splitlines()

    made = f"out.csv 2024-03-01 from new.csv md5 {md5(new)}"
    assert trace()[:2] == [made, "version 1 (champion) gate: passed"]
    new.write_text("a\n2\n")
    assert trace()[0] == f"{made}, which is no longer there as it was"
    assert trace(fails=True, output_md5="0", git_commit="1") == [
        "error: The trace of out.csv is broken:",
        f"  its md5 is {md5(out)}, its manifest says 0",
        f"  its manifest says git_commit 1, version 1 says {facts['git_commit']}",
    ]


@pytest.mark.slow
def test_what_a_new_run_gives_is_part_of_the_chain(repository, monkeypatch):
    monkeypatch.setattr(trace, "reproduce", lambda version: Link("reproduced", f"commit {version.commit}"))
    assert "reproduced commit " in repository.verb("trace", "--reproduce")
    monkeypatch.setattr(trace, "reproduce", lambda version: Link("reproduced", broken=["params.yaml [differs]"]))
    assert broken(repository, "--reproduce") == ["params.yaml [differs]"]

"""One MLflow store for several projects: two of one name are told apart by their repositories' first commits."""

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import alembic.command
import alembic.config
import mlflow
import pytest
from filelock import FileLock, Timeout
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from sqlalchemy import create_engine, inspect

from modelcycle.core.output import md5
from modelcycle.tracking import store
from modelcycle.tracking.store import artifact_location, require_own_experiment
from modelcycle.versions import registry
from modelcycle.versions.bundle import load_folder
from modelcycle.versions.ledger import lock_decisions


def begin_again(repository):
    """Give the same files a history of their own; gives the commit that it begins with."""
    repository.run("git", "checkout", "--quiet", "--orphan", "other")
    repository.commit("another beginning")
    repository.run("git", "branch", "--quiet", "--force", "main")
    repository.run("git", "checkout", "--quiet", "main")
    return first_commit(repository)


def first_commit(repository):
    return repository.run("git", "rev-list", "--max-parents=0", "HEAD").strip()


def decisions(repository, company):
    return re.findall(r"version \d \w+", repository.verb("release", "--history", **company))


def content(company):
    with sqlite3.connect(company["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")) as database:
        return list(database.iterdump())


@pytest.fixture(scope="module")
def sharing(reproduced, tmp_path_factory):
    """A repository that has released into the company's store. Tests must leave both as they are."""
    folder = tmp_path_factory.mktemp("company")
    repository = reproduced.copy_to(folder)
    repository.publish(folder / "origin")
    repository.verb("release", MLFLOW_TRACKING_URI=f"sqlite:///{folder}/company.db")
    repository.commit("cards")
    return repository


@pytest.fixture
def company(sharing, tmp_path):
    """A copy of the company's store, as commands are told of it."""
    shutil.copy(sharing.path.parent / "company.db", tmp_path)
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/company.db"}


@pytest.mark.slow
def test_a_model_that_was_trained_with_another_store_has_its_run_there(sharing, company):
    assert decisions(sharing, company) == ["version 1 promoted"]
    client = mlflow.MlflowClient(company["MLFLOW_TRACKING_URI"])
    (run,) = client.search_runs([client.get_experiment_by_name("flight_delays").experiment_id])
    assert (run.data.params["seed"], run.data.params["estimator"]) == ("0", "sklearn.ensemble.HistGradientBoosting")
    assert client.get_model_version("flight_delays", "1").run_id == run.info.run_id
    assert f"file://{sharing.path}/.mlflow/artifacts/" in run.info.artifact_uri
    assert "broken" not in sharing.verb("trace", **company)


@pytest.mark.slow
def test_another_project_of_the_same_name_is_refused_before_it_writes_and_goes_on_under_another(
    sharing, company, reproduced, tmp_path
):
    other = reproduced.copy_to(tmp_path)
    theirs, ours = first_commit(sharing), begin_again(other)
    before = content(company)
    for words in ("train", "gate", "release", "rollback 1", "trace", "release --history"):
        printed = other.verb(*words.split(), fails=True, **company)
        told = f"holds flight_delays of another repository, whose first commit is {theirs[:7]}, not {ours[:7]}: "
        assert f"error: {company['MLFLOW_TRACKING_URI']} {told}" in printed
    assert content(company) == before
    entry = re.search(r'`(experiment = ".*?")`', printed)[1]
    other.replace("pyproject.toml", "[tool.modelcycle]\n", f"[tool.modelcycle]\n{entry}\n")
    other.commit("a name of its own")
    assert "was not pushed, but MLFLOW_TRACKING_URI names a store" in other.verb("release", fails=True, **company)
    other.publish(tmp_path / "origin")
    other.verb("release", **company)
    for repository in (sharing, other):
        assert decisions(repository, company) == ["version 1 promoted"]


@pytest.mark.slow
def test_a_history_that_was_rewritten_is_accepted_when_one_says_so(sharing, company, tmp_path, monkeypatch):
    repository = sharing.copy_to(tmp_path)
    ours = begin_again(repository)
    printed = repository.verb("release", "--history", fails=True, **company)
    code = re.search(r'`\.venv/bin/python -c "(.*?)"`', printed)[1]
    assert code.endswith(f"mlflow.set_experiment_tag('first_commit', '{ours}')")
    mlflow.set_tracking_uri(None)  # as in the process of its own that one types it for
    with monkeypatch.context() as told:
        told.setenv("MLFLOW_TRACKING_URI", company["MLFLOW_TRACKING_URI"])
        exec(code)
    assert decisions(repository, company) == ["version 1 promoted"]


@pytest.mark.slow
def test_clones_of_one_repository_share_its_experiment_and_are_told_how_to_fetch(sharing, company, tmp_path):
    hub, complete, shallow = (tmp_path / name for name in ("hub.git", "complete", "shallow"))
    sharing.run("git", "clone", "--quiet", "--bare", ".", str(hub))
    sharing.run("git", "-C", str(hub), "update-ref", "refs/heads/main", "main~2")  # the release is not there yet
    for options, path in (([], complete), (["--depth=1"], shallow)):
        sharing.run("git", "clone", "--quiet", *options, f"file://{hub}", str(path))
    sharing.run("git", "push", "--quiet", str(hub), "main")
    for path, fetch in ((complete, "git fetch"), (shallow, "git fetch --unshallow")):
        clone = type(sharing)(path)
        assert f"is not in this repository; try `{fetch}`" in clone.verb("trace", fails=True, **company)
        assert f"of version 1 is not in this repository: `{fetch}`, or" in clone.verb(
            "export", "out", fails=True, **company
        )
        clone.run(*fetch.split())
        clone.verb("export", "out", **company)


@pytest.mark.parametrize(
    ("address", "is_shared", "is_served"),
    [
        ("", False, False),
        ("sqlite:///.mlflow/mlflow.db", False, False),
        ("sqlite:///{}/.mlflow/mlflow.db", False, False),
        ("sqlite:///{}/company.db", True, False),
        ("file:///srv/mlflow", True, False),
        ("https://mlflow.example.com", True, True),
        ("postgresql+psycopg://someone@db.example.com/mlflow", True, True),
        ("databricks", True, True),
    ],
)
def test_whose_store_it_is_follows_from_its_address(tmp_path, monkeypatch, address, is_shared, is_served):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store, "IS_LOCAL", not address)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(tmp_path))
    assert (registry.is_shared(), registry.is_served()) == (is_shared, is_served)


@pytest.mark.slow
def test_who_can_t_tell_is_let_in_and_leaves_the_mark_to_others(sharing, company, tmp_path):
    with sqlite3.connect(tmp_path / "company.db") as database:
        database.execute("delete from experiment_tags where key = 'first_commit'")
    known = first_commit(sharing)
    sharing.run("git", "clone", "--quiet", "--depth=1", f"file://{sharing.path}", str(tmp_path / "shallow"))
    (tmp_path / "empty").mkdir()
    empty = sharing.copy_to(tmp_path / "empty")
    shutil.rmtree(empty.path / ".git")
    empty.run("git", "init", "--quiet")
    shallow = type(sharing)(tmp_path / "shallow")
    for repository in (shallow, empty):
        assert decisions(repository, company) == ["version 1 promoted"]
    assert not any("first_commit" in line for line in content(company))
    shallow.run("git", "fetch", "--quiet", "--unshallow")
    for repository in (shallow, empty):
        assert decisions(repository, company) == ["version 1 promoted"]
    assert any(f"'first_commit','{known}'" in line for line in content(company))


@pytest.mark.slow
def test_who_may_only_read_leaves_the_mark_to_others(sharing, monkeypatch):
    def refuse(*_):
        raise mlflow.MlflowException("403")

    monkeypatch.chdir(sharing.path)
    experiment = SimpleNamespace(tags={}, experiment_id="1", name="flight_delays")
    require_own_experiment(SimpleNamespace(set_experiment_tag=refuse), experiment)


def test_the_local_store_is_the_repository_s_own_whatever_its_history(first_release, tmp_path):
    repository = first_release.copy_to(tmp_path)
    begin_again(repository)
    assert "version 1 promoted" in repository.verb("release", "--history")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("nonsense", "MLFLOW_TRACKING_URI is nonsense; expected an address such as https://mlflow.example.com."),
        ("http://127.0.0.1:9", "The tracking store http://127.0.0.1:9 does not answer: "),
        ("sqlite:////dev/null/mlflow.db", "The tracking store sqlite:////dev/null/mlflow.db does not answer: "),
        (
            "postgresql+psycopg://me:secret@127.0.0.1:9/x",
            "The tracking store postgresql+psycopg://me:***@127.0.0.1:9/x does ",
        ),
    ],
)
def test_a_store_out_of_reach_is_named_without_its_password(first_release, address, sentence):
    environment = {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    printed = first_release.verb("release", "--history", fails=True, **environment)
    assert printed.startswith(f"error: {sentence}")
    assert "secret" not in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("is_local", [True, False])
def test_a_store_of_an_older_mlflow_is_upgraded_by_the_command_that_is_named(first_release, tmp_path, is_local):
    repository = first_release.copy_to(tmp_path)
    file = repository.path / (".mlflow/mlflow.db" if is_local else ".mlflow/company.db")
    file.unlink(missing_ok=True)
    drop_placeholders = make_older_store(file)
    environment = {} if is_local else {"MLFLOW_TRACKING_URI": f"sqlite:///{file}"}
    printed = repository.verb("release", "--history", fails=True, **environment)
    assert re.match(r"error: The tracking store sqlite:///\S+ was made by an older MLflow: make a backup", printed)
    command = re.search("`uv run (mlflow db upgrade [^`]+)`", printed)[1]
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(drop_placeholders)
    repository.run("sh", "-c", command, **environment)
    repository.verb("release", "--history", **environment)


def test_a_store_of_a_newer_mlflow_is_told_from_an_older_one(first_release, tmp_path):
    repository = first_release.copy_to(tmp_path)
    with closing(sqlite3.connect(repository.path / ".mlflow/mlflow.db")) as connection, connection:
        connection.execute("update alembic_version set version_num = 'abcdef012345'")
    printed = repository.verb("release", "--history", fails=True)
    assert f"by an MLflow newer than {mlflow.__version__}, which is installed: type `uv lock --upgrade" in printed


def make_older_store(file):
    """Make the tables as they were before MLflow's last change of them.

    Where tables are missing, MLflow upgrades by itself: as in an upgrade that adds none, placeholders are there. They
    have to go before the upgrade; gives the script.
    """
    engine = create_engine(f"sqlite:///{file}")
    InitialBase.metadata.create_all(engine)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(mlflow.__file__).parent / "store/db_migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "heads-1")
        missing = {*Base.metadata.tables} - {*inspect(connection).get_table_names()}
        for name in missing:
            connection.exec_driver_sql(f"create table {name} (placeholder)")
    engine.dispose()
    return "".join(f"drop table {name};" for name in missing)


def test_a_folder_that_is_no_repository_stays_as_it_is(tmp_path, first_release):
    folder = type(first_release)(tmp_path)
    for words in (["release", "--history"], ["release"], ["rollback"], ["trace"]):
        assert re.search(
            f"error: (params.yaml|pyproject.toml) is not in {tmp_path}; run", folder.verb(*words, fails=True)
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "is_server"),
    [
        *[(address, True) for address in ("http://mlflow", "https://mlflow", "databricks", "databricks://team")],
        *[(address, False) for address in ("", "sqlite:///company.db", "postgresql://company/mlflow")],
    ],
)
def test_files_lie_where_a_server_wants_them_or_beside_the_local_store(tmp_path, monkeypatch, address, is_server):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr(store, "IS_LOCAL", not address)
    assert artifact_location() == (None if is_server else f"file://{tmp_path}/.mlflow/artifacts")


def test_an_experiment_that_another_machine_makes_at_the_same_moment_is_taken(first_release, monkeypatch):
    monkeypatch.chdir(first_release.path)
    client = store.connect()
    found = client.get_experiment_by_name("flight_delays")
    answers = iter([None, found])  # it is there by the time that this machine makes it
    monkeypatch.setattr(client, "get_experiment_by_name", lambda _: next(answers))
    assert store.ensure_experiment(client, "flight_delays", None) == found.experiment_id
    monkeypatch.setattr(client, "get_experiment_by_name", lambda _: None)
    with pytest.raises(mlflow.MlflowException, match="already exists"):
        store.ensure_experiment(client, "flight_delays", None)


def test_commands_that_decide_wait_for_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with lock_decisions(), pytest.raises(Timeout):
        FileLock(".mlflow/decision.lock").acquire(timeout=0)
    with FileLock(".mlflow/decision.lock", timeout=0):
        pass


# A store whose folder was moved or copied


def digests(folder):
    return {path: md5(path) for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["renamed", "Größe 100% & mehr #2"])
def test_a_renamed_folder_keeps_its_versions(first_release, tmp_path, name):
    repository = first_release.copy_to(tmp_path)
    (tmp_path / name).mkdir()
    moved = type(repository)(repository.path.rename(tmp_path / name / "flight-delays"))
    assert "version 1 (champion) gate: passed" in moved.verb("trace")
    moved.verb("export", str(tmp_path / "exported"))
    assert load_folder(tmp_path / "exported").version == "1"
    moved.replace("params.yaml", "slice_gap: 0.1\n", "slice_gap: 0.2\n")
    moved.commit("another gate")
    moved.verb("release")
    assert "version 2 (champion) gate: passed" in moved.verb("trace")
    assert (moved.path / ".mlflow/artifacts").is_dir()
    assert not repository.path.exists()


@pytest.mark.slow
def test_a_copied_folder_neither_reads_from_nor_writes_to_the_original(first_release, tmp_path):
    original = first_release.copy_to(tmp_path / "original")
    original.verb("trace")
    before = digests(original.path)
    copy = original.copy_to(tmp_path / "copy")
    copy.replace("params.yaml", "slice_gap: 0.1\n", "slice_gap: 0.2\n")
    copy.commit("another gate")
    copy.verb("release")
    assert digests(original.path) == before
    shutil.rmtree(original.path)
    for version in ("1", "2"):
        assert f"version {version}" in copy.verb("trace", version)


@pytest.mark.slow
def test_a_store_that_stays_where_it_is_is_not_written_to(first_release, tmp_path):
    repository = first_release.copy_to(tmp_path)
    repository.verb("trace")
    before = digests(repository.path / ".mlflow")
    repository.verb("trace")
    assert digests(repository.path / ".mlflow") == before

"""The same work on a Dask cluster of real processes: the same results, also when parts of the cluster are killed."""

import json
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from support.repository import Repository, link_environment
from support.service import free_port

TOOL = "modelcycle"
SEARCH = "search: {trials: 3, folds: 2, parameters: {learning_rate: [0.02, 0.05, 0.1], max_iter: [20, 40]}}"
FAILS_SOON = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}  # Dask reads it when imported


class Cluster:
    """A scheduler and its workers on loopback, each a process of its own."""

    def __init__(self, repository: Repository, folder: Path, workers: int = 2):
        port = str(free_port())
        self.repository, self.folder, self.workers = repository, folder, []
        self.address = f"tcp://127.0.0.1:{port}"
        self.scheduler = self._start("dask", "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        for _ in range(workers):
            self.add_worker()

    def add_worker(self, *before: str, **environment: str) -> None:
        """Start one more worker; `before` is a command that starts it."""
        local = ["--local-directory", str(self.folder / str(len(self.workers)))]
        worker = ["dask", "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", *local]
        self.workers.append(self._start(*before, *worker, **environment))

    def _start(self, *command: str, **environment: str) -> subprocess.Popen:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.repository.environment() | environment, stdout=log, stderr=log
            )

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@contextmanager
def cluster_of(repository: Repository, folder: Path, workers: int = 2):
    folder.mkdir()
    cluster = Cluster(repository, folder, workers)
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def project(released, tmp_path_factory) -> Repository:
    """The released repository with Dask, and a folder of files whose predictions on one machine are known."""
    repository = released.copy_to(tmp_path_factory.mktemp("dask"))
    with_dask = {"DASK_SCHEDULER_ADDRESS": "tcp://127.0.0.1:9"}
    told = repository.run(TOOL, "predict", "data/test.parquet", "out.csv", fails=True, **with_dask)
    repository.run(*re.search("Dask is missing; type `(uv sync --extra dask)`", told)[1].split())
    (repository.path / ".venv/ready").unlink()
    repository.run("make", "setup", **with_dask)  # and leaves it there
    test = pd.read_parquet(repository.path / "data/test.parquet").drop(columns="late")
    (repository.path / "data/days").mkdir()
    for day in range(6):
        write = pd.DataFrame.to_csv if day % 2 else pd.DataFrame.to_parquet
        write(test[day * 500 :], repository.path / f"data/days/{day}.{'csv' if day % 2 else 'parquet'}", index=False)
    rows = pd.read_csv(repository.path / "data/days/1.csv", dtype="str")
    rows.loc[7, "distance"] = "far"
    rows.to_csv(repository.path / "data/days/1.csv", index=False)
    repository.run(TOOL, "predict", "data/days", "data/here", "--chunk-rows", "200")
    return repository


@pytest.fixture(scope="module")
def cluster(project, tmp_path_factory):
    with cluster_of(project, tmp_path_factory.mktemp("cluster") / "of-two") as cluster:
        yield cluster


def written(folder: Path) -> dict:
    """Give the content of each output, and each manifest without its time."""
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in contents:
        if name.endswith(".manifest.json"):
            contents[name] = json.loads(contents[name])
            del contents[name]["when"]
    return contents


def test_files_are_predicted_to_the_same_bytes_with_the_same_manifests(project, cluster):
    command = [TOOL, "predict", "data/days", "data/there", "--chunk-rows", "200"]
    printed = project.run(*command, DASK_SCHEDULER_ADDRESS=cluster.address)
    assert printed.count("rejected, version 1") == 6
    assert "distance is no integer in 1 rows" in printed
    assert written(project.path / "data/there") == written(project.path / "data/here")
    assert len(written(project.path / "data/there")) == 6 + 6 + 1
    said = project.run(TOOL, "trace", "data/there/4.parquet")
    assert "from data/days/4.parquet md5" in said
    assert "version 1 (champion)" in said
    assert project.run(*command, DASK_SCHEDULER_ADDRESS=cluster.address).count("has predicted this input already") == 6


def test_laptop_ci_and_cluster_give_equal_hashes(project, cluster, tmp_path):
    """A search for parameters included; CI's verb starts from a clone that has nothing but what is in git."""
    laptop = project.copy_to(tmp_path / "laptop")
    params = laptop.path / "params.yaml"
    params.write_text(params.read_text().replace("search: null", SEARCH), encoding="utf-8")
    printed = laptop.run("dvc", "repro")
    assert "of 3 trials" in printed
    laptop.commit("search")
    for name, address in (("ci", ""), ("cluster", cluster.address)):
        path = tmp_path / name / laptop.path.name
        subprocess.run(["git", "clone", "--quiet", str(laptop.path), str(path)], check=True)
        link_environment(project, path)
        clone = Repository(path)
        asked = (cluster.folder / "log").read_text().count("out-of-band function 'describe_environment'")
        again = clone.run("make", "reproduce", DASK_SCHEDULER_ADDRESS=address)
        assert printed[printed.index("best ") : printed.index(" trials")] in again
        asked_now = (cluster.folder / "log").read_text().count("out-of-band function 'describe_environment'")
        assert (asked_now > asked) == bool(address)
        for output in ("data/raw.parquet", "data/train.parquet", "data/test.parquet", "reports/predictions.parquet"):
            assert (path / output).read_bytes() == (laptop.path / output).read_bytes(), output


@pytest.mark.parametrize("killed", ["worker", "scheduler"])
def test_what_is_killed_loses_no_row(project, tmp_path, killed):
    """A lost worker's files go to the other one; without a scheduler the run ends, and the next one goes on."""
    output = project.path / f"data/without-{killed}"
    command = [TOOL, "predict", "data/days", str(output), "--chunk-rows", "200"]
    with cluster_of(project, tmp_path / "cluster") as cluster:
        environment = project.environment() | {"DASK_SCHEDULER_ADDRESS": cluster.address} | FAILS_SOON
        run = subprocess.Popen(
            command, cwd=project.path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        while len(list(output.rglob("[!.]*.parquet"))) < 10:  # parts of files
            assert run.poll() is None, run.communicate()[0]
            time.sleep(0.01)
        (cluster.workers[0] if killed == "worker" else cluster.scheduler).kill()
        printed = run.communicate(timeout=300)[0]
    if killed == "scheduler":
        assert run.returncode == 1, printed
        (line,) = [line for line in printed.splitlines() if not line.startswith(("predict ", "          "))]
        assert line.startswith(f"error: The Dask cluster {cluster.address} (DASK_SCHEDULER_ADDRESS) was lost")
        project.run(*command)
    else:
        assert run.returncode == 0, printed
    assert written(output) == written(project.path / "data/here")


def test_a_search_finds_the_same_when_a_worker_is_killed(project, tmp_path):
    repository = project.copy_to(tmp_path / "search")
    params = repository.path / "params.yaml"
    params.write_text(params.read_text().replace("search: null", SEARCH.replace("40]", "150]")), encoding="utf-8")
    repository.run(TOOL, "train")
    expected = (repository.path / "models/model.skops").read_bytes()
    (repository.path / "models/model.skops").unlink()
    with cluster_of(project, tmp_path / "cluster") as cluster:
        environment = repository.environment() | {"DASK_SCHEDULER_ADDRESS": cluster.address}
        run = subprocess.Popen([TOOL, "train"], cwd=repository.path, env=environment)
        while "function 'describe_environment'" not in (cluster.folder / "log").read_text():
            assert run.poll() is None
            time.sleep(0.05)
        time.sleep(1)
        assert run.poll() is None
        cluster.workers[0].kill()
        assert run.wait(300) == 0
    assert (repository.path / "models/model.skops").read_bytes() == expected


def refused(project: Repository, address: str) -> str:
    """Predict, which has to fail with one sentence, and give it."""
    command = (TOOL, "predict", "data/days", "data/refused")
    (line,) = project.run(*command, fails=True, DASK_SCHEDULER_ADDRESS=address, **FAILS_SOON).splitlines()
    assert not list((project.path / "data").glob("refused/*"))
    return line


def test_a_cluster_that_is_not_there_or_whose_worker_differs_is_named(project, tmp_path):
    """No scheduler, no worker; then another library, other code, no package, or another folder under the same path."""
    nowhere = "tcp://127.0.0.1:9"
    line = refused(project, nowhere)
    assert line.startswith(f"error: The Dask cluster {nowhere} (DASK_SCHEDULER_ADDRESS) can't be used: ")
    with cluster_of(project, tmp_path / "cluster", workers=0) as cluster:
        assert "can't be used: Only 0/1 workers arrived after 2s" in refused(project, cluster.address)
        for command, environment, sentence in different_workers(project, tmp_path):
            cluster.add_worker(*command, **environment)
            assert sentence in refused(project, cluster.address), (cluster.folder / "log").read_text()
            cluster.workers[-1].kill()
            cluster.workers[-1].wait()


def different_workers(project: Repository, folder: Path):
    library, code = folder / "library", folder / "code"
    project.run("uv", "pip", "install", "--quiet", "--target", str(library), "toolz==1.0.0")
    yield [], {"PYTHONPATH": str(library)}, "has 1.0.0 of toolz, this machine "
    shutil.copytree(project.path / "src", code)
    (code / "flight_delays/model.py").write_text(project.read("src/flight_delays/model.py") + "# mine\n")
    yield [], {"PYTHONPATH": str(code)}, "of the code in src/flight_delays, this machine md5 "
    hide = "import sys; sys.modules['modelcycle'] = None; from dask.__main__ import main; main()"
    yield ["python", "-c", hide], {}, "can't be used: "
    (project.path / "data/refused").mkdir()
    hidden = f'mount -t tmpfs none {project.path}/data/refused && exec "$@"'
    yield ["unshare", "--mount", "sh", "-c", hidden, "-"], {}, "does not see "


def test_an_input_that_is_refused_is_one_sentence_and_the_others_are_kept(project, cluster):
    (project.path / "data/mixed").mkdir()
    shutil.copy(project.path / "data/days/0.parquet", project.path / "data/mixed/0.parquet")
    (project.path / "data/mixed/1.csv").write_bytes(b"a,b\n1,2\n")
    command = (TOOL, "predict", "data/mixed", "data/mixed-out")
    first, last = project.run(*command, fails=True, DASK_SCHEDULER_ADDRESS=cluster.address).splitlines()
    assert first.startswith("predict   3,517 rows, 0 rejected")
    assert "1.csv has no column 'scheduled_departure'" in last
    assert {path.name for path in (project.path / "data/mixed-out").iterdir()} == {
        "0.parquet",
        "0.parquet.manifest.json",
    }


def test_a_full_disk_of_the_workers_is_named_and_the_run_goes_on_once_there_is_space(project, cluster, small_disk):
    command = (TOOL, "predict", "data/days", "data/small/out", "--chunk-rows", "200")
    with small_disk(project.path / "data/small") as enlarge:
        printed = project.run(*command, fails=True, DASK_SCHEDULER_ADDRESS=cluster.address)
        assert "No space left on device" in printed.splitlines()[-1]
        assert "Traceback" not in printed
        enlarge()
        project.run(*command, DASK_SCHEDULER_ADDRESS=cluster.address)
        assert written(project.path / "data/small/out") == written(project.path / "data/here")

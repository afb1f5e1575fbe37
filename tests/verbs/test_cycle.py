"""What a newcomer does: set up, list the verbs, run the cycle, test, check, experiment, share the data."""

import json
import os
import re
import shutil

from support.repository import Repository, link_environment


def test_the_cycle_leaves_a_judged_and_tracked_model(default):
    metrics = json.loads(default.read("reports/metrics.json"))
    assert 0.68 < metrics["roc_auc"] < 0.8  # measured on all flights: 0.79; the sample is a ninth of them
    assert metrics["rows"] > 3000
    assert default.run("git", "status", "--porcelain") == ""
    assert default.run("git", "ls-files", ".dvc").split() == [".dvc/config"]  # DVC finds nothing left to ignore
    lock = default.read("dvc.lock")
    assert all(name in lock for name in ("raw.parquet", "train.parquet", "model.skops", "report.html"))


def test_setup_shows_that_it_compiles_libraries_and_uv_run_says_nothing_of_it(copy):
    (pandas,) = (copy.path / ".venv").glob("lib/*/site-packages/pandas")
    compiled = sorted(pandas.rglob("__pycache__"))
    for folder in compiled:
        shutil.rmtree(folder)
    shown = copy.run("uv", "run", "modelcycle", "--help")
    assert "Usage: modelcycle" in shown
    assert "ompil" not in shown
    os.utime(copy.path / "pyproject.toml")
    assert "Compiling libraries, once: 1000 files" in copy.run("make", "setup")
    assert all(folder.exists() for folder in compiled)
    os.utime(copy.path / "pyproject.toml")
    assert "Compiling" not in copy.run("make", "setup")


def test_make_alone_lists_every_verb(default):
    listed = re.findall(r"^  make ([\w-]+) +\S", default.run("make"), re.MULTILINE)
    phony = " ".join(re.findall(r"^\.PHONY: ([a-z].*)", default.read("modelcycle.mk"), re.MULTILINE)).split()
    assert sorted(listed) == sorted(phony)
    explore, build = {"help", "setup", "notebooks", "ui"}, {"reproduce", "check", "test", "cycle"}
    review = {"process", "review", "docs", "login", "fetch", "verify", "compare", "gate"}
    deliver = {"image", "push", "deploy", "undeploy", "audit"}
    use = {"release", "rollback", "trace", "serve", "predict", "monitor", "retrain"}
    assert set(listed) == explore | build | review | deliver | use | {"airflow", "update", "update-check", "propose"}
    assert all(f"`{verb}`" in default.read("README.md") for verb in listed if verb != "help")


def test_each_verb_of_the_command_explains_itself(default):
    listed = re.findall(r"^│ ([a-z]+) +(\S.*\S) +│$", default.run("modelcycle", "--help"), re.MULTILINE)
    assert len(listed) > 15
    for verb, summary in listed:
        printed = default.run("modelcycle", verb, "--help")
        assert f"Usage: modelcycle {verb} " in printed
        assert summary.rstrip(".…") in " ".join(printed.split())
        assert len(printed) > 300
    assert "ingest" in default.run("python", "-m", "modelcycle", "--help")


def test_the_tests_and_the_checks_of_the_default_bake_pass(copy):
    assert re.search(r"\d{2,} passed", copy.run("make", "test"))
    assert "Failed" not in copy.run("make", "check")
    assert copy.run("git", "status", "--porcelain") == ""


def test_a_fixture_of_the_team_s_takes_the_place_of_one_of_the_plugin_s(copy):
    own = 'import pytest\n\n\n@pytest.fixture\ndef real():\n    """Be ours."""\n    return "ours"\n'
    (copy.path / "tests/conftest.py").write_text(own, encoding="utf-8")
    (copy.path / "tests/unit/test_ours.py").write_text(
        "def test_it(real):\n    assert real == 'ours'\n", encoding="utf-8"
    )
    assert "1 passed" in copy.run("pytest", "tests/unit/test_ours.py")


def test_experiments_metrics_and_plots_of_dvc_work(copy):
    assert "ingest" in copy.run("dvc", "dag")
    copy.run("dvc", "exp", "run", "-n", "fewer-trees", "-S", "train.parameters.max_iter=20")
    changes = json.loads(copy.run("dvc", "metrics", "diff", "--json"))["reports/metrics.json"]
    assert changes["roc_auc"]["diff"] != 0
    assert "fewer-trees" in copy.run("dvc", "exp", "show", "--csv")
    copy.run("dvc", "plots", "show", "-o", "plots")
    html = copy.read("plots/index.html")
    assert all(title in html for title in ("Predicted against observed", "How much worse", "Leading metric by slice"))


def test_a_file_that_is_gone_or_damaged_is_made_again_by_what_the_message_says(copy):
    table = copy.path / "data/train.parquet"
    content = table.read_bytes()
    table.unlink()
    told = copy.run("modelcycle", "train", fails=True)
    copy.run(*re.search("is missing; `(make reproduce)`", told)[1].split())
    assert table.read_bytes() == content
    table.unlink()
    table.write_bytes(content[:5000])
    told = copy.run("modelcycle", "train", fails=True)
    table.unlink()
    copy.run(*re.search("delete it and type `(make reproduce)`", told)[1].split())
    assert table.read_bytes() == content


def test_the_data_goes_to_the_remote_and_comes_back(copy):
    copy.run("dvc", "push")
    remote = copy.path.parent / "flight-delays-remote"
    assert any(remote.rglob("*"))
    for folder in ("data", "models", "reports", ".dvc/cache"):
        copy.run("rm", "-r", folder)
    copy.run("dvc", "pull")
    assert "up to date" in copy.run("dvc", "repro")


def test_verify_passes_in_a_clone_that_lacks_the_results_whatever_is_set_there(copy, tmp_path):
    """Nor does it matter how the commit came about: the results follow from what is in it."""
    copy.run("git", "checkout", "--quiet", "-b", "fewer-trees")
    copy.commit_change("max_iter: 200", "max_iter: 20")
    copy.commit("a second one")
    copy.run("git", "checkout", "--quiet", "main")
    copy.run("git", "merge", "--quiet", "--squash", "fewer-trees")
    copy.commit("fewer trees")
    copy.run("git", "branch", "--quiet", "-D", "fewer-trees")
    copy.run("git", "clone", "--quiet", "--depth=1", f"file://{copy.path}", str(tmp_path / "clone"))
    clone = Repository(tmp_path / "clone")
    link_environment(copy, clone.path)
    settings = {"core.abbrev": "20", "status.relativePaths": "false", "diff.noprefix": "true", "color.ui": "always"}
    for name, value in settings.items():
        clone.run("git", "config", name, value)
    printed = clone.run("make", "verify", TZ="Asia/Kathmandu", LC_ALL="C", PYTHONHASHSEED="3")
    assert "Running stage 'evaluate'" in printed
    assert clone.run("git", "status", "--porcelain") == clone.run("git", "diff") == ""


def test_a_search_shows_progress_on_a_terminal(copy):
    search = "search: {trials: 2, folds: 2, parameters: {max_iter: [5, 10]}}"
    (copy.path / "params.yaml").write_text(re.sub(r"search: null", search, copy.read("params.yaml")), encoding="utf-8")
    on_a_terminal = "import pty, sys; sys.exit(pty.spawn(['modelcycle', 'train']) >> 8)"
    assert "100%" in copy.run("python", "-c", on_a_terminal, TERM="xterm")


def test_a_conflict_in_dvc_lock_is_solved_as_the_readme_says(copy):
    copy.run("git", "checkout", "--quiet", "-b", "other")
    copy.commit_change("seed: 0", "seed: 1")
    copy.run("git", "checkout", "--quiet", "main")
    copy.commit_change("test_share: 0.2", "test_share: 0.3")
    assert "CONFLICT (content): Merge conflict in dvc.lock" in copy.run("git", "merge", "other", fails=True)
    recipe = copy.read("README.md").partition("a conflict in `dvc.lock`")[2].split("```")[1]
    copy.run("sh", "-ec", recipe, GIT_EDITOR="true")
    assert copy.run("git", "status", "--porcelain") == ""
    assert "up to date" in copy.run("dvc", "status")
    assert "seed: 1" in copy.read("params.yaml")
    assert "test_share: 0.3" in copy.read("params.yaml")

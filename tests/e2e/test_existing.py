"""An old repository, a train.py with its table, is brought under the template by the commands of docs/existing.md."""

import random
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from support.repository import TEMPLATE, Repository
from support.updates import copy_template, write_uvx

PAGE = (TEMPLATE / "docs/existing.md").read_text(encoding="utf-8")
ADDRESS = "https://github.com/OWNER/cookiecutter-mlops"
TRAIN = """import joblib
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

df = pd.read_csv("data.csv", sep=";")
df = df[df.age >= 18]
df["minutes_per_call"] = df.minutes / df.calls.clip(lower=1)
X = pd.get_dummies(df.drop(columns=["customer", "churned"]))
X_train, X_test, y_train, y_test = train_test_split(X, df.churned, random_state=42)
model = RandomForestClassifier(n_estimators=100, min_samples_leaf=5, random_state=42)
model.fit(X_train, y_train)
print(roc_auc_score(y_test, model.predict_proba(X_test)[:, 1]))
joblib.dump(model, "model.pkl")
"""
# What a person does by hand: file, old, new.
MOVED = [
    (
        "src/churn/features.py",
        "    return pd.DataFrame(features, index=rows.index)",
        '    features["minutes_per_call"] = rows["minutes"] / rows["calls"].clip(lower=1)\n'
        "    return pd.DataFrame(features, index=rows.index)",
    ),
    ("params.yaml", r"(?m)^  estimator: \S+", "  estimator: sklearn.ensemble.RandomForest"),
    ("params.yaml", r"(?m)^  parameters: \{.*?\}", "  parameters: {n_estimators: 100, min_samples_leaf: 5}"),
    ("params.yaml", "seed: 0", "seed: 42"),
]


def write_table(path: Path) -> None:
    """Write customers of whom those leave who talk briefly, and those of one plan."""
    drawn = random.Random(0)
    lines = ["customer;age;plan;calls;minutes;churned"]
    for customer in range(2000):
        calls, plan = drawn.randrange(40), drawn.choice(["basic", "family", "business"])
        minutes = round(calls * drawn.uniform(0.5, 6), 1)
        leaves = drawn.random() < 0.1 + 0.5 * (minutes < 2.5 * calls) + 0.2 * (plan == "basic")
        lines.append(f"{customer};{drawn.randrange(18, 90)};{plan};{calls};{minutes};{'yes' if leaves else 'no'}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def old(tmp_path):
    """A repository with three commits of train.py, which pins what is current."""
    old = Repository(tmp_path / "churn_model")
    old.path.mkdir()
    pins = "".join(f"{name}=={version(name)}\n" for name in ("pandas", "joblib"))
    (old.path / "requirements.txt").write_text(pins + "scikit-learn>=1.5\n")
    (old.path / "README.md").write_text("# Churn\n\nType python train.py\n")
    (old.path / ".gitignore").write_text("model.pkl\n")
    write_table(old.path / "data.csv")
    for message, text in (
        ("First model", TRAIN.replace("min_samples_leaf=5, ", "")),
        ("Larger leaves", TRAIN.replace('df["minutes_per_call"] = df.minutes / df.calls.clip(lower=1)\n', "")),
        ("Minutes per call", TRAIN),
    ):
        (old.path / "train.py").write_text(text)
        old.commit(message)
    return old


@pytest.fixture
def type_block(old, tmp_path):
    """Type the commands of a block of the page, one by one. uvx runs what is installed with these tests."""
    template = copy_template(tmp_path / "template")
    template.commit("as it is now")
    path = f"{write_uvx(tmp_path / 'bin')}:{old.environment()['PATH']}"
    (tmp_path / "cookiecutter.yaml").write_text(f"replay_dir: {tmp_path / 'replay'}\n")

    def run(begins):
        (block,) = (block for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) if block.startswith(begins))
        answers = f"--no-input --config-file {tmp_path / 'cookiecutter.yaml'} project_name=Churn"
        printed = []
        for command in block.replace(ADDRESS, f"{template.path} {answers}").splitlines():
            command += ' TESTS="tests/unit tests/model"' if command == "make test" else ""
            printed.append(old.run("sh", "-c", command, PATH=path))
        return printed

    return run


def test_an_old_repository_becomes_one_of_the_template_s_with_its_history(old, type_block):
    printed = type_block("git switch")
    assert "-Type python train.py" in "".join(printed)
    assert (old.path / "train.py").exists()
    printed = type_block("uv add")
    assert "2,000 rows, 6 columns" in "".join(printed)
    assert {"pandas", "joblib", "scikit-learn"} <= set(re.findall(r'^    "([\w-]+)', old.read("pyproject.toml"), re.M))
    for name, was, now in MOVED:
        if was.startswith("(?m)"):  # a pattern: what adopt has chosen
            (was,) = {found[0] for found in re.finditer(was, old.read(name))}
        old.replace(name, was, now)
    *_, released, history = type_block("git rm --quiet train.py")
    assert "is the champion, none was before" in released
    subjects = [line.partition(" ")[2] for line in history.splitlines()]
    assert subjects[1:] == ["Minutes per call", "Larger leaves", "First model"]
    assert old.run("git", "status", "--porcelain", "--", "src", "params.yaml", "dvc.lock", "uv.lock") == ""
    assert "Nothing is newer" in old.run("make", "update-check")

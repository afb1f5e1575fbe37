"""Put the committed model before the gate and, if it passes, make it the champion.

The order makes an interrupted release harmless: first everything is judged, then the version is registered whole, then
the decision is entered into the ledger, and last the alias follows. Releasing again goes on where it stopped.
"""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pandas as pd

from . import files, registry
from .cards import write_cards
from .contract import Contract, read_contract
from .features import make_features
from .files import InputError, need, read_config, say
from .gate import Duel, Verdict, judge_behaviour, judge_data, judge_duel, judge_figures, judge_rows, not_held
from .lineage import committed, earlier_version, git, provenance
from .model import load_model, predict
from .params import Params, read_params
from .report import write_report
from .train import target_values


def need_clean_tree() -> None:
    """Raise InputError when the work tree holds anything that the commit does not; documents don't count."""
    if not git("rev-parse", "--verify", "HEAD"):
        raise InputError("Nothing is committed yet; commit the project, then release again.")
    # --no-renames keeps one path to a line; the cards that a release writes lie in docs/.
    changes = git("status", "--porcelain", "--no-renames", "--", ".", ":!docs").splitlines()
    if changes:
        names = ", ".join(change.split(maxsplit=1)[1] for change in changes[:5])
        raise InputError(
            f"The work tree differs from the commit: {names}{' and more' if len(changes) > 5 else ''}. "
            "A version names exactly one commit: commit or stash, then release again."
        )


def need_reproduced() -> None:
    """Raise InputError when a step of the pipeline is not up to date, or its results are not in dvc.lock."""
    from dvc.repo import Repo  # imported late: few commands need it

    if changed := list(Repo().status()):
        raise InputError(
            f"The pipeline is not up to date: {', '.join(changed)} has changed. "
            "Run `make reproduce`, commit dvc.lock, then release again."
        )
    if not git("ls-files", "dvc.lock"):
        raise InputError("dvc.lock is not in git. Commit it, then release again.")


def features_at(revision: str) -> Callable[[pd.DataFrame, Contract], pd.DataFrame]:
    """Give make_features as it was in a commit, because a model needs the features that it was trained with.

    Raises InputError when the commit is not in this repository.
    """
    path = f"src/{__package__}/features.py"
    source = committed(revision, path)
    if source is None:
        raise InputError(
            f"{path} of commit {revision[:7]} is not in this repository; `git fetch --unshallow` may help."
        )
    module = ModuleType(f"{__package__}.features_at_{revision}")
    exec(compile(source, f"{path} at {revision[:7]}", "exec"), module.__dict__)  # noqa: S102  the team's own code
    make: Callable[[pd.DataFrame, Contract], pd.DataFrame] = module.__dict__["make_features"]
    return make


def champion_predictions(client: Any, champion: Any, test: pd.DataFrame, contract: Contract) -> pd.DataFrame | str:
    """Score the champion anew on today's (n, m) test rows, with its own features: (n, 1 + c), or why that can't be.

    Raises InputError when its commit is missing here, as in a shallow clone: no duel is skipped for that.
    """
    folder = registry.model_folder(client, champion)
    old = read_config(Contract, folder / "contract.yaml")
    if (old.target, old.is_classification) != (contract.target, contract.is_classification):
        return f"The champion predicts {old.target}, this model {contract.target}."
    if missing := [name for name in old.inputs if name not in test]:
        return f"The champion needs {', '.join(missing)}, which today's contract no longer has."
    make_features = features_at(champion.tags["git_commit"])
    try:
        return predict(load_model(folder / "model.skops"), make_features(test, old))
    except (InputError, ValueError, TypeError, KeyError) as error:
        return f"The champion can't answer today's rows: {files.first_line(error)}"


def judge(
    client: Any, champion: Any, contract: Contract, params: Params
) -> tuple[list[Verdict], Duel | None, pd.DataFrame]:
    """Put the model in models/ before every rule of the gate. Returns the verdicts, the duel and the figures."""
    test, train = pd.read_parquet(need(files.TEST, "prepare")), pd.read_parquet(need(files.TRAIN, "prepare"))
    model = load_model(need(files.MODEL, "train"))
    figures = pd.read_csv(need(files.INTERVALS, "evaluate")).set_index("metric")
    tables = pd.read_csv(files.SLICES), pd.read_csv(files.CALIBRATION)
    classification = contract.is_classification
    verdicts = list(judge_figures(params.gate, classification, figures, *tables))
    verdicts += [judge_data(train, test, contract)]
    verdicts += judge_behaviour(params.gate.behaviour, model, test.head(1000), contract)
    if champion is None:
        return verdicts, None, figures
    verdicts.append(judge_rows(len(train), int(champion.tags["train_rows"]), params.gate.fewest_rows))
    theirs = champion_predictions(client, champion, test, contract)
    if isinstance(theirs, str):
        return [*verdicts, not_held(theirs)], None, figures
    truth, ours = target_values(test, contract), predict(model, make_features(test, contract))
    draws = params.evaluate.bootstrap
    verdict, duel = judge_duel(params.gate.duel, champion.version, truth, ours, theirs, draws, classification)
    return [*verdicts, verdict], duel, figures


def register(client: Any, facts: dict[str, str], params: Params) -> Any:
    """Register the committed model as a version, or take the one of an interrupted release, not yet in the ledger."""
    decided = {entry["version"] for entry in registry.ledger(client)}
    for version in registry.versions(client, f"tags.git_commit = '{facts['git_commit']}'"):
        if str(version.version) not in decided:
            for name, value in facts.items():
                client.set_model_version_tag(registry.EXPERIMENT, version.version, name, value)
            return client.get_model_version(registry.EXPERIMENT, version.version)
    used_by_run = ("raw", "train", "test", "contract", "model")
    run = registry.find_run(client, {f"md5.{name}": facts[f"md5.{name}"] for name in used_by_run})
    if run is None:  # trained with another store: what the commit says is recorded here
        used = {"estimator": params.train.estimator, "seed": params.train.seed, **params.train.parameters}
        run = registry.log_training(used, {})
    if not client.search_registered_models(f"name = '{registry.EXPERIMENT}'"):
        client.create_registered_model(registry.EXPERIMENT)
    folder = f"release-{facts['git_commit']}"  # params.yaml may have changed since the training
    for path in (files.MODEL, files.CONTRACT, files.PARAMS, files.PROFILE):
        client.log_artifact(run, str(path), folder)
    source = f"{client.get_run(run).info.artifact_uri}/{folder}"
    return client.create_model_version(registry.EXPERIMENT, source, run, tags=facts)


def release() -> None:
    """Release the committed model; says no, with every failed rule, by raising InputError."""
    need_clean_tree()
    contract, params = read_contract(), read_params()
    need_reproduced()
    client = registry.connect()
    with registry.one_at_a_time():
        facts, champion = provenance("HEAD"), registry.champion(client)
        if champion and all(champion.tags.get(name) == value for name, value in facts.items()):
            say("release", f"version {champion.version} of this commit is the champion already")
            return
        verdicts, duel, figures = judge(client, champion, contract, params)
        failed = [verdict for verdict in verdicts if not verdict.passed]
        facts |= {
            "verdict": "rejected" if failed else "passed",
            "train_rows": str(len(pd.read_parquet(files.TRAIN, columns=[contract.target]))),
            "gate": json.dumps([vars(verdict) for verdict in verdicts]),
        }
        version = register(client, facts, params)
        before = str(champion.version) if champion else "none"
        present = registry.champion(client)
        if (str(present.version) if present else "none") != before:
            raise InputError(f"Version {present.version} has become the champion meanwhile; release again.")
        event = "rejected" if failed else "promoted"
        value = ", ".join(f"{name} {figure:.4g}" for name, figure in figures["value"].items())
        registry.enter(client, event, version.version, commit=facts["git_commit"], replaced=before, figures=value)
    for verdict in verdicts:
        say("" if verdict.passed else "FAILED", f"{verdict.rule}: {verdict.found}", f"expected {verdict.expected}")
    document(client, version, verdicts, duel, contract)
    if failed:
        reasons = "\n".join(f"  {v.rule}: found {v.found}, expected {v.expected}. {v.meaning}" for v in failed)
        raise InputError(f"The gate rejects version {version.version}:\n{reasons}")
    say("release", f"version {version.version} is the champion, {before} was before", files.RELEASE_REPORT)


def document(client: Any, version: Any, verdicts: list[Verdict], duel: Duel | None, contract: Contract) -> None:
    """Write the report with the gate's verdict and the cards, and keep them with the version."""
    tables = [pd.read_csv(path) for path in (files.INTERVALS, files.SLICES, files.CALIBRATION, files.IMPORTANCE)]
    rows = json.loads(files.METRICS.read_text(encoding="utf-8"))["rows"]
    with files.whole(files.RELEASE_REPORT) as draft:
        write_report(draft, contract, rows, tables, earlier_version(files.METRICS), verdicts, duel)
    write_cards(version, verdicts, contract, tables)
    for path in (files.RELEASE_REPORT, files.MODEL_CARD, files.DATA_CARD):
        client.log_artifact(version.run_id, str(path))


def history() -> None:
    """Print every decision of the ledger."""
    for entry in registry.ledger(registry.connect()):
        replaced = f", replaced {entry['replaced']}" if entry["event"] != "rejected" else ""
        result = f"version {entry['version']} {entry['event']}{replaced}"
        detail = f"{entry['by']}, commit {entry['commit'][:7]}, {entry.get('figures') or entry.get('reason')}"
        print(f"{entry['when']}  {result:<40} {detail}")

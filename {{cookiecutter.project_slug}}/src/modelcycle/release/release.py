"""Put the committed model before the gate and, if it passes, make it the champion.

The order makes an interrupted release harmless: first everything is judged, then the version is registered whole, then
the decision is entered into the ledger, and last the alias follows. Releasing again goes on where it stopped.
"""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from modelcycle.core import paths
from modelcycle.core.contract import Contract, extract_target, read_contract, read_table
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.model_file import load_model, predict
from modelcycle.core.output import report_line, require_output, write_atomically
from modelcycle.core.params import Params, read_params
from modelcycle.core.project import read_project
from modelcycle.core.team import make_features
from modelcycle.core.verdict import Duel, Verdict
from modelcycle.pipeline.evaluate import evaluate_predictions
from modelcycle.pipeline.prepare import is_test
from modelcycle.pipeline.report import write_report
from modelcycle.release.cards import require_marks, write_cards
from modelcycle.release.gate import (
    judge_behaviour,
    judge_data,
    judge_duel,
    judge_figures,
    judge_process,
    judge_rows,
    not_held,
)
from modelcycle.tracking import registry, runs, store
from modelcycle.tracking.bundle import Bundle, load_version
from modelcycle.tracking.git import git, is_on_a_branch
from modelcycle.tracking.ledger import read_ledger
from modelcycle.tracking.lineage import read_previous_output, read_provenance
from modelcycle.tracking.registry import Version


def require_clean_tree() -> None:
    """Raise InputError when the work tree holds anything that a branch does not; documents don't count."""
    if not paths.PARAMS.exists():
        raise InputError(f"{paths.PARAMS} is not in {Path.cwd()}; run this in the repository's top folder.")
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
    if not is_on_a_branch("HEAD"):
        raise InputError(
            "The commit is on no branch, so that git may delete it; check out a branch, then release again."
        )


def require_reproduced() -> None:
    """Raise InputError when a step of the pipeline is not up to date, or its results are not in dvc.lock."""
    from dvc.exceptions import DvcException  # imported late: few commands need it
    from dvc.repo import Repo

    try:
        repository = Repo()
        held = [stage.addressing for stage in repository.index.stages if stage.cmd and getattr(stage, "frozen", False)]
        changed = list(repository.status())
    except DvcException as error:
        mend = " Remove it: a command that was stopped has left it half-written." if "RWLock" in str(error) else ""
        raise InputError(f"DVC can't read the pipeline: {first_line(error).rstrip('.')}.{mend}") from None
    if held:
        raise InputError(f"dvc.yaml: {', '.join(held)} is frozen, so its result may be stale; remove `frozen`.")
    if changed:
        raise InputError(
            f"The pipeline is not up to date: {', '.join(changed)} has changed. "
            "Run `make reproduce`, commit dvc.lock, then release again."
        )
    if not git("ls-files", "dvc.lock"):
        raise InputError("dvc.lock is not in git. Commit it, then release again.")


def duel_rows(champion: Bundle, test_share: float, test: pd.DataFrame, contract: Contract) -> pd.DataFrame | str:
    """Give today's test rows that the champion never saw, or say why there can be no duel.

    test_share: the champion's. It was trained on the other rows, so where the share has grown, those are left out.
    """
    old = champion.contract
    if (old.target, old.columns[old.target].type) != (contract.target, contract.columns[contract.target].type):
        return f"The champion predicts {old.target} as {old.columns[old.target].type}."
    if [(name, old.columns[name].type) for name in old.identity] != [
        (name, contract.columns[name].type) for name in contract.identity
    ]:
        return "The champion's test rows were chosen by other columns; it may have been trained on today's."
    if missing := [name for name in old.inputs if name not in test]:
        return f"The champion needs {', '.join(missing)}, which today's contract no longer has."
    return test[is_test(test[contract.identity], test_share)]


def compare_with_champion(
    champion: Bundle, test_share: float, test: pd.DataFrame, ours: pd.DataFrame, contract: Contract, params: Params
) -> tuple[Verdict, Duel | None]:
    """Compare a model with the champion, which is scored anew on today's (n, m) test rows. ours: (n, 1 + c)."""
    rows = duel_rows(champion, test_share, test, contract)
    if isinstance(rows, str):
        return not_held(rows), None
    try:
        theirs = champion.predict(rows)
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # what its features.py or its model raises
        return not_held(f"The champion can't answer today's rows: {first_line(error)}"), None
    if list(ours) != list(theirs):
        return not_held("The champion knows other classes."), None
    truth, draws = extract_target(rows, contract), params.evaluate.bootstrap
    ours = ours.loc[rows.index]
    return judge_duel(params.gate.duel, champion.version, truth, ours, theirs, draws, contract.is_classification)


def judge_all(
    client: Any, champion: Version | None, train: pd.DataFrame, test: pd.DataFrame, contract: Contract, params: Params
) -> tuple[list[Verdict], Duel | None, list[pd.DataFrame]]:
    """Put the model in models/ before every rule of the gate.

    train, test: (t, m) and (n, m). Nothing in reports/ is believed: all figures are computed again from model and data.
    Returns the verdicts, the duel, and the tables intervals, slices and calibration.
    """
    model = load_model(require_output(paths.MODEL, "train"), read_project().trusted_types)
    ours = predict(model, make_features(test, contract))
    tables = list(evaluate_predictions(test, ours, extract_target(train, contract), contract, params.evaluate).values())
    verdicts = list(judge_figures(params.gate, contract.is_classification, *tables))
    verdicts += [judge_data(train, test, contract)]
    verdicts += judge_behaviour(params.gate.behaviour, model, test.head(1000), contract)
    if params.gate.process:
        verdicts.append(judge_process())
    if champion is None:
        return verdicts, None, tables
    verdicts.append(judge_rows(len(train), int(champion.tags["train_rows"]), params.gate.fewest_rows))
    test_share = float(champion.tags["test_share"])
    verdict, duel = compare_with_champion(load_version(client, champion), test_share, test, ours, contract, params)
    return [*verdicts, verdict], duel, tables


def register(client: Any, facts: dict[str, str], params: Params) -> Version:
    """Register the committed model as a version, or take the one of an interrupted release, not yet in the ledger."""
    model, decided = read_project().registered_name, {entry.version for entry in read_ledger(client)}
    for version in registry.list_versions(client, f"tags.git_commit = '{facts['git_commit']}'"):
        if version.number not in decided:
            for name, value in facts.items():
                client.set_model_version_tag(model, version.number, name, value)
            return registry.find_version(client, version.number)
    used_by_run = ("raw", "train", "test", "contract", "model")
    run = runs.find_run(client, {f"md5.{name}": facts[f"md5.{name}"] for name in used_by_run})
    if run is None:  # trained with another store: what the commit says is recorded here
        used = {"estimator": params.train.estimator, "seed": params.train.seed, **params.train.parameters}
        run = runs.log_training(used, {})
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    folder = f"release-{facts['git_commit']}"  # params.yaml may have changed since the training
    for path in registry.VERSION_FILES:
        client.log_artifact(run, str(path), folder)
    source = f"{client.get_run(run).info.artifact_uri}/{folder}"
    return Version.from_mlflow(client.create_model_version(model, source, run, tags=facts))


def announce(verdicts: list[Verdict], what: str) -> None:
    """Print every verdict. Raises InputError with the rules that failed."""
    for verdict in verdicts:
        report_line(
            "" if verdict.passed else "FAILED", f"{verdict.rule}: {verdict.found}", f"expected {verdict.expected}"
        )
    if failed := [verdict for verdict in verdicts if not verdict.passed]:
        reasons = "\n".join(f"  {v.rule}: found {v.found}, expected {v.expected}. {v.meaning}" for v in failed)
        raise InputError(f"The gate rejects {what}:\n{reasons}")


def gate() -> None:
    """Put the model of the work tree before the gate and write nothing; says no by raising InputError."""
    contract, params = read_contract(), read_params()
    require_reproduced()
    client = store.connect()
    champion = registry.find_champion(client)
    train, test = (read_table(path, "prepare", contract) for path in (paths.TRAIN, paths.TEST))
    verdicts, _, _ = judge_all(client, champion, train, test, contract, params)
    announce(verdicts, "this model")
    report_line("gate", f"passed, beside {f'version {champion.number}' if champion else 'no champion'}")


def release() -> None:
    """Release the committed model; says no, with every failed rule, by raising InputError."""
    if store.IS_LOCAL and os.environ.get("CI"):
        raise InputError(
            "MLFLOW_TRACKING_URI is not set, and what CI would release into goes away with the job: give this job the "
            "address of the team's tracking server."
        )
    require_clean_tree()
    require_marks()
    contract, params = read_contract(), read_params()
    require_reproduced()
    client = store.connect()
    with store.lock_decisions():
        facts, champion = read_provenance("HEAD"), registry.find_champion(client)
        if champion and all(champion.tags.get(name) == value for name, value in facts.items()):
            report_line("release", f"version {champion.number} of this commit is the champion already")
            return
        train, test = (read_table(path, "prepare", contract) for path in (paths.TRAIN, paths.TEST))
        verdicts, duel, tables = judge_all(client, champion, train, test, contract, params)
        failed = [verdict for verdict in verdicts if not verdict.passed]
        metrics = tables[0].set_index("metric")["value"].dropna()
        facts |= {
            "verdict": "rejected" if failed else "passed",
            "train_rows": str(len(train)),
            "test_share": str(params.prepare.test_share),
            "metrics": json.dumps({str(name): float(value) for name, value in metrics.items()}),
            "gate": json.dumps([vars(verdict) for verdict in verdicts]),
        }
        version = register(client, facts, params)
        before = champion.number if champion else "none"
        registry.require_champion(client, before)
        document(client, version, verdicts, duel, contract, len(test), tables)
        event = "rejected" if failed else "promoted"
        noted = {"commit": facts["git_commit"], "replaced": before, "metrics": facts["metrics"]}
        registry.record_decision(client, event, version.number, **noted, facts=registry.digest_tags(facts))
        if not failed:
            registry.require_champion(client, version.number)
    announce(verdicts, f"version {version.number}")
    report_line("release", f"version {version.number} is the champion, {before} was before", paths.RELEASE_REPORT)


def document(
    client: Any,
    version: Version,
    verdicts: list[Verdict],
    duel: Duel | None,
    contract: Contract,
    rows: int,
    judged: list[pd.DataFrame],
) -> None:
    """Write the report with the gate's verdict and keep it with the version; a version that passes gets its cards."""
    # A column may be called NA.
    tables = [*judged, pd.read_csv(paths.IMPORTANCE, keep_default_na=False, na_values=[""])]
    with write_atomically(paths.RELEASE_REPORT) as draft:
        write_report(draft, contract, rows, tables, read_previous_output(paths.METRICS), verdicts, duel)
    client.log_artifact(version.run_id, str(paths.RELEASE_REPORT))
    if all(verdict.passed for verdict in verdicts):
        for path in write_cards(version, verdicts, contract, tables):
            client.log_artifact(version.run_id, str(path), version.source.rpartition("/")[2])  # beside the model

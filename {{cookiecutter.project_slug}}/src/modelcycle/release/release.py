"""Check the committed model against the gate and, if it passes, make it the champion.

The order makes an interrupted release harmless: first everything is judged, then the version is registered with all its
files, then the ledger gets the decision, and last the alias follows. Releasing again continues where it stopped.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from modelcycle.core import paths
from modelcycle.core.contract import Contract, read_contract, read_table
from modelcycle.core.errors import InputError, Undecided
from modelcycle.core.model_file import load_model, predict
from modelcycle.core.output import md5, report_line, require_output, write_atomically, write_text
from modelcycle.core.team import make_features, read_project
from modelcycle.pipeline.evaluate import describe_judged_rows, evaluate_predictions
from modelcycle.pipeline.report import write_report
from modelcycle.pipeline.unseen import predict_unseen
from modelcycle.release.cards import require_markers, write_cards
from modelcycle.release.commit import (
    require_clean_tree,
    require_pushed_commit,
    require_reproduced,
    require_same_answers,
    require_whole_commit,
    run_alone,
)
from modelcycle.release.duel import (
    Duel,
    compare_with_champion,
    describe_holdout,
    is_the_examples,
    judge_retirement,
    plot_duel,
    read_holdout,
)
from modelcycle.release.gate import (
    judge_behaviour,
    judge_leaks,
    judge_metrics,
    judge_overlap,
    judge_process,
    judge_training_rows,
)
from modelcycle.release.row_wise import judge_row_wise
from modelcycle.release.simpler import judge_baselines
from modelcycle.tracking import store
from modelcycle.versions import registry
from modelcycle.versions.bundle import load_version
from modelcycle.versions.ledger import lock_decisions, read_ledger
from modelcycle.versions.lineage import read_provenance
from modelcycle.versions.params import Params, read_params
from modelcycle.versions.paths import QUESTIONS, RELEASE_REPORT
from modelcycle.versions.questions import ask_questions
from modelcycle.versions.registry import Verdict, Version
from modelcycle.versions.run_version import RunningVersion
from modelcycle.versions.version_process import VersionProcess

PAGE = Path(__file__).with_name("release.html")


@dataclass
class Judgement:
    """What the gate says of a model.

    tables: intervals, slices, calibration and baselines. note: what it was judged on.
    """

    verdicts: list[Verdict]
    tables: list[pd.DataFrame]
    note: str
    duel: Duel | None = None

    @property
    def state(self) -> str:
        """The verdict on the model by those of all rules: rejected, undecided or passed."""
        states = {verdict.state for verdict in self.verdicts}
        return "rejected" if "failed" in states else "undecided" if "undecided" in states else "passed"


def judge_model(
    client: Any,
    champion: Version | None,
    train: pd.DataFrame,
    test: pd.DataFrame,
    contract: Contract,
    params: Params,
    no_duel: str = "",
) -> Judgement:
    """Check the model in models/ against every rule of the gate.

    train, test: (t, m) and (n, m). no_duel: see `compare_with_champion`. Nothing in reports/ is believed: all metrics
    are computed again from model and data.
    """
    model = load_model(require_output(paths.JUDGED, "train"), read_project().trusted_types)
    judged, predictions = predict_unseen(model, train, test, contract, params)
    tables = list(evaluate_predictions(model, train, test, judged, predictions, contract, params).values())
    verdicts = list(judge_metrics(params.gate, contract.is_classification, *tables[:3]))
    verdicts += judge_baselines(params.gate, contract.is_classification, tables[3])
    verdicts += [judge_overlap(train, test, contract, params.prepare.holdout), judge_row_wise(test, contract)]
    verdicts.append(judge_leaks(params.gate, pd.concat([train, test]), contract))
    some = test.sample(min(1000, len(test)), random_state=0)
    verdicts += judge_behaviour(params.gate.behaviour, model, some, contract)
    if params.gate.process:
        verdicts.append(judge_process())
    judgement = Judgement(verdicts, tables, describe_judged_rows(judged, train, test, params, contract.time))
    if champion is None:
        return judgement
    if is_the_examples(champion) and not Path(params.ingest.source).is_relative_to(paths.EXAMPLE):
        verdicts.append(judge_retirement(champion.number))
        return judgement
    verdicts.append(judge_training_rows(len(train), int(champion.tags["train_rows"]), params.gate.fewest_rows))
    answers = predictions if judged is test else predict(model, make_features(test, contract))
    bundle, old = load_version(client, champion), read_holdout(champion, contract)
    verdict, judgement.duel = compare_with_champion(bundle, old, test, answers, contract, params, no_duel)
    verdicts.append(verdict)
    return judgement


def register_version(client: Any, facts: dict[str, str], params: Params) -> Version:
    """Register the committed model as a version, or reuse that of an interrupted release, not yet in the ledger."""
    from mlflow import MlflowException  # imported late: it takes longer than all the rest

    model, decided_versions = read_project().registered_name, {entry.version for entry in read_ledger(client)}
    for version in registry.list_versions(client, f"tags.git_commit = '{facts['git_commit']}'"):
        if version.number not in decided_versions:
            for name, value in facts.items():
                client.set_model_version_tag(model, version.number, name, value)
            client.log_artifact(version.run_id, str(QUESTIONS), version.source.rpartition("/")[2])
            return registry.find_version(client, version.number)
    run = store.find_run(client, {tag: facts[tag] for tag in store.RUN_TAGS})
    if run is None:  # trained with another store: what the commit says is recorded here
        parameters = {"estimator": params.train.estimator, "seed": params.train.seed, **params.train.parameters}
        run = store.log_training(parameters, {})
    if not client.search_registered_models(f"name = '{model}'"):
        with suppress(MlflowException):  # another machine has made it meanwhile
            client.create_registered_model(model)
    folder = f"release-{facts['git_commit']}"  # params.yaml may have changed since the training
    for path in registry.VERSION_FILES:
        client.log_artifact(run, str(path), folder)
    source = f"{client.get_run(run).info.artifact_uri}/{folder}"
    return Version.from_mlflow(client.create_model_version(model, source, run, tags=facts))


def report_verdicts(judgement: Judgement, subject: str, undecided: str = "") -> None:
    """Print every verdict. Raises InputError with the rules that failed, or Undecided with those that can't tell.

    undecided: the reason of a person to go on without those.
    """
    marks = {"passed": "", "failed": "FAILED", "undecided": "UNDECIDED"}
    for verdict in judgement.verdicts:
        report_line(marks[verdict.state], f"{verdict.rule}: {verdict.found}", f"expected {verdict.expected}")
    state = judgement.state
    if state == "rejected" or (state == "undecided" and not undecided):
        decisive = [v for v in judgement.verdicts if v.state == ("failed" if state == "rejected" else state)]
        reasons = "\n".join(f"  {v.rule}: found {v.found}, expected {v.expected}. {v.meaning}" for v in decisive)
        if state == "rejected":
            raise InputError(f"The gate rejects {subject}:\n{reasons}")
        raise Undecided(
            f"The gate can't decide about {subject}: there is too little data to tell.\n{reasons}\n"
            'More rows help. If people take the risk, type `make release UNDECIDED="the reason, for the ledger"`.'
        )


def gate() -> None:
    """Check the model of the work tree against the gate and write nothing. Raises InputError when it is rejected."""
    contract, params = read_contract(), read_params()
    require_reproduced()
    client = store.connect()
    champion = registry.find_champion(client)
    train, test = (read_table(path, "prepare", contract) for path in (paths.TRAIN, paths.TEST))
    report_verdicts(judge_model(client, champion, train, test, contract, params), "this model")
    report_line("gate", f"passed, beside {f'version {champion.number}' if champion else 'no champion'}")


def release(no_duel: str = "", undecided: str = "") -> None:
    """Release the committed model. Raises InputError when it is rejected, Undecided where the data can't tell.

    no_duel, undecided: the reason of a person to do without the duel with the champion, or to release a model about
    which the gate can't decide; for the ledger.
    """
    if (no_duel or undecided) and os.environ.get("CI"):
        option = "--no-duel" if no_duel else "--undecided"
        raise InputError(f"{option} is a person's decision, and this is CI: release from your own machine.")
    if store.IS_LOCAL and os.environ.get("CI"):
        raise InputError(
            "MLFLOW_TRACKING_URI is not set, and what CI would release into goes away with the job: give this job the "
            "address of the team's tracking server."
        )
    require_clean_tree()
    require_markers()
    contract, params = read_contract(), read_params()
    require_reproduced()
    client = store.connect()
    if registry.is_shared():
        require_pushed_commit()
    require_whole_commit(registry.is_served())
    alone = run_alone(contract)
    with lock_decisions():
        facts, champion = read_provenance("HEAD"), registry.find_champion(client)
        registry.move_alias(client, champion)
        if champion and all(champion.tags.get(name) == value for name, value in facts.items()):
            report_line("release", f"version {champion.number} of this commit is the champion already")
            return
        train, test = (read_table(path, "prepare", contract) for path in (paths.TRAIN, paths.TEST))
        judgement = judge_model(client, champion, train, test, contract, params, no_duel)
        state = judgement.state
        is_promoted = state == "passed" or (state == "undecided" and bool(undecided))
        metrics = judgement.tables[0].set_index("metric")["value"].dropna()
        facts |= {
            "verdict": state,
            "train_rows": str(len(train)),
            "holdout": json.dumps(describe_holdout(train, test, contract, params)),
            "metrics": json.dumps({str(name): float(value) for name, value in metrics.items()}),
            "gate": json.dumps([vars(verdict) for verdict in judgement.verdicts]),
        }
        write_questions(contract, alone)
        facts[f"md5.{QUESTIONS.stem}"] = md5(QUESTIONS)
        version = register_version(client, facts, params)
        previous = champion.number if champion else "none"
        registry.require_champion(client, previous)
        write_documents(client, version, judgement, contract, is_promoted)
        entry = {"commit": facts["git_commit"], "replaced": previous, "metrics": facts["metrics"]}
        reasons = {"no duel": no_duel, "undecided": undecided if state == "undecided" else ""}
        if reason := "; ".join(f"{what}: {why}" for what, why in reasons.items() if why):
            entry["reason"] = reason
        event = "promoted" if is_promoted else state
        registry.record_decision(client, event, version.number, **entry, facts=registry.digest_tags(facts))
        if is_promoted:
            registry.require_champion(client, version.number)
    report_verdicts(judgement, f"version {version.number}", undecided)
    report_line("release", f"version {version.number} is the champion, {previous} was before", RELEASE_REPORT)


def write_questions(contract: Contract, alone: VersionProcess) -> None:
    """Write the questions that the version will be asked wherever it runs, with its answers of here and now.

    alone: the same version without the rest of this folder. Raises InputError where the two answer differently, or it
    answers none, or the same one in several ways.
    """
    model = load_model(require_output(paths.MODEL, "train"), read_project().trusted_types)
    profile = json.loads(require_output(paths.PROFILE, "prepare").read_text(encoding="utf-8"))
    rows = read_table(paths.RAW, "ingest", contract)
    asked = ask_questions(RunningVersion(contract, model, make_features), profile, rows)
    require_same_answers(alone, asked)
    write_text(QUESTIONS, json.dumps(asked, indent=1, ensure_ascii=False) + "\n")
    kept = f"{len(asked['rows'])} made-up questions, answers may differ by {asked['tolerance']:.0e} of their size"
    report_line("", kept, QUESTIONS)


def write_documents(client: Any, version: Version, judgement: Judgement, contract: Contract, is_promoted: bool) -> None:
    """Write the report with the gate's verdicts and log it with the version; one that is promoted gets its cards."""
    # A column may be called NA.
    tables = [*judgement.tables, pd.read_csv(paths.IMPORTANCE, keep_default_na=False, na_values=[""])]
    verdicts, duel = judgement.verdicts, judgement.duel
    with write_atomically(RELEASE_REPORT) as draft:
        gate = {"verdicts": verdicts, "duel": duel, "duel_plot": plot_duel(duel) if duel else None}
        write_report(draft, contract, judgement.note, tables, PAGE, **gate)
    folder = version.source.rpartition("/")[2]  # beside the model: several versions may come from one run
    client.log_artifact(version.run_id, str(RELEASE_REPORT), folder)
    if is_promoted:
        for path in write_cards(version, verdicts, contract, tables):
            client.log_artifact(version.run_id, str(path), folder)

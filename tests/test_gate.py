"""The gate itself is tested: bad models of every kind are rejected by the rule meant for them, honest ones are not."""

import json
import os
import re

import pytest
from conftest import TEMPLATE


@pytest.fixture(scope="module")
def judged(default):
    printed = default.run("python", str(TEMPLATE / "tests/gate_mutations.py"))
    return json.loads(printed.splitlines()[-1])


def test_every_mutant_is_rejected_by_the_rule_meant_for_it(judged):
    for name, (meant, failed) in judged["mutants"].items():
        assert meant in failed, f"{name}: {meant} should have failed, not {failed}"
    assert len(judged["mutants"]) >= 12


def test_the_table_in_the_docs_is_what_was_judged(judged):
    """GATE_TABLE=1 writes it."""
    lines = ["| what was done | rejected by the rule meant for it | and by |", "|---|---|---|"]
    for name, (meant, failed) in judged["mutants"].items():
        others = ", ".join(rule for rule in failed if rule != meant)
        lines.append(f"| {name} | {meant} | {others or '-'} |")
    page = TEMPLATE / "docs/gate.md"
    text = page.read_text(encoding="utf-8")
    (table,) = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    wanted = text.replace(table, "\n".join([*lines, ""]))
    if os.environ.get("GATE_TABLE"):
        page.write_text(wanted, encoding="utf-8")
    assert text == wanted


def test_honest_retrainings_are_rejected_no_more_often_than_the_confidence_allows(judged):
    rejected = {seed: failed for seed, failed in judged["honest"].items() if failed}
    assert len(judged["honest"]) >= 20
    assert len(rejected) <= 0.05 * len(judged["honest"]), rejected

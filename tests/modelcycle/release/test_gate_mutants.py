"""The gate itself is tested: bad models of every kind are rejected by the rule meant for them."""

import os
import re

import numpy as np
import pytest

from support.mutants import MUTATIONS, Judge
from support.repository import TEMPLATE


@pytest.mark.slow
def test_every_mutant_is_rejected_by_the_rule_meant_for_it_and_the_docs_say_so(reproduced, monkeypatch):
    """GATE_TABLE=1 writes the table in docs/gate.md."""
    monkeypatch.chdir(reproduced.path)
    judge = Judge()
    lines = ["| what was done | rejected by the rule meant for it | and by |", "|---|---|---|"]
    for name, (mutate, meant) in MUTATIONS.items():
        failed = mutate(judge)
        assert meant in failed, f"{name}: {meant} should have failed, not {failed}"
        others = ", ".join(rule for rule in failed if rule != meant)
        lines.append(f"| {name} | {meant} | {others or '-'} |")
    page = TEMPLATE / "docs/gate.md"
    text = page.read_text(encoding="utf-8")
    table, *_ = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    wanted = text.replace(table, "\n".join([*lines, ""]))
    if os.environ.get("GATE_TABLE"):
        page.write_text(wanted, encoding="utf-8")
    assert text == wanted


@pytest.mark.slow
def test_columns_that_give_the_target_away_are_found_whatever_is_drawn(reproduced, monkeypatch):
    monkeypatch.chdir(reproduced.path)
    seed = int(np.random.default_rng().integers(1_000_000))
    judge = Judge(seed)
    for name, (mutate, meant) in MUTATIONS.items():
        if meant == "no column gives the target away":
            assert meant in mutate(judge), f"{name}, seed {seed}"

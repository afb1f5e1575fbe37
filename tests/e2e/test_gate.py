"""Honest models pass the gate; tests/modelcycle/release has the bad ones."""

import json

from support.repository import TEMPLATE

HONEST = """
import json
from support.mutants import Judge
judge = Judge()
print(json.dumps({seed: judge.failed_rules(judge.fit(judge.train, seed)) for seed in range(1, 21)}))
"""


def test_honest_retrainings_are_rejected_no_more_often_than_the_confidence_allows(default):
    judged = json.loads(default.run("python", "-c", HONEST, PYTHONPATH=str(TEMPLATE / "tests")))
    rejected = {seed: failed for seed, failed in judged.items() if failed}
    assert len(rejected) <= 0.05 * len(judged), rejected

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from modelcycle.serving.fast import _bin_once, _make_code_matrix


@pytest.mark.parametrize("seen", [[0, 1, 2], [0, 2]], ids=["every code", "a gap"])
def test_looking_up_bins_once_changes_no_answer_whichever_codes_were_seen(seen):
    random = np.random.default_rng(0)
    known, train = dict(zip("abc", range(3), strict=True)), random.normal(size=(600, 2))
    train[:, 0] = random.choice(seen, 600)
    target = (train[:, 0] == 2) ^ (train[:, 1] > 0)
    model = HistGradientBoostingClassifier(categorical_features=[0], max_iter=20).fit(train, target)
    rows = random.normal(size=(400, 2))
    rows[:, 0] = random.choice([0, 1, 2, np.nan], 400)
    answers = _bin_once(model, "predict_proba", _make_code_matrix([known], 2))(rows)
    assert np.array_equal(answers, model.predict_proba(rows))

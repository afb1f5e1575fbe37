"""The features that features.py makes of the project's own rows. Add a test for each feature that you make."""

import pandas as pd

from {{ cookiecutter.package_name }}.features import make_features


def test_each_row_has_its_features(real):
    features = make_features(real.test, real.contract)
    assert features.index.equals(real.test.index)
    assert features.columns.is_unique
    assert len(features.columns)


def test_a_row_alone_has_the_features_that_it_has_among_others(real):
    together = make_features(real.test, real.contract)
    for position in range(min(20, len(real.test))):
        alone = make_features(real.test.iloc[[position]], real.contract)
        pd.testing.assert_frame_equal(alone, together.iloc[[position]], check_dtype=False)


def test_the_target_is_not_among_the_features(real):
    without = make_features(real.test.drop(columns=real.contract.target), real.contract)
    pd.testing.assert_frame_equal(without, make_features(real.test, real.contract))

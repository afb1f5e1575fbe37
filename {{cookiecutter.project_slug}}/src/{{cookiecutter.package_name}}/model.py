"""Which encoding the features need, and which estimator learns from them. Yours to edit."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.utils import get_tags


def make_model(estimator: Any, features: pd.DataFrame) -> Pipeline:
    """Put the encoding that an estimator needs in front of it.

    An estimator that takes missing values gets numbers as they are and categories as codes. Any other gets missing
    numbers replaced, numbers scaled and one column for each frequent category.
    """
    numbers = list(features.select_dtypes("number").dropna(axis="columns", how="all"))
    categories = list(features.select_dtypes(exclude="number"))
    if get_tags(estimator).input_tags.allow_nan:
        codes = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan, max_categories=250
        )
        encode = make_column_transformer((codes, categories), ("passthrough", numbers))
        if "categorical_features" in estimator.get_params():
            estimator.set_params(categorical_features=list(range(len(categories))))
    else:
        scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        columns = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10, sparse_output=False)
        encode = make_column_transformer((scaled, numbers), (columns, categories))
    return Pipeline([("encode", encode), ("estimator", estimator)])


class MeanByGroup(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Learn the mean of a number in each group of the training rows: an example of what features.py can't do.

    features.py sees one row at a time; what takes many rows belongs here, where it is fitted with the model and stored
    in its file. To use it, add `(MeanByGroup(), ["carrier", "distance"])` to the column transformers above.
    """

    def fit(self, features: pd.DataFrame, target: Any = None) -> "MeanByGroup":
        """Learn from (n, 2) features: the group and the number."""
        group, number = features.columns
        self.means_ = features.groupby(group)[number].mean().to_dict()
        self.mean_ = float(features[number].mean())
        return self

    def transform(self, features: pd.DataFrame) -> pd.DataFrame:
        """Give each of (n, 2) features the mean of its group, (n, 1); of a new group, the mean of all."""
        return features.iloc[:, 0].map(self.means_).astype("float64").fillna(self.mean_).to_frame()

"""Find columns that give the target away: alone, together by a rule, or as a set without which hardly anything is left.

A rule is exact or nearly so: a linear formula, the same of logarithms (products and ratios), a tree of four leaves, or
limits on the sum, difference, product or ratio of two columns. Whatever is found is taken out and the rest searched
again. Merely excellent data is not a leak: see the measured rate of false alarms in the template's docs/gate.md.
"""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from threadpoolctl import threadpool_limits

from modelcycle.core.contract import Contract, convert_columns
from modelcycle.core.formulas import ERRORS, find_formula, find_limits

N_ROWS = 5000  # drawn with a seed; of classes the same number each, as far as there are
FEWEST_ROWS = 20  # with fewer, chance alone makes rules
FEWEST_OF_A_RULE = 100  # rows of balanced classes: an honest model that errs in 2 % makes no mistake in e^-3 of samples
RULED = 0.995  # balanced accuracy above which a tree of four leaves is a rule
CERTAIN = 300  # the same for what is chosen from many pairs or by a model
ALONE = 0.99  # balanced accuracy or R2 above which a column alone must know the answer
COPY = 0.98  # the same of a column that has a value for each class: one that was copied and then changed here and there
NEARLY_PERFECT = 0.995  # area under the ROC curve, or R2 of 95 % of the rows, that is told; R2 0.99 of all is 0.992
KNOWN_LATER = re.compile(
    r"(^|_)(cancel\w*|churn\w*|closed|outcome|refund\w*|resol\w*|settle\w*|final|actual)(_|$)", re.I
)


@dataclass(frozen=True)
class Leak:
    """Columns that give the target away, and how; one that does not block is only to be told."""

    columns: tuple[str, ...]
    rule: str
    blocks: bool = True

    def __str__(self) -> str:
        """Name the columns and say how."""
        return f"{', '.join(self.columns)} ({self.rule})" if self.columns else self.rule


@dataclass(frozen=True)
class Sample:
    """The (n, m) inputs as numbers, times in days and categories by their codes, and the (n,) target, classes by codes.

    features: the inputs but the row's time, which no one would leave out. amounts, times: those that measure something.
    n_classes: 0 for an amount.
    """

    inputs: pd.DataFrame
    features: list[str]
    amounts: list[str]
    times: list[str]
    target: np.ndarray
    n_classes: int

    def without(self, names: tuple[str, ...]) -> "Sample":
        """Leave out columns."""
        features, amounts, times = (
            [name for name in some if name not in names] for some in (self.features, self.amounts, self.times)
        )
        return Sample(self.inputs, features, amounts, times, self.target, self.n_classes)

    @property
    def n_balanced(self) -> int:
        """How many rows there would be if the classes were balanced."""
        return int(2 * (len(self.target) - np.bincount(self.target).max())) if self.n_classes else len(self.target)


def find_leaks(rows: pd.DataFrame, contract: Contract) -> list[Leak]:
    """Find the columns of (n, m) rows that give the target away, one rule after the other, and what hints at it."""
    sample, found = draw_sample(rows, contract), list[Leak]()
    # Threads that wait for each other on a busy machine take ten times as long for so few rows as one.
    with threadpool_limits(1), warnings.catch_warnings(action="ignore"):  # of classes that are rarer than folds
        if len(sample.target) >= FEWEST_ROWS:
            found += [Leak((name,), f"{name} alone") for name in sample.features if tells_alone(sample, name)]
            sample = sample.without(tuple(name for leak in found for name in leak.columns))
            while sample.features and (leak := find_leak(sample)):
                found.append(leak)
                if not leak.blocks:
                    break
                sample = sample.without(leak.columns)
    return found + list(find_hints(rows, contract))


def draw_sample(rows: pd.DataFrame, contract: Contract) -> Sample:
    """Draw rows whose target is known, of classes the same number each as far as there are."""
    typed = convert_columns(rows, [*contract.inputs, contract.target], contract).dropna(subset=contract.target)
    target = typed[contract.target]
    if contract.is_classification:
        target = target.astype("str").sample(frac=1, random_state=0)
        target = target.groupby(target).head(max(N_ROWS // max(target.nunique(), 1), 20))
        target = target[target.map(target.value_counts()) > 2]  # else no fold may hold it
    else:
        target = target.sample(min(N_ROWS, len(target)), random_state=0)
    kinds, inputs = {name: contract.columns[name].type for name in contract.inputs}, {}
    for name, kind in kinds.items():
        values = typed.loc[target.index, name]
        if kind == "category":
            values = pd.Series(pd.factorize(values, sort=True)[0]).where(lambda codes: codes >= 0)
        elif kind == "datetime":
            values = (values - pd.Timestamp(2000, 1, 1)) / pd.Timedelta(days=1)
        inputs[name] = values.to_numpy("float64", na_value=np.nan)
    times = [name for name, kind in kinds.items() if kind == "datetime"]
    amounts = [name for name, kind in kinds.items() if kind not in ("category", "datetime")]
    truth = pd.factorize(target)[0] if contract.is_classification else target.to_numpy("float64")
    n_classes = target.nunique() if contract.is_classification else 0
    return Sample(pd.DataFrame(inputs), contract.names("feature"), amounts, times, truth, n_classes)


def find_leak(sample: Sample) -> Leak | None:
    """Find one rule of several columns, the simplest kinds first."""
    searches = (find_rule, find_tree, find_needed) if sample.n_classes else (find_rule, find_needed)
    return next(filter(None, (search(sample) for search in searches)), None)


def find_rule(sample: Sample) -> Leak | None:
    """Find a formula for amounts; for classes, limits on two columns, which of few rows only warn."""
    if sample.n_classes and sample.n_balanced < FEWEST_OF_A_RULE:
        return None
    search = find_limits if sample.n_classes else find_formula
    found = search(sample.inputs[sample.amounts], sample.inputs[sample.times], sample.target)
    # So many pairs find more by chance than one tree.
    return Leak(tuple(found[0]), found[1], not sample.n_classes or sample.n_balanced >= CERTAIN) if found else None


def tells_alone(sample: Sample, name: str) -> bool:
    """Say whether a column tells the target all by itself, by a tree: a copy and a code are the same to it."""
    values = sample.inputs[[name]]
    if name not in (*sample.amounts, *sample.times):
        n_leaves = None  # the codes have no order
    else:
        n_leaves = 30 if sample.n_classes else 200
        if score_tree(sample, values, n_leaves, 600) < ALONE - 0.05:
            return False
    is_copy = sample.n_classes and values[name].nunique() <= sample.n_classes
    return score_tree(sample, values, n_leaves) > (COPY if is_copy else ALONE)


def score_tree(sample: Sample, values: pd.DataFrame, n_leaves: int | None, n_rows: int = N_ROWS) -> float:
    """Give balanced accuracy or R2 of a tree of (n, k) values in three folds."""
    values, target = values.iloc[:n_rows], sample.target[:n_rows]
    if sample.n_classes:
        tree, folds = DecisionTreeClassifier(max_leaf_nodes=n_leaves, random_state=0), StratifiedKFold(3)
        return float(balanced_accuracy_score(target, cross_val_predict(tree, values, target, cv=folds)))
    tree = DecisionTreeRegressor(max_leaf_nodes=n_leaves, random_state=0)
    return float(r2_score(target, cross_val_predict(tree, values, target, cv=KFold(3))))


def find_tree(sample: Sample) -> Leak | None:
    """Find a tree of at most four leaves, or as many as classes, that is right: such as `or` and `and` of flags."""
    n_leaves = max(4, sample.n_classes)
    values = sample.inputs[sample.features]
    if sample.n_balanced < FEWEST_OF_A_RULE or score_tree(sample, values, n_leaves) < RULED:
        return None
    tree = DecisionTreeClassifier(max_leaf_nodes=n_leaves, random_state=0).fit(values, sample.target)
    names = tuple(name for name, share in zip(sample.features, tree.feature_importances_, strict=True) if share > 0.001)
    return Leak(names, f"{tree.get_n_leaves() - 1} limits on {', '.join(names)}")


def find_needed(sample: Sample) -> Leak | None:
    """Find up to three columns without which a nearly perfect model loses more than half of its skill."""
    if try_model(sample, sample.features, 1)[0] < 0.97:  # which is most often so, and saves time
        return None
    skill, errors = try_model(sample, sample.features)
    score = (skill + 1) / 2 if sample.n_classes else skill
    if score < NEARLY_PERFECT:
        return None
    removed, left = list[str](), skill
    while left > skill / 2 and len(removed) < min(3, len(sample.features) - 1):
        removed.append(find_most_important(sample, [name for name in sample.features if name not in removed]))
        left, _ = try_model(sample, [name for name in sample.features if name not in removed])
    figure = f"{'roc_auc' if sample.n_classes else 'r2'} {score:.4f}"
    rest = f"{(left + 1) / 2 if sample.n_classes else left:.2f} without"
    if left > skill / 2:
        return Leak((), f"nearly perfect, {figure}, and {rest} {', '.join(removed)}", blocks=False)
    is_certain = sample.n_balanced >= CERTAIN and 2 * len(removed) <= len(sample.features)
    return Leak(tuple(removed), f"{figure}, {rest}", blocks=is_certain and errors < ERRORS)


def make_booster(sample: Sample) -> tuple[Any, Any]:
    """Make boosted trees for the target, fewer where each class takes its own, and folds."""
    if sample.n_classes:
        n_trees = 100 if sample.n_classes == 2 else max(200 // sample.n_classes, 20)
        return HistGradientBoostingClassifier(max_iter=n_trees, random_state=0), StratifiedKFold(3)
    return HistGradientBoostingRegressor(max_iter=200, min_samples_leaf=5, random_state=0), KFold(3)


def try_model(sample: Sample, names: list[str], n_folds: int = 3) -> tuple[float, float]:
    """Give the skill of boosted trees, from 0 to 1, and their share of mistakes in classes."""
    (model, folds), values, answers, rows = make_booster(sample), sample.inputs[names], [], []
    for train, test in islice(folds.split(values, sample.target), n_folds):
        model.fit(values.iloc[train], sample.target[train])
        answers.append(model.predict_proba(values.iloc[test]) if sample.n_classes else model.predict(values.iloc[test]))
        rows.append(test)
    target, given = sample.target[np.concatenate(rows)], np.concatenate(answers)
    if not sample.n_classes:
        errors = np.abs(target - given)
        most = errors <= np.quantile(errors, 0.95)  # trees can't follow the few that are huge
        return float(r2_score(target[most], given[most])), 0.0
    auc = roc_auc_score(target, given[:, 1] if sample.n_classes == 2 else given, multi_class="ovr")
    return float(2 * auc - 1), float(np.mean(given.argmax(axis=1) != target))


def find_most_important(sample: Sample, names: list[str]) -> str:
    """Find the feature whose shuffling costs boosted trees most, in one of three folds."""
    (model, folds), values = make_booster(sample), sample.inputs[names]
    train, test = next(iter(folds.split(values, sample.target)))
    test = np.random.default_rng(0).permutation(test)[:500]
    scoring = "neg_log_loss" if sample.n_classes else "r2"
    model.fit(values.iloc[train], sample.target[train])
    cost = permutation_importance(
        model, values.iloc[test], sample.target[test], scoring=scoring, n_repeats=1, random_state=0
    )
    return names[int(np.argmax(cost["importances_mean"]))]


def find_hints(rows: pd.DataFrame, contract: Contract) -> Iterator[Leak]:
    """Find features that are later than the row's time, or called as if known only afterwards."""
    typed = convert_columns(rows, contract.inputs, contract)
    for name in contract.names("feature"):
        if contract.time and contract.columns[name].type == "datetime":
            later = typed[name] > typed[contract.time]
            if later.sum() > 0.95 * typed[name].notna().sum() > 0:
                yield Leak((name,), f"later than {contract.time} in {later.mean():.0%} of the rows", blocks=False)
                continue
        if KNOWN_LATER.search(name):
            yield Leak((name,), "called like something that is known only afterwards", blocks=False)

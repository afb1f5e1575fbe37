"""Find formulas that give the target from a few columns: sums, products, and limits on two columns."""

from itertools import combinations

import numpy as np
import pandas as pd

EXACT_SHARE = 0.94  # of the rows have to keep a formula: others may have been corrected by hand
TOLERANCE = 0.03  # how far they may be off, in standard deviations: R2 0.9998, or 1 % of noise
ROUNDING = 0.1  # the same where the target is rounded, to its step; R2 0.99 is off by 0.16
ERRORS = 0.007  # share of rows that limits may get wrong
FEW_VALUES = 20  # of a target with so few values, logarithms that fit show nothing


def find_formula(amounts: pd.DataFrame, times: pd.DataFrame, target: np.ndarray) -> tuple[list[str], str] | None:
    """Find columns of which the (n,) target is a linear combination or, by their logarithms, a product or ratio.

    amounts, times: (n, a) numbers and (n, t) days. Returns the columns with the formula as people write it.
    """
    if found := find_combination(pd.concat([amounts, times], axis="columns"), target):
        return list(found), write_sum(found)
    if len(np.unique(target)) <= FEW_VALUES:
        return None
    with np.errstate(divide="ignore"):
        logs = pd.DataFrame(np.log(np.abs(amounts))).replace(-np.inf, np.nan)
        log_target = np.log(np.abs(target))
    some = np.isfinite(log_target)
    logs = logs.loc[some, logs[some].notna().mean() > 0.95]
    known = logs.notna().all(axis=1).to_numpy()
    is_known_enough = 2 * known.sum() > len(some) and known.mean() > 0.97
    if is_known_enough and (found := find_combination(logs[known], log_target[some][known])):
        return list(found), write_product(found)
    return None


def find_combination(values: pd.DataFrame, target: np.ndarray) -> dict[str, float]:
    """Find the fewest of (n, m) columns, with their factors, that add up to the (n,) target, but for a constant.

    Where all columns together do not give it, no subset does; otherwise those that matter most in all are tried first.
    """
    values = values.fillna(0)
    values = values.loc[:, values.std() > 0]
    if len(values.columns) > (most := len(values) // 3):
        values = values[values.corrwith(pd.Series(target, values.index)).abs().nlargest(most).index]
    scale = values.std()
    factors = fit_exactly(values / scale, target)
    if factors is None or fit_exactly(values.iloc[:, :0], target) is not None:
        return {}
    order = factors.abs().sort_values(ascending=False).index
    fits = (fit_exactly((values / scale)[order[:n]], target) for n in range(1, len(order) + 1))
    factors = next(fit for fit in fits if fit is not None)
    for name in factors.index[:-1]:
        fewer = fit_exactly((values / scale)[factors.index.drop(name)], target)
        factors = factors if fewer is None else fewer
    return (
        {str(name): float(factors[name] / scale[name]) for name in factors.index}
        if 10 * len(factors) <= len(values)
        else {}
    )


def fit_exactly(values: pd.DataFrame, target: np.ndarray) -> "pd.Series[float] | None":
    """Fit the (n,) target by least trimmed squares; None where the fit is not exact for nearly all rows.

    P. Rousseeuw, K. van Driessen, Computing LTS Regression for Large Data Sets, Data Min. Knowl. Disc. 12 (2006): the
    rows that fit best are fitted again and again.
    """
    middle, numbers = np.median(target), np.column_stack([values - values.median(), np.ones(len(values))])
    distance = np.abs(target - middle)
    spread = float(np.std(target[distance <= np.quantile(distance, 0.95)]))  # without the few that are huge
    step = np.diff(np.unique(target)).min(initial=np.inf) / 2
    tolerance = max(TOLERANCE * spread, min(1.2 * step, ROUNDING * spread))
    common = target == pd.Series(target).mode()[0]
    kept = np.ones(len(target), bool)
    for _ in range(10):
        factors = np.linalg.lstsq(numbers[kept], target[kept] - middle)[0]
        errors = np.abs(target - middle - numbers @ factors)
        kept = errors <= np.quantile(errors, EXACT_SHARE)
    shares = [np.mean(errors[rows] <= tolerance) for rows in (common | True, ~common)]  # not only where it is always 0
    return pd.Series(factors[:-1], values.columns) if min(shares) >= EXACT_SHARE else None


def write_sum(factors: dict[str, float]) -> str:
    """Write a linear combination, such as `casual + registered`."""
    words = ""
    for name, factor in sorted(factors.items(), key=lambda item: item[1] < 0):
        size = "" if abs(abs(factor) - 1) < 0.01 else f"{abs(factor):.3g} * "
        words += (" - " if factor < 0 else " + ") + size + name
    return words.removeprefix(" + ").strip()


def write_product(exponents: dict[str, float]) -> str:
    """Write a product of powers, such as `price * quantity`."""
    words = ""
    for name, exponent in sorted(exponents.items(), key=lambda item: item[1] < 0):
        power = "" if abs(abs(exponent) - 1) < 0.01 else f"^{abs(exponent):.3g}"
        words += (" / " if exponent < 0 else " * ") + name + power
    return words.removeprefix(" * ").strip()


def find_limits(amounts: pd.DataFrame, times: pd.DataFrame, classes: np.ndarray) -> tuple[list[str], str] | None:
    """Find two columns whose sum, difference, product or ratio parts the classes by limits, with rows close to them.

    amounts, times: (n, a) numbers and (n, t) days. classes: (n,) codes. Returns the columns with the rule in words.
    An honest model may part classes that lie apart, with few rows in between; only a rule does where rows are dense.
    """
    for table, words in [(amounts, "+-*/"), (times, "-")]:
        for left, right in combinations(table, 2):
            a, b = table[left].to_numpy(), table[right].to_numpy()
            for word in words:
                with np.errstate(all="ignore"):
                    values = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[word]
                first = slice(400)  # a first look at some of the rows saves time
                if parts_classes(values[first], classes[first], 0) and parts_classes(values, classes, 10):
                    return [str(left), str(right)], f"limits on {left} {word} {right}"
    return None


def parts_classes(values: np.ndarray, target: np.ndarray, n_beside: int) -> bool:
    """Say whether the classes of (n,) rows follow one another by value, parted where rows are dense.

    n_beside: rows on either side of a limit to look at; 0 asks only whether the classes nearly follow one another.
    """
    known = np.isfinite(values)
    values, target = values[known], target[known]
    if len(target) < 20 or 2 * known.sum() < len(known):
        return False
    counts = np.bincount(target)
    order = np.argsort(values, kind="stable")  # rows come in random order, so those with the same value do as well
    changes = np.flatnonzero(np.diff(target[order]))
    most = np.count_nonzero(counts) - 1 + ERRORS * (len(target) - counts.max())
    if not n_beside or not 0 < len(changes) <= most:
        return bool(len(changes) <= most + 4)  # a first look at some of the rows
    ranked = values[order]
    usual = 3 * np.median(ranked[n_beside:] - ranked[:-n_beside]) + np.diff(np.unique(values)).min(initial=np.inf)
    below = ranked[changes] - ranked[np.maximum(changes - n_beside, 0)]
    above = ranked[np.minimum(changes + 1 + n_beside, len(ranked) - 1)] - ranked[changes + 1]
    nearer = np.minimum(below, above)
    is_close = (nearer == 0) | (nearer + ranked[changes + 1] - ranked[changes] <= usual)
    return bool(is_close.mean() > 0.7)

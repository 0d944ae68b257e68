#!/usr/bin/env python3
"""Writes tests/data/verdict-scipy.json: what SciPy says about fixed data sets, for the test `verdict`.

    python3 -m venv venv && venv/bin/pip install scipy==1.17.1
    venv/bin/python scripts/scipy-reference.py > tests/data/verdict-scipy.json

Needed only when data sets are added; the tests read the JSON. The estimate is numpy's median of all
Walsh averages, listed. Intervals come from scipy.stats.wilcoxon itself, by inversion: between two
neighbouring Walsh averages lies a shift that the test does or does not refuse, and the interval ends
where that changes. Nothing here shares a formula with the Rust code.
"""

import json
import sys

import numpy as np
import scipy
from scipy import stats

EXACT_MAX = 50


def data_sets():
    rng = np.random.default_rng(20261124)
    for n in (5, 6, 8, 12, 20, 35, 50, 51, 60, 120, 320, 640):
        yield f"normal, n={n}", rng.normal(0.03, 0.14, n)
    for n in (12, 60, 240):
        yield f"heavy tails (t with 1.5 degrees of freedom), n={n}", rng.standard_t(1.5, n) * 0.1
        yield f"skewed (log-normal), n={n}", rng.lognormal(0, 1, n) - 1.2
        yield f"ties, n={n}", np.round(rng.normal(0.1, 0.3, n), 1)
        few_zeros = rng.normal(0.02, 0.1, n)
        few_zeros[: n // 4] = 0.0
        yield f"zeros, n={n}", few_zeros
    yield "timeouts on both sides, n=60", np.concatenate(
        [rng.normal(0, 0.1, 52), [5.5] * 6, [-5.5] * 2]
    )
    yield "one sign, n=30", np.abs(rng.normal(0.1, 0.1, 30)) + 0.01
    yield "two values, n=40", np.array([0.1] * 25 + [-0.1] * 15)


def p_value(d):
    nonzero = d[d != 0]
    plain = len(nonzero) <= EXACT_MAX and len(np.unique(np.abs(nonzero))) == len(nonzero)
    method = "exact" if plain else "asymptotic"
    found = stats.wilcoxon(nonzero, method=method, correction=True)
    return method, float(found.pvalue)


def refused(d, at, alpha):
    shifted = d - at
    plain = len(d) <= EXACT_MAX and len(np.unique(d)) == len(d)
    if plain:
        return stats.wilcoxon(shifted, method="exact").pvalue <= alpha
    ranked = np.round(shifted, 12)  # subtraction must not take equal values apart
    return stats.wilcoxon(ranked, method="asymptotic", correction=True).pvalue <= alpha


def interval(d, alpha):
    """The outermost Walsh averages beyond which the test refuses every shift."""
    i, j = np.triu_indices(len(d))
    walsh = np.sort((d[i] + d[j]) / 2)
    distinct = walsh[np.concatenate([[True], np.diff(walsh) > 1e-9])]
    if len(distinct) == 1:
        return float(distinct[0]), float(distinct[0])
    gaps = (distinct[:-1] * 0.4871 + distinct[1:] * 0.5129)  # off the middle: no chance ties
    low, high = 0, len(gaps) - 1
    middle = int(np.searchsorted(gaps, np.median(walsh)))

    def first_accepted(inside, outside):
        if not refused(d, gaps[outside], alpha):
            return None
        while abs(inside - outside) > 1:
            between = (inside + outside) // 2
            if refused(d, gaps[between], alpha):
                outside = between
            else:
                inside = between
        return inside

    inside = min(max(middle, 0), len(gaps) - 1)
    first, last = first_accepted(inside, low), first_accepted(inside, high)
    return (
        float(distinct[0] if first is None else distinct[first]),
        float(distinct[-1] if last is None else distinct[last + 1]),
    )


def mcnemar(b, c):
    return float(stats.binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0


def main():
    sets = []
    for name, d in data_sets():
        method, p = p_value(d)
        i, j = np.triu_indices(len(d))
        low95, high95 = interval(d, 0.05)
        low90, high90 = interval(d, 0.10)
        sets.append(
            {
                "name": name,
                "d": [float(x) for x in d],
                "method": method,
                "p": p,
                "estimate": float(np.median((d[i] + d[j]) / 2)),
                "interval95": [low95, high95],
                "interval90": [low90, high90],
            }
        )
        print(name, method, p, low95, high95, file=sys.stderr)
    tables = [
        {"only_later": b, "only_earlier": c, "p": mcnemar(b, c)}
        for b, c in ((0, 0), (1, 0), (5, 0), (6, 0), (0, 6), (3, 9), (12, 12), (40, 20), (300, 240), (0, 640))
    ]
    json.dump({"scipy": scipy.__version__, "sets": sets, "mcnemar": tables}, sys.stdout)
    print()


if __name__ == "__main__":
    main()

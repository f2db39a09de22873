"""What a notebook recorded: rows and claims, their table, and intervals over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .tables import Table

TIERS = ("smoke", "classroom", "long", "paper")
ASSERTING_TIERS = ("classroom", "long", "paper")


def check(tier: str, seed: int) -> None:
    """Raise ValueError for a tier that there is not, or a seed that PyTorch or NumPy refuse."""
    if tier not in TIERS:
        raise ValueError(f"tier {tier!r}; choose one of: {', '.join(TIERS)}")
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed!r}; choose an integer from 0 to {2**32 - 1}")


@dataclass
class Row:
    """A measured number and, where it backs a claim, the bounds that it must meet."""

    name: str
    value: float
    unit: str = ""
    paper: float | str | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def held(self) -> bool | None:
        """True or False for a claim, None for a plain measurement."""
        if not self.is_claim:
            return None
        low, high = self._bounds
        return low <= self.value <= high

    @property
    def is_claim(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    @property
    def _bounds(self):
        low = -math.inf if self.at_least is None else self.at_least
        return low, math.inf if self.at_most is None else self.at_most

    @property
    def bound(self) -> str:
        bounds = [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"≤ {self.at_most:g}"] if self.at_most is not None else []
        return ", ".join(bounds)

    @property
    def in_words(self) -> str:
        return f"{self.name} = {self.value:.4g}, {self.bound}"

    def verdict(self, seeds: Sequence[float] = ()) -> str:
        """What can be said of the claim: "held", "undecided" or "refuted"; "" without a claim.

        seeds: values of this row from stored seeds. From two on their 95 % interval decides: held
        if all of it meets the bounds, refuted if none of it does. With fewer the claim is judged
        on this run alone, and is never undecided.
        """
        if not self.is_claim:
            return ""
        if len(seeds) < 2:
            return "held" if self.held else "refuted"
        low, high = self._bounds
        found = interval(seeds)
        if low <= found.low and found.high <= high:
            return "held"
        return "refuted" if found.high < low or found.low > high else "undecided"


def results_table(
    rows: list[Row],
    tier: str,
    seeds: dict[str, list[float]] | None = None,
    long: dict[str, float] | None = None,
) -> Table:
    """The recorded rows as a table: claims and published numbers, the rest folded.

    seeds: {name: values of the stored seeds of this tier}; they decide the verdict of a claim.
    long: {name: value of the stored run at tier long}. A column without a number is left out.
    """
    seeds, long = seeds or {}, long or {}
    heads = ("", f"this run, {tier}", "stored seeds", "stored long run", "published", "claim", "")
    shown, folded = [], []
    for row in rows:
        values = seeds.get(row.name, [])
        cells = (
            row.name,
            _measured(row.value, row.unit),
            str(interval(values)) if len(values) > 1 else "",
            _measured(long[row.name], row.unit) if row.name in long else "",
            "" if row.paper is None else f"{row.paper}",
            row.bound,
            _verdict_in_words(row, values, tier),
        )
        (shown if row.is_claim or row.paper is not None else folded).append(cells)
    empty = {k for k in (2, 3) if not any(cells[k] for cells in shown + folded)}
    keep = [k for k in range(len(heads)) if k not in empty]
    pruned = [[tuple(cells[k] for k in keep) for cells in part] for part in (shown, folded)]
    return Table([tuple(heads[k] for k in keep), *pruned[0]], pruned[1])


def _measured(value, unit):
    return f"{value:.4g} {unit}".strip()


def _verdict_in_words(row, values, tier):
    if row.is_claim and tier not in ASSERTING_TIERS:
        return f"not asserted at tier {tier}"
    verdict = row.verdict(values)
    words = {"refuted": "REFUTED" if len(values) > 1 else "FAILED"}.get(verdict, verdict)
    if len(values) > 1 and verdict and row.held != (verdict == "held"):
        words += ", met by this run" if row.held else ", not met by this run"
    return words


@dataclass
class Interval:
    """A mean over seeds with its 95 % t-interval; low and high are NaN for a single seed."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self):
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}] over {self.n} seeds"


def interval(values: Sequence[float]) -> "Interval":
    """The mean of independent values and its 95 % Student-t interval."""
    from scipy.stats import t

    found = np.asarray(values, dtype=float)
    if len(found) == 0:
        raise ValueError("no values to take an interval over")
    mean = float(found.mean())
    if len(found) == 1:
        return Interval(mean, math.nan, math.nan, 1)
    half = t.ppf(0.975, len(found) - 1) * float(found.std(ddof=1)) / math.sqrt(len(found))
    return Interval(mean, mean - half, mean + half, len(found))

"""What notebooks measured: rows and claims, tables, and stored sweeps with their intervals."""

import html
import math
from dataclasses import dataclass

import numpy as np

from . import files, sources

TIERS = ("smoke", "classroom", "paper")
ASSERTING_TIERS = ("classroom", "paper")


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
    def held(self):
        """True or False for a claim, None for a plain measurement."""
        if self.at_least is None and self.at_most is None:
            return None
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= self.value <= high

    @property
    def bound(self):
        bounds = [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"≤ {self.at_most:g}"] if self.at_most is not None else []
        return ", ".join(bounds)


class Table:
    """Rows of words, the first of them the heads of the columns, shown as a table."""

    def __init__(self, rows):
        self.rows = rows

    def __repr__(self):
        return "\n".join("  ".join(cell for cell in row if cell) for row in self.rows)

    def _repr_html_(self):
        lines = []
        for k, row in enumerate(self.rows):
            tag = "td" if k else "th"
            cells = (f'<{tag} style="text-align: left">{html.escape(c)}</{tag}>' for c in row)
            lines.append(f"<tr>{''.join(cells)}</tr>")
        return f"<table>{''.join(lines)}</table>"


def results_table(rows, tier):
    """The recorded rows as a table; a claim that fails is shown as failed."""
    cells = [("", "measured", "published", "claim", "")]
    for row in rows:
        verdict = {True: "held", False: "FAILED", None: ""}[row.held]
        if row.held is not None and tier not in ASSERTING_TIERS:
            verdict = f"not asserted at tier {tier}"
        measured = f"{row.value:.4g} {row.unit}".strip()
        published = "" if row.paper is None else f"{row.paper}"
        cells.append((row.name, measured, published, row.bound, verdict))
    return Table(cells)


@dataclass
class Interval:
    """A mean over seeds with its 95 % t-interval; low and high are NaN for a single seed."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self):
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}] over {self.n} seeds"


def interval(values):
    """The mean of independent values and its 95 % Student-t interval."""
    from scipy.stats import t

    values = np.asarray(values, dtype=float)
    if len(values) == 0:
        raise ValueError("no values to take an interval over")
    mean = values.mean()
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan, 1)
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half, len(values))


class Sweep:
    """Stored runs of a notebook: one a seed and setting, with what each recorded."""

    def __init__(self, notebook, runs):
        self.notebook, self.runs = notebook, runs

    @classmethod
    def read(cls, notebook):
        path = sources.results_path(notebook)
        return cls(notebook, files.read_json(path)["runs"] if path.exists() else [])

    def select(self, tier="classroom", **settings):
        """The runs of a tier with exactly these settings beside the notebook's own."""
        return [run for run in self.runs if (run["tier"], run["settings"]) == (tier, settings)]

    def values(self, name, tier="classroom", **settings):
        """The recorded values of `name`, one a seed, in the order of the seeds."""
        runs = sorted(self.select(tier, **settings), key=lambda run: run["seed"])
        return [row["value"] for run in runs for row in run["rows"] if row["name"] == name]

    @property
    def out_of_date(self):
        """True if the code that made any of the runs has changed since.

        Of a notebook handed out it cannot be said, since its exercises differ.
        """
        if not self.runs or not sources.in_checkout():
            return False
        current = sources.code_digest(self.notebook)
        return any(run["code"] != current for run in self.runs)

    def __repr__(self):
        if not self.runs:
            return f"no stored sweep; make one with: dvae sweep {self.notebook} --seeds 0-4"
        first = self.runs[0]
        state = "OUT OF DATE: its code has changed since; " if self.out_of_date else ""
        tiers = "/".join(sorted({run["tier"] for run in self.runs}))
        return (
            f"{state}{len(self.runs)} stored runs, tier {tiers}, {first['device']}, "
            f"torch {first['versions']['torch']}, code {first['commit'][:12]}"
        )

"""Several metrics in one pass, with their intervals, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..bars import Bar
from ..tables import Table
from . import information_scores
from .dci import dci
from .factorvae import factorvae_score
from .infomec import infomec
from .information import Values
from .probes import explicitness, sap
from .score import Score


class _Samples:
    """The codes and factors of a report, and the information that several metrics share."""

    def __init__(self, codes, factors, test, discrete):
        self.codes, self.factors, self.test, self.discrete = codes, factors, test, discrete

    @cached_property
    def binned(self):
        return information_scores.binned_terms(self.codes, self.factors, 20, self.discrete)


METRICS = {
    "InfoMEC": lambda s: infomec(s.codes, s.factors, discrete=s.discrete),
    "MIG": lambda s: information_scores.mig_of_terms(s.binned),
    "SAP": lambda s: sap(s.codes, s.factors, test=s.test),
    "modularity": lambda s: information_scores.modularity_of_terms(s.binned),
    "explicitness": lambda s: explicitness(s.codes, s.factors, test=s.test),
    "FactorVAE score": lambda s: factorvae_score(s.codes, s.factors, discrete=s.discrete),
    "DCI": lambda s: dci(s.codes, s.factors, test=s.test),
}


@dataclass(frozen=True)
class Report:
    """Scores by the name of their metric, and intervals by the name of the scalar."""

    scores: dict[str, Score]
    intervals: dict[str, tuple[float, float]]

    @property
    def scalars(self) -> dict[str, float]:
        """{name: number} over all metrics."""
        return {k: v for score in self.scores.values() for k, v in score.scalars.items()}

    def table(self) -> Table:
        rows = [("metric", "value", "95 % interval", "")]
        for score in self.scores.values():
            for name, value in score.scalars.items():
                low, high = self.intervals[name]
                rows.append((name, f"{value:.3f}", f"{low:.3f} to {high:.3f}", score.how))
        return Table(rows)

    def __repr__(self):
        return repr(self.table())

    def _repr_html_(self):
        return self.table()._repr_html_()


def report(
    codes: Values,
    factors: Values,
    which: Sequence[str] = tuple(METRICS),
    *,
    test: tuple | None = None,
    discrete: bool | None = None,
    resamples: int = 200,
) -> Report:
    """Compute the metrics in `which`, with 95 % bootstrap intervals over images: a Report.

    codes: (N, L), floats or integer labels, or float codes of few values with discrete=True;
    factors: int64 (N, K). test: (codes, factors) of other samples, for the metrics that predict.
    Each metric has its default settings; see its own docstring, and `Score.intervals` for what an
    interval means. Raises ValueError for a metric that is not there, and what `check` raises.
    """
    if unknown := [name for name in which if name not in METRICS]:
        raise ValueError(f"no metric {unknown[0]!r}; there are: {', '.join(METRICS)}")
    samples = _Samples(codes, factors, test, discrete)
    scores, intervals = {}, {}
    with Bar(which) as bar:
        for name in bar:
            bar.set_description(name)
            scores[name] = METRICS[name](samples)
            intervals |= scores[name].intervals(resamples)
    return Report(scores, intervals)

"""Several metrics in one pass, with their intervals, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..bars import Bar
from ..tables import Table
from . import information_by_axis, information_scores
from .betavae import betavae_score
from .dci import dci
from .dci_es import dci_es
from .factorvae import factorvae_score
from .infomec import infomec
from .information import Values
from .irs import irs
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
    "MIG": lambda s: information_scores.mig_from_terms(s.binned),
    "SAP": lambda s: sap(s.codes, s.factors, test=s.test),
    "modularity": lambda s: information_scores.modularity_of_terms(s.binned),
    "explicitness": lambda s: explicitness(s.codes, s.factors, test=s.test),
    "FactorVAE score": lambda s: factorvae_score(s.codes, s.factors, discrete=s.discrete),
    "DCI": lambda s: dci(s.codes, s.factors, test=s.test),
    "β-VAE score": lambda s: betavae_score(s.codes, s.factors, discrete=s.discrete),
    "MIG-sup": lambda s: information_by_axis.mig_sup(s.codes, s.factors, discrete=s.discrete),
    "DCIMIG": lambda s: information_by_axis.dcimig(s.codes, s.factors, discrete=s.discrete),
    "minimality and sufficiency": lambda s: information_by_axis.minimality_sufficiency(
        s.codes, s.factors, discrete=s.discrete
    ),
    "IRS": lambda s: irs(s.codes, s.factors),
    "DCI-ES": lambda s: dci_es(s.codes, s.factors),
}
USUAL = tuple(METRICS)[:7]  # those of notebook 03


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
                interval = self.intervals.get(name)  # some have none
                words = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
                rows.append((name, f"{value:.3f}", words, score.how))
        return Table(rows)

    def __repr__(self):
        return repr(self.table())

    def _repr_html_(self):
        return self.table()._repr_html_()


def report(
    codes: Values,
    factors: Values,
    which: Sequence[str] = USUAL,
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

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1)
    >>> report(factors, factors, ["MIG", "modularity"])
    metric  value  95 % interval
    MIG  1.000  1.000 to 1.000
    modularity  1.000  1.000 to 1.000
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

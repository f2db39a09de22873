"""Metrics of disentanglement, derived in notebook 03.

Each takes codes (N, L) and factors (N, K) and returns a Score: its scalars, the matrix (K, L)
behind them, and bootstrap intervals. `report` runs several at once.
"""

from .betavae import betavae_score
from .dci import dci
from .dci_es import dci_es
from .factorvae import factorvae_score
from .frechet import frechet_distance_of_features, frechet_distances
from .infomec import info_c, info_m, infomec
from .information import (
    continuous_information,
    discrete_information,
    entropies,
    equal_width_bins,
    posterior_entropies,
)
from .information_by_axis import dcimig, mig_sup, minimality_sufficiency
from .information_scores import gap, mig, mig_of_posteriors, modularity, modularity_of
from .irs import irs
from .probes import explicitness, probe_accuracy, probe_r2, reader_accuracy, sap
from .report import Report, report
from .score import Score

__all__ = [
    "Report",
    "Score",
    "betavae_score",
    "continuous_information",
    "dci",
    "dci_es",
    "dcimig",
    "discrete_information",
    "entropies",
    "equal_width_bins",
    "explicitness",
    "factorvae_score",
    "frechet_distance_of_features",
    "frechet_distances",
    "gap",
    "info_c",
    "info_m",
    "infomec",
    "irs",
    "mig",
    "mig_of_posteriors",
    "mig_sup",
    "minimality_sufficiency",
    "modularity",
    "modularity_of",
    "posterior_entropies",
    "probe_accuracy",
    "probe_r2",
    "reader_accuracy",
    "report",
    "sap",
]

"""Metrics of disentanglement, derived in notebook 03.

Each takes codes (N, L) and factors (N, K) and returns a Score: its scalars, the matrix (K, L)
behind them, and bootstrap intervals. `report` runs several at once.
"""

from .dci import dci
from .factorvae import factorvae_score
from .frechet import frechet_distance_of_features, frechet_distances, inception, small_net
from .infomec import info_c, info_m, infomec
from .information import (
    continuous_information,
    discrete_information,
    entropies,
    equal_width_bins,
    posterior_entropies,
)
from .information_scores import gap, mig, mig_of_posteriors, modularity, modularity_of
from .probes import explicitness, probe_accuracy, probe_r2, sap
from .report import Report, report
from .score import Score

__all__ = [
    "Report",
    "Score",
    "continuous_information",
    "dci",
    "discrete_information",
    "entropies",
    "equal_width_bins",
    "explicitness",
    "factorvae_score",
    "frechet_distance_of_features",
    "frechet_distances",
    "gap",
    "inception",
    "info_c",
    "info_m",
    "infomec",
    "mig",
    "mig_of_posteriors",
    "modularity",
    "modularity_of",
    "posterior_entropies",
    "probe_accuracy",
    "probe_r2",
    "report",
    "sap",
    "small_net",
]

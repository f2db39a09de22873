"""Codes with a known make-up, and what other people's implementations of the metrics give on them.

10,000 samples to fit and 5,000 to test, 6 factors with the sizes of 3D Shapes, 10 axes: 0 to 5 one
factor each with Gaussian noise, 6 and 7 mixtures of two factors, 8 pure noise, 9 dead (1e-3).
"""

from functools import cache

import numpy as np
import torch

SIZES = np.array([10, 10, 10, 8, 4, 15])
NOISE = np.array([0.05, 0.10, 0.15, 0.20, 0.10, 0.30])

# disentanglement_lib (its own functions, 20 equal-width bins, scikit-learn 1.9)
MIG = 0.5701471998312044
SAP_CLASSIFIER = 0.1961
SAP_R2 = 0.6546545764062727
MODULARITY = 0.9005071628080928
EXPLICITNESS = 0.9461312656034516
FACTORVAE = 1.0
IRS = 0.5806700123750428
DCI = {"D": 0.806023046301553, "C": 0.7662258234527817, "I": 0.6549333333333333}
# after their papers, from scikit-learn's mutual_info_score on numpy's 20 bins
MIG_SUP = 0.40099236125717297
DCIMIG = 0.6129877558417142
MINIMALITY, SUFFICIENCY = 0.31565403938839565, 0.6507257453164826
# the authors' standalone InfoMEC, two calls adapted to today's libraries
INFOMEC = {"InfoM": 0.8374327746701845, "InfoE": 0.6826946015045019, "InfoC": 0.8595932985288477}
INFOMEC_DISCRETE = {
    "InfoM": 0.7106340462759125,
    "InfoE": 0.6596841009391682,
    "InfoC": 0.8363730232299941,
}
LARGEST_NMI, LARGEST_NMI_DISCRETE = 0.9809430802991052, 0.9626499297348641


def encode(y, rng):
    u = (y - (SIZES - 1) / 2) / (SIZES / 2)
    z = np.empty((len(y), 10))
    z[:, :6] = u + NOISE * rng.standard_normal((len(y), 6))
    z[:, 6] = 0.6 * u[:, 0] + 0.4 * u[:, 1] + 0.2 * rng.standard_normal(len(y))
    z[:, 7] = 0.5 * u[:, 3] - 0.5 * u[:, 5] + 0.2 * rng.standard_normal(len(y))
    z[:, 8] = rng.standard_normal(len(y))
    z[:, 9] = 1e-3 * rng.standard_normal(len(y))
    return z


def make(n_train=10_000, n_test=5_000, seed=0):
    """(codes, factors) to fit and (codes, factors) to test, as tensors."""
    rng = np.random.default_rng(seed)
    y, yt = (np.stack([rng.integers(0, size, n) for size in SIZES], 1) for n in (n_train, n_test))
    z, zt = encode(y, rng), encode(yt, rng)
    return tuple(map(torch.as_tensor, (z, y, zt, yt)))


@cache
def codes():
    return make()


def discrete(z):
    """Codes (N, L) as labels: 12 equal-width bins an axis."""
    edges = [np.linspace(column.min(), column.max(), 13)[1:-1] for column in z.T.numpy()]
    columns = [np.digitize(c, e) for c, e in zip(z.T.numpy(), edges, strict=True)]
    return torch.as_tensor(np.stack(columns, 1))

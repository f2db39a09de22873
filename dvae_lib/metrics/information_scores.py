"""Scores of a matrix of mutual information: MIG, and modularity."""

import torch
from torch import Tensor

from .information import (
    Values,
    check,
    entropies,
    equal_width_bins,
    pointwise_discrete_information,
    pointwise_entropy,
    posterior_entropies,
    to_tensor,
    where_float64,
)
from .score import Score


def gap(matrix: Tensor) -> Tensor:
    """Largest minus second largest of each row, averaged over rows: (..., K, L) to (...).

    With a single axis the second largest counts as 0.

    >>> gap(torch.tensor([[0.75, 0.25, 0.0], [0.5, 0.5, 0.0]])).item()
    0.25
    """
    if matrix.shape[-1] == 1:
        return matrix[..., 0].mean(-1)
    top = matrix.topk(2, dim=-1).values
    return (top[..., 0] - top[..., 1]).mean(-1)


def modularity_of(information: Tensor) -> Tensor:
    """Modularity of mutual information (..., K, L), a number in [0, 1] each: (...).

    Ridgeway & Mozer 2018, section 2: along axis j, one minus the squared information about all
    but the best factor, as a share of (K - 1) times the best squared; averaged over axes. An axis
    without any information counts as 0, as in disentanglement_lib.

    >>> modularity_of(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))  # the second axis tells of both
    tensor(0.5000)
    """
    squared = information**2
    best = squared.amax(-2)
    others = (squared.sum(-2) - best) / (max(information.shape[-2] - 1, 1) * best)
    return torch.where(best > 1e-24, 1 - others, 0).mean(-1)  # less is the rounding of none


def mig(
    codes: Values,
    factors: Values,
    *,
    bins: int = 20,
    discrete: bool | None = None,
) -> Score:
    """Mutual information gap (Chen et al. 2018, eq. 5), in [0, 1]: a Score {"MIG"}.

    codes: (N, L), floats or integer labels; factors: int64 (N, K). For each factor, the gap of the
    two axes that tell most about it, divided by the factor's entropy; averaged over factors.
    Continuous codes are put into equal-width bins, as disentanglement_lib does; Chen's own
    definition has densities: see `mig_of_posteriors`. Matrix: I(z_j; v_i) / H(v_i).

    A constant axis tells nothing (0). Errors: see `check`; fewer samples than bins.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1)
    >>> turned = factors.double() @ torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double()
    >>> mig(factors, factors), mig(turned, factors)
    (MIG 1.000, MIG 0.000)
    """
    return mig_from_terms(binned_terms(codes, factors, bins, discrete))


def mig_from_terms(terms: dict[str, Tensor]) -> Score:
    """The Score of MIG from `binned_terms`."""
    return Score.from_terms(_mig, "I(z; v) / H(v)", terms)


def _mig(means):
    normalised = means["information"] / means["entropy"][..., None]
    return {"MIG": gap(normalised)}, normalised


def modularity(
    codes: Values,
    factors: Values,
    *,
    bins: int = 20,
    discrete: bool | None = None,
) -> Score:
    """Modularity (Ridgeway & Mozer 2018), in [0, 1]: a Score {"modularity"}.

    Does each axis tell about one factor only? Codes, bins and errors as in `mig`. Matrix:
    I(z_j; v_i) in nats. See `modularity_of`. An axis of pure noise has an arbitrary share, since
    the plug-in estimate finds a little information everywhere.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1)
    >>> modularity(factors, factors)
    modularity 1.000
    """
    return modularity_of_terms(binned_terms(codes, factors, bins, discrete))


def modularity_of_terms(terms: dict[str, Tensor]) -> Score:
    """The Score of modularity from `binned_terms`."""
    return Score.from_terms(_modularity, "I(z; v) in nats", terms)


def _modularity(means):
    return {"modularity": modularity_of(means["information"])}, means["information"]


def binned_terms(
    codes: Values,
    factors: Values,
    bins: int = 20,
    discrete: bool | None = None,
) -> dict[str, Tensor]:
    """Pointwise information (N, K, L) of codes or their bins, and entropy (N, K), in nats."""
    codes, factors, discrete = check(codes, factors, discrete)
    labels = codes if discrete else equal_width_bins(codes, bins)
    return {
        "information": pointwise_discrete_information(labels, factors),
        "entropy": pointwise_entropy(factors),
    }


def mig_of_posteriors(
    mean: Tensor,
    log_var: Tensor,
    factors: Tensor,
    draws: int = 2_000,
    seed: int = 0,
) -> tuple[float, Tensor]:
    """MIG as Chen et al. 2018 define it, from Gaussian posteriors: (MIG, matrix (K, L)).

    mean, log_var: (N, L); factors: int64 (N, K). I(z_j; v_i) = H(z_j) - H(z_j | v_i) with the
    differential entropies of aggregate posteriors (`posterior_entropies`), those for each level of
    v_i over the samples of that level. Matrix: I(z_j; v_i) / H(v_i). No intervals.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1)
    >>> narrow = torch.full((600, 2), -10.0)
    >>> print(f"{mig_of_posteriors(factors.double(), narrow, factors)[0]:.1f}")
    0.9
    """
    mean, factors, _ = check(mean, factors, False)
    log_var = where_float64(to_tensor("log_var", log_var)).to(mean)
    whole = posterior_entropies(mean, log_var, draws, seed)
    rows = []
    for level, entropy in zip(factors.T, entropies(factors), strict=True):
        given = 0
        for value in level.unique():
            of = level == value
            share = of.double().mean()
            given = given + share * posterior_entropies(mean[of], log_var[of], draws, seed)
        rows.append((whole - given) / entropy)
    matrix = torch.stack(rows)
    return float(gap(matrix)), matrix

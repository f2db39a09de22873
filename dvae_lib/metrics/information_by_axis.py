"""Scores of mutual information that go over axes: MIG-sup, DCIMIG, minimality and sufficiency."""

import torch
from torch import Tensor

from .information import Values, check, equal_width_bins, pointwise_entropy
from .information_scores import binned_terms
from .score import Score


def _best_and_gap(matrix):
    """For each axis of (..., K, L): its best factor's entry, and the gap to the second, (..., L).

    With a single factor the second largest counts as 0.
    """
    if matrix.shape[-2] == 1:
        return matrix[..., 0, :], matrix[..., 0, :]
    best, second = matrix.topk(2, dim=-2).values.unbind(-2)
    return best, best - second


def mig_sup(
    codes: Values, factors: Values, *, bins: int = 20, discrete: bool | None = None
) -> Score:
    """MIG-sup (Li et al. 2020), in [0, 1]: a Score {"MIG-sup"}.

    MIG the other way round. For each axis, how much more it tells about its best factor than about
    the second best, in units of the factors' entropies; averaged over *all* axes. An axis that
    tells nothing counts as 0, so a perfect code of K factors with L axes has K / L.

    Codes, factors, bins, matrix and errors as in `mig`. Continuous factors: give their
    `equal_width_bins`, here as in the other scores of information.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1)
    >>> both = torch.cat([factors, factors], 1)  # MIG calls it 0
    >>> mig_sup(factors, factors), mig_sup(both, factors)
    (MIG-sup 1.000, MIG-sup 1.000)
    """
    return Score.from_terms(
        _mig_sup, "I(z; v) / H(v)", binned_terms(codes, factors, bins, discrete)
    )


def _mig_sup(means):
    normalised = means["information"] / means["entropy"][..., None]
    return {"MIG-sup": _best_and_gap(normalised)[1].mean(-1)}, normalised


def dcimig(
    codes: Values, factors: Values, *, bins: int = 20, discrete: bool | None = None
) -> Score:
    """DCIMIG, or 3CharM (Sepliarskaia et al. 2019), in [0, 1]: a Score {"DCIMIG"}.

    Each axis is given to its best factor, with the gap to the second best, in nats. A factor has
    the largest gap among its axes, or 0 if it has none; the sum over factors is divided by the sum
    of their entropies. So it takes one good axis a factor, and does not mind others.

    Codes, factors, bins and errors as in `mig`. Matrix: I(z_j; v_i) in nats.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(4)).repeat(50, 1)
    >>> dcimig(factors, factors), dcimig(factors[:, :1], factors)
    (DCIMIG 1.000, DCIMIG 0.500)
    """
    return Score.from_terms(
        _dcimig, "I(z; v) in nats", binned_terms(codes, factors, bins, discrete)
    )


def _dcimig(means):
    information = means["information"]
    best, gaps = _best_and_gap(information)
    own = information == best[..., None, :]
    found = torch.where(own, gaps[..., None, :], 0).amax(-1)
    return {"DCIMIG": found.sum(-1) / means["entropy"].sum(-1)}, information


def minimality_sufficiency(
    codes: Values, factors: Values, *, bins: int = 20, discrete: bool | None = None
) -> Score:
    """Minimality and sufficiency (Almudévar & Ortega 2024), in [0, 1]: a Score of both.

    For factors that may depend on each other, such as the size and the weight of people. Then the
    best code tells of other factors, too, through its own, and gaps between factors punish it.

    sufficiency: of each factor, the largest share I(z_j; v_i) / H(v_i) that one axis tells,
    averaged over factors. minimality: of each axis that varies, the largest share
    I(z_j; v_i) / H(z_j) of what it holds that is about one factor, averaged over axes; 0 without
    such an axis. Both are 1 if and only if each axis is one factor under other names.

    Codes, factors, bins and errors as in `mig`. H(z_j) is the entropy of the bins, so that noise
    within a level lowers minimality, and so do more bins than a factor has levels. Matrix:
    I(z_j; v_i) / H(v_i).

    >>> a = torch.arange(4).repeat(100)
    >>> factors = torch.stack([a, a // 2], 1)  # the second follows from the first
    >>> minimality_sufficiency(factors, factors)
    minimality 1.000, sufficiency 1.000
    """
    codes, factors, discrete = check(codes, factors, discrete)
    labels = codes if discrete else equal_width_bins(codes, bins)
    terms = binned_terms(labels, factors, discrete=True)
    return Score.from_terms(
        _minimality_sufficiency, "I(z; v) / H(v)", terms | {"code": pointwise_entropy(labels)}
    )


def _minimality_sufficiency(means: dict[str, Tensor]):
    told, held = means["information"].clamp_min(0), means["code"]
    varies = held > 1e-12  # less is the rounding of none
    shares = torch.where(varies, told.amax(-2) / held.clamp_min(1e-300), 0)
    normalised = told / means["entropy"][..., None]
    scalars = {
        "minimality": shares.sum(-1) / varies.sum(-1).clamp_min(1),
        "sufficiency": normalised.amax(-1).mean(-1),
    }
    return scalars, normalised

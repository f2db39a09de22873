"""The interventional robustness score: how far does an axis move while a factor is held?"""

import torch

from .information import Values, check
from .score import Score

FAR = 0.99  # quantile of the deviations that stands for the largest, as in disentanglement_lib


def irs(codes: Values, factors: Values) -> Score:
    """Interventional robustness (Suter et al. 2019), at most 1: a Score {"IRS"}.

    codes: (N, L), labels count as numbers; factors: int64 (N, K). While factor i has a level, how
    far does z_j go from its mean at that level? That distance (the .99 quantile, for the maximum
    of the paper), averaged over the levels, as a share of the largest distance of z_j from its
    mean over all samples, subtracted from 1, is the matrix (K, L). The score is the mean over axes
    of the best factor's entry, each axis weighed by its largest distance, as disentanglement_lib
    does. So the scale of an axis matters to its weight, and outliers to everything.

    It asks for one factor an axis, not for all factors: a code of a single good axis gets 1.
    Constant axes have no weight; without any other the score is 0. No intervals. Errors: see
    `check`.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(4)).repeat(50, 1)
    >>> turned = factors.double() @ torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double()
    >>> irs(factors, factors), irs(turned, factors)
    (IRS 1.000, IRS 0.500)
    """
    codes, factors, _ = check(codes, factors, False)
    largest = (codes - codes.mean(0)).abs().amax(0)
    moved = []
    for column in factors.T:
        groups = [codes[column == level] for level in column.unique()]
        far = [(group - group.mean(0)).abs().quantile(FAR, dim=0) for group in groups]
        moved.append(torch.stack(far).mean(0))
    varies = codes.amax(0) > codes.amin(0)
    robust = 1 - torch.stack(moved) / torch.where(varies, largest, 1)
    robust = torch.where(varies, robust, 0)
    terms = {"robust": robust[None].cpu(), "weight": torch.where(varies, largest, 0)[None].cpu()}
    return Score.from_terms(_irs, "robustness of z to the rest", terms, fixed=("IRS",))


def _irs(means):
    weight = means["weight"]
    best = means["robust"].amax(-2)
    total = weight.sum(-1).clamp_min(1e-300)
    return {"IRS": (weight * best).sum(-1) / total}, means["robust"]

"""The score of the β-VAE paper: which factor does a pair share?"""

import torch

from .factorvae import draw_factor_and_levels, rows_of_level
from .fitting import one_thread, standardised
from .information import Values, check
from .score import Score


def betavae_score(
    codes: Values,
    factors: Values,
    *,
    votes: int = 4_000,
    batch: int = 64,
    seed: int = 0,
    discrete: bool | None = None,
) -> Score:
    """β-VAE score (Higgins et al. 2017, section 3): a Score {"β-VAE score"}.

    codes: (N, L), floats or integer labels; factors: int64 (N, K). A vote: choose a factor, draw
    `batch` pairs of samples that share its level, a level of their own for each pair, and average
    |z - z'| over the pairs. A linear classifier (logistic regression) learns from `votes` votes to
    name the factor; the score is its accuracy on half as many new ones, 1/K at chance to 1. For
    labels the difference is 0 or 1: are they equal?

    Matrix (K, L): the mean difference along an axis while a factor is shared, over that while any
    is: 0 where the axis follows the factor alone.

    It saturates. A code turned by 20° gets 1, and so does one without any axis for one of the K
    factors: the others tell it apart, none of them being still (Kim & Mnih 2018, section 4).
    Errors: see `check`. The intervals resample votes, not images.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1)
    >>> betavae_score(factors, factors), betavae_score(factors[:, :1], factors)
    (β-VAE score 1.000, β-VAE score 1.000)
    """
    from sklearn.linear_model import LogisticRegression

    codes, factors, discrete = check(codes, factors, discrete)
    generator = torch.Generator().manual_seed(seed)
    factor, differences = [], []
    for n in (votes, votes // 2):  # to fit, to test
        which, first = draw_factor_and_levels(factors, n * batch, generator, batch)
        second = rows_of_level(factors, which, first, 1, generator)[:, 0]
        a, b = codes[first.to(codes.device)], codes[second]
        apart = (a != b).double() if discrete else (a - b).abs()
        differences.append(apart.view(n, batch, -1).mean(1).cpu())
        factor.append(which[::batch])
    fit_x, test_x = (standardised(d, differences[0]).numpy() for d in differences)
    with one_thread():
        model = LogisticRegression(max_iter=1_000).fit(fit_x, factor[0].numpy())
    hit = torch.from_numpy(model.predict(test_x)) == factor[1]
    held = [differences[0][factor[0] == i].mean(0) for i in range(factors.shape[1])]
    kept = torch.stack(held) / differences[0].mean(0).clamp_min(1e-300)
    return Score.from_terms(_Formula(kept), "difference kept", {"hit": hit.double()})


class _Formula:
    """The share of hits; the differences of the votes to fit are held."""

    def __init__(self, kept):
        self.kept = kept

    def __call__(self, means):
        return {"β-VAE score": means["hit"]}, self.kept

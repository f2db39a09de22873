"""The score of the FactorVAE paper: which axis stays still while a factor is held?"""

import torch
from torch import Tensor

from .information import Values, check
from .score import Score

CHUNK = 1_000  # votes at a time


def factorvae_score(
    codes: Values,
    factors: Values,
    *,
    votes: int = 10_000,
    batch: int = 64,
    seed: int = 0,
    discrete: bool | None = None,
) -> Score:
    """FactorVAE score (Kim & Mnih 2018, section 4): a Score {"FactorVAE score"}.

    codes: (N, L), floats or integer labels; factors: int64 (N, K). A vote: choose a factor and a
    level that it has, draw `batch` samples of that level (with repeats), and find the axis whose
    variance, relative to that over all samples, is smallest. A table that gives each axis its most
    frequent factor is learned from `votes` votes; the score is its accuracy on half as many new
    ones, 1/K at chance to 1. Matrix (K, L): the share of each (factor, axis) among the votes.

    For labels the variance is Gini's: the chance that two draws differ. Constant axes never win;
    if all are constant, the score is that of the most frequent factor. Errors: see `check`. The
    intervals resample votes, not images.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1)
    >>> factorvae_score(factors, factors)
    FactorVAE score 1.000
    """
    codes, factors, discrete = check(codes, factors, discrete)
    generator = torch.Generator().manual_seed(seed)
    spread = _gini(codes[None])[0] if discrete else codes.var(0, correction=0)
    usable = codes.amax(0) > codes.amin(0)
    won = []
    for first in range(0, votes + votes // 2, CHUNK):
        n = min(CHUNK, votes + votes // 2 - first)
        factor, anchor = draw_factor_and_levels(factors, n, generator)
        drawn = codes[rows_of_level(factors, factor, anchor, batch, generator)]
        variance = _gini(drawn) if discrete else drawn.var(1, correction=0)
        relative = torch.where(usable, variance / torch.where(usable, spread, 1), torch.inf)
        won.append(torch.stack([factor, relative.argmin(1).cpu()], 1))
    won = torch.cat(won)
    table = torch.zeros(factors.shape[1], codes.shape[1], dtype=torch.float64)
    table.index_put_((won[:votes, 0], won[:votes, 1]), torch.tensor(1.0).double(), accumulate=True)
    factor, axis = won[votes:].T
    hit = (table.argmax(0)[axis] == factor).double()
    return Score.from_terms(_Formula(table / votes), "share of votes", {"hit": hit})


class _Formula:
    """The share of hits; the table of the training votes is held."""

    def __init__(self, table):
        self.table = table

    def __call__(self, means):
        return {"FactorVAE score": means["hit"]}, self.table


def draw_factor_and_levels(
    factors: Tensor, n: int, generator: torch.Generator, together: int = 1
) -> tuple[Tensor, Tensor]:
    """n factors, `together` neighbours being the same, and a row each whose level is meant."""
    samples, n_factors = factors.shape
    factor = torch.randint(n_factors, (n // together,), generator=generator)
    # The level of a random sample: frequent levels are drawn more often.
    return factor.repeat_interleave(together), torch.randint(samples, (n,), generator=generator)


def rows_of_level(
    factors: Tensor, factor: Tensor, anchor: Tensor, batch: int, generator: torch.Generator
) -> Tensor:
    """Rows (n, batch) of samples that share the level of anchor[k] in factor[k]."""
    n = len(factor)
    position = torch.rand(n, batch, generator=generator, dtype=torch.float64)
    rows = torch.empty(n, batch, dtype=torch.int64)
    levels = factors.cpu()
    for i in range(factors.shape[1]):
        # The samples of a level are one run of the rows sorted by that factor.
        order = levels[:, i].argsort(stable=True)
        run = levels[order, i]
        chosen = factor == i
        level = levels[anchor[chosen], i]
        start, stop = (torch.searchsorted(run, level, right=side) for side in (False, True))
        inside = (position[chosen] * (stop - start)[:, None]).long()
        rows[chosen] = order[start[:, None] + inside]
    return rows.to(factors.device)


def _gini(labels):
    """The chance that two draws with replacement differ: (B, n, L) labels to float64 (B, L)."""
    # Numbered anew among each n, so that memory does not grow with the labels there are.
    changes = labels.sort(1).values.diff(dim=1) != 0
    own = torch.nn.functional.pad(changes.cumsum(1), (0, 0, 1, 0))
    counts = torch.zeros(own.shape, dtype=torch.float64, device=own.device)
    counts.scatter_add_(1, own, torch.ones_like(counts))
    return 1 - ((counts / labels.shape[1]) ** 2).sum(1)

"""What fits of scikit-learn share: columns in units of their spread, and one thread."""

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor


def standardised(values: Tensor, like: Tensor | None = None) -> Tensor:
    """Columns (N, L) less the mean of `like`, over its standard deviation; default: their own.

    Columns that are constant in `like` become 0.
    """
    like = values if like is None else like
    spread = like.std(0, correction=0)
    # Rounding can give a constant column a deviation, and squares of 1e-200 are lost.
    varies = (like.amax(0) > like.amin(0)) & (spread > 0)
    return torch.where(varies, (values - like.mean(0)) / torch.where(varies, spread, 1), 0)


def one_thread() -> threadpool_limits:
    """A context in which a fit has one thread: small ones are slower with more."""
    return threadpool_limits(1)

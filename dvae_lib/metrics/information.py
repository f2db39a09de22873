"""Entropies and mutual information between codes and factors, in nats.

Every estimate here is a mean over the samples, and is given as its N terms: the *pointwise*
information. Their mean is the estimate, and resampling them gives its bootstrap interval.
Matrices are (K, L): a factor a row, a latent axis a column.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

Values = Tensor | ArrayLike  # codes or factors, as metrics take them

LARGEST = 1e150  # of a code: its square is a float64. Of a spread, one over this is the least.
MOST_LEVELS = 500  # of a factor that is predicted: time and memory grow with levels x samples


def where_float64(tensor: Tensor) -> Tensor:
    """The tensor where float64 can be had: on its device, or on the CPU if that is an Apple GPU."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def to_tensor(name: str, values: Values) -> Tensor:
    """A tensor without gradients of a tensor, an array, a data frame or nested lists.

    Raises TypeError, beginning with `name`, for what does not hold real numbers.
    """
    if not isinstance(values, torch.Tensor):
        array = np.array(values, order="C")
        try:
            values = torch.from_numpy(array)
        except TypeError as error:
            raise TypeError(f"{name} are {array.dtype}, expected numbers ({error})") from error
    if values.is_complex():
        raise TypeError(f"{name} are {values.dtype}; give real and imaginary parts as two columns")
    return values.detach()


def check(
    codes: Values, factors: Values, discrete: bool | None = None
) -> tuple[Tensor, Tensor, bool]:
    """codes (N, L) and factors (N, K) as metrics take them, and whether codes are labels.

    Both may be tensors, arrays or data frames. factors hold integer levels of any value, or
    booleans. discrete: None goes by the dtype of the codes, where integers and booleans are labels.
    Returns (codes, factors, discrete); codes are int64 labels, numbered from 0 along each axis, or
    float64, see `where_float64`; factors are int64.
    Raises ValueError or TypeError, naming the value, for other shapes or dtypes, fewer than two
    samples, codes that `refuse_extremes` refuses, and a factor that is constant in the samples.
    """
    codes, factors = where_float64(to_tensor("codes", codes)), to_tensor("factors", factors)
    for name, tensor in (("codes", codes), ("factors", factors)):
        if tensor.ndim != 2 or 0 in tensor.shape:
            raise ValueError(f"{name} of shape {tuple(tensor.shape)}, expected two axes, none of 0")
    if len(codes) != len(factors):
        raise ValueError(f"{len(codes)} codes for {len(factors)} rows of factors")
    if len(codes) < 2:
        raise ValueError("1 sample; a metric compares samples, so give at least 2")
    if factors.is_floating_point():
        raise TypeError(f"factors are {factors.dtype}, expected integer levels")
    factors = factors.long().to(codes.device)
    if len(still := (factors == factors[0]).all(0).nonzero().flatten()):
        raise ValueError(
            f"factor {still[0].item()} has one level in these samples, so no code can tell it; "
            "leave its column out"
        )
    if codes.is_floating_point():
        codes = codes.double()
        refuse_extremes("codes", codes)
    if discrete is None:
        discrete = not codes.is_floating_point()
    return (to_labels(codes) if discrete else codes.double()), factors, discrete


def refuse_extremes(name: str, values: Tensor, largest: float = LARGEST) -> None:
    """Raise ValueError, naming the value, where float64 cannot hold the squares of values (N, D).

    That is for NaN, for more than `largest`, and for a column that spreads over less than 1e-150.
    """
    if len(wrong := (~(values.abs() <= largest)).nonzero()):
        row, axis = wrong[0].tolist()
        raise ValueError(
            f"{name}[{row}, {axis}] is {values[row, axis].item()}; {name} must be finite, and at "
            f"most {largest:g} in size, or their squares overflow"
        )
    spread = values.amax(0) - values.amin(0)
    if len(wrong := ((spread > 0) & (spread < 1 / LARGEST)).nonzero()):
        raise ValueError(
            f"{name}[:, {wrong[0].item()}] spread over {spread[wrong[0]].item():g}, whose square "
            "is 0 in float64; scale them up"
        )


def refuse_many_levels(factors: Tensor) -> None:
    """Raise ValueError for a factor (N, K) of more levels than a classifier is fitted to here."""
    for factor, column in enumerate(factors.T):
        if (levels := len(column.unique())) > MOST_LEVELS:
            raise ValueError(
                f"factor {factor} has {levels} levels in {len(column)} samples; a classifier of "
                f"them is fitted for {MOST_LEVELS} at most, so put neighbouring levels together"
            )


def to_labels(values: Tensor) -> Tensor:
    """The values of each column numbered from 0 in rising order: (N, D) to int64 (N, D)."""
    values = values if values.is_floating_point() else values.long()
    return torch.stack([c.unique(return_inverse=True)[1] for c in values.T], 1)


def equal_width_bins(codes: Tensor, bins: int = 20) -> Tensor:
    """The bin of each code, 0 to bins - 1, on a grid from its axis's smallest to largest value.

    codes: (N, L) float. Returns int64 (N, L); a constant axis is in one bin. The usual rule of the
    field (Locatello et al. 2019, with 20 bins). Raises ValueError with fewer samples than bins.

    >>> equal_width_bins(torch.tensor([[0.0], [0.4], [0.6], [1.0]]), 2).flatten()
    tensor([0, 0, 1, 1])
    """
    if len(codes) < bins:
        raise ValueError(f"{len(codes)} samples for {bins} bins; take more samples or fewer bins")
    low, high = codes.amin(0), codes.amax(0)
    steps = torch.arange(1, bins, device=codes.device, dtype=codes.dtype)[:, None]
    edges = low + (high - low) * steps / bins
    inner = torch.searchsorted(edges.T.contiguous(), codes.T.contiguous(), right=True).T
    return torch.where(high > low, inner, 0)


def pointwise_entropy(labels: Tensor) -> Tensor:
    """-log p(label) of each sample, in nats, p being the frequency: (N, D) to float64 (N, D)."""
    return torch.stack([-_log_frequency(column) for column in to_labels(labels).T], 1)


def entropies(labels: Values) -> Tensor:
    """Plug-in entropies H in nats, at least 0: integer labels (N, D) to float64 (D,).

    Too low on average by about (levels - 1) / 2N (Miller 1955). Raises TypeError for labels that
    are no integers or booleans, ValueError for another shape.

    >>> entropies(torch.tensor([[0, 0], [1, 0]]))  # ln 2 and 0 nats
    tensor([0.6931, 0.0000], dtype=torch.float64)
    """
    labels = where_float64(to_tensor("labels", labels))
    if labels.is_floating_point():
        raise TypeError(f"labels are {labels.dtype}, expected integers")
    if labels.ndim != 2 or 0 in labels.shape:
        raise ValueError(f"labels of shape {tuple(labels.shape)}, expected two axes, none of 0")
    return pointwise_entropy(labels).mean(0)


def pointwise_discrete_information(labels: Tensor, factors: Tensor) -> Tensor:
    """log p(z, v) / p(z) p(v) of each sample: labels (N, L), factors (N, K) to (N, K, L)."""
    labels, factors = to_labels(labels), to_labels(factors)
    alone, known = _log_frequency, [_log_frequency(v) for v in factors.T]
    out = torch.empty(*factors.shape, labels.shape[1], dtype=torch.float64, device=labels.device)
    for j, z in enumerate(labels.T):
        own, size = alone(z), int(z.max()) + 1
        for i, v in enumerate(factors.T):
            out[:, i, j] = alone(v * size + z) - own - known[i]
    return out


def discrete_information(labels: Tensor, factors: Tensor) -> Tensor:
    """Plug-in mutual information I(z_j; v_i) in nats: labels (N, L), factors (N, K) to (K, L).

    At least 0, and too high on average by about (levels_z - 1)(levels_v - 1) / 2N, since chance
    pairings look like information (Miller 1955).

    >>> a = torch.tensor([[0], [1], [2], [3]])
    >>> discrete_information(a, a // 2)  # half of a's entropy, ln 2
    tensor([[0.6931]], dtype=torch.float64)
    """
    return pointwise_discrete_information(*check(labels, factors, True)[:2]).mean(0)


def _log_frequency(labels):
    if labels.max() >= 100 * len(labels):  # as many counts as samples, not as the largest label
        labels = labels.unique(return_inverse=True)[1]
    counts = torch.bincount(labels)
    return counts.double().log()[labels] - torch.log(torch.tensor(float(len(labels))).double())


def pointwise_continuous_information(
    codes: Tensor, factors: Tensor, neighbours: int = 10
) -> Tensor:
    """The terms of `continuous_information`, (N, K, L): float codes (N, L), factors (N, K)."""
    codes = torch.stack([_untied(column) for column in codes.double().T], 1)
    out = torch.zeros(*factors.shape, codes.shape[1], dtype=torch.float64, device=codes.device)
    for i, level in enumerate(to_labels(factors).T):
        has_neighbour = torch.bincount(level)[level] > 1
        if n := int(has_neighbour.sum()):
            terms = _nearest_neighbour_terms(codes[has_neighbour], level[has_neighbour], neighbours)
            out[has_neighbour, i] = terms * (len(codes) / n)
    return out


def continuous_information(codes: Tensor, factors: Tensor, neighbours: int = 10) -> Tensor:
    """I(z_j; v_i) in nats of continuous codes and discrete factors, by nearest neighbours: (K, L).

    Ross 2014, eq. (2), as scikit-learn estimates it: for each sample, the distance to its k-th
    neighbour *of the same level*, then the number m of all samples within that distance;
    I = psi(N) + <psi(k)> - <psi(N_level)> - <psi(m)>, 0 where that is negative. k is `neighbours`,
    or one less than the size of a smaller level; samples alone in their level are left out.
    A constant axis has information 0. Equal values are told apart by a little noise; codes with
    few values are better off in `discrete_information`.

    >>> level = torch.arange(1000)[:, None] % 2
    >>> codes = 2 * level + torch.rand(1000, 1, generator=torch.Generator().manual_seed(0))
    >>> print(f"{continuous_information(codes, level).item():.3f}")  # ln 2 is 0.693
    0.694
    """
    codes, factors, _ = check(codes, factors, False)
    return pointwise_continuous_information(codes, factors, neighbours).mean(0).clamp_min(0)


def _untied(column):
    """A column with its equal values told apart, by 1e-10 of its standard deviation.

    As scikit-learn does, so that equal codes of one level are neighbours in no fixed order.
    A constant column stays as it is.
    """
    if len(column.unique()) == len(column) or len(column.unique()) == 1:
        return column
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(column), generator=generator, dtype=column.dtype).to(column.device)
    # Around 0, since far from it the noise would be lost in rounding.
    return (column - column.mean()) / column.std() + 1e-10 * noise


def _nearest_neighbour_terms(codes, level, neighbours):
    """Terms (N, L) for one factor's levels (N,), each of which has at least two samples."""
    ordered, order = codes.T.contiguous().sort(dim=1)
    # Along each axis by level and, within a level, by code: neighbours lie side by side.
    by_level = level[order].argsort(dim=1, stable=True)
    z, sample = ordered.gather(1, by_level), order.gather(1, by_level)
    # The level at a position is the same on every axis, and so are these, all (N,):
    sizes, position = torch.bincount(level), torch.arange(len(level), device=z.device)
    size, stop = (counts[level[sample[0]]] for counts in (sizes, sizes.cumsum(0)))
    k = (size - 1).clamp_max(neighbours)
    radius = torch.full_like(z, torch.inf)
    for below in range(neighbours + 1):
        # The k nearest are `below` samples on the left and k - below on the right, for some below.
        left, right = position - below, position + k - below
        fits = (below <= k) & (left >= stop - size) & (right < stop)
        left, right = (side.clamp(0, len(level) - 1) for side in (left, right))
        farther = torch.maximum(z - z[:, left], z[:, right] - z)
        radius = torch.where(fits, torch.minimum(radius, farther), radius)
    # The k-th neighbour itself lies on the border and is not counted; the sample itself is.
    m = _count_within(ordered, z, torch.nextafter(radius, torch.zeros_like(radius)))
    psi = torch.special.digamma
    terms = psi(torch.tensor(float(len(level))).double()) + psi(k.double()) - psi(size.double())
    return torch.empty_like(z).scatter_(1, sample, terms - psi(m.double())).T


def _count_within(ordered, z, radius):
    """How many of each row of `ordered` (L, N) have |x - z| <= radius, for each z (L, N)."""
    last = ordered.shape[1] - 1
    first = torch.searchsorted(ordered, z - radius)
    stop = torch.searchsorted(ordered, z + radius, right=True)

    def near(position):
        x = ordered.gather(1, position.clamp(0, last))
        return ((x - z).abs() <= radius) & (position >= 0) & (position <= last)

    # z - radius is rounded, and may have put a sample on the border on the wrong side.
    first = first + (~near(first)).long() - near(first - 1).long()
    stop = stop - (~near(stop - 1)).long() + near(stop).long()
    return stop - first


@torch.no_grad()
def posterior_entropies(mean: Tensor, log_var: Tensor, draws: int = 2_000, seed: int = 0) -> Tensor:
    """Differential entropies of the aggregate posteriors q(z_j) in nats: (N, L) to float64 (L,).

    H = -E[log q(z_j)], q(z_j) being the mixture of the N Gaussians N(mean_nj, exp(log_var_nj))
    (Chen et al. 2018, appendix C). E is over `draws` draws, each from a posterior of its own.
    A differential entropy may be negative: log(width) for a uniform aggregate. Raises ValueError,
    naming the value, for other shapes, NaN, and a log_var outside -60 to 300: a narrower posterior
    is lost in the rounding of its mean.

    >>> zeros = torch.zeros(2000, 1)
    >>> print(f"{posterior_entropies(zeros, zeros).item():.1f}")  # ln(2 pi e) / 2 is 1.42
    1.4
    """
    mean, log_var = to_tensor("mean", mean), to_tensor("log_var", log_var)
    if mean.shape != log_var.shape or mean.ndim != 2 or 0 in mean.shape:
        raise ValueError(
            f"mean {tuple(mean.shape)} and log_var {tuple(log_var.shape)}, expected (N, L) both"
        )
    refuse_extremes("mean", where_float64(mean).double())
    if len(wrong := (~((log_var >= -60) & (log_var <= 300))).nonzero()):
        row, axis = wrong[0].tolist()
        raise ValueError(
            f"log_var[{row}, {axis}] is {log_var[row, axis].item():g}, expected -60 to 300"
        )
    generator = torch.Generator().manual_seed(seed)
    n, draws = len(mean), min(draws, len(mean))
    mean, log_var = where_float64(mean), where_float64(log_var)
    rows = torch.randperm(n, generator=generator)[:draws].to(mean.device)
    noise = torch.randn(draws, mean.shape[1], generator=generator).to(mean)
    mean, log_var = mean.double(), log_var.double()
    z = mean[rows] + torch.exp(0.5 * log_var[rows]) * noise
    constant = 0.5 * torch.log(torch.tensor(2 * torch.pi)) + torch.log(torch.tensor(float(n)))
    out = []
    for j in range(mean.shape[1]):  # one axis at a time: (draws, N) numbers
        scaled = (z[:, j, None] - mean[:, j]) ** 2 * torch.exp(-log_var[:, j])
        log_q = torch.logsumexp(-0.5 * (scaled + log_var[:, j]), 1) - constant
        out.append(-log_q.mean())
    return torch.stack(out)

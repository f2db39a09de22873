"""Standard objectives, each derived in the notebook named in its docstring.

Everything is in nats per image: summed over pixels or latent axes, one value an image. A loss
averages the result over the batch.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def reparameterise(mean: Tensor, log_var: Tensor) -> Tensor:
    """Draw z = mean + sigma * eps, eps ~ N(0, I), so that gradients reach mean and log_var.

    mean, log_var: (..., L). Returns (..., L). Uses torch's global generator.
    Kingma & Welling 2014, eq. (4); derived in notebook 01.
    """
    return mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)


def gaussian_log_density(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """log N(z; mean, diag exp(log_var)) in nats, summed over the last axis: (..., L) to (...)."""
    return -0.5 * (LOG_2PI + log_var + _squared_deviation(z - mean, log_var)).sum(-1)


def _squared_deviation(difference, log_var):
    """difference^2 exp(-log_var), right also where exp(-log_var) overflows (float32: from -88).

    No difference stays 0 there and never becomes NaN. Elsewhere it is that product to the bit.
    """
    bound = math.floor(math.log(torch.finfo(log_var.dtype).max))
    plain = difference**2 * torch.exp(-log_var.clamp(min=-bound))
    narrow = (difference * torch.exp(-0.5 * log_var.clamp(min=-2 * bound))) ** 2
    return torch.where(log_var < -bound, narrow, plain)


def kl_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, diag exp(log_var)) || N(0, I)) in nats, at least 0: (..., L) to (...).

    Kingma & Welling 2014, appendix B; derived in notebook 01.
    """
    return 0.5 * (mean**2 + torch.exp(log_var) - 1 - log_var).sum(-1)


def bernoulli_reconstruction(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x | z) in nats per image for Bernoulli pixels with the given logits.

    logits, x: (B, C, H, W) with x in [0, 1]. Returns (B,). For x strictly between 0 and 1 this is
    the expected value over binary images with those probabilities, not a density of x.

    Raises ValueError for x outside [0, 1]; on a GPU, where looking would make the program wait at
    each step, the result of such an image is NaN instead, at which training stops.
    """
    loss = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    if not x.is_cpu:
        return loss.masked_fill((x < 0) | (x > 1), torch.nan).flatten(1).sum(1)
    low, high = torch.aminmax(x)
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"images range over {low.item():.4g} to {high.item():.4g}, expected 0 to 1; divide "
            "8-bit ones by 255"
        )
    return loss.flatten(1).sum(1)


def gaussian_reconstruction(mean: Tensor, x: Tensor, sigma: float = 1.0) -> Tensor:
    """-log N(x; mean, sigma^2 I) in nats per image, constants included: (B, C, H, W) to (B,).

    A density: it depends on the scale of x and may be negative. sigma: a number above 0, in units
    of x. Raises ValueError for another sigma, and for mean and x of two shapes.
    """
    if mean.shape != x.shape:
        raise ValueError(
            f"mean of shape {tuple(mean.shape)} for images {tuple(x.shape)}, expected the same"
        )
    if not sigma > 0:
        raise ValueError(f"sigma {sigma}, expected a number above 0")
    squared = ((x - mean) / sigma) ** 2
    return 0.5 * (squared + LOG_2PI + 2 * math.log(sigma)).flatten(1).sum(1)


def sampling_log_weights(batch: int, n_data: int, sampling: str) -> Tensor:
    """Logarithms (B, B) of the weights with which a batch of B images stands for all N.

    Row i: what the posterior of each image of the batch counts when q(z_i) is estimated, with z_i
    drawn from the posterior of image i. Chen et al. 2018, appendix; derived in notebook 02.

    sampling: "weighted" gives 1/(BN) to all, a bound: with z_i's own image in every batch the sum
    of a row is 1/N. "stratified" gives 1/N to the row's own image, on the diagonal as in the
    paper, 1/M to the others, M = B - 1, and (N - M)/(NM) to one of them (the next column, past the
    last the first); a row sums to 1 and the estimate of q(z_i) is unbiased. "all" is for a batch
    that is the whole set, B = N: 1/N to all. Raises ValueError for another name or size, such as a
    batch of more images than there are.
    """
    if sampling == "weighted" and 1 <= batch <= n_data:
        return torch.full((batch, batch), -math.log(batch * n_data))
    if sampling == "all" and batch == n_data:
        return torch.full((batch, batch), -math.log(n_data))
    if sampling != "stratified" or not 2 <= batch <= n_data:
        raise ValueError(
            f"sampling {sampling!r} with {batch} of {n_data} images; choose weighted (1 to N "
            "images), stratified (2 to N) or all (N)"
        )
    others = batch - 1
    weights = torch.full((batch, batch), 1 / others).fill_diagonal_(1 / n_data)
    row = torch.arange(batch)
    weights[row, (row + 1) % batch] = (n_data - others) / (n_data * others)
    return weights.log()


def kl_split(
    mean: Tensor,
    log_var: Tensor,
    z: Tensor,
    n_data: int,
    sampling: str = "weighted",
) -> tuple[Tensor, Tensor, Tensor]:
    """The KL term split in three: I(x; z), total correlation, dimension-wise KL, each (B,) nats.

    mean, log_var: (B, L), posteriors of a batch of B from n_data images. z: (B, L), a draw of
    each. sampling: see sampling_log_weights. The three add up to log q(z|x) - log p(z) of each
    row, the one-draw estimate of the KL term. Chen et al. 2018; derived in notebook 02.

    With "weighted", whose weights sum to 1/N, every log q is too low, by ln N where the batch's
    posteriors overlap. The total correlation is then (L - 1) ln N too high, 8.3 nats for two
    independent axes and N = 4,000, the information ln N too high, and the dimension-wise KL
    L ln N too low. For nats of what they are called, take "stratified" or "all".

    Raises ValueError for shapes that differ.
    """
    if not (mean.ndim == 2 and mean.shape == log_var.shape == z.shape):
        shapes = ", ".join(str(tuple(t.shape)) for t in (mean, log_var, z))
        raise ValueError(f"mean, log_var and z of shapes {shapes}, expected (B, L) each")
    log_w = sampling_log_weights(len(z), n_data, sampling).to(z)
    zero = torch.zeros_like(z)
    # (B, B, L): axis l of draw i under the posterior of image j.
    pairs = -0.5 * (LOG_2PI + log_var + _squared_deviation(z[:, None] - mean, log_var))
    log_q_z = (pairs.sum(-1) + log_w).logsumexp(1)
    log_q_zj = (pairs + log_w[..., None]).logsumexp(1).sum(-1)
    log_q_z_x = gaussian_log_density(z, mean, log_var)
    log_p_z = gaussian_log_density(z, zero, zero)
    return log_q_z_x - log_q_z, log_q_z - log_q_zj, log_q_zj - log_p_z


def mmd(z: Tensor, y: Tensor, width: float | None = None) -> Tensor:
    """Unbiased estimate of MMD^2 between the distributions of the rows of z and y: a scalar.

    z: (B, L), y: (M, L), B and M at least 2. The kernel is exp(-|a - b|^2 / (2 width^2)), width
    sqrt(L) by default. May be negative. Gretton et al. 2012; as InfoVAE's divergence
    Zhao et al. 2017; derived in notebook 02.
    """
    if len(z) < 2 or len(y) < 2:
        raise ValueError(f"{len(z)} and {len(y)} samples; the unbiased estimate takes two or more")
    scale = 2 * (z.shape[1] if width is None else width**2)
    within = sum(
        # The diagonal, a sample with itself, is left out.
        (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))
        for k in (_rbf(z, z, scale), _rbf(y, y, scale))
    )
    return within - 2 * _rbf(z, y, scale).mean()


def _rbf(a, b, scale):
    return torch.exp(-((a[:, None] - b) ** 2).sum(-1) / scale)


def dip_penalty(
    mean: Tensor, log_var: Tensor, lambda_d: float, lambda_od: float, form: str = "II"
) -> Tensor:
    """The DIP-VAE penalty: lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2, a scalar.

    mean, log_var: (B, L). C is the covariance of the means over the batch (divided by B); form
    "II" adds the mean posterior variances to its diagonal. Kumar et al. 2018;
    derived in notebook 02. Raises ValueError for another form.
    """
    if form not in ("I", "II"):
        raise ValueError(f"form {form!r}; choose I or II")
    centred = mean - mean.mean(0)
    covariance = centred.T @ centred / len(mean)
    if form == "II":
        covariance = covariance + torch.diag(torch.exp(log_var).mean(0))
    diagonal = covariance.diagonal()
    off = covariance - torch.diag(diagonal)
    return lambda_od * (off**2).sum() + lambda_d * ((diagonal - 1) ** 2).sum()


def factor_cross_entropy(logits: Tensor, factors: Tensor, sizes: Sequence[int]) -> Tensor:
    """Cross-entropy in nats, summed over factors and averaged over the batch: a scalar.

    logits: (B, sum of sizes), the levels of one factor after those of another; factors: int64
    (B, K), the true levels; sizes: the K numbers of levels.
    """
    parts = zip(logits.split(list(sizes), 1), factors.T, strict=True)
    return reduce(torch.add, (F.cross_entropy(*part) for part in parts))

"""Standard objectives, each derived in the notebook named in its docstring.

Everything is in nats per image: summed over pixels or latent axes, one value an image. A loss
averages the result over the batch.
"""

import math

import torch
import torch.nn.functional as F

LOG_2PI = math.log(2 * math.pi)


def reparameterise(mean, log_var):
    """Draw z = mean + sigma * eps, eps ~ N(0, I), so that gradients reach mean and log_var.

    mean, log_var: (..., L). Returns (..., L). Uses torch's global generator.
    Kingma & Welling 2014, eq. (4); derived in notebook 01.
    """
    return mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)


def gaussian_log_density(z, mean, log_var):
    """log N(z; mean, diag exp(log_var)) in nats, summed over the last axis: (..., L) to (...)."""
    return -0.5 * (LOG_2PI + log_var + (z - mean) ** 2 * torch.exp(-log_var)).sum(-1)


def kl_standard_normal(mean, log_var):
    """KL(N(mean, diag exp(log_var)) || N(0, I)) in nats, at least 0: (..., L) to (...).

    Kingma & Welling 2014, appendix B; derived in notebook 01.
    """
    return 0.5 * (mean**2 + torch.exp(log_var) - 1 - log_var).sum(-1)


def kl_gaussians(mean_q, log_var_q, mean_p, log_var_p):
    """KL(q || p) between diagonal Gaussians in nats, at least 0: (..., L) to (...)."""
    scaled = torch.exp(log_var_q - log_var_p) + (mean_q - mean_p) ** 2 * torch.exp(-log_var_p)
    return 0.5 * (scaled - 1 + log_var_p - log_var_q).sum(-1)


def bernoulli_reconstruction(logits, x):
    """-log p(x | z) in nats per image for Bernoulli pixels with the given logits.

    logits, x: (B, C, H, W) with x in [0, 1]. Returns (B,). For x strictly between 0 and 1 this is
    the expected value over binary images with those probabilities, not a density of x.
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_reconstruction(mean, x, sigma=1.0):
    """-log N(x; mean, sigma^2 I) in nats per image, constants included: (B, C, H, W) to (B,).

    A density: it depends on the scale of x and may be negative.
    """
    squared = ((x - mean) / sigma) ** 2
    return 0.5 * (squared + LOG_2PI + 2 * math.log(sigma)).flatten(1).sum(1)

"""Objectives against torch.distributions in float64, and against integrals."""

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from dvae_lib import objectives


def gaussian_parameters(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2)]


def gaussian(mean, log_var):
    return Independent(Normal(mean, log_var.exp().sqrt()), 1)


def test_kl_to_the_standard_normal():
    mean, log_var = gaussian_parameters(7, 3, 5)
    expected = kl_divergence(gaussian(mean, log_var), gaussian(0 * mean, 0 * log_var))
    torch.testing.assert_close(objectives.kl_standard_normal(mean, log_var), expected)
    assert objectives.kl_standard_normal(torch.zeros(2, 4), torch.zeros(2, 4)).tolist() == [0, 0]


def test_kl_between_gaussians():
    q, p = gaussian_parameters(7, 5), gaussian_parameters(7, 5, seed=1)
    expected = kl_divergence(gaussian(*q), gaussian(*p))
    torch.testing.assert_close(objectives.kl_gaussians(*q, *p), expected)


def test_log_density():
    (mean, log_var), (z, _) = gaussian_parameters(7, 5), gaussian_parameters(7, 5, seed=1)
    expected = gaussian(mean, log_var).log_prob(z)
    torch.testing.assert_close(objectives.gaussian_log_density(z, mean, log_var), expected)


def test_bernoulli_reconstruction():
    logits, noise = gaussian_parameters(4, 3, 8, 8)
    x = (noise > 0).double()
    expected = -Bernoulli(logits=logits).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(objectives.bernoulli_reconstruction(logits, x), expected)


def test_bernoulli_reconstruction_of_grey_is_the_mean_over_binary_images():
    logits, noise = gaussian_parameters(4, 1, 2, 2)
    grey = noise.sigmoid()
    on, off = (
        -Bernoulli(logits=logits).log_prob(torch.full_like(grey, value)) for value in (1.0, 0.0)
    )
    expected = (grey * on + (1 - grey) * off).sum((1, 2, 3))
    torch.testing.assert_close(objectives.bernoulli_reconstruction(logits, grey), expected)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 2.5])
def test_gaussian_reconstruction(sigma):
    mean, x = gaussian_parameters(4, 3, 8, 8)
    expected = -Normal(mean, sigma).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(objectives.gaussian_reconstruction(mean, x, sigma), expected)


def test_gaussian_reconstruction_is_a_normalised_density():
    """Over all images of two pixels the density integrates to 1 (Riemann sum out to 8 sigma)."""
    grid = torch.arange(-8, 8, 0.05, dtype=torch.float64)
    images = torch.cartesian_prod(0.3 * grid, 0.3 * grid).view(-1, 1, 1, 2)
    density = torch.exp(-objectives.gaussian_reconstruction(0 * images, images, sigma=0.3))
    assert float(density.sum() * (0.3 * 0.05) ** 2) == pytest.approx(1, abs=1e-9)


def test_reparameterised_draws_have_the_mean_and_variance():
    """200,000 draws: the mean is off by sigma / 447, the variance by sigma^2 / 316 (one s.e.)."""
    torch.manual_seed(0)
    mean = torch.tensor([0.0, -3.0, 2.0], dtype=torch.float64)
    sigma = torch.tensor([1.0, 0.1, 2.5], dtype=torch.float64)
    log_var = 2 * sigma.log()
    draws = objectives.reparameterise(mean.expand(200_000, 3), log_var.expand(200_000, 3))
    assert ((draws.mean(0) - mean).abs() / sigma).max() < 5 / 447
    assert (draws.var(0) / sigma**2 - 1).abs().max() < 5 / 316
    assert torch.corrcoef(draws.T)[0, 1].abs() < 5 / 447


def test_gradients_reach_the_mean_and_the_log_variance():
    """E[z^2] = mean^2 + exp(log_var), so its gradients are 2 mean and exp(log_var)."""
    torch.manual_seed(0)
    mean = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    log_var = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    z = objectives.reparameterise(mean.expand(200_000, 1), log_var.expand(200_000, 1))
    (z**2).mean().backward()
    # One standard error is 2 sigma / 447 and about 0.003.
    assert float(mean.grad) == pytest.approx(1.6, abs=0.02)
    assert float(log_var.grad) == pytest.approx(float(log_var.detach().exp()), abs=0.02)

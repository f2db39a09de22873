"""Objectives against torch.distributions in float64, and against integrals."""

import math

import numpy as np
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


def test_densities_and_splits_of_extreme_variances():
    """A posterior of no width that is met exactly has density, one that is missed has none."""
    mean, log_var = torch.zeros(3, 2), torch.full((3, 2), -1000.0)
    log_q = objectives.gaussian_log_density(mean, mean, log_var)
    np.testing.assert_allclose(log_q, 1000 - math.log(2 * math.pi), rtol=1e-6)
    mean = torch.arange(6.0).view(3, 2)
    information, *rest = objectives.kl_split(mean, log_var, mean, 3, "all")
    np.testing.assert_allclose(information, math.log(3), atol=1e-3)  # of 1,000
    assert all(torch.isfinite(part).all() for part in rest)


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


def test_images_outside_of_0_to_1_are_refused_by_value():
    x = torch.full((2, 1, 4, 4), 0.5)
    for wrong, message in ((255 * x, "127.5 to 127.5"), (x - 1, "-0.5 to -0.5"), (x / 0, "inf")):
        with pytest.raises(ValueError, match=f"images range over {message}.*divide"):
            objectives.bernoulli_reconstruction(x, wrong)
    x[1, 0, 2, 3] = math.nan
    with pytest.raises(ValueError, match="images range over nan"):
        objectives.bernoulli_reconstruction(x, x)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_images_outside_of_0_to_1_give_nan():
    x = torch.full((2, 1, 4, 4), 0.5).cuda()
    x[1, 0, 0, 0] = 255
    found = objectives.bernoulli_reconstruction(x, x)
    assert found.isnan().tolist() == [False, True]


def test_a_mean_of_another_shape_is_refused():
    x = torch.zeros(4, 3, 8, 8)
    with pytest.raises(ValueError, match=r"mean of shape \(4, 1, 8, 8\) for images \(4, 3, 8, 8\)"):
        objectives.gaussian_reconstruction(x[:, :1], x)
    with pytest.raises(ValueError, match="sigma 0, expected a number above 0"):
        objectives.gaussian_reconstruction(x, x, sigma=0)


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


def correlated_codes(rho, n, variance=0.05):
    """(mean, log_var, z), each (n, 2), whose aggregate is Gaussian with correlation rho."""
    torch.manual_seed(0)
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    covariance -= variance * torch.eye(2, dtype=torch.float64)
    mean = torch.randn(n, 2, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    log_var = torch.full_like(mean, math.log(variance))
    return mean, log_var, objectives.reparameterise(mean, log_var)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_total_correlation_of_a_gaussian_is_known(rho):
    """-1/2 ln(1 - rho^2): 0, 0.144 and 0.830 nats. Packages that leave out 1/N give -6.9 for 0."""
    codes = correlated_codes(rho, 3_000)
    _, total_correlation, dimension_wise = objectives.kl_split(*codes, 3_000, "all")
    expected = -0.5 * math.log(1 - rho**2)
    assert float(total_correlation.mean()) == pytest.approx(expected, abs=0.035)
    assert float(dimension_wise.mean()) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("sampling", "n_data"), [("weighted", 500), ("stratified", 500), ("all", 40)]
)
def test_the_three_parts_sum_to_the_kl_of_the_draw(sampling, n_data):
    (mean, log_var), (z, _) = gaussian_parameters(40, 6), gaussian_parameters(40, 6, seed=1)
    parts = objectives.kl_split(mean, log_var, z, n_data, sampling)
    prior = gaussian(torch.zeros_like(z), torch.zeros_like(z))
    expected = gaussian(mean, log_var).log_prob(z) - prior.log_prob(z)
    torch.testing.assert_close(sum(parts), expected)


def test_the_parts_of_equal_posteriors():
    """Posteriors that do not depend on the image: no information, with weights that sum to 1."""
    z, _ = gaussian_parameters(8, 3)
    for sampling, n_data in (("stratified", 100), ("all", 8)):
        information, total_correlation, _ = objectives.kl_split(
            torch.zeros_like(z), torch.zeros_like(z), z, n_data, sampling
        )
        assert information.abs().max() < 1e-6
        assert total_correlation.abs().max() < 1e-6


def test_sampling_weights():
    """B = 4 of N = 10, M = 3: 1/N on the diagonal, (N - M)/(NM) beside it, 1/M elsewhere."""
    weights = objectives.sampling_log_weights(4, 10, "stratified").exp()
    assert weights[0].tolist() == pytest.approx([0.1, 7 / 30, 1 / 3, 1 / 3])
    assert weights[3].tolist() == pytest.approx([7 / 30, 1 / 3, 1 / 3, 0.1])
    assert weights.sum(1).tolist() == pytest.approx([1] * 4)
    weighted = objectives.sampling_log_weights(4, 10, "weighted").exp()
    assert weighted.tolist() == [pytest.approx([1 / 40] * 4)] * 4


@pytest.mark.parametrize(
    ("sampling", "batch"),
    [("all", 4), ("stratified", 1), ("stratified", 11), ("weighted", 11), ("mws", 4)],
)
def test_sampling_weights_refuse_what_has_no_meaning(sampling, batch):
    with pytest.raises(ValueError, match=f"'{sampling}' with {batch} of 10 images; choose"):
        objectives.sampling_log_weights(batch, 10, sampling)


def test_weighted_parts_are_off_by_logarithms_of_n():
    """Independent axes whose posteriors overlap: (L - 1) ln N of total correlation for 0."""
    torch.manual_seed(0)
    n_data, axes = 4_000, 3
    mean = 0.3 * torch.randn(300, axes)
    codes = mean, torch.zeros_like(mean), mean + torch.randn(300, axes)
    weighted = objectives.kl_split(*codes, n_data, "weighted")
    stratified = objectives.kl_split(*codes, n_data, "stratified")
    for k, shift in enumerate((1, axes - 1, -axes)):
        found = (weighted[k] - stratified[k]).mean().item()
        assert found == pytest.approx(shift * math.log(n_data), abs=0.1)
    with pytest.raises(ValueError, match=r"shapes \(300, 3\), \(300, 3\), \(299, 3\)"):
        objectives.kl_split(*codes[:2], codes[2][1:], n_data)


def test_mmd_of_gaussians_has_its_closed_form():
    """Expected kernels of N(mu, v I) and N(0, I); the mean over 400 batches, within 4.5 errors."""
    torch.manual_seed(0)
    mu, v, width = torch.tensor([0.5, -0.2, 0.0], dtype=torch.float64), 0.6, 1.2

    def expected_kernel(m, t):
        s = width**2 + t
        return float((width**2 / s) ** 1.5 * torch.exp(-(m @ m) / (2 * s)))

    exact = expected_kernel(0 * mu, 2 * v) + expected_kernel(0 * mu, 2)
    exact -= 2 * expected_kernel(mu, v + 1)
    draws = torch.stack(
        [
            objectives.mmd(
                mu + v**0.5 * torch.randn(20, 3).double(), torch.randn(30, 3).double(), width
            )
            for _ in range(400)
        ]
    )
    assert abs(float(draws.mean()) - exact) < 4.5 * float(draws.std()) / 20


def test_mmd_of_two_points_each():
    z = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([[0.0, 1.0], [0.0, 3.0]], dtype=torch.float64)
    within = math.exp(-4 / 4)  # both pairs are 2 apart; the default width is sqrt(2)
    mixed = sum(math.exp(-s / 4) for s in (1, 9, 5, 13)) / 4
    assert float(objectives.mmd(z, y)) == pytest.approx(2 * within - 2 * mixed)
    with pytest.raises(ValueError, match="two or more"):
        objectives.mmd(z[:1], y)


@pytest.mark.parametrize("form", ["I", "II"])
def test_dip_penalty_against_numpy(form):
    generator = np.random.default_rng(0)
    mean, log_var = generator.normal(size=(2, 256, 5))
    C = np.cov(mean.T, bias=True)
    if form == "II":
        C = C + np.diag(np.exp(log_var).mean(0))
    off = C[~np.eye(5, dtype=bool)]
    expected = 5 * (off**2).sum() + 10 * ((np.diag(C) - 1) ** 2).sum()
    given = torch.from_numpy(mean), torch.from_numpy(log_var)
    assert float(objectives.dip_penalty(*given, 10, 5, form)) == pytest.approx(expected, rel=1e-12)


def test_dip_penalty_of_known_moments():
    """Four means at the corners of a square: covariance I. Form I: 0; with variances 1, 2: 1."""
    mean = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    zero = torch.zeros(4, 2)
    assert float(objectives.dip_penalty(mean, zero, 10, 5, "I")) == 0
    assert float(objectives.dip_penalty(mean, zero, 10, 5, "II")) == 20
    with pytest.raises(ValueError, match="choose I or II"):
        objectives.dip_penalty(mean, zero, 10, 5, "III")


def test_cross_entropy_over_factors_by_hand():
    """Two factors of 2 and 3 levels: -log of the probability of each true level, summed."""
    shares = torch.tensor([[0.25, 0.75, 0.5, 0.25, 0.25], [0.5, 0.5, 0.125, 0.75, 0.125]])
    found = objectives.factor_cross_entropy(
        shares.double().log(), torch.tensor([[1, 0], [0, 2]]), (2, 3)
    )
    expected = -(math.log(0.75) + math.log(0.5) + math.log(0.5) + math.log(0.125)) / 2
    assert found.item() == pytest.approx(expected)

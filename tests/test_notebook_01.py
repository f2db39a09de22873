"""What notebook 01 teaches, against values that were found in another way, in float64."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from answers_01 import RIGHT, WRONG  # noqa: F401 (test_answers.py looks for them here)
from torch.distributions import Normal

from dvae_lib import models, workbook

NOTEBOOK = "01_vae"
GRID = torch.linspace(-9, 9, 4001, dtype=torch.float64)


@pytest.fixture(scope="module")
def taught():
    return workbook.definitions(NOTEBOOK)


class TinyVAE:
    """One latent axis and four binary pixels: evidence and posterior can be had by quadrature."""

    weights = torch.tensor([1.5, -2.0, 0.5, 3.0], dtype=torch.float64)

    def posterior(self, x):
        # Wider than the true posterior, so that importance weights have a finite variance.
        return 0.4 * x.sum((1, 2, 3))[:, None] - 0.5, 0.3 * x[:, 0, 0, :1] + 0.2

    def decoder(self, z):
        return (z * self.weights + 0.3).view(-1, 1, 2, 2)

    def log_joint(self, x):
        """log p(x, z) on GRID: (B, len(GRID))."""
        logits = self.decoder(GRID[:, None]).flatten(1)
        pixels = x.flatten(1)
        log_p = pixels @ F.logsigmoid(logits).T + (1 - pixels) @ F.logsigmoid(-logits).T
        return log_p + Normal(0.0, 1.0).log_prob(GRID)


@pytest.fixture(scope="module")
def images():
    """All 16 images of four binary pixels."""
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)
    return bits.view(16, 1, 2, 2)


def test_the_evidence_of_the_tiny_model_is_a_distribution(images):
    evidence = torch.trapezoid(TinyVAE().log_joint(images).exp(), GRID)
    assert evidence.sum().item() == pytest.approx(1, abs=1e-9)


def test_elbo_plus_gap_is_the_evidence(taught, images):
    """ELBO averaged over draws + KL(q || p(z|x)) by quadrature = log p(x) by quadrature."""
    vae = TinyVAE()
    joint = vae.log_joint(images)
    log_evidence = torch.trapezoid(joint.exp(), GRID).log()
    mean, log_var = vae.posterior(images)
    log_q = Normal(mean, (0.5 * log_var).exp()).log_prob(GRID)
    gap = torch.trapezoid(log_q.exp() * (log_q - joint + log_evidence[:, None]), GRID)
    torch.manual_seed(0)
    draws = torch.stack([taught.elbo(vae, images)[0] for _ in range(4000)])
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) + gap - log_evidence).abs() < 4.5 * error).all()


def test_the_importance_weighted_bound_reaches_the_evidence(taught, images):
    vae = TinyVAE()
    log_evidence = torch.trapezoid(vae.log_joint(images).exp(), GRID).log()
    torch.manual_seed(0)
    log_w = taught.log_weights(vae, images, 20_000)
    assert torch.allclose(taught.importance_weighted_bound(log_w), log_evidence, atol=0.03)


def test_the_linear_model_agrees_with_quadrature(taught):
    """One latent axis: p(x) and the ELBO as integrals over z."""
    W = torch.tensor([[1.0], [-0.5], [2.0]], dtype=torch.float64)
    b = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)
    model = taught.LinearGaussian(W, b, 0.7)
    x = torch.tensor([[1.0, 0.0, 1.5]], dtype=torch.float64)
    log_x_z = Normal(GRID[:, None] * W.T + b, 0.7).log_prob(x).sum(-1)
    joint = log_x_z + Normal(0.0, 1.0).log_prob(GRID)
    log_evidence = torch.trapezoid(joint.exp(), GRID).log()
    assert torch.allclose(model.evidence().log_prob(x), log_evidence, atol=1e-9)
    log_posterior = model.posterior(x).log_prob(GRID[:, None])
    assert torch.allclose(log_posterior, joint - log_evidence, atol=1e-8)
    mean, log_var = torch.tensor([[[0.3]], [[-1.0]]], dtype=torch.float64)
    log_q = Normal(0.3, math.exp(-0.5)).log_prob(GRID)
    expected = torch.trapezoid(log_q.exp() * (joint - log_q), GRID)
    assert torch.allclose(taught.linear_elbo(model, x, mean, log_var), expected, atol=1e-8)


def test_splitting_the_kl_of_known_codes(taught):
    """N far-apart narrow posteriors: log N nats of information; N equal ones: none."""
    torch.manual_seed(0)
    narrow = torch.full((64, 1), -12.0)
    apart = torch.linspace(-3, 3, 64)[:, None]
    information, misfit = taught.split_kl(apart, narrow)
    assert information == pytest.approx(math.log(64), abs=1e-3)
    kl = 0.5 * (apart**2 + math.exp(-12) - 1 + 12).mean().item()
    assert information + misfit == pytest.approx(kl, abs=0.3)  # one draw each
    information, misfit = taught.split_kl(torch.zeros(64, 1), torch.zeros(64, 1))
    assert (information, misfit) == pytest.approx((0, 0), abs=1e-5)


def test_the_strong_decoder_sees_no_pixel_at_or_after_its_own(taught):
    torch.manual_seed(0)
    model = taught.StrongVAE((1, 32, 32), 3, width=4)
    x, z = torch.rand(1, 1, 32, 32), torch.randn(1, 3)
    before = model.logits(x, z).flatten()
    for position in (0, 100, 517, 1023):
        changed = x.clone()
        changed.view(-1)[position] += 1
        moved = (model.logits(changed, z).flatten() - before).abs() > 1e-7
        assert not moved[: position + 1].any()
        assert moved.any() or position == 1023


def test_the_narrow_networks_fit_four_times_into_what_may_be_stored(taught):
    """Counted by hand for 64x64: kernels of 4x4, 16 pixels of 64 channels to 64 to 20 and back."""
    taught.run = SimpleNamespace(device="cpu")
    kernels = 16 * (1 * 16 + 16 * 32 + 32 * 32 + 32 * 64)
    encoder = kernels + 3 * (16 + 32 + 32 + 64) + (1024 * 64 + 64) + (64 * 20 + 20)
    decoder = (
        kernels + (32 + 32 + 16 + 1) + 2 * (32 + 32 + 16) + (10 * 64 + 64) + (64 * 1024 + 1024)
    )
    models_of = [taught.narrow_vae((1, side, side), 10) for side in (32, 64)]
    sizes = [sum(p.numel() for p in model.parameters()) for model in models_of]
    assert sizes[1] == encoder + decoder
    assert 2 * sum(2 * size for size in sizes) < models.MAX_BYTES  # two of each, two bytes a weight


def test_an_autoencoder_pays_for_its_mean_code_alone(taught, images):
    """log p(x|z) of the tiny model at its mean code, by hand; log_var has no part in it."""
    vae = TinyVAE()
    vae.posterior = lambda x: (TinyVAE.posterior(vae, x)[0], torch.full((16, 1), torch.nan))
    logits = (0.4 * images.sum((1, 2, 3)) - 0.5)[:, None] * vae.weights + 0.3
    pixels = images.flatten(1)
    log_p = (pixels * logits - torch.log1p(logits.exp())).sum(1)
    found = taught.make_autoencoder_loss(vae)(SimpleNamespace(images=images))["loss"]
    assert found.item() == pytest.approx(-log_p.mean().item())
    assert taught.cost_at_mean(vae, images) == pytest.approx(-log_p.mean().item())


def test_the_law_of_an_autoencoders_codes_has_their_mean_and_covariance(taught, images):
    model = TinyVAE()
    model.posterior = lambda x: (x.flatten(1)[:, :3] * torch.tensor([1.0, 2.0, 3.0]), None)
    law = taught.fitted_gaussian(model, images)
    assert torch.allclose(law.mean, torch.tensor([0.5, 1.0, 1.5]).double())
    # Independent fair bits, times 1, 2, 3; 16 samples divide by 15.
    assert torch.allclose(
        law.covariance_matrix, torch.diag(torch.tensor([1.0, 4, 9])).double() * 4 / 15
    )


def test_a_baseline_changes_no_mean_and_takes_spread_away(taught):
    """For z ~ N(0, 1), ((z - 2)^2 - 5) z = z^3 - 4 z^2 - z has the mean -4 and the second moment

    E[z^6] + 16 E[z^4] + E[z^2] - 2 E[z^4] = 15 + 48 + 1 - 6 = 58 (odd powers vanish).
    """
    torch.manual_seed(1)
    draws = taught.gradient_draws(1, 400_000)[2].double()
    assert draws.mean().item() == pytest.approx(-4, abs=0.06)
    assert draws.var().item() == pytest.approx(58 - 16, rel=0.03)


def test_gradient_draws_are_unbiased(taught):
    torch.manual_seed(0)
    for draws in taught.gradient_draws(3):
        assert abs(draws.mean() + 4) < 4.5 * draws.std() / math.sqrt(len(draws))

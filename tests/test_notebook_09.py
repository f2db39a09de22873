"""What notebook 09 teaches, against closed forms, quadrature, Jacobians and sums by hand."""

import math
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers_09 import RIGHT, WRONG  # noqa: F401 (test_answers.py looks for them here)
from scipy import integrate, linalg, stats
from torch import nn
from torch.distributions import Normal, kl_divergence

from dvae_lib import data, objectives, training, workbook

NOTEBOOK = "09_ard_vae"
CHANCE = 1e-3  # p-value below which draws are not those that they should be


@pytest.fixture(scope="module")
def taught():
    return workbook.definitions(NOTEBOOK)


@pytest.fixture(scope="module")
def setup(taught):
    """Networks for images of 16 x 16 pixels."""
    return taught.Setup((4, 8), (8, 4), 4, True, 4.0, 20, 8, 5, 1e-3)


@pytest.fixture(scope="module")
def sprites():
    """Sixty sprites of 16 x 16 pixels."""
    large = data.load("sprites", n=60)
    return replace(large, images=F.avg_pool2d(large.images.float(), 4).round().to(torch.uint8))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def squared(decoded, x):
    return (decoded - x).square().flatten(1).sum(1)


def linear_model(taught, kind="ARDVAE", n_axes=3, n_numbers=5, beta=2.0, seed=0, **options):
    """A small linear one in float64."""
    torch.manual_seed(seed)
    parts = nn.Linear(n_numbers, 2 * n_axes), nn.Linear(n_axes, n_numbers)
    return getattr(taught, kind)(*parts, n_axes, squared, beta, **options).double()


# --- the prior -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "a0", "b0"), [(1, 2.0, 0.5), (7, 0.5, 3.0), (30, 1.0, 0.01)])
def test_the_update_is_bayes_rule_by_quadrature(taught, n, a0, b0):
    z = 0.3 + normal(n, 2)
    a, b = taught.conjugate_update(z, a0, b0)
    for codes, rate in zip(z.numpy().T, b.tolist(), strict=True):

        def density(alpha, codes=codes):
            seen = stats.norm(0, alpha**-0.5).pdf(codes).prod()
            return stats.gamma(a0, scale=1 / b0).pdf(alpha) * seen

        whole = integrate.quad(density, 0, np.inf, epsabs=0, limit=400)[0]
        posterior = stats.gamma(a, scale=1 / rate)
        for alpha in posterior.ppf([0.01, 0.3, 0.9]):
            assert density(alpha) / whole == pytest.approx(posterior.pdf(alpha), rel=1e-6)


def test_two_slices_one_after_the_other_say_what_both_say_at_once(taught):
    z = normal(50, 4)
    a, b = taught.conjugate_update(z[20:], *taught.conjugate_update(z[:20], 1.5, 0.7))
    at_once = taught.conjugate_update(z, 1.5, 0.7)
    assert a == at_once[0]
    assert torch.allclose(b, at_once[1])


def test_a_new_code_is_student_t(taught):
    """By quadrature over the precision, for any a0 and b0."""
    a, b = taught.conjugate_update(normal(3, 1), 1.0, 0.2)
    gamma = stats.gamma(a, scale=1 / b.item())
    for z in (0.0, 0.7, 4.0):
        mixed = integrate.quad(
            lambda alpha, z=z: stats.norm(0, alpha**-0.5).pdf(z) * gamma.pdf(alpha), 0, np.inf
        )[0]
        student = stats.t(2 * a, scale=math.sqrt(b.item() / a))
        assert mixed == pytest.approx(student.pdf(z), rel=1e-6)


@pytest.mark.parametrize("n", [5, 10, 100, 1_000, 10_000])
def test_the_kl_of_gaussian_and_student_is_that_by_quadrature(taught, n):
    p, q = stats.norm(), stats.t(n)
    gap = lambda z: p.logpdf(z) - q.logpdf(z)  # noqa: E731
    # The integrand without its part of mean 0 keeps digits where the two are close.
    exact = integrate.quad(
        lambda z: q.pdf(z) * (math.exp(gap(z)) * gap(z) - math.expm1(gap(z))), -30, 30, limit=400
    )[0]
    assert taught.kl_gaussian_student(n) == pytest.approx(exact, rel=1e-3)
    if n >= 100:
        assert exact == pytest.approx(7 / (4 * n**2), rel=10 / n)


# --- the KL term ---------------------------------------------------------------------------------


def test_the_kl_is_that_of_torch_and_so_are_its_gradients(taught):
    mean, log_var = (2 * normal(40, 6, seed=k).requires_grad_() for k in (0, 1))
    s = normal(6, seed=2).exp()
    exact = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0, s.sqrt())).sum(1)
    found = taught.kl_to_prior(mean, log_var, s)
    assert torch.allclose(found, exact, rtol=1e-12)
    weights = normal(40, seed=3)
    for part in (mean, log_var):
        slopes = [
            torch.autograd.grad(weights @ kl, part, retain_graph=True)[0] for kl in (found, exact)
        ]
        assert torch.allclose(*slopes)
    assert (found >= 0).all()
    standard = taught.kl_to_prior(mean, log_var, torch.ones(6))
    assert torch.allclose(standard, objectives.kl_standard_normal(mean, log_var))


def test_the_kl_does_not_depend_on_units(taught):
    mean, log_var, s = normal(40, 6), normal(40, 6, seed=1), normal(6, seed=2).exp()
    c = torch.tensor([1e-3, 0.1, 1, 5, 30, 1e4]).double()
    rescaled = taught.kl_to_prior(c * mean, log_var + 2 * c.log(), c**2 * s)
    assert torch.allclose(rescaled, taught.kl_to_prior(mean, log_var, s), rtol=1e-9)


def test_the_best_prior_variance_is_the_second_moment(taught):
    mean, log_var = 1 + normal(300, 3), normal(300, 3, seed=1)
    best = (mean**2 + log_var.exp()).mean(0)
    s = best.clone().requires_grad_()
    price = taught.kl_to_prior(mean, log_var, s).mean()
    assert torch.autograd.grad(price, s)[0].abs().max() < 1e-12
    assert price.item() == pytest.approx(0.5 * (best.log() - log_var).mean(0).sum().item())
    for seed in range(50):
        other = best * (0.5 * normal(3, seed=seed)).exp()
        assert taught.kl_to_prior(mean, log_var, other).mean() > price


# --- slices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "n_prior", "size"), [(100, 20, 10), (101, 30, 8), (9, 1, 8)])
def test_an_epoch_has_each_image_at_most_once(taught, n, n_prior, size):
    split = taught.EpochSplit(n, n_prior, size, seed=3)
    per_epoch = (n - n_prior) // size
    priors = []
    for epoch in range(3):
        batches = [split[epoch * per_epoch + k] for k in range(per_epoch)]
        prior = batches[0][1]
        assert len(prior) == n_prior
        assert all(later is None for _, later in batches[1:])
        assert all(len(rows) == size for rows, _ in batches)
        used = torch.cat([prior, *(rows for rows, _ in batches)])
        assert used.dtype == torch.int64
        assert len(set(used.tolist())) == len(used) == n - (n - n_prior) % size
        assert set(used.tolist()) <= set(range(n))
        priors.append(tuple(prior.tolist()))
    assert len(set(priors)) == 3 or n_prior == 1


@pytest.mark.parametrize(("n", "n_prior", "size"), [(10, 0, 5), (10, 6, 5), (10, 10, 1)])
def test_a_split_without_a_prior_slice_or_a_batch_is_refused(taught, n, n_prior, size):
    with pytest.raises(ValueError, match=f"n_prior={n_prior}, .* 1 image or more, and leave a bat"):
        taught.EpochSplit(n, n_prior, size, 0)
    taught.EpochSplit(10, 9, 1, 0)[0]  # the smallest rest


def test_batches_are_a_function_of_the_step_and_the_seed(taught):
    def batch(step, seed=0):
        taught.slices.cache_clear()
        rows, prior = taught.EpochSplit(60, 12, 8, seed)[step]
        return rows.tolist(), None if prior is None else prior.tolist()

    steps = list(range(20))
    expected = [batch(step) for step in steps]
    split = taught.EpochSplit(60, 12, 8, 0)
    for step in [*reversed(steps), 0, 19, 7]:
        rows, prior = split[step]
        assert rows.tolist() == expected[step][0]
        assert (None if prior is None else prior.tolist()) == expected[step][1]
    assert [step for step in steps if expected[step][1]] == [0, 6, 12, 18]
    assert batch(0, seed=1) != expected[0]


def test_each_image_is_as_likely_in_the_prior_slice(taught):
    split = taught.EpochSplit(20, 5, 15, 0)  # an epoch is a step
    counts = torch.bincount(torch.cat([split[k][1] for k in range(800)]), minlength=20)
    # Draws without repeats vary a little less than the statistic assumes.
    assert stats.chisquare(counts.numpy()).pvalue > CHANCE


# --- models --------------------------------------------------------------------------------------


def drawn_by(monkeypatch, eps):
    """Codes are mean + sigma * eps from now on."""
    monkeypatch.setattr(
        objectives, "reparameterise", lambda mean, log_var: mean + (log_var / 2).exp() * eps
    )


def test_the_loss_is_the_sum_by_hand(taught, monkeypatch):
    model, x, eps = linear_model(taught, "VAE"), normal(7, 5, seed=1), normal(7, 3, seed=2)
    model.s.copy_(torch.tensor([0.5, 1.0, 4.0]))
    drawn_by(monkeypatch, eps)
    found = model.loss(x)
    E, e = model.encoder.weight.detach().numpy(), model.encoder.bias.detach().numpy()
    W, c = model.decoder.weight.detach().numpy(), model.decoder.bias.detach().numpy()
    errors, prices = [], []
    for image, noise in zip(x.numpy(), eps.numpy(), strict=True):
        out = E @ image + e
        z = out[:3] + np.exp(out[3:] / 2) * noise
        errors.append(((W @ z + c - image) ** 2).sum())
        kl = [
            (math.log(s) - v - 1 + (m**2 + math.exp(v)) / s) / 2
            for m, v, s in zip(out[:3], out[3:], (0.5, 1.0, 4.0), strict=True)
        ]
        prices.append(2 * sum(kl))
    assert found["reconstruction"].item() == pytest.approx(np.mean(errors))
    assert found["KL term"].item() == pytest.approx(np.mean(prices))
    assert found["loss"].item() == pytest.approx(np.mean(errors) + np.mean(prices))


def test_the_first_prior_is_standard_and_no_parameter(taught):
    model = linear_model(taught)
    assert torch.equal(model.s, torch.ones(3))
    assert "s" in model.state_dict()
    assert "s" not in dict(model.named_parameters())


def test_the_prior_is_the_mean_square_of_drawn_codes(taught):
    model, x = linear_model(taught), normal(1_200, 5, seed=1)
    rows = torch.randperm(1_200, generator=rng())[:1_100]
    torch.manual_seed(5)
    model.set_prior(lambda index: x[index], rows)
    torch.manual_seed(5)
    with torch.no_grad():
        out = [model.encoder(x[part]).chunk(2, 1) for part in rows.split(500)]
        z = torch.cat([m + (v / 2).exp() * torch.randn_like(m) for m, v in out])
    assert torch.allclose(model.s, (z**2).mean(0), rtol=1e-12)
    x.requires_grad_()
    model.set_prior(lambda index: x[index], rows)
    assert model.s.grad_fn is None
    model.loss(x[:50])["loss"].backward()
    assert model.s.grad is None


@pytest.mark.parametrize("training_mode", [True, False])
def test_setting_the_prior_uses_running_statistics_and_leaves_the_mode(taught, training_mode):
    model = linear_model(taught)
    model.encoder = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 6)).double()
    model.encoder[0].running_mean += 3
    model.encoder[0].running_var *= 4
    model.train(training_mode)
    before, x = {k: v.clone() for k, v in model.state_dict().items()}, normal(64, 5)
    torch.manual_seed(1)
    model.set_prior(lambda rows: x[rows], torch.arange(64))
    assert {part.training for part in model.modules()} == {training_mode}
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (name != "s")
    torch.manual_seed(1)
    with torch.no_grad():
        out = model.encoder[1]((x - 3) / (4 + 1e-5) ** 0.5)
    z = objectives.reparameterise(*out.chunk(2, 1))
    assert torch.allclose(model.s, (z**2).mean(0))


def test_the_price_of_tcvae_with_beta_1_is_a_one_draw_kl(taught):
    mean, log_var = normal(16, 3), normal(16, 3, seed=1)
    q = Normal(mean, (log_var / 2).exp())
    z = q.mean + q.stddev * normal(16, 3, seed=2)
    one_draw = (q.log_prob(z) - Normal(0, 1).log_prob(z)).sum(1).mean().item()
    models = [linear_model(taught, "TCVAE", beta=beta, n_images=1_000) for beta in (1.0, 3.0, 6.0)]
    prices = [model.kl_term(mean, log_var, z).item() for model in models]
    assert prices[0] == pytest.approx(one_draw)
    # The total correlation is what beta prices: by brute force over pairs.
    log_q = Normal(mean, q.stddev).log_prob(z[:, None]).numpy()  # (draw, image, axis)
    log_N = math.log(16 * 1_000)
    joint = np.logaddexp.reduce(log_q.sum(2), 1) - log_N
    product = (np.logaddexp.reduce(log_q, 1) - log_N).sum(1)
    correlation = np.mean(joint - product)
    assert prices[1] - prices[0] == pytest.approx(2 * correlation)
    assert prices[2] - prices[0] == pytest.approx(5 * correlation)


def test_codes_are_drawn_for_each_row_in_its_order(taught):
    images, rows = normal(1_300, 2), torch.randperm(1_300, generator=rng())
    asked = []

    def of(rows):
        asked.append(len(rows))
        return images[rows]

    narrow = SimpleNamespace(posterior=lambda x: (x, torch.full_like(x, -80.0)))
    assert torch.allclose(taught.draw_codes(narrow, of, rows), images[rows])
    assert asked == [500, 500, 300]
    torch.manual_seed(0)
    wide = SimpleNamespace(posterior=lambda x: (x, (3 * x[:, [0, 0]]).abs().neg()))
    z = taught.draw_codes(wide, of, rows)
    noise = (z - images[rows]) * (1.5 * images[rows][:, [0, 0]].abs()).exp()
    for axis in noise.T.numpy():
        assert stats.kstest(axis, "norm").pvalue > CHANCE
    assert stats.pearsonr(*noise.T.numpy()).pvalue > CHANCE


# --- training ------------------------------------------------------------------------------------


class Interrupted(Exception):
    """What stands for a kill where the process must live on."""


def adam(model):
    return torch.optim.Adam(model.parameters(), 0.01)


def batches_of(taught, stop_at=None):
    @dataclass
    class Batches(taught.EpochSplit):
        def __getitem__(self, step):
            if step == stop_at:
                raise Interrupted
            return super().__getitem__(step)

    return Batches(40, 10, 10, 0)  # an epoch has 3 steps


@pytest.mark.parametrize(("kind", "falls"), [("ARDVAE", False), ("ARDVAE", True), ("VAE", False)])
@pytest.mark.parametrize("stop_at", [3, 4, 5, 6])
def test_an_interrupted_training_goes_on_bit_for_bit(
    taught, monkeypatch, tmp_path, kind, falls, stop_at
):
    """The checkpoint is of step 2 or 4, so the prior is set anew or must come from the file."""
    monkeypatch.setattr(training, "train", partial(training.train, checkpoint_every=2))
    x, path = normal(40, 5), tmp_path / "run.safetensors"

    def run(checkpoint=None, stop_at=None, seed=0):
        model = linear_model(taught, kind, seed=seed)
        torch.manual_seed(3)
        batches = batches_of(taught, stop_at)
        options = {"checkpoint": checkpoint, "falls": falls}
        history = taught.fit(model, adam(model), lambda rows: x[rows], batches, 8, **options)
        return model.state_dict(), history

    expected, history = run()
    with pytest.raises(Interrupted):
        run(path, stop_at)
    assert path.exists()
    torch.randn(17)
    state, resumed = run(path)
    assert list(tmp_path.iterdir()) == []
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)
    assert resumed.steps[-1] == history.steps[-1] == 8
    assert torch.equal(state["s"], torch.ones(3).double()) == (kind == "VAE")


@pytest.mark.parametrize(("kind", "changes"), [("ARDVAE", [0, 3, 6]), ("VAE", [])])
def test_the_prior_changes_at_the_first_step_of_an_epoch(taught, kind, changes):
    model, x, seen = linear_model(taught, kind), normal(40, 5), [torch.ones(3).double()]

    def reconstruction(decoded, x):
        seen.append(model.s.clone())
        return squared(decoded, x)

    model.reconstruction = reconstruction
    taught.fit(model, adam(model), lambda rows: x[rows], batches_of(taught), 8)
    assert len(seen) == 9
    assert [k for k in range(8) if not torch.equal(seen[k], seen[k + 1])] == changes


@pytest.mark.parametrize("falls", [False, True])
def test_a_step_size_falls_along_half_a_cosine_where_it_is_asked_to(taught, falls):
    model, x, sizes = linear_model(taught), normal(40, 5), []
    optimizer = adam(model)
    optimizer.register_step_pre_hook(lambda *_: sizes.append(optimizer.param_groups[0]["lr"]))
    taught.fit(model, optimizer, lambda rows: x[rows], batches_of(taught), 8, falls=falls)
    expected = [0.005 * (1 + math.cos(math.pi * k / 8)) if falls else 0.01 for k in range(8)]
    assert sizes == pytest.approx(expected)


# --- relevance -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def convolutional(taught, setup):
    """A decoder with batch normalisation in use, and its whole Jacobian (N, D, L) at 23 codes."""
    torch.manual_seed(0)
    decoder = taught.Decoder(4, (1, 16, 16), setup)
    decoder(torch.randn(50, 4))  # moves the running statistics
    decode = nn.Sequential(decoder, nn.Sigmoid()).double().eval()
    z = 2 * normal(23, 4)
    whole = [torch.func.jacrev(lambda code: decode(code[None])[0].flatten())(code) for code in z]
    return decode, z, torch.stack(whole).detach()


@pytest.mark.parametrize("batch", [1, 5, 22, 23, 50])
def test_weights_are_those_of_the_whole_jacobian(taught, convolutional, batch):
    decode, z, whole = convolutional
    paper, code = (taught.axis_weights(decode, z, form, batch) for form in ("paper", "code"))
    assert torch.allclose(paper, (whole**2).mean(0).sum(0), rtol=1e-9)
    assert torch.allclose(code, (whole.abs().mean(0) ** 2).sum(0), rtol=1e-9)
    assert (code < paper).all()
    assert not paper.requires_grad


def test_at_one_code_both_forms_agree(taught, convolutional):
    decode, z, _ = convolutional
    both = [taught.axis_weights(decode, z[:1], form) for form in ("paper", "code")]
    assert torch.allclose(*both)


def test_no_more_than_a_batch_of_codes_is_decoded_at_once(taught, convolutional):
    decode, z, _ = convolutional
    sizes = []

    def watched(part):
        sizes.append(len(part))
        return decode(part)

    taught.axis_weights(watched, z, batch=10)
    assert sizes == [10, 10, 3] * 4


def test_nothing_of_a_pass_is_kept(taught, convolutional):
    """What reverse mode would need would be as large as all that was decoded."""
    decode, z, _ = convolutional
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda saved: saved):
        taught.axis_weights(decode, z, batch=10)
    assert kept == []


def test_relevance_does_not_depend_on_units(taught, convolutional):
    decode, z, whole = convolutional
    c = torch.tensor([0.01, 0.5, 3, 100]).double()
    plain = taught.relevance_of(decode, z)
    assert torch.allclose(plain, taught.axis_weights(decode, z) * (z**2).mean(0))
    rescaled = taught.relevance_of(lambda code: decode(code / c), c * z)
    assert torch.allclose(plain, rescaled, rtol=1e-9)


def test_relevance_takes_s_from_all_codes_and_w_from_the_first_hundred(taught):
    z, seen = normal(250, 3), []

    def bent(codes):
        seen.append(codes)
        return codes**2

    found = taught.relevance_of(bent, z)
    assert sum(map(len, seen)) == 300  # three axes
    assert torch.allclose(found, (4 * z[:100] ** 2).mean(0) * (z**2).mean(0))


def test_weights_can_be_taken_at_fewer_codes(taught):
    z = normal(50, 3)
    found = taught.relevance_of(lambda codes: codes**2, z, 10)
    assert torch.allclose(found, (4 * z[:10] ** 2).mean(0) * (z**2).mean(0))


def test_the_share_of_signal_is_that_of_the_means_in_drawn_codes(taught):
    mean, log_var = normal(4_000, 3) * torch.tensor([2.0, 0.5, 0.0]), normal(4_000, 3, seed=1)
    share = taught.signal_share(mean, log_var)
    drawn = mean + (log_var / 2).exp() * normal(4_000, 3, seed=2)
    assert torch.allclose(share, (mean**2).mean(0) / (drawn**2).mean(0), rtol=0.1)
    assert share[2] == 0
    c = torch.tensor([0.1, 7.0, 1.0]).double()
    assert torch.allclose(taught.signal_share(c * mean, log_var + 2 * c.log()), share)


def test_idle_axes_enter_the_rule_and_not_its_form_on_the_signal(taught):
    """Six axes that tell something; of the others the decoder keeps small weights."""
    for n_axes in (16, 64, 256):
        mean, W = 10 * normal(500, n_axes), torch.ones(1, n_axes).double()
        mean[:, 6:], W[:, 6:] = 0, 0.5
        z = mean + normal(500, n_axes, seed=1)
        r = taught.relevance_of(lambda part, W=W: part @ W.T, z)
        share = taught.signal_share(mean, torch.zeros_like(mean))
        assert len(taught.active_axes(r * share, 0.99)) == 6
        assert (len(taught.active_axes(r, 0.99)) > 6) == (n_axes > 40)


def test_relevance_of_a_linear_decoder_is_the_variance_that_an_axis_causes(taught):
    W, z = normal(9, 4), normal(80, 4, seed=1)
    z -= z.mean(0)
    found = taught.linear_relevance(W, z)
    for axis in range(4):
        alone = torch.outer(z[:, axis], W[:, axis])
        assert found[axis].item() == pytest.approx(alone.var(0, correction=0).sum().item())
    assert torch.allclose(taught.relevance_of(lambda part: part @ W.T, z), found)


def test_active_axes_are_the_fewest_that_carry_more_than_the_share(taught):
    for seed in range(200):
        relevance = torch.rand(1 + seed % 40, generator=rng(seed)).pow(4)
        for share in (0.0, 0.3, 0.9, 0.99):
            active = taught.active_axes(relevance, share)
            total = math.fsum(relevance.tolist())
            kept = relevance[active].tolist()
            assert math.fsum(kept) > share * total
            assert len(kept) == 1 or math.fsum(kept[:-1]) <= share * total
            assert kept == sorted(relevance.tolist(), reverse=True)[: len(kept)]
            assert torch.equal(active, taught.active_axes(1024 * relevance, share))


def test_exactly_the_share_is_not_more_than_it(taught):
    relevance = torch.tensor([1.0, 2.0, 1.0, 0.0])
    for share, expected in ((0.0, [1]), (0.5, [1, 0]), (0.75, [1, 0, 2]), (0.99, [1, 0, 2])):
        assert taught.active_axes(relevance, share).tolist() == expected


def test_few_axes_are_not_lost_beside_one_that_is_large(taught):
    """float32 sums stop growing where a term is 1e-8 of the sum."""
    relevance = torch.tensor([1.0, *[1e-8] * 5_000])
    n = len(taught.active_axes(relevance, 1 - 2.5e-5))
    assert abs(n - 2_501) <= 3


# --- the linear case -----------------------------------------------------------------------------

EIGENVALUES = (4.0, 3.0, 2.0, 1.2, 0.8)
NOISE = 0.3


def exact_data(n_axes):
    """Images (80, 6) and standard noise (80, 7) with exactly these moments, no two correlated."""
    directions = linalg.qr(normal(6, 6).numpy())[0][:, :5]
    along = np.sqrt(5 * np.array(EIGENVALUES)) * directions
    x = np.concatenate([along.T, -along.T])
    eps = linalg.hadamard(8)[:, 1 : n_axes + 1]
    x, eps = np.repeat(x, 8, 0), np.tile(eps, (10, 1))
    assert np.allclose(np.cov(x.T, bias=True), along @ along.T / 5)
    return torch.tensor(x), torch.tensor(eps).double(), directions


def optimum(taught, n_axes, beta, c, directions, kind="ARDVAE"):
    """The known solution, axis l in the unit c_l."""
    model = linear_model(taught, kind, n_axes, 6, beta)
    model.reconstruction = lambda decoded, x: squared(decoded, x) / (2 * NOISE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.encoder.bias[n_axes:] = 2 * c.log()
        for axis, eigenvalue in enumerate(EIGENVALUES[:n_axes]):
            if eigenvalue > beta * NOISE:
                direction, w = torch.tensor(directions[:, axis]), (eigenvalue - beta * NOISE) ** 0.5
                model.decoder.weight[:, axis] = w / c[axis] * direction
                model.encoder.weight[axis] = c[axis] * w / eigenvalue * direction
                model.encoder.bias[n_axes + axis] += math.log(beta * NOISE / eigenvalue)
    return model


@pytest.mark.parametrize(("beta", "n_active"), [(0.5, 5), (1.0, 5), (5.0, 3), (9.0, 2)])
@pytest.mark.parametrize("n_axes", [5, 7])
def test_the_linear_optimum_has_the_relevances_of_the_text(
    taught, monkeypatch, n_axes, beta, n_active
):
    x, eps, directions = exact_data(n_axes)
    drawn_by(monkeypatch, eps)
    c = torch.linspace(0.2, 5, n_axes).double()
    model = optimum(taught, n_axes, beta, c, directions)
    model.set_prior(lambda rows: x[rows], torch.arange(80))
    assert torch.allclose(model.s, c**2)
    best = model.loss(x)["loss"]
    slopes = torch.autograd.grad(best, tuple(model.parameters()))
    assert max(slope.abs().max() for slope in slopes) < 1e-12
    z = taught.draw_codes(model, lambda rows: x[rows], torch.arange(80))
    relevance = taught.relevance_of(model.decoder, z)
    exact = [max(0, eigenvalue - beta * NOISE) for eigenvalue in EIGENVALUES] + [0.0] * 2
    assert relevance.tolist() == pytest.approx(exact[:n_axes], abs=1e-12)
    assert taught.active_axes(relevance, 0.99).tolist() == list(range(n_active))
    mean, log_var = (part.detach() for part in model.posterior(x))
    signal = [max(0, 1 - beta * NOISE / eigenvalue) for eigenvalue in EIGENVALUES] + [0.0] * 2
    assert taught.signal_share(mean, log_var).tolist() == pytest.approx(signal[:n_axes])
    # What zeroing costs, by the formula of section 8, is at most 2 points of the variance.
    whole = squared(model.decoder(mean), x).mean()
    found = {"r": relevance, "s": model.s, "mean": mean, "log_var": log_var, "whole": whole}
    by_formula = taught.growth_by_formula(found)
    for n in range(n_axes + 1):
        error = squared(model.decoder(taught.with_most_relevant(found, n)), x).mean()
        assert (error / whole - 1).item() == pytest.approx(by_formula[n].item(), abs=1e-9)
    assert by_formula[n_active] * whole <= 0.02 * sum(EIGENVALUES)
    for axis, r in enumerate(relevance):
        zeroed = squared(model.decoder(mean * (torch.arange(n_axes) != axis)), x).mean()
        growth = r * (1 + log_var[0, axis].exp() / model.s[axis])
        assert (zeroed - whole).item() == pytest.approx(growth.item(), abs=1e-12)
    # Near by it is worse, also where the prior follows.
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for seed in range(50):
        for name, parameter in model.named_parameters():
            noise = normal(*parameter.shape, seed=seed) * 0.02
            parameter.data.copy_(start[name] + noise)
        model.set_prior(lambda rows: x[rows], torch.arange(80))
        assert model.loss(x)["loss"] > best


def test_a_vae_of_the_same_beta_reaches_the_same_loss(taught, monkeypatch):
    x, eps, directions = exact_data(7)
    drawn_by(monkeypatch, eps)
    losses = []
    for kind, c in (("VAE", torch.ones(7).double()), ("ARDVAE", torch.rand(7).double() + 0.1)):
        model = optimum(taught, 7, 2.0, c, directions, kind)
        if kind == "ARDVAE":
            model.set_prior(lambda rows: x[rows], torch.arange(80))
        losses.append(model.loss(x))
        slopes = torch.autograd.grad(losses[-1]["loss"], tuple(model.parameters()))
        assert max(slope.abs().max() for slope in slopes) < 1e-12
    for part in ("loss", "reconstruction", "KL term"):
        assert losses[0][part].item() == pytest.approx(losses[1][part].item(), rel=1e-12)


# --- networks ------------------------------------------------------------------------------------

PLAIN = (32, 32, 64, 64), (64, 64, 32, 32), 4, False
TALL = (64, 128, 256, 512), (512, 256, 128, 64), 2, True
WIDE = (128, 256, 512, 1024), (1024, 512, 256), 8, True

# By hand: 16 weights for each pair of channels, a bias; 2 for each channel of a normalisation.
COUNTS = {
    "dSprites": (
        (1, 64, 64),
        10,
        PLAIN,
        (16 * (1 * 32 + 32 * 32 + 32 * 64 + 64 * 64) + 32 + 32 + 64 + 64) + (1024 + 1) * 20,
        (10 + 1) * 1024 + 16 * (64 * 64 + 64 * 32 + 32 * 32 + 32 * 1) + 64 + 32 + 32 + 1,
    ),
    "MNIST": (
        (1, 32, 32),
        16,
        TALL,
        16 * (64 + 64 * 128 + 128 * 256 + 256 * 512) + 3 * (64 + 128 + 256 + 512) + 2049 * 32,
        17 * 2048 + 16 * (512 * 256 + 256 * 128 + 128 * 64 + 64) + 3 * (256 + 128 + 64) + 1,
    ),
    "CIFAR": (
        (3, 32, 32),
        128,
        WIDE,
        16 * (3 * 128 + 128 * 256 + 256 * 512 + 512 * 1024)
        + 3 * (128 + 256 + 512 + 1024)
        + 4097 * 256,
        129 * 65_536 + 16 * (1024 * 512 + 512 * 256 + 256 * 3) + 3 * (512 + 256) + 3,
    ),
}


def n_weights(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_the_networks_are_the_papers(taught, name):
    shape, n_axes, form, in_encoder, in_decoder = COUNTS[name]
    setup = taught.Setup(*form, 1.0, 10_000, 100, 1, 5e-4)
    with torch.device("meta"):  # sizes without numbers
        encoder = taught.Encoder(shape, n_axes, setup)
        decoder = taught.Decoder(n_axes, shape, setup)
        assert encoder(torch.zeros(2, *shape)).shape == (2, 2 * n_axes)
        assert decoder(torch.zeros(2, n_axes)).shape == (2, *shape)
    assert n_weights(encoder) == in_encoder
    assert n_weights(decoder) == in_decoder


@pytest.mark.parametrize("normed", [True, False])
def test_each_hidden_layer_is_normalised_or_none(taught, setup, normed):
    setup = replace(setup, normed=normed)
    for net in (taught.Encoder((3, 16, 16), 2, setup), taught.Decoder(2, (3, 16, 16), setup)):
        kinds = [type(layer).__name__ for layer in net]
        hidden = kinds.count("ReLU")
        assert kinds.count("BatchNorm2d") == hidden * normed
        assert hidden == len(
            setup.encoder if isinstance(net, taught.Encoder) else setup.decoder[1:]
        )
        assert kinds[-1] != "ReLU"


# --- data, losses, models of a set ---------------------------------------------------------------


@pytest.mark.parametrize(("name", "known_as"), [("digits", "mnist"), ("CIFAR-10", "cifar10")])
def test_digits_and_cifar_come_in_their_own_parts(taught, monkeypatch, name, known_as):
    calls = []
    monkeypatch.setattr(data, "load", lambda name, **options: calls.append((name, options)))
    taught.load_set(name, None, None, "cpu", "folder", download=True)
    expected = {"device": "cpu", "download": True, "path": "folder"}
    assert calls == [(known_as, {"split": part} | expected) for part in ("train", "test")]


def test_packaged_digits_are_read(taught):
    train, test = taught.load_set("digits", None, None, "cpu")
    assert (len(train), len(test)) == (4_000, 1_000)
    assert train.image_shape == (1, 32, 32)


def test_sprites_are_halved_and_split(taught):
    train, test = taught.load_set("sprites", 60, 20, "cpu")
    assert (len(train), len(test)) == (40, 20)
    assert train.image_shape == test.image_shape == (1, 32, 32)
    whole = data.load("sprites", n=60)
    factors = {tuple(row) for part in (train, test) for row in part.factors.tolist()}
    assert factors == set(map(tuple, whole.factors.tolist()))
    means = dict(zip(map(tuple, whole.factors.tolist()), whole.images, strict=True))
    for row, image in zip(map(tuple, test.factors.tolist()), test.images, strict=True):
        blocks = means[row].double().numpy().reshape(32, 2, 32, 2).mean((1, 3))
        assert np.abs(image[0].numpy() - blocks).max() <= 0.5


def test_all_images_stay_in_full_size(taught, monkeypatch, sprites):
    asked = []
    monkeypatch.setattr(
        data, "load", lambda name, **options: asked.append((name, options)) or sprites
    )
    train, test = taught.load_set("rooms", "all", 15, "cpu")
    assert asked == [("rooms", {"n": "all", "device": "cpu"})]
    assert (len(train), len(test)) == (45, 15)
    assert train.image_shape == (1, 16, 16)


def test_reconstruction_losses_by_hand(taught):
    logits, x = normal(4, 3, 2, 2), torch.rand(4, 3, 2, 2, generator=rng()).double()
    p = 1 / (1 + np.exp(-logits.numpy()))
    crossed = -(x.numpy() * np.log(p) + (1 - x.numpy()) * np.log(1 - p))
    squares = (p - x.numpy()) ** 2
    for name, errors in (("sprites", crossed), ("rooms", squares), ("digits", squares)):
        for pixel in (1.0, 4.0):
            found = taught.reconstruction_loss(name, pixel)(logits, x)
            assert np.allclose(found, pixel * errors.sum((1, 2, 3)))


def test_models_are_built_with_the_price_of_their_method(taught, setup):
    taught.betas, taught.tc_betas = {"sprites": 5.0, "rooms": 0.5}, {"sprites": 6.0, "rooms": 7.0}
    expected = {
        "ARD-VAE": (taught.ARDVAE, 5.0, 0.5),
        "β-VAE, same β": (taught.VAE, 5.0, 0.5),
        "VAE": (taught.VAE, 1.0, 1.0),
        "β-TCVAE": (taught.TCVAE, 6.0, 7.0),
    }
    x = torch.rand(6, 1, 16, 16, generator=rng())
    for method, (kind, *betas) in expected.items():
        for name, beta in zip(("sprites", "rooms"), betas, strict=True):
            torch.manual_seed(0)
            model = taught.build(method, name, 3, setup, (1, 16, 16), 777)
            assert type(model) is kind
            assert model.beta == beta
            assert model.s.shape == (3,)
            assert getattr(model, "n_images", 777) == 777
            loss = model.loss(x)
            assert loss["loss"].item() == pytest.approx(
                (loss["reconstruction"] + loss["KL term"]).item()
            )


def test_all_methods_start_from_the_same_weights(taught, setup):
    taught.betas, taught.tc_betas = {"digits": 5.0}, {"digits": 5.0}
    states = []
    for method in ("ARD-VAE", "VAE", "β-TCVAE"):
        torch.manual_seed(0)
        states.append(taught.build(method, "digits", 3, setup, (1, 16, 16), 9).state_dict())
    for state in states[1:]:
        assert all(torch.equal(state[name], states[0][name]) for name in states[0])


# --- measuring -----------------------------------------------------------------------------------


def test_the_four_codes(taught):
    mean, log_var, active = 1 + normal(500, 5), normal(500, 5, seed=1), torch.tensor([4, 1])
    torch.manual_seed(0)
    codes = taught.four_codes(mean, log_var, active)
    assert list(codes) == ["whole", "held", "zeroed", "at their means"]
    assert torch.equal(codes["whole"], mean)
    for axis in range(5):
        whole, held, zeroed, at_mean = (z[:, axis] for z in codes.values())
        if axis in (1, 4):
            assert torch.equal(zeroed, whole)
            assert torch.equal(at_mean, whole)
            noise = (held - whole) / (log_var[:, axis] / 2).exp()
            assert stats.kstest(noise.numpy(), "norm").pvalue > CHANCE
        else:
            assert torch.equal(held, whole)
            assert not zeroed.any()
            assert at_mean.numpy() == pytest.approx(whole.numpy().mean())


@pytest.fixture
def painter(painted):
    """A model of 2 axes whose decoded images are known, and 600 images to compare with."""
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 48), nn.Unflatten(1, (3, 4, 4)))
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    model = nn.Module()
    model.encoder, model.decoder = encoder, decoder
    model.posterior = lambda x: encoder(x).chunk(2, 1)
    return model, painted.subset(torch.arange(600) % 24)


def test_many_codes_are_decoded_in_parts(taught, painter):
    model, _ = painter
    z = torch.randn(1_201, 2)
    images = taught.decode(model, z)
    assert not images.requires_grad
    logits = (z @ model.decoder[0].weight.T + model.decoder[0].bias).detach().numpy()
    assert np.allclose(images.flatten(1), 1 / (1 + np.exp(-logits)), atol=1e-6)
    assert taught.decoded(model, z).requires_grad


def test_squared_errors_are_sums_over_an_image(taught, painter):
    model, images = painter
    codes = {"zero": torch.zeros(600, 2), "one": torch.ones(600, 2)}
    found = taught.squared_errors(model, images, codes)
    x = images.images.double().numpy().reshape(600, 48) / 255
    weight, bias = (p.detach().double().numpy() for p in model.decoder[0].parameters())
    for name, value in (("zero", 0), ("one", 1)):
        shown = 1 / (1 + np.exp(-(value * weight.sum(1) + bias)))
        assert found[name] == pytest.approx(((shown - x) ** 2).sum(1).mean(), rel=1e-5)


def test_posteriors_of_a_whole_set_keep_its_order(taught, painter):
    model, images = painter
    mean, log_var = taught.posterior_of(model, images)
    assert mean.shape == log_var.shape == (600, 2)
    assert not mean.requires_grad
    out = model.encoder(images.floats()).detach()
    assert torch.allclose(torch.cat([mean, log_var], 1), out, atol=1e-6)
    assert torch.allclose(taught.Mean(model.encoder)(images.floats()), mean, atol=1e-6)


def test_the_most_relevant_axes_are_kept_and_the_others_are_zero(taught):
    found = {"r": torch.tensor([1.0, 3.0, 1.0]), "mean": 1 + torch.rand(5, 3)}
    kept = [(taught.with_most_relevant(found, n) != 0).all(0).tolist() for n in range(4)]
    order = [[False] * 3, [False, True, False], [True, True, False], [True] * 3]
    assert kept == order
    assert torch.equal(taught.with_most_relevant(found, 3), found["mean"])


def test_the_growth_by_the_formula_is_the_sum_by_hand(taught):
    log_var = torch.tensor([[0.5, 1.0, 2.0], [1.5, 1.0, 2.0]]).log()
    found = {"r": torch.tensor([1.0, 5.0, 3.0]), "s": torch.tensor([2.0, 4.0, 8.0])}
    found |= {"log_var": log_var, "whole": 2.0}
    first, second, third = 1 * (1 + 1 / 2), 5 * (1 + 1 / 4), 3 * (1 + 2 / 8)
    expected = [(first + second + third) / 2, (first + third) / 2, first / 2, 0]
    assert taught.growth_by_formula(found).tolist() == pytest.approx(expected)


def test_the_variance_of_images_is_numpys(taught, painter):
    x = painter[1].images.double().numpy().reshape(600, -1) / 255
    assert taught.variance_of(painter[1]) == pytest.approx(x.var(0).sum(), rel=1e-5)


def test_new_codes_vary_on_the_active_axes_alone(taught):
    mean, s = 3 + normal(50, 4), torch.tensor([0.25, 1.0, 9.0, 100.0]).double()
    torch.manual_seed(0)
    z = taught.generate(mean, s, torch.tensor([2, 0]), 5_000)
    assert z.shape == (5_000, 4)
    centre = mean.mean(0)
    for axis in (1, 3):
        assert torch.equal(z[:, axis], centre[axis].expand(5_000))
    for axis in (0, 2):
        expected = stats.norm(centre[axis].item(), s[axis].item() ** 0.5)
        assert stats.kstest(z[:, axis].numpy(), expected.cdf).pvalue > CHANCE
    assert stats.pearsonr(z[:, 0], z[:, 2]).pvalue > CHANCE
    torch.manual_seed(0)
    assert torch.equal(mean, 3 + normal(50, 4))


def test_growth_on_doubling_is_a_mean_over_doubled_sizes(taught):
    taught.sizes = {"d": [8, 10, 16, 32]}
    counts = dict(zip(taught.sizes["d"], (4, 9, 5, 6), strict=True))
    taught.counted = {("A", "d", n): {"active": counts[n]} for n in counts}
    assert taught.counts_of("active", "A", "d") == counts
    assert taught.growth_on_doubling(counts) == pytest.approx((5 / 4 + 6 / 5) / 2 - 1)


def test_a_gain_is_a_difference(taught):
    taught.measured = {("ARD-VAE", "d"): {"MIG": 0.5}, ("VAE", "d"): {"MIG": 0.75}}
    assert taught.gain("MIG", "d", "VAE") == -0.25

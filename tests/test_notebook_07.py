"""What notebook 07 teaches, against brute force, closed forms, SciPy and finite differences."""

import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers_07 import RIGHT, WRONG  # noqa: F401 (test_answers.py looks for them here)
from scipy import stats
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from dvae_lib import data, metrics, training, workbook

NOTEBOOK = "07_latent_quantization"


@pytest.fixture(scope="module")
def taught():
    return workbook.definitions(NOTEBOOK)


@pytest.fixture(scope="module")
def tiny(taught):
    """Networks for images of 16 x 16 pixels."""
    return taught.Size((4, 8), (8, 4), 0, 16, 2, 16)


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(images=torch.rand(6, 3, 16, 16, generator=generator).double())


def spread(model):
    """The model in float64, with codes that differ from image to image as much as trained ones."""
    model = model.double()
    with torch.no_grad():
        model.encoder.head.weight *= 6
    return model


# --- what a grid forbids -------------------------------------------------------------------------


def test_turning_is_multiplication_of_complex_numbers(taught):
    codes = torch.from_numpy(np.random.default_rng(0).standard_normal((50, 2)))
    for degrees in (0, 10, 90, 200):
        turned = torch.view_as_complex(taught.turned(codes, degrees))
        factor = np.exp(1j * np.deg2rad(degrees))
        assert np.allclose(turned, torch.view_as_complex(codes) * factor)


def test_rounding_of_a_turned_grid(taught):
    levels = torch.tensor(list(product(range(10), repeat=2)))
    assert torch.equal(taught.rounded(0.3 * levels.double() - 7, 10), levels)
    quarter = taught.rounded(taught.turned(levels - 4.5, 90), 10)
    assert torch.equal(quarter, torch.stack([9 - levels[:, 1], levels[:, 0]], 1))
    left = [taught.entropy(taught.rounded(taught.turned(levels - 4.5, a), 10)) for a in range(91)]
    assert left[:4] + left[87:] == pytest.approx(8 * [math.log(100)])  # too little to matter
    assert max(left[4:87]) < 4.5
    assert min(left) == left[45]


def test_entropy_is_that_of_the_rows(taught):
    rows = torch.tensor([[0, 1]] * 5 + [[1, 0]] * 2 + [[1, 1]])
    assert taught.entropy(rows) == pytest.approx(stats.entropy([5, 2, 1]))


def test_the_additive_share_is_that_of_a_two_way_analysis_of_variance(taught):
    table = np.random.default_rng(0).standard_normal((10, 10))
    table += np.arange(10)[:, None] / 5
    rows, columns = table.mean(1, keepdims=True), table.mean(0, keepdims=True)
    explained = ((rows + columns - 2 * table.mean()) ** 2).sum() / (
        (table - table.mean()) ** 2
    ).sum()
    codes = torch.cartesian_prod(torch.arange(10), torch.arange(10))
    target = torch.from_numpy(table.reshape(-1, 1))
    assert taught.additive_share(codes, target) == pytest.approx(explained)
    exclusive_or = (codes[:, :1] + codes[:, 1:]) % 2
    assert taught.additive_share(codes, exclusive_or.double()) == pytest.approx(0, abs=1e-9)


# --- quantizer -----------------------------------------------------------------------------------


def test_quantize_against_brute_force(taught):
    rng = np.random.default_rng(0)
    z, codebook = (torch.from_numpy(rng.standard_normal(s)) for s in ((40, 5), (5, 7)))
    z.requires_grad_(), codebook.requires_grad_()
    z_dec, z_q, index = taught.quantize(z, codebook)
    for b, j in product(range(40), range(5)):
        gaps = [abs(z[b, j].item() - value) for value in codebook[j].tolist()]
        assert index[b, j] == np.argmin(gaps)
        assert z_q[b, j] == codebook[j, np.argmin(gaps)]
    assert torch.allclose(z_dec, z_q, atol=1e-14)
    push = torch.from_numpy(rng.standard_normal((40, 5)))
    options = {"retain_graph": True, "materialize_grads": True}
    to_z, to_codebook = torch.autograd.grad(z_dec, (z, codebook), push, **options)
    assert torch.equal(to_z, push)
    assert not to_codebook.any()
    to_z, to_codebook = torch.autograd.grad(z_q, (z, codebook), push, **options)
    assert not to_z.any()
    expected = np.zeros((5, 7))
    np.add.at(expected, (np.arange(5), index.numpy()), push.numpy())
    assert np.allclose(to_codebook, expected)


def test_each_loss_has_the_slopes_of_the_squared_distance_to_its_own_side(taught):
    rng = np.random.default_rng(0)
    z, codebook = (torch.from_numpy(rng.standard_normal(s)) for s in ((30, 4), (4, 3)))
    z.requires_grad_(), codebook.requires_grad_()
    quant, commit = taught.quantizer_losses(z, taught.quantize(z, codebook)[1])
    assert quant.item() == commit.item()

    def distance(z, codebook):
        """Mean squared distance of outputs to the nearest value."""
        return ((z[:, :, None] - codebook) ** 2).amin(2).mean().item()

    assert quant.item() == pytest.approx(distance(z, codebook))
    options = {"materialize_grads": True}
    slopes = [torch.autograd.grad(loss, (z, codebook), **options) for loss in (quant, commit)]
    assert not slopes[0][0].any()
    assert not slopes[1][1].any()
    for row, k in product(range(4), range(3)):
        step = torch.zeros_like(codebook)
        step[row, k] = 1e-6
        slope = (distance(z, codebook + step) - distance(z, codebook - step)) / 2e-6
        assert slopes[0][1][row, k].item() == pytest.approx(slope, abs=1e-7)
    for b, j in product(range(5), range(4)):
        step = torch.zeros_like(z)
        step[b, j] = 1e-6
        slope = (distance(z + step, codebook) - distance(z - step, codebook)) / 2e-6
        assert slopes[1][0][b, j].item() == pytest.approx(slope, abs=1e-7)


def test_values_settle_at_the_quantizer_of_lloyd_and_max(taught):
    """Of a standard normal: with four values at +-0.4528 and +-1.510 (Max 1960, table I)."""
    z = torch.from_numpy(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000))[:, None]
    book = torch.tensor([[-0.1, 0.0, 0.1, 0.2]], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([book], lr=1.5)
    for _ in range(150):
        optimizer.zero_grad()
        taught.quantizer_losses(z, taught.quantize(z, book)[1])[0].backward()
        optimizer.step()
    assert book[0].tolist() == pytest.approx([-1.510, -0.4528, 0.4528, 1.510], abs=1e-3)


# --- optimiser -----------------------------------------------------------------------------------


def test_clipped_adamw_is_adamw_written_out(taught):
    """Five steps: decay and clipping of single numbers for all but biases and the codebook."""
    torch.manual_seed(0)
    lr, wd, beta_1, beta_2, eps = 0.03, 0.2, 0.9, 0.999, 1e-8
    module = taught.Small().double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    spared = {"codebook", "encoder.0.bias", "encoder.1.bias", "bias_net.bias"}
    optimizer = taught.clipped_adamw(module, wd, lr)
    state = {n: [p.detach().numpy().copy(), 0.0, 0.0] for n, p in module.named_parameters()}
    for t in range(1, 6):
        for name, parameter in module.named_parameters():
            parameter.grad = 2 * torch.randn_like(parameter)
            theta, m, v = state[name]
            g = parameter.grad.numpy().copy()
            if name not in spared:
                g = np.clip(g, -1, 1)
                theta = theta * (1 - lr * wd)
            m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2
            u = m / (1 - beta_1**t) / (np.sqrt(v / (1 - beta_2**t)) + eps)
            state[name] = [theta - lr * u, m, v]
        optimizer.step()
    for name, parameter in module.named_parameters():
        assert np.allclose(parameter.detach(), state[name][0], rtol=1e-10, atol=1e-12), name


def test_every_parameter_of_the_networks_is_in_the_right_group(taught, tiny):
    for model in (taught.QLAE(tiny, 3, 5, 0.5), taught.VQVAE(tiny, 3, 8, 4)):
        decayed, spared = taught.parameter_groups(model, 0.1)
        biases = [
            module.bias for module in model.modules() if getattr(module, "bias", None) is not None
        ]
        assert {id(p) for p in spared["params"]} == {id(p) for p in [*biases, model.codebook]}
        together = [id(p) for p in decayed["params"] + spared["params"]]
        assert sorted(together) == sorted(id(p) for p in model.parameters())


# --- networks ------------------------------------------------------------------------------------


def test_the_papers_networks_have_the_numbers_of_its_layers(taught):
    large = taught.Size((32, 64, 128, 256), (256, 256, 128, 64, 32), 2, 256, 1, 64)
    encoder, decoder = taught.Encoder(large, 12), taught.Decoder(large, 12)
    count, c_in = 4096 * 256 + 256 + 256 * 256 + 256 + 256 * 12 + 12, 3
    for c in (32, 64, 128, 256):  # two of 3 x 3 and one of 4 x 4; a gain and a bias each
        count += 9 * c_in * c + 9 * c * c + 16 * c * c + 3 * 2 * c
        c_in = c
    assert taught.n_numbers(encoder) == count
    assert round(count / 1e6, 2) == 3.68
    count, c_in = 12 * 256 + 256 + 256 * 256 + 256 + 16 * 256 + 32 * 3 * 9, 256
    for c in (256, 128, 64, 32):
        count += 9 * c_in * c + 9 * c * c + 16 * c * c + 3 * (256 + 1) * 2 * c
        c_in = c
    assert taught.n_numbers(decoder) == count
    assert round(count / 1e6, 2) == 3.97
    with torch.no_grad():
        assert encoder(torch.rand(2, 3, 64, 64)).shape == (2, 12)
        assert decoder(torch.randn(2, 12)).shape == (2, 3, 64, 64)


def test_networks_treat_each_image_by_itself(taught, tiny, batch):
    torch.manual_seed(0)
    encoder, decoder = taught.Encoder(tiny, 5).double(), taught.Decoder(tiny, 5).double()
    with torch.no_grad():
        codes = encoder(batch.images)
        logits = decoder(codes)
        assert codes.shape == (6, 5)
        assert logits.shape == (6, 3, 16, 16)
        for i in range(6):
            assert torch.allclose(encoder(batch.images[[i]]), codes[[i]], atol=1e-12)
            assert torch.allclose(decoder(codes[[i]]), logits[[i]], atol=1e-12)
    assert (codes[0] - codes[1]).abs().max() > 1e-4
    assert (logits[0] - logits[1]).abs().max() > 1e-4


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 8), (4, 2, 16)])
def test_a_style_block_written_out(taught, kernel, stride, side):
    torch.manual_seed(0)
    block = taught.StyleBlock(3, 50, kernel, stride, 7).double()
    h, w = torch.randn(4, 3, 8, 8).double(), torch.randn(4, 7).double()
    with torch.no_grad():
        found = block(h, w)
        inner = F.conv_transpose2d(h, block.conv.weight, None, stride, 1)
        inner = torch.where(inner > 0, inner, 0.2 * inner).numpy()
        style = (w @ block.style.weight.T + block.style.bias).numpy().clip(0)
    scale, shift = style[:, :50, None, None], style[:, 50:, None, None]
    mean, variance = (part(inner, (2, 3), keepdims=True) for part in (np.mean, np.var))
    expected = scale * (inner - mean) / np.sqrt(variance + 1e-6) + shift
    assert found.shape == (4, 50, side, side)
    assert np.allclose(found, expected, atol=1e-10)
    assert np.allclose(found.mean((2, 3)), shift[..., 0, 0])
    assert np.allclose(found.std((2, 3), correction=0), scale[..., 0, 0], rtol=1e-3)
    off = scale[..., 0, 0] == 0
    assert off.any()
    assert np.ptp(found.numpy()[off], (1, 2)).max() < 1e-12
    weight, bound = block.conv.weight.detach(), 1 / math.sqrt(3 * kernel**2)
    assert 0.98 * bound < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


# --- methods -------------------------------------------------------------------------------------


def test_the_reconstruction_loss_is_a_mean_of_cross_entropies(taught, batch):
    logits = torch.randn(batch.images.shape, generator=torch.Generator().manual_seed(1)).double()
    x, p = batch.images.numpy(), 1 / (1 + np.exp(-logits.numpy()))
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).mean()
    assert taught.reconstruction_loss(logits, batch.images).item() == pytest.approx(expected)


def pieces(model, images):
    """(z, z_q) of a model with a codebook, each (B, n) as they are decoded."""
    if hasattr(model, "tokens"):
        z, z_q, _ = model.tokens(images)
        return z.flatten(1), z_q.flatten(1)
    z, _, z_q, _ = model.quantized(images)
    return z, z_q


@pytest.mark.parametrize("method", ["QLAE", "one codebook", "VQ-VAE"])
def test_which_term_moves_which_parameters(taught, tiny, batch, method):
    """The gradient of a training loss, put together by the chain rule from its three terms."""
    torch.manual_seed(0)
    model, weights = {
        "QLAE": lambda: (taught.QLAE(tiny, 4, 5, 0.5), (0.01, 0.01)),
        "one codebook": lambda: (taught.QLAE(tiny, 4, 5, 0.5, shared=True), (0.01, 0.01)),
        "VQ-VAE": lambda: (taught.VQVAE(tiny, 4, 12, 3), (1, 0.25)),
    }[method]()
    model = spread(model)
    model.loss(batch)["loss"].backward()

    z, z_q = pieces(model, batch.images)
    code = z_q.detach().clone().requires_grad_()
    rec = F.binary_cross_entropy_with_logits(model.decoder(code), batch.images)
    of_decoder = torch.autograd.grad(rec, (code, *model.decoder.parameters()))
    gap = (z_q - z).detach()
    assert model.loss(batch)["loss"].item() == pytest.approx(
        (rec + sum(weights) * gap.square().mean()).item()
    )
    for parameter, expected in zip(model.decoder.parameters(), of_decoder[1:], strict=True):
        assert torch.allclose(parameter.grad, expected, atol=1e-12)
    to_z = of_decoder[0] - weights[1] * 2 * gap / gap.numel()
    encoder = list(model.encoder.parameters())
    for parameter, expected in zip(encoder, torch.autograd.grad(z, encoder, to_z), strict=True):
        assert torch.allclose(parameter.grad, expected, atol=1e-12)
    to_z_q = weights[0] * 2 * gap / gap.numel()
    (expected,) = torch.autograd.grad(z_q, model.codebook, to_z_q)
    assert expected.any()
    assert torch.allclose(model.codebook.grad, expected, atol=1e-12)


def test_codes_of_qlae_lie_on_its_grid(taught, tiny, batch):
    torch.manual_seed(0)
    for shared in (False, True):
        model = spread(taught.QLAE(tiny, 4, 5, 0.3, shared=shared))
        assert model.codebook.shape == (1 if shared else 4, 5)
        start = torch.linspace(-0.3, 0.3, 5).double()
        assert torch.equal(model.codebook.detach(), start.expand(len(model.codebook), 5))
        with torch.no_grad():
            model.codebook.normal_()
            z, (z_q, index) = model.encoder(batch.images), model.codes(batch.images)
        for b, j in product(range(6), range(4)):
            row = model.codebook[0 if shared else j].tolist()
            gaps = [abs(value - z[b, j].item()) for value in row]
            assert z_q[b, j] == row[index[b, j]] == row[np.argmin(gaps)]


def test_tokens_of_the_vq_vae_take_the_nearest_vector(taught, tiny, batch):
    torch.manual_seed(0)
    model = spread(taught.VQVAE(tiny, 4, 40, 16))
    assert model.codebook.norm(dim=1).square().mean().item() == pytest.approx(1, rel=0.1)
    with torch.no_grad():
        tokens = model.encoder(batch.images).view(6, 4, 1, 16)
        nearest = ((tokens - model.codebook) ** 2).sum(3).argmin(2)
        decoded, index = model.codes(batch.images)
    assert torch.equal(index, nearest)
    assert len(index.unique()) > 1
    assert torch.equal(decoded, model.codebook[nearest].flatten(1))


def gaussian_parts(vae, images):
    """log p(x | z) in nats, the posterior, and z, with the noise of seed 7."""
    mean, log_var = vae.encoder(images).chunk(2, 1)
    posterior = Normal(mean, (0.5 * log_var).exp())
    torch.manual_seed(7)
    z = mean + posterior.stddev * torch.randn_like(mean)
    pixels = Bernoulli(logits=vae.decoder(z), validate_args=False)
    return pixels.log_prob(images).sum((1, 2, 3)), posterior, z


def loss_of(vae, batch):
    """Times D, in nats per image, with the noise of seed 7."""
    torch.manual_seed(7)
    return vae.loss(batch)["loss"].item() * batch.images[0].numel()


def test_the_beta_vae_at_1_is_the_negative_elbo(taught, tiny, batch):
    torch.manual_seed(0)
    vae = spread(taught.GaussianVAE(tiny, 3, 1.0, False, 100))
    log_p, posterior, _ = gaussian_parts(vae, batch.images)
    kl = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
    assert kl.mean() > 0.1
    assert loss_of(vae, batch) == pytest.approx((kl - log_p).mean().item())
    vae.beta = 5
    assert loss_of(vae, batch) == pytest.approx((5 * kl - log_p).mean().item())
    assert torch.equal(vae.codes(batch.images)[1], posterior.mean)


def test_the_beta_tcvae_puts_its_price_on_the_total_correlation(taught, tiny, batch):
    torch.manual_seed(0)
    vae = spread(taught.GaussianVAE(tiny, 3, 1.0, True, 100))
    log_p, posterior, z = gaussian_parts(vae, batch.images)
    one_draw = (posterior.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(1)
    at_1 = loss_of(vae, batch)
    assert at_1 == pytest.approx((one_draw - log_p).mean().item())
    mean, sd = (part.detach().numpy() for part in (posterior.mean, posterior.stddev))
    density = stats.norm.pdf(z.detach().numpy()[:, None], mean, sd)  # (draw, image, axis)
    joint, single = density.prod(2).sum(1) / 600, density.sum(1) / 600
    total_correlation = (np.log(joint) - np.log(single).sum(1)).mean()
    vae.beta = 3.0
    assert loss_of(vae, batch) - at_1 == pytest.approx(2 * total_correlation)


def test_the_bioae_pays_for_negative_and_for_large_codes(taught, tiny, batch):
    torch.manual_seed(0)
    model = spread(taught.BioAE(tiny, 4, 0.3))
    found = model.loss(batch)
    z = model.encoder(batch.images).detach().numpy()
    assert z.min() < 0 < z.max()
    penalty = -z[z < 0].sum() / z.size + 0.3 * (z**2).mean()
    assert (found["loss"] - found["rec"]).item() == pytest.approx(penalty)


# --- measuring -----------------------------------------------------------------------------------


def test_joint_tables_are_shares_of_counts(taught):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, 200), rng.choice([1, 2, 5], 200)
    expected = np.zeros((3, 6))
    np.add.at(expected, (a, b), 1 / 200)
    table = taught.joint_table(torch.from_numpy(a), torch.from_numpy(b))
    assert table.dtype == torch.float64
    assert np.allclose(table, expected)


def test_infom_of_codes_is_the_librarys(taught):
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(5, (400, 3), generator=generator)
    index = torch.randint(4, (400, 6), generator=generator)
    index[:, 0] += 4 * factors[:, 2]
    index[:, 1] = (factors[:, 0] + index[:, 1] // 3) % 5
    index[:, 2] = 3
    expected = metrics.infomec(index, factors).scalars["InfoM"]
    assert taught.infom_of_codes(index, factors) == pytest.approx(float(expected), abs=1e-9)
    assert taught.infom_of_codes(factors.flip(1), factors) > 0.95


def test_encoding_a_set_keeps_its_order_and_measures_its_psnr(taught, painted):
    images = painted.subset(torch.arange(1200) % 24)

    class Darkened(nn.Module):
        """Its reconstructions are the images at half their brightness, plus 0.1."""

        def codes(self, x):
            return (0.5 * x + 0.1).logit(), (25.5 * x[:, :, 0, 0]).round().long()

        def decoder(self, codes):
            return codes

    decoded, measured, psnr = taught.encode(Darkened(), images)
    assert torch.equal(measured, images.factors)
    assert torch.allclose(decoded.sigmoid(), 0.5 * images.floats() + 0.1, atol=1e-6)
    errors = ((0.1 - 0.5 * images.images.numpy() / 255) ** 2).mean((1, 2, 3))
    assert psnr == pytest.approx(np.mean(10 * np.log10(1 / errors)), rel=1e-5)


def test_a_walk_leads_from_one_reconstruction_to_the_other(taught, tiny, batch):
    torch.manual_seed(0)
    images = batch.images[:2].float()
    for model in (taught.QLAE(tiny, 4, 5, 0.05), taught.Autoencoder(tiny, 4)):
        model = spread(model).float()
        way = taught.walk(model, *images, 30)
        assert torch.allclose(way[[0, -1]], taught.reconstruct(model, images), atol=1e-5)
        n_pictures = len(way.flatten(1).unique(dim=0))
        # Each of four axes passes at most the four edges between its five values.
        assert 1 < n_pictures <= 17 if model.discrete else n_pictures == 30


def test_the_path_of_a_codebook_has_every_kth_step(taught):
    codebook = nn.Parameter(torch.zeros(2, 3))
    optimizer = torch.optim.SGD([codebook], lr=1.0)
    path = taught.CodebookPath(codebook, 160)
    optimizer.register_step_post_hook(lambda *_: path.keep(codebook))
    codebook.grad = -torch.ones(2, 3)
    for _ in range(160):
        optimizer.step()
    assert path.at.tolist() == list(range(3, 160, 3))
    assert torch.equal(path.values, path.at[:, None, None].expand(-1, 2, 3).float())


def test_a_training_that_was_killed_goes_on_with_its_path(taught, tiny, tmp_path):
    """The snapshots before and after a kill are those of a training that nobody disturbed."""
    rooms = taught.load_set("rooms", 40, 16, "cpu")[0]

    def train(where, last=None):
        """At the batch `last` the training ends, as by Ctrl-C."""
        torch.manual_seed(0)
        model = taught.QLAE(tiny, 4, 5, 0.5)
        model.path = taught.CodebookPath(model.codebook, 12)
        optimizer = taught.clipped_adamw(model, 0.1, 0.01)
        optimizer.register_step_post_hook(lambda *_: model.path.keep(model.codebook))
        player = training.Player(
            model.loss, optimizer, scheduler=taught.rise_and_fall(optimizer, 12)
        )
        batches = Interrupted(rooms, 8, 0)
        batches.last = last
        training.train(model, player, batches, 12, checkpoint=where, checkpoint_every=5)
        return model.state_dict()

    whole = train(tmp_path / "whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed.safetensors", last=7)
    killed = train(tmp_path / "killed.safetensors")
    assert whole["path.values"].unique(dim=0).shape[0] == 12
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


class Interrupted(data.factor_data.Batches):
    last = None

    def __getitem__(self, step):
        if step == self.last:
            raise KeyboardInterrupt
        return super().__getitem__(step)


def test_the_step_rises_for_a_twentieth_and_falls_to_nothing(taught):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = taught.rise_and_fall(optimizer, 200)
    rates = []
    for _ in range(200):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    cosine = 0.25 * (1 + np.cos(np.pi * np.arange(200) / 200))
    assert rates[:10] == pytest.approx(cosine[:10] * np.arange(1, 11) / 10)
    assert rates[10:] == pytest.approx(cosine[10:])


def test_rooms_are_seen_from_nearer_and_split(taught):
    train, held_out = taught.load_set("rooms", 50, 32, "cpu")
    assert (len(train), len(held_out)) == (40, 10)
    assert train.image_shape == held_out.image_shape == (3, 32, 32)
    assert train.renderer is None  # whose images would be others
    whole = data.load("rooms", n=50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat([train.factors, held_out.factors]), whole.factors[order])
    whole = taught.load_set("rooms", 50, 64, "cpu")[0]
    assert torch.equal(whole.images, data.load("rooms", n=50).images[order[:40]])


def test_what_is_seen_is_the_middle_three_quarters(taught):
    """A ramp stays one, with three pixels where there were two; the border is not seen."""
    image = 2 * torch.arange(64, dtype=torch.uint8).repeat(2, 3, 64, 1)
    image[..., :8] = image[..., 56:] = 255
    image[..., :8, :] = image[..., 56:, :] = 255
    seen = taught.seen_nearer(image, 32)
    assert seen.shape == (2, 3, 32, 32)
    middles = 2 * (8 + 1.5 * np.arange(32) + 0.25)  # of the pixels, in those of the whole image
    assert np.allclose(seen.double()[..., 1:-1], middles[1:-1], atol=0.51)
    assert torch.equal(seen[..., :1, :].expand_as(seen), seen)


# --- the price of a grid -------------------------------------------------------------------------


def test_an_even_grid_spans_the_middle_of_a_code(taught, painted, monkeypatch):
    monkeypatch.setattr(taught, "run", SimpleNamespace(device=painted.device), raising=False)
    images = painted.subset(torch.arange(1200) % 24)

    class First(nn.Module):
        """Codes are two numbers of an image; decoded is nothing of importance."""

        def codes(self, x):
            codes = torch.stack([x[:, 0, 0, 0], -3 * x[:, 1, 0, 0]], 1)
            return codes, codes

        def decoder(self, codes):
            return torch.zeros(len(codes), 3, 4, 4)

    codes = First().codes(images.floats())[0].double().numpy()
    grid = taught.even_grid(First(), images, 4)
    low, high = np.quantile(codes, [0.005, 0.995], axis=0)
    assert np.allclose(grid, np.linspace(low, high, 4).T, atol=1e-6)


def test_a_decoder_alone_learns_and_its_encoder_does_not(taught, tiny, batch):
    torch.manual_seed(0)
    plain = spread(taught.Autoencoder(tiny, 3))
    grid = torch.linspace(-1, 1, 4).double().repeat(3, 1)
    alone = taught.DecoderAlone(plain, grid)
    code = alone.codes(batch.images)[0]
    gaps = (plain.encoder(batch.images)[:, :, None] - grid).abs()
    assert torch.equal(code, grid[0][gaps.argmin(2)])
    assert torch.equal(
        taught.DecoderAlone(plain).codes(batch.images)[0], plain.encoder(batch.images)
    )
    loss = alone.loss(batch)["loss"]
    expected = F.binary_cross_entropy_with_logits(plain.decoder(code), batch.images)
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert all(p.grad is not None for p in alone.parameters())
    assert all(p.grad is None for p in plain.parameters())
    assert [*alone.state_dict()] == [f"decoder.{name}" for name in plain.decoder.state_dict()]


def test_counted_infom_is_the_librarys(taught):
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(5, (400, 3), generator=generator)
    index = torch.cat([factors, torch.randint(4, (400, 2), generator=generator)], 1)
    index[:, 1] = 3
    infom, nmi = taught.counted(index, factors)
    score = metrics.infomec(index, factors)
    assert infom == pytest.approx(score.scalars["InfoM"])
    assert torch.allclose(nmi, score.matrix)
    assert taught.counted(0 * index, factors)[0] == 0

"""What notebook 08 teaches, against brute force, SciPy, finite differences and readers by hand."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers_08 import RIGHT, WRONG  # noqa: F401 (test_answers.py looks for them here)
from scipy import stats
from torch import nn
from torch.distributions import Normal

from dvae_lib import data, training, workbook

NOTEBOOK = "08_quantized_infogan"
CHANCE = 1e-3  # p-value below which draws are not those that they should be


@pytest.fixture(scope="module")
def taught():
    """The notebook's definitions, with the one that it makes by an assignment."""
    module = workbook.definitions(NOTEBOOK)
    module.qlae = workbook.definitions("07_latent_quantization")
    return module


@pytest.fixture(scope="module")
def size(taught):
    """Networks for images of 16 x 16 pixels."""
    return taught.qlae.Size((4, 8), (8, 8, 4), 0, 16, 1, 16)


@pytest.fixture(scope="module")
def rooms():
    """Forty rooms of 16 x 16 pixels."""
    large = data.load("rooms", n=40)
    return replace(large, images=F.avg_pool2d(large.images.float(), 4).round().to(torch.uint8))


@pytest.fixture(params=["plain", "quantized"])
def gan(request, taught, size):
    """A new one of three axes, of both methods in turn; values of the axes are not alike."""
    torch.manual_seed(0)
    if request.param == "plain":
        return taught.InfoGAN(size, 3, -0.5, 0.5)
    return uneven(taught.QuantizedInfoGAN(size, 3, -0.5, 0.5, 5))


def uneven(gan):
    with torch.no_grad():
        gan.decoder.codebook += 0.05 * torch.randn_like(gan.decoder.codebook)
    return gan


def is_quantized(gan):
    return hasattr(gan.decoder, "codebook")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def information(joint):
    """I(z; x) as the divergence from independence."""
    table = joint.numpy()
    independent = np.outer(table.sum(1), table.sum(0))
    return stats.entropy(table.ravel(), independent.ravel())


def copies(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def moved(module, before):
    return {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}


# --- the information bound -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables():
    """p(z, x) (4, 6), with zeros and an empty row, and its exact posterior."""
    joint = torch.rand(4, 6, generator=rng(), dtype=torch.float64)
    joint[joint < 0.2] = 0
    joint[2] = 0
    joint = joint / joint.sum()
    return joint, joint / joint.sum(0)


def test_the_bound_is_the_sum_over_all_pairs(taught, tables):
    joint, _ = tables
    q = torch.rand(4, 6, generator=rng(1), dtype=torch.float64).softmax(0)
    p_z = [math.fsum(row) for row in joint.tolist()]
    pairs = zip(joint.flatten().tolist(), q.flatten().tolist(), strict=True)
    expected = stats.entropy(p_z) + math.fsum(p * math.log(g) for p, g in pairs)
    assert taught.information_bound(joint, q).item() == pytest.approx(expected, abs=1e-12)


def test_the_bound_is_the_information_for_the_posterior_alone(taught, tables):
    joint, posterior = tables
    exact = information(joint)
    assert taught.information_bound(joint, posterior).item() == pytest.approx(exact, abs=1e-12)
    for seed in range(200):
        noise = 3 * torch.randn(4, 6, generator=rng(seed), dtype=torch.float64)
        for q in (noise.softmax(0), (posterior.log() + 0.01 * noise).softmax(0)):
            gap = np.nansum(stats.entropy(posterior, q) * joint.sum(0).numpy())
            bound = taught.information_bound(joint, q).item()
            assert bound <= exact
            assert bound == pytest.approx(exact - gap, abs=1e-12)
    blind = joint.sum(1, keepdim=True).expand(4, 6)
    assert taught.information_bound(joint, blind).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("s", [0.01, 0.122, 1.0])
def test_the_reader_of_the_true_noise_is_bayes_rule(taught, s):
    z, x, joint = taught.noisy_channel(s)
    assert joint.sum().item() == pytest.approx(1)
    assert torch.allclose(joint.sum(1), torch.full((10,), 0.1).double())
    likelihood = stats.norm(z.numpy()[:, None], s).pdf(x.numpy())
    reader = taught.gaussian_reader(z, x, s)
    assert np.allclose(reader, likelihood / likelihood.sum(0), atol=1e-12)
    assert np.allclose(reader, joint / joint.sum(0), atol=1e-6)
    exact = information(joint)
    bound = partial(taught.information_bound, joint)
    assert bound(reader).item() == pytest.approx(exact, abs=1e-6)
    others = [bound(taught.gaussian_reader(z, x, sigma)) for sigma in (0.5 * s, 2 * s)]
    assert max(others) < exact - 1e-3 or s == 0.01


def test_without_noise_all_values_can_be_told(taught):
    for n_values in (2, 10, 17):
        z, x, joint = taught.noisy_channel(0.003, n_values)
        assert len(z) == n_values
        bound = taught.information_bound(joint, taught.gaussian_reader(z, x, 0.003))
        assert bound.item() == pytest.approx(math.log(n_values), abs=1e-6)


# --- the penalty and the distance ----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (7, 3), (3, 4, 4), (2, 3, 2, 2)])
def test_a_linear_critic_pays_for_its_norm(taught, shape):
    direction = torch.randn(shape, generator=rng()).flatten()
    direction = direction / direction.norm()
    real, fake = torch.randn(2, 11, *shape, generator=rng(1))
    for norm in (0.0, 0.3, 1.0, 2.5):
        penalty = taught.gradient_penalty(
            lambda x, n=norm: x.flatten(1) @ (n * direction), real, fake
        )
        assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-5)


def test_a_quadratic_critic_pays_for_its_slopes_at_the_mixtures(taught):
    A = torch.randn(12, 12, generator=rng(), dtype=torch.float64)
    real, fake = torch.randn(2, 400, 3, 2, 2, generator=rng(1), dtype=torch.float64)
    seen = []

    def critic(x):
        seen.append(x.detach())
        return torch.einsum("bi,ij,bj->b", x.flatten(1), A, x.flatten(1))

    torch.manual_seed(0)
    penalty = taught.gradient_penalty(critic, real, fake).item()
    (mixed,) = (x.flatten(1).numpy() for x in seen)
    slopes = mixed @ (A + A.T).numpy()
    assert penalty == pytest.approx(np.mean((np.linalg.norm(slopes, axis=1) - 1) ** 2))
    share = (mixed - fake.flatten(1).numpy()) / (real - fake).flatten(1).numpy()
    assert np.allclose(share, share.mean(1, keepdims=True))
    assert stats.kstest(share.mean(1), "uniform").pvalue > CHANCE


def test_the_penaltys_gradient_agrees_with_finite_differences(taught):
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    real, fake = torch.randn(2, 8, 4, dtype=torch.float64)
    real.requires_grad_()
    fake.requires_grad_()

    def penalty():
        torch.manual_seed(1)
        return taught.gradient_penalty(lambda x: critic(x)[:, 0], real, fake)

    penalty().backward()
    assert real.grad is None
    assert fake.grad is None
    for weight in (critic[0].weight, critic[0].bias, critic[2].weight):
        differences = torch.zeros_like(weight)
        for k in range(weight.numel()):
            values = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    weight.view(-1)[k] += step
                values.append(penalty().item())
                with torch.no_grad():
                    weight.view(-1)[k] -= step
            differences.view(-1)[k] = (values[0] - values[1]) / 2e-5
        assert torch.allclose(weight.grad, differences, atol=1e-7)
    assert not critic[2].bias.grad  # a critic's height costs nothing


def test_a_trained_critic_sees_about_the_wasserstein_distance(taught):
    torch.manual_seed(0)
    one, other = torch.randn(2, 300, 1)
    for pair in ((one, other + 3), (one, 3 * other)):
        exact = stats.wasserstein_distance(*(sample[:, 0].numpy() for sample in pair))
        # The penalty lets the slope rise to 1 + W / 20.
        best = exact * (1 + exact / 20)
        assert taught.critic_distance(*pair) == pytest.approx(best, rel=0.15)


# --- draws, and the code read --------------------------------------------------------------------


def test_plain_codes_are_uniform(taught, size):
    torch.manual_seed(0)
    z = taught.InfoGAN(size, 3, -0.3, 0.7).draw(4_000).numpy()
    assert z.shape == (4_000, 3)
    for axis in z.T:
        assert stats.kstest(axis, "uniform", (-0.3, 1.0)).pvalue > CHANCE
    assert stats.pearsonr(z[:, 0], z[:, 1]).pvalue > CHANCE


def test_quantized_codes_are_even_over_the_values(taught, size):
    torch.manual_seed(0)
    gan = taught.QuantizedInfoGAN(size, 3, -0.3, 0.7, 5)
    book = gan.decoder.codebook
    assert np.allclose(book.detach(), [np.linspace(-0.3, 0.7, 5)] * 3)
    uneven(gan)
    z = gan.draw(5_000)
    hits = z[:, :, None] == book
    assert (hits.sum(2) == 1).all()
    for counts in hits.sum(0):
        assert stats.chisquare(counts).pvalue > CHANCE
    index = hits.long().argmax(2)
    pairs = taught.qlae.joint_table(index[:, 0], index[:, 1]) * 5_000
    assert stats.chi2_contingency(pairs.numpy()).pvalue > CHANCE
    z.sum().backward()
    assert torch.equal(book.grad, hits.sum(0).float())


def test_generated_images_lie_between_0_and_1(gan):
    images = gan.generate(10 * gan.draw(7))
    assert images.shape == (7, 3, 16, 16)
    assert 0 < images.min() < images.max() < 1


def test_the_plain_code_is_read_as_it_is(taught, size):
    raw = torch.randn(4, 3)
    read, further = taught.InfoGAN(size, 3, -0.5, 0.5).read(raw)
    assert read is raw
    assert further == 0


def test_the_quantized_code_is_read_straight_through(taught, size):
    torch.manual_seed(0)
    gan = uneven(taught.QuantizedInfoGAN(size, 3, -0.5, 0.5, 5))
    raw, book = torch.randn(40, 3, requires_grad=True), gan.decoder.codebook
    read, further = gan.read(raw)
    rows, values = raw.detach().double().numpy(), book.detach().double().numpy()
    nearest = np.abs(rows[:, :, None] - values).argmin(2)
    expected = values[range(3), nearest]
    assert np.allclose(read.detach(), expected, atol=1e-6)
    assert further.item() == pytest.approx(0.02 * np.mean((rows - expected) ** 2))
    upstream = torch.randn(40, 3)
    to_raw, to_book = torch.autograd.grad(
        (read * upstream).sum(), (raw, book), retain_graph=True, materialize_grads=True
    )
    assert torch.equal(to_raw, upstream)
    assert not to_book.any()
    to_raw, to_book = torch.autograd.grad(further, (raw, book))
    pull = 0.02 * (rows - expected) / rows.size
    assert np.allclose(to_raw, pull, atol=1e-7)
    pulls = [[pull[nearest[:, j] == k, j].sum() for k in range(5)] for j in range(3)]
    assert np.allclose(to_book, np.negative(pulls), atol=1e-7)


@pytest.mark.parametrize("n_axes", [3, 6])
def test_the_misfit_is_that_of_a_gaussian_reader(taught, size, n_axes):
    gan = taught.InfoGAN(size, n_axes, -0.5, 0.5)
    z, raw = torch.randn(2, 20, n_axes, generator=rng())
    sigma = (n_axes / 400) ** 0.5
    log_q = Normal(raw, sigma).log_prob(z).sum(1)
    terms = torch.stack([taught.code_loss(gan, z[[k]], raw[[k]], 200.0) for k in range(20)])
    constant = n_axes / 2 * math.log(2 * math.pi * sigma**2)
    assert torch.allclose(terms + constant, -log_q, rtol=1e-5, atol=1e-3)
    pair = [z.requires_grad_(), raw.requires_grad_()]
    whole = taught.code_loss(gan, *pair, 200.0)
    assert whole.item() == pytest.approx(terms.mean().item(), rel=1e-5)
    # It pulls at what is drawn, and so at the values of a codebook, as much as at the reading.
    to_z, to_raw = torch.autograd.grad(whole, pair)
    assert torch.allclose(to_z, (z - raw) / (20 * sigma**2), rtol=1e-4)
    assert torch.equal(to_raw, -to_z)


# --- two players ---------------------------------------------------------------------------------


def test_the_losses_are_the_sums_of_their_parts(taught, gan, rooms):
    batch = rooms.batches(16)[0]
    torch.manual_seed(3)
    critics = taught.critic_player_loss(gan, 200.0, batch)
    torch.manual_seed(3)
    z = gan.draw(16)
    (d_fake, raw), (d_real, _) = gan.critic(gan.generate(z)), gan.critic(batch.images)
    term = taught.code_loss(gan, z, raw, 200.0).item()
    W, penalty = d_real.mean().item() - d_fake.mean().item(), critics["penalty"].item()
    assert critics["W"].item() == pytest.approx(W, abs=1e-5)
    assert critics["loss"].item() == pytest.approx(10 * penalty - W + term, rel=1e-5)
    torch.manual_seed(3)
    generators = taught.generator_player_loss(gan, 200.0, batch)
    assert generators["T"].item() == pytest.approx(term, rel=1e-5)
    assert generators["loss"].item() == pytest.approx(term - d_fake.mean().item(), rel=1e-5)


def one_move(player, batch):
    """As training.train moves a player."""
    loss = player.loss(batch)["loss"]
    player.optimizer.zero_grad(set_to_none=True)
    loss.backward(inputs=player.parameters)
    player.optimizer.step()


def test_a_player_moves_its_own_numbers_alone(taught, gan, rooms):
    critics, generators = taught.two_players(gan, 200.0, 0.001, 1e-3)
    batch, before = rooms.batches(16)[0], copies(gan)
    one_move(critics, batch)
    names = {name for name in before if name.startswith("critic.")}
    assert moved(gan, before) | {"critic.height.bias"} == names  # both means hold that bias
    before = copies(gan)
    one_move(generators, batch)
    hit = moved(gan, before)
    assert hit <= {name for name in before if name.startswith("decoder.")}
    assert {"decoder.constant", "decoder.to_pixels.weight"} <= hit
    assert ("decoder.codebook" in hit) == is_quantized(gan)


def test_the_optimisers(taught, gan):
    for player in taught.two_players(gan, 200.0, 0.001, 2e-4):
        decayed, spared = player.optimizer.param_groups
        assert (decayed["lr"], decayed["betas"]) == (spared["lr"], spared["betas"])
        assert (decayed["lr"], decayed["betas"]) == (2e-4, (0.0, 0.9))
        assert (decayed["weight_decay"], spared["weight_decay"]) == (0.001, 0)
    if is_quantized(gan):
        assert any(p is gan.decoder.codebook for p in spared["params"])


def test_the_generator_moves_at_every_fifth_step(taught, gan, rooms):
    players = taught.two_players(gan, 200.0, 0.001, 1e-3)
    moves = []
    for name, player in zip("cg", players, strict=True):
        player.optimizer.register_step_post_hook(lambda *_, name=name: moves.append(name))
    training.train(gan, players, rooms.batches(8, 0), 6)
    assert "".join(moves) == "cgcccccg"


# --- reading samples -----------------------------------------------------------------------------


class Images(nn.Module):
    """A critic whose reading is the image itself, after a change."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, images):
        return images[:, 0], self.change(images)


def shows_its_code(gan, change=lambda z: z):
    """The gan with "images" that are the codes, and a critic that reads them with a change."""
    gan.generate, gan.critic = lambda z: z, Images(change)
    return gan


@pytest.fixture(params=["plain", "quantized"])
def ten_values(request, taught, size):
    torch.manual_seed(0)
    kinds = {
        "plain": partial(taught.InfoGAN, size, 3, -0.3, 0.7),
        "quantized": partial(taught.QuantizedInfoGAN, size, 3, -0.3, 0.7, 10),
    }
    return kinds[request.param]()


def test_cells_of_an_axis(taught, ten_values):
    z = torch.linspace(-0.5, 0.9, 300)[:, None].repeat(1, 3)
    rows = z[:, 0].double().numpy()
    if is_quantized(ten_values):
        expected = np.abs(rows[:, None] - np.linspace(-0.3, 0.7, 10)).argmin(1)
    else:
        expected = np.digitize(rows, np.linspace(-0.3, 0.7, 11)[1:-1])
    assert np.array_equal(taught.axis_cells(ten_values, z), np.stack([expected] * 3, 1))


@pytest.mark.parametrize(
    ("change", "nats"),
    [
        (lambda z: z, math.log(10)),
        (lambda z: 0.4 - z, math.log(10)),
        (lambda z: 0.2 + 0.3 * (z - 0.2).sign(), math.log(2)),
        (lambda z: 0 * z + 0.1, 0),
        (lambda z: torch.rand_like(z) - 0.3, 0),
    ],
)
def test_nats_that_a_known_reader_recovers(taught, ten_values, change, nats):
    found = taught.recovered(shows_its_code(ten_values, change))
    # Counts of independent columns show (10 - 1)^2 / (2 * 4000) = 0.01 nats by chance.
    assert found.tolist() == pytest.approx([nats] * 3, abs=0.03)


def test_nats_are_those_of_each_axis(taught, ten_values):
    def first_alone(z):
        return torch.stack([z[:, 0], torch.rand(len(z)) - 0.3, z[:, 0]], 1)

    found = taught.recovered(shows_its_code(ten_values, first_alone))
    assert found.tolist() == pytest.approx([math.log(10), 0, 0], abs=0.03)


# --- reading real images -------------------------------------------------------------------------


def test_codes_and_psnr_of_a_set(taught, gan, rooms):
    """600 images: more than are read at once."""
    many = rooms.subset(torch.arange(600) % 40)
    decoded, measured, cells, psnr = taught.read_images(gan, many)
    with torch.no_grad():
        x = many.floats(torch.arange(600))
        raw = gan.critic(x)[1]
        if is_quantized(gan):
            book = gan.decoder.codebook.numpy()
            index = np.abs(raw.numpy()[:, :, None] - book).argmin(2)
            assert np.array_equal(measured, index)
            assert np.array_equal(cells, index)
            assert np.allclose(decoded, book[range(3), index])
        else:
            assert torch.allclose(measured, raw, atol=1e-6)
            edges = np.linspace(-0.5, 0.5, 11)[1:-1]
            assert np.array_equal(cells, np.digitize(measured, edges))
            assert torch.allclose(decoded, raw, atol=1e-6)
        errors = (x - gan.generate(decoded)).double().numpy().reshape(600, -1)
        assert torch.allclose(taught.Read(gan)(x[:50]), decoded[:50], atol=1e-6)
        again = taught.qlae.Decode(gan)(decoded[:50])
        assert torch.allclose(again, gan.generate(decoded[:50]))
    root = np.sqrt((errors**2).mean(1))
    assert psnr == pytest.approx(np.mean(20 * np.log10(1 / root)), abs=1e-3)


def test_psnr_of_known_errors(taught, gan, rooms):
    """Off by 0.1 everywhere is 20 dB; by 0.1 in a quarter of the numbers is 6.02 dB better."""
    for share, expected in ((1, 20.0), (4, 20.0 + 20 * math.log10(2))):
        offset = torch.zeros(40, 768)
        offset[:, : 768 // share] = 0.1
        shown = rooms.floats(torch.arange(40)) + offset.view(40, 3, 16, 16)
        gan.generate = lambda z, shown=shown: shown
        assert taught.read_images(gan, rooms)[3] == pytest.approx(expected, abs=1e-3)


def test_distance_of_generated_images_to_a_set(taught, gan, rooms):
    x = rooms.floats(torch.arange(40))
    between = torch.cdist(x.flatten(1), x.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    nearest_two = between.fill_diagonal_(math.inf).min().item() / 768**0.5
    gan.generate = lambda z: x[torch.arange(len(z)) % 40]
    distances, images = taught.off_the_data(gan, rooms, 100)
    assert images.shape == (100, 3, 16, 16)
    assert distances.tolist() == pytest.approx([0] * 100, abs=1e-3)
    # Half the way to the nearest other room an image would have a neighbour to change to.
    steps = torch.linspace(0.1, 0.4, 40)[torch.randperm(40, generator=rng())] * nearest_two
    signs = torch.randint(2, x.shape, generator=rng()) * 2 - 1
    gan.generate = lambda z: x + signs * steps[:, None, None, None]
    distances, images = taught.off_the_data(gan, rooms, 40)
    assert torch.allclose(distances, steps.sort().values, atol=1e-4)
    order = steps.argsort()
    assert torch.equal(images, gan.generate(None)[order])


def test_dials_pick_the_values_of_the_axes(taught, size):
    torch.manual_seed(0)
    taught.best = uneven(taught.QuantizedInfoGAN(size, 3, -0.5, 0.5, 10))
    book = taught.best.decoder.codebook
    z = torch.stack([book[0, 7], book[1, 0], book[2, 9]])[None]
    shown = taught.dialled(z0=7, z1=0, z2=9)
    assert torch.equal(shown, taught.best.generate(z)[0])

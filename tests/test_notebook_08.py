"""What notebook 08 teaches, against brute force, SciPy, finite differences and readers by hand."""

import copy
import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers_08 import RIGHT, WRONG  # noqa: F401 (test_answers.py looks for them here)
from scipy import stats
from torch import nn

from dvae_lib import data, training, workbook

NOTEBOOK = "08_quantized_infogan"
CHANCE = 1e-3  # p-value below which draws are not those that they should be


@pytest.fixture(scope="module")
def taught():
    """The notebook's definitions, with those that it makes by an assignment."""
    module = workbook.definitions(NOTEBOOK)
    module.qlae = workbook.definitions("07_latent_quantization")
    module.run = SimpleNamespace(device=torch.device("cpu"))
    module.learning_rate, module.weight, module.gamma = 1e-3, 0.4, 0.1
    return module


SIDE = 16
KINDS = ("InfoGAN", "QuantizedInfoGAN", "LearnedGrid")


@pytest.fixture(scope="module")
def make(taught):
    """make(kind, n_axes): a gan with small networks for images of 16 x 16 pixels."""
    size = taught.Size((4, 8), (8, 8, 4), 16)
    return lambda kind, n_axes=3: getattr(taught, kind)(size, n_axes, SIDE, 1.5)


@pytest.fixture(scope="module")
def rooms(taught):
    """Forty rooms of 16 x 16 pixels."""
    return taught.draw_rooms(40, SIDE, 0, torch.device("cpu"))


@pytest.fixture(params=KINDS)
def gan(request, make):
    """A new one of three axes, of all methods in turn; values that can be learned are uneven."""
    torch.manual_seed(0)
    gan = make(request.param)
    if request.param == "LearnedGrid":
        with torch.no_grad():
            gan.book.add_(0.05 * torch.randn_like(gan.book))
    return gan


def is_quantized(gan):
    return hasattr(gan, "book")


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


# --- the trap ------------------------------------------------------------------------------------


def test_the_misfit_brings_all_values_together_and_the_softmax_moves_them_apart(taught):
    torch.manual_seed(1)
    together, apart = (taught.toy_path(f) for f in (taught.misfit_loss, taught.softmax_loss))
    assert together.shape == apart.shape == (1_200, 10)
    assert together[-1].abs().max() < 0.1
    assert apart[-1].max() - apart[-1].min() > 4


def test_the_toys_softmax_is_the_bound_of_section_1(taught):
    values, read = torch.linspace(-1, 1, 4), torch.randn(9, generator=rng())
    index = torch.arange(9) % 4
    q = taught.gaussian_reader(values, read, 1.0)
    expected = -q.log()[index, torch.arange(9)].mean()
    assert torch.allclose(taught.softmax_loss(read, values, index), expected)


# --- the lighter critic --------------------------------------------------------------------------


def test_logistic_losses_are_cross_entropies_that_do_not_saturate(taught):
    real, fake = torch.randn(2, 30, generator=rng(), dtype=torch.float64) * 3
    critic, generator = taught.logistic_losses(real, fake)
    by = F.binary_cross_entropy_with_logits
    expected = by(real, torch.ones_like(real)) + by(fake, torch.zeros_like(fake))
    assert critic.item() == pytest.approx(expected.item())
    assert generator.item() == pytest.approx(by(fake, torch.ones_like(fake)).item())


def test_the_best_logistic_critic_is_the_log_of_the_ratio(taught):
    """Ten places: p real, g generated; a critic with a number for each is trained to its best."""
    p, g = torch.rand(2, 10, generator=rng(), dtype=torch.float64).softmax(1)
    heights = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([heights], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = (g * F.softplus(heights) + p * F.softplus(-heights)).sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert torch.allclose(heights, (p / g).log(), atol=1e-4)


def test_flatness_of_a_quadratic_critic(taught):
    A = torch.randn(12, 12, generator=rng(), dtype=torch.float64)
    real = torch.randn(20, 3, 2, 2, generator=rng(1), dtype=torch.float64)

    def critic(x):
        return torch.einsum("bi,ij,bj->b", x.flatten(1), A, x.flatten(1))

    found = taught.flatness(critic, real)
    slopes = real.flatten(1).numpy() @ (A + A.T).numpy()
    assert found.item() == pytest.approx(np.mean((slopes**2).sum(1)))
    assert not real.requires_grad


# --- networks ------------------------------------------------------------------------------------


def test_our_critic_sees_brightness_and_the_authors_does_not(taught, make, rooms):
    x = rooms.floats(torch.arange(8))
    theirs = taught.qlae.Encoder(taught.qlae.Size((4, 8), (), 0, 16, 0, SIDE), 1)
    with torch.no_grad():
        assert torch.allclose(theirs(x), theirs(x / 3), atol=1e-3)
        ours = make("InfoGAN").critic
        assert all((a - b).abs().min() > 1e-5 for a, b in zip(ours(x), ours(x / 3), strict=True))


def test_an_image_grows_without_chequers(taught):
    """Inside an even picture the four pixels that come of one are alike, whatever the weights."""
    torch.manual_seed(0)
    block = taught.Block(5, 7, 6)
    with torch.no_grad():
        grown = block.conv(F.interpolate(torch.ones(1, 5, 6, 6), scale_factor=2))
        inside = grown[:, :, 2:-2, 2:-2]
        assert torch.allclose(inside, inside[:, :, :1, :1].expand_as(inside), atol=1e-5)
        h, w = torch.randn(3, 5, 4, 4), torch.randn(3, 6)
        out, (scale, shift) = block(h, w), block.style(w).chunk(2, 1)
    assert out.shape == (3, 7, 8, 8)
    assert torch.allclose(out.mean((2, 3)), shift, atol=1e-4)
    assert torch.allclose(out.std((2, 3), correction=0), scale.abs(), atol=1e-2)


def test_generated_images_lie_between_0_and_1(gan):
    images = gan.generator(10 * gan.draw(7))
    assert images.shape == (7, 3, SIDE, SIDE)
    assert 0 <= images.min() < images.max() <= 1


@pytest.mark.parametrize("front", [True, False])
def test_rooms_from_the_front_or_from_all_sides(taught, front):
    found = taught.draw_rooms(300, 32, 0, torch.device("cpu"), front)
    sizes = (10, 10, 10, 8, 4, 15)[: 5 if front else 6]
    assert found.factor_sizes == sizes
    assert found.factors.amax(0).tolist() == [size - 1 for size in sizes]
    assert len(found.factors.unique(dim=0)) == 300
    middle = torch.full((20, 1), 7)  # orientation 0
    factors = torch.cat([found.factors[:20, :5], middle if front else found.factors[:20, 5:]], 1)
    large = data.load("rooms", n=1).render(factors)
    small = large.float().view(20, 3, 32, 2, 32, 2).mean((3, 5)).round()
    assert torch.equal(found.images[:20].float(), small)
    batch = found.fresh(50)[3]
    assert batch.images.shape == (50, 3, 32, 32)
    assert batch.factors.shape == (50, len(sizes))


# --- draws, and the code read --------------------------------------------------------------------


def test_plain_codes_are_uniform(make):
    torch.manual_seed(0)
    z = make("InfoGAN").draw(4_000).numpy()
    assert z.shape == (4_000, 3)
    for axis in z.T:
        assert stats.kstest(axis, "uniform", (-1.5, 3.0)).pvalue > CHANCE
    assert stats.pearsonr(z[:, 0], z[:, 1]).pvalue > CHANCE


@pytest.mark.parametrize("kind", KINDS[1:])
def test_quantized_codes_are_even_over_the_values(taught, make, kind):
    torch.manual_seed(0)
    gan = make(kind)
    assert np.allclose(gan.book.detach(), [np.linspace(-1.5, 1.5, 10)] * 3)
    z = gan.draw(5_000)
    hits = z[:, :, None] == gan.book
    assert (hits.sum(2) == 1).all()
    for counts in hits.sum(0):
        assert stats.chisquare(counts).pvalue > CHANCE
    index = hits.long().argmax(2)
    pairs = taught.qlae.joint_table(index[:, 0], index[:, 1]) * 5_000
    assert stats.chi2_contingency(pairs.numpy()).pvalue > CHANCE
    assert z.requires_grad == (kind == "LearnedGrid")
    if z.requires_grad:  # the values get gradients from what was drawn
        z.sum().backward()
        assert torch.equal(gan.generator.codebook.grad, hits.sum(0).float())


def test_cells_and_values_of_an_axis(gan):
    z = torch.linspace(-2, 2, 300)[:, None].repeat(1, 3)
    rows = z.double().numpy()
    if is_quantized(gan):
        book = gan.book.detach().double().numpy()
        expected = np.abs(rows[:, :, None] - book).argmin(2)
        decoded = book[range(3), expected]
    else:
        expected = np.digitize(rows, np.linspace(-1.5, 1.5, 11)[1:-1])
        decoded = np.clip(rows, -1.5, 1.5)
    assert np.array_equal(gan.cells(z), expected)
    assert np.allclose(gan.code(z).detach(), decoded, atol=1e-6)
    cells = torch.arange(10)[:, None].repeat(1, 3)
    assert torch.equal(gan.cells(gan.values(cells)), cells)


def test_nats_of_a_plain_code_are_minus_the_log_density(make):
    gan, (z, read) = make("InfoGAN"), torch.randn(2, 20, 3, generator=rng())
    log_q = stats.norm(read.numpy(), 3.0 / 9).logpdf(z.numpy()).sum(1)
    assert gan.nats(z, read).item() == pytest.approx(-log_q.mean(), rel=1e-5)


def test_nats_of_a_quantized_code_are_minus_the_log_of_section_1s_reader(taught, make):
    torch.manual_seed(0)
    gan = make("QuantizedInfoGAN")
    z, read = gan.draw(20), torch.randn(20, 3)
    total = 0.0
    for j in range(3):
        q = taught.gaussian_reader(gan.book[j].double(), read[:, j].double(), 3.0 / 9)
        total -= q.log()[gan.cells(z)[:, j], torch.arange(20)].mean().item()
    assert gan.nats(z, read).item() == pytest.approx(total, rel=1e-5)
    # Equal values are the worst that a reader without knowledge does, ln 10 an axis.
    gan.grid.zero_()
    assert gan.nats(z, read).item() == pytest.approx(3 * math.log(10), rel=1e-5)


def test_the_learned_grids_misfit(taught, make):
    torch.manual_seed(0)
    gan = make("LearnedGrid")
    book, z = gan.book, gan.draw(40)
    read = torch.randn(40, 3, requires_grad=True)
    rows, values = read.detach().double().numpy(), book.detach().double().numpy()
    nearest = values[range(3), np.abs(rows[:, :, None] - values).argmin(2)]
    misfit = ((nearest - z.detach().numpy()) ** 2).sum(1).mean() / (2 * (3.0 / 9) ** 2)
    further = 0.02 * np.mean((rows - nearest) ** 2)
    assert gan.nats(z, read).item() == pytest.approx(misfit + further, rel=1e-4)
    with torch.no_grad():
        gan.book.zero_()  # nothing is told, and the misfit is at its smallest
    assert gan.nats(gan.draw(40), torch.zeros(40, 3)).item() == 0


# --- two players ---------------------------------------------------------------------------------


@pytest.mark.parametrize("losses", ["logistic_losses", "wasserstein_losses"])
def test_the_losses_are_the_sums_of_their_parts(taught, gan, rooms, losses):
    batch, losses = rooms.batches(16)[0], getattr(taught, losses)
    torch.manual_seed(3)
    critics = taught.critic_player_loss(gan, losses, 0.7, batch)
    torch.manual_seed(3)
    z = gan.draw(16)
    fake = gan.generator(z)
    (d_fake, read), (d_real, _) = gan.critic(fake), gan.critic(batch.images)
    nats, (hers, his) = gan.nats(z, read).item(), losses(d_real, d_fake)
    expected = hers.item() + 0.7 * nats
    if losses is taught.wasserstein_losses:
        expected += (
            10 * taught.gradient_penalty(lambda x: gan.critic(x)[0], batch.images, fake).item()
        )
    assert critics["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert critics["gap"].item() == pytest.approx((d_real.mean() - d_fake.mean()).item(), abs=1e-6)
    torch.manual_seed(3)
    generators = taught.generator_player_loss(gan, losses, 0.7, batch)
    assert generators["nats"].item() == pytest.approx(nats, rel=1e-5)
    assert generators["loss"].item() == pytest.approx(his.item() + 0.7 * nats, rel=1e-5)
    made = gan.fakes(16)  # what the generator has just made is for the critic, once
    assert torch.equal(made[1], fake)
    assert not made[1].requires_grad
    assert not torch.equal(gan.fakes(16)[1], fake)


def one_move(player, batch):
    """As training.train moves a player."""
    loss = player.loss(batch)["loss"]
    player.optimizer.zero_grad(set_to_none=True)
    loss.backward(inputs=player.parameters)
    player.optimizer.step()


def test_a_player_moves_its_own_numbers_alone(taught, gan, rooms):
    generators, critics, flat = taught.light_players(gan, 100)
    assert flat.optimizer is critics.optimizer
    batch, before = rooms.batches(16)[0], copies(gan)
    one_move(critics, batch)
    assert moved(gan, before) == {name for name in before if name.startswith("critic.")}
    before = copies(gan)
    one_move(generators, batch)
    hit = moved(gan, before)
    assert hit <= {name for name in before if name.startswith("generator.")}
    assert "generator.constant" in hit
    assert ("generator.codebook" in hit) == (type(gan).__name__ == "LearnedGrid")


@pytest.mark.parametrize(
    ("players", "expected"),
    [("light_players", "gcfgcgc"), ("wasserstein_players", "gcccccgc")],
)
def test_who_moves_when(taught, make, rooms, players, expected):
    gan = make("InfoGAN")
    players = getattr(taught, players)(gan, 100)
    letters = {2: "gc", 3: "gcf"}[len(players)]
    moves = []
    for name, player in zip(letters, players, strict=True):
        player.loss = lambda batch, f=player.loss, name=name: moves.append(name) or f(batch)
    training.train(gan, players, rooms.fresh(8, 0), 3 if len(players) == 3 else 6)
    assert "".join(moves) == expected


def test_the_average_follows(taught):
    net = nn.Linear(2, 2)
    average = copy.deepcopy(net)
    before = average.weight.detach().clone()
    with torch.no_grad():
        net.weight += 1
    taught.follow(average, net, 0.9)
    assert torch.allclose(average.weight, before + 0.1)


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
    gan.generator, gan.critic = Images(change), Images(change)
    gan.draw = partial(drawn_evenly, gan)
    gan.generator.forward = lambda z: z
    return gan


def drawn_evenly(gan, n):
    return gan.values(torch.randint(10, (n, 3)))


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize(
    ("change", "nats"),
    [
        (lambda z: z, math.log(10)),
        (lambda z: -z, math.log(10)),
        (lambda z: z.sign(), math.log(2)),
        (lambda z: 0 * z + 0.1, 0),
        (lambda z: 3 * torch.rand_like(z) - 1.5, 0),
    ],
)
def test_nats_that_a_known_reader_recovers(taught, make, kind, change, nats):
    torch.manual_seed(0)
    found = taught.recovered(shows_its_code(make(kind), change))
    # Counts of independent columns show (10 - 1)^2 / (2 * 10000) = 0.004 nats by chance.
    assert found.tolist() == pytest.approx([nats] * 3, abs=0.02)


def test_nats_are_those_of_each_axis(taught, make):
    def first_alone(z):
        return torch.stack([z[:, 0], 3 * torch.rand(len(z)) - 1.5, z[:, 0]], 1)

    torch.manual_seed(0)
    found = taught.recovered(shows_its_code(make("InfoGAN"), first_alone))
    assert found.tolist() == pytest.approx([math.log(10), 0, 0], abs=0.02)


# --- reading real images -------------------------------------------------------------------------


def test_codes_and_psnr_of_a_set(taught, gan, rooms):
    """600 images: more than are read at once."""
    many = rooms.subset(torch.arange(600) % 40)
    decoded, cells = taught.read_images(gan, many)
    with torch.no_grad():
        x = many.floats(torch.arange(600))
        read = gan.critic(x)[1]
        assert torch.equal(cells, gan.cells(gan.code(read)))
        assert torch.allclose(decoded, gan.code(read), atol=1e-6)
        errors = (x - gan.generator(decoded)).double().numpy().reshape(600, -1)
        assert torch.allclose(taught.Read(gan)(x[:50]), decoded[:50], atol=1e-6)
    root = np.sqrt((errors**2).mean(1))
    assert taught.psnr_of(gan, many) == pytest.approx(np.mean(-20 * np.log10(root)), abs=1e-3)


def test_infom_of_codes_that_tell_nothing(taught):
    factors = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    assert taught.infom(torch.full((12, 2), 5), factors) == 0
    assert taught.infom(factors, factors) == pytest.approx(1)


def test_distance_of_images_to_a_set(taught, rooms):
    x = rooms.floats(torch.arange(40))
    between = torch.cdist(x.flatten(1), x.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    nearest_two = between.fill_diagonal_(math.inf).min().item() / 768**0.5
    assert taught.off_the_rooms(x, rooms).tolist() == pytest.approx([0] * 40, abs=1e-3)
    # Half the way to the nearest other room an image would have a neighbour to change to.
    steps = torch.linspace(0.1, 0.4, 40)[torch.randperm(40, generator=rng())] * nearest_two
    signs = torch.randint(2, x.shape, generator=rng()) * 2 - 1
    moved = x + signs * steps[:, None, None, None]
    assert torch.allclose(taught.off_the_rooms(moved, rooms), steps, atol=1e-3)


def test_dials_pick_the_values_of_the_axes(taught, gan):
    cells = torch.tensor([[7, 0, 9], [1, 2, 3]])
    shown = taught.dialled(gan, cells)
    assert torch.equal(shown, gan.generator(gan.values(cells)))
    if is_quantized(gan):
        z = torch.stack([gan.book[0, 7], gan.book[1, 0], gan.book[2, 9]])[None]
        assert torch.allclose(shown[:1], gan.generator(z), atol=1e-5)

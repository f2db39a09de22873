"""What notebook 04 teaches, against SciPy, scikit-learn, closed forms and readers made by hand."""

import colorsys
import copy
import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers_04 import REJECTED, RIGHT, WRONG  # noqa: F401 (test_answers.py looks for them here)
from exercises import assert_rejected
from scipy import ndimage, stats
from scipy.integrate import quad
from sklearn.metrics import r2_score
from sklearn.naive_bayes import GaussianNB
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal

from dvae_lib import data, objectives, training, workbook

NOTEBOOK = "04_label_relevant_vae"
EACH = partial(F.cross_entropy, reduction="none")
TINY = {"channels": (8, 8, 8), "hidden": 32}


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The notebook's definitions, with the few numbers that its functions take from its cells."""
    module = workbook.definitions(NOTEBOOK)
    module.seed = 0
    folder = tmp_path_factory.mktemp("run")
    module.run = SimpleNamespace(device=torch.device("cpu"), folder=folder)
    return module


@pytest.fixture(scope="module")
def images():
    """The thousand test digits in colours."""
    return data.load("digits", split="test", coloured=True)


@pytest.fixture(scope="module")
def mixture():
    """Codes (200, 3), labels, means and precisions of four classes, float64."""
    rng = np.random.default_rng(0)
    z, mean = 2 * rng.standard_normal((200, 3)), rng.standard_normal((4, 3))
    labels, precision = rng.integers(0, 4, 200), rng.uniform(0.2, 4, (4, 3))
    return [torch.as_tensor(part) for part in (z, labels, mean, precision)]


# --- information and losses ----------------------------------------------------------------------


def test_information_of_known_mixtures(taught):
    same = taught.mixture_information(torch.ones(5).double(), torch.full((5,), 0.3).double())
    assert float(same) == pytest.approx(0, abs=1e-9)
    for K in (2, 3, 7):
        far = taught.mixture_information(40 * torch.arange(K).double(), torch.ones(K).double())
        assert float(far) == pytest.approx(math.log(K), abs=1e-9)


def test_information_of_unequal_variances_agrees_with_scipy(taught):
    means, variances = [-1.0, 0.2, 2.5], [0.3, 2.0, 0.05]
    laws = [stats.norm(m, math.sqrt(v)) for m, v in zip(means, variances, strict=True)]

    def term(law):
        """KL(p(z | c) || p(z))"""

        def integrand(z):
            whole = np.mean([other.pdf(z) for other in laws])
            return law.pdf(z) * (law.logpdf(z) - math.log(whole))

        centre, width = law.mean(), 8 * law.std()
        return quad(integrand, centre - width, centre + width, limit=400)[0]

    expected = np.mean([term(law) for law in laws])
    found = taught.mixture_information(*torch.tensor([means, variances], dtype=torch.float64))
    assert float(found) == pytest.approx(expected, abs=1e-7)


def test_the_common_prior_costs_at_least_the_information(taught):
    """Whatever the two classes are: E KL(N(m_c, v_c) || N(0, 1)) >= I(z; c)."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        mean = 2 * torch.randn(2, generator=generator, dtype=torch.float64)
        variance = 0.05 + torch.rand(2, generator=generator, dtype=torch.float64)
        price = objectives.kl_standard_normal(mean[:, None], variance[:, None].log()).mean()
        assert price >= taught.mixture_information(mean, variance)


def test_half_squared_distances_are_those_of_mahalanobis(taught, mixture):
    z, _, mean, precision = mixture
    d = taught.half_squared_distances(z, mean, precision)
    tables = zip(mean, precision, strict=True)
    laws = [stats.multivariate_normal(m, np.diag(1 / p)) for m, p in tables]
    expected = np.stack([law.logpdf(law.mean) - law.logpdf(z) for law in laws], 1)
    assert np.allclose(d, expected, atol=1e-10)


def test_classification_loss_is_that_of_scikit_learns_bayes(taught, mixture):
    z, labels, mean, precision = mixture
    bayes = GaussianNB()
    bayes.classes_, bayes.class_prior_ = np.arange(4), np.full(4, 0.25)
    bayes.theta_, bayes.var_ = mean.numpy(), 1 / precision.numpy()
    expected = -bayes.predict_log_proba(z.numpy())[range(200), labels]
    assert np.allclose(taught.classification_loss(z, labels, mean, precision), expected, atol=1e-9)


def test_a_margin_counts_the_true_distance_more(taught, mixture):
    z, labels, mean, precision = mixture
    margins = (0.0, 0.1, 1.0, 5.0)
    values = [taught.classification_loss(*mixture, margin) for margin in margins]
    for less, more in zip(values, values[1:], strict=False):
        assert (more >= less).all()
    log_det, d = precision.log().sum(1).numpy(), taught.half_squared_distances(z, mean, precision)
    for margin, value in zip(margins, values, strict=True):
        for row in range(0, 200, 40):  # as a student would with a pocket calculator
            y, own = int(labels[row]), d[row].clone()
            own[y] *= 1 + margin
            terms = [math.exp(0.5 * log_det[c] - own[c]) for c in range(4)]
            expected = -math.log(terms[y] / sum(terms))
            assert float(value[row]) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_likelihood_loss_is_scipys_density_without_its_constant(taught, mixture):
    z, labels, mean, precision = mixture
    found = taught.likelihood_loss(*mixture) + 1.5 * math.log(2 * math.pi)
    for row in range(0, 200, 10):
        y = labels[row]
        law = stats.multivariate_normal(mean[y], np.diag(1 / precision[y]))
        assert float(found[row]) == pytest.approx(-law.logpdf(z[row]))


def test_likelihood_loss_is_least_at_the_moments_of_the_codes(taught):
    """The best mean and precision are the codes' own: no direction lowers the loss."""
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
    labels = torch.zeros(500, dtype=torch.int64)
    best = z.mean(0, keepdim=True), 1 / z.var(0, correction=0, keepdim=True)
    tables = [table.clone().requires_grad_() for table in best]
    taught.likelihood_loss(z, labels, *tables).mean().backward()
    assert all(table.grad.abs().max() < 1e-10 for table in tables)


def test_the_bound_is_never_above_the_information(taught):
    """Random mixtures on a line, the true guess and wrong ones, within the error of the draws."""
    generator = torch.Generator().manual_seed(0)
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    n = 20_000
    for K in (2, 3, 6):
        for _ in range(3):
            mean, variance = 2 * normal(K), (0.7 * normal(K)).exp()
            exact = float(taught.mixture_information(mean, variance))
            labels = torch.arange(n) % K
            z = mean[labels] + variance[labels].sqrt() * normal(n)
            for off in (0.0, 0.3, 1.0):
                guess = (mean + off * normal(K))[:, None], (off * normal(K)).exp()[:, None]
                loss = taught.classification_loss(
                    z[:, None], labels, guess[0], guess[1] / variance[:, None]
                )
                bound, error = math.log(K) - float(loss.mean()), float(loss.std()) / math.sqrt(n)
                assert bound < exact + 4.5 * error
                assert off or bound > exact - 4.5 * error  # tight at the truth


def test_class_gaussians_start_with_precision_one_and_stay_positive(taught):
    gaussians = taught.ClassGaussians(10, 7)
    assert gaussians.mean.shape == gaussians.precision.shape == (10, 7)
    assert torch.allclose(gaussians.precision, torch.ones(10, 7), atol=2e-3)
    with torch.no_grad():
        gaussians.free.fill_(-30)
    assert gaussians.precision.min() > 0


# --- the adversary -------------------------------------------------------------------------------


def test_uniform_targets_meet_and_a_reversed_gradient_swings(taught):
    meets, swings = taught.play(True)[:, 1], taught.play(False)[:, 1]
    assert (meets.diff() <= 0).all()
    assert 0 < meets[-1] < 0.1
    assert swings.min() < -0.5
    assert (swings[1:].sign() != swings[:-1].sign()).sum() >= 3
    for uniform in (True, False):  # the game is symmetric, so the two means mirror each other
        assert taught.play(uniform, steps=50).sum(1).abs().max() < 1e-9


def test_adversarial_losses_are_cross_entropies(taught):
    generator = torch.Generator().manual_seed(0)
    for K in (2, 10):
        logits = 4 * torch.randn(50, K, generator=generator, dtype=torch.float64)
        labels = torch.randint(K, (50,), generator=generator)
        p = torch.softmax(logits, 1).numpy()
        for_c, for_e = taught.adversarial_losses(logits, labels)
        assert float(for_c) == pytest.approx(-np.log(p[range(50), labels]).mean())
        uniform = np.full((50, K), 1 / K)
        expected = (stats.entropy(uniform, p, axis=1) + stats.entropy(uniform, axis=1)).mean()
        assert float(for_e) == pytest.approx(expected)
        assert for_e >= math.log(K)


# --- who is moved by what ------------------------------------------------------------------------


@pytest.fixture
def tiny(taught, images):
    """A small network and discriminator, in training mode, and the first batch."""
    torch.manual_seed(0)
    vae = taught.LabelRelevantVAE((3, 32, 32), 10, 4, 5, **TINY)
    discriminator = taught.Discriminator((3, 32, 32), 10, (8, 8, 8), 16)
    return vae, discriminator, images.batches(16)


def reached(loss, **modules):
    """Children of `modules`, as "module.child", for which a loss has a gradient other than 0."""
    named = [
        (f"{kind}.{name.split('.')[0]}", p)
        for kind, module in modules.items()
        for name, p in module.named_parameters()
    ]
    found = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    pairs = zip(named, found, strict=True)
    return {name for (name, _), g in pairs if g is not None and g.abs().max() > 1e-9}


def gradient_sizes(loss, model):
    """For each child of a model the sum of its absolute gradients."""
    sizes = {}
    params = dict(model.named_parameters())
    found = torch.autograd.grad(loss, params.values(), allow_unused=True, materialize_grads=True)
    for name, gradient in zip(params, found, strict=True):
        child = name.split(".")[0]
        sizes[child] = sizes.get(child, 0) + gradient.abs().sum().item()
    return sizes


def moved(model, player, batches):
    """Names of the children of `model` whose weights one step of the player changes, in any bit."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    training.train(model, player, batches, 1)
    after = dict(model.named_parameters())
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_what_each_loss_reaches(taught, tiny):
    vae, _, batches = tiny
    weights, batch = taught.Weights(), batches[0]
    loss = taught.label_player_loss(vae, weights, batch)["loss"]
    assert reached(loss, vae=vae) == {"vae.encoder_s", "vae.gaussians"}
    loss = taught.classifier_player_loss(vae, batch)["loss"]
    assert reached(loss, vae=vae) == {"vae.classifier"}
    # The third looks through C and the class Gaussians, so it is the player that must hold back.
    loss = taught.autoencoder_player_loss(vae, weights, batch)["loss"]
    assert reached(loss, vae=vae) == {f"vae.{name}" for name, _ in vae.named_children()}


def test_what_each_term_of_the_autoencoder_player_reaches(taught, tiny):
    """The reconstruction all three, L_E the encoder of z_u, the pull the encoder of z_s."""
    vae, _, batches = tiny
    blind = taught.Weights(beta=0.0, adversary=0.0, pull=0.0)
    only = {
        "beta": {"vae.encoder_u"},
        "adversary": {"vae.encoder_u", "vae.classifier"},
        "pull": {"vae.encoder_s", "vae.gaussians"},
    }
    loss = taught.autoencoder_player_loss(vae, blind, batches[0])["loss"]
    assert reached(loss, vae=vae) == {"vae.encoder_s", "vae.encoder_u", "vae.decoder"}
    for name, expected in only.items():
        parts = []
        for weights in (taught.replace(blind, **{name: 1.0}), blind):
            torch.manual_seed(0)  # the same noise, so that the reconstructions cancel
            parts.append(taught.autoencoder_player_loss(vae, weights, batches[0])["loss"])
        more, less = (gradient_sizes(part, vae) for part in parts)
        assert {f"vae.{k}" for k in more if abs(more[k] - less[k]) > 1e-6 * more[k]} == expected


def test_a_step_of_each_player_moves_its_own_alone(taught, tiny):
    vae, _, batches = tiny
    weights = taught.Weights(noise=0.4)
    encoders = vae.encoder_s, vae.encoder_u
    autoencoder = taught.autoencoder_player(vae, weights, 10, *encoders)
    assert moved(vae, taught.mixture_player(vae, weights, 10), batches) == {
        "encoder_s",
        "gaussians",
    }
    assert moved(vae, taught.classifier_player(vae), batches) == {"classifier"}
    assert moved(vae, autoencoder, batches) == {"encoder_s", "encoder_u", "decoder"}
    of_u = taught.autoencoder_player(vae, weights, 10, vae.encoder_u)
    assert moved(vae, of_u, batches) == {"encoder_u", "decoder"}


def test_a_player_holds_its_own_parameters_alone(taught, tiny):
    """Not only are the others not moved: they are not in the optimiser. Encoders alone decay."""
    vae, _, _ = tiny
    names = {p: name.split(".")[0] for name, p in vae.named_parameters()}
    players = [
        taught.mixture_player(vae, taught.Weights(), 10),
        taught.classifier_player(vae),
        taught.autoencoder_player(vae, taught.Weights(), 10, vae.encoder_u),
    ]
    owned = [{names[p] for p in player.parameters} for player in players]
    assert owned == [{"encoder_s", "gaussians"}, {"classifier"}, {"encoder_u", "decoder"}]
    mixture, _, autoencoder = players
    assert [player.every for player in players] == [1, 1, 1]
    for group in mixture.optimizer.param_groups + autoencoder.optimizer.param_groups:
        assert group["betas"][0] == 0
        precisions = any(p is vae.gaussians.free for p in group["params"])
        assert group["lr"] == (0.05 if precisions else taught.Weights().rate)
        encodes = any(names[p].startswith("encoder") for p in group["params"])
        assert group["weight_decay"] == (taught.Weights().decay if encodes else 0)


def test_steps_fall_over_the_last_half(taught, tiny):
    """Of all groups of a player, those of the precisions too, and never below 0."""
    vae, _, batches = tiny
    player = taught.mixture_player(vae, taught.Weights(), 8)
    rates = []
    for _ in range(8):
        rates.append([group["lr"] for group in player.optimizer.param_groups])
        training.train(vae, player, batches, 1)
    shares = np.array(rates) / rates[0]
    assert np.allclose(shares[:, 0], [1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    assert np.allclose(shares[:, 1], shares[:, 0])
    assert player.optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_the_players_of_the_baselines(taught, images):
    """The label's Gaussians of no mixture are a layer; the CVAE has an adversary, no mixture."""
    torch.manual_seed(0)
    batches, weights = images.batches(16), taught.Weights(noise=0.4, pull=0)
    one = taught.OneGaussianVAE((3, 32, 32), 10, 4, 5, **TINY)
    assert moved(one, taught.mixture_player(one, weights, 10), batches) == {
        "encoder_s",
        "gaussians",
    }
    cvae = taught.ConditionalVAE((3, 32, 32), 10, 5, **TINY)
    player = taught.autoencoder_player(cvae, weights, 10, cvae.encoder_u)
    assert moved(cvae, player, batches) == {"encoder_u", "decoder"}
    assert moved(cvae, taught.classifier_player(cvae), batches) == {"classifier"}
    before = {name: p.detach().clone() for name, p in cvae.named_parameters()}
    taught.fit(cvae, weights, batches, 2, "cvae")
    after = dict(cvae.named_parameters())
    changed = {n.split(".")[0] for n in before if not torch.equal(before[n], after[n])}
    assert changed == {"encoder_u", "decoder", "classifier"}


def test_a_blur_is_a_share_of_the_class_gaussian(taught, tiny):
    vae, _, _ = tiny
    with torch.no_grad():
        vae.gaussians.free.copy_(torch.randn(10, 4, generator=torch.Generator().manual_seed(1)))
    labels = torch.arange(10).repeat(2_000)
    z = torch.randn(20_000, 4)
    assert torch.equal(vae.blur(z, labels, 0.0), z)
    unit = (vae.blur(z, labels, 0.4) - z).detach() * vae.gaussians.precision[labels].sqrt() / 0.4
    for axis in unit.detach().T:
        assert stats.kstest(axis, stats.norm.cdf).pvalue > 1e-4
    assert (torch.cov(unit.detach().T) - torch.eye(4)).abs().max() < 0.05
    assert not vae.spread(labels).requires_grad


def test_the_discriminator_and_the_decoder_move_themselves_alone(taught, tiny):
    vae, discriminator, batches = tiny
    both = torch.nn.ModuleDict({"vae": vae, "discriminator": discriminator})
    modules, weights = {"vae": vae, "D": discriminator}, taught.Weights(noise=0.4)
    prior = MultivariateNormal(torch.zeros(5), torch.eye(5))
    given = vae, discriminator, prior, weights
    loss = taught.discriminator_loss(*given, batches[0])["loss"]
    assert reached(loss, **modules) == {"D.features", "D.real", "D.classes"}
    loss = taught.decoder_loss(*given, batches[0])
    # Through the codes nothing goes back: false_codes are draws without a gradient.
    assert reached(loss["loss"], **modules) == {"vae.decoder", "D.features", "D.real", "D.classes"}
    total = loss["error"] / (2 * weights.sigma**2) + 30 * loss["l_g"]
    assert loss["loss"].item() == pytest.approx(total.item())
    alone = taught.decoder_loss(vae, None, prior, weights, batches[0])
    assert alone["loss"].item() == pytest.approx(alone["error"].item() / (2 * weights.sigma**2))

    torch.manual_seed(1)
    vae.eval()
    discriminator.eval()
    l_g = taught.decoder_loss(*given, batches[0])["l_g"]
    torch.manual_seed(1)
    with torch.no_grad():
        own, (z_s, z_u, drawn) = taught.false_codes(vae, prior, weights.noise, batches[0])
        scores = discriminator(vae.decode(*own), batches[0].factors[:, 0])
        sampled = discriminator(vae.decode(z_s, z_u), drawn)
    assert l_g.item() == pytest.approx(-(scores.mean() + sampled.mean()).item(), rel=1e-4)

    against = partial(taught.discriminator_loss, *given)
    player = training.Player(against, taught.adam(discriminator.parameters()))
    assert moved(both, player, batches) == {"discriminator"}


def test_the_decoder_goes_on_alone(taught, tiny):
    """With a discriminator and without: a copy, whose codes stay what they are, to the bit."""
    vae, discriminator, batches = tiny
    vae.eval()
    prior = MultivariateNormal(torch.zeros(5), torch.eye(5))
    x = batches[0].images
    kept = copy.deepcopy(vae.state_dict())
    for name, critic in (("with D", discriminator), ("without", None)):
        gone_on, history = taught.fit_decoder(
            name, vae, prior, taught.Weights(noise=0.4), batches, 2, critic
        )
        assert history.steps[-1] == 2
        now = gone_on.state_dict()
        changed = {key.split(".")[0] for key in kept if not torch.equal(kept[key], now[key])}
        assert changed == {"decoder"}
        assert not gone_on.decoder.training
        assert torch.equal(gone_on.encoder_s(x), vae.encoder_s(x))
    assert all(torch.equal(kept[key], value) for key, value in vae.state_dict().items())


def test_false_codes_are_draws_without_a_gradient(taught, tiny):
    """z_u of the images spreads as their posterior says, z_s of the samples as their class does."""
    vae, _, batches = tiny
    vae.eval()
    batch = batches[0]
    with torch.no_grad():
        vae.gaussians.mean.copy_(10 * torch.arange(10)[:, None].expand(-1, 4))
        mean, log_var = vae.posterior_u(batch.images)
    prior = MultivariateNormal(torch.arange(5.0), 0.25 * torch.eye(5))
    torch.manual_seed(0)
    found = [taught.false_codes(vae, prior, 0.0, batch) for _ in range(200)]
    own, sampled = (
        [torch.stack(part) for part in zip(*k, strict=True)] for k in zip(*found, strict=True)
    )
    assert torch.equal(own[0][0], vae.encoder_s(batch.images))
    unit = (own[1] - mean) / (0.5 * log_var).exp()
    assert abs(unit.mean()) < 0.05
    assert unit.std().item() == pytest.approx(1, abs=0.05)
    z_s, z_u, drawn = sampled
    assert (z_s - 10 * drawn[..., None]).abs().max() < 6
    assert (z_u - torch.arange(5.0)).std().item() == pytest.approx(0.5, abs=0.03)
    assert (drawn.flatten().bincount(minlength=10) / drawn.numel() - 0.1).abs().max() < 0.03
    assert not any(part.requires_grad for part in (*own, *sampled))
    blurred = taught.false_codes(vae, prior, 0.4, batch)[0][0]
    assert not torch.equal(blurred, own[0][0])


def test_the_autoencoder_player_minimises_its_terms(taught, tiny):
    vae, _, batches = tiny
    batch, weights = batches[0], taught.Weights()
    vae.eval()
    torch.manual_seed(1)
    found = taught.autoencoder_player_loss(vae, weights, batch)
    torch.manual_seed(1)
    with torch.no_grad():
        x, y = batch.images, batch.factors[:, 0]
        mean, log_var = vae.encoder_u(x).chunk(2, 1)
        q = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
        z_u, z_s = q.rsample(), vae.encoder_s(x)
        error = F.mse_loss(vae.decode(z_s, z_u), x, reduction="sum") / 16
        prior = Independent(Normal(torch.zeros_like(mean), 1.0), 1)
        kl = torch.distributions.kl_divergence(q, prior).mean()
        l_e = -F.log_softmax(vae.classifier(z_u), 1).mean()
        _, lkd = vae.label_losses(z_s, y)
    expected = error / (2 * 0.25) + kl + weights.adversary * l_e + weights.pull * lkd
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


# --- the discriminator ---------------------------------------------------------------------------


def test_the_hinge_loss_by_hand(taught):
    real, made, drawn = map(torch.tensor, ([0.5, 3.0], [-2.0, 0.5], [-0.25, 1.0]))
    # [1 - 0.5, 0] / 2, [0, 1.5] / 2 and [0.75, 2] / 2
    assert taught.hinge_loss(real, made, drawn).item() == pytest.approx(0.25 + 0.75 + 1.375)
    assert taught.hinge_loss(real, made).item() == pytest.approx(0.25 + 0.75)
    assert taught.hinge_loss(*torch.tensor([[1.5], [-1.5], [-9.0]])).item() == 0


@pytest.fixture(scope="module")
def trained_discriminator(taught, images):
    """Thirty steps away from where it started, so that its weights have grown."""
    torch.manual_seed(0)
    discriminator = taught.Discriminator((3, 32, 32), 10, (8, 8, 8), 16)
    generator = torch.Generator().manual_seed(0)

    def loss(batch):
        noise = torch.rand(batch.images.shape, generator=generator)
        y = batch.factors[:, 0]
        scores = (discriminator(x, y) for x in (batch.images, noise, noise.flip(0)))
        return {"loss": taught.hinge_loss(*scores)}

    player = training.Player(loss, taught.adam(discriminator.parameters(), 2e-3))
    history = training.train(discriminator, player, images.batches(16), 30)
    assert history.scalars["loss"][-1] < 3
    return discriminator


def test_no_layer_stretches_more_than_once(trained_discriminator):
    layers = [m for m in trained_discriminator.modules() if hasattr(m, "parametrizations")]
    assert len(layers) == 6
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert 0.9 < largest < 1.05


def test_the_score_is_no_steeper_than_its_layers(trained_discriminator, images):
    """A 4x4 convolution of stride 2 sees a pixel four times, so it stretches at most sqrt(4)."""
    bound = 2**3 * (1 + 1) * 1.05**5
    x, y = images.floats(range(64)), images.factors[:64, 0]
    score = partial(trained_discriminator, labels=y)
    distance = (x - x.flip(0)).flatten(1).norm(dim=1)
    with torch.no_grad():
        assert ((score(x) - score(x.flip(0))).abs() <= bound * distance).all()
    x = x.requires_grad_()
    (slope,) = torch.autograd.grad(score(x).sum(), x)
    assert 0 < slope.flatten(1).norm(dim=1).max() < bound


def test_classes_enter_the_score_as_an_inner_product(trained_discriminator, images):
    x = images.floats(range(32))
    with torch.no_grad():
        h, e = trained_discriminator.features(x), trained_discriminator.classes.weight
        scores = [trained_discriminator(x, torch.full((32,), c)) for c in range(10)]
        for c in range(1, 10):
            assert torch.allclose(scores[c] - scores[0], h @ (e[c] - e[0]), atol=1e-5)
        plain = trained_discriminator.real(h)[:, 0]
    assert torch.allclose(torch.stack(scores).mean(0), plain + h @ e.mean(0), atol=1e-5)


# --- draws and baselines -------------------------------------------------------------------------


def test_drawn_codes_follow_their_class(taught):
    torch.manual_seed(0)
    mean = torch.tensor([[0.0, 5.0, -1.0], [-3.0, 1.0, 2.0]])
    precision = torch.tensor([[4.0, 0.25, 1.0], [1.0, 16.0, 0.1]])
    labels = torch.arange(2).repeat(10_000)
    z = taught.draw_label_codes(labels, mean, precision)
    for c in (0, 1):
        unit = (z[labels == c] - mean[c]) * precision[c].sqrt()
        for axis in unit.T:
            assert stats.kstest(axis, stats.norm.cdf).pvalue > 1e-4
        assert (torch.cov(unit.T) - torch.eye(3)).abs().max() < 0.06


def test_one_gaussian_for_all_classes(taught):
    vae = taught.OneGaussianVAE((3, 32, 32), 10, 4, 5, **TINY)
    z, labels = torch.randn(6, 4), torch.arange(6)
    cls, lkd = vae.label_losses(z, labels)
    right = Categorical(logits=vae.gaussians(z)).log_prob(labels)
    assert cls.item() == pytest.approx(-right.mean().item())
    law = MultivariateNormal(torch.zeros(4), torch.eye(4))
    expected = law.log_prob(torch.zeros(4)) - law.log_prob(z).mean()
    assert lkd.item() == pytest.approx(expected.item())
    torch.manual_seed(0)
    blurred = vae.blur(torch.zeros(5_000, 4), torch.zeros(5_000, dtype=torch.int64), 0.4)
    assert stats.kstest(blurred.flatten() / 0.4, stats.norm.cdf).pvalue > 1e-4


def test_fitted_class_gaussians_are_scikit_learns(taught, images):
    torch.manual_seed(0)
    vae = taught.OneGaussianVAE((3, 32, 32), 10, 4, 5, **TINY).eval()
    vae.encoder_s.layers[-1].weight.data *= 1_000
    taught.fit_classes(vae, images)
    z, y = taught.encode(vae, images)[0].double(), images.factors[:, 0]
    bayes = GaussianNB(var_smoothing=0).fit(z, y)
    assert np.allclose(vae.gaussians.mean.detach(), bayes.theta_, atol=1e-4)
    variance = bayes.var_ + 1e-4  # which keeps a class of one image from having none
    assert np.allclose(1 / vae.gaussians.precision.detach(), variance, rtol=1e-3)
    assert vae.draw_label_code(y[:3]).shape == (3, 4)


def test_one_gaussian_as_aggregate_posterior_is_the_best_one(taught, images):
    """Its moments are those of means and variances together; no other Gaussian costs less."""
    torch.manual_seed(0)
    vae = taught.LabelRelevantVAE((3, 32, 32), 10, 4, 5, **TINY).eval()
    with torch.no_grad():
        mean, log_var = (part.double() for part in vae.posterior_u(images.floats()))
    prior = taught.aggregate_posterior(vae, images, parts=1)
    assert torch.allclose(prior.mean.double(), mean.mean(0), atol=0.15)
    expected = mean.var(0) + log_var.exp().mean(0)
    assert torch.allclose(prior.variance.double(), expected, atol=0.2)
    price = partial(taught.price_of_style, vae, images)
    standard = MultivariateNormal(torch.zeros(5), torch.eye(5))
    closed = objectives.kl_standard_normal(mean, log_var).mean().item()
    assert price(standard) == pytest.approx(closed, abs=0.15)
    spread = torch.diag(expected).float()
    shifted = MultivariateNormal(prior.mean + 0.4, spread)
    wider = MultivariateNormal(prior.mean, 2 * spread)
    assert price(prior) < min(price(other) for other in (shifted, wider))


def test_a_mixture_follows_codes_on_a_circle(taught, images):
    """Codes that lie on a ring: one Gaussian draws its middle, the mixture does not."""

    class Ring:
        def label_code(self, x, labels):
            return torch.zeros(len(x), 1)

        def posterior_u(self, x):
            angle = torch.linspace(0, 2 * math.pi, len(x) + 1)[1:]
            mean = torch.stack([angle.cos(), angle.sin()], 1)
            return mean, torch.full_like(mean, -6.0)

    torch.manual_seed(0)
    ring = Ring()
    one, many = (taught.aggregate_posterior(ring, images, parts=k) for k in (1, 20))
    inside = [(law.sample((2_000,)).norm(dim=1) < 0.7).float().mean() for law in (one, many)]
    assert inside[0] > 0.3
    assert inside[1] < 0.05
    price = partial(taught.price_of_style, ring, images)
    # The ring has 2 pi of length where a standard Gaussian has all the plane: I(x; z) is left.
    assert price(many) < price(one) - 0.5


def test_the_conditional_vae_is_told_the_label_and_ignores_the_image(taught, images):
    torch.manual_seed(0)
    vae = taught.ConditionalVAE((3, 32, 32), 10, 5, **TINY).eval()
    y = torch.tensor([3, 0, 9])
    for x in (images.floats(range(3)), torch.rand(3, 3, 32, 32), None):
        assert torch.equal(vae.label_code(x, y), torch.eye(10)[y])
    assert torch.equal(vae.draw_label_code(y), torch.eye(10)[y])
    assert torch.equal(vae.blur(torch.eye(10)[y], y, 0.4), torch.eye(10)[y])
    assert vae.decode(vae.label_code(None, y), torch.zeros(3, 5)).shape == (3, 3, 32, 32)
    owned = {name.split(".")[0] for name, _ in vae.named_parameters()}
    assert owned == {"encoder_u", "decoder", "classifier"}


def test_samples_and_codes_saved(taught, images):
    torch.manual_seed(0)
    vae = taught.LabelRelevantVAE((3, 32, 32), 10, 4, 5, **TINY).eval()
    prior = MultivariateNormal(torch.zeros(5), torch.eye(5))
    drawn = taught.samples(vae, torch.arange(10), prior)
    assert drawn.shape == (10, 3, 32, 32)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    some = images.subset(range(20))
    z_s, mean, z_u = taught.encode(vae, some)
    assert torch.allclose(taught.BothCodes(vae)(some.floats()), torch.cat([z_s, mean], 1))
    assert z_u.shape == (20, 5)


def test_paths_start_and_end_at_the_images_they_lead_between(taught, images):
    torch.manual_seed(0)
    vae = taught.LabelRelevantVAE((3, 32, 32), 10, 4, 5, **TINY).eval()
    z_s, mean, _ = taught.encode(vae, images.subset(range(4)))
    rows = taught.path_rows(vae, z_s, mean, [(0, 1), (2, 3)], n=5).view(4, 5, 3, 32, 32)
    with torch.no_grad():
        near = partial(torch.allclose, atol=1e-5)
        for pair, (first, second) in enumerate([(0, 1), (2, 3)]):
            own = vae.decode(z_s[[first]], mean[[first]])[0]
            assert near(rows[pair, 0], own)
            assert near(rows[pair, -1], vae.decode(z_s[[second]], mean[[first]])[0])
            assert near(rows[2 + pair, 0], own)
            assert near(rows[2 + pair, -1], vae.decode(z_s[[first]], mean[[second]])[0])


# --- measures ------------------------------------------------------------------------------------


def test_hues_lie_on_circles(taught):
    names = ("digit", "digit hue", "background hue")
    factors = torch.tensor([[7, 0, 5], [1, 5, 0], [2, 3, 8]])
    points = taught.circles(factors, names)
    assert points.shape == (3, 4)
    assert torch.allclose(points[0], torch.tensor([1.0, 0, -1, 0]), atol=1e-6)
    angle = torch.atan2(points[2, 1::2], points[2, ::2]) / (2 * math.pi) % 1
    assert torch.allclose(angle, torch.tensor([0.3, 0.8]))
    # Level 9 is as near to 0 as level 1 is.
    ring = taught.circles(torch.tensor([[0, k, k] for k in (9, 0, 1)]), names)
    assert (ring[0] - ring[1]).norm() == pytest.approx((ring[2] - ring[1]).norm().item(), abs=1e-6)


def test_r_squared_is_scikit_learns(taught):
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((50, 3)) * [1, 5, 0.1] + [0, 3, -2]
    value = truth + rng.standard_normal((50, 3))
    expected = r2_score(truth, value, multioutput="variance_weighted")
    value, truth = torch.as_tensor(value), torch.as_tensor(truth)
    assert taught.r_squared(value, truth) == pytest.approx(expected)
    assert taught.r_squared(truth, truth) == 1
    assert taught.r_squared(truth.mean(0).expand(50, 3), truth) == pytest.approx(0)


def test_variance_within_leaves_out_what_lies_between(taught):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    features = rng.standard_normal((300, 4)) * np.array([[1.0], [2.0], [0.5]])[labels]
    expected = np.mean([features[labels == c].var(0, ddof=1).sum() for c in range(3)])
    apart = features + 100 * labels[:, None]
    for value in (features, apart):
        found = taught.variance_within(torch.as_tensor(value), torch.as_tensor(labels))
        assert found == pytest.approx(expected)
    assert taught.variance_within(torch.eye(3)[labels], torch.as_tensor(labels)) == 0


def test_sets_are_loaded_by_name_and_split(taught, images, monkeypatch):
    train, test = taught.load_set("coloured digits")
    assert (len(train), len(test)) == (4000, 1000)
    assert test.factor_names[0] == "digit"
    assert torch.equal(test.factors[:, 0], images.factors[:, 0])
    with pytest.raises(ValueError, match="no set 'cifar'.*'coloured digits' or 'cifar10'"):
        taught.load_set("cifar")
    asked = []
    monkeypatch.setattr(data, "load", lambda name, **options: asked.append((name, options)))
    taught.load_set("cifar10", "folder")
    device = taught.run.device
    assert asked == [
        ("cifar10", {"split": split, "device": device, "path": "folder"})
        for split in ("train", "test")
    ]


def test_recolouring_changes_the_colours_alone(taught, images):
    few = images.subset(range(100))
    many = taught.recolour(few, 4, 1)
    assert len(many) == 400
    assert torch.equal(many.bases, few.bases.repeat_interleave(4, 0))
    assert torch.equal(many.factors[:, 0], few.factors[:, 0].repeat_interleave(4))
    assert 0.05 < (many.factors[::4, 1:] == few.factors[:, 1:]).float().mean() < 0.2
    assert many.factors[:, 1:].unique().tolist() == list(range(10))
    found = Reader(images)(many.floats())
    assert torch.equal(found, many.factors)
    assert torch.equal(taught.recolour(few, 4, 1).images, many.images)
    assert not torch.equal(taught.recolour(few, 4, 2).images, many.images)
    plain = data.load("digits", split="test")
    assert taught.recolour(plain, 4, 1) is plain


class Reader:
    """A judge that knows: it reads the colours off an image and looks its stroke up."""

    def __init__(self, images):
        self.images = images
        hues = [k / 10 for k in range(10)]
        self.inks = torch.tensor([colorsys.hsv_to_rgb(h, 1, 1) for h in hues])
        self.grounds = torch.tensor([colorsys.hsv_to_rgb(h, 1, 0.45) for h in hues])

    def hues(self, x):
        """Levels of digit hue and background hue: the brightest pixel, and a corner."""
        brightest = x.amax(1).flatten(1).argmax(1)
        ink = x.flatten(2)[range(len(x)), :, brightest]
        pairs = (ink, self.inks), (x[:, :, 0, 0], self.grounds)
        return torch.stack([torch.cdist(*pair).argmin(1) for pair in pairs], 1)

    def strokes(self, x):
        """How much ink a pixel has, 0 to 1: (N, 1024)."""
        ink, ground = self.hues(x).T
        ground = self.grounds[ground]
        towards = self.inks[ink] - ground
        share = torch.einsum("nchw,nc->nhw", x - ground[:, :, None, None], towards)
        return (share / towards.square().sum(1)[:, None, None]).flatten(1).clamp(0, 1)

    def features(self, x):
        return F.avg_pool2d(self.strokes(x).view(-1, 1, 32, 32), 8).flatten(1)

    def __call__(self, x):
        known = self.images.bases.flatten(1) / 255
        digit = self.images.factors[torch.cdist(self.strokes(x), known).argmin(1), 0]
        return torch.cat([digit[:, None], self.hues(x)], 1)


class Perfect:
    """z_s is the stroke of a digit and z_u its two hues, put together as the images were made."""

    def __init__(self, images):
        self.reader = Reader(images)

    def label_code(self, x, labels):
        return self.reader.strokes(x)

    def posterior_u(self, x):
        hues = self.reader.hues(x).float()
        return hues, torch.full_like(hues, -30.0)

    def decode(self, z_s, z_u):
        hues = z_u[:, -2:].round().long()
        grey = (255 * z_s).round().to(torch.uint8).view(-1, 1, 32, 32)
        return self.reader.images.render(F.pad(hues, (1, 0)), grey) / 255


class Ignoring(Perfect):
    """All is in z_u; the decoder does not look at z_s."""

    def posterior_u(self, x):
        mean = torch.cat([self.reader.strokes(x), *super().posterior_u(x)[:1]], 1)
        return mean, torch.full_like(mean, -30.0)

    def decode(self, z_s, z_u):
        return super().decode(z_u[:, :-2], z_u)


class AllInOne(Perfect):
    """All is in z_s; the decoder does not look at z_u."""

    def label_code(self, x, labels):
        return torch.cat([self.reader.strokes(x), self.reader.hues(x)], 1)

    def decode(self, z_s, z_u):
        return super().decode(z_s[:, :-2], z_s)


def test_swaps_of_codes_that_are_known(taught, images):
    judge = Reader(images)
    assert torch.equal(judge(images.floats()), images.factors)
    stubs = [kind(images) for kind in (Perfect, Ignoring, AllInOne)]
    found = [taught.judge_swaps(stub, images, judge) for stub in stubs]
    follows = [one["swap follows z_s"] for one in found]
    colours = [one["swap keeps the colours"] for one in found]
    assert follows == [1, 0, 1]
    assert colours[:2] == [pytest.approx(1, abs=1e-6)] * 2
    assert colours[2] == pytest.approx(-1, abs=0.15)  # the hues of two images are independent


def test_swaps_are_between_classes(taught, images):
    """The judge is shown a z_s and a z_u of different digits in every pair, and many pairs."""
    shown = {}

    class Spy(Perfect):
        def label_code(self, x, labels):
            return labels[:, None].float()

        def posterior_u(self, x):
            digit = self.reader(x)[:, :1].float()
            return digit, torch.full_like(digit, -30.0)

        def decode(self, z_s, z_u):
            shown["pairs"] = torch.cat([z_s, z_u], 1)
            return torch.zeros(len(z_s), 3, 32, 32)

    taught.judge_swaps(Spy(images), images, lambda x: torch.zeros(len(x), 3, dtype=torch.int64))
    pairs = shown["pairs"].round()
    assert len(pairs) == 1000
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(pairs.unique(dim=0)) == 90


def circled(hues):
    """(cos, cos, sin, sin) of two hues: another order of columns than the notebook's."""
    angle = 2 * math.pi * hues / 10
    return torch.cat([angle.cos(), angle.sin()], 1)


class Known(Perfect):
    """z_s is the label; z_u tells the hues and, under noise of its own size or none, the label."""

    def __init__(self, images, noise):
        super().__init__(images)
        self.noise = noise

    def label_code(self, x, labels):
        return F.one_hot(labels, 10).float()

    def posterior_u(self, x):
        found = self.reader(x)
        hues = circled(found[:, 1:])
        log_var = torch.cat([torch.full_like(hues, -30.0), torch.full((len(x), 10), self.noise)], 1)
        return torch.cat([hues, 0.01 * F.one_hot(found[:, 0], 10)], 1), log_var


def test_a_standardised_watcher_gains_nothing_from_shrinking_and_stays_one_player(taught):
    torch.manual_seed(0)
    vae = taught.LabelRelevantVAE((3, 32, 32), 10, 4, 5, **TINY)
    taught.standardise_watched(vae)
    z_u = torch.randn(64, 5)
    assert torch.allclose(vae.classifier(z_u), vae.classifier(0.1 * z_u - 3), atol=1e-2)
    owned = {
        p for group in taught.classifier_player(vae).optimizer.param_groups for p in group["params"]
    }
    assert owned == set(vae.classifier.parameters())


def test_probes_read_what_is_in_known_codes(taught, images):
    """The label in z_u hides under noise: gone from draws, still there in the means."""
    torch.manual_seed(0)
    taught.n_read, taught.reader_steps = 2, 300
    to_read = taught.fresh(images, 500, 0)
    found = taught.read_codes(Known(images, noise=0.0), to_read, images)
    assert found["label from z_s"] == 1
    assert found["label from mean of z_u"] > 0.95
    assert found["label from z_u"] < 0.2
    assert found["colours from z_u"] > 0.9
    assert found["colours from z_s"] < 0.05


class Copier(Perfect):
    """Draws real images of a class: other ones each time, or one a class."""

    def __init__(self, images, varied):
        super().__init__(images)
        self.varied = varied

    def draw_label_code(self, labels):
        rows = [(self.reader.images.factors[:, 0] == c).nonzero()[:, 0] for c in range(10)]
        picks = [torch.randint(len(rows[c]), ()) if self.varied else 0 for c in labels.tolist()]
        return torch.stack([rows[c][k] for c, k in zip(labels.tolist(), picks, strict=True)])

    def decode(self, z_s, z_u):
        return self.reader.images.floats(z_s)


def test_samples_that_are_known(taught, images):
    judge = Reader(images)
    real = images.subset(torch.arange(1000))
    prior = MultivariateNormal(torch.zeros(2), torch.eye(2))
    varied, single = (
        taught.judge_samples(Copier(images, v), prior, real, judge) for v in (True, False)
    )
    assert varied["samples judged right"] == single["samples judged right"] == 1
    assert varied["variety of samples"] == pytest.approx(1, abs=0.1)
    assert single["variety of samples"] == pytest.approx(0, abs=1e-6)
    assert varied["Fréchet distance"] < 0.1 * single["Fréchet distance"]


def test_a_judge_names_all_factors(taught, images):
    judge = taught.train_judge(images.subset(range(64)), 30, 0)
    assert not any(p.requires_grad for p in judge.parameters())
    x = images.floats(range(64))
    levels = judge(x)
    assert levels.shape == (64, 3)
    assert levels.min() >= 0
    assert judge.features(x).shape == (64, 256)
    assert (levels == images.factors[:64]).float().mean() > 0.5  # of its own training images


def test_fresh_digits_keep_the_digit_and_little_moves(taught, images):
    few = images.subset(range(50))
    batches = taught.fresh(few, 32, 3)
    batch, again = batches[5], taught.fresh(few, 32, 3)[5]
    assert torch.equal(batch.images, again.images)
    assert not torch.equal(batch.images, batches[6].images)
    assert torch.equal(batch.factors[:, 0], few.factors[batch.index, 0])
    reader = Reader(images)
    found = reader(batch.images)
    assert (found[:, 1:] == batch.factors[:, 1:]).float().mean() > 0.95
    strokes = few.bases.flatten(1).float() / 255
    near = (reader.strokes(batch.images) - strokes[batch.index]).square().mean(1)
    other = (reader.strokes(batch.images) - strokes[batch.index.roll(1)]).square().mean(1)
    assert 0.001 < near.mean() < 0.5 * other.mean()
    plain = data.load("sprites", n=20)
    assert torch.equal(taught.fresh(plain, 8, 0)[2].images, plain.batches(8, 0)[2].images)


def test_strokes_are_moved_by_what_is_said(taught):
    """Shifts by the centre of mass, a turn by the axis of a bar, as SciPy turns it."""
    bar = torch.zeros(1, 1, 32, 32)
    bar[..., 8:24, 15:17] = 255
    rows, columns = torch.meshgrid(*2 * [torch.arange(32.0)], indexing="ij")
    for amounts in ([0, 0, 0], [0, 1, 0], [0, 0, -1], [0, 0.5, 0.5]):
        ink = taught.jittered(bar, torch.tensor([amounts], dtype=torch.float32))[0, 0] / 255
        x, y = (ink * columns).sum() / ink.sum(), (ink * rows).sum() / ink.sum()
        assert abs(x - 15.5) == pytest.approx(abs(amounts[1]), abs=0.02)
        assert abs(y - 15.5) == pytest.approx(abs(amounts[2]), abs=0.02)
    turned = taught.jittered(bar, torch.tensor([[1.0, 0, 0]]))[0, 0].numpy()
    options = {"reshape": False, "order": 1}
    expected = [ndimage.rotate(bar[0, 0].numpy(), angle, **options) for angle in (5, -5)]
    assert min(np.abs(turned - one).max() for one in expected) < 10


def test_faces_are_drawn_nearly_from_the_front_and_split(taught):
    train, test = taught.drawn_faces(10, 3, 0)
    assert (len(train), len(test)) == (8, 2)
    assert train.image_shape == test.image_shape == (3, 64, 64)
    assert train.factor_sizes[0] == 3
    assert torch.equal(taught.close_up(test.factors, 0), test.images)
    for name, limit in (("yaw", 20), ("pitch", 10), ("light", 50)):
        column = train.column(name)
        seen = [train.factor_values[column][k] for k in train.factors[:, column].tolist()]
        assert max(map(abs, seen)) <= limit


def test_every_second_digit_stays_in_its_place(taught, images):
    batch, grey = taught.FreshDigits(images, 8, 0)[3], images.bases
    stays = images.render(batch.factors, grey[batch.index]).float() / 255
    as_it_was = [torch.equal(a, b) for a, b in zip(batch.images, stays, strict=True)]
    assert as_it_was == [False, True] * 4


def test_some_faces_are_mirrored(taught, images):
    few = images.subset(range(40))
    batch, plain = taught.Mirrored(few, 32, 1)[3], few.batches(32, 1)[3]
    assert torch.equal(batch.factors, plain.factors)
    pairs = list(zip(batch.images, plain.images, strict=True))
    as_it_was = [torch.equal(a, b) for a, b in pairs]
    turned = [torch.equal(a, b.flip(2)) for a, b in pairs]
    assert all(a or b for a, b in zip(as_it_was, turned, strict=True))
    assert 8 <= sum(turned) <= 24
    assert torch.equal(batch.images, taught.Mirrored(few, 32, 1)[3].images)


@pytest.mark.parametrize(("exercise", "answer"), REJECTED)
def test_rarer_mistakes_are_rejected(exercise, answer):
    assert_rejected(NOTEBOOK, exercise, None, answer)

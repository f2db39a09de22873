"""What notebook 05 teaches, against brute force, SciPy, scikit-learn and networks made by hand."""

import colorsys
import copy
import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers_05 import REJECTED, RIGHT, WRONG  # noqa: F401 (test_answers.py looks for them here)
from exercises import assert_rejected
from scipy import ndimage, special, stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from dvae_lib import data, nets, training, workbook

NOTEBOOK = "05_two_code_information"
TINY = {"channels": (8, 8, 8), "hidden": 32}
CHANCE = 1e-3  # p-value below which draws are not those that they should be


@pytest.fixture(scope="module")
def taught():
    """The notebook's definitions, with the few numbers that its functions take from its cells."""
    module = workbook.definitions(NOTEBOOK)
    module.seed, module.sizes, module.d1, module.recogniser_steps = 0, TINY, 4, 3
    module.run = SimpleNamespace(device=torch.device("cpu"))
    module.notebook_04 = workbook.definitions("04_label_relevant_vae")
    return module


@pytest.fixture(scope="module")
def digits(taught):
    """The thousand test digits in hues."""
    return taught.coloured_digits("test", 1)


@pytest.fixture(scope="module")
def codes(taught):
    """The three kinds of z2: digit, hue, both."""
    one_hot, points = torch.eye(10), taught.circle(10)
    return {
        "digit": taught.Specified([0], [one_hot]),
        "hue": taught.Specified([1], [points]),
        "both": taught.Specified([0, 1], [one_hot, points]),
    }


@pytest.fixture
def tiny(taught, codes, digits):
    """A small network in training mode, a recogniser that is done, and a batch of 16."""
    torch.manual_seed(0)
    vae = taught.TwoCodeVAE((3, 32, 32), 4, codes["both"], sigma=0.25, **TINY)
    with torch.no_grad():  # as new, a decoder and a reader hardly heed their codes
        vae.decoder.layers[0].weight *= 20
        vae.decoder.layers[-1].weight *= 20
        vae.reader[-1].weight *= 20
    recogniser = taught.nets.NormedEncoder((3, 32, 32), 12, **TINY).eval().requires_grad_(False)
    return vae, recogniser, taught.FreshDigits(digits, 16, 0)[0]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def independent_table(seed, sizes=(3, 4, 5)):
    """p(z1, z2, x) of independent codes that are not uniform, with some zeros; float64."""
    random = np.random.default_rng(seed)
    p_1, p_2 = (random.dirichlet(np.ones(k)) for k in sizes[:2])
    channel = random.dirichlet(np.full(sizes[2], 0.5), sizes[:2])
    channel[random.uniform(size=channel.shape) < 0.2] = 0
    channel[..., 0] += 1e-6
    channel /= channel.sum(2, keepdims=True)
    return torch.as_tensor(p_1[:, None, None] * p_2[:, None] * channel)


def divergence_from_independence(pairs):
    """I(a; b) of a table p(a, b)."""
    pairs = np.asarray(pairs)
    return stats.entropy(pairs.ravel(), np.outer(pairs.sum(1), pairs.sum(0)).ravel())


def within(table, axis):
    """I of the other two variables, given that of `axis`."""
    parts = np.moveaxis(np.asarray(table), axis, 0)
    return sum(p.sum() * divergence_from_independence(p / p.sum()) for p in parts if p.sum() > 0)


def best_guesses(taught, joint):
    return taught.posterior(joint.sum(1)), taught.posterior(joint.sum(0))


# --- information ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_informations_are_divergences(taught, seed):
    """Of any three variables, independent or not."""
    random = np.random.default_rng(seed)
    joint = random.dirichlet(np.full(3 * 4 * 5, 0.3)).reshape(3, 4, 5)
    joint[random.uniform(size=joint.shape) < 0.2] = 0
    joint /= joint.sum()
    found = {name: v.item() for name, v in taught.informations(torch.as_tensor(joint)).items()}
    assert found == pytest.approx(
        {
            "I(x; z1, z2)": divergence_from_independence(joint.reshape(12, 5)),
            "I(x; z1 | z2)": within(joint, 1),
            "I(x; z2 | z1)": within(joint, 0),
            "I(x; z1)": divergence_from_independence(joint.sum(1)),
            "I(x; z2)": divergence_from_independence(joint.sum(0)),
        },
        abs=1e-12,
    )
    both = found["I(x; z1, z2)"]
    assert found["I(x; z2)"] + found["I(x; z1 | z2)"] == pytest.approx(both)
    assert found["I(x; z1)"] + found["I(x; z2 | z1)"] == pytest.approx(both)
    interaction = divergence_from_independence(joint.sum(2)) - within(joint, 2)
    for k in ("z1 | z2", "z2 | z1"):
        assert found[f"I(x; {k[:2]})"] - found[f"I(x; {k})"] == pytest.approx(interaction)


def test_entropy_is_scipys(taught):
    p = np.random.default_rng(0).dirichlet(np.ones(7))
    p[2] = 0
    p /= p.sum()
    assert taught.entropy(torch.as_tensor(p)).item() == pytest.approx(stats.entropy(p))


def test_the_four_decoders(taught):
    """Half of each shows both codes; the sum shows both to who knows the other, and neither."""
    found = [
        [value.item() for value in taught.informations(taught.decoder_table(show)).values()]
        for show in (
            lambda a, b: a,
            lambda a, b: 2 * (a // 2) + b // 2,
            lambda a, b: (a + b) % 4,
        )
    ]
    bits = np.array([[2, 2, 0, 2, 0], [2, 1, 1, 1, 1], [2, 2, 2, 0, 0]])
    assert np.allclose(found, bits * math.log(2), atol=1e-12)


# --- the bounds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 4, 5), (2, 2, 9), (1, 3, 2)])
def test_bounds_are_sums_over_all_triples(taught, sizes):
    joint = independent_table(0, sizes)
    q1, q2 = (torch.rand(k, sizes[2], generator=rng(k)).double().softmax(0) for k in sizes[:2])
    triples = list(np.ndenumerate(joint.numpy()))
    expected = (
        stats.entropy(joint.sum((1, 2)))
        + math.fsum(p * q1[a, x].log() for (a, _, x), p in triples),
        stats.entropy(joint.sum((0, 2)))
        + math.fsum(p * q2[b, x].log() for (_, b, x), p in triples),
    )
    found = [float(value) for value in taught.table_bounds(joint, q1, q2)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_bounds_of_independent_codes_are_never_above_the_truth(taught):
    """What is lost is I(z1; z2 | x) and the divergence of the guess, in full."""
    for seed in range(100):
        joint = independent_table(seed)
        truth, lost = taught.informations(joint), within(joint, 2)
        best = best_guesses(taught, joint)
        noise = [torch.randn(q.shape, generator=rng(seed), dtype=torch.float64) for q in best]
        poor = [(n + q.clamp_min(1e-3).log()).softmax(0) for n, q in zip(noise, best, strict=True)]
        p_x = joint.sum((0, 1)).numpy()
        for k, name in enumerate(("I(x; z1 | z2)", "I(x; z2 | z1)")):
            tight = taught.table_bounds(joint, *best)[k].item()
            assert tight == pytest.approx(truth[name].item() - lost, abs=1e-12)
            assert lost > 1e-6
            loose = taught.table_bounds(joint, *poor)[k].item()
            gap = stats.entropy(best[k].numpy(), poor[k].numpy()) @ p_x
            assert loose == pytest.approx(tight - gap, abs=1e-12)
            assert loose < tight < truth[name]


@pytest.mark.parametrize("mixed", [0.0, 0.1, 1.0])
def test_the_best_bounds_are_tight_where_the_image_separates_the_codes(taught, mixed):
    for clear1, clear2 in ((0.3, 0.9), (0.9, 0.5), (0.6, 1.0)):
        joint = taught.symbol_channel(clear1, clear2, mixed)
        lost = within(joint, 2)
        assert (lost < 1e-12) == (mixed == 0)
        truth = taught.informations(joint)
        bounds = taught.table_bounds(joint, *best_guesses(taught, joint))
        for name, bound in zip(("I(x; z1 | z2)", "I(x; z2 | z1)"), bounds, strict=True):
            assert (truth[name] - bound).item() == pytest.approx(lost, abs=1e-12)


def test_bounds_of_dependent_codes_can_be_too_high(taught):
    """By what the codes share, at most: for a copy, all of it."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        joint = torch.as_tensor(random.dirichlet(np.full(60, 0.3)).reshape(3, 4, 5))
        bound = taught.table_bounds(joint, *best_guesses(taught, joint))[0].item()
        shared = divergence_from_independence(joint.sum(2))
        assert bound == pytest.approx(
            taught.informations(joint)["I(x; z1 | z2)"].item() + shared - within(joint, 2)
        )
    for n in (2, 4):
        copied = torch.zeros(n, n, n, dtype=torch.float64)
        copied[range(n), range(n), range(n)] = 1 / n
        guesses = best_guesses(taught, copied)
        assert abs(taught.informations(copied)["I(x; z1 | z2)"]) < 1e-12
        assert taught.table_bounds(copied, *guesses)[0].item() == pytest.approx(math.log(n))


@pytest.mark.parametrize("knobs", [(0.0, 0.0, 0.0), (0.6, 1.0, 0.3), (1.0, 0.7, 1.0)])
def test_the_channel_by_its_story(taught, knobs):
    clear1, clear2, mixed = knobs
    joint = taught.symbol_channel(*knobs)
    assert joint.shape == (4, 4, 16)
    for a in range(4):
        for b in range(4):
            first, second = np.full(4, (1 - clear1) / 4), np.full(4, (1 - clear2) / 4)
            first[a] += clear1
            second[b] += clear2 * (1 - mixed)
            second[(a + b) % 4] += clear2 * mixed
            assert np.allclose(joint[a, b], np.outer(first, second).ravel() / 16)


def test_a_mixed_symbol_shows_little_of_z2(taught):
    """z2 is told from s2 up to z1, which s1 shows with probability 0.7."""
    curves = taught.channel_curves(0.6, 1.0, [0.0, 1.0])
    left = stats.entropy([0.7, 0.1, 0.1, 0.1])
    assert curves["B2"] == pytest.approx([math.log(4), math.log(4) - left])
    assert curves["I(x; z2 | z1)"] == pytest.approx([math.log(4)] * 2)
    assert curves["B1"] == pytest.approx([math.log(4) - left] * 2)
    assert curves["I(x; z1 | z2)"] == pytest.approx([math.log(4) - left, math.log(4)])


# --- the specified code --------------------------------------------------------------------------


def test_the_guess_on_a_circle_is_von_mises_on_ten_points(taught):
    random = np.random.default_rng(0)
    kappa, mu = random.uniform(0.1, 30, 40), random.uniform(-np.pi, np.pi, 40)
    outputs = torch.as_tensor(kappa * np.array([np.cos(mu), np.sin(mu)])).T
    angles = 2 * np.pi * np.arange(10) / 10
    bells = stats.vonmises.pdf(angles, kappa[:, None], loc=mu[:, None])
    table, level = taught.circle(10).double(), torch.arange(40) % 10
    found = taught.log_recognition(outputs, table, level)
    expected = np.log(bells[range(40), level] / bells.sum(1))
    assert np.allclose(found, expected, atol=1e-4)


def test_the_guess_of_one_hot_vectors_is_a_softmax(taught):
    outputs, level = 5 * torch.randn(9, 6, generator=rng()), torch.arange(9) % 6
    found = taught.log_recognition(outputs, torch.eye(6), level)
    assert torch.allclose(found.exp(), outputs.softmax(1)[range(9), level])


def test_a_circle_has_its_points_evenly(taught):
    for n in (3, 10):
        points = taught.circle(n).double().numpy() @ [1, 1j]
        assert np.allclose(points, np.exp(2j * np.pi * np.arange(n) / n), atol=1e-6)


def test_the_specified_code_of_each_kind(taught, codes):
    factors = torch.tensor([[7, 0], [0, 5], [3, 9]])
    angle = 2 * np.pi * np.array([0, 5, 9]) / 10
    points = np.stack([np.cos(angle), np.sin(angle)], 1)
    one_hot = np.eye(10)[[7, 0, 3]]
    expected = {"digit": one_hot, "hue": points, "both": np.hstack([one_hot, points])}
    for name, specified in codes.items():
        assert np.allclose(specified(factors), expected[name], atol=1e-6)
        assert specified.size == expected[name].shape[1]
        assert not any(p.requires_grad for p in specified.parameters())
        levels = 100 if name == "both" else 10
        assert specified.entropy == pytest.approx(math.log(levels))


def test_log_q_adds_over_factors(codes):
    outputs = 3 * torch.randn(12, 12, generator=rng())
    factors = torch.randint(10, (12, 2), generator=rng(1))
    parts = outputs.split([10, 2], 1)
    found = codes["both"].log_q(outputs, factors)
    each = [codes[name].log_q(a, factors) for name, a in zip(("digit", "hue"), parts, strict=True)]
    assert torch.allclose(found, sum(each))
    assert torch.allclose(each[0], -F.cross_entropy(parts[0], factors[:, 0], reduction="none"))
    pairs = torch.cartesian_prod(torch.arange(10), torch.arange(10))
    of_all = codes["both"].log_q(outputs[:1].expand(100, -1), pairs)
    assert of_all.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_indifference_is_a_divergence_from_a_uniform_guess(taught, codes):
    uniform = np.full(10, 0.1)
    for name, specified in codes.items():
        outputs = 4 * torch.randn(20, specified.size, generator=rng(), dtype=torch.float64)
        expected, specified = 0, copy.deepcopy(specified).double()
        for a, table in zip(outputs.split(specified.widths, 1), specified.tables, strict=True):
            q = (a @ table.T).softmax(1).numpy()
            expected = expected + stats.entropy(uniform[:, None], q.T)
        found = specified.indifference(outputs)
        assert np.allclose(found, expected, atol=1e-9), name
        assert found.min() > 0
        none = torch.zeros(3, specified.size, dtype=torch.float64)
        assert np.allclose(specified.indifference(none), 0, atol=1e-12)


# --- digits in colour ----------------------------------------------------------------------------


def test_paint_gives_strokes_their_hue(taught):
    strokes = torch.zeros(10, 1, 32, 32, dtype=torch.uint8)
    strokes[:, 0, 5, 5], strokes[:, 0, 6, 6] = 255, 128
    factors = torch.stack([torch.arange(10).flip(0), torch.arange(10)], 1)
    found = taught.paint(factors, strokes)
    assert found.dtype == torch.uint8
    assert found.shape == (10, 3, 32, 32)
    for k, image in enumerate(found.float() / 255):
        h, s, v = colorsys.rgb_to_hsv(*image[:, 5, 5].tolist())
        assert (h, s, v) == pytest.approx((k / 10, 1, 1), abs=2e-3)
        assert torch.allclose(image[:, 6, 6], 128 / 255 * image[:, 5, 5], atol=0.5 / 255 + 1e-6)
    assert torch.equal(found.amax(1, keepdim=True), strokes)


def moved(taught, strokes, amounts):
    return taught.notebook_04.jittered(strokes, amounts, degrees=10, pixels=2)


def test_digits_that_do_not_move_stay(taught, digits):
    strokes = digits.bases[:20]
    found = moved(taught, strokes, torch.zeros(20, 3))
    assert torch.allclose(found, strokes.float(), atol=0.01)


@pytest.mark.parametrize(("right", "down"), [(2, 0), (-1, 0), (0, 1), (-2, 2)])
def test_digits_shift_by_whole_pixels(taught, digits, right, down):
    """An amount of 1 moves by 2 pixels where the strokes are looked up; the rim is black."""
    strokes = digits.bases[:20]
    amounts = torch.tensor([[0.0, right / 2, down / 2]]).expand(20, -1)
    found = moved(taught, strokes, amounts)
    wide = F.pad(strokes.float(), (2, 2, 2, 2))
    expected = wide[..., 2 + down : 34 + down, 2 + right : 34 + right]
    assert torch.allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("amount", [1.0, -0.5])
def test_digits_turn_by_degrees(taught, digits, amount):
    strokes = digits.bases[:5]
    found = moved(taught, strokes, torch.tensor([[amount, 0.0, 0.0]]).expand(5, -1))
    for image, stroke in zip(found[:, 0].numpy(), strokes[:, 0].float().numpy(), strict=True):
        turned = ndimage.rotate(stroke, 10 * amount, reshape=False, order=1)
        inside = slice(3, -3)  # the two treat the rim differently
        assert np.allclose(image[inside, inside], turned[inside, inside], atol=0.1)


def test_fresh_digits_are_a_pure_function_of_the_step(taught, digits):
    first, again = (taught.FreshDigits(digits, 32, 5) for _ in range(2))
    first[0]
    torch.manual_seed(3)
    batch = first[7]
    assert all(map(torch.equal, batch, again[7]))
    for other in (again[8], taught.FreshDigits(digits, 32, 6)[7]):
        assert not torch.equal(other.images, batch.images)
        assert not torch.equal(other.index, batch.index)


def test_fresh_digits_are_digits_in_their_hue(taught, digits):
    kept = digits.factors.clone()
    x, factors, index = taught.FreshDigits(digits, 2_000, 0)[3]
    assert (x.dtype, x.shape) == (torch.float32, (2_000, 3, 32, 32))
    assert 0 <= x.min() < x.max() <= 1
    assert torch.equal(factors[:, 0], digits.factors[index, 0])
    assert torch.equal(digits.factors, kept)
    assert stats.chisquare(factors[:, 1].bincount(minlength=10)).pvalue > CHANCE
    inks = torch.tensor([colorsys.hsv_to_rgb(k / 10, 1, 1) for k in range(10)])
    brightest = x.amax(1).flatten(1).argmax(1)
    ink = x.flatten(2)[range(2_000), :, brightest]
    seen = torch.cdist(ink / ink.amax(1, keepdim=True), inks).argmin(1)
    assert torch.equal(seen, factors[:, 1])
    ink_before = digits.bases[index].float().mean((1, 2, 3)) / 255
    assert torch.allclose(x.amax(1).mean((1, 2)), ink_before, rtol=0.2)


def test_digits_in_colour_are_a_set_that_can_be_rendered(taught, digits):
    grey = data.load("digits", split="test")
    assert torch.equal(digits.bases, grey.images)
    assert torch.equal(digits.factors[:, :1], grey.factors)
    assert digits.factor_names == ("digit", "hue")
    assert torch.equal(digits.images, digits.render(digits.factors, digits.bases))
    assert stats.chisquare(digits.factors[:, 1].bincount(minlength=10)).pvalue > CHANCE
    assert torch.equal(taught.coloured_digits("test", 1).factors, digits.factors)
    assert not torch.equal(taught.coloured_digits("test", 2).factors, digits.factors)


# --- the networks --------------------------------------------------------------------------------


def test_the_encoder_looks_at_the_image_alone_through_noise(taught, codes, digits):
    torch.manual_seed(0)
    vae = taught.TwoCodeVAE((3, 32, 32), 4, codes["digit"], sigma=0.1, **TINY).eval()
    told = taught.ConditionalVAE((3, 32, 32), 4, codes["digit"], sigma=0.1, **TINY).eval()
    x, z2 = digits.floats(range(8)), torch.eye(10)[:8]
    noise = (vae.noisy(x) - x).flatten()
    assert stats.kstest(noise, stats.norm(0, 0.1).cdf).pvalue > CHANCE
    for network, looks in ((vae, False), (told, True)):
        found = []
        for given in (z2, z2.flip(0)):
            torch.manual_seed(1)
            mean, log_var = network.posterior(x, given)
            assert mean.shape == log_var.shape == (8, 4)
            found.append(mean)
        assert torch.equal(*found) != looks
        torch.manual_seed(2)
        assert not torch.equal(network.posterior(x, z2)[0], found[0])
        made = network.decode(found[0], z2)
        assert made.shape == x.shape
        assert 0 < made.min() < made.max() < 1
        assert not torch.equal(made, network.decode(found[0], z2.flip(0)))


@pytest.mark.parametrize(("kind", "floor"), [("TwoCodeVAE", -2), ("FaceVAE", -4)])
def test_the_encoder_is_never_too_sure(taught, codes, kind, floor):
    """The mean is NormedEncoder's; log_var is softly above the floor, far above it as it was."""
    torch.manual_seed(0)
    floored = getattr(taught, kind)((3, 32, 32), 3, codes["hue"], **TINY).encoder.eval()
    plain = nets.NormedEncoder((3, 32, 32), 6, **TINY).eval()
    plain.load_state_dict(floored.state_dict())
    x = torch.rand(5, 3, 32, 32, generator=rng())
    for bias in (-50.0, -2.0, 0.0, 30.0):
        for net in (plain, floored):
            net.layers[-1].bias.data[3:] = bias
        with torch.no_grad():
            (mean, raw), (found_mean, log_var) = (net(x).chunk(2, 1) for net in (plain, floored))
        assert torch.equal(mean, found_mean)
        expected = np.logaddexp(raw.double().numpy(), floor)
        assert np.allclose(log_var, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "told"), [("digit", False), ("hue", False), ("hue", True)])
def test_a_saved_pair_holds_both_codes(taught, codes, digits, name, told):
    """Images to means of z1 beside the average z2 of a guess; codes to the decoder's images."""
    specified, x = codes[name], digits.floats(range(6))
    kind = taught.ConditionalVAE if told else taught.TwoCodeVAE
    vae = kind((3, 32, 32), 4, specified, sigma=0.1, **TINY).eval()
    outputs = torch.randn(6, specified.size, generator=rng())
    encode, decode = taught.Encode(vae, lambda seen: outputs, digits), taught.Decode(vae)
    with torch.no_grad():
        found = encode(x)
        assert torch.equal(found, encode(x))
        assert torch.equal(decode(found), vae.decode(found[:, :4], found[:, 4:]))
        planes = found[:, 4:, None, None].expand(-1, -1, 32, 32)
        seen = torch.cat([x + encode.noise, planes], 1) if told else x + encode.noise
        assert torch.equal(found[:, :4], vae.encoder(seen)[:, :4])
    table = specified.tables[0].double().numpy()
    guess = special.softmax(outputs.double().numpy() @ table.T, 1)
    assert np.allclose(found[:, 4:], guess @ table, atol=1e-5)
    assert 0.08 < encode.noise.std() < 0.12


@pytest.mark.parametrize("mode", [True, False])
def test_a_frozen_network_passes_gradients_on_and_stays(taught, mode):
    torch.manual_seed(0)
    net = taught.nets.NormedEncoder((3, 32, 32), 6, **TINY).train(mode)
    with torch.no_grad():
        net.layers[1].running_mean += 0.1
    x, weight = torch.rand(8, 3, 32, 32), torch.randn(8, 6)
    before = copy.deepcopy(net.state_dict())
    frozen, found = taught.frozen(net), []
    for function in (frozen, frozen, net):  # the second call sees what the first has left
        given = x.clone().requires_grad_()
        value = function(given)
        (value * weight).sum().backward()
        found.append((value.detach(), given.grad))
        if function is frozen:
            assert all(p.grad is None for p in net.parameters())
            assert all(torch.equal(v, before[name]) for name, v in net.state_dict().items())
    for value, gradient in found[:2]:
        assert torch.equal(value, found[2][0])
        assert torch.allclose(gradient, found[2][1], atol=1e-7)
        assert gradient.abs().max() > 0
    assert all(p.requires_grad for p in net.parameters())
    assert all(p.grad is not None for p in net.parameters())


class Reading(nn.Module):
    """An encoder whose mean is the image, of d numbers, times a gain, with one log_var for all."""

    def __init__(self, gain, log_var):
        super().__init__()
        self.gain, self.log_var = nn.Parameter(torch.tensor(gain)), log_var

    def forward(self, x):
        mean = self.gain * x.flatten(1)
        return torch.cat([mean, torch.full_like(mean, self.log_var)], 1)


def read_by(encoder):
    """As much of a two-code VAE as bound_1 wants, with an encoder that is told nothing."""
    return SimpleNamespace(encoder=encoder, shown=lambda x, z2: x)


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_bound_1_of_a_gaussian_channel(taught, noise):
    """x = z1 + noise, read by the posterior: d/2 ln(1 + 1/noise²). By another reader it is less."""
    d, n, variance = 3, 100_000, noise**2
    z1 = torch.randn(n, d, generator=rng())
    x = (z1 + noise * torch.randn(n, d, generator=rng(1)))[:, :, None, None]
    gain = 1 / (1 + variance)
    exact = d / 2 * math.log(1 + 1 / variance)

    def bound(gain, v):
        return taught.bound_1(read_by(Reading(gain, math.log(v))), x, z1, None)

    best = bound(gain, variance * gain)
    assert best.item() == pytest.approx(exact, abs=0.02)
    # E KL between the posterior, N(gain x, v), and N(b x, w)
    for b, w in ((0.5, 0.4), (1.0, variance)):
        v, x_squared = variance * gain, 1 + variance
        gap = d / 2 * (v / w + (gain - b) ** 2 * x_squared / w - 1 - math.log(v / w))
        assert bound(b, w).item() == pytest.approx(exact - gap, abs=0.03)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_bound_1_is_too_high_by_the_divergence_from_the_prior(taught, scale):
    """Codes in other units tell as much: the excess is KL(q(z1) || p(z1)), and never below 0."""
    n, variance = 100_000, 0.25
    z1 = torch.randn(n, 1, generator=rng())
    x = (z1 + variance**0.5 * torch.randn(n, 1, generator=rng(1)))[:, :, None, None]
    gain = 1 / (1 + variance)
    reader = Reading(scale * gain, math.log(variance * gain * scale**2))
    found = taught.bound_1(read_by(reader), x, scale * z1, None).item()
    excess = (scale**2 - 1) / 2 - math.log(scale)
    assert found == pytest.approx(0.5 * math.log(1 + 1 / variance) + excess, abs=0.02)


def test_the_least_excess_of_gaussian_codes_is_their_divergence_from_the_prior(taught):
    """Means A e + b, each with the variances v: (tr S + b·b - d - ln |S|) / 2, S = A Aᵀ + v."""
    random = np.random.default_rng(0)
    turn, shift = random.standard_normal((3, 3)), np.array([0.5, -1.0, 0.0])
    means = torch.as_tensor(random.standard_normal((200_000, 3)) @ turn.T + shift).float()
    variances = np.array([0.1, 1.0, 2.0])
    log_var = torch.as_tensor(np.log(variances)).float().expand(200_000, 3)
    total = turn @ turn.T + np.diag(variances)
    exact = 0.5 * (np.trace(total) + shift @ shift - 3 - np.linalg.slogdet(total)[1])
    assert taught.excess_at_least(means, log_var) == pytest.approx(exact, abs=0.03)


def test_the_least_excess_is_below_that_of_codes_that_are_not_gaussian(taught):
    """Half at -3, half at 3: their KL by an integral on a line. The second axis is the prior's."""
    grid = np.linspace(-12, 12, 20_001)
    p = (stats.norm.pdf(grid, -3) + stats.norm.pdf(grid, 3)) / 2
    exact = np.trapezoid(p * (np.log(p) - stats.norm.logpdf(grid)), grid)
    means = torch.tensor([[-3.0, 0.0], [3.0, 0.0]])
    found = taught.excess_at_least(means, torch.zeros(2, 2))
    assert found == pytest.approx(0.5 * (9 - math.log(10)))
    assert found < exact - 0.3


def test_the_least_excess_leaves_no_less_than_nothing(taught):
    """E KL(q(z1 | x) || p) is I(x; z1) and the excess, of any finite set of images."""
    for n in (2, 5, 100):
        mean, log_var = torch.randn(2, n, 4, generator=rng(n), dtype=torch.float64)
        q = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
        prior = Independent(Normal(torch.zeros_like(mean), 1.0), 1)
        kl = kl_divergence(q, prior).mean().item()
        assert -1e-9 < taught.excess_at_least(mean, log_var) < kl


def test_nats_of_z1_are_the_terms_of_the_loss_and_what_the_excess_leaves(taught, tiny):
    vae, recogniser, batch = tiny
    vae.eval()
    torch.manual_seed(1)
    kl, b1, excess, information, bound = taught.nats_of_z1(vae, batch)
    torch.manual_seed(1)
    with torch.no_grad():
        terms = taught.vae_loss(vae, recogniser, taught.Weights(bound_1=1.0), batch)
        torch.manual_seed(1)
        posterior = vae.posterior(batch.images, None)
    assert (kl, b1) == pytest.approx((terms["KL"].item(), terms["B1"].item()), rel=1e-5)
    assert excess == pytest.approx(taught.excess_at_least(*posterior), rel=1e-4)
    assert (information, bound) == pytest.approx((kl - excess, b1 - excess))


def test_bound_1_moves_what_made_the_image_and_not_the_reading(taught):
    encoder = Reading(0.5, -1.0)
    z1 = torch.randn(20, 3, generator=rng(), requires_grad=True)
    x = (2 * z1.detach())[:, :, None, None].requires_grad_()
    taught.bound_1(read_by(encoder), x, z1, None).backward()
    assert encoder.gain.grad is None
    # of (z1² - (z1 - x / 2)² e) / 2, averaged over 20 images, with the image at twice the code + .4
    z1.grad, x.grad = None, None
    x.data += 0.4
    taught.bound_1(read_by(encoder), x, z1, None).backward()
    off = 0.2 * math.e / 20
    assert torch.allclose(z1.grad, z1.detach() / 20 + off, rtol=1e-4)
    assert torch.allclose(x.grad, torch.full_like(x, -off / 2), rtol=1e-4)


def test_bound_2_is_at_most_the_entropy(taught, codes):
    factors = torch.randint(10, (400, 2), generator=rng())
    for specified in codes.values():
        vae = SimpleNamespace(specified=specified)
        bound = partial(taught.bound_2, vae, factors=factors)
        sure = bound(40 * specified(factors), recogniser=lambda x: 40 * x).item()
        assert sure == pytest.approx(specified.entropy, abs=1e-3)
        assert sure <= specified.entropy + 1e-6
        nothing = bound(torch.zeros(400, specified.size), recogniser=nn.Identity())
        assert nothing.item() == pytest.approx(0, abs=1e-5)
        outputs = 3 * torch.randn(400, specified.size, generator=rng(1))
        found = bound(outputs, recogniser=lambda x: 2 * x).item()
        assert found < 0  # confident and wrong
        expected = specified.log_q(2 * outputs, factors).mean().item() + specified.entropy
        assert found == pytest.approx(expected)


# --- the losses and the players ------------------------------------------------------------------


def test_the_plain_loss_is_the_negative_elbo(taught, tiny):
    vae, _, batch = tiny
    vae.eval()
    torch.manual_seed(1)
    found = taught.vae_loss(vae, None, taught.Weights(), batch)
    assert found.keys() == {"loss", "reconstruction", "KL"}
    torch.manual_seed(1)
    with torch.no_grad():
        seen = batch.images + 0.25 * torch.randn_like(batch.images)
        mean, log_var = vae.encoder(seen).chunk(2, 1)
        q = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
        made = vae.decoder(torch.cat([q.rsample(), vae.specified(batch.factors)], 1)).sigmoid()
        log_p = Normal(made, 0.25).log_prob(batch.images).sum((1, 2, 3)).mean()
        prior = Independent(Normal(torch.zeros_like(mean), 1.0), 1)
        kl = kl_divergence(q, prior).mean()
    assert found["reconstruction"].item() == pytest.approx(-log_p.item(), rel=1e-5)
    assert found["KL"].item() == pytest.approx(kl.item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx((kl - log_p).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("noise", "told", "means"), [(True, False, False), (False, False, False), (True, True, True)]
)
def test_the_loss_with_all_terms(taught, codes, tiny, noise, told, means):
    """Made images have z1 of one image and the specified factors of the one before."""
    vae, recogniser, batch = tiny
    if told:
        torch.manual_seed(5)
        knows = taught.ConditionalVAE((3, 32, 32), 4, codes["both"], sigma=0.25, **TINY)
        knows.decoder, knows.reader = vae.decoder, vae.reader
        vae = knows
    vae.eval()
    weights = taught.Weights(0.7, 20.0, 3.0, noise, means)
    torch.manual_seed(1)
    found = taught.vae_loss(vae, recogniser, weights, batch)
    torch.manual_seed(1)
    with torch.no_grad():
        z1_of = vae.posterior(batch.images, vae.specified(batch.factors))
        z1 = z1_of[0] + (0.5 * z1_of[1]).exp() * torch.randn(16, 4)
        others = batch.factors[[15, *range(15)]]
        made = vae.decode(z1, vae.specified(others))
        made = made + 0.25 * torch.randn_like(made) if noise else made
        planes = vae.specified(others)[:, :, None, None].expand(-1, -1, 32, 32)
        seen = torch.cat([made, planes], 1) if told else made
        mean, log_var = vae.encoder(seen).chunk(2, 1)
        log_q1 = Normal(mean, (0.5 * log_var).exp()).log_prob(z1).sum(1).mean()
        b1 = log_q1 - Normal(0, 1).log_prob(z1).sum(1).mean()
        scores, points = recogniser(made).split([10, 2], 1)
        angles = taught.circle(10)
        b2 = math.log(100) - F.cross_entropy(scores, others[:, 0])
        b2 = b2 - F.cross_entropy(points @ angles.T, others[:, 1])
        scores, points = vae.reader(z1_of[0] if means else z1).split([10, 2], 1)
        leak = -math.log(100) - scores.log_softmax(1).mean()
        leak = leak - (points @ angles.T).log_softmax(1).mean()
    assert leak > 0.1
    assert found["B1"].item() == pytest.approx(b1.item(), rel=1e-4)
    assert found["B2"].item() == pytest.approx(b2.item(), rel=1e-4)
    elbo = found["reconstruction"] + found["KL"]
    expected = elbo.item() - 0.7 * b1.item() - 20 * b2.item() + 3 * leak.item()
    assert found["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_the_terms_are_off_by_default(taught):
    weights = taught.Weights()
    assert (weights.bound_1, weights.bound_2, weights.leak) == (0, 0, 0)
    assert (weights.noise, weights.means) == (True, False)


def changed(modules, move):
    """Names of the modules of which `move` changes any parameter."""
    before = {name: copy.deepcopy(list(m.parameters())) for name, m in modules.items()}
    move()
    return {
        name
        for name, m in modules.items()
        if not all(map(torch.equal, m.parameters(), before[name]))
    }


def one_move(player, batch):
    """As training.train moves a player."""
    loss = player.loss(batch)["loss"]
    player.optimizer.zero_grad(set_to_none=True)
    loss.backward(inputs=player.parameters)
    player.optimizer.step()


def players_of(taught, monkeypatch, *given, **options):
    """The players that fit() would train."""
    taken = []
    with monkeypatch.context() as patch:
        patch.setattr(training, "train", lambda model, players, *rest, **_: taken.extend(players))
        taught.fit(*given, **options)
    return taken


def parts(vae, recogniser):
    names = ("encoder", "decoder", "reader", "specified")
    return {name: getattr(vae, name) for name in names} | {"recogniser": recogniser}


def test_a_player_moves_its_own_alone(taught, tiny, monkeypatch):
    vae, recogniser, batch = tiny
    weights = taught.Weights(0.5, 30.0, 40.0)
    model, *readers = players_of(taught, monkeypatch, vae, weights, [batch], 10, recogniser)
    reader, again = readers
    assert again is reader  # two moves a step
    modules = parts(vae, recogniser)
    assert changed(modules, lambda: one_move(model, batch)) == {"encoder", "decoder"}
    assert changed(modules, lambda: one_move(reader, batch)) == {"reader"}
    ids = {id(p): name for name, m in modules.items() for p in m.parameters()}
    owned = [{ids[id(p)] for p in player.parameters} for player in (model, reader)]
    assert owned == [{"encoder", "decoder"}, {"reader"}]
    assert [p.optimizer.param_groups[0]["betas"][0] for p in (model, reader)] == [0.9, 0.0]
    assert (model.scheduler is None, reader.scheduler is None) == (False, True)
    options = {"falling": False, "rate": 5e-3}
    model = players_of(taught, monkeypatch, vae, weights, [batch], 10, recogniser, **options)[0]
    assert model.optimizer.param_groups[0]["lr"] == 5e-3


def test_without_a_leak_term_there_is_one_player(taught, tiny, monkeypatch):
    vae, recogniser, batch = tiny
    for options in ({"falling": False}, {}):
        given = vae, taught.Weights(0.5, 30.0), [batch], 10, recogniser
        (model,) = players_of(taught, monkeypatch, *given, **options)
        assert (model.scheduler is None) == bool(options)
    moved = changed(parts(vae, recogniser), lambda: one_move(model, batch))
    assert moved == {"encoder", "decoder"}


def test_an_accomplice_is_moved_along(taught, tiny, monkeypatch):
    """The cheat: a recogniser that is not frozen learns from what the decoder makes."""
    vae, recogniser, batch = tiny
    recogniser.requires_grad_(True).train()
    given = vae, taught.Weights(bound_2=30.0, noise=False), [batch], 10, recogniser
    (model,) = players_of(taught, monkeypatch, *given)
    moved = changed(parts(vae, recogniser), lambda: one_move(model, batch))
    assert moved == {"encoder", "decoder", "recogniser"}


@pytest.mark.parametrize("means", [False, True])
def test_the_reader_learns_what_drawn_codes_or_means_give_away(taught, tiny, monkeypatch, means):
    vae, recogniser, batch = tiny
    vae.eval()
    weights = taught.Weights(leak=1.0, means=means)
    reader = players_of(taught, monkeypatch, vae, weights, [batch], 10, recogniser)[1]
    torch.manual_seed(1)
    loss = reader.loss(batch)["loss"]
    torch.manual_seed(1)
    with torch.no_grad():
        mean, log_var = vae.posterior(batch.images, None)
        z1 = mean if means else mean + (0.5 * log_var).exp() * torch.randn(16, 4)
    scores, points = vae.reader(z1).split([10, 2], 1)
    expected = F.cross_entropy(scores, batch.factors[:, 0])
    expected = expected + F.cross_entropy(points @ taught.circle(10).T, batch.factors[:, 1])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    reached = {name.split(".")[0] for name, p in vae.named_parameters() if p.grad is not None}
    assert reached == {"reader"}


def test_fitting_trains_the_network_and_leaves_the_recogniser(taught, tiny, digits):
    vae, recogniser, _ = tiny
    before, state = copy.deepcopy(vae), copy.deepcopy(recogniser.state_dict())
    batches = taught.FreshDigits(digits, 16, 0)
    history = taught.fit(vae, taught.Weights(0.5, 30.0, 40.0), batches, 4, recogniser)
    for name in ("encoder", "decoder", "reader"):
        pairs = zip(
            getattr(vae, name).parameters(), getattr(before, name).parameters(), strict=True
        )
        assert any(not torch.equal(*pair) for pair in pairs)
    assert all(torch.equal(v, state[name]) for name, v in recogniser.state_dict().items())
    for term in ("reconstruction", "KL", "B1", "B2"):
        assert len(taught.curve(history, term)) == len(history.steps)
    alone = taught.fit(copy.deepcopy(before), taught.Weights(bound_2=1.0), batches, 2, recogniser)
    assert taught.curve(alone, "B2") == alone.scalars["B2"]


def test_a_trained_recogniser_is_frozen(taught, codes, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(taught.run, "folder", tmp_path, raising=False)
    batches = taught.FreshDigits(digits, 16, 0)
    net = taught.train_recogniser(codes["hue"], batches, (3, 32, 32), "hue")
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    assert net(digits.floats(range(2))).shape == (2, 2)
    assert not any(p.requires_grad for p in codes["hue"].parameters())


# --- the probe -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_classes", "width"), [(2, 1), (4, 3)])
def test_the_probe_is_scikit_learns_bayes_with_pooled_variances(taught, n_classes, width):
    random = np.random.default_rng(n_classes)
    labels = np.repeat(np.arange(n_classes), 10 * np.arange(1, n_classes + 1))
    z = random.standard_normal((len(labels), width)) * [1, 5, 0.2][:width] + labels[:, None]
    asked = 2 * random.standard_normal((30, width))
    bayes = GaussianNB(priors=np.full(n_classes, 1 / n_classes), var_smoothing=0).fit(z, labels)
    bayes.var_[:] = np.average(bayes.var_, axis=0, weights=np.bincount(labels))
    given = torch.as_tensor(z), torch.as_tensor(labels), torch.as_tensor(asked)
    found = taught.gaussian_probe(*given, n_classes)
    assert np.allclose(found, bayes.predict_log_proba(asked), atol=1e-9)


def test_the_probe_of_one_axis_is_discriminant_analysis(taught):
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [20, 30, 50])
    z, asked = random.standard_normal((100, 1)) + labels[:, None], np.linspace(-3, 5, 20)[:, None]
    model = LinearDiscriminantAnalysis("lsqr", priors=np.full(3, 1 / 3)).fit(z, labels)
    # scikit-learn averages the classes' covariances by their priors, we by their counts
    pooled = sum(z[labels == c].var() * (labels == c).sum() for c in range(3)) / 100
    model.covariance_[:] = pooled
    model.coef_ = model.means_ / pooled
    model.intercept_ = -0.5 * model.means_[:, 0] ** 2 / pooled + math.log(1 / 3)
    given = torch.as_tensor(z), torch.as_tensor(labels), torch.as_tensor(asked)
    assert np.allclose(taught.gaussian_probe(*given, 3), model.predict_log_proba(asked), atol=1e-9)


def test_the_probe_finds_no_nats_where_there_are_none(taught):
    labels = torch.arange(4_000) % 10
    z = torch.randn(4_000, 4, generator=rng())
    log_q = taught.gaussian_probe(z[:2_000], labels[:2_000], z[2_000:], 10)
    nats = math.log(10) + log_q.gather(1, labels[2_000:, None]).mean().item()
    # 36 fitted means of too much: on new codes the guess is worse by 36 / (2 * 2000) nats
    assert nats == pytest.approx(-0.009, abs=0.03)
    told = z + 30 * F.one_hot(labels, 10)[:, :4] + 60 * F.one_hot(labels // 4, 4)
    log_q = taught.gaussian_probe(told[:2_000], labels[:2_000], told[2_000:], 10)
    assert log_q.exp().sum(1).allclose(torch.ones(2_000))


# --- making and measuring ------------------------------------------------------------------------


def bar(slope, width=1.5, shift=0.0, side=32):
    """An image (1, 3, S, S) of a stroke that moves right by `slope` pixels per pixel downwards."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    distance = np.abs(columns - slope * rows - shift)
    light = np.clip(width - distance, 0, 1) * (np.abs(rows) < 9)
    return torch.as_tensor(light, dtype=torch.float32).expand(1, 3, -1, -1).clone()


def test_style_of_drawn_bars(taught):
    slopes = (-0.8, -0.25, 0.0, 0.5)
    for shift in (0.0, 3.0):
        bars = torch.cat([bar(s, shift=shift) for s in slopes])
        ink, slant = taught.stroke_style(bars).T
        assert np.allclose(slant, slopes, atol=0.01)
        assert np.allclose(ink, bars[:, 0].mean((1, 2)), atol=1e-5)
    thin, thick = (taught.stroke_style(bar(0.3, w))[0] for w in (1.0, 2.5))
    assert thick[0] > 2 * thin[0]
    red = bar(0.3)
    red[:, 1:] = 0
    assert torch.allclose(taught.stroke_style(red), taught.stroke_style(bar(0.3)), atol=1e-5)
    assert torch.isfinite(taught.stroke_style(torch.zeros(1, 3, 32, 32))).all()


def test_slant_is_a_regression_of_columns_on_rows(taught, digits):
    x = digits.floats(range(10))
    for image, (ink, slant) in zip(x, taught.stroke_style(x), strict=True):
        light = image.amax(0).double().numpy()
        rows, columns = np.mgrid[:32, :32]
        slope = np.polyfit(rows.ravel(), columns.ravel(), 1, w=np.sqrt(light.ravel()))[0]
        assert slant.item() == pytest.approx(slope, abs=2e-3)
        assert ink.item() == pytest.approx(light.mean(), abs=1e-5)


def test_style_within_a_digit_is_a_standard_score(taught, digits):
    """By scipy, digit by digit; the ink of an 8 among 8s says nothing of the ink of 1s."""
    batch = taught.FreshDigits(digits, 400, 3)[0]
    table, digit = taught.style_table(batch), batch.factors[:, 0]
    found = taught.style_within(batch.images, digit, table)
    style = taught.stroke_style(batch.images).double().numpy()
    for k in range(10):
        rows = (digit == k).numpy()
        expected = stats.zscore(style[rows], ddof=1).clip(-4, 4)
        assert np.allclose(found[digit == k], expected, atol=1e-3)
    bold = (1.5 * batch.images).clamp(0, 1)
    assert (taught.style_within(bold, digit, table)[:, 0] >= found[:, 0] - 1e-4).all()


def test_correlation_of_a_constant_is_none(taught):
    a = torch.randn(50, 2, generator=rng(), dtype=torch.float64)
    b = torch.stack([a[:, 0], torch.full((50,), 4.0)], 1)
    assert taught.correlation(a, b) == pytest.approx(0.5)


def test_correlation_is_scipys(taught):
    a, b = torch.randn(2, 50, 3, generator=rng(), dtype=torch.float64)
    b = b + a * torch.tensor([1.0, -2.0, 0.0])
    expected = np.mean([stats.pearsonr(*pair)[0] for pair in zip(a.T, b.T, strict=True)])
    assert taught.correlation(a, b) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 5), (4, 3)])
def test_counterfactuals_are_those_of_all_pairs(taught, tiny, n, m):
    vae = tiny[0].eval()
    z1, z2 = torch.randn(n, 4, generator=rng()), torch.randn(m, 12, generator=rng(1))
    with torch.no_grad():
        found = taught.counterfactuals(vae.decode, z1, z2)
        assert found.shape == (n, m, 3, 32, 32)
        for i in range(n):
            for j in range(m):
                own = vae.decode(z1[[i]], z2[[j]])[0]
                assert torch.allclose(found[i, j], own, atol=1e-6)


class Painter:
    """z1 is the stroke and the hue of an image; z2, a hue, is obeyed or ignored."""

    sigma = 0.25

    def __init__(self, taught, specified, obeys):
        self.taught, self.specified, self.obeys = taught, specified, obeys
        self.inks = torch.tensor([colorsys.hsv_to_rgb(k / 10, 1, 1) for k in range(10)])

    def noisy(self, x):
        return x

    def hue(self, x):
        ink = x.flatten(2)[range(len(x)), :, x.amax(1).flatten(1).argmax(1)]
        return torch.cdist(ink / ink.amax(1, keepdim=True), self.inks).argmin(1)

    def posterior(self, x, z2):
        mean = torch.cat([x.amax(1).flatten(1), self.hue(x)[:, None]], 1)
        return mean, torch.full_like(mean, -40.0)

    def decode(self, z1, z2):
        hue = z1[:, -1:].round().long()
        if self.obeys:
            hue = (z2 @ self.taught.circle(10).T).argmax(1, keepdim=True)
        strokes = 255 * z1[:, :-1].view(-1, 1, 32, 32)
        return self.taught.paint(hue.expand(-1, 2), strokes).float() / 255


def test_swaps_of_a_network_that_is_known(taught, codes, digits, monkeypatch):
    """z2 is the hue. One network paints as it is told, the other keeps the hue of z1."""
    batch = taught.FreshDigits(digits, 300, 0)[0]
    giver = torch.randperm(300, generator=rng())
    found = {}
    for obeys in (True, False):
        vae = Painter(taught, codes["hue"], obeys)

        def judge(x, vae=vae):
            """Knows the digit by the stroke, which neither changes."""
            return torch.stack([batch.factors[:, 0], vae.hue(x)], 1)

        monkeypatch.setattr(taught, "judge", judge, raising=False)
        made, own = taught.remake(vae, batch, giver)
        assert torch.allclose(own, batch.images, atol=2 / 255)
        hues = batch.factors[giver if obeys else slice(None), 1]
        assert torch.equal(vae.hue(made), hues)
        found[obeys] = taught.swapped(
            vae,
            batch,
            giver,
            lambda x, vae=vae: 50 * taught.circle(10)[vae.hue(x)],
            taught.style_table(batch),
        )
    for row in found.values():
        assert row["digit right"] == 1
        assert row["style kept"] == pytest.approx(1, abs=1e-3)
        plain = 3 * 32 * 32 * math.log(0.25 * math.sqrt(2 * math.pi))
        assert row["reconstruction"] == pytest.approx(plain, abs=1)
    assert found[True]["hue R²"] == pytest.approx(1)
    assert found[False]["hue R²"] == pytest.approx(-1, abs=0.3)  # two independent hues
    assert found[True]["B2"] == pytest.approx(math.log(10), abs=1e-2)
    assert found[False]["B2"] < -10


# --- faces ---------------------------------------------------------------------------------------


def test_an_arc_has_its_points_evenly(taught):
    for n in (2, 9):
        points = taught.arc(n).double().numpy() @ [1, 1j]
        assert np.allclose(points, np.exp(1j * np.linspace(0, np.pi, n)), atol=1e-6)


def test_features_are_guessed_by_a_gaussian(taught):
    looks = taught.Looks(3)
    outputs, features = torch.randn(2, 8, 3, generator=rng())
    law = Independent(Normal(outputs, looks.spread), 1)
    constant = law.log_prob(outputs)
    assert torch.allclose(looks.log_q(outputs, features), law.log_prob(features) - constant)
    centred = Independent(Normal(torch.zeros(8, 3), looks.spread), 1)
    assert torch.allclose(looks.indifference(outputs), kl_divergence(centred, law), atol=1e-5)
    assert looks(features) is features
    assert not list(looks.parameters())


def test_features_take_the_place_of_factors(taught, digits):
    features = torch.randn(len(digits), 5, generator=rng())
    plain = digits.batches(16, 0)
    stream = taught.FeatureBatches(plain, features)
    for step in (0, 7):
        batch = stream[step]
        assert torch.equal(batch.images, plain[step].images)
        assert torch.equal(batch.factors, features[plain[step].index])


def test_close_faces_keep_to_their_ranges(taught):
    found = taught.close_ups(60, 5, 0)
    assert found.image_shape == (3, 32, 32)
    assert torch.equal(found.images, taught.close_ups(60, 5, 0).images)
    assert not torch.equal(found.images, taught.close_ups(60, 5, 1).images)
    for column, values in zip(found.factors.T, found.factor_values, strict=True):
        assert 0 <= column.min() <= column.max() < len(values)
        assert len(column.unique()) > (len(values) - 1) / 2
    assert found.factor_values[found.column("yaw")] == (-20, -10, 0, 10, 20)
    assert found.factor_values[found.column("light")] == (-50, -25, 0, 25, 50)
    assert found.factor_values[found.column("intensity")] == (1.0,)
    assert found.factor_values[found.column("background")] == ("grey",)
    assert found.factor_sizes == (5, 8, 1, 5, 1, 5, 6, 1, 1, 1)


def test_a_close_up_follows_the_head(taught):
    """Eyes and mouth are where they are in the frontal picture; not so in a cut that stays."""
    rows = {name: torch.zeros(1, dtype=torch.int64) for name in taught.faces.NAMES}
    rows |= {"identity": torch.arange(3).repeat_interleave(5), "yaw": torch.arange(2, 7).repeat(3)}
    rows |= {"intensity": torch.tensor([3]), "pitch": torch.tensor([2]), "light": torch.tensor([3])}
    factors = torch.stack([row.expand(15) for row in rows.values()], 1)
    off = []
    for own in taught.close_up(factors).float().view(3, 5, 3, 32, 32):
        middle = own[2, :, :, 11:21]
        for picture in own[[0, 4]]:
            errors = [(picture[:, :, k : k + 10] - middle).square().mean() for k in range(23)]
            off.append(torch.stack(errors).argmin().item() - 11)
    assert max(map(abs, off)) <= 3  # 28 sin(20°) = 10 pixels without following


def test_a_task_gives_factors_or_features(taught, digits):
    of = taught.Faces(digits, digits.subset(torch.arange(9)), None, digits.batches(16, 0))
    by_factors = taught.Task(of, None, None)
    assert by_factors.batches is of.batches
    assert torch.equal(by_factors.given(of.test), of.test.factors)
    brightness = taught.Task(of, None, None, lambda x: x.mean((2, 3)))
    assert torch.equal(brightness.given(of.test), of.test.floats().mean((2, 3)))
    batch = brightness.batches[3]
    assert torch.equal(batch.images, of.batches[3].images)
    assert torch.allclose(batch.factors, batch.images.mean((2, 3)), atol=1e-6)


class FacePainter:
    """Images are their levels, a channel a factor; z1 holds all, z2 is obeyed or not."""

    def __init__(self, specified, obeys):
        self.specified, self.obeys = specified, obeys

    def posterior(self, x, z2):
        return x.flatten(1), torch.full((len(x), 4), -60.0)

    def decode(self, z1, z2):
        made = z1.clone()
        if self.obeys:
            made[:, self.specified.columns[0]] = (z2 @ self.specified.tables[0].T).argmax(1) / 255
        return made[:, :, None, None]


def faces_by_levels(taught, n=4_000):
    """Random levels as images: (Faces whose judge reads them off, their train and test levels)."""
    names, sizes = ("expression", "yaw", "light", "skin"), (8, 5, 7, 6)
    levels = torch.stack([torch.randint(k, (n,), generator=rng(k)) for k in sizes], 1)
    images = levels.to(torch.uint8)[:, :, None, None]
    drawn = data.FactorData(
        "levels", images, levels, names, sizes, tuple(map(tuple, map(range, sizes)))
    )
    train, test = drawn.split(0.85, 0)
    return taught.Faces(train, test, lambda x: (255 * x.flatten(1)).round().long(), None)


@pytest.mark.parametrize("name", ["expression", "yaw"])
@pytest.mark.parametrize("obeys", [True, False])
def test_swaps_of_faces_of_a_network_that_is_known(taught, name, obeys):
    of = faces_by_levels(taught)
    k = of.test.column(name)
    table = taught.arc(5) if name == "yaw" else torch.eye(8)
    vae = FacePainter(taught.Specified([k], [table]), obeys)
    found = taught.judge_faces(of, vae, name, of.test.factors)
    other = {"expression": "yaw", "yaw": "expression"}[name]
    assert set(found) == {"follows", *(f"{kept} kept" for kept in (other, "light", "skin"))}
    for kept in (other, "light", "skin"):
        assert found[f"{kept} kept"] == pytest.approx(1)
    if obeys:
        assert found["follows"] == pytest.approx(1)
    elif name == "yaw":  # R² of independent levels
        assert found["follows"] == pytest.approx(-1, abs=0.7)
    else:
        assert found["follows"] == pytest.approx(1 / 8, abs=0.12)
    # z1 of this network tells everything; without the factor's own channel, nothing of it.
    given = of.train.factors, of.test.factors
    assert taught.face_leak(of, vae, name, *given) > 0.9
    tell_all = vae.posterior
    hidden = (torch.arange(4) != k).float()
    vae.posterior = lambda x, z2: (tell_all(x, z2)[0] * hidden, tell_all(x, z2)[1])
    assert taught.face_leak(of, vae, name, *given) < 0.3


def test_expressions_agree_by_accuracy_and_angles_by_r2(taught):
    of = faces_by_levels(taught)
    levels, off = of.test.factors, of.test.factors.clone()
    off[::2] = (off[::2] + 1).clamp(max=4)
    for k, name in enumerate(of.test.factor_names):
        seen, true = off[:, k].double(), levels[:, k].double()
        expected = (seen == true).double().mean()
        if name in ("yaw", "light"):
            expected = 1 - (seen - true).square().sum() / (true - true.mean()).square().sum()
        assert of.agreement(off, levels, name) == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize(("exercise", "answer"), REJECTED)
def test_rarer_mistakes_are_rejected(exercise, answer):
    assert_rejected(NOTEBOOK, exercise, "is not|expected|is nan", answer)

"""What notebook 02 teaches, against enumeration, closed forms and SciPy, in float64."""

import itertools
import math
import symtable
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from answers_02 import REJECTED, RIGHT, WRONG, penalty  # noqa: F401 (test_answers.py looks for them here)
from exercises import assert_rejected
from scipy.stats import entropy, f_oneway, multivariate_normal, norm

from dvae_lib import data, workbook
from dvae_lib.paths import notebook_path

NOTEBOOK = "02_unsupervised_objectives"


@pytest.fixture(scope="module")
def taught():
    return workbook.definitions(NOTEBOOK)


def random_tables(*shape, seed=0):
    """Tables (N, A, B) of probabilities, some entries zero."""
    tables = np.random.default_rng(seed).random(shape) ** 3
    tables[:, 0, 0] = 0
    return torch.from_numpy(tables / tables.sum((1, 2), keepdims=True))


def test_the_three_parts_against_scipy(taught):
    tables = random_tables(7, 4, 5)
    p_1 = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    p_2 = torch.full((5,), 0.2, dtype=torch.float64)
    q_z = tables.mean(0).numpy()
    q_1, q_2 = q_z.sum(1), q_z.sum(0)
    expected = [
        np.mean([entropy(t.ravel(), q_z.ravel()) for t in tables.numpy()]),
        entropy(q_z.ravel(), np.outer(q_1, q_2).ravel()),
        entropy(q_1, p_1.numpy()) + entropy(q_2, p_2.numpy()),
    ]
    parts = [float(part) for part in taught.three_way_split(tables, p_1, p_2)]
    assert parts == pytest.approx(expected, abs=1e-9)
    prior = np.outer(p_1, p_2).ravel()
    whole = np.mean([entropy(t.ravel(), prior) for t in tables.numpy()])
    assert sum(parts) == pytest.approx(whole, abs=1e-9)


def test_the_linear_model_reaches_the_rate_of_rate_distortion_theory(taught):
    """Where any axis may use any pixel; which axis takes which is up to the start."""
    variances = torch.tensor([3.0, 0.8], dtype=torch.float64)
    beta = torch.tensor([1.0, 4.0, 12.0], dtype=torch.float64)
    D, rates, _ = taught.train_linear(variances, 0.1, lambda D, R: D + beta * R.sum(1), 3)
    expected = [[max(0, 0.5 * math.log(v / (b * 0.1))) for v in (3.0, 0.8)] for b in (1, 4, 12)]
    assert rates.sort(1, descending=True).values.numpy() == pytest.approx(
        np.array(expected), abs=1e-2
    )
    # Reverse water-filling: each pixel's error is beta s^2, or its variance if that is less.
    errors = [sum(min(v, b * 0.1) for v in (3.0, 0.8)) / 0.2 for b in (1, 4, 12)]
    assert D.tolist() == pytest.approx(errors, rel=1e-2)


def test_a_price_and_a_noise_enter_as_their_product(taught):
    """beta = 4 at s^2 = 0.1 is beta = 1 at s^2 = 0.4, with four times the distortion."""
    variances = torch.tensor([3.0, 1.0, 0.6], dtype=torch.float64)
    dear = taught.train_linear(variances, 0.1, lambda D, R: D + 4 * R.sum(1), 2)
    noisy = taught.train_linear(variances, 0.4, lambda D, R: D + R.sum(1), 2)
    for one, other in zip(dear, noisy, strict=True):
        scale = 4 if one.ndim == 1 else 1
        torch.testing.assert_close(one, scale * other, rtol=1e-3, atol=1e-3)


def test_unequal_variances_align_axes_and_equal_ones_do_not(taught):
    """By PCA in NumPy; and where decoders turn, they lose nothing."""
    unequal, equal = torch.tensor([[5.0, 2.0, 0.7], [2.0, 2.0, 2.0]], dtype=torch.float64)
    _, _, B = taught.train_linear(unequal, 0.1, lambda D, R: D + R.sum(1), 5)
    assert taught.largest_shares(B).min() > 0.99
    for decoder in B.numpy():  # columns are principal directions of what it generates
        eigenvalues, directions = np.linalg.eigh(decoder @ decoder.T)
        assert eigenvalues == pytest.approx([0.6, 1.9, 4.9], rel=0.02)
        assert np.abs(directions).max(0) == pytest.approx(1, abs=0.01)
    D, R, B = taught.train_linear(equal, 0.1, lambda D, R: D + R.sum(1), 5)
    loss = D + R.sum(1)
    assert (loss.max() - loss.min()).item() < 1e-3
    assert taught.largest_shares(B).amin(1).median() < 0.9  # a start may lie straight by chance
    assert (B @ B.mT).numpy() == pytest.approx(
        1.9 * np.eye(3)[None].repeat(5, 0), abs=0.02
    )  # the same model p(x) from every start


def test_the_largest_shares_of_known_decoders(taught):
    turned = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    shares = taught.largest_shares(
        torch.stack([torch.diag(torch.tensor([3.0, -2.0])).double(), turned])
    )
    assert shares.numpy() == pytest.approx(np.array([[1, 1], [0.64, 0.64]]))


def test_the_split_of_draws_with_every_image_at_hand(taught):
    """Three images, two axes: log q(z) and log q(z_j) from SciPy's densities."""
    generator = torch.Generator().manual_seed(0)
    mean, log_var, z = torch.randn(3, 3, 2, generator=generator, dtype=torch.float64)
    log_w = torch.full((3, 3), -math.log(3), dtype=torch.float64)
    parts = taught.split_of_draws(mean, log_var, z, log_w)
    sd = (0.5 * log_var).exp().numpy()
    for i, row in enumerate(z.numpy()):
        joint = [
            multivariate_normal.pdf(row, m, np.diag(s**2)) for m, s in zip(mean, sd, strict=True)
        ]
        single = norm.pdf(row, mean, sd)  # (image, axis)
        log_q_z, log_q_zj = math.log(np.mean(joint)), np.log(single.mean(0)).sum()
        expected = [math.log(joint[i]) - log_q_z, log_q_z - log_q_zj]
        expected.append(log_q_zj - norm.logpdf(row).sum())
        assert [float(part[i]) for part in parts] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("batch", "n_data"), [(2, 6), (3, 6), (5, 6), (6, 6)])
def test_stratified_weights_are_unbiased_over_all_batches(taught, batch, n_data):
    """Over every ordered batch that begins with image 0: its mean weight is 1/N for each image."""
    weights = taught.stratified(batch, n_data)
    assert torch.allclose(weights.sum(1), torch.ones(batch, dtype=torch.float64))
    total, n = torch.zeros(n_data, dtype=torch.float64), 0
    for others in itertools.permutations(range(1, n_data), batch - 1):
        total[[0, *others]] += weights[0]
        n += 1
    assert torch.allclose(total / n, torch.full((n_data,), 1 / n_data, dtype=torch.float64))
    for row in range(batch):
        assert weights[row, row].item() == pytest.approx(1 / n_data)


def test_the_common_mistake_puts_the_weight_into_column_0(taught):
    wrong = taught.stratified(5, 100, "column 0")
    assert torch.equal(wrong[:, 0], torch.full((5,), 0.01, dtype=torch.float64))
    flat = torch.full((25,), 1 / 4, dtype=torch.float64)
    flat[::5], flat[1::5] = 1 / 100, (100 - 4) / 400  # steps of M + 1 = B
    assert torch.allclose(wrong, flat.view(5, 5))


def test_the_gaussian_mmd_against_quadrature(taught):
    """One axis: the three expectations as double integrals over a grid."""
    grid = np.linspace(-9, 9, 1201)
    step, h, mu, v = grid[1] - grid[0], 1.3, 0.7, 0.5
    kernel = np.exp(-((grid[:, None] - grid) ** 2) / (2 * h**2)) * step**2
    q, p = norm.pdf(grid, mu, math.sqrt(v)), norm.pdf(grid)
    expected = q @ kernel @ q + p @ kernel @ p - 2 * q @ kernel @ p
    value = taught.gaussian_mmd(torch.tensor([mu], dtype=torch.float64), v, h)
    assert value == pytest.approx(expected, abs=1e-9)


def test_the_gaussian_total_correlation(taught):
    torch.manual_seed(0)
    z = torch.randn(200_000, 2, dtype=torch.float64)
    z[:, 1] = 0.9 * z[:, 0] + math.sqrt(1 - 0.81) * z[:, 1]
    assert taught.gaussian_tc(z) == pytest.approx(0.830, abs=0.01)


def test_elbo_parts_with_a_full_covariance(taught):
    from torch.distributions import MultivariateNormal, kl_divergence

    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    A = torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)
    images = torch.zeros(4, 1, 2, 2, dtype=torch.float64)
    pair = (lambda x: (mean, A), lambda z: images)
    log_p, kl = taught.elbo_parts(*pair, None, images, torch.zeros(4, 3, dtype=torch.float64))
    prior = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    torch.testing.assert_close(kl, kl_divergence(MultivariateNormal(mean, A @ A.mT), prior))
    assert log_p.numpy() == pytest.approx(4 * norm.logpdf(0, 0, 0.1))


def test_the_explained_share_of_the_variance(taught):
    assert taught.explained_share([[1.0, 1.0], [3.0, 3.0]]) == pytest.approx(1)
    assert taught.explained_share([[1.0, 3.0], [3.0, 1.0]]) == pytest.approx(0)
    assert taught.explained_share([[0.0, 2.0], [2.0, 4.0]]) == pytest.approx(0.5)


@pytest.mark.parametrize(("n_settings", "n_seeds"), [(2, 2), (3, 2), (2, 3)])
def test_the_share_adjusted_for_chance_is_zero_over_all_shuffles(taught, n_settings, n_seeds):
    """Every way to deal the same values out to the settings: none of them has an effect."""
    values = [0.0, 1.0, 1.5, 4.0, 4.2, 9.0][: n_settings * n_seeds]
    dealt = [np.reshape(order, (n_settings, n_seeds)) for order in itertools.permutations(values)]
    chance = np.mean([taught.explained_share(torch.tensor(d)) for d in dealt])
    assert chance == pytest.approx((n_settings - 1) / (n_settings * n_seeds - 1))
    assert np.mean([taught.adjusted_share(torch.tensor(d)) for d in dealt]) == pytest.approx(0)


def test_the_adjusted_share_is_that_of_an_analysis_of_variance(taught):
    """1 - MS within / MS total, whose F statistic SciPy has."""
    values = np.random.default_rng(0).normal(size=(6, 5)) + np.arange(6)[:, None] / 3
    between, within = 5 * f_oneway(*values).statistic, 24  # sums of squares in units of MS within
    expected = 1 - 1 / ((between + within) / 29)
    assert taught.adjusted_share(values) == pytest.approx(expected)


def test_the_adjusted_share_of_a_setting_that_decides_is_one(taught):
    assert taught.adjusted_share([[1.0, 1.0], [3.0, 3.0]]) == pytest.approx(1)
    # As in the first version of the page: .52 of 20 values in 4 settings.
    values = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    explained = taught.explained_share(values)
    assert taught.adjusted_share(values) == pytest.approx(1 - (1 - explained) * 19 / 16)


@pytest.mark.parametrize("reach", [(8, 4), (8, 8), (3, 6)])
def test_blobs_lie_where_their_factors_say(taught, reach):
    images = taught.blobs(*reach, levels=9)
    assert images.factor_names == ("x", "y")
    assert len(torch.unique(images.factors, dim=0)) == len(images) == 81
    pixels = images.images[:, 0].double().numpy()
    total = pixels.sum((1, 2))
    for k, of_axis in enumerate((pixels.sum(1), pixels.sum(2))):  # columns are x, rows are y
        centre = of_axis @ np.arange(16) / total
        level = images.factors[:, k].numpy()
        assert centre == pytest.approx(7.5 + reach[k] * (level / 8 - 0.5), abs=0.1)


def test_places_are_drawn_along_the_factor_that_moves(taught):
    """Codes that are their places: solid lines run along the first axis, dashed ones across."""
    images = taught.blobs(8, 8, levels=9)
    codes = torch.cat([torch.zeros(81, 1), images.factors.float()], 1)
    assert sorted(taught.position_axes(codes + 1e-3 * torch.randn(81, 3), images.factors)) == [1, 2]
    axis = taught.figures.subplots(alt="a grid of places, drawn for a test")[1]
    taught.draw_places(axis, codes, [1, 2])
    for line in axis.lines:
        x, y = line.get_data()
        moving, still = (x, y) if line.get_linestyle() == "-" else (y, x)
        assert np.ptp(moving) == 8
        assert np.ptp(still) == 0
    assert [line.get_label() for line in axis.lines[:2]] == ["x moves", "y moves"]


def test_the_penalties_are_those_that_the_notebook_derives(taught):
    generator = torch.Generator().manual_seed(0)
    mean, log_var, eps = torch.randn(3, 16, 4, generator=generator, dtype=torch.float64)
    z, R = mean + (0.5 * log_var).exp() * eps, torch.tensor(5.0, dtype=torch.float64)
    given = mean, log_var, z, R
    penalties = taught.penalties_for(1_000)
    assert [penalties[k](*given).item() for k in ("VAE", "β-VAE 4", "β-VAE 16")] == [5, 20, 80]
    weights = torch.full((16, 16), -math.log(16_000), dtype=torch.float64)
    tc = taught.split_of_draws(mean, log_var, z, weights)[1].mean().item()
    for beta in (4, 16):
        assert penalties[f"β-TCVAE {beta}"](*given).item() == pytest.approx(5 + (beta - 1) * tc)
    covariance = np.cov(mean.numpy().T, bias=True)
    for form, d, od in (("I", 50, 5), ("II", 10, 10)):
        spread = np.diag(log_var.exp().mean(0)) if form == "II" else 0
        expected = 5 + penalty(torch.from_numpy(covariance + spread), d, od).item()
        assert penalties[f"DIP-VAE-{form}"](*given).item() == pytest.approx(expected)
    torch.manual_seed(1)
    found = penalties["InfoVAE"](*given).item()
    torch.manual_seed(1)
    expected = 400 * taught.mmd_squared(z, torch.randn_like(z), 2.0).item()
    assert found == pytest.approx(expected)  # the rate is free


def test_an_idle_axis_costs_form_i_of_dip_vae_and_not_form_ii(taught):
    """Two axes of variance 1 in the means; a third that says nothing, its posterior the prior."""
    means = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).double()
    mean = torch.cat([means, torch.zeros(4, 1)], 1)
    log_var = torch.tensor([-60.0, -60.0, 0.0]).double().expand(4, 3)
    dip = taught.objectives.dip_penalty
    assert dip(mean, log_var, 50, 5, "II").item() == pytest.approx(0)
    assert dip(mean, log_var, 50, 5, "I").item() == pytest.approx(50)


def test_sets_are_made_smaller_at_all_tiers_but_paper(taught, monkeypatch):
    sprites, rooms = data.load("sprites", n=4), data.load("rooms", n=4)
    monkeypatch.setattr(taught, "tier", "classroom", raising=False)
    assert taught.prepared(sprites).factor_names == ("shape", "scale", "x", "y")
    assert taught.prepared(sprites).image_shape == (1, 32, 32)
    assert taught.prepared(rooms).factor_names == rooms.factor_names
    assert taught.prepared(rooms).image_shape == (3, 32, 32)
    monkeypatch.setattr(taught, "tier", "paper")
    assert taught.prepared(sprites) is sprites
    assert taught.prepared(rooms) is rooms


@pytest.mark.parametrize("side", [2, 6, 32])
def test_half_size_is_a_mean_of_four(taught, side):
    pixels = np.random.default_rng(side).integers(256, size=(7, 1, side, side), dtype=np.uint8)
    factors = torch.arange(7)[:, None] % 3
    images = data.FactorData("noise", torch.from_numpy(pixels), factors, ("f",), (3,), ((0, 1, 2),))
    small = taught.half_size(images)
    blocks = images.images.numpy().reshape(7, 1, side // 2, 2, side // 2, 2).astype(float)
    assert small.images.dtype == torch.uint8
    assert small.image_shape == (1, side // 2, side // 2)
    assert np.abs(small.images.numpy() - blocks.mean((3, 5))).max() <= 0.5
    assert torch.equal(small.factors, images.factors)
    rendered = data.load("sprites", n=2)
    assert rendered.renderer
    assert taught.half_size(rendered).renderer is None  # whose images would be of another size


def test_upright_sprites_do_not_depend_on_the_orientation(taught):
    sprites = data.load("sprites", n=40)
    turned = replace(sprites, factors=sprites.factors.clone())
    turned.factors[:, 2] = (turned.factors[:, 2] + 7) % 40
    first, second = (taught.half_size(taught.upright(s)) for s in (sprites, turned))
    assert first.factor_names == ("shape", "scale", "x", "y")
    assert first.image_shape == (1, 32, 32)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.factors, sprites.factors[:, [0, 1, 3, 4]])


def test_the_total_correlation_of_spikes_sees_a_rotation(taught):
    """Four spikes on a square have independent axes; turned by 45 degrees they have not."""
    torch.manual_seed(0)
    square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).double()
    straight = taught.pair_split(square)
    turned = taught.pair_split(square @ torch.tensor([[1.0, 1.0], [-1.0, 1.0]]).double() / 2**0.5)
    assert float(straight[0]) == pytest.approx(0, abs=1e-9)
    marginal = entropy([0.25, 0.5, 0.25])
    assert float(turned[0]) == pytest.approx(2 * marginal - math.log(4), abs=0.05)
    assert float(sum(turned)) == pytest.approx(float(sum(straight)), abs=0.05)


@pytest.mark.parametrize("name", ["split", "mmd", "dip", "entangle"])
def test_no_cell_depends_on_a_name_of_a_check(name):
    """A failed check of a handed-out notebook stops in the middle, so later cells must not care."""
    cells = nbformat.read(notebook_path(NOTEBOOK), as_version=4).cells
    cells = [cell for cell in cells if cell.cell_type == "code"]
    grade_ids = [cell.metadata.get("nbgrader", {}).get("grade_id", "") for cell in cells]
    at = grade_ids.index(f"{name}_check")
    unsafe, _ = names(cells[at].source)
    for cell, grade_id in zip(cells[at + 1 :], grade_ids[at + 1 :], strict=True):
        if not grade_id.endswith("_check"):
            assigned, used = names(cell.source)
            assert not (used - assigned) & unsafe, cell.source
            unsafe -= assigned


def names(source):
    """The global names that a cell assigns, and those that it or a function in it uses."""
    top = symtable.symtable(source, "cell", "exec")
    used = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    tables = list(top.get_children())
    for table in tables:
        used |= {s.get_name() for s in table.get_symbols() if s.is_global()}
        tables += table.get_children()
    return {s.get_name() for s in top.get_symbols() if s.is_assigned()}, used


@pytest.mark.parametrize(("exercise", "answer"), REJECTED)
def test_rarer_mistakes_are_rejected(exercise, answer):
    assert_rejected(NOTEBOOK, exercise, "expected|is off|are off|not", answer)


# --- FactorVAE ------------------------------------------------------------------------------------


def test_shuffled_axes_keep_their_values_and_lose_each_other(taught):
    torch.manual_seed(0)
    z = torch.randn(4_000, 1).expand(-1, 3) * torch.tensor([1.0, -2.0, 3.0])
    shuffled = taught.shuffled_axes(z)
    assert torch.equal(shuffled.sort(0).values, z.sort(0).values)
    assert (torch.corrcoef(shuffled.T) - torch.eye(3)).abs().max() < 0.06
    for B, L in ((5, 5), (64, 10)):  # no two axes of a row come from the same image
        rows = taught.shuffled_axes(torch.arange(B)[:, None].expand(-1, L))
        assert all(len(set(row)) == L for row in rows.tolist())


@pytest.mark.parametrize("rho", [0.3, 0.8])
def test_the_true_log_odds_have_the_least_loss_and_average_to_the_tc(taught, rho):
    """ln q(z) / (q(z_1) q(z_2)) of a Gaussian pair, against seven that are near it."""
    torch.manual_seed(0)
    joint = multivariate_normal([0, 0], [[1, rho], [rho, 1]])
    z = torch.from_numpy(joint.rvs(200_000, random_state=0))

    def truth(z):
        values = joint.logpdf(z.numpy()) - norm.logpdf(z.numpy()).sum(1)
        return torch.from_numpy(values)[:, None]

    assert float(truth(z).mean()) == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.01)
    others = [(0.8, 0), (1.25, 0), (1, 0.2), (1, -0.2), (0, 0), (-1, 0), (0.9, 0.1)]

    def loss(scale, shift):
        torch.manual_seed(1)  # the same shuffle for all
        return float(taught.odds_loss(lambda z: scale * truth(z) + shift, z))

    assert loss(1, 0) < min(loss(*other) for other in others)


def test_a_classifier_learns_the_tc_of_a_pair(taught):
    torch.manual_seed(0)
    found = taught.learned_tc(taught.gaussian_draws(0.8), 500)
    assert found == pytest.approx(-0.5 * math.log(1 - 0.64), abs=0.05)


def test_factor_vae_pays_for_pixels_nats_and_total_correlation(taught, tmp_path, monkeypatch):
    """The loss of the first step, by the terms that it logs, for the same start and batch."""
    run = SimpleNamespace(device=torch.device("cpu"), folder=tmp_path)
    for name, value in {"run": run, "seed": 0, "learning_rate": 1e-3}.items():
        monkeypatch.setattr(taught, name, value, raising=False)
    network = workbook.definitions("01_vae").VAE
    sprites = taught.half_size(data.load("sprites", n=64))

    def first(gamma, each):
        about = f"{gamma} {each}", 1, each, ((16,), 1e-3)
        _, history = taught.train_factor_vae(network, sprites, gamma, *about)
        return {name: values[0] for name, values in history.scalars.items()}

    plain, dear = first(0, 1), first(1e4, 4)
    assert plain["0 loss"] == pytest.approx(plain["0 D"] + plain["0 R"])
    assert dear["0 D"] == pytest.approx(4 * plain["0 D"])
    assert dear["0 TC"] == pytest.approx(plain["0 TC"])
    expected = dear["0 D"] + dear["0 R"] + 1e4 * dear["0 TC"]
    assert dear["0 loss"] == pytest.approx(expected, rel=1e-5)

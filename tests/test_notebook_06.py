"""What notebook 06 teaches, against brute force, finite differences, SciPy and hand-made codes."""

import copy
import functools
import math
from fractions import Fraction
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from answers_06 import REJECTED, RIGHT, WRONG  # noqa: F401 (test_answers.py looks for them here)
from exercises import assert_rejected
from scipy import optimize, stats
from torch.distributions import Independent, Normal, kl_divergence

from dvae_lib import data, metrics, paths, training, workbook
from dvae_lib.data import faces

NOTEBOOK = "06_gated_vae"
TINY = {"channels": (8, 8, 8), "hidden": 32}
CHANCE = 1e-3  # p-value below which draws are not those that they should be
FORMS = list(product(("input", "target"), (False, True)))


def run_cell(module, begins):
    """Execute the one code cell of the notebook that begins so: constants that a call makes."""
    cells = nbformat.read(paths.notebook_path(NOTEBOOK), as_version=4).cells
    (source,) = [c.source for c in cells if c.cell_type == "code" and c.source.startswith(begins)]
    exec(source, module.__dict__)


@pytest.fixture(scope="module")
def taught():
    """The notebook's definitions, with what its functions take from its cells."""
    module = workbook.definitions(NOTEBOOK)
    module.run = SimpleNamespace(device=torch.device("cpu"), folder=Path("a folder"))
    module.seed, module.sizes, module.batch_size = 0, TINY, 4
    for begins in ("A_S, A_T = ", "FAMILIES = ", "LOSSES = "):
        run_cell(module, begins)
    return module


@pytest.fixture(scope="module")
def two_people(taught):
    return taught.films(2, 0)


@pytest.fixture
def tiny(taught):
    """A small network as in evaluation, and three pairs with masks of their own."""
    torch.manual_seed(0)
    vae = taught.PairVAE((3, 32, 32), 6, sigma=0.3, **TINY).eval()
    x, y = torch.rand(2, 3, 3, 32, 32, generator=rng())
    open_axes = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1]]).bool()
    with torch.no_grad():  # as new, the decoder hardly heeds its codes
        vae.decoder.layers[0].weight *= 10
    return vae, x, y, open_axes


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def a_set(sizes, n, seed=0, side=2):
    """Images of noise with factors that are drawn at random."""
    draws = rng(seed)
    factors = torch.stack([torch.randint(k, (n,), generator=draws) for k in sizes], 1)
    images = torch.randint(256, (n, 1, side, side), generator=draws, dtype=torch.uint8)
    names = tuple(f"f{k}" for k in range(len(sizes)))
    values = tuple(tuple(range(k)) for k in sizes)
    return data.FactorData("noise", images, factors, names, tuple(sizes), values)


def a_factor_each(taught, images, sizes):
    """A partition in which the k-th group has the k-th factor alone."""
    groups = {f"g{k}": (name,) for k, name in enumerate(images.factor_names)}
    return taught.Partition.of(images, groups, sizes)


# --- the pairing rule ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_partners_by_brute_force(taught, seed):
    """With the place worked out in fractions, for shares down to 0 and up to almost 1."""
    random = np.random.default_rng(seed)
    N, K, B = (int(random.integers(1, high)) for high in (60, 5, 40))
    levels = random.integers(0, random.integers(1, 14), (N, K))
    columns = random.permutation(K)[: random.integers(1, K + 1)].tolist()
    anchors, shares = random.integers(0, N, B), random.random(B)
    shares[: B // 4], shares[B // 4 : B // 2] = 0.0, np.nextafter(1, 0)
    expected = []
    for anchor, share in zip(anchors, shares, strict=True):
        rows = [r for r in range(N) if all(levels[r, c] == levels[anchor, c] for c in columns)]
        assert anchor in rows
        expected.append(rows[math.floor(len(rows) * Fraction(share))])
    given = (torch.from_numpy(part) for part in (levels, anchors, shares))
    factors, *rest = given
    assert taught.partners(factors, columns, *rest).tolist() == expected


def test_partners_are_uniform_over_all_that_fit(taught):
    levels = torch.cartesian_prod(torch.arange(3), torch.arange(4), torch.arange(5))
    anchors, shares = torch.full((4_000,), 37), torch.rand(4_000, generator=rng())
    found = taught.partners(levels, [1], anchors, shares)
    (fit,) = (levels[:, 1] == levels[37, 1]).nonzero(as_tuple=True)
    counts = found.bincount(minlength=60)
    assert counts[fit].sum() == 4_000
    assert stats.chisquare(counts[fit]).pvalue > CHANCE


# --- the gate ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rowwise", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (16, 2)])
def test_the_gate_is_an_identity_to_the_bit_and_a_stop(taught, shape, rowwise):
    z = torch.randn(shape, generator=rng()) * 10 ** torch.randint(-30, 30, shape, generator=rng(1))
    z[0, 0] = -0.0
    z[-1, -1] = 1e-44  # one of float32's smallest
    open_axes = torch.rand(shape if rowwise else shape[1:], generator=rng(2)) < 0.5
    leaf = z.clone().requires_grad_()
    found = taught.gate(leaf, open_axes)
    assert found.detach().view(torch.int32).equal(z.view(torch.int32))
    assert leaf.detach().view(torch.int32).equal(z.view(torch.int32))
    above = torch.randn(shape, generator=rng(3))
    (grad,) = torch.autograd.grad((found * above).sum() + 0 * leaf.sum(), leaf)
    opened = open_axes.expand(shape)
    assert grad[opened].equal(above[opened])
    assert (grad[~opened] == 0).all()


def test_beyond_the_gate_derivatives_are_those_of_finite_differences(taught):
    """Of first and second order, on open axes; the rows and columns of closed ones are 0."""
    z, open_axes = normal(4), torch.tensor([True, False, True, False])
    mixing = normal(4, 4, seed=1)

    def loss(z):
        return (torch.tanh(z @ mixing)).square().sum() + z.prod()

    def gated(z):
        return loss(taught.gate(z[None], open_axes)[0])

    steps = 1e-4 * torch.eye(4, dtype=torch.float64)
    slope = torch.stack([loss(z + e) - loss(z - e) for e in steps]) / 2e-4
    grad = torch.autograd.functional.jacobian(gated, z)
    assert torch.allclose(grad[open_axes], slope[open_axes], atol=1e-6)
    assert (grad[~open_axes] == 0).all()
    curvature = [
        torch.stack([loss(z + a + b) - loss(z + a - b) - loss(z - a + b) + loss(z - a - b)])
        for a in steps
        for b in steps
    ]
    curvature = torch.stack(curvature).view(4, 4) / 4e-8
    both = open_axes[:, None] & open_axes
    hessian = torch.autograd.functional.hessian(gated, z)
    assert torch.allclose(hessian[both], curvature[both], atol=1e-5)
    assert (hessian[~both] == 0).all()
    assert curvature[~both].abs().min() > 1e-3


# --- the linear model ----------------------------------------------------------------------------

KINDS = {"s": slice(0, 4), "t": slice(4, 8), "all": slice(0, 8)}  # and the axes that are open


def correlations(kind, p):
    """E s_x s_y and E t_x t_y."""
    return {"s": (1 - p, 0), "t": (0, 1 - p), "all": (1, 1)}[kind]


def drawn(taught, kind, p, n, random):
    """Images x, y (n, 8) of pairs of a kind, NumPy, a share p of those of one group wrong."""
    A_S, A_T = taught.A_S.numpy(), taught.A_T.numpy()
    s_x, t_x, s_y, t_y = random.standard_normal((4, n, 2))
    right = random.random(n) >= p
    if kind == "s":
        s_y[right] = s_x[right]
    elif kind == "t":
        t_y[right] = t_x[right]
    else:
        s_y, t_y = s_x, t_x
    return s_x @ A_S.T + t_x @ A_T.T, s_y @ A_S.T + t_y @ A_T.T


def a_model(seed):
    """W, D and log_var that are not at rest."""
    W, D = normal(2, 8, 8, seed=seed) / 3
    return W, D, normal(8, seed=seed + 100) / 2


def of_kind(taught, parameters, noise, form, kind, p):
    """Nats of pairs of one kind, NumPy, from the covariance of (s_x, t_x, s_y, t_y)."""
    W, D, log_var = parameters
    A, nothing = np.concatenate([taught.A_S, taught.A_T], 1), np.zeros((8, 4))
    of_x, of_y = np.concatenate([A, nothing], 1), np.concatenate([nothing, A], 1)
    cross = np.diag(np.repeat(correlations(kind, p), 2))
    cov = np.block([[np.eye(4), cross], [cross.T, np.eye(4)]])
    code, v = W @ of_x, np.exp(log_var)
    if form == "target":
        code = W @ of_y
        code[KINDS[kind]] = (W @ of_x)[KINDS[kind]]
    error = D @ code - of_y
    squared = np.trace(error @ cov @ error.T) + (v * D**2).sum()
    return squared / 2 / noise + (np.trace(code @ cov @ code.T) + (v - 1 - log_var).sum()) / 2


def slopes(f, parameters):
    """Central differences of f by each of the parameters."""
    found = []
    for k, part in enumerate(parameters):
        slope = np.zeros(part.shape)
        for where in np.ndindex(part.shape):
            values = []
            for step in (1e-4, -1e-4):
                moved = [other.copy() for other in parameters]
                moved[k][where] += step
                values.append(f(moved))
            slope[where] = (values[0] - values[1]) / 2e-4
        found.append(slope)
    return found


def gradient_field(taught, parameters, *given):
    """What moves W, D and log_var in training: three tensors."""
    leaves = [part.clone().requires_grad_() for part in parameters]
    return torch.autograd.grad(taught.expected_loss(*leaves, *given), leaves)


def test_the_columns_of_both_groups_are_orthonormal(taught):
    A = torch.cat([taught.A_S, taught.A_T], 1)
    assert A.shape == (8, 4)
    assert torch.allclose(A.T @ A, torch.eye(4, dtype=torch.float64))
    assert taught.IN_S.tolist() == [True] * 4 + [False] * 4


@pytest.mark.parametrize("form", ["input", "target"])
@pytest.mark.parametrize("p", [0.0, 0.35, 1.0])
def test_the_expected_loss_is_that_of_samples(taught, form, p):
    """Images, pairs and codes are drawn; the KL term is PyTorch's. The gate changes no value."""
    W, D, log_var = a_model(3)
    n, noise, mean, variance, random = 40_000, 0.3, 0.0, 0.0, np.random.default_rng(0)
    for kind, own in KINDS.items():
        x, y = drawn(taught, kind, p, n, random)
        code = x @ W.numpy().T
        if form == "target":
            code, of_x = y @ W.numpy().T, code
            code[:, own] = of_x[:, own]
        q = Independent(Normal(torch.as_tensor(code), (0.5 * log_var).exp()), 1)
        z = code + np.exp(log_var.numpy() / 2) * random.standard_normal(code.shape)
        prior = Independent(Normal(torch.zeros(8).double(), 1.0), 1)
        nats = ((z @ D.numpy().T - y) ** 2).sum(1) / (2 * noise) + kl_divergence(q, prior).numpy()
        mean, variance = mean + nats.mean(), variance + nats.var() / n
    for gated in (False, True):
        found = taught.expected_loss(W, D, log_var, noise, form, gated, p).item()
        assert abs(found - mean) < 4 * math.sqrt(variance)


@pytest.mark.parametrize(("form", "gated"), FORMS)
@pytest.mark.parametrize("p", [0.0, 0.35])
def test_values_and_gradients_of_the_expected_loss(taught, form, gated, p):
    """By finite differences, kind by kind: an axis is taught by the kinds for which it is open."""
    model, total = [part.numpy() for part in a_model(4)], 0
    W, D, log_var = np.zeros((8, 8)), np.zeros((8, 8)), np.zeros(8)
    for kind, own in KINDS.items():
        rows = own if gated else slice(0, 8)
        total += of_kind(taught, model, 0.2, form, kind, p)
        by_W, by_D, by_log_var = slopes(
            lambda moved, kind=kind: of_kind(taught, moved, 0.2, form, kind, p), model
        )
        W[rows] += by_W[rows]
        log_var[rows] += by_log_var[rows]
        D += by_D  # is never stopped
    given = 0.2, form, gated, p
    assert taught.expected_loss(*a_model(4), *given).item() == pytest.approx(total, rel=1e-12)
    for found, right in zip(
        gradient_field(taught, a_model(4), *given), (W, D, log_var), strict=True
    ):
        assert np.allclose(found, right, atol=1e-6)


def test_right_pairs_are_the_default(taught):
    model = a_model(5)
    for form, gated in FORMS:
        plain = taught.expected_loss(*model, 0.1, form, gated)
        assert plain.equal(taught.expected_loss(*model, 0.1, form, gated, 0.0))


def test_contrasts_are_gains_from_s_to_s(taught):
    """By pushing the two unit vectors of s through one partition at a time."""
    W, D, _ = a_model(5)
    found = []
    for axes in (range(4), range(4, 8)):
        gain = 0.0
        for column in taught.A_S.T:
            code = torch.zeros(8, dtype=torch.float64)
            code[axes] = (W @ column)[axes]
            gain += (column @ D @ code).item() / 2
        found.append(gain)
    assert taught.contrasts(W, D) == pytest.approx(found)


def at_rest(c, rho, noise):
    """w, v, d of one number and one axis, each the best for its own teachers, by SciPy.

    c and rho: the mean of s_x s_y in the pairs that teach the encoder, and the decoder.
    """

    def nats(w, log_v, d, agree):
        error = d**2 * w**2 - 2 * agree * d * w + 1 + d**2 * np.exp(log_v)
        return error / 2 / noise + (w**2 + np.exp(log_v) - 1 - log_v) / 2

    def encoder(d):
        w = optimize.minimize_scalar(lambda w: nats(w, 0, d, c), tol=1e-12).x
        return w, optimize.minimize_scalar(lambda log_v: nats(w, log_v, d, c), tol=1e-12).x

    def drift(d):
        w, log_v = encoder(d)
        return optimize.minimize_scalar(lambda d: nats(w, log_v, d, rho), tol=1e-12).x - d

    d = optimize.brentq(drift, 1e-4, 1)
    w, log_v = encoder(d)
    return w, math.exp(log_v), d


def teachers(form, gated, p):
    """The means of s_x s_y, or of s_y s_y where a closed axis holds y's, over the kinds: c, rho."""
    if form == "target":
        assert p == 0
        return 1, 1
    every = [correlations(kind, p)[0] for kind in KINDS]
    of_own = [correlations(kind, p)[0] for kind in ("s", "all")]
    return np.mean(of_own if gated else every), np.mean(every)


RESTS = [
    ("input", True, 0.0, 0.1),
    ("input", True, 0.6, 0.1),
    ("input", True, 0.3, 0.05),
    ("input", True, 0.3, 0.2),
    ("input", False, 0.0, 0.1),
    ("input", False, 0.3, 0.15),
    ("target", True, 0.0, 0.1),
    ("target", True, 0.0, 0.2),
    ("target", False, 0.0, 0.1),
    ("target", False, 0.0, 0.2),
]


def page(form, gated, p, noise):
    """The notebook's formulas of section 3: contrast, w, v and d."""
    rho, c = (2 - p) / 3, 1 - p / 2
    if form == "target":
        rho = c = 1
    elif not gated:
        c = rho
    a = rho - noise / c
    d = math.sqrt(a * noise / (c - a))
    return a, c * d / (d**2 + noise), noise / (d**2 + noise), d


@pytest.mark.parametrize(("form", "gated", "p", "noise"), [*RESTS, ("input", True, 0.9, 0.1)])
def test_the_formulas_are_rest_points_by_scipy(form, gated, p, noise):
    w, v, d = at_rest(*teachers(form, gated, p), noise)
    assert page(form, gated, p, noise) == pytest.approx((d * w, w, v, d), abs=1e-5)
    if form == "target":
        assert page(form, gated, p, noise)[0] == pytest.approx(1 - noise)


def test_without_noise_the_gated_encoder_grows_without_end():
    found = [at_rest(1, 2 / 3, noise) for noise in (1e-2, 1e-3, 1e-4)]
    for (w, _, d), (larger, _, smaller) in zip(found, found[1:], strict=False):
        assert larger / w == pytest.approx(math.sqrt(10), rel=0.03)
        assert d / smaller == pytest.approx(math.sqrt(10), rel=0.03)


def placed(taught, form, gated, p, noise, seed=0):
    """W, D, log_var of the formulas, in rotated axes: gated each group in two of its partition.

    Ungated all four numbers are in any four axes; in the target form as if gated.
    """
    _, w, v, d = page(form, gated, p, noise)
    W, D, log_var = torch.zeros(8, 8), torch.zeros(8, 8), torch.zeros(8)
    W, D, log_var = W.double(), D.double(), log_var.double()
    random = np.random.default_rng(seed)
    A, parts = torch.cat([taught.A_S, taught.A_T], 1), [(taught.A_S, range(4))]
    parts += [(taught.A_T, range(4, 8))]
    if form == "input" and not gated:
        parts = [(A, range(8))]
    for columns, axes in parts:
        n = columns.shape[1]
        chosen = random.permutation(axes)[:n]
        turned = columns @ torch.as_tensor(stats.ortho_group.rvs(n, random_state=random))
        W[chosen], D[:, chosen], log_var[chosen] = w * turned.T, d * turned, math.log(v)
    return W, D, log_var


@pytest.mark.parametrize(("form", "gated", "p", "noise"), RESTS)
def test_nothing_moves_the_matrices_of_the_formulas(taught, form, gated, p, noise):
    """Whatever the rotation; gated, and in the target form, s is in its own partition alone."""
    for seed in range(3):
        model = placed(taught, form, gated, p, noise, seed)
        for slope in gradient_field(taught, model, noise, form, gated, p):
            assert slope.abs().max() < 1e-9
        a, found = page(form, gated, p, noise)[0], taught.contrasts(*model[:2])
        if form == "input" and not gated:
            assert sum(found) == pytest.approx(a)
        else:
            assert found == pytest.approx([a, 0])


@pytest.mark.parametrize(
    ("form", "gated", "p", "noise"),
    [("input", True, 0.0, 0.1), ("input", True, 0.9, 0.1), ("input", False, 0.3, 0.1)]
    + [("target", False, 0.0, 0.1), ("target", True, 0.0, 0.1)],
)
def test_they_come_back_after_a_push(taught, form, gated, p, noise):
    """No push grows: the gradient's own derivatives have no eigenvalue below 0."""
    model = torch.cat([part.flatten() for part in placed(taught, form, gated, p, noise)])

    def field(flat):
        parts = flat[:64].view(8, 8), flat[64:128].view(8, 8), flat[128:]
        return torch.cat(
            [g.flatten() for g in gradient_field(taught, parts, noise, form, gated, p)]
        )

    pushes = 1e-5 * torch.eye(136, dtype=torch.float64)
    jacobian = torch.stack([(field(model + e) - field(model - e)) / 2e-5 for e in pushes], 1)
    real = torch.linalg.eigvals(jacobian).real
    assert real.min() > -1e-5
    # What does not come back are rotations, of two numbers a partition or of all four, and what W
    # makes of the four directions in which no image lies.
    rotations = 6 if (form, gated) == ("input", False) else 2
    assert (real < 0.01).sum() == rotations + 8 * 4


@pytest.fixture(scope="module")
def at_the_end(taught):
    """train_linear, each once."""
    return functools.cache(taught.train_linear)


@pytest.mark.parametrize(("form", "gated", "p", "noise"), RESTS)
def test_trained_matrices_have_the_contrasts_of_the_formulas(
    taught, at_the_end, form, gated, p, noise
):
    W, D, nats = at_the_end(form, gated, noise, p, 500 if gated else 600)
    assert not W.requires_grad
    assert not D.requires_grad
    assert not nats.requires_grad
    model = placed(taught, form, gated, p, noise)
    at_formulas = taught.expected_loss(*model, noise, form, gated, p).item() / 3
    assert nats.item() == pytest.approx(at_formulas, abs=1e-2)
    a, found = page(form, gated, p, noise)[0], taught.contrasts(W, D)
    if form == "input" and not gated:
        assert sum(found) == pytest.approx(a, abs=3e-3)
        assert min(found) > 0.05  # s is in both
    else:
        assert found == pytest.approx([a, 0], abs=3e-3)


@pytest.mark.parametrize(("form", "gated", "p", "noise"), [RESTS[4], RESTS[8]])
def test_ungated_training_ends_in_a_minimum(taught, at_the_end, form, gated, p, noise):
    """With the nats of the formulas, none less; and from any start that SciPy takes."""
    W, D, *_ = at_the_end(form, gated, noise, p, 600)
    given = noise, form, gated, p
    best = taught.expected_loss(*placed(taught, *RESTS[4 if form == "input" else 8]), *given).item()
    log_var = (noise / (D.square().sum(0) + noise)).log()
    found = taught.expected_loss(W, D, log_var, *given).item()
    assert best - 1e-9 < found < best + 2e-2

    def nats(flat):
        flat = torch.as_tensor(flat)
        parts = flat[:64].view(8, 8), flat[64:128].view(8, 8), flat[128:]
        grads = gradient_field(taught, parts, *given)
        value = taught.expected_loss(*parts, *given).item()
        return value, torch.cat([g.flatten() for g in grads]).numpy()

    start = np.random.default_rng(1).normal(size=136) / 3
    other = optimize.minimize(nats, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    assert best - 1e-9 < other.fun < best + 2e-2


@pytest.mark.parametrize("p", [0.0, 0.3, 0.6])
def test_sorting_has_a_price(taught, p):
    """In nats at rest, input form; in the target form with right pairs there is none."""
    given = 0.1, "input", False, p
    free, gated = (
        taught.expected_loss(*placed(taught, "input", gate, p, 0.1), *given).item()
        for gate in (False, True)
    )
    assert gated > free + 0.01


@pytest.mark.parametrize("G", [2, 3, 5])
@pytest.mark.parametrize(("p", "noise"), [(0.0, 0.1), (0.4, 0.05), (0.9, 0.02)])
def test_strengths_with_more_groups(taught, G, p, noise):
    """From all kinds, one by one: those that share each group, and equal images."""
    of_s = [1 - p, *(G - 1) * [0], 1]  # E s s' where s is of the first group
    c, rho = np.mean([of_s[0], of_s[-1]]), np.mean(of_s)
    expected = []
    for teachers_of_encoder in (c, rho):
        if teachers_of_encoder * rho > noise:
            w, _, d = at_rest(teachers_of_encoder, rho, noise)
            expected.append(w * d)
        else:
            expected.append(0)
    assert taught.strength(G, p, noise) == pytest.approx(expected, abs=1e-5)


def test_strengths_of_two_groups_are_those_of_trained_matrices(taught, at_the_end):
    for form, gated, p, noise in RESTS[:6]:
        found = taught.contrasts(*at_the_end(form, gated, noise, p, 500 if gated else 600)[:2])
        of_gated, together = taught.strength(2, p, noise)
        assert sum(found) == pytest.approx(of_gated if gated else together, abs=3e-3)
    assert taught.strength(2, 0.5, 0.9) == (0, 0)


def test_the_input_form_knows_no_partitions(taught):
    """Ungated: rotations of axes that are equally sure leave the loss as it is."""
    W, D, _ = a_model(6)
    log_var = torch.full((8,), -0.7, dtype=torch.float64)
    for seed in range(5):
        T = torch.as_tensor(stats.ortho_group.rvs(8, random_state=seed))
        for p in (0.0, 0.4):
            of = [
                [
                    taught.expected_loss(*model, log_var, 0.1, form, False, p).item()
                    for form in ("input", "target")
                ]
                for model in ((W, D), (T @ W, D @ T.T))
            ]
            assert of[1][0] == pytest.approx(of[0][0])
            assert of[1][1] != pytest.approx(of[0][1], rel=1e-3)


def test_the_numbers_on_the_page(taught):
    """What the cells print beside trained contrasts, and the curves behind the dots."""
    source = "\n".join(cell.source for cell in nbformat.read(taught.__file__, as_version=4).cells)
    for gated, p, words in ((False, 0.0, "{:.3f} together"), (True, 0.0, "{:.3f} and 0")):
        w, _, d = at_rest(*teachers("input", gated, p), 0.1)
        assert words.format(d * w) in source
    w, _, d = at_rest(1, 1, 0.1)
    assert f"{d * w:.3f} and 0" in source
    taught.wrong_shares = (0.0, 0.5)
    taught.found = {False: [[0.1, 0.2], [0.3, 0.4]], True: [[0.5, 0.6], [0.7, 0.8]]}
    run_cell(taught, "p = np.linspace(0, 0.9")
    for axis, gated in zip(taught.figure.axes, (False, True), strict=True):
        line, own, other = axis.lines
        for p, height in list(zip(*line.get_data(), strict=True))[::7]:
            w, _, d = at_rest(*teachers("input", gated, p), 0.1)
            assert height == pytest.approx(d * w, abs=1e-5)
        for k, dots in enumerate((own, other)):
            assert dots.get_xdata() == pytest.approx([0.0, 0.5])
            assert dots.get_ydata() == pytest.approx([row[k] for row in taught.found[gated]])
    assert "p = 0.5: ungated 0.30 and 0.40, gated 0.70 and 0.80." in taught.figure.alt


# --- films, partitions and pairs -----------------------------------------------------------------


def test_films_show_every_combination_once(taught, two_people):
    assert (len(two_people), two_people.image_shape) == (80, (3, 32, 32))
    assert two_people.factor_names == ("person", "yaw", "expression")
    assert two_people.factor_sizes == (2, 5, 8)
    assert two_people.factor_values == ((0, 1), (-20, -10, 0, 10, 20), tuple(faces.EXPRESSIONS))
    expected = [list(levels) for levels in product(range(2), range(5), range(8))]
    assert two_people.factors.tolist() == expected
    assert len({image.numpy().tobytes() for image in two_people.images}) == 80


def test_films_are_of_a_person_whose_head_and_face_move(taught, monkeypatch):
    """What the faces are drawn from: a person keeps all but yaw and expression."""
    rows, drawn = [], []

    def parameters(levels, of=faces.parameters):
        rows.append(levels)
        return of(levels)

    def draw(given):
        drawn.append(given)
        return torch.zeros(len(given.pose), 3, 64, 64, dtype=torch.uint8), None

    with monkeypatch.context() as patch:
        patch.setattr(faces, "parameters", parameters)
        patch.setattr(faces, "draw", draw)
        taught.films(30, 1)
    table = dict(zip(faces.NAMES, torch.cat(rows).T.view(10, 30, 5, 8), strict=True))
    for name, levels in table.items():
        for dimension in {"yaw": (0, 2), "expression": (0, 1)}.get(name, (1, 2)):
            assert (levels == levels.narrow(dimension, 0, 1)).all(), name
    assert table["yaw"][0, :, 0].tolist() == [faces.VALUES[3].index(v) for v in range(-20, 21, 10)]
    assert table["expression"][0, 0].tolist() == list(range(8))
    assert table["identity"][:, 0, 0].tolist() == list(range(30))
    assert {faces.VALUES[2][k] for k in table["intensity"].flatten().tolist()} == {1.0}
    assert {faces.VALUES[4][k] for k in table["pitch"].flatten().tolist()} == {0}
    assert {faces.VALUES[5][k] for k in table["light"].flatten().tolist()} == {-25, 0, 25}
    assert {faces.VALUES[6][k] for k in table["skin"].flatten().tolist()} == set(faces.SKINS[:4])
    for name in ("hair colour", "eye colour", "background"):
        assert len(table[name].unique()) > 2
    plain = faces.parameters(torch.cat(rows)[:64]).expression
    assert torch.allclose(torch.cat([d.expression for d in drawn])[:64], 1.5 * plain)
    assert plain.abs().amax() > 0


def test_films_are_the_librarys_faces_from_near(taught, monkeypatch):
    """To the bit where the face is neutral, and with a change of their own where it is not."""
    rows = []

    def parameters(levels, of=faces.parameters):
        rows.append(levels)
        return of(levels)

    with monkeypatch.context() as patch:
        patch.setattr(faces, "parameters", parameters)
        images = taught.films(1, 3).images
    drawn = faces.render(torch.cat(rows))[:, :, 22:54, 16:48]
    same = (images == drawn).flatten(1).all(1).view(5, 8)
    assert same.tolist() == [[True] + 7 * [False]] * 5


def test_expressions_sides_and_persons_change_pixels(taught, two_people):
    images = two_people.images.view(2, 5, 8, 3, 32, 32)
    differ = (images != images[:, :, :1]).flatten(3).sum(3)
    assert (differ[:, :, 1:] > 10).all()
    assert ((images[:, 1:] != images[:, :-1]).flatten(3).sum(3) > 300).all()
    assert ((images[0] != images[1]).flatten(2).sum(2) > 300).all()
    one, again, other = (taught.films(1, seed).images for seed in (4, 4, 5))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("seed", range(5))
def test_partitions_share_the_axes_out(taught, seed):
    random = np.random.default_rng(seed)
    images = a_set([2] * 6, 4)
    owner = random.permutation([0, 1, 2, *random.integers(0, 3, 3)])
    groups = {f"g{g}": [f"f{k}" for k in range(6) if owner[k] == g] for g in range(3)}
    sizes = random.integers(1, 5, 3).tolist()
    parts = taught.Partition.of(images, groups, sizes)
    assert parts.names == ("g0", "g1", "g2")
    assert (parts.masks.shape, parts.masks.dtype) == ((3, sum(sizes)), torch.bool)
    assert parts.masks.sum(1).tolist() == sizes
    assert (parts.masks.sum(0) == 1).all()
    assert parts.masks.long().argmax(0).tolist() == sorted(parts.masks.long().argmax(0).tolist())
    assert parts.columns == [[k for k in range(6) if owner[k] == g] for g in range(3)]
    assert parts.group_of_factor == owner.tolist()
    kinds = parts.open_axes
    assert (kinds.shape, kinds.dtype) == ((4, sum(sizes)), torch.bool)
    assert torch.equal(kinds[:3], parts.masks)
    assert kinds[3].all()


@pytest.fixture(scope="module")
def crowd(taught):
    """400 images of three factors, in two groups."""
    images = a_set([5, 4, 3], 400)
    return images, taught.Partition.of(images, {"g0": ("f2",), "g1": ("f0", "f1")}, (2, 3))


@pytest.mark.parametrize("wrong", [0.0, 0.3, 1.0])
def test_pairs_share_their_group_but_for_wrong_ones(taught, crowd, wrong):
    """Of three kinds, equally many; in the third x and y are one image, never a wrong one."""
    images, parts = crowd
    pairs = taught.draw_pairs(images, parts, 4_500, 7, wrong)
    x, y, g = pairs
    assert [len(part) for part in pairs] == [4_500] * 3
    assert stats.chisquare(x.bincount(minlength=400)).pvalue > CHANCE
    assert len(g.bincount()) == 3
    assert stats.chisquare(g.bincount()).pvalue > CHANCE
    assert torch.equal(x[g == 2], y[g == 2])
    for k, columns in enumerate(parts.columns):
        levels, of_kind = images.factors[:, columns], g == k
        chance = (levels[:, None] == levels).all(2).double().mean().item()
        shared = (levels[x[of_kind]] == levels[y[of_kind]]).all(1)
        seen, expected = int((~shared).sum()), wrong * (1 - chance)
        if expected == 0:
            assert seen == 0
        else:
            assert stats.binomtest(seen, len(shared), expected).pvalue > CHANCE
        assert (x[of_kind] == y[of_kind]).float().mean() < 0.2
    if wrong == 1:
        free = g < 2
        assert stats.chisquare(y[free].bincount(minlength=400)).pvalue > CHANCE
        table = np.zeros((3, 3))
        np.add.at(table, tuple(images.factors[part[free], 2].numpy() for part in (x, y)), 1)
        assert stats.chi2_contingency(table).pvalue > CHANCE


def test_partners_in_pairs_are_uniform(taught):
    """Of one of nine images that fit, whoever looks; and not of images that do not."""
    images = a_set([1], 9)
    parts = a_factor_each(taught, images, (2,))
    x, y, g = taught.draw_pairs(images, parts, 16_200, 3)
    table = (9 * x + y)[g == 0].bincount(minlength=81)
    assert stats.chisquare(table).pvalue > CHANCE


def test_pairs_are_the_same_for_a_seed(taught, crowd):
    first = taught.draw_pairs(*crowd, 100, 5, 0.2)
    torch.manual_seed(9)
    assert all(map(torch.equal, first, taught.draw_pairs(*crowd, 100, 5, 0.2)))
    other = taught.draw_pairs(*crowd, 100, 6, 0.2)
    assert not any(map(torch.equal, first, other))
    # What is wrong is redrawn: x and the groups are as they were.
    right = taught.draw_pairs(*crowd, 100, 5)
    assert torch.equal(first[0], right[0])
    assert torch.equal(first[2], right[2])
    moved = first[1] != right[1]
    assert 5 < moved.sum() < 35
    assert (first[2][moved] < 2).all()


def test_batches_of_pairs_are_a_pure_function_of_the_step(taught, crowd):
    images, parts = crowd
    pairs = taught.draw_pairs(images, parts, 50, 0)
    batches = taught.PairBatches(images, parts, pairs, 16, 3)
    first = batches[7]
    torch.manual_seed(1)
    batches[2]
    assert all(map(torch.equal, first, taught.PairBatches(images, parts, pairs, 16, 3)[7]))
    for other in (batches[8], taught.PairBatches(images, parts, pairs, 16, 4)[7]):
        assert not torch.equal(first[0], other[0])


def test_batches_are_of_the_pairs(taught, crowd):
    images, parts = crowd
    pairs = taught.draw_pairs(images, parts, 50, 0)
    known = {
        (images.images[x].numpy().tobytes(), images.images[y].numpy().tobytes(), g.item()): k
        for k, (x, y, g) in enumerate(zip(*pairs, strict=True))
    }
    counts = np.zeros(50)
    for step in range(40):
        x, y, masks = taught.PairBatches(images, parts, pairs, 64, 0)[step]
        assert x.shape == y.shape == (64, 1, 2, 2)
        assert (x.dtype, masks.dtype, masks.shape) == (torch.float32, torch.bool, (64, 5))
        for a, b, mask in zip(
            (255 * x).round().byte(), (255 * y).round().byte(), masks, strict=True
        ):
            g = {(1, 1, 0, 0, 0): 0, (0, 0, 1, 1, 1): 1, (1, 1, 1, 1, 1): 2}[tuple(mask.tolist())]
            counts[known[a.numpy().tobytes(), b.numpy().tobytes(), g]] += 1
    assert len(known) == 50
    assert stats.chisquare(counts).pvalue > CHANCE


def test_the_browser_tells_what_a_pair_shares(taught, two_people):
    """Of pairs that share their yaw, and more by chance, all that they share."""
    taught.train = two_people
    taught.face_parts = taught.Partition.of(
        two_people, {"pose": ("yaw",), "others": ("expression", "person")}, sizes=(3, 2)
    )
    rows = two_people.factors.tolist()
    pairs = [
        (rows.index([0, 2, 5]), rows.index([1, 2, 3]), 0, "pose", "yaw", "0 to 2"),
        (rows.index([1, 4, 5]), rows.index([1, 0, 5]), 1, "others", "person, expression", "3 to 4"),
        (rows.index([1, 4, 5]), rows.index([0, 0, 0]), 1, "others", "nothing", "3 to 4"),
        (9, 9, 2, "image", "person, yaw, expression", "0 to 4"),
    ]
    taught.face_pairs = [torch.tensor(part) for part in list(zip(*pairs, strict=True))[:3]]
    for k, (x, y, _, name, shared, axes) in enumerate(pairs):
        figure = taught.draw_pair(k)
        assert f"share the {name}." in figure.alt
        assert figure.alt.endswith(f"shares: {shared}.")
        assert figure.get_suptitle() == f"shares the {name}: teaches axes {axes}"
        for axis, row in zip(figure.axes, (x, y), strict=True):
            shown = axis.images[0].get_array()
            assert np.array_equal(shown, two_people.images[row].permute(1, 2, 0))


# --- the losses ----------------------------------------------------------------------------------


def test_the_network_is_two_and_its_pixels_are_light(taught, tiny):
    vae, x, *_ = tiny
    mean, log_var = vae.posterior(x)
    assert torch.equal(torch.cat([mean, log_var], 1), vae.encoder(x))
    made = vae.decode(mean)
    assert made.shape == x.shape
    assert torch.allclose(made, 1 / (1 + (-vae.decoder(mean)).exp()), atol=1e-6)
    assert vae.sigma == 0.3
    assert taught.PairVAE((3, 32, 32), 2, **TINY).sigma == 0.05


def test_the_regularisers(taught):
    mean, log_var = normal(40, 3), normal(40, 3, seed=1) - 1
    z = normal(40, 3, seed=2)
    q = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    prior = Independent(Normal(torch.zeros_like(mean), 1.0), 1)
    kl = kl_divergence(q, prior).mean().item()
    found = {name: R(mean, log_var, z) for name, R in taught.FAMILIES.items()}
    assert found["β-VAE"].item() == pytest.approx(kl)
    covariance = np.cov(mean.numpy().T, ddof=0) + np.diag(log_var.exp().mean(0).numpy())
    dip = 10 * ((covariance - np.eye(3)) ** 2).sum()
    assert found["DIP-VAE-II"].item() == pytest.approx(kl + dip)
    far, same, half = [], [], kl / 2
    for k in range(50):
        torch.manual_seed(k)
        draws = torch.randn(200, 3, generator=rng(1_000 + k))
        same.append(taught.FAMILIES["InfoVAE"](mean, log_var, draws).item() - half)
        far.append(taught.FAMILIES["InfoVAE"](mean, log_var, draws + 1).item() - half)
    assert abs(np.mean(same)) < 4 * stats.sem(same)  # unbiased, and nothing where z is the prior
    # E k(a, b) for a - b ~ N(shift, 2 I), with width² = 3
    shrink = (3 / (3 + 2)) ** 1.5
    exact = 100 * 2 * shrink * (1 - math.exp(-3 / (2 * (3 + 2))))
    assert abs(np.mean(far) - exact) < 4 * stats.sem(far)
    nothing = torch.zeros(40, 3)
    for shift in (0, 9):  # where the code is the prior's, MMD alone is left, and it sees draws
        torch.manual_seed(0)
        by_mmd = taught.FAMILIES["InfoVAE"](nothing, nothing, draws + 1).item()
        torch.manual_seed(0)
        found = taught.FAMILIES["InfoVAE"](nothing + shift, nothing, draws + 1).item()
        assert found == pytest.approx(by_mmd + 3 * shift**2 / 4, rel=1e-5)


LOSSES = list(product(("input", "target"), ("gated", "ungated")))


def by_hand(form, vae, x, y, open_axes, regulariser, stop):
    """Any of the four, without the gate; `stop` hides the gradient of what closed axes hold."""
    of_x, of_y = vae.posterior(x), vae.posterior(y)
    held = of_y if form == "target" else of_x
    held = [part.detach() for part in held] if stop else held
    m = open_axes.float()
    mean, log_var = (m * a + (1 - m) * b for a, b in zip(of_x, held, strict=True))
    q = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    z = q.rsample()
    error = -Independent(Normal(vae.decode(z), vae.sigma), 3).log_prob(y).mean()
    penalty = regulariser(mean, log_var, z)
    return {"loss": error + penalty, "reconstruction": error, "penalty": penalty}


def gradients(vae, loss):
    return torch.autograd.grad(loss, list(vae.parameters()), allow_unused=True)


@pytest.mark.parametrize("family", ["β-VAE", "InfoVAE", "DIP-VAE-II"])
@pytest.mark.parametrize(("form", "twin"), LOSSES)
def test_values_and_gradients_of_the_losses(taught, tiny, form, twin, family):
    vae, R = tiny[0].double(), taught.FAMILIES[family]
    given = vae, *(part.double() for part in tiny[1:3]), tiny[3]
    results = []
    stop = twin == "gated"
    for loss in (
        taught.LOSSES[form][twin],
        lambda *given: by_hand(form, *given, stop),
        lambda *given: by_hand(form, *given, not stop),
    ):
        torch.manual_seed(3)
        found = loss(*given, R)
        assert found.keys() == {"loss", "reconstruction", "penalty"}
        results.append(({k: v.item() for k, v in found.items()}, gradients(vae, found["loss"])))
    (values, grads), (expected, right), (_, wrong) = results
    assert values == pytest.approx(expected, rel=1e-9)
    scale = max(g.abs().max().item() for g in right if g is not None)
    near = [
        all(
            torch.allclose(a, b, atol=1e-9 * scale)
            for a, b in zip(grads, other, strict=True)
            if a is not None
        )
        for other in (right, wrong)
    ]
    assert near == [True, False]


def test_the_twins_are_equal_to_the_bit_and_so_is_their_decoder(taught, tiny):
    vae, x, y, open_axes = tiny
    for twins in taught.LOSSES.values():
        for R in taught.FAMILIES.values():
            found = []
            for twin in ("gated", "ungated"):
                torch.manual_seed(5)
                losses = twins[twin](vae, x, y, open_axes, R)
                parameters = [*vae.decoder.parameters(), *vae.encoder.parameters()]
                grads = torch.autograd.grad(losses["loss"], parameters)
                found.append((losses, grads))
            (a, of_a), (b, of_b) = found
            assert all(a[k].equal(b[k]) for k in ("loss", "reconstruction", "penalty"))
            n = len(list(vae.decoder.parameters()))
            assert all(map(torch.equal, of_a[:n], of_b[:n]))
            assert not any(map(torch.equal, of_a[n:][-2:], of_b[n:][-2:]))


def test_a_closed_axis_has_no_gradient_in_the_last_layer(taught, tiny):
    """All pairs with the same mask: of the rows of mean and log_var, those of open axes move."""
    vae, x, y, open_axes = tiny
    R = taught.FAMILIES["DIP-VAE-II"]
    for mask, (form, twin) in product(open_axes, LOSSES):
        vae.zero_grad()
        taught.LOSSES[form][twin](vae, x, y, mask.expand(3, -1), R)["loss"].backward()
        rows = vae.encoder.layers[-1].weight.grad.abs().sum(1) > 0
        assert rows.tolist() == (mask.tolist() if twin == "gated" else [True] * 6) * 2


def test_the_noise_of_the_pixels(taught):
    assert {form: taught.SIGMA[form] for form in taught.LOSSES} == {"input": 0.1, "target": 0.05}


def test_where_all_is_open_all_four_are_a_vae(taught, tiny):
    """An image with itself: the same values and gradients, of all parameters."""
    vae, x, *_ = tiny
    found, every = [], torch.ones(3, 6, dtype=torch.bool)
    for form, twin in LOSSES:
        torch.manual_seed(1)
        losses = taught.LOSSES[form][twin](vae, x, x, every, taught.FAMILIES["β-VAE"])
        found.append((losses["loss"], *torch.autograd.grad(losses["loss"], vae.parameters())))
    scale = max(part.abs().max().item() for part in found[0])
    for other in found[1:]:
        pairs = zip(found[0], other, strict=True)
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5 * scale) for a, b in pairs)


@pytest.mark.parametrize("family", ["β-VAE", "InfoVAE", "DIP-VAE-II"])
def test_the_loss_of_a_code(taught, tiny, family):
    """At given codes, with a draw for every entry; by PyTorch's distributions."""
    vae, _, y, _ = tiny
    draws = torch.Generator().manual_seed(4)
    mean, log_var = torch.randn(2, 3, 6, generator=draws)
    seen = []

    def regulariser(*codes):
        seen.append(codes)
        return taught.FAMILIES[family](*codes)

    torch.manual_seed(2)
    found = taught.loss_of_code(vae, mean, log_var, y, regulariser)
    state = torch.get_rng_state()
    ((m, v, z),) = seen
    assert m.equal(mean)
    assert v.equal(log_var)
    torch.manual_seed(2)
    assert torch.allclose(z, Normal(mean, log_var.exp().sqrt()).rsample(), atol=1e-6)
    error = -Independent(Normal(vae.decode(z), vae.sigma), 3).log_prob(y).mean()
    penalty = taught.FAMILIES[family](mean, log_var, z)
    assert torch.get_rng_state().equal(state)
    expected = {"loss": error + penalty, "reconstruction": error, "penalty": penalty}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("twin", ["gated", "ungated"])
def test_input_forms_do_not_look_at_the_target(taught, tiny, twin):
    """Codes are of x for every mask; with y the reconstruction alone changes."""
    vae, x, y, open_axes = tiny
    R, loss = taught.FAMILIES["β-VAE"], taught.LOSSES["input"][twin]
    found = []
    for target, mask in ((y, open_axes), (x, open_axes), (y, ~open_axes)):
        torch.manual_seed(2)
        found.append(loss(vae, x, target, mask, R))
    plain, own, other = found
    assert plain["penalty"].equal(own["penalty"])
    assert not plain["reconstruction"].equal(own["reconstruction"])
    assert all(plain[k].equal(other[k]) for k in plain)


# --- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["input", "target"])
def test_both_twins_begin_alike_and_see_the_same_pairs(taught, monkeypatch, form):
    images = a_set([5, 4, 3], 40, side=32)
    parts = taught.Partition.of(images, {"g0": ("f2",), "g1": ("f0", "f1")}, (2, 3))
    pairs = taught.draw_pairs(images, parts, 30, 0)
    seen = []

    def train(vae, player, batches, steps, checkpoint=None):
        batch = batches[0]
        torch.manual_seed(1)
        loss = player.loss(batch)["loss"]
        seen.append((copy.deepcopy(vae.state_dict()), batch, loss.item(), checkpoint))
        assert {id(p) for p in player.parameters} == {id(p) for p in vae.parameters()}
        expected = taught.PairBatches(images, parts, pairs, taught.batch_size, taught.seed)[0]
        assert all(map(torch.equal, batch, expected))
        assert steps == 9
        loss.backward()
        rates = []
        for _ in range(steps):
            rates.append(player.optimizer.param_groups[0]["lr"])
            player.optimizer.step()
            player.scheduler.step()
        assert rates == pytest.approx([1e-3 * (1 + math.cos(math.pi * k / 9)) for k in range(9)])
        return "history"

    monkeypatch.setattr(training, "train", train)
    R = taught.FAMILIES["β-VAE"]
    for loss in taught.LOSSES[form].values():
        torch.manual_seed(len(seen))
        vae, history = taught.train_on_pairs(images, parts, pairs, loss, R, 9, sigma=0.2)
        assert (history, vae.sigma) == ("history", 0.2)
        assert vae.posterior(images.floats())[0].shape == (40, 5)
    wide, given = {"channels": (4, 6, 8), "hidden": 9}, (images, parts, pairs, loss, R, 9)
    monkeypatch.setattr(taught, "sizes", wide)
    vae, _ = taught.train_on_pairs(*given, 0.2, name="a name")
    assert {len(p) for p in vae.encoder.parameters()} == {4, 6, 8, 9, 10}
    (state, batch, loss, where), (other, again, twin, _), (*_, named) = seen
    assert all(torch.equal(v, other[k]) for k, v in state.items())
    assert all(map(torch.equal, batch, again))
    assert loss == twin
    assert (where, named) == (None, taught.run.folder / "a name.safetensors")


def test_training_lowers_the_loss(taught):
    images = a_set([2], 8, side=32)
    parts = a_factor_each(taught, images, (3,))
    pairs, R = taught.draw_pairs(images, parts, 20, 0), taught.FAMILIES["β-VAE"]
    for form, twin in LOSSES:
        loss = taught.LOSSES[form][twin]
        vae, last = taught.train_on_pairs(images, parts, pairs, loss, R, 60, 0.2)
        assert not vae.training
        assert last.steps[-1] == 60
        _, first = taught.train_on_pairs(images, parts, pairs, loss, R, 1, 0.2)
        assert last.scalars["loss"][-1] < first.scalars["loss"][-1]


def test_a_twin_is_trained_with_what_its_form_asks(taught, monkeypatch):
    """Under a name of its own, since checkpoints are known by it."""
    calls, names = [], set()

    def train_on_pairs(*given, name):
        calls.append(given)
        names.add(name)
        return "network", "history"

    monkeypatch.setattr(taught, "train_on_pairs", train_on_pairs)
    for name in ("train", "face_parts"):
        monkeypatch.setattr(taught, name, [name], raising=False)
    for form, family, pairs, sigma in (
        ("target", "β-VAE", ["face_pairs"], 0.05),
        ("input", "InfoVAE", ["wrong pairs"], 0.1),
    ):
        for twin, loss in taught.LOSSES[form].items():
            given = form, family, twin, 7, pairs
            assert taught.train_twin(*given) == ("network", "history")
            taught.train_twin(*given, "10% wrong")
            expected = ["train"], ["face_parts"], pairs, loss, taught.FAMILIES[family], 7, sigma
            assert calls[-2:] == [expected, expected]
    assert len(names) == len(calls) == 8


# --- measures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("K", "L"), [(2, 1), (3, 7), (6, 4)])
def test_disentanglement_of_an_axis_is_scipys(taught, K, L):
    R = np.random.default_rng(K).dirichlet(np.full(L, 0.3), K)
    R[0, : L // 2] = 0
    found = taught.axis_disentanglement(torch.as_tensor(R))
    assert np.allclose(found, 1 - stats.entropy(R, axis=0) / np.log(K), atol=1e-12)
    # a column counts by its shares alone, and in any order of factors
    scaled = R[::-1] * np.geomspace(1e-9, 1e9, L)
    assert np.allclose(taught.axis_disentanglement(torch.as_tensor(scaled.copy())), found)
    unused = np.concatenate([R, np.zeros((K, 2))], 1)
    found = taught.axis_disentanglement(torch.as_tensor(unused))
    assert found[L:].tolist() == [0, 0]
    one = torch.zeros(K, 1)
    one[-1] = 3
    assert taught.axis_disentanglement(one).item() == 1
    assert taught.axis_disentanglement(torch.ones(K, 1)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_weighted_mean_is_the_librarys_disentanglement(taught, seed):
    images = a_set([4, 3, 2], 300, seed)
    codes = images.factors.float() @ torch.randn(3, 5, generator=rng(seed))
    codes[:, 0] = torch.randn(300, generator=rng(seed))
    codes[:, 1] = 0
    score = metrics.dci(codes, images.factors)
    weight = score.matrix.sum(0) / score.matrix.sum()
    found = (weight * taught.axis_disentanglement(score.matrix)).sum()
    assert found.item() == pytest.approx(score.scalars["D"], abs=1e-9)


class Layout(torch.nn.Module):
    """Images that are their codes: one axis a pixel of a column; log_var is -3."""

    def posterior(self, x):
        mean = x.flatten(1)
        return mean, torch.full_like(mean, -3.0)

    def decode(self, z):
        return z[:, None, :, None]


def test_codes_are_the_means_of_all_images_in_order(taught):
    images = a_set([3], 1_203)
    codes = taught.codes_of(Layout(), images)
    assert torch.equal(codes, images.images.flatten(1).float() / 255)
    net = taught.PairVAE((3, 32, 32), 2, **TINY).eval()
    assert not taught.codes_of(net, taught.films(1, 0)).requires_grad


def one_hot_codes(factors, sizes, places):
    """Codes (N, sum of sizes) with the k-th factor one-hot at places[k]."""
    codes = torch.zeros(len(factors), sum(sizes))
    for k, start in enumerate(places):
        codes[torch.arange(len(factors)), start + factors[:, k]] = 1
    return codes


@pytest.fixture(scope="module")
def known(taught):
    """Sets to fit and to test, a partition with a group a factor, and codes one-hot in theirs."""
    train, test = a_set([3, 2, 4], 300), a_set([3, 2, 4], 150, 1)
    sizes, places = (3, 2, 4), (0, 3, 5)
    codes = [one_hot_codes(part.factors, sizes, places) for part in (train, test)]
    return *codes, train, test, a_factor_each(taught, train, sizes)


def test_scores_of_codes_whose_make_up_is_known(taught, known):
    codes, test_codes, train, test, parts = known
    right = taught.scores(codes, test_codes, train, test, parts)
    assert list(right) == ["D", "C", "I", "own share"]
    assert right["D"] == pytest.approx(1, abs=0.02)
    assert right["I"] == pytest.approx(1)
    assert right["own share"] == pytest.approx(1, abs=0.01)
    # the first two factors each in the other's place, the third in its own: a third is right
    turned = [
        torch.cat([c[:, 3:5], torch.zeros(len(c), 1), c[:, 1:3], c[:, 5:]], 1)
        for c in (codes, test_codes)
    ]
    assert taught.scores(*turned, train, test, parts)["own share"] == pytest.approx(1 / 3, abs=0.05)


def test_own_share_is_a_mean_over_factors(taught, known, monkeypatch):
    _, _, train, held_out, parts = known
    matrix = torch.as_tensor(np.random.default_rng(0).dirichlet(np.ones(9), 3))

    def dci(*given, test):
        assert given == ("codes", train.factors)
        assert test == ("test codes", held_out.factors)
        return SimpleNamespace(matrix=matrix, scalars={"D": 0.1})

    monkeypatch.setattr(metrics, "dci", dci)
    found = taught.scores("codes", "test codes", train, held_out, parts)
    expected = (matrix[0, :3].sum() + matrix[1, 3:5].sum() + matrix[2, 5:].sum()) / 3
    assert found == {"D": 0.1, "own share": pytest.approx(expected.item())}


def test_readings_of_codes_whose_make_up_is_known(taught):
    """The first partition holds its factor, the second both."""
    sets = [a_set([2, 3], n, n) for n in (300, 200)]
    parts = a_factor_each(taught, sets[0], (2, 5))
    codes = []
    for images in sets:
        first, second = images.factors.T
        one_hot = torch.nn.functional.one_hot
        codes.append(torch.cat([one_hot(first, 2), one_hot(first, 2), one_hot(second, 3)], 1))
    table = taught.readings(*(c.float() for c in codes), *sets, parts)
    assert table.shape == (2, 2)
    assert table[0, 0] == 1
    assert table[1].tolist() == [1, 1]
    assert table[0, 1] < 0.5
    # It is other images that are read: where their codes are those of anyone, chance is left.
    codes[1] = codes[1][torch.randperm(200, generator=rng())]
    table = taught.readings(*(c.float() for c in codes), *sets, parts)
    assert (table < 0.75).all()
    assert table.mean() < 0.6


def test_swaps_of_a_network_that_is_known(taught, known):
    """A partition that tells its factor: all is as wanted. A deaf decoder: what chance gives."""
    _, codes, _, test, parts = known

    def judge(images):
        z = images[:, 0, :, 0]
        return torch.stack([part.argmax(1) for part in z.split([3, 2, 4], 1)], 1)

    vae = Layout()
    assert torch.equal(judge(vae.decode(codes)), test.factors)
    assert torch.equal(taught.swaps(vae, codes, test, parts, judge), torch.ones(3, 3))
    vae.decode = lambda z: Layout.decode(vae, codes)
    table = taught.swaps(vae, codes, test, parts, judge)
    off = ~torch.eye(3, dtype=torch.bool)
    assert (table[off] == 1).all()
    for k, size in enumerate((3, 2, 4)):
        share = test.factors[:, k].bincount(minlength=size) / len(test)
        assert table[k, k].item() == pytest.approx(share.square().sum().item(), abs=0.12)

    def other(images):
        """The last factor told by the first partition: it follows where it should stay."""
        seen = judge(images)
        seen[:, 2] = seen[:, 0]
        return seen

    level = test.factors.clone()
    level[:, 2] = level[:, 0]
    same = data.FactorData(
        "same", test.images, level, test.factor_names, (3, 2, 3), ((0, 1, 2), (0, 1), (0, 1, 2))
    )
    table = taught.swaps(Layout(), codes, same, parts, other)
    assert table[0, 0] == table[1, 1] == table[0, 1] == table[1, 2] == table[2, 0] == 1
    assert table[0, 2] == table[2, 2] < 0.6


def test_other_images_teach_both_twins(taught, monkeypatch):
    """Four fifths of them, of half the side; judged on the rest."""
    notebook_02 = workbook.definitions("02_unsupervised_objectives")
    monkeypatch.setattr(taught, "notebook_02", notebook_02, raising=False)
    images = a_set([2, 2, 2], 50, side=4)
    monkeypatch.setitem(taught.GROUPS, "rooms", {"first": ("f0", "f2"), "second": ("f1",)})
    for name, value in (
        ("n_others", 50),
        ("n_pairs", 40),
        ("other_steps", 3),
        ("other_sigma", {"rooms": 0.3, "sprites": 0.4}),
    ):
        monkeypatch.setattr(taught, name, value, raising=False)
    calls = []

    def load(name, n, device):
        assert (name, n, device) == ("rooms", 50, taught.run.device)
        return images

    def train_on_pairs(train, parts, pairs, loss, regulariser, steps, sigma, name):
        assert (len(train), train.image_shape, steps, sigma) == (40, (1, 2, 2), 3, 0.3)
        assert parts.columns == [[0, 2], [1]]
        assert parts.masks.sum(1).tolist() == [5, 5]
        assert all(map(torch.equal, pairs, taught.draw_pairs(train, parts, 40, taught.seed)))
        assert regulariser is taught.FAMILIES["β-VAE"]
        calls.append((loss, name))
        return "vae", None

    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(taught, "train_on_pairs", train_on_pairs)
    for twin in taught.LOSSES["input"]:
        vae, kept, held_out, parts = taught.train_on("rooms", twin)
        assert (vae, len(kept), len(held_out), parts.columns) == ("vae", 40, 10, [[0, 2], [1]])
    assert [loss for loss, _ in calls] == list(taught.LOSSES["input"].values())
    assert len({name for _, name in calls}) == 2


def test_the_judge_learns_to_name_all_factors(taught, monkeypatch):
    """Of images that show their factors; it is not to be trained further by what it judges."""
    draws = rng(2)
    factors = torch.stack([torch.randint(3, (64,), generator=draws) for _ in range(2)], 1)
    images = torch.zeros(64, 1, 32, 32, dtype=torch.uint8)
    images[:, :, :16] = (100 * factors[:, 0]).byte()[:, None, None, None]
    images[:, :, 16:] = (100 * factors[:, 1]).byte()[:, None, None, None]
    shown = data.FactorData("shown", images, factors, ("a", "b"), (3, 3), (tuple("uvw"),) * 2)
    taught.notebook_04 = workbook.definitions("04_label_relevant_vae")
    monkeypatch.setattr(taught, "judge_steps", 40, raising=False)
    judge = taught.train_judge(shown)
    assert (judge(shown.floats()) == factors).float().mean() > 0.95
    assert not any(part.requires_grad for part in judge.parameters())
    assert not judge.training


def test_tables_of_scores(taught):
    found = {
        ("input", "β-VAE", "gated"): {"D": 0.254, "C": 0.5},
        ("target", "β-VAE", "ungated"): {"D": 1.0, "C": 0.126},
    }
    assert taught.table_of(found).rows == [
        ("", "", "", "D", "C"),
        ("input", "β-VAE", "gated", "0.25", "0.50"),
        ("target", "β-VAE", "ungated", "1.00", "0.13"),
    ]
    assert taught.table_of({("rooms", "gated"): {"D": 0.0}}).rows == [
        ("", "", "D"),
        ("rooms", "gated", "0.00"),
    ]
    assert taught.label("input", "β-VAE", "gated") == "input form, β-VAE, gated"


def test_every_factor_of_the_small_sets_is_in_a_group(taught):
    for name, groups in taught.GROUPS.items():
        images = data.load(name, n=2)
        parts = taught.Partition.of(images, groups, sizes=(5, 5))
        assert sorted(sum(parts.columns, [])) == list(range(len(images.factor_names)))
        assert len(parts.group_of_factor) == len(images.factor_names)


# --- pictures and the saved pair -----------------------------------------------------------------


def test_the_sheet_of_swaps(taught, monkeypatch):
    """Givers on top, keepers on the left, and in between all but one partition of the keeper."""
    images = a_set([2, 2], 10, side=3)
    images = images.subset(range(10))
    taught.face_parts = a_factor_each(taught, images, (4, 5))
    monkeypatch.setattr(
        taught.figures, "image_grid", lambda sheet, columns, *rest, **_: (sheet, columns)
    )

    class Square(Layout):
        def decode(self, z):
            return z.view(-1, 1, 3, 3)

    n = 4
    sheet, columns = taught.swap_grid(Square(), images, "g1", "alt", n=n)
    assert columns == n + 1
    grid, x = sheet.view(n + 1, n + 1, 9), images.floats().flatten(1)
    assert (grid[0, 0] == 1).all()
    assert torch.equal(grid[0, 1:], x[n : 2 * n])
    assert torch.equal(grid[1:, 0], x[:n])
    for i, j in product(range(n), range(n)):
        assert torch.equal(grid[1 + i, 1 + j], torch.cat([x[i, :4], x[n + j, 4:]]))


def test_tables_are_drawn_and_told(taught, monkeypatch):
    monkeypatch.setattr(taught, "face_parts", SimpleNamespace(names=("g0", "g1")), raising=False)
    monkeypatch.setattr(taught, "train", a_set([2, 2, 2], 4), raising=False)
    tables = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.55, 1.0]]), torch.zeros(2, 3)
    assert taught.told(tables[0]) == "g0: 0.10, 0.20, 0.30; g1: 0.40, 0.55, 1.00"
    figure = taught.draw_tables(tables, ("one", "two"), "alt")
    assert [axis.get_title() for axis in figure.axes] == ["one", "two"]
    for axis, table in zip(figure.axes, tables, strict=True):
        assert np.allclose(axis.images[0].get_array(), table)
        for text in axis.texts:
            k, g = text.get_position()
            assert text.get_text() == f"{table[g, k]:.2f}"
        assert len(axis.texts) == 6
        assert [label.get_text() for label in axis.get_xticklabels()] == ["f0", "f1", "f2"]
        assert [label.get_text() for label in axis.get_yticklabels()] == ["g0", "g1"]


def test_scores_against_the_share_of_wrong_pairs(taught, monkeypatch):
    """Lines are this run, bars the intervals of the stored seeds where there are two or more."""
    shares, names = (0.0, 0.3), ("own share", "D", "C")
    monkeypatch.setattr(taught, "shares_wrong", shares, raising=False)
    found = {
        (p, twin): {what: (1 + i + 2 * j + 4 * k) / 20 for k, what in enumerate(names)}
        for i, p in enumerate(shares)
        for j, twin in enumerate(("gated", "ungated"))
    }
    stored = {"30% wrong: D, ungated": [0.1, 0.3, 0.2], "0% wrong: C, gated": [0.4]}
    sweep = SimpleNamespace(values=lambda name: stored.get(name, []))
    figure = taught.draw_by_wrong(found, sweep)
    assert "D with 30% wrong: gated 0.30, ungated 0.40" in figure.alt
    for axis, what in zip(figure.axes, names, strict=True):
        assert axis.get_title() == what
        for line, twin in zip(axis.lines, ("gated", "ungated"), strict=True):
            assert line.get_label() == twin
            assert list(line.get_xdata()) == [0.0, 0.3]
            assert list(line.get_ydata()) == [found[p, twin][what] for p in shares]
    own, of_d, of_c = (axis.collections for axis in figure.axes)
    assert (len(own), len(of_d), len(of_c)) == (0, 1, 0)
    (bar,) = of_d[0].get_segments()
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert bar[:, 1] == pytest.approx([0.2 - half, 0.2 + half], abs=1e-6)


def test_the_saved_pair_is_the_network(taught, tiny):
    vae, x, *_ = tiny
    means, decode = taught.Means(vae), taught.Decode(vae)
    with torch.no_grad():
        mean, _ = vae.posterior(x)
        assert torch.equal(means(x), mean)
        assert torch.equal(decode(mean), vae.decode(mean))


# --- what the check of exercise 4 rests on -------------------------------------------------------


@pytest.mark.parametrize("passes", [((1, 0), (1, 0)), ((1, 1), (0, 1)), ((0, 1), (1, 1))])
def test_the_stand_ins_gradient_is_autograds(taught, passes):
    """Of a loss whose mean and log_var let through what they should, by axis."""
    draws = rng()
    vae, (x, y) = taught.StandIn(5, 0.4, draws), torch.rand(2, 8, 3, 1, 2, generator=draws)
    open_axes = torch.rand(8, 5, generator=draws) < 0.5
    codes = []
    for a, b, (opened, closed) in zip(vae.posterior(x), vae.posterior(y), passes, strict=True):
        a, b = (part if let else part.detach() for part, let in ((a, opened), (b, closed)))
        codes.append(torch.where(open_axes, a, b))
    mean, log_var = codes
    z = Normal(mean, (0.5 * log_var).exp()).rsample()
    error = -Independent(Normal(vae.decode(z), 0.4), 3).log_prob(y).mean()
    (error + vae.regulariser(mean, log_var, z)).backward()
    found = vae.gradient(x, y, open_axes, *passes)
    assert taught.near(found, vae.weight.grad)
    assert not taught.near(vae.gradient(x, y, open_axes, (1, 1), (1, 1)), vae.weight.grad)
    assert not taught.near(found[:2], found)


@pytest.mark.parametrize(("exercise", "answer"), REJECTED)
def test_rarer_mistakes_are_rejected(exercise, answer):
    general = r"expected|rests elsewhere|G \d, p |is off|should be|on closed ones|, not tensor"
    assert_rejected(NOTEBOOK, exercise, general, answer)

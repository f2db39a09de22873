"""What notebook 11 teaches, against SciPy, analysis of variance, brute force and codes by hand."""

import itertools
import math
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers_11 import RIGHT, WRONG  # noqa: F401 (test_answers.py looks for them here)
from scipy import stats

from dvae_lib import data, evidence, metrics, objectives, paths, workbook

NOTEBOOK = "11_side_by_side"
TINY = {"channels": (8, 8, 8), "hidden": 32}
METHODS = ("VAE", "β-VAE", "β-TCVAE", "InfoVAE", "DIP-VAE-II", "FactorVAE", "ARD-VAE", "QLAE")
METHODS += ("label-relevant VAE", "two codes", "Gated-VAE")
CHANCE = 1e-3  # p-value below which draws are not those that they should be


def run_cell(module, begins):
    """Execute the one code cell of the notebook that begins so: constants that a call makes."""
    cells = nbformat.read(paths.notebook_path(NOTEBOOK), as_version=4).cells
    (source,) = [c.source for c in cells if c.cell_type == "code" and c.source.startswith(begins)]
    exec(source, module.__dict__)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The notebook's definitions, with what its functions take from its cells, at a small size."""
    module = workbook.definitions(NOTEBOOK)
    for name in ("02_unsupervised_objectives", "04_label_relevant_vae", "05_two_code_information"):
        setattr(module, f"notebook_{name[:2]}", workbook.definitions(name))
    for name in ("06_gated_vae", "07_latent_quantization", "09_ard_vae"):
        setattr(module, f"notebook_{name[:2]}", workbook.definitions(name))
    folder = tmp_path_factory.mktemp("run")
    module.run = SimpleNamespace(device=torch.device("cpu"), folder=folder)
    module.seed, module.steps, module.batch_size, module.learning_rate = 0, 2, 8, 1e-3
    module.n_train, module.beta, module.sigma = 60, 3.0, {"rooms": 0.2, "sprites": 0.3}
    module.sizes = module.narrow = TINY
    module.sets = {
        name: module.load_set(name, 100, 0).split(0.6, 0) for name in ("sprites", "rooms")
    }
    run_cell(module, "PENALTIES = ")
    run_cell(module, "TRAIN = ")
    return module


@pytest.fixture(scope="module")
def train(taught):
    """train(name, method): a network of a method after two steps, made once."""
    made = {}

    def call(name, method):
        if (name, method) not in made:
            made[name, method] = taught.TRAIN[method](name, 0)
        return made[name, method]

    return call


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# --- data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "n_factors"), [("sprites", 4), ("rooms", 6)])
def test_a_set_has_its_shape_first_and_its_levels_under_their_names(taught, name, n_factors):
    images, given = taught.load_set(name, 50, 3), data.load(name, n=50, seed=3)
    assert images.image_shape[1:] == (32, 32)
    assert images.factor_names[0] == "shape"
    assert len(images.factor_names) == n_factors
    for column, factor in enumerate(images.factor_names):
        there = given.column(factor)
        assert images.factors[:, column].equal(given.factors[:, there])
        assert images.factor_sizes[column] == given.factor_sizes[there]
        assert images.factor_values[column] == given.factor_values[there]


def test_every_factor_belongs_to_one_group_of_five_axes(taught):
    for name, (images, _) in taught.sets.items():
        parts = taught.groups_of(name)
        assert sorted(itertools.chain(*parts.columns)) == list(range(len(images.factor_names)))
        assert parts.masks.sum(1).tolist() == [5, 5]
        assert (parts.masks.sum(0) == 1).all()


# --- the methods ---------------------------------------------------------------------------------


@pytest.fixture
def code():
    """Means, log-variances and a draw of forty codes."""
    mean, log_var = torch.randn(2, 40, 10, generator=rng())
    return mean, log_var, mean + (0.5 * log_var).exp() * torch.randn(40, 10, generator=rng(1))


def test_with_a_price_of_one_beta_vae_and_beta_tcvae_are_the_vae(taught, code, monkeypatch):
    kl = torch.tensor(7.0)
    assert taught.PENALTIES["VAE"](kl, *code) == kl
    assert taught.PENALTIES["β-VAE"](kl, *code) == 3 * kl
    priced = taught.PENALTIES["β-TCVAE"](kl, *code)
    assert priced != kl
    total = objectives.kl_split(*code, taught.n_train)[1].mean()
    assert torch.isclose(priced, kl + 2 * total)
    monkeypatch.setattr(taught, "beta", 1.0)
    assert taught.PENALTIES["β-VAE"](kl, *code) == kl
    assert taught.PENALTIES["β-TCVAE"](kl, *code) == kl


def test_dip_vae_pushes_the_covariance_of_draws_to_the_identity(taught, code):
    """By NumPy: the covariance of the means, the mean variances added to its diagonal."""
    mean, log_var, _ = code
    C = np.cov(mean.numpy().T, bias=True) + np.diag(log_var.exp().mean(0).numpy())
    penalty = 10 * ((C - np.eye(10)) ** 2).sum()
    found = taught.PENALTIES["DIP-VAE-II"](torch.tensor(5.0), *code)
    assert float(found) == pytest.approx(5 + penalty, rel=1e-4)


def test_infovae_weighs_half_of_the_kl_term_and_a_distance_of_draws(taught, code):
    torch.manual_seed(0)
    near = taught.PENALTIES["InfoVAE"](torch.tensor(6.0), *code[:2], torch.randn(400, 10))
    far = taught.PENALTIES["InfoVAE"](torch.tensor(6.0), *code[:2], 3 + torch.randn(400, 10))
    assert abs(near - 3) < 1
    assert far > 50


def test_a_loss_is_the_reconstruction_and_the_penalty(taught):
    vae, x = taught.new_vae("rooms", 0).eval(), torch.rand(6, 3, 32, 32, generator=rng())
    found = taught.penalised_loss(vae, taught.PENALTIES["β-VAE"], x)
    kl = objectives.kl_standard_normal(*vae.posterior(x)).mean()
    assert torch.isclose(found["penalty"], 3 * kl)
    assert torch.isclose(found["loss"], found["reconstruction"] + 3 * kl)


def test_shuffled_codes_keep_each_axis_and_lose_what_binds_them(taught):
    torch.manual_seed(0)
    z = torch.randn(5_000, 1) + 0.1 * torch.randn(5_000, 3)
    found = taught.shuffled(z)
    assert found.sort(0).values.equal(z.sort(0).values)
    assert torch.corrcoef(found.T)[0, 1:].abs().max() < 4 / math.sqrt(5_000)
    rows = [tuple(row) for _ in range(1_200) for row in [taught.shuffled(SMALL)[:, 0].tolist()]]
    counts = [rows.count(order) for order in itertools.permutations((0.0, 1.0, 2.0))]
    assert stats.chisquare(counts).pvalue > CHANCE


SMALL = torch.arange(3.0)[:, None].repeat(1, 2)


def test_the_discriminators_loss_is_the_cross_entropy_of_telling(taught):
    z, logit = torch.randn(30, 4, generator=rng()), lambda z: z.sum(1, keepdim=True)
    torch.manual_seed(3)
    found = taught.telling_loss(logit, z)["loss"]
    torch.manual_seed(3)
    both = torch.cat([logit(z), logit(taught.shuffled(z))])
    truth = torch.cat([torch.ones(30, 1), torch.zeros(30, 1)])
    assert torch.isclose(found, 2 * F.binary_cross_entropy_with_logits(both, truth))


def test_the_best_discriminator_is_the_logarithm_of_the_ratio():
    """On a table of two axes its loss has its least value there, and its mean is the TC."""
    q = torch.tensor([[0.4, 0.1], [0.2, 0.3]]).double()
    product = q.sum(1, keepdim=True) * q.sum(0)
    best = (q / product).log()

    def loss(t):
        return (q * F.softplus(-t) + product * F.softplus(t)).sum()

    for other in torch.randn(200, 2, 2, generator=rng()).double():
        assert loss(best + 0.1 * other) > loss(best)
    by_hand = -q.flatten().log().mul(-q.flatten()).sum() - product.log().mul(q).sum()
    assert torch.isclose((q * best).sum(), by_hand)


def test_factor_vae_adds_the_mean_output_at_its_price(taught):
    torch.manual_seed(0)
    model = taught.FactorVAE(taught.new_vae("rooms", 0)).eval()
    model.discriminator = torch.nn.Linear(10, 1)
    torch.nn.init.zeros_(model.discriminator.weight)
    torch.nn.init.constant_(model.discriminator.bias, 0.7)
    batch = taught.sets["rooms"][0].batches(8, 0)[0]
    torch.manual_seed(1)
    found = model.loss(batch)["loss"]
    torch.manual_seed(1)
    plain = taught.penalised_loss(model.vae, taught.PENALTIES["VAE"], batch.images)["loss"]
    assert torch.isclose(found, plain + 2 * 0.7)
    model.discriminator_loss(batch)["loss"].backward()
    assert all(p.grad is None for p in model.vae.parameters())
    assert model.discriminator.bias.grad is not None


def test_quantized_codes_are_values_of_the_grid_and_the_loss_is_in_nats(taught):
    torch.manual_seed(0)
    model = taught.QuantizedAE((3, 32, 32), 0.2).eval()
    batch = taught.sets["rooms"][0].batches(8, 0)[0]
    z_q = model.encode(batch.images)
    assert all((model.codebook[j] == value).any() for z in z_q for j, value in enumerate(z))
    found, z = model.loss(batch), model.encoder(batch.images)
    squares = ((model.decode(z_q) - batch.images) ** 2).sum() / len(z)
    constant = 3072 * (math.log(0.2) + 0.5 * math.log(2 * math.pi))
    assert torch.isclose(found["error"], squares / (2 * 0.04) + constant)
    grid = 2 * ((z - z_q) ** 2).mean()
    assert torch.isclose(found["loss"], found["error"] + 30.72 * grid)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_into_a_code_and_back(taught, train, method):
    for name in ("rooms", "sprites")[: 1 + (method == "two codes")]:
        model, x = train(name, method), taught.sets[name][1].floats()
        with torch.no_grad():
            z = model.encode(x)
            made = model.decode(z)
        assert z.shape == (40, 10)
        assert made.shape == x.shape
        assert ((made >= 0) & (made <= 1)).all()
        assert model.discrete == (method == "QLAE")
        assert model.seconds > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_training_is_its_seeds_and_moves_all_but_what_is_fixed(taught, train, method):
    first, again = train("rooms", method), taught.TRAIN[method]("rooms", 0)
    other = taught.TRAIN[method]("rooms", 1)
    weights = [dict(model.network.named_parameters()) for model in (first, again, other)]
    moves = [name for name, p in weights[0].items() if "tables" not in name and p.ndim > 1]
    assert moves
    assert all(weights[0][name].equal(weights[1][name]) for name in moves)
    fixed = {"codebook"}  # begins as a grid, whatever the seed; moves a little
    assert all(not weights[0][name].equal(weights[2][name]) for name in moves if name not in fixed)


def test_told_methods_are_those_that_use_factors(taught):
    assert set(taught.TRAIN) == set(METHODS)
    assert taught.TOLD == {
        "label-relevant VAE": "a label",
        "two codes": "a label",
        "Gated-VAE": "pairs",
    }
    assert set(taught.untold) == set(METHODS) - set(taught.TOLD)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"label-relevant VAE", "two codes"}))
def test_only_what_is_told_a_label_depends_on_labels(taught, train, method, monkeypatch):
    """Trained again with all shapes set to one level, or, pairs apart, with all factors so."""
    images, test = taught.sets["rooms"]
    factors = images.factors.clone() if method == "Gated-VAE" else torch.zeros_like(images.factors)
    if method == "Gated-VAE":
        pytest.skip("its pairs are drawn by factors")
    told_nothing = taught.replace(images, factors=factors)
    monkeypatch.setitem(taught.sets, "rooms", (told_nothing, test))
    before, after = train("rooms", method), taught.TRAIN[method]("rooms", 0)
    for p, q in zip(before.network.parameters(), after.network.parameters(), strict=True):
        assert p.equal(q)


def test_the_tenth_axis_of_two_codes_is_a_level_that_the_decoder_heeds(taught, train):
    model, x = train("rooms", "two codes"), taught.sets["rooms"][1].floats()
    vae, recogniser = model.network
    with torch.no_grad():
        z = model.encode(x)
        assert z[:, 9].equal(recogniser(x).argmax(1).float())
        for level in range(4):
            z[:, 9] = level + 0.3  # a widget may stop between levels
            z2 = F.one_hot(torch.full((len(x),), level), 4).float()
            assert torch.allclose(model.decode(z), vae.decode(z[:, :9], z2))


def test_the_label_relevant_code_is_z_s_then_z_u(taught, train):
    model, x = train("rooms", "label-relevant VAE"), taught.sets["rooms"][1].floats()
    with torch.no_grad():
        z, vae = model.encode(x), model.network
        assert z[:, :2].equal(vae.encoder_s(x))
        assert z[:, 2:].equal(vae.posterior_u(x)[0])
        assert torch.allclose(model.decode(z), vae.decode(z[:, :2], z[:, 2:]))


# --- measures ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def levels():
    """Three factors of 3, 4 and 5 levels, every combination twenty times."""
    return torch.cartesian_prod(*map(torch.arange, (3, 4, 5))).repeat(20, 1)


def test_scores_of_a_perfect_code_are_one_and_of_noise_low(taught, levels, monkeypatch):
    monkeypatch.setattr(taught, "votes", 400, raising=False)
    found, importance, told = taught.scores(levels, levels, True)
    assert "S" not in found
    ones = set(found) - {"E"}
    assert all(found[what] == pytest.approx(1, abs=0.01) for what in ones), found
    assert torch.allclose(told, torch.eye(3).double(), atol=0.01)
    assert torch.allclose(importance.double(), torch.eye(3).double(), atol=0.01)
    noise, _, _ = taught.scores(torch.randn(len(levels), 3, generator=rng()), levels, False)
    assert all(noise[what] < 0.6 for what in ("MIG", "D", "InfoE", "sufficiency", "DCIMIG"))


def test_scores_are_the_librarys(taught, levels, monkeypatch):
    monkeypatch.setattr(taught, "votes", 400, raising=False)
    z = levels + 0.8 * torch.randn(len(levels), 3, generator=rng())
    found, _, told = taught.scores(z, levels, False)
    for score in (metrics.infomec, metrics.mig, metrics.mig_sup, metrics.dcimig, metrics.irs):
        for what, value in score(z, levels).scalars.items():
            assert found[what] == value
    assert told.equal(metrics.minimality_sufficiency(z, levels).matrix)


def test_psnr_of_a_known_error(taught):
    images = taught.sets["rooms"][1]
    darker = SimpleNamespace(decode=lambda z: images.floats() - 0.1)
    assert taught.psnr(darker, torch.zeros(40, 10), images) == pytest.approx(20, abs=1e-3)


def test_disentanglement_of_groups_minds_groups_and_not_factors(taught):
    """Rooms: factors 1, 2, 3 are colours, the others geometry."""
    colours = torch.tensor([False, True, True, True, False, False])
    by_group = torch.zeros(6, 10)
    by_group[colours, :5] = torch.rand(3, 5, generator=rng())
    by_group[~colours, 5:] = torch.rand(3, 5, generator=rng())
    assert taught.disentanglement_of_groups(by_group, "rooms") == pytest.approx(1, abs=1e-5)
    assert taught.disentanglement_of_groups(torch.ones(6, 10), "rooms") == pytest.approx(
        0, abs=1e-5
    )
    by_axis = torch.eye(6, 10)
    by_axis[0, 1] = 1  # an axis of a colour tells the shape as well
    assert taught.disentanglement_of_groups(by_axis, "rooms") == pytest.approx(5 / 7, abs=1e-5)


# --- method or seed ------------------------------------------------------------------------------


def test_an_upset_is_a_lower_method_that_wins(taught):
    apart = torch.tensor([[1.0, 2.0], [5.0, 6.0], [3.0, 4.0]])
    assert taught.upset(apart) == 0
    values = torch.randn(4, 3, generator=rng())
    wins = []
    for k, m in itertools.combinations(range(4), 2):
        low, high = sorted((values[k], values[m]), key=lambda row: row.mean())
        wins.append(np.mean([a > b for a in low for b in high]))
    assert taught.upset(values) == pytest.approx(np.mean(wins))
    assert taught.upset(torch.randn(2, 400, generator=rng())) == pytest.approx(0.5, abs=0.06)


# --- metrics against each other ------------------------------------------------------------------


@pytest.fixture
def stored(taught, monkeypatch):
    """Three stored seeds of two scores of two methods, and a live run of another score."""
    rows = {"rooms: MIG, VAE": (1, 2, 3), "rooms: MIG, QLAE": (4, 5, 9)}
    runs = [
        {
            "tier": "classroom",
            "seed": seed,
            "settings": {},
            "rows": [{"name": name, "value": values[seed]} for name, values in rows.items()],
        }
        for seed in range(3)
    ]
    monkeypatch.setattr(taught, "sweep", evidence.Sweep(NOTEBOOK, runs), raising=False)
    monkeypatch.setattr(taught, "live", {"rooms: D, VAE": 7, "rooms: D, QLAE": 8}, raising=False)
    return taught.stored_scores


def test_stored_seeds_are_taken_and_the_live_run_without_them(stored):
    assert stored("MIG", "rooms", ("VAE", "QLAE")).tolist() == [[1, 2, 3], [4, 5, 9]]
    assert stored("D", "rooms", ("QLAE", "VAE")).tolist() == [[8], [7]]


def test_ranks_of_metrics_are_scipys_and_unknown_where_one_is_constant(taught, monkeypatch):
    table = torch.randint(6, (len(taught.WHAT), 8, 5), generator=rng()).double()
    table[3] = 0.5
    of = dict(zip(taught.WHAT, table, strict=True))
    monkeypatch.setattr(taught, "stored_scores", lambda what, *_: of[what])
    found = taught.metric_ranks("rooms").double()
    exact = torch.as_tensor(stats.spearmanr(table.flatten(1).numpy().T).statistic)
    known = torch.arange(len(table)) != 3
    assert torch.allclose(found[known][:, known], exact[known][:, known], atol=1e-5)
    assert found[3, ~(torch.arange(len(table)) == 3)].isnan().all()
    assert found.equal(found.T) or found.nan_to_num().equal(found.nan_to_num().T)


def test_the_pairs_that_agree_least_are_named(taught):
    table = torch.eye(len(taught.WHAT))
    table[0, 2] = table[2, 0] = -0.5
    table[1, 2] = table[2, 1] = -0.25
    table[0, 1] = table[1, 0] = math.nan
    assert taught.least(table, 2) == "InfoM and InfoC -0.50, InfoE and InfoC -0.25"


# --- UDR -----------------------------------------------------------------------------------------


def test_similarity_is_scipys_rank_correlation_without_its_sign(taught):
    z, y = torch.randn(200, 3, generator=rng()), torch.randn(200, 2, generator=rng(1))
    y[:, 1] = -(z[:, 2] ** 3)
    found = taught.similarity(z, y)
    for k, m in itertools.product(range(3), range(2)):
        assert float(found[k, m]) == pytest.approx(
            abs(stats.spearmanr(z[:, k], y[:, m])[0]), abs=1e-5
        )
    assert found[2, 1] == pytest.approx(1)


def test_udr_is_one_for_axes_in_another_order_and_never_more(taught):
    every = torch.ones(5).bool()
    for k in range(20):
        order = torch.randperm(5, generator=rng(k))
        assert taught.udr_of_pair(torch.eye(5)[order], every, every) == pytest.approx(1)
        R = torch.rand(5, 5, generator=rng(k))
        found = taught.udr_of_pair(R, every, every)
        assert 0 < found <= 1
        assert taught.udr_of_pair(R[order], every, every) == pytest.approx(found)
        assert taught.udr_of_pair(R.T, every, every) == pytest.approx(found)
    assert taught.udr_of_pair(torch.full((5, 5), 0.8), every, every) == pytest.approx(0.8 / 5)


def test_udr_does_not_see_idle_axes(taught):
    R, used = torch.rand(4, 6, generator=rng()), torch.tensor([True, False, True, True])
    others = torch.tensor([True, True, False, False, True, True])
    found = taught.udr_of_pair(R, used, others)
    R[~used] = R[:, ~others] = 1
    assert taught.udr_of_pair(R, used, others) == found


# --- explore -------------------------------------------------------------------------------------


@pytest.fixture
def explored(taught, train, monkeypatch):
    """What the widgets' pictures take from the cells above, for two methods on rooms."""
    z = torch.randn(40, 10, generator=rng())
    told = torch.zeros(6, 10)
    told[2, 7] = 0.6
    keys = [("rooms", method) for method in ("VAE", "β-VAE")]
    for name, of in (("codes", z), ("told", told)):
        monkeypatch.setattr(taught, name, dict.fromkeys(keys, of), raising=False)
    trained = {key: train(*key) for key in keys}
    monkeypatch.setattr(taught, "trained", trained, raising=False)
    return taught


def test_one_axis_is_moved_through_its_own_values(explored, monkeypatch):
    seen = []
    monkeypatch.setattr(explored, "decoded", lambda model, z: seen.append(z) or z)
    axis, _ = explored.moved("rooms", "VAE", 3, 2, n=5)
    z = explored.codes["rooms", "VAE"]
    assert axis == 7
    (path,) = seen
    others = torch.arange(10) != 7
    assert (path[:, others] == z[3, others]).all()
    wanted = np.quantile(z[:, 7].numpy(), [0.02, 0.26, 0.5, 0.74, 0.98])
    assert np.allclose(path[:, 7].numpy(), wanted, atol=1e-5)


def test_the_picture_of_two_methods_says_what_is_moved(explored):
    figure = explored.draw_two("rooms", "VAE", "β-VAE", 2, 3)
    assert "wall hue moved" in figure.alt
    assert "VAE: z7, tells 0.60" in figure.alt
    assert "β-VAE: z7" in figure.alt

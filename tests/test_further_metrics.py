"""β-VAE score, IRS, MIG-sup, DCIMIG, minimality and DCI-ES, on codes whose scores are known."""

import math

import numpy as np
import parity
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier

from dvae_lib import metrics
from dvae_lib.metrics.dci_es import DEPTHS, _Formula

SIZES = (4, 4, 2)
EVERY = {
    "betavae": lambda z, v: metrics.betavae_score(z, v, votes=600),
    "irs": metrics.irs,
    "mig_sup": metrics.mig_sup,
    "dcimig": metrics.dcimig,
    "minimality": metrics.minimality_sufficiency,
    "dci_es": metrics.dci_es,
}
every_metric = pytest.mark.parametrize("metric", EVERY.values(), ids=EVERY)


def grid(repeats=40, sizes=SIZES):
    """Every combination of levels equally often, in an order that no split follows."""
    levels = torch.cartesian_prod(*map(torch.arange, sizes)).repeat(repeats, 1)
    return levels[torch.randperm(len(levels), generator=torch.Generator().manual_seed(0))]


def noise(n, axes, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, axes, generator=generator, dtype=torch.float64)


def turned(z, degrees):
    """The first two axes turned by an angle."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.eye(z.shape[1], dtype=torch.float64)
    turn[:2, :2] = torch.tensor([[c, s], [-s, c]])
    return z.double() @ turn


# What other people's programs and definitions give


def test_parity():
    z, y, *_ = parity.codes()
    assert metrics.irs(z, y).scalars["IRS"] == pytest.approx(parity.IRS, abs=1e-12)
    assert metrics.mig_sup(z, y).scalars["MIG-sup"] == pytest.approx(parity.MIG_SUP, abs=1e-9)
    assert metrics.dcimig(z, y).scalars["DCIMIG"] == pytest.approx(parity.DCIMIG, abs=1e-9)
    both = metrics.minimality_sufficiency(z, y).scalars
    expected = {"minimality": parity.MINIMALITY, "sufficiency": parity.SUFFICIENCY}
    assert both == pytest.approx(expected, abs=1e-9)


# What all share


@every_metric
def test_a_perfect_code_has_the_highest_score(metric):
    v = grid()
    best = metric(v.double(), v).scalars
    best.pop("E", None)  # see below: a tree needs depth for more than two levels
    assert best == dict.fromkeys(best, 1)
    changed = v[:, [2, 0, 1]] * torch.tensor([-3.0, 0.5, 10.0])
    assert metric(changed, v).scalars | best == metric(changed, v).scalars


@every_metric
def test_a_code_that_never_moves_has_a_defined_score(metric):
    score = metric(torch.zeros(1280, 2), grid())
    assert all(math.isfinite(x) for x in score.scalars.values())
    assert torch.isfinite(score.matrix).all()


@every_metric
def test_bad_input_is_refused_by_name(metric):
    v, z = grid(4), noise(128, 3)
    with pytest.raises(ValueError, match="factor 1 has one level"):
        metric(z, v * torch.tensor([1, 0, 1]))
    with pytest.raises(ValueError, match="1 sample"):
        metric(z[:1], v[:1])
    z[7, 2] = math.inf
    with pytest.raises(ValueError, match=r"codes\[7, 2\] is inf"):
        metric(z, v)


@every_metric
def test_levels_of_any_value_count_as_levels(metric):
    v = grid(10)
    z = v + 0.5 * noise(len(v), 3)
    expected = metric(z, v).scalars
    for named in (2 * v - 1, v * 2**61 - 2**62):
        assert metric(z, named).scalars == pytest.approx(expected, abs=1e-9)


@every_metric
def test_intervals_hold_the_score_or_are_not_there(metric):
    v = grid(10)
    score = metric(v + 0.7 * noise(len(v), 3), v)
    for name, (low, high) in score.intervals(60).items():
        assert low <= score.scalars[name] <= high or name == "E"  # the least loss is biased
    assert ("IRS" in score.scalars) == ("IRS" not in score.intervals(2) and "IRS" in score.fixed)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_metric
def test_codes_on_a_gpu_score_the_same(metric):
    v = grid(10)
    z = v + 0.5 * noise(len(v), 3)
    assert metric(z.cuda(), v.cuda()).scalars == pytest.approx(metric(z, v).scalars, abs=1e-3)


# β-VAE score


def test_the_betavae_score_is_at_chance_for_noise():
    v = grid(60)
    assert metrics.betavae_score(noise(len(v), 4), v).scalars["β-VAE score"] == pytest.approx(
        1 / 3, abs=0.05
    )


def test_the_betavae_score_saturates():
    """Kim & Mnih 2018: a factor without an axis is told by the others, none of which is still."""
    v = grid()
    for codes in (v[:, :2], turned(v, 20), 0.3 * noise(len(v), 3) + v):
        assert metrics.betavae_score(codes.double(), v).scalars["β-VAE score"] > 0.99


def test_turned_by_half_a_right_angle_two_factors_look_alike():
    v = grid()[:, :2]
    score = metrics.betavae_score(turned(v, 45), v)
    assert score.scalars["β-VAE score"] == pytest.approx(0.5, abs=0.05)
    # |a| of two axes of which one factor is left: both keep the same share.
    assert score.matrix[0].tolist() == pytest.approx(score.matrix[1].tolist(), abs=0.03)


def test_the_differences_kept_are_those_of_the_draws():
    """Levels 0 and 1: a pair differs half of the time, or never where the factor is shared."""
    v = grid(30, (2, 2))
    matrix = metrics.betavae_score(v.double(), v).matrix
    # Mean difference along axis 0: 0 for votes of factor 0 and 1/2 for those of factor 1.
    expected = torch.tensor([[0.0, 2.0], [2.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(matrix, expected, atol=0.1, rtol=0)
    renamed = metrics.betavae_score(7 * v, v)
    torch.testing.assert_close(renamed.matrix, matrix)  # labels differ or not


# IRS


def test_irs_by_hand():
    """z0 = 2a + b of two bits: given a it moves by 1/2, given b by 1, of 3/2 at most."""
    v = grid(20, (2, 2))
    z = torch.stack([2.0 * v[:, 0] + v[:, 1], 4.0 * v[:, 1]], 1)
    score = metrics.irs(z, v)
    expected = torch.tensor([[2 / 3, 0], [1 / 3, 1]], dtype=torch.float64)
    torch.testing.assert_close(score.matrix, expected)
    # weights 3/2 and 2
    assert score.scalars["IRS"] == pytest.approx((1.5 * 2 / 3 + 2 * 1) / 3.5)


def test_irs_does_not_ask_for_all_factors():
    v = grid()
    assert metrics.irs(v[:, :1].double(), v).scalars["IRS"] == 1
    with_dead = torch.cat([v, 0 * v[:, :1]], 1)
    assert metrics.irs(with_dead, v).scalars["IRS"] == 1


# MIG-sup and DCIMIG


def test_mig_sup_counts_every_axis():
    v = grid()
    spare = torch.cat([v, 0 * v], 1)
    assert metrics.mig_sup(spare, v).scalars["MIG-sup"] == pytest.approx(0.5)
    assert metrics.mig(torch.cat([v, v], 1), v).scalars["MIG"] == 0
    assert metrics.mig_sup(torch.cat([v, v], 1), v).scalars["MIG-sup"] == 1


def test_an_axis_that_tells_two_factors_alike_has_no_gap():
    v = grid()
    both = torch.stack([4 * v[:, 0] + v[:, 1], v[:, 2]], 1)  # 16 labels: all of both
    assert metrics.mig_sup(both, v).scalars["MIG-sup"] == pytest.approx(0.5)
    # In nats: the third factor alone is found, ln 2 of ln 4 + ln 4 + ln 2.
    assert metrics.dcimig(both, v).scalars["DCIMIG"] == pytest.approx(1 / 5)


def test_dcimig_takes_the_best_axis_of_each_factor():
    v = grid()
    coarse = (v[:, 0] // 2)[:, None]  # one bit of factor 0, beside the whole
    assert metrics.dcimig(torch.cat([coarse, v], 1), v).scalars["DCIMIG"] == pytest.approx(1)
    alone = torch.cat([coarse, v[:, 1:]], 1)
    expected = (math.log(2) + math.log(4) + math.log(2)) / (2 * math.log(4) + math.log(2))
    assert metrics.dcimig(alone, v).scalars["DCIMIG"] == pytest.approx(expected)


def test_a_single_factor_has_no_second():
    v = grid()[:, :1]
    assert metrics.mig_sup(v, v).scalars["MIG-sup"] == 1
    assert metrics.dcimig(v, v).scalars["DCIMIG"] == pytest.approx(1)


# Minimality and sufficiency


def test_factors_that_depend_on_each_other():
    """Three bits of which two agree three times in four: gaps see a flaw, minimality none."""
    rows = [[0, 0]] * 3 + [[0, 1]] + [[1, 0]] + [[1, 1]] * 3
    v = torch.tensor(rows).repeat(50, 1)
    shared = math.log(2) - (-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    told = 1 - shared / math.log(2)
    assert metrics.minimality_sufficiency(v, v).scalars == pytest.approx(
        {"minimality": 1, "sufficiency": 1}
    )
    for metric in (metrics.mig, metrics.mig_sup, metrics.dcimig):
        assert list(metric(v, v).scalars.values()) == pytest.approx([told])


def test_what_an_axis_holds_beside_its_factor_is_not_minimal():
    v = grid()
    both = torch.stack([4 * v[:, 0] + v[:, 1], v[:, 2], 0 * v[:, 0]], 1)
    found = metrics.minimality_sufficiency(both, v).scalars
    assert found == pytest.approx({"minimality": (0.5 + 1) / 2, "sufficiency": 1})
    half = metrics.minimality_sufficiency(v // 2, v).scalars  # the high bit; of two levels nothing
    assert half == pytest.approx({"minimality": 1, "sufficiency": (0.5 + 0.5 + 0) / 3})


# DCI-ES


def test_explicitness_of_a_perfect_code_follows_from_the_doubling():
    """A tree of depth d has 2^d leaves: it is right for 2^d of K equal levels."""
    for K in (2, 4, 8, 16):
        v = grid(120, (K, 2))
        matrix = metrics.dci_es(v.double(), v).matrix
        loss = np.array([max(0, 1 - 2**d / K) for d in range(1, DEPTHS + 1)])
        area = ((loss[1:] + loss[:-1]) / 2).sum()
        # the loss of a constant is about 1 - 1/K, the held-out third being drawn at random
        expected = 1 - area / (0.5 * (DEPTHS - 1) * (1 - 1 / K))
        assert matrix[0, 0].item() == pytest.approx(expected, abs=0.01)
        assert matrix[1, 0].item() == 1


def test_explicitness_of_given_losses():
    line = torch.linspace(1, 0, DEPTHS, dtype=torch.float64)
    flat = torch.full((DEPTHS,), 0.7, dtype=torch.float64)
    late = torch.tensor([1.0] * (DEPTHS - 1) + [0.0], dtype=torch.float64)
    worse = torch.cat([flat[:1], torch.full((DEPTHS - 1,), 0.9)])  # overfitted: the least counts
    losses = torch.stack([line, flat, late, worse])
    scalars, matrix = _Formula(2.0)({"loss": losses, "constant": torch.ones(4)})
    expected = [0, 1, 1 - (DEPTHS - 1.5) / (0.5 * (DEPTHS - 1)), 1]
    assert matrix[:, 0].tolist() == pytest.approx(expected)
    assert scalars["E"].item() == pytest.approx(np.mean(expected))


def test_a_tree_that_is_cut_is_the_tree_of_that_depth():
    v = grid()
    z = v + 0.4 * noise(len(v), 3)
    score = metrics.dci_es(z, v)
    (fit_z, fit_v), (test_z, test_v) = metrics.probes.split(z, v)
    for depth in (1, 3, DEPTHS):
        tree = DecisionTreeClassifier(criterion="entropy", max_depth=depth, random_state=0)
        tree.fit(fit_z.numpy(), fit_v[:, 0].numpy())
        wrong = (tree.predict(test_z.numpy()) != test_v[:, 0].numpy()).mean()
        ours = score.parts[0]["loss"][:, 0, depth - 1].mean().item()
        assert ours == pytest.approx(wrong, abs=0.01)  # ties are broken by chance


def test_a_turned_code_is_less_explicit_and_noise_is_not():
    v = grid()[:, :2]
    z = v + 0.05 * noise(len(v), 2)
    straight, mixed, nothing = (
        metrics.dci_es(codes, v).scalars["E"] for codes in (z, turned(z, 45), noise(len(v), 2))
    )
    assert straight - mixed > 0.1
    assert nothing > 0.95


def test_factors_without_levels():
    """One axis is the factor: variance left in 2^d equal pieces of a uniform one, 4^-d."""
    u = torch.rand(6_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = np.array([4.0**-d for d in range(1, DEPTHS + 1)])
    area = ((loss[1:] + loss[:-1]) / 2).sum() - (DEPTHS - 1) * loss[-1]
    expected = 1 - area / (0.5 * (DEPTHS - 1))
    score = metrics.dci_es(torch.cat([u, noise(6_000, 1)], 1), u)
    assert score.scalars["E"] == pytest.approx(expected, abs=0.005)
    assert score.scalars["S"] == 0.5
    with pytest.raises(ValueError, match=r"factors\[0, 0\] is nan"):
        metrics.dci_es(u, torch.nan * u)


def test_the_report_takes_them_by_name():
    v = grid(20)
    names = ["β-VAE score", "IRS", "MIG-sup", "DCIMIG", "minimality and sufficiency", "DCI-ES"]
    report = metrics.report(v + 0.3 * noise(len(v), 3), v, names, resamples=20)
    assert {"β-VAE score", "IRS", "MIG-sup", "DCIMIG", "minimality", "E", "S"} <= set(
        report.scalars
    )
    rows = {row[0]: row for row in report.table().rows}
    assert rows["IRS"][2] == ""  # no interval, not one of width 0
    assert rows["DCIMIG"][2]

"""The metrics against published implementations, hand computations and codes of known make-up."""

import math

import numpy as np
import parity
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from dvae_lib import figures, metrics
from dvae_lib.metrics import probes
from dvae_lib.metrics.dci import MODELS, _dci
from dvae_lib.metrics.report import USUAL
from dvae_lib.metrics.score import Score

SIZES = (4, 5, 6)
EVERY = {
    "mig": metrics.mig,
    "modularity": metrics.modularity,
    "sap": lambda z, v: metrics.sap(z, v, form="r2"),
    "explicitness": metrics.explicitness,
    "factorvae": lambda z, v: metrics.factorvae_score(z, v, votes=1_000),
    "infomec": metrics.infomec,
    "dci": metrics.dci,
}
every_metric = pytest.mark.parametrize("metric", EVERY.values(), ids=EVERY)


def levels(n=1_200, sizes=SIZES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(0, s, (n,), generator=generator) for s in sizes], 1)


def noise(n, axes, scale=1.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, axes, generator=generator, dtype=torch.float64)


# What other people's implementations give


def test_parity_with_published_implementations():
    z, y, zt, yt = parity.codes()
    assert metrics.mig(z, y).scalars["MIG"] == pytest.approx(parity.MIG, abs=1e-9)
    assert metrics.modularity(z, y).scalars["modularity"] == pytest.approx(
        parity.MODULARITY, abs=1e-9
    )
    by_classifier = metrics.sap(z, y, test=(zt, yt)).scalars["SAP"]
    assert by_classifier == pytest.approx(parity.SAP_CLASSIFIER, abs=5e-4)
    assert metrics.sap(z, y, test=(zt, yt), form="r2").scalars["SAP"] == pytest.approx(
        parity.SAP_R2, abs=1e-9
    )
    # theirs is penalised
    explicit = metrics.explicitness(z, y, test=(zt, yt)).scalars["explicitness"]
    assert explicit == pytest.approx(parity.EXPLICITNESS, abs=1e-3)
    assert metrics.factorvae_score(z, y).scalars["FactorVAE score"] == parity.FACTORVAE


# Codes with a known answer


@every_metric
def test_a_perfect_code_has_the_highest_score(metric):
    v = levels()
    z = v + noise(*v.shape, scale=0.01)
    best = metric(z, v).scalars
    assert min(best.values()) > (0.97 if "D" not in best else 0.93)  # trees split on chance, too
    # Order, sign and scale of the axes do not matter.
    changed = metric(z[:, [2, 0, 1]] * torch.tensor([-3.0, 0.5, 10.0]), v).scalars
    assert changed == pytest.approx(best, abs=0.02)


@every_metric
def test_codes_of_noise_have_the_lowest_score(metric):
    v = levels()
    scalars = metric(noise(len(v), 5), v).scalars
    chance = {"FactorVAE score": 1 / 3, "explicitness": 0.5, "I": np.mean([1 / s for s in SIZES])}
    arbitrary = {"InfoM", "InfoC", "modularity", "D", "C"}  # shares of next to nothing
    for name in scalars.keys() - arbitrary:
        assert scalars[name] == pytest.approx(chance.get(name, 0), abs=0.06), name


@every_metric
def test_a_constant_axis_changes_nothing_of_the_others(metric):
    v = levels()
    z = v + noise(*v.shape, scale=0.1)
    with_dead = torch.cat([torch.full((len(z), 1), 0.3), z], 1)
    before, after = metric(z, v), metric(with_dead, v)
    if before.label != "area under the ROC curve":
        assert before.matrix.shape == (3, 3)
        assert after.matrix.shape == (3, 4)
        assert after.matrix[:, 0].abs().max() == 0
    if "modularity" in before.scalars:  # counts as an axis that is not modular
        assert after.scalars["modularity"] == pytest.approx(0.75 * before.scalars["modularity"])
    else:
        # completeness is an entropy in units of log L, so it rises a little with more axes
        assert after.scalars == pytest.approx(before.scalars, abs=0.03)
    assert all(math.isfinite(x) for pair in after.intervals(20).values() for x in pair)


@every_metric
def test_codes_without_any_information_have_a_defined_score(metric):
    v = levels(300)
    score = metric(torch.zeros(300, 2), v)
    assert all(math.isfinite(x) for x in score.scalars.values())
    assert torch.isfinite(score.matrix).all()


@every_metric
def test_bad_input_is_refused_by_name(metric):
    v = levels(100)
    z = noise(100, 3)
    with pytest.raises(ValueError, match="factor 1 has one level"):
        metric(z, v * torch.tensor([1, 0, 1]))
    with pytest.raises(ValueError, match="1 sample"):
        metric(z[:1], v[:1])
    z[7, 2] = math.inf
    with pytest.raises(ValueError, match=r"codes\[7, 2\] is inf"):
        metric(z, v)


@pytest.mark.parametrize("metric", [metrics.mig, metrics.modularity])
def test_fewer_samples_than_bins_are_refused(metric):
    with pytest.raises(ValueError, match="10 samples for 20 bins; take more samples or fewer bins"):
        metric(noise(10, 2), levels(10))
    assert math.isfinite(float(sum(metric(noise(10, 2), levels(10), bins=5).scalars.values())))


def test_labels_count_as_they_are():
    v = levels()
    assert metrics.mig(v, v).scalars["MIG"] > 0.97
    assert metrics.mig(0.5 * v, v, discrete=True).scalars == metrics.mig(v, v).scalars
    renamed = torch.tensor([2, 9, 4, 0, 7, 5])[v]
    assert metrics.mig(renamed, v).scalars == pytest.approx(metrics.mig(v, v).scalars)
    assert metrics.factorvae_score(renamed, v).scalars["FactorVAE score"] == 1


@every_metric
def test_levels_of_any_value_count_as_levels(metric):
    """Those of CelebA are -1 and 1; memory goes by their number, not by their value."""
    v = levels(300, (2, 3, 2))
    z = v + noise(*v.shape, scale=0.5)
    expected = metric(z, v).scalars
    for named in (2 * v - 1, v * 1_000_000_007, v * 2**61 - 2**62):
        assert metric(z, named).scalars == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "metric", [metrics.infomec, metrics.sap, metrics.explicitness, metrics.dci]
)
def test_a_factor_that_has_a_level_for_each_sample_is_not_predicted(metric):
    v = torch.arange(900)[:, None]
    with pytest.raises(ValueError, match="factor 0 has .00 levels in .00 samples; a classifier"):
        metric(noise(900, 2), v)


# One by one


def test_gap_by_hand():
    matrix = torch.tensor([[0.9, 0.2, 0.5], [0.1, 0.1, 0.1]], dtype=torch.float64)
    assert metrics.gap(matrix).item() == pytest.approx(0.2)
    assert metrics.gap(matrix[:, :1]).item() == pytest.approx(0.5)


def test_modularity_by_hand():
    information = torch.tensor([[0.8, 0.3, 0.0], [0.4, 0.3, 0.0]], dtype=torch.float64)
    # 1 - 0.16 / 0.64, 1 - 1, and 0 for the axis that tells nothing
    assert metrics.modularity_of(information).item() == pytest.approx(0.25)


def test_mig_of_posteriors_is_the_information_of_a_noisy_channel():
    v = levels(3_000, (2, 2))
    mean = torch.stack([2.0 * v[:, 0] - 1, 0.0 * v[:, 1]], 1)
    value, matrix = metrics.mig_of_posteriors(mean, torch.zeros_like(mean), v)
    # z = ±1 + noise: I = h(z) - h(noise), h(z) by quadrature
    grid = torch.linspace(-9, 9, 100_001, dtype=torch.float64)
    density = sum((-0.5 * (grid - m) ** 2).exp() for m in (-1, 1)) / math.sqrt(8 * math.pi)
    told = torch.trapezoid(torch.special.entr(density), grid) - 0.5 * math.log(2 * math.pi * math.e)
    expected = told.item() / math.log(2)
    assert matrix[0, 0].item() == pytest.approx(expected, abs=0.02)
    assert value == pytest.approx(expected / 2, abs=0.02)


def test_sap_by_classifier_is_low_even_for_a_perfect_code():
    # A linear machine cuts one axis into few intervals: a middle level has no side of its own.
    v = levels()
    score = metrics.sap(v + noise(*v.shape, scale=0.01), v)
    assert score.matrix.argmax(1).tolist() == [0, 1, 2]
    assert 0.2 < score.scalars["SAP"] < 0.6


@pytest.mark.parametrize("scale", [1e4, 1e100])
def test_the_machine_of_sap_is_not_fed_what_it_does_not_end_on(scale):
    v = levels(100)
    z = v + noise(*v.shape, scale=0.1)
    with pytest.raises(ValueError, match=r"codes of up to .*: the linear machine"):
        metrics.sap(scale * z, v)
    by_r2 = metrics.sap(scale * z, v, form="r2").scalars
    assert by_r2 == pytest.approx(metrics.sap(z, v, form="r2").scalars)


def test_sap_has_its_two_forms_only():
    with pytest.raises(ValueError, match="form 'mse'; choose 'classifier' or 'r2'"):
        metrics.sap(noise(100, 2), levels(100), form="mse")


def test_the_terms_of_an_area_average_to_scikit_learns():
    scores = noise(500, 1)[:, 0].round(decimals=1)  # with ties
    positive = torch.rand(500, generator=torch.Generator().manual_seed(0)) < 0.3
    terms = probes._area_terms(scores, positive)
    assert terms.mean().item() == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_explicitness_does_not_see_a_rotation():
    v = levels()
    z = v + noise(*v.shape, scale=0.7)
    mixed = z @ noise(3, 3, seed=5)
    before, after = (metrics.explicitness(codes, v).scalars["explicitness"] for codes in (z, mixed))
    assert after == pytest.approx(before, abs=1e-3)


def test_factorvae_votes_for_the_axis_of_the_factor():
    v = levels()
    z = (v + noise(*v.shape, scale=0.1))[:, [1, 2, 0]]
    votes = metrics.factorvae_score(z, v, votes=2_000).matrix
    assert votes.argmax(1).tolist() == [2, 0, 1]
    assert votes.sum().item() == pytest.approx(1)


def test_dci_by_hand():
    importance = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    scalars, _ = _dci({"importance": 3 * importance, "hit": torch.tensor([0.5, 0.7])})
    # columns: (1, 0), entropy 0, share 1/4; (1/3, 2/3), share 3/4; nothing, share 0
    entropy = -(math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3) / math.log(2)
    assert scalars["D"].item() == pytest.approx(0.25 + 0.75 * (1 - entropy))
    assert scalars["C"].item() == pytest.approx(0.5 * (1 - math.log(2) / math.log(3)) + 0.5)
    assert scalars["I"].item() == pytest.approx(0.6)


def test_dci_does_not_depend_on_the_order_of_the_axes():
    # A peer falls from 0.80 to 0.00 when the dead axis comes first.
    z, y, *_ = (t[:1_500] for t in parity.codes())
    as_is = metrics.dci(z, y)
    order = [9, 3, 8, 0, 1, 7, 2, 6, 5, 4]
    moved = metrics.dci(z[:, order], y)
    assert moved.scalars == pytest.approx(as_is.scalars, abs=1e-9)
    np.testing.assert_allclose(moved.matrix, as_is.matrix[:, order], atol=1e-9)
    assert as_is.scalars["D"] > 0.5


@pytest.mark.parametrize("model", MODELS)
def test_every_model_of_dci_goes_by_its_name(model):
    v = levels(300)
    score = metrics.dci(v + noise(*v.shape, scale=0.05), v, model=model)
    np.testing.assert_allclose(score.matrix.sum(1), 1, atol=1e-6)
    assert score.scalars["I"] > 0.9
    assert repr(score).endswith(f"({model})")
    # scikit-learn's importances come without terms to resample: no interval, not one of width 0.
    resampled = {"I"} if model != "binned boosting" else {"D", "C", "I"}
    assert set(score.intervals(20)) == resampled
    with pytest.raises(ValueError, match="model 'trees'; there are: binned boosting"):
        metrics.dci(v, v, model="trees")


# Intervals and reports


def test_intervals_cover_the_expected_score():
    # The mean score of many samples should lie in about 95 % of the intervals of single ones.
    metric = {
        "MIG": metrics.mig,
        "SAP": lambda z, v: metrics.sap(z, v, form="r2"),
        "InfoE": lambda z, v: metrics.infomec(z, v, variant="in-training"),
        "explicitness": metrics.explicitness,
    }
    for name, function in metric.items():
        found = []
        for seed in range(40):
            v = levels(400, seed=seed)
            score = function(v + noise(400, 3, 0.8, seed=100 + seed), v)
            found.append((score.scalars[name], *score.intervals(100)[name]))
        value, low, high = np.array(found).T
        covered = ((low <= value.mean()) & (value.mean() <= high)).mean()
        assert covered >= 0.75, name
        assert 0.5 < (high - low).mean() / (4 * value.std()) < 2, name


def test_an_interval_holds_95_percent_of_the_resamples():
    """The sum of a resample of ones and zeros is binomial, whose quantiles are known."""
    ones = (torch.arange(100) < 30).double()
    score = Score.from_terms(lambda means: ({"share": means["ones"]}, ones), "", {"ones": ones})
    low, high = score.intervals(20_000)["share"]
    expected = stats.binom(100, 0.3).ppf([0.025, 0.975]) / 100
    np.testing.assert_allclose([low, high], expected, atol=1e-9)


def test_intervals_repeat_with_their_seed():
    v = levels(200)
    score = metrics.mig(v + noise(*v.shape), v)
    assert score.intervals(50) == score.intervals(50)
    assert score.intervals(50) != score.intervals(50, seed=1)


def test_a_report_holds_what_each_metric_gives():
    v = levels(600)
    z = v + noise(*v.shape, scale=0.5)
    report = metrics.report(z, v, resamples=50)
    assert list(report.scores) == list(USUAL)
    for name, function in EVERY.items():
        if name not in ("factorvae", "sap"):  # other settings here than by default
            for scalar, value in function(z, v).scalars.items():
                assert report.scalars[scalar] == pytest.approx(value, abs=1e-12)
    for name, (low, high) in report.intervals.items():
        assert low <= report.scalars[name] + 0.05
        assert high >= report.scalars[name] - 0.05
    assert "<td" in report._repr_html_()
    assert f"MIG  {report.scalars['MIG']:.3f}" in repr(report)
    how = {row[0]: row[3] for row in report.table().rows}
    assert (how["D"], how["InfoC"]) == ("binned boosting", "standalone, 3 of 3 axes active")
    with pytest.raises(ValueError, match="no metric 'BetaVAE'; there are: InfoMEC, MIG"):
        metrics.report(z, v, ["BetaVAE"])


def test_a_score_is_drawn_as_its_matrix():
    v = levels(300)
    figure = figures.score_matrix(metrics.mig(v, v), ["floor", "wall", "object"], "VAE on rooms")
    assert figure.axes[0].get_title().startswith("VAE on rooms\nMIG ")
    assert figure.axes[0].images[0].get_clim() == (0, 1)  # the same for all
    assert "floor at z0, wall at z1, object at z2" in figure.alt
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["floor", "wall", "object"]
    with pytest.raises(ValueError, match="2 factor names for 3 factors"):
        figures.score_matrix(metrics.mig(v, v), ["floor", "wall"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_metric
def test_codes_on_a_gpu_score_the_same(metric):
    v = levels()
    z = v + noise(*v.shape, scale=0.3)
    assert metric(z.cuda(), v.cuda()).scalars == pytest.approx(metric(z, v).scalars, abs=1e-3)

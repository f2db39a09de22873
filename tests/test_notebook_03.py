"""What notebook 03 teaches, against scikit-learn, SciPy and closed forms."""

import math

import numpy as np
import pytest
import torch
from answers_03 import REJECTED, RIGHT, WRONG  # noqa: F401 (test_answers.py looks for them here)
from exercises import assert_rejected
from scipy.linalg import sqrtm
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score, roc_auc_score

from dvae_lib import metrics, workbook

NOTEBOOK = "03_measuring_disentanglement"


@pytest.fixture(scope="module")
def taught():
    return workbook.definitions(NOTEBOOK)


@pytest.fixture(scope="module")
def samples(taught):
    """2,000 samples of the factors and of their perfect code."""
    torch.manual_seed(0)
    v = taught.draw_levels(2_000)
    return taught.perfect(v), v


def test_information_of_a_binary_symmetric_channel(taught):
    """I = ln 2 - H(flip), exact when the counts are in proportion."""
    for flip in (0.0, 0.1, 0.25, 0.5):
        wrong = round(500 * flip)
        counts = torch.tensor([[500 - wrong, wrong], [wrong, 500 - wrong]])
        p = torch.tensor([flip, 1 - flip], dtype=torch.float64)
        expected = math.log(2) - torch.special.entr(p).sum().item()
        assert float(taught.mutual_information(counts)[0]) == pytest.approx(expected, abs=1e-9)


def test_information_agrees_with_scikit_learn(taught):
    rng = np.random.default_rng(0)
    z = rng.integers(0, 7, 300)
    v = np.where(rng.random(300) < 0.5, z // 2, rng.integers(0, 4, 300))
    counts = taught.contingency(torch.as_tensor(z), torch.as_tensor(v))
    assert counts.sum() == 300
    assert float(taught.mutual_information(counts)[0]) == pytest.approx(mutual_info_score(z, v))


def test_the_bias_is_as_predicted_and_the_correction_removes_it(taught):
    torch.manual_seed(0)
    plug_in, corrected = taught.mean_estimates(1_000, 20, 50).tolist()
    assert plug_in == pytest.approx(19 * 9 / 2_000, rel=0.15)
    assert abs(corrected) < 0.1 * plug_in


def test_neighbour_information_agrees_with_scikit_learn(taught):
    generator = torch.Generator().manual_seed(0)
    v = torch.randint(4, (400,), generator=generator)
    z = v + torch.randn(400, generator=generator, dtype=torch.float64)
    for k in (3, 10):
        expected = mutual_info_classif(z[:, None].numpy(), v.numpy(), n_neighbors=k)[0]
        assert float(taught.neighbour_information(z, v, k)) == pytest.approx(expected, abs=1e-6)


def test_neighbour_information_of_overlapping_uniforms(taught):
    generator = torch.Generator().manual_seed(1)
    v = torch.arange(2).repeat(1_500)
    z = v / 2 + torch.rand(3_000, generator=generator, dtype=torch.float64)
    assert float(taught.neighbour_information(z, v)) == pytest.approx(0.5 * math.log(2), abs=0.03)


def test_neighbour_information_is_never_negative(taught):
    torch.manual_seed(0)
    pairs = [(torch.randn(200).double(), torch.randint(4, (200,))) for _ in range(10)]
    values = [float(taught.neighbour_information(*pair)) for pair in pairs]
    assert min(values) == 0


def test_a_linear_classifier_misses_the_middle_levels(taught):
    """On a perfect axis the ends are told, and nearly nothing between; few levels are all told."""
    torch.manual_seed(0)
    for size, C, low, high in ((3, 1, 1.0, 1.0), (4, 1, 1.0, 1.0), (10, 0.01, 0.15, 0.3)):
        v = taught.draw_levels(3_000, (size,))
        share, told = taught.levels_told(taught.perfect(v, (size,))[:, 0], v[:, 0], C)
        assert low <= share <= high
        assert told <= size


def test_explicitness_is_the_mean_area_of_scikit_learn(taught):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (200, 3)) / 5
    levels = rng.integers(0, 3, 200)
    expected = np.mean([roc_auc_score(levels == c, scores[:, c]) for c in range(3)])
    value = taught.explicitness(torch.as_tensor(scores), torch.as_tensor(levels))
    assert float(value) == pytest.approx(expected)


def test_scores_of_known_matrices(taught):
    eye, even = torch.eye(4, dtype=torch.float64), torch.full((4, 4), 0.25, dtype=torch.float64)
    assert [float(x) for x in taught.disentanglement_completeness(eye)] == pytest.approx([1, 1])
    assert [float(x) for x in taught.disentanglement_completeness(even)] == pytest.approx([0, 0])
    assert float(taught.modularity(eye)) == 1
    assert float(taught.modularity(even)) == pytest.approx(0)
    on = torch.ones(4, dtype=torch.bool)
    assert float(taught.info_c(eye, on)) == pytest.approx(1)
    assert float(taught.info_c(even, on)) == pytest.approx(0)
    # A factor on two axes: shares 1/2, 1, 1, 1 over five axes.
    two = torch.cat([eye, eye[:, :1]], 1)
    expected = (3.5 / 4 - 1 / 5) / (1 - 1 / 5)
    assert float(taught.info_c(two, torch.ones(5, dtype=torch.bool))) == pytest.approx(expected)


def test_a_dead_axis_changes_neither_d_nor_where_it_stands(taught):
    rng = np.random.default_rng(0)
    R = torch.as_tensor(rng.dirichlet(np.ones(5), 3))
    D, _ = taught.disentanglement_completeness(R)
    dead_first = torch.cat([torch.zeros(3, 1), R], 1)
    assert float(taught.disentanglement_completeness(dead_first)[0]) == pytest.approx(float(D))


def test_sap_of_two_axes(taught):
    """v with z0 = v and z1 = v + noise of the same variance: R² are 1 and about 1/2."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randint(10, (50_000, 1), generator=generator)
    noise = torch.randn(50_000, 1, generator=generator, dtype=torch.float64) * math.sqrt(99 / 12)
    assert float(taught.sap_r2(torch.cat([v, v + noise], 1), v)) == pytest.approx(0.5, abs=0.02)


def test_factorvae_score_of_known_codes(taught, samples):
    z, v = samples
    torch.manual_seed(0)
    assert taught.factorvae_score(z, v, 300) == 1
    assert taught.factorvae_score(taught.with_dead_and_noise(z), v, 300) == 1
    assert taught.factorvae_score(torch.randn_like(z), v, 1_500) < 0.35


def test_info_e_of_what_cannot_be_told(taught, samples):
    z, v = samples
    torch.manual_seed(0)
    assert taught.info_e(z, v, 200) > 0.95
    assert abs(taught.info_e(torch.randn_like(z), v)) < 0.05


def test_frechet_distance_against_the_matrix_root(taught):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((500, 4)) @ rng.standard_normal((4, 4))
    b = rng.standard_normal((400, 4)) @ rng.standard_normal((4, 4)) + 1
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected += np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    value = taught.frechet_distance(torch.as_tensor(a), torch.as_tensor(b))
    assert value == pytest.approx(expected, rel=1e-8)


def test_the_codes_are_what_they_are_called(taught, samples):
    z, v = samples
    back = taught.rotated(taught.rotated(z, 30), -30)
    assert torch.allclose(back, z)
    assert torch.allclose(taught.rotated(z, 90)[:, 0].abs(), z[:, 1].abs())
    assert taught.permuted(z).sum(1).allclose(z.sum(1))
    labels = taught.two_on_one(v)
    assert torch.equal(labels[:, 0] // 10, v[:, 0])
    assert torch.equal(labels[:, 0] % 10, v[:, 1])
    wheels = taught.hue_wheels(v, jitter=0)
    assert torch.allclose(wheels[:, :3] ** 2 + wheels[:, 3:6] ** 2, torch.ones(1).double())
    assert taught.one_bit(v).unique().tolist() == [0, 1]


def test_spare_labels_tell_the_level(taught, samples):
    v = samples[1]
    torch.manual_seed(0)
    labels = taught.spare_labels(v)
    for label, level in zip(labels.T, v.T, strict=True):
        assert all(level[label == value].unique().numel() == 1 for value in label.unique())


def test_the_almost_dead_axis_lies_between_the_rules(taught, samples):
    z = taught.almost_dead(samples[0])
    width = z.amax(0) - z.amin(0)
    assert 1 / 20 < width[6] / width.max() < 1 / 8


def test_the_test_bench_is_that_of_the_published_numbers(taught):
    (z, v), (z_test, v_test) = taught.bench_codes()
    assert (z.shape, z_test.shape, v_test.shape) == ((10_000, 10), (5_000, 10), (5_000, 6))
    assert metrics.mig(z, v).scalars["MIG"] == pytest.approx(0.5701471998312044, abs=1e-6)


@pytest.mark.parametrize("n_values", [5, 20])
def test_noisy_readings_are_cut_evenly_and_read_one_factor_each(taught, n_values):
    codes, levels = taught.noisy_readings(6_000, n_values)
    for j, code in enumerate(codes.T.numpy()):
        assert np.bincount(code).tolist() == pytest.approx([6_000 / n_values] * n_values, rel=0.01)
        told = [mutual_info_score(code, level) for level in levels.T.numpy()]
        assert np.argmax(told) == j
        assert told[j] > 0.2


def test_the_bias_of_info_m_is_that_of_axes_in_shuffled_order(taught):
    """What axes tell after their rows are shuffled is bias alone: put it where theory has b."""
    codes, levels = taught.noisy_readings(4_000, 20)
    shuffled = codes.numpy()[np.random.default_rng(0).permutation(4_000)]
    b = np.mean([mutual_info_score(z, v) for z in shuffled.T for v in levels.T.numpy()])
    best = [mutual_info_score(z, v) for z, v in zip(codes.T.numpy(), levels.T.numpy(), strict=True)]
    expected = (6 * np.mean([told / (told + 5 * b) for told in best]) - 1) / 5
    found, by_formula = taught.info_m_of_readings(4_000, 20)
    assert found == pytest.approx(expected, abs=0.01)
    assert float(by_formula) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("exercise", "answer"), REJECTED)
def test_rarer_mistakes_are_rejected(exercise, answer):
    assert_rejected(NOTEBOOK, exercise, "expected|is off|are off|not", answer)

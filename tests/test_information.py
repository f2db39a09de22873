"""Information estimates against closed forms, quadrature and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score

from dvae_lib import metrics
from dvae_lib.metrics import information


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_discrete_information_of_a_noisy_channel():
    # A bit passed on wrongly once in ten: I = ln 2 - H(0.1), here with exact frequencies.
    pairs = [(0, 0)] * 45 + [(1, 1)] * 45 + [(0, 1)] * 5 + [(1, 0)] * 5
    z, v = torch.tensor(pairs).T[:, :, None]
    expected = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    assert metrics.discrete_information(z, v).item() == pytest.approx(expected, abs=1e-12)


def test_discrete_information_agrees_with_scikit_learn():
    z = torch.randint(-3, 9, (500, 4), generator=generator())
    v = torch.stack([z[:, 0] // 3 + 1, torch.randint(0, 5, (500,), generator=generator(1))], 1)
    found = metrics.discrete_information(z, v)
    expected = [[mutual_info_score(v[:, i], z[:, j]) for j in range(4)] for i in range(2)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_chance_information_is_the_bias_of_miller():
    drawn = [
        metrics.discrete_information(
            torch.randint(0, 12, (1_000, 20), generator=generator(s)),
            torch.randint(0, 6, (1_000, 20), generator=generator(100 + s)),
        )
        for s in range(5)
    ]
    assert torch.stack(drawn).mean().item() == pytest.approx(11 * 5 / 2_000, rel=0.03)


def test_entropies():
    labels = torch.tensor([[0, 5], [1, 5], [2, 5], [3, 7]])
    expected = [math.log(4), -0.75 * math.log(0.75) - 0.25 * math.log(0.25)]
    np.testing.assert_allclose(metrics.entropies(labels), expected, atol=1e-12)


def test_entropies_of_other_dtypes_and_values():
    labels = torch.tensor([[0, 5], [1, 5], [2, 5], [3, 7]])
    expected = metrics.entropies(labels)
    for other in (labels.byte(), labels.numpy().astype("uint16"), labels * 2**60 - 5):
        assert torch.equal(metrics.entropies(other), expected)
    assert metrics.entropies(labels > 2)[0].item() == pytest.approx(expected[1].item())
    with pytest.raises(TypeError, match=r"labels are torch.float32, expected integers"):
        metrics.entropies(labels / 2)


def nearest_neighbour_information(z, v, neighbours):
    """The definition written out, with all distances: (N,), (N,) to a number."""
    kept = np.bincount(v)[v] > 1
    z, v = z[kept], v[kept]
    terms = []
    for zi, vi in zip(z, v, strict=True):
        distance = abs(z - zi)
        own = np.sort(distance[v == vi])
        k = min(neighbours, len(own) - 1)
        m = (distance < own[k]).sum()
        terms.append(digamma(len(z)) + digamma(k) - digamma(len(own)) - digamma(m))
    return max(0, np.mean(terms))


@pytest.mark.parametrize("neighbours", [1, 3, 10])
def test_continuous_information_is_as_defined(neighbours):
    z = torch.randn(800, 3, generator=generator(), dtype=torch.float64)
    v = torch.stack([(3 * z[:, 0]).round() + 12, (z[:, 1] > 0) * 2 + (z[:, 2] > 1)], 1).long()
    # levels of the first factor have fewer members than neighbours, some only one
    assert torch.bincount(v[:, 0]).unique().tolist()[:3] == [0, 1, 2]
    found = metrics.continuous_information(z, v, neighbours)
    columns = [
        [nearest_neighbour_information(a, b, neighbours) for a in z.T.numpy()] for b in v.T.numpy()
    ]
    np.testing.assert_allclose(found, columns, atol=1e-12)
    # scikit-learn's distances are rounded, which matters in levels of a few samples
    theirs = [mutual_info_classif(z, b, n_neighbors=neighbours, random_state=0) for b in v.T]
    np.testing.assert_allclose(found, theirs, atol=0.02)


def test_continuous_information_of_a_gaussian_mixture():
    # z = 2v - 1 + noise: I = h(z) - h(noise), h(z) by quadrature
    v = torch.randint(0, 2, (20_000, 1), generator=generator())
    z = 2.0 * v - 1 + torch.randn(20_000, 1, generator=generator(1), dtype=torch.float64)
    grid = torch.linspace(-9, 9, 100_001, dtype=torch.float64)
    density = sum((-0.5 * (grid - m) ** 2).exp() for m in (-1, 1)) / math.sqrt(8 * math.pi)
    expected = torch.trapezoid(torch.special.entr(density), grid) - 0.5 * math.log(
        2 * math.pi * math.e
    )
    assert metrics.continuous_information(z, v).item() == pytest.approx(expected.item(), abs=0.01)


def test_continuous_information_of_a_constant_axis_is_zero():
    v = torch.randint(0, 3, (100, 1), generator=generator())
    assert metrics.continuous_information(torch.full((100, 1), 0.3), v).item() == 0


def test_continuous_information_of_tied_codes():
    # A perfect code without noise tells all of its factor, and scikit-learn's estimate says so.
    v = torch.randint(0, 6, (1_000, 2), generator=generator())
    found = metrics.continuous_information(0.5 * v, v)
    np.testing.assert_allclose(found.diagonal(), metrics.entropies(v), atol=0.02)
    theirs = [mutual_info_classif(0.5 * v, b, n_neighbors=10, random_state=0) for b in v.T]
    np.testing.assert_allclose(found, theirs, atol=0.01)


@pytest.mark.parametrize("offset", [1e3, -1e6, 1e12])
def test_continuous_information_of_tied_codes_far_from_0(offset):
    v = torch.randint(0, 6, (300, 2), generator=generator())
    found = metrics.continuous_information(0.5 * v.double() + offset, v)
    np.testing.assert_allclose(found, metrics.continuous_information(0.5 * v, v), atol=0.01)


def test_terms_average_to_the_estimate():
    z = torch.randn(300, 2, generator=generator())
    v = torch.randint(0, 4, (300, 3), generator=generator())
    terms = information.pointwise_continuous_information(z, v)
    assert terms.shape == (300, 3, 2)
    np.testing.assert_allclose(
        terms.mean(0).clamp_min(0), metrics.continuous_information(z, v), atol=1e-12
    )


def test_bins_are_those_of_numpy():
    z = torch.randn(200, 3, generator=generator(), dtype=torch.float64)
    found = metrics.equal_width_bins(z, 7)
    for column, mine in zip(z.T.numpy(), found.T.numpy(), strict=True):
        edges = np.histogram(column, 7)[1]
        np.testing.assert_array_equal(mine, np.digitize(column, edges[:-1]) - 1)


def test_a_constant_axis_is_in_one_bin():
    assert metrics.equal_width_bins(torch.full((30, 1), 0.1), 20).unique().tolist() == [0]


def test_entropies_of_uniform_posterior_means():
    # Peers give 1.5e7, 1.2e5 and 3.6 here; uniform on a width w has log w.
    widths = torch.tensor([0.346, 3.46, 34.6], dtype=torch.float64)
    mean = (torch.rand(4_000, 3, generator=generator(), dtype=torch.float64) - 0.5) * widths
    log_var = (widths / 100).square().log().expand_as(mean)
    found = metrics.posterior_entropies(mean, log_var)
    np.testing.assert_allclose(found, [-1.06, 1.24, 3.55], atol=0.05)


def test_entropy_of_a_gaussian_aggregate():
    mean = torch.randn(3_000, 1, generator=generator(), dtype=torch.float64)
    found = metrics.posterior_entropies(mean, torch.zeros_like(mean)).item()
    assert found == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 2), abs=0.03)


def test_posteriors_narrower_than_rounding_are_refused():
    mean, log_var = torch.randn(10, 2), torch.zeros(10, 2)
    log_var[4, 1] = -1000
    with pytest.raises(ValueError, match=r"log_var\[4, 1\] is -1000, expected -60 to 300"):
        metrics.posterior_entropies(mean, log_var)


def test_what_is_refused():
    z, v = torch.randn(10, 2), torch.arange(10)[:, None]
    cases = [
        (z[:, 0], v, ValueError, r"codes of shape \(10,\)"),
        (z, v[:5], ValueError, "10 codes for 5 rows of factors"),
        (z[:1], v[:1], ValueError, "1 sample"),
        (z, v.float(), TypeError, "factors are torch.float32"),
        (z, v * 0, ValueError, "factor 0 has one level"),
        (z + 0j, v, TypeError, "codes are torch.complex64"),
        (z, v + 0j, TypeError, "factors are torch.complex64"),
        ([["a", "b"]] * 10, v, TypeError, "codes are <U1, expected numbers"),
        (1e200 * z.double(), v, ValueError, r"codes\[0, 0\] is .*e\+(199|200); .*overflow"),
        (1e-200 * z.double(), v, ValueError, r"codes\[:, 0\] spread over .*e-(199|200)"),
        (z.index_fill(0, torch.tensor(3), torch.nan), v, ValueError, r"codes\[3, 0\] is nan"),
    ]
    for codes, factors, error, message in cases:
        with pytest.raises(error, match=message):
            information.check(codes, factors)
    with pytest.raises(ValueError, match="10 samples for 20 bins"):
        metrics.equal_width_bins(z, 20)

"""InfoMEC against the authors' own file and against codes with a known answer."""

import math

import numpy as np
import parity
import pytest
import torch

from dvae_lib import metrics
from dvae_lib.metrics.infomec import VARIANTS, active_axes

every_variant = pytest.mark.parametrize("variant", VARIANTS)


def levels(n=2_000, sizes=(4, 5, 6), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(0, s, (n,), generator=generator) for s in sizes], 1)


def test_continuous_codes_as_the_authors_measure_them():
    z, y, *_ = parity.codes()
    score = metrics.infomec(z, y)
    assert score.scalars == pytest.approx(parity.INFOMEC, abs=1e-5)
    assert score.matrix.shape == (6, 10)
    assert score.matrix.max().item() == pytest.approx(parity.LARGEST_NMI, abs=1e-5)
    assert score.formula.active.tolist() == [True] * 9 + [False]


def test_discrete_codes_as_the_authors_measure_them():
    z, y, *_ = parity.codes()
    labels = parity.discrete(z)
    score = metrics.infomec(labels, y)
    assert score.scalars == pytest.approx(parity.INFOMEC_DISCRETE, abs=1e-5)
    assert score.matrix.max().item() == pytest.approx(parity.LARGEST_NMI_DISCRETE, abs=1e-9)
    # Floats with few values are the same codes, whatever the values.
    few, y = labels[:1_000], y[:1_000]
    as_floats = metrics.infomec(few * 0.1 - 0.5, y, discrete=True)
    assert as_floats.scalars == pytest.approx(metrics.infomec(few, y).scalars, abs=1e-5)


def test_the_reference_stops_before_one_hot_codes_have_converged():
    z, y, *_ = parity.codes()
    labels = parity.discrete(z)[:1_500]
    early, late = (
        metrics.infomec(labels, y[:1_500], max_iter=n).scalars["InfoE"] for n in (100, 2_000)
    )
    assert early < late < early + 0.01


@every_variant
def test_a_perfect_code_scores_one(variant):
    v = levels()
    generator = torch.Generator().manual_seed(1)
    z = v + 0.01 * torch.randn(v.shape, generator=generator)
    for codes in (z, z[:, [2, 0, 1]], v):
        scalars = metrics.infomec(codes, v, variant=variant).scalars
        assert scalars["InfoM"] > 0.97
        assert scalars["InfoC"] > 0.97
    assert metrics.infomec(v, v).scalars["InfoE"] == pytest.approx(1, abs=1e-3)


def test_codes_that_tell_nothing():
    v = levels()
    z = torch.randn(2_000, 3, generator=torch.Generator().manual_seed(1))
    assert metrics.infomec(z, v).scalars["InfoE"] == pytest.approx(0, abs=0.01)
    for codes in (torch.zeros(2_000, 3), torch.zeros(2_000, 3, dtype=torch.int64)):
        scalars = metrics.infomec(codes, v).scalars
        assert scalars == pytest.approx({"InfoM": 0, "InfoE": 0, "InfoC": 0}, abs=1e-6)


def test_a_rotation_ruins_modularity_and_keeps_explicitness():
    v = levels(sizes=(6, 6))
    z = v + 0.1 * torch.randn(v.shape, generator=torch.Generator().manual_seed(1))
    half = math.sqrt(0.5)
    turned = z @ torch.tensor([[half, half], [-half, half]])
    before, after = (metrics.infomec(codes, v).scalars for codes in (z, turned))
    assert after["InfoM"] < 0.1 < 0.9 < before["InfoM"]
    assert after["InfoE"] == pytest.approx(before["InfoE"], abs=1e-3)


def test_one_axis_or_one_factor_is_trivially_compact_or_modular():
    v = levels()
    noisy = v + 0.1 * torch.randn(v.shape, generator=torch.Generator().manual_seed(1))
    assert metrics.infomec(noisy[:, :1], v).scalars["InfoC"] == 1
    assert metrics.infomec(noisy, v[:, :1]).scalars["InfoM"] == 1


def test_info_m_and_info_c_by_hand():
    nmi = torch.tensor([[0.6, 0.0, 0.2, 0.9], [0.2, 0.0, 0.2, 0.0]], dtype=torch.float64)
    active = torch.tensor([True, True, True, False])
    # shares 0.75 and 0.5; the axis that tells nothing has none
    assert metrics.info_m(nmi, active).item() == pytest.approx((0.625 - 0.5) / 0.5)
    # shares 0.6 / 0.8 and 0.2 / 0.4 over three active axes
    assert metrics.info_c(nmi, active).item() == pytest.approx((0.625 - 1 / 3) / (2 / 3))
    both = metrics.info_m(torch.stack([nmi, nmi.flip(0)]), active)
    np.testing.assert_allclose(both, [0.25, 0.25])


def test_where_the_variants_part():
    v = levels(sizes=(8, 8))
    generator = torch.Generator().manual_seed(2)
    z = v + 0.1 * torch.randn(v.shape, generator=generator)
    # An axis with a tenth of the largest range counts as used by 1/20 and not by 1/8.
    small = (z[:, :1] - z[:, :1].mean()) * 0.1
    with_small = torch.cat([z, small], 1)
    active = {n: metrics.infomec(with_small, v, variant=n).formula.active for n in VARIANTS}
    assert active["standalone"].tolist() == [True] * 3
    assert active["in-training"].tolist() == [True] * 2 + [False]
    # An axis that is nearly always at one value has a range but no quartiles apart.
    rare = torch.where(torch.rand(2_000, 1, generator=generator) < 0.05, z[:, :1], 0)
    active = {
        n: metrics.infomec(torch.cat([z, rare], 1), v, variant=n).formula.active for n in VARIANTS
    }
    assert active["standalone"].tolist() == [True] * 3
    assert active["tripod"].tolist() == [True] * 2 + [False]
    # A level that stands for two distant values: one weight a value reads it, one number cannot.
    wound = v + 8 * torch.randint(0, 2, v.shape, generator=generator)
    told = {n: metrics.infomec(wound, v, variant=n).scalars["InfoE"] for n in VARIANTS}
    assert told["standalone"] == told["tripod"] > 0.99
    assert told["in-training"] < 0.6


def test_which_discrete_axes_a_variant_counts():
    """Any range, an eighth of the largest range, and quartiles a twentieth of all values apart."""
    expected = {  # for axes of 0 to 9 beside 0 to 1, 0 to 2; and of 0 to 27 beside 0 to 1
        "standalone": [[True, True], [True, True], [True, True]],
        "in-training": [[True, False], [True, True], [True, False]],
        "tripod": [[True, True], [True, True], [True, False]],
    }
    narrow, wider = levels(sizes=(10, 2)), levels(sizes=(10, 3))
    for variant, active in expected.items():
        for codes, told in zip((narrow, wider, narrow * torch.tensor([3, 1])), active, strict=True):
            rule = VARIANTS[variant]
            found = active_axes(codes.double(), rule, discrete=True)
            assert found.tolist() == told, variant


def test_a_score_says_how_many_axes_are_active():
    v = levels(300)
    z = v + 0.1 * torch.randn(v.shape, generator=torch.Generator().manual_seed(1))
    assert repr(metrics.infomec(z, v)).endswith("(standalone, 3 of 3 axes active)")
    turned = torch.tensor([[1.0, 1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    with pytest.warns(UserWarning, match="InfoC is 1 .*only axis 1 of 3 is active"):
        score = metrics.infomec(z @ turned * torch.tensor([1, 100, 1]), v)
    assert score.scalars["InfoC"] == 1
    assert score.how == "standalone, 1 of 3 axes active"


def test_float_codes_of_few_values_are_named():
    v = levels(300, (4, 2))
    assert "the 4 values of axis 0 counted as continuous" in metrics.infomec(0.5 * v, v).how
    for codes, discrete in ((v, None), (0.5 * v, True), (v + torch.rand(300, 2), None)):
        assert "counted" not in metrics.infomec(codes, v, discrete=discrete).how


def test_labels_of_as_many_values_as_samples_are_refused():
    z = torch.arange(12_000)[:, None]
    with pytest.raises(ValueError, match="12000 samples of labels with 12000 values, .* 1 GB"):
        metrics.infomec(z, z % 3)


def test_a_few_samples_are_measured_as_many_are():
    z = torch.tensor([[0.3], [0.1], [0.7]])
    assert metrics.infomec(z, torch.tensor([[0], [0], [1]])).scalars["InfoM"] == 0
    v = torch.tensor([[0], [0], [0], [1], [1]])
    score = metrics.infomec(v + torch.rand(5, 1, generator=torch.Generator().manual_seed(0)), v)
    assert score.scalars["InfoE"] == pytest.approx(1, abs=1e-2)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="variant 'paper'; there are: standalone, in-training"):
        metrics.infomec(levels(), levels(), variant="paper")

"""What a network reads out of codes, against rates that are known in closed form."""

import math
import warnings
from functools import partial

import pytest
import torch

from dvae_lib import metrics

N = 4_000


def normal(n, axes, seed):
    return torch.randn(n, axes, generator=torch.Generator().manual_seed(seed))


def halves(codes, wanted):
    """The first half to fit, the second to test."""
    cut = len(codes) // 2
    return (codes[:cut], wanted[:cut]), (codes[cut:], wanted[cut:])


def accuracy(codes, labels):
    fit, test = halves(codes, labels)
    return metrics.probe_accuracy(*fit, test=test)


def r2(codes, targets):
    fit, test = halves(codes, targets)
    return metrics.probe_r2(*fit, test=test)


def within(rate, n=N, deviations=4):
    """The rate with its binomial interval on n test samples."""
    return pytest.approx(rate, abs=deviations * math.sqrt(rate * (1 - rate) / n))


def flipped(labels, rate, classes, seed=9):
    """Labels of which a share `rate` is another one, so that no reader is right more often."""
    generator = torch.Generator().manual_seed(seed)
    other = labels + torch.randint(1, classes, labels.shape, generator=generator)
    wrong = torch.rand(labels.shape, generator=generator) < rate
    return torch.where(wrong, other % classes, labels)


def test_it_reads_what_no_linear_reader_can():
    """Labels by the signs' product, a tenth of them flipped: the Bayes rate is 0.9."""
    z = normal(2 * N, 2, 0)
    labels = flipped((z.prod(1) > 0).long(), 0.1, 2)
    found = accuracy(z, labels)
    assert 0.9 - 0.03 < found < 0.9 + 4 * math.sqrt(0.09 / N)
    fit, test = halves(z, labels[:, None])
    linear = metrics.explicitness(*fit, test=test).scalars["explicitness"]
    assert linear == pytest.approx(0.5, abs=0.03)


def test_it_reads_rings_of_several_classes_whatever_the_units():
    """Rings of equal mass, a fifth of the labels wrong: the Bayes rate is 0.8."""
    z = normal(2 * N, 2, 1)
    mass = 1 - (-z.square().sum(1) / 2).exp()  # uniform, for the radius of a Gaussian pair
    labels = 10 * flipped((3 * mass).long(), 0.2, 3) - 7
    found = accuracy(z, labels)
    assert 0.8 - 0.05 < found < 0.8 + 4 * math.sqrt(0.16 / N)
    assert accuracy(z.double() * torch.tensor([1e6, 1e-6]) + 5, labels) == pytest.approx(
        found, abs=0.02
    )


def test_codes_that_tell_nothing_are_read_at_chance():
    z = normal(2 * N, 6, 2)
    labels = torch.randint(0, 5, (2 * N,), generator=torch.Generator().manual_seed(3))
    assert accuracy(z, labels) == within(0.2)
    assert accuracy(torch.zeros(2 * N, 3), labels) == within(0.2)
    assert r2(z, normal(2 * N, 2, 4)) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("units", [1.0, 1e4])
def test_r2_is_the_share_of_variance_that_the_codes_determine(units):
    """Targets z1 z2 and |z3|, plus noise: R² = signal / (signal + noise), averaged."""
    z = normal(2 * N, 3, 5)
    signal = torch.stack([z[:, 0] * z[:, 1], z[:, 2].abs()], 1)
    variance = torch.tensor([1, 1 - 2 / math.pi])
    noise = torch.tensor([0.5, 0.25])
    targets = signal + noise.sqrt() * normal(2 * N, 2, 6)
    expected = (variance / (variance + noise)).mean().item()
    # The units of one target change nothing.
    assert r2(z, targets * torch.tensor([1.0, units]) - 3) == pytest.approx(expected, abs=0.04)
    alone = (variance / (variance + noise))[0].item()
    assert r2(z, targets[:, :1]) == pytest.approx(alone, abs=0.04)


def test_a_larger_reader_reads_what_hides_from_a_small_one():
    """Labels by the fields of a chess board, a tenth of them flipped: the Bayes rate is 0.9."""
    z = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(12))
    labels = flipped((6 * z).long().sum(1) % 2, 0.1, 2)
    (fit_z, fit_y), test = (z[:-N], labels[:-N]), (z[-N:], labels[-N:])
    found = metrics.reader_accuracy(fit_z, fit_y, test=test)
    assert 0.9 - 0.08 < found < 0.9 + 4 * math.sqrt(0.09 / N)
    assert metrics.probe_accuracy(fit_z, fit_y, test=test) < found - 0.1


def test_a_larger_reader_finds_nothing_where_nothing_is():
    z, labels = normal(3 * N, 8, 13), torch.arange(3 * N) % 5
    found = metrics.reader_accuracy(z[N:], labels[N:], test=(z[:N], labels[:N]), steps=500)
    assert found == within(0.2)


def test_an_axis_that_is_constant_in_the_samples_to_fit_is_not_read():
    z = normal(1_000, 2, 7)
    labels = (z.prod(1) > 0).long()
    dead = torch.full((1_000, 1), 0.1)
    (fit_z, fit_y), (test_z, test_y) = halves(torch.cat([z, dead], 1), labels)
    before = metrics.probe_accuracy(fit_z, fit_y, test=(test_z, test_y))
    moved = test_z + torch.tensor([0.0, 0.0, 1e3])
    assert metrics.probe_accuracy(fit_z, fit_y, test=(moved, test_y)) == before > 0.8
    moved = metrics.reader_accuracy(fit_z, fit_y, test=(moved, test_y), steps=200)
    still = metrics.reader_accuracy(fit_z, fit_y, test=(test_z, test_y), steps=200)
    assert moved == still > 0.8


def measured(z, labels):
    reader = metrics.reader_accuracy(z, labels, test=(z, labels), steps=20)
    return accuracy(z, labels), reader, r2(z, z[:, :1] ** 2), r2(z, z**2)


def test_it_is_silent_and_repeats_and_takes_tensors_with_gradients():
    z = normal(300, 2, 8).requires_grad_()
    labels = (z.prod(1) > 0).long()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = measured(z, labels)
        torch.manual_seed(123)
        state = torch.get_rng_state()
        with torch.no_grad():
            assert measured(z, labels) == first
    assert [type(value) for value in first] == [float] * 4
    assert torch.equal(torch.get_rng_state(), state)


def test_a_label_may_be_missing_in_either_samples():
    z = normal(400, 1, 10)
    labels = (z[:, 0] > 0).long()
    test = (z, torch.where(labels == 0, 5, 1))  # 5 never occurs, so it is never right
    share = labels.double().mean().item()
    for read in (metrics.probe_accuracy, partial(metrics.reader_accuracy, steps=200)):
        assert read(z, labels, test=test) == pytest.approx(share, abs=0.02)
        assert read(z, 0 * labels + 3, test=(z, 0 * labels + 3)) == 1


def test_bad_input_is_refused_by_name():
    z, y = normal(40, 3, 11), torch.arange(40) % 2
    t = normal(40, 2, 12)
    for probe, wanted, name in (
        (metrics.probe_accuracy, y, "labels"),
        (metrics.reader_accuracy, y, "labels"),
        (metrics.probe_r2, t, "tar"),
    ):
        with pytest.raises(ValueError, match=f"40 codes for 39 {name}"):
            probe(z, wanted[:39], test=(z, wanted))
        with pytest.raises(ValueError, match=f"40 codes for 39 {name}"):
            probe(z, wanted, test=(z, wanted[:39]))
        with pytest.raises(ValueError, match="codes to test have 2 columns, those to fit 3"):
            probe(z, wanted, test=(z[:, :2], wanted))
        with pytest.raises(ValueError, match=r"codes of shape \(40,\), expected \(N, columns\)"):
            probe(z[:, 0], wanted, test=(z, wanted))
        with pytest.raises(ValueError, match="10 samples to fit.*give at least 11"):
            probe(z[:10], wanted[:10], test=(z, wanted))
        broken = z.clone()
        broken[7, 2] = math.inf
        for fit_z, test_z in ((broken, z), (z, broken)):
            with pytest.raises(ValueError, match=r"codes\[7, 2\] is inf; codes must be finite"):
                probe(fit_z, wanted, test=(test_z, wanted))
    with pytest.raises(ValueError, match=r"labels of shape \(40, 1\), expected \(N,\)"):
        metrics.probe_accuracy(z, y[:, None], test=(z, y))
    with pytest.raises(TypeError, match="labels are torch.float32, expected integers"):
        metrics.probe_accuracy(z, y.float(), test=(z, y))
    with pytest.raises(TypeError, match="labels are torch.float32, expected integers"):
        metrics.reader_accuracy(z, y, test=(z, y.float()))
    with pytest.raises(ValueError, match="steps = 0; the network needs at least one"):
        metrics.reader_accuracy(z, y, test=(z, y), steps=0)
    with pytest.raises(ValueError, match="label 1 occurs once in the samples to fit"):
        metrics.probe_accuracy(z, (torch.arange(40) == 3).long(), test=(z, y))
    with pytest.raises(ValueError, match="target 1 is constant in the samples to test"):
        metrics.probe_r2(z, t, test=(z, t * torch.tensor([1.0, 0.0])))
    t[3, 0] = math.nan
    with pytest.raises(ValueError, match=r"targets\[3, 0\] is nan"):
        metrics.probe_r2(z, t, test=(z, t))

"""FactorData: batches, pairs, counterfactuals and the errors for parts that do not fit."""

import itertools
from dataclasses import replace

import pytest
import torch
from conftest import paint

from dvae_lib import data
from dvae_lib.data import to_uint8


def test_batches_depend_on_seed_and_step_alone(painted):
    batches = painted.batches(5, seed=3)
    steps = [0, 7, 3, 3, 21, 0]
    torch.manual_seed(0)
    first = {step: batches[step].index for step in steps}
    torch.manual_seed(1)
    again = painted.batches(5, seed=3)
    for step in reversed(steps):
        torch.rand(step + 1)
        assert torch.equal(again[step].index, first[step])
    other = painted.batches(5, seed=4)
    assert any(not torch.equal(other[step].index, first[step]) for step in steps)


def test_an_epoch_is_a_permutation_and_the_next_another(painted):
    batches = painted.batches(6)
    epochs = [torch.cat([batches[4 * e + k].index for k in range(4)]) for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(24))
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[1], epochs[2])


def test_seed_and_epoch_are_not_exchanged_for_each_other(painted):
    """No two of nine epochs are alike, so the epochs of one seed are not those of the next."""
    orders = {
        tuple(painted.batches(24, seed=seed)[epoch].index.tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_a_batch_holds_the_rows_of_its_index(painted):
    images, factors, index = painted.batches(7)[5]
    assert images.dtype == torch.float32
    assert torch.equal(images, painted.images[index] / 255)
    assert torch.equal(factors, painted.factors[index])


def test_a_split_is_disjoint_complete_and_fixed(painted):
    parts = painted.split(0.25, seed=2)
    assert [len(part) for part in parts] == [6, 18]
    rows = [tuple(row) for part in parts for row in part.factors.tolist()]
    assert sorted(rows) == sorted(map(tuple, painted.factors.tolist()))
    torch.manual_seed(5)
    again = painted.split(0.25, seed=2)
    for part, same in zip(parts, again, strict=True):
        assert torch.equal(part.images, same.images)


def test_pairs_share_and_differ_as_asked(painted):
    first, second = painted.pairs(500, share=["b"], differ=["a", "c"])
    same = painted.factors[first] == painted.factors[second]
    assert len(first) == len(second) == 500
    assert same[:, 1].all()
    assert not same[:, 0].any()
    assert not same[:, 2].any()
    # Every one of the 24 rows comes up, so no group of rows is left out: (23/24)^500 is 6e-10.
    assert set(first.tolist()) == set(range(24))


def test_pairs_never_take_an_image_twice_and_repeat_with_the_seed(painted):
    first, second = painted.pairs(500, share=["a"], seed=1)
    assert (first != second).all()
    again = painted.pairs(500, share=["a"], seed=1)
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])


def test_impossible_pairs_are_an_error(painted):
    with pytest.raises(ValueError, match="found 0 of 3 pairs that share .*'b'.* differ in .*'c'"):
        painted.subset(painted.factors[:, 2] == 1).pairs(3, share=["b"], differ=["c"])
    with pytest.raises(ValueError, match="'a'.* cannot be shared and different"):
        painted.pairs(3, share=["a"], differ=["a"])


def test_a_counterfactual_changes_one_factor(painted):
    """The painted images can be read back: level k of a factor is channel value 10 k."""
    rows = torch.tensor([0, 9, 23])
    images = painted.counterfactual(rows, b=torch.tensor([2, 0, 1]))
    read = images[:, :, 0, 0].long() // 10
    assert read[:, 1].tolist() == [2, 0, 1]
    assert torch.equal(read[:, [0, 2]], painted.factors[rows][:, [0, 2]])
    assert torch.equal(painted.images, painted.render(painted.factors))  # the set is untouched


def test_nearest_is_exact_on_stored_rows(painted):
    assert torch.equal(painted.nearest(painted.factors), torch.arange(24))


def test_nearest_prefers_few_wrong_factors_then_near_levels(painted):
    """Without the wanted (0, 0, 3) the nearest differs in c alone, by one level."""
    rest = painted.subset((painted.factors != torch.tensor([0, 0, 3])).any(1))
    row = rest.nearest(torch.tensor([[0, 0, 3]]))
    assert rest.factors[row].tolist() == [[0, 0, 2]]
    row = rest.nearest(torch.tensor([[1, 2, 3]]), names=["c"])
    assert rest.factors[row, 2].tolist() == [3]


def test_to_moves_and_keeps_everything(painted):
    assert repr(painted.to("cpu")) == repr(painted)
    assert "24 images 3x4x4; a 2, b 3, c 4" in repr(painted)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda d: replace(d, images=d.floats()), TypeError, "float32 .*expected torch.uint8"),
        (lambda d: replace(d, images=d.images[0]), TypeError, r"\(3, 4, 4\).*expected"),
        (lambda d: replace(d, factors=d.factors[:5]), ValueError, r"\(5, 3\) for 24 images"),
        (lambda d: replace(d, factors=d.factors[:, :2]), ValueError, r"\(24, 2\).* 3 factor names"),
        (lambda d: replace(d, factors=d.factors + 0.5), TypeError, "factors are torch.float32"),
        (lambda d: replace(d, factors=d.factors + 1), ValueError, "level 2 of factor 'a'.*0 to 1"),
        (lambda d: replace(d, factors=d.factors - 1), ValueError, "level -1 of factor 'a'"),
        (lambda d: d.subset(d.factors[:, 0] > 5), ValueError, "painted: the set is empty"),
        (lambda d: d.split(0.01), ValueError, "0.01 of 24 images leaves a part empty"),
        (lambda d: d.split(1.0), ValueError, "1.0 of 24 images leaves a part empty"),
        (lambda d: d.batches(25), ValueError, "batch size 25 for 24 images"),
        (lambda d: d.batches(0), ValueError, "batch size 0 .*choose 1 to 24"),
        (lambda d: d.column("hue"), ValueError, "no factor 'hue'; it has: a, b, c"),
        (lambda d: d.counterfactual([0], hue=1), ValueError, "no factor 'hue'; it has: a, b, c"),
        (lambda d: d.counterfactual([0], c=4), ValueError, "level 4 of factor 'c'.*0 to 3"),
        (lambda d: d.pairs(2, share=["hue"]), ValueError, "no factor 'hue'; it has: a, b, c"),
        (lambda d: d.nearest([[0, 0, 9]]), ValueError, "level 9 of factor 'c'.*0 to 3"),
        (lambda d: d.render([[0, 0]]), ValueError, r"shape \(1, 2\), expected \(M, 3\): a, b, c"),
        (lambda d: d.render([[0, 3, 0]]), ValueError, "level 3 of factor 'b'.*0 to 2"),
        (lambda d: replace(d, renderer=None).render([[0, 0, 0]]), ValueError, "not procedural"),
    ],
)
def test_a_wrong_value_is_named(painted, act, error, message):
    with pytest.raises(error, match=message):
        act(painted)


def test_to_uint8_keeps_every_grey_level():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_uint8(levels / 255), levels)


def test_to_uint8_names_the_image_that_is_not_a_number():
    images = torch.zeros(5, 1, 2, 2)
    images[3, 0, 1, 1] = torch.nan
    with pytest.raises(ValueError, match="image 3 holds NaN"):
        to_uint8(images)
    with pytest.raises(ValueError, match="range over 0 to 255, expected 0 to 1"):
        to_uint8(255 * torch.eye(4).view(1, 1, 4, 4))


# --- fresh images --------------------------------------------------------------------------------


def test_fresh_images_are_those_of_their_factors(painted):
    batches = painted.fresh(500, seed=3)
    images, factors, index = batches[7]
    assert torch.equal(images, paint(factors).float() / 255)
    assert torch.equal(index, torch.full((500,), -1))
    for column, size in enumerate(painted.factor_sizes):
        # Uniform: each count is within 5 standard deviations of its mean.
        counts, p = torch.bincount(factors[:, column], minlength=size), 1 / size
        assert ((counts - 500 * p).abs() < 5 * (500 * p * (1 - p)) ** 0.5).all()


def test_fresh_images_are_a_function_of_seed_and_step(painted):
    seen = {
        (seed, step): painted.fresh(50, seed)[step].factors for seed in (0, 1) for step in (0, 1)
    }
    again = painted.fresh(50, 1)
    again[5]
    assert torch.equal(again[0].factors, seen[1, 0])
    pairs = itertools.combinations(seen.values(), 2)
    assert not any(torch.equal(a, b) for a, b in pairs)


def test_fresh_images_keep_what_their_base_fixes():
    """Coloured digits: the class and the strokes are those of a row, the colours are drawn."""
    digits = data.load("digits", coloured=True)
    images, factors, index = digits.fresh(200)[0]
    assert torch.equal(factors[:, 0], digits.factors[index, 0])
    assert (factors[:, 1:] != digits.factors[index, 1:]).any(1).float().mean() > 0.9
    assert torch.equal(images, digits.render(factors, digits.bases[index]).float() / 255)


def test_what_cannot_be_drawn_anew_is_refused(painted):
    with pytest.raises(ValueError, match="digits is not procedural; use `batches`"):
        data.load("digits").fresh(8)
    with pytest.raises(ValueError, match="batch size 0; choose 1 or more"):
        painted.fresh(0)

"""Boosted trees against scikit-learn's, and the properties that DCI rests on."""

import parity
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier

from dvae_lib.metrics import boosting


def small(n=150, seed=0):
    """Codes (n, 4) in steps of a tenth (ties), and factors of 3, 2 and 5 levels that they tell."""
    generator = torch.Generator().manual_seed(seed)
    factors = torch.stack([torch.randint(k, (n,), generator=generator) for k in (3, 2, 5)], 1)
    codes = torch.randn(n, 4, generator=generator)
    codes[:, :3] += torch.tensor([1.5, 2.0, 1.0]) * factors
    return (codes * 10).round() / 10, factors


def completeness(importances):
    """Disentanglement and completeness of an importance matrix whose rows sum to 1, by hand."""
    n_factors, n_axes = importances.shape
    rho = importances.sum(0) / importances.sum()
    columns = importances / importances.sum(0).clamp(min=1e-300)
    entropy = torch.special.entr(columns).sum(0) / torch.log(torch.tensor(float(n_factors)))
    rows = torch.special.entr(importances).sum(1) / torch.log(torch.tensor(float(n_axes)))
    return float((rho * (1 - entropy)).sum()), float((1 - rows).mean())


def test_with_a_bin_a_value_it_is_gradient_boosting():
    """Importances up to ties: axes that part a node alike. By seed, theirs differ by 6e-4 here."""
    codes, factors = small(1000)
    trees = boosting.fit(codes, factors, rounds=20, bins=200)
    assert all(len(edges) < 199 for edges in trees.grid.edges)
    log_odds = trees.log_odds(codes).split([3, 2, 5], 1)
    for k, own in enumerate(log_odds):
        theirs = GradientBoostingClassifier(n_estimators=20, random_state=0)
        theirs.fit(codes.numpy(), factors[:, k].numpy())
        probabilities = torch.as_tensor(theirs.predict_proba(codes.numpy()))
        torch.testing.assert_close(own.softmax(1).double(), probabilities, atol=1e-5, rtol=0)
        importances = torch.as_tensor(theirs.feature_importances_)
        torch.testing.assert_close(trees.importances[k], importances, atol=1e-3, rtol=0)
        assert trees.predict(codes)[:, k].tolist() == theirs.predict(codes.numpy()).tolist()


def test_parity_with_the_reference_on_10_000_codes():
    z, y, zt, yt = parity.codes()
    trees = boosting.fit(z, y)
    d, c = completeness(trees.importances)
    assert d == pytest.approx(parity.DCI["D"], abs=0.01)
    assert c == pytest.approx(parity.DCI["C"], abs=0.01)
    assert float((trees.predict(zt) == yt).double().mean()) == pytest.approx(0.655, abs=0.01)


@pytest.mark.parametrize("order", [[4, 0, 1, 2, 3], [3, 2, 1, 0, 4], [0, 4, 3, 1, 2]])
def test_the_order_of_the_axes_changes_nothing(order):
    """With ties, and with a dead axis that comes last, first and between."""
    codes, factors = small(400)
    codes = torch.cat([codes, torch.full((400, 1), 0.7)], 1)
    trees = boosting.fit(codes, factors, rounds=30, bins=16)
    moved = boosting.fit(codes[:, order], factors, rounds=30, bins=16)
    assert torch.equal(moved.contributions, trees.contributions[:, :, order])
    assert torch.equal(moved.importances, trees.importances[:, order])
    assert torch.equal(moved.predict(codes[:, order]), trees.predict(codes))
    assert (trees.importances[:, 4] == 0).all()
    assert (trees.contributions[:, :, 4] == 0).all()


def test_a_copy_of_an_axis_shares_its_importance():
    codes, factors = small()
    alone = boosting.fit(codes, factors, rounds=5).importances
    twice = boosting.fit(codes[:, [0, 1, 0, 2, 3]], factors, rounds=5).importances
    assert torch.equal(twice[:, 0], twice[:, 2])
    torch.testing.assert_close(twice[:, 0] + twice[:, 2], alone[:, 0])
    torch.testing.assert_close(twice[:, [1, 3, 4]], alone[:, 1:])


def test_contributions_of_one_tree_by_hand():
    """Two levels, one split: the impurity 1/4 goes to 0, all of it to axis 1, both trees alike."""
    codes = torch.tensor([[0.5, 0.0], [0.1, 0.2], [0.4, 0.9], [0.2, 0.8]])
    trees = boosting.fit(codes, torch.tensor([[7], [7], [9], [9]]), rounds=1, depth=1)
    expected = torch.tensor([0.0, 0.5]).expand(4, 1, 2)  # (±1/2)^2 a tree, two trees
    torch.testing.assert_close(trees.contributions, expected)
    assert trees.importances.tolist() == [[0, 1]]
    # Leaves: (K - 1)/K * sum r / sum |r|(1 - |r|) = 1/2 * (±1) / (1/2), a tenth of it.
    log_odds = torch.tensor([[0.1, -0.1], [0.1, -0.1], [-0.1, 0.1], [-0.1, 0.1]])
    torch.testing.assert_close(trees.log_odds(codes), log_odds + torch.tensor(0.5).log())
    assert trees.predict(torch.tensor([[0.0, 0.49], [0.0, 0.51]])).tolist() == [[7], [9]]


def test_contributions_are_never_lost():
    """Their mean over samples is the sum of the decreases that the nodes' means and sizes give."""
    codes, factors = small()
    for depth in (1, 3):
        trees = boosting.fit(codes, factors, rounds=1, depth=depth, bins=16)
        targets = torch.cat([torch.nn.functional.one_hot(column) for column in factors.T], 1)
        residuals = (targets - targets.float().mean(0)).double()
        explained = torch.zeros(10, dtype=torch.float64)
        for column, steps in enumerate((trees.log_odds(codes) - trees.prior).T):
            for step in steps.unique():
                inside = residuals[steps == step, column]
                explained[column] += inside.sum() ** 2 / len(inside) / len(codes)
        total = torch.stack([part.sum() for part in explained.split([3, 2, 5])])
        measured = trees.contributions.double().mean(0)
        torch.testing.assert_close(measured.sum(1), total, atol=1e-6, rtol=1e-5)
        shares = measured / measured.sum(1, keepdim=True)
        torch.testing.assert_close(trees.importances, shares, atol=1e-7, rtol=0)


def test_a_frequent_value_has_a_bin_of_its_own():
    column = torch.cat([torch.full((500,), 2.0), torch.linspace(0, 1, 250), torch.ones(250) * 3])
    edges = boosting._edges(column, 8)
    assert len(edges) <= 7
    assert ((1 < edges) & (edges < 2)).any()
    assert ((2 < edges) & (edges < 3)).any()
    assert boosting._edges(torch.tensor([5, 1, 3, 3]), 8).tolist() == [2, 4]


def test_nothing_to_split_gives_zeros():
    trees = boosting.fit(torch.ones(6, 2), torch.tensor([[0, 1, 2] * 2]).T, rounds=2)
    assert trees.importances.tolist() == [[0, 0]]
    assert (trees.contributions == 0).all()


def test_pure_leaves_stay_finite():
    """Perfectly told levels for 300 rounds: probabilities reach 0 and 1."""
    factors = torch.arange(90)[:, None] % 3
    trees = boosting.fit(factors + 0.0, factors, rounds=300)
    assert torch.isfinite(trees.log_odds(factors + 0.0)).all()
    assert torch.equal(trees.predict(factors + 0.0), factors)
    assert trees.importances.tolist() == [[1]]


def test_threads_are_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        boosting.fit(*small(), rounds=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    codes, factors = small(1000)
    own, there = boosting.fit(codes, factors), boosting.fit(codes.cuda(), factors.cuda())
    assert there.contributions.is_cuda
    torch.testing.assert_close(there.importances.cpu(), own.importances, atol=0.02, rtol=0)

"""DCI-ES: how simply a code can be read, and how large it is (Eastwood et al. 2023)."""

import numpy as np
import torch

from .fitting import one_thread
from .information import Values, check, refuse_extremes, refuse_many_levels, to_tensor
from .probes import split
from .score import Score

DEPTHS = 10  # capacities: trees of depth 1 to 10


def dci_es(codes: Values, factors: Values) -> Score:
    """Explicitness E and size S (Eastwood et al. 2023): a Score {"E", "S"}.

    With D, C and I of `dci` they make DCI-ES. codes: (N, L), labels count as numbers; factors
    (N, K): int64 levels, or floats for factors without levels. A probe of growing capacity, here a
    tree of depth 1, 2, ... 10, predicts each factor from all axes. loss(depth) is the least loss
    on the third of the samples that is held out, over all trees up to that depth: the share of
    wrong levels, or the squared error over the variance. E = 1 - area / triangle, with the area
    between that curve and its lowest value, and half the rectangle of all depths and the loss of a
    constant: 1 if the simplest probe reads as well as the best one, about 0 if the loss falls
    along a line. S = K / L, all axes counted.

    E says how simply a code is read, not that there is something to read: noise gets about 1. The
    paper leaves the probes open (forests, networks, random features), and other probes give
    other numbers. The E of a perfect code is below 1 where a factor has more than two levels,
    since a tree needs a level of depth for each doubling. Matrix (K, 1): E of each factor.

    Errors: see `check`; a factor of more than 500 levels.

    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat(99, 1)
    >>> dci_es(factors, factors)
    E 1.000, S 1.000 (trees of depth 1 to 10)
    """
    factors = to_tensor("factors", factors)
    if graded := factors.is_floating_point():
        factors = factors.double().cpu()
        refuse_extremes("factors", factors)
    else:
        codes, factors, _ = check(codes, factors, False)
        refuse_many_levels(factors)
    # Rows in the place of factors: both kinds are split alike.
    rows = torch.arange(len(factors))[:, None]
    (fit_x, fit_rows), (test_x, test_rows) = split(codes, rows)
    fit_y, test_y = factors.cpu()[fit_rows[:, 0].cpu()], factors.cpu()[test_rows[:, 0].cpu()]
    losses = [
        _losses(fit_x.cpu().numpy(), y.numpy(), test_x.cpu().numpy(), t.numpy(), graded)
        for y, t in zip(fit_y.T, test_y.T, strict=True)
    ]
    by_depth, constant = (torch.as_tensor(np.stack(part, 1)) for part in zip(*losses, strict=True))
    size = factors.shape[1] / fit_x.shape[1]
    how = f"trees of depth 1 to {DEPTHS}"
    terms = {"loss": by_depth, "constant": constant}
    return Score.from_terms(_Formula(size), "explicitness", terms, how=how)


class _Formula:
    """E from the losses by depth, and the size, which is held."""

    def __init__(self, size):
        self.size = size

    def __call__(self, means):
        curve = means["loss"].cummin(-1).values
        above = curve - curve[..., -1:]
        area = (above[..., 1:] + above[..., :-1]).sum(-1) / 2
        explicit = 1 - area / (0.5 * (DEPTHS - 1) * means["constant"].clamp_min(1e-300))
        scalars = {"E": explicit.mean(-1), "S": torch.full_like(explicit.mean(-1), self.size)}
        return scalars, explicit[..., None]


def _losses(x, y, test_x, test_y, graded):
    """Losses of a factor's tree cut at each depth (N, DEPTHS), and of a constant (N,)."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeRegressor if graded else DecisionTreeClassifier
    criterion = "squared_error" if graded else "entropy"
    with one_thread():
        tree = kind(criterion=criterion, max_depth=DEPTHS, random_state=0).fit(x, y)
    found = [_values(tree, node, graded) for node in _nodes_by_depth(tree.tree_, test_x)]
    if graded:
        squares = [(value - test_y) ** 2 for value in found]
    else:
        squares = [(value != test_y).astype(float) for value in found]
    constant, *by_depth = squares
    if graded:  # a share of the variance
        by_depth, constant = [s / test_y.var() for s in by_depth], constant / test_y.var()
    return np.stack(by_depth, 1), constant


def _nodes_by_depth(tree, x):
    """The node of each sample in a tree that is cut at depth 0, 1, ... DEPTHS: (N,) each."""
    # A tree grows from its root, so the shallow trees are the top of the deep one.
    node = np.zeros(len(x), dtype=np.int64)
    yield node
    for _ in range(DEPTHS):
        inner = tree.children_left[node] >= 0
        left = (
            x[np.arange(len(x)), tree.feature[node].clip(0)].astype(np.float32)
            <= (tree.threshold[node])
        )
        child = np.where(left, tree.children_left[node], tree.children_right[node])
        node = np.where(inner, child, node)
        yield node


def _values(tree, node, graded):
    """What the tree says at each node."""
    value = tree.tree_.value[node, 0]
    return value[:, 0] if graded else tree.classes_[value.argmax(1)]

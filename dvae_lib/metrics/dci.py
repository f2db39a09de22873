"""DCI: disentanglement, completeness and informativeness (Eastwood & Williams 2018)."""

import numpy as np
import torch

from . import boosting
from .information import Values, refuse_many_levels
from .probes import split
from .score import Score

MODELS = ("binned boosting", "gradient boosting", "random forest", "extra trees")


def dci(
    codes: Values,
    factors: Values,
    *,
    test: tuple | None = None,
    model: str = "binned boosting",
) -> Score:
    """Disentanglement D, completeness C and informativeness I, in [0, 1]: a Score {"D", "C", "I"}.

    codes: (N, L), labels count as numbers; factors: int64 (N, K). Trees predict each factor from
    all axes. Matrix R (K, L): the importance of each axis to each factor, rows that sum to 1.
    D = sum_j rho_j (1 - H_K(column j)), rho_j the column's share of all importance, H_K the entropy
    in units of log K; C = mean over factors of 1 - H_L(row); I = accuracy on test samples (Eastwood
    & Williams 2018, section 2, with accuracy for their normalised error, as disentanglement_lib).
    test: (codes, factors) of other samples; by default a third is held out.

    The values depend strongly on the trees, so `model` is part of the number, and the score says
    it: "binned boosting": gradient boosting as below on codes in at most 64 bins an axis, many
    times faster (see `boosting`), and off it by up to .064 on codes whose levels are few in some
    and many in other places; "gradient boosting": the field's reference, scikit-learn's
    GradientBoostingClassifier with its defaults; "random forest", "extra trees": 100 trees of
    depth 8. The values also grow with the samples, for codes of one law: D was .60, .86 and .96
    with 1,000, 10,000 and 50,000 of them. Compare codes by the same N.

    A constant axis has importance 0. With one factor or one axis the entropies are 0. Intervals
    hold the fitted trees; with scikit-learn's models D and C have none, since the terms of their
    importances are not known. Errors: see `check`; an unknown model; a factor of more than 500
    levels.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1)
    >>> turned = factors.double() @ torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double()
    >>> dci(factors, factors)
    D 1.000, C 1.000, I 1.000 (binned boosting)
    >>> print(f"{dci(turned, factors).scalars['D']:.2f}")
    0.00
    """
    if model not in MODELS:
        raise ValueError(f"model {model!r}; there are: {', '.join(MODELS)}")
    (codes, factors), (test_codes, test_factors) = split(codes, factors, test)
    refuse_many_levels(factors)
    if model == "binned boosting":
        trees = boosting.fit(codes, factors)
        terms, predicted, fixed = trees.contributions, trees.predict(test_codes), ()
    else:
        terms, predicted = _fit_sklearn(model, codes, factors, test_codes)
        fixed = ("D", "C")
    hit = (predicted.to(test_factors) == test_factors).double()
    parts = {"importance": terms.cpu().double()}, {"hit": hit.cpu()}
    return Score.from_terms(_dci, "importance", *parts, fixed=fixed, how=model)


def _dci(means):
    importance = means["importance"].clamp_min(0)
    total = importance.sum(-1, keepdim=True)
    importance = torch.where(total > 0, importance / total.clamp_min(1e-300), 0)
    column = importance.sum(-2)
    by_axis = importance.transpose(-1, -2) / column.clamp_min(1e-300)[..., None]
    weight = column / column.sum(-1, keepdim=True).clamp_min(1e-300)
    row_weight = importance.sum(-1)
    row_weight = row_weight / row_weight.sum(-1, keepdim=True).clamp_min(1e-300)
    scalars = {
        "D": (weight * _order(by_axis)).sum(-1),
        "C": (row_weight * _order(importance)).sum(-1),
        "I": means["hit"].mean(-1),
    }
    return scalars, importance


def _order(shares):
    """1 minus the entropy of shares (..., n) in units of log n: 0 for even, 1 for one alone."""
    n = shares.shape[-1]
    entropy = torch.special.entr(shares).sum(-1)
    return 1 - entropy / np.log(n) if n > 1 else torch.ones_like(entropy)


def _fit_sklearn(model, codes, factors, test_codes):
    """Importances as a single term (1, K, L), and predicted levels of the test samples (M, K)."""
    from sklearn import ensemble

    make = {
        "gradient boosting": lambda: ensemble.GradientBoostingClassifier(random_state=0),
        "random forest": lambda: ensemble.RandomForestClassifier(max_depth=8, random_state=0),
        "extra trees": lambda: ensemble.ExtraTreesClassifier(max_depth=8, random_state=0),
    }[model]
    x, test_x = codes.cpu().numpy(), test_codes.cpu().numpy()
    fitted = [make().fit(x, level) for level in factors.T.cpu().numpy()]
    importance = np.stack([trees.feature_importances_ for trees in fitted])
    predicted = np.stack([trees.predict(test_x) for trees in fitted], 1)
    return torch.as_tensor(importance)[None], torch.as_tensor(predicted)

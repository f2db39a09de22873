"""Scores of predictors of the factors: SAP and explicitness, and what a small network reads."""

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import nets
from .fitting import one_thread, standardised
from .information import Values, check, refuse_extremes, refuse_many_levels, to_tensor
from .information_scores import gap
from .score import Score

TEST_SHARE = 1 / 3
LARGEST_FOR_SVM = 1e3  # beyond, liblinear stops too early, and from 1e100 never


def split(
    codes: Values, factors: Values, test: tuple | None = None
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Codes and factors to fit and to test: ((codes, factors), (codes, factors)), checked.

    test: a pair of its own, or None for the last third of a fixed shuffle of the samples.
    """
    if test is not None:
        fit, test = check(codes, factors, False)[:2], check(*test, False)[:2]
        if fit[0].shape[1] != test[0].shape[1] or fit[1].shape[1] != test[1].shape[1]:
            raise ValueError("codes and factors to test need the columns of those to fit")
        return fit, test
    codes, factors, _ = check(codes, factors, False)
    if len(codes) < 3:
        raise ValueError(
            f"{len(codes)} samples; a third is held out to test, so give at least 3, or `test`"
        )
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0))
    order = order.to(codes.device)
    cut = len(codes) - max(1, round(TEST_SHARE * len(codes)))
    fit, held = order[:cut], order[cut:]
    check(codes[fit], factors[fit], False)  # a factor may be constant in what is left
    return (codes[fit], factors[fit]), (codes[held], factors[held])


def sap(
    codes: Values,
    factors: Values,
    *,
    test: tuple | None = None,
    form: str = "classifier",
) -> Score:
    """Separated attribute predictability (Kumar et al. 2018, section 3), in [0, 1]: {"SAP"}.

    codes: (N, L), labels count as numbers; factors: int64 (N, K). For each factor, how much better
    the best single axis predicts it than the second best; averaged over factors. Matrix: the
    prediction scores. test: (codes, factors) of other samples; by default a third is held out.

    form "classifier": accuracy on the test samples of a linear support vector machine (C = 0.01,
    balanced classes; scikit-learn's LinearSVC), as disentanglement_lib does. form "r2": squared
    correlation of axis and level, on the samples to fit; for factors whose levels are ordered.
    A constant axis scores 0. Errors: see `check`; an unknown form; for the classifier, a factor of
    more than 500 levels, and codes beyond 1e3, on which the solver fails or does not end.

    The classifier's score is a property of the codes' units, too, as that of the field is: the
    machine punishes large weights and the constant alike, so that a scale or an offset moves it
    (.30 was .20 after codes of unit scale were moved by 3). "r2" knows neither.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1)
    >>> sap(factors, factors)  # a linear machine on one axis cannot tell a level in the middle
    SAP 0.445
    >>> sap(factors, factors, form="r2")
    SAP 1.000
    """
    if form not in ("classifier", "r2"):
        raise ValueError(f"form {form!r}; choose 'classifier' or 'r2'")
    (codes, factors), test = split(codes, factors, test)
    if form == "r2":
        z, v = standardised(codes), standardised(factors.double())
        return Score.from_terms(_sap_r2, "R² of v given z", _moments(z, v))
    refuse_many_levels(factors)
    return Score.from_terms(_sap, "accuracy of v given z", {"hit": _hits(codes, factors, *test)})


def _hits(codes, factors, test_codes, test_factors):
    """Whether the machine of each factor and axis is right on each test sample, (M, K, L)."""
    from sklearn.svm import LinearSVC

    if (largest := codes.abs().max().item()) > LARGEST_FOR_SVM:
        raise ValueError(
            f"codes of up to {largest:g}: the linear machine takes no more than "
            f"{LARGEST_FOR_SVM:g}, and its score depends on the scale; standardise the codes, or "
            'choose form="r2"'
        )
    hits = torch.zeros(*test_factors.shape, codes.shape[1], dtype=torch.float64)
    x, v, test_x, test_v = (t.cpu().numpy() for t in (codes, factors, test_codes, test_factors))
    with one_thread():
        for j in (x.max(0) > x.min(0)).nonzero()[0]:
            for i in range(v.shape[1]):
                model = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
                predicted = model.fit(x[:, j : j + 1], v[:, i]).predict(test_x[:, j : j + 1])
                hits[:, i, j] = torch.from_numpy(predicted == test_v[:, i])
    return hits


def _sap(means):
    return {"SAP": gap(means["hit"])}, means["hit"]


def _sap_r2(means):
    covariance = means["zv"] - means["z"][..., None, :] * means["v"][..., None]
    spread = (means["zz"] - means["z"] ** 2)[..., None, :] * (means["vv"] - means["v"] ** 2)[
        ..., None
    ]
    squared = torch.where(spread > 0, covariance**2 / spread.clamp_min(1e-300), 0)
    return {"SAP": gap(squared)}, squared


def _moments(z, v):
    return {"z": z, "v": v, "zz": z**2, "vv": v**2, "zv": v[:, :, None] * z[:, None]}


def explicitness(codes: Values, factors: Values, *, test: tuple | None = None) -> Score:
    """Explicitness (Ridgeway & Mozer 2018, section 2), 0.5 at chance to 1: {"explicitness"}.

    codes: (N, L), labels count as numbers; factors: int64 (N, K). A multinomial logistic
    regression (no penalty, standardised codes) predicts a factor from all axes; its area under the
    ROC curve on the test samples, one level against the rest, is averaged over the levels and then
    over the factors. test: as in `sap`. Matrix (K, 1): the area of each factor.

    A level that the test samples lack has no area and is left out of the mean. Unlike its name,
    the number of the paper is not rescaled to 0 at chance. Errors: see `check`; a factor of more
    than 500 levels.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1)
    >>> explicitness(factors, factors)
    explicitness 1.000
    """
    from sklearn.linear_model import LogisticRegression

    (codes, factors), (test_codes, test_factors) = split(codes, factors, test)
    refuse_many_levels(factors)
    fit_x, test_x = (standardised(c, codes).cpu().numpy() for c in (codes, test_codes))
    terms = []
    for levels, test_levels in zip(factors.T, test_factors.T, strict=True):
        with one_thread():
            model = LogisticRegression(C=np.inf, max_iter=1000).fit(fit_x, levels.cpu().numpy())
        scores = torch.as_tensor(model.predict_proba(test_x))
        own = torch.as_tensor(model.classes_) == test_levels.cpu()[:, None]
        areas = [
            _area_terms(s, o)
            for s, o in zip(scores.T.contiguous(), own.T, strict=True)
            if 0 < o.sum() < len(o)
        ]
        terms.append(torch.stack(areas).mean(0) if areas else torch.full((len(test_x),), 0.5))
    return Score.from_terms(
        _explicitness, "area under the ROC curve", {"area": torch.stack(terms, 1)}
    )


def _explicitness(means):
    return {"explicitness": means["area"].mean(-1)}, means["area"][..., None]


def _area_terms(scores, positive):
    """Terms (N,) whose mean is the area under the ROC curve (its Hájek projection).

    The area is the share of pairs (positive, negative) that the scores put in order, ties for a
    half; a sample's term is the area plus how far its own pairs lie above or below it.
    """
    rank = _mid_ranks(scores)
    within = torch.empty_like(scores)
    for group in (positive, ~positive):
        within[group] = _mid_ranks(scores[group])
    n_positive, n_negative = positive.sum(), (~positive).sum()
    below = rank - within  # samples of the other group with a lower score
    placed = torch.where(positive, below / n_negative, 1 - below / n_positive)
    area = placed[positive].mean()
    share = torch.where(positive, n_positive, n_negative) / len(scores)
    return area + (placed - area) / share


def _mid_ranks(values):
    """Rank of each value from 0, equal values sharing the mean of their ranks: (N,) to (N,)."""
    ordered = values.sort().values
    low = torch.searchsorted(ordered, values)
    return (low + torch.searchsorted(ordered, values, right=True) - 1).double() / 2


def probe_accuracy(codes: Values, labels: Values, *, test: tuple) -> float:
    """How well a small network reads labels out of codes: the share of test samples right, [0, 1].

    codes: float (N, L); labels: int64 (N,); test: (codes, labels) of other samples, whose labels
    need not all occur in the samples to fit. The network has one hidden layer of 128 ReLUs
    (scikit-learn's MLPClassifier: Adam, at most 100 epochs) and sees codes standardised by the
    samples to fit; an axis that is constant there is left at 0. A tenth of the samples to fit
    decides when it stops. It reads non-linear codes that `explicitness` cannot, and a low value
    bounds no information: another network might read more, as `reader_accuracy` may if there are
    many codes. The same codes give the same number.

    Raises ValueError or TypeError, naming the value, for other shapes or dtypes, fewer than 11
    samples to fit, a label that occurs once of only two, and NaN or infinity.

    >>> codes = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1).double()
    >>> labels = codes[:, 0].long()
    >>> probe_accuracy(codes, labels, test=(codes, labels))
    1.0
    """
    from sklearn.neural_network import MLPClassifier

    fit_x, test_x, fit_y, test_y = _label_samples(codes, labels, test)
    present, counts = fit_y.unique(return_counts=True)
    if len(present) == 2 and counts.min() < 2:
        raise ValueError(
            f"label {present[counts.argmin()].item()} occurs once in the samples to fit, and the "
            "network needs one to fit and one to stop; take more samples"
        )
    predicted = _fit_network(MLPClassifier, fit_x, fit_y).predict(test_x.numpy())
    return float((predicted == test_y.numpy()).mean())


def reader_accuracy(codes: Values, labels: Values, *, test: tuple, steps: int = 2_000) -> float:
    """How well a network of two layers reads labels out of many codes: share right, in [0, 1].

    For codes that were trained not to tell a label: they may hide it from `probe_accuracy`, which
    is small and stops early. Two hidden layers of 256 ReLUs learn for `steps` steps of 256 codes,
    by AdamW (decay 0.01) whose steps fall from 0.002 to 0; some 10,000 codes or more are what it
    needs not to learn them by heart. Still no bound. On the CPU, with weights and order of codes
    from a seed of its own, so the same codes give the same number, but for rounding by the machine.

    Arguments and errors: as in `probe_accuracy`, but that a label may occur once; ValueError for
    less than one step.

    >>> codes = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1).double()
    >>> labels = codes[:, 0].long()
    >>> reader_accuracy(codes, labels, test=(codes, labels), steps=100)
    1.0
    """
    if steps < 1:
        raise ValueError(f"steps = {steps}; the network needs at least one")
    fit_x, test_x, fit_y, test_y = _label_samples(codes, labels, test)
    classes, fit_y = fit_y.unique(return_inverse=True)
    fit_x, test_x = fit_x.float(), test_x.float()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        net = nets.MLP(fit_x.shape[1], 256, 256, len(classes))
        optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(fit_x), (256,))
            loss = F.cross_entropy(net(fit_x[rows]), fit_y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
    with torch.no_grad():
        predicted = classes[net(test_x).argmax(1)]
    return float((predicted == test_y).double().mean())


def probe_r2(codes: Values, targets: Values, *, test: tuple) -> float:
    """How well a small network reads numbers out of codes: R² on test samples, at most 1.

    codes: float (N, L); targets: float (N, T); test: (codes, targets) of other samples. R² is
    1 - squared error / squared deviation from the mean of the test samples, averaged over the
    targets: 0 at chance, and below where the network is worse than the mean. Network as in
    `probe_accuracy` (MLPRegressor), one for all targets, which it sees standardised, so that their
    units do not matter.

    Errors: as in `probe_accuracy`, and ValueError for a target that is constant in either samples.

    >>> codes = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1).double()
    >>> print(f"{probe_r2(codes, codes**2, test=(codes, codes**2)):.1f}")
    1.0
    """
    from sklearn.neural_network import MLPRegressor

    fit_x, test_x, fit_y, test_y = _probe_samples("targets", 2, codes, targets, test)
    fit_y, test_y = fit_y.double(), test_y.double()
    for name, tensor in (("to fit", fit_y), ("to test", test_y)):
        refuse_extremes("targets", tensor)
        if len(still := (tensor == tensor[0]).all(0).nonzero().flatten()):
            raise ValueError(
                f"target {still[0].item()} is constant in the samples {name}, so it has no R²; "
                "leave its column out"
            )
    fit_y, test_y = standardised(fit_y), standardised(test_y, fit_y)
    # One target as (N,): scikit-learn warns of a column.
    model = _fit_network(MLPRegressor, fit_x, fit_y.squeeze(1))
    predicted = torch.as_tensor(model.predict(test_x.numpy())).reshape(test_y.shape)
    error = (predicted - test_y).square().sum(0)
    return float((1 - error / (test_y - test_y.mean(0)).square().sum(0)).mean())


def _probe_samples(name, axes, codes, wanted, test):
    """Standardised codes to fit and to test, float64, and what to read out of each; on the CPU."""
    samples = []
    for z, y in ((codes, wanted), test):
        z, y = to_tensor("codes", z).cpu(), to_tensor(name, y).cpu()
        for own, tensor, expected in (("codes", z, 2), (name, y, axes)):
            if tensor.ndim != expected or 0 in tensor.shape:
                raise ValueError(
                    f"{own} of shape {tuple(tensor.shape)}, expected "
                    f"{('(N,)', '(N, columns)')[expected - 1]}, none of 0"
                )
        if len(z) != len(y):
            raise ValueError(f"{len(z)} codes for {len(y)} {name}")
        z = z.double()
        refuse_extremes("codes", z)
        samples.append((z, y))
    (fit_x, fit_y), (test_x, test_y) = samples
    for own, a, b in (("codes", fit_x, test_x), (name, fit_y, test_y)):
        if a.shape[1:] != b.shape[1:]:
            raise ValueError(f"{own} to test have {b.shape[1]} columns, those to fit {a.shape[1]}")
    if len(fit_x) < 11:
        raise ValueError(
            f"{len(fit_x)} samples to fit; give at least 11, of which a small network takes a "
            "tenth to decide when it stops"
        )
    return standardised(fit_x), standardised(test_x, fit_x), fit_y, test_y


def _label_samples(codes, labels, test):
    """_probe_samples of labels, which have to be integers."""
    samples = _probe_samples("labels", 1, codes, labels, test)
    for tensor in samples[2:]:
        if tensor.is_floating_point():
            raise TypeError(f"labels are {tensor.dtype}, expected integers")
    return samples


def _fit_network(kind, codes, wanted):
    from sklearn.exceptions import ConvergenceWarning

    model = kind(hidden_layer_sizes=(128,), early_stopping=True, random_state=0, max_iter=100)
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 100 epochs are part of the number
        return model.fit(codes.numpy(), wanted.numpy())

"""InfoMEC: modularity, explicitness and compactness in terms of information (Hsu et al. 2023).

The authors published three versions that do not agree. `VARIANTS` holds what differs.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .fitting import one_thread, standardised
from .information import (
    Values,
    check,
    pointwise_continuous_information,
    pointwise_discrete_information,
    pointwise_entropy,
    refuse_many_levels,
    to_labels,
    to_tensor,
    where_float64,
)
from .score import Score


@dataclass(frozen=True)
class Variant:
    """How one version of InfoMEC counts.

    neighbours: of the estimator for continuous codes. spread: "range" or "IQR", whose size tells
    active axes: continuous ones above `share` of the largest, discrete ones above `share_discrete`
    of the largest (or above 0). one_hot: whether InfoE sees discrete codes as one weight a value
    or as one standardised number.
    """

    neighbours: int
    spread: str
    share: float
    share_discrete: float
    one_hot: bool


VARIANTS = {
    # infomec.py, the file that the authors ask others to copy
    "standalone": Variant(10, "range", 1 / 20, 0.0, one_hot=True),
    # mutual_information.py and explicitness.py, which wrote the training logs
    "in-training": Variant(3, "range", 1 / 8, 1 / 8, one_hot=False),
    # the repository of the follow-up paper (Tripod); its IQR > 0.1 for codes in [-1, 1]
    "tripod": Variant(10, "IQR", 1 / 10, 1 / 20, one_hot=True),
}


def info_m(nmi: Tensor, active: Tensor) -> Tensor:
    """InfoM of normalised mutual information (..., K, L) with the active axes (L,): (...).

    For each active axis the share of its best factor in all that it tells, averaged, and scaled so
    that evenly spread information is 0 and one factor an axis is 1. An active axis that tells
    nothing has no share and is left out. 0 if no axis is left; 1 for a single factor.

    >>> nmi, active = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([True, True])
    >>> info_m(nmi, active), info_c(nmi, active)  # one axis tells both factors
    (tensor(0.), tensor(1.))
    """
    return _scaled_share(nmi.transpose(-1, -2)[..., active, :])


def info_c(nmi: Tensor, active: Tensor) -> Tensor:
    """InfoC: as InfoM, for each factor over the active axes. 1 for a single active axis.

    >>> info_c(torch.tensor([[0.5, 0.5]]), torch.tensor([True, True]))  # one factor on two axes
    tensor(0.)
    """
    return _scaled_share(nmi[..., active])


def _scaled_share(rows):
    """Mean over rows of largest / sum, scaled from [1 / n, 1] to [0, 1]: (..., m, n) to (...)."""
    n = rows.shape[-1]
    if 0 in rows.shape[-2:]:
        return rows.new_zeros(rows.shape[:-2])
    total = rows.sum(-1)
    told = total > 1e-12  # less is the rounding of none
    share = torch.where(told, rows.amax(-1) / total.clamp_min(1e-300), 0)
    mean = share.sum(-1) / told.sum(-1).clamp_min(1)
    scaled = torch.ones_like(mean) if n == 1 else (mean - 1 / n) / (1 - 1 / n)
    return torch.where(told.any(-1), scaled, 0)


def infomec(
    codes: Values,
    factors: Values,
    *,
    variant: str = "standalone",
    discrete: bool | None = None,
    max_iter: int = 100,
) -> Score:
    """InfoM, InfoE and InfoC (Hsu et al. 2023, section 3), each about 0 to 1: a Score.

    codes: (N, L), floats or integer labels; float codes with few values, such as quantized ones,
    with discrete=True. factors: int64 (N, K). Matrix: NMI = I(z_j; v_i) / H(v_i), (K, L), by the
    plug-in estimate for discrete codes and by nearest neighbours for continuous ones.

    InfoE = mean over factors of 1 - loss / loss without the code, where a multinomial logistic
    regression (no penalty, balanced classes) predicts the factor from all axes, and its log-loss
    is taken on the samples it was fitted to. The reference stops after 100 iterations; with
    one-hot codes that is before it has converged (max_iter=1000 gains 0.001 on the parity codes).
    It may be below 0 where a factor's levels are not equally frequent.

    Discrete codes tell a little of every factor by chance (see `discrete_information`), so InfoM is
    too low by few samples, and more so with more values an axis: give 20,000 samples or more.

    The estimate for continuous codes has no finest resolution: a code without noise that is
    turned by a few degrees tells every factor it mixes in, and more noise can raise InfoM.

    variant: a name in VARIANTS. Constant axes are never active. The score says how many axes are:
    with none, InfoM and InfoC are 0; with one, InfoC is 1 whatever the codes, which is warned of
    (an axis that is scaled by 100 leaves the others inactive). It also says so where float codes
    of few values were counted as continuous. Errors: see `check`; an unknown variant; a factor of
    more than 500 levels; labels of so many values that InfoE would take more than 1 GB.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(50, 1)
    >>> infomec(factors, factors)
    InfoM 1.000, InfoE 1.000, InfoC 1.000 (standalone, 2 of 2 axes active)
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r}; there are: {', '.join(VARIANTS)}")
    rule = VARIANTS[variant]
    values = codes
    codes, factors, discrete = check(codes, factors, discrete)
    refuse_many_levels(factors)
    values = where_float64(to_tensor("codes", values)).double()
    if discrete:
        information = pointwise_discrete_information(codes, factors)
    else:
        information = pointwise_continuous_information(codes, factors, rule.neighbours)
    loss, null = explicitness_losses(values, factors, discrete and rule.one_hot, max_iter)
    terms = {
        "information": information.cpu(),
        "entropy": pointwise_entropy(factors).cpu(),
        "loss": loss,
        "null": null,
    }
    active = active_axes(values, rule, discrete).cpu()
    if active.sum() == 1 < len(active):
        warnings.warn(
            f"InfoC is 1 whatever the codes, since only axis {int(active.nonzero())} of "
            f"{len(active)} is active; if the others are used, give all axes one scale",
            stacklevel=2,
        )
    how = f"{variant}, {active.sum()} of {len(active)} axes active"
    if not discrete and (few := _few_values(values)):
        how += f", {few} counted as continuous: discrete=True takes them as labels"
    return Score.from_terms(_Formula(active), "NMI", terms, how=how)


def _few_values(values, most=50):
    """The first axis of (N, L) float codes that looks like labels, in words; "" for none."""
    for axis, column in enumerate(values.T):
        distinct = len(column.unique())
        if 1 < distinct <= min(most, len(column) // 10):
            return f"the {distinct} values of axis {axis}"
    return ""


@dataclass(frozen=True)
class _Formula:
    """(InfoM, InfoE, InfoC) and the NMI from the means of their terms."""

    active: torch.Tensor

    def __call__(self, means):
        nmi = means["information"].clamp_min(0) / means["entropy"][..., None]
        scalars = {
            "InfoM": info_m(nmi, self.active),
            "InfoE": (1 - means["loss"] / means["null"]).mean(-1),
            "InfoC": info_c(nmi, self.active),
        }
        return scalars, nmi


def active_axes(values: Tensor, rule: Variant, discrete: bool) -> Tensor:
    """Which axes of (N, L) codes count as used, by a Variant's rule: bool (L,)."""
    if rule.spread == "IQR":
        low, high = (values.quantile(q, dim=0) for q in (0.25, 0.75))
        spread = high - low
    else:
        spread = values.amax(0) - values.amin(0)
    if discrete and rule.spread == "IQR":
        # The rule is stated for codes in [-1, 1]; theirs are scaled to that range together.
        least = rule.share_discrete * (values.max() - values.min())
    else:
        least = (rule.share_discrete if discrete else rule.share) * spread.max()
    return spread > least


def explicitness_losses(
    values: Tensor, factors: Tensor, one_hot: bool, max_iter: int = 100
) -> tuple[Tensor, Tensor]:
    """Log-losses in nats of logistic regressions from codes and from nothing: two (N, K)."""
    features = _one_hot(values) if one_hot else standardised(values).cpu().numpy()
    labels = to_labels(factors).cpu()
    losses = [_log_loss(features, column, max_iter) for column in labels.T.numpy()]
    loss = torch.as_tensor(np.stack(losses, 1))
    # To balanced classes, without a code every level is as likely as another.
    null = (labels.amax(0) + 1).double().log()
    return loss, null.expand_as(loss)


def _log_loss(features, labels, max_iter):
    """-log p(label | features) of each sample under a logistic regression fitted to them."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=max_iter)
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # that it stops before convergence is part of the metric
        probability = model.fit(features, labels).predict_proba(features)
    own = probability[np.arange(len(labels)), labels]
    return -np.log(own.clip(np.finfo(float).eps))


def _one_hot(values):
    labels = to_labels(values)
    features = int((labels.amax(0) + 1).sum())
    if len(labels) * features * 8 > 1e9:
        raise ValueError(
            f"{len(labels)} samples of labels with {features} values, one weight each, take more "
            "than 1 GB; give codes of many values as floats"
        )
    columns = [torch.nn.functional.one_hot(column) for column in labels.T]
    return torch.cat(columns, 1).double().cpu().numpy()

"""Right and wrong answers to the exercises of notebook 09, as students write them."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from dvae_lib import objectives

# --- the conjugate update ------------------------------------------------------------------------


def shape_of(z, a0):
    return a0 + len(z) / 2


def rate_of(z, b0):
    return b0 + 0.5 * (z**2).sum(0)


def update_with(shape=shape_of, rate=rate_of):
    return lambda z, a0, b0: (shape(z, a0), rate(z, b0))


def with_rate(rate):
    return update_with(rate=rate)


def update_by_codes(z, a0, b0):
    """Bayes' rule, one code after the other."""
    a, b = a0, torch.full((z.shape[1],), float(b0), dtype=z.dtype)
    for code in z:
        a, b = a + 0.5, b + code * code / 2
    return a, b


def update_by_einsum(z, a0, b0):
    return [torch.tensor(a0 + z.shape[0] / 2), torch.einsum("nl,nl->l", z, z) / 2 + b0]


def update_by_products(z, a0, b0):
    return a0 + 0.5 * z.size(0), b0 + (z.T @ z).diagonal() / 2


def update_by_norm(z, a0, b0):
    n, _ = z.shape
    return n * 0.5 + a0, torch.add(torch.linalg.vector_norm(z, dim=0).pow(2) / 2, b0)


def update_in_lists(z, a0, b0):
    return [a0 + len(z) / 2, [b0 + sum(v * v for v in column) / 2 for column in z.T.tolist()]]


def update_by_numpy(z, a0, b0):
    return a0 + len(z) / 2, b0 + 0.5 * np.sum(z.numpy() ** 2, axis=0)


def half_square(column):
    return column.square().sum() / 2


def update_in_place(z, a0, b0):
    return shape_of(z, a0), b0 + z.square_().sum(0) / 2


# --- the KL --------------------------------------------------------------------------------------


def kl_with(
    log_s=torch.log,
    log_q=lambda log_var: -log_var,
    one=1.0,
    above=lambda mean, log_var: mean**2 + log_var.exp(),
    below=lambda s: s,
    collect=lambda terms: 0.5 * terms.sum(1),
):
    def kl_to_prior(mean, log_var, s):
        return collect(log_s(s) + log_q(log_var) - one + above(mean, log_var) / below(s))

    return kl_to_prior


def kl_by_ratio(mean, log_var, s):
    ratio = torch.exp(log_var - s.log())
    return 0.5 * torch.sum(ratio - 1 - (log_var - torch.log(s)) + mean.pow(2) / s, dim=-1)


def kl_by_deviations(mean, log_var, s):
    sigma, width = torch.exp(0.5 * log_var), torch.sqrt(s)
    terms = torch.log(width / sigma) + (sigma**2 + mean**2) / (2 * width**2) - 0.5
    return terms.sum(dim=1)


def kl_by_matrix(mean, log_var, s):
    quadratic = (mean.square() + log_var.exp()) @ (1 / s)
    return (quadratic + s.log().sum() - log_var.sum(1) - len(s)) / 2


def kl_by_axes(mean, log_var, s):
    total = 0
    for axis in range(len(s)):
        m, v = mean[:, axis], log_var[:, axis].exp()
        total = total + 0.5 * ((m * m + v) / s[axis] - torch.log(v / s[axis]) - 1)
    return total


def kl_by_rescaling(mean, log_var, s):
    """Notebook 01's formula for axes whose unit is the root of s."""
    mean, log_var = mean / s.sqrt(), log_var - s.log()
    return -0.5 * torch.einsum("bl->b", 1 + log_var - mean.square() - log_var.exp())


def kl_by_densities(mean, log_var, s):
    """E ln q - E ln p, each by hand."""
    log_q = -0.5 * (log_var + 1)
    log_p = -0.5 * (s.log() + (mean**2 + log_var.exp()) / s)
    return (log_q - log_p).sum(1)


def kl_of_one(mean, log_var, s):
    """One image: (L,), (L,), (L,) to a number."""
    return 0.5 * (s.log() - log_var - 1 + (mean**2 + log_var.exp()) / s).sum()


def of_torch(q, p):
    """q and p: (mean, log_var, s) to the distributions."""
    return lambda *given: kl_divergence(q(*given), p(*given)).sum(1)


def posterior(mean, log_var, s):
    return Normal(mean, (0.5 * log_var).exp())


def by_library(mean, log_var, s):
    from_1_to_s = s.log() + (mean**2 + log_var.exp()) * (1 / s - 1)
    return objectives.kl_standard_normal(mean, log_var) + from_1_to_s.sum(1) / 2


def by_library_rescaled(mean, log_var, s):
    return objectives.kl_standard_normal(mean / s.sqrt(), log_var - s.log())


def width(power):
    return lambda mean, log_var, s: Normal(torch.zeros_like(mean), s**power)


def of_authors(mean, log_var, s):
    """The program of the paper: s where ln s should stand."""
    return 0.5 * (s - log_var - 1 + (mean**2 + log_var.exp()) / s).sum(1)


def s_below(part):
    """s divides one part alone."""
    rest = {"mean": lambda m, v: v.exp(), "variance": lambda m, v: m**2}[part]
    chosen = {"mean": lambda m, v: m**2, "variance": lambda m, v: v.exp()}[part]

    def kl_to_prior(mean, log_var, s):
        terms = s.log() - log_var - 1 + chosen(mean, log_var) / s + rest(mean, log_var)
        return 0.5 * terms.sum(1)

    return kl_to_prior


def with_above(above):
    return kl_with(above=above)


def detached(*names):
    def kl_to_prior(mean, log_var, s):
        mean = mean.detach() if "mean" in names else mean
        log_var = log_var.detach() if "log_var" in names else log_var
        return kl_with()(mean, log_var, s)

    return kl_to_prior


def by_entropy(mean, log_var, s):
    cross = 0.5 * (math.log(2 * math.pi) + s.log() + (mean**2 + log_var.exp()) / s)
    return (cross - posterior(mean, log_var, s).entropy()).sum(1)


@torch.no_grad()
def without_gradient(mean, log_var, s):
    return kl_with()(mean, log_var, s)


# --- relevance -----------------------------------------------------------------------------------


def squares_of(weight):
    return weight.square().sum(0)


def mean_square(z):
    return z.square().mean(0)


def relevance_with(w=squares_of, s=mean_square):
    return lambda weight, z: w(weight) * s(z)


def w_by(w):
    return relevance_with(w=w)


def s_by(s):
    return relevance_with(s=s)


def relevance_by_update(weight, z):
    a, b = update_by_products(z, 0, 0)
    return torch.linalg.norm(weight, dim=0) ** 2 * b / a


def relevance_by_einsum(weight, z):
    return torch.einsum("dl,dl,nl,nl->l", weight, weight, z, z) / len(z)


def relevance_by_axes(weight, z):
    relevance = []
    for axis in range(z.shape[1]):
        w, s = (weight[:, axis] ** 2).sum(), (z[:, axis] ** 2).sum() / len(z)
        relevance.append(w * s)
    return torch.stack(relevance)


def relevance_by_images(weight, z):
    """Sum over numbers of the mean square of what the axis adds to the image."""
    return (weight * z[:, None]).pow(2).mean(0).sum(0)


def relevance_by_grams(weight, z):
    return (weight.T @ weight).diag() * (z.T @ z).diag() / z.size(0)


def relevance_by_jacobian(weight, z):
    """As for any decoder: the Jacobian of one code after the other, by forward differentiation."""
    jacobians = torch.func.vmap(torch.func.jacfwd(lambda code: weight @ code))(z)
    return jacobians.square().sum(1).mean(0) * mean_square(z)


def relevance_in_place(weight, z):
    return weight.square().sum(0) * z.pow_(2).mean(0)


# --- the rule ------------------------------------------------------------------------------------


def in_order(relevance):
    return relevance.sort(descending=True, stable=True)


def count(ordered, share):
    return int((ordered.cumsum(0) <= share * ordered.sum()).sum()) + 1


def active_with(order=in_order, n=count):
    def active_axes(relevance, share):
        ordered, index = order(relevance)
        return index[: n(ordered, share)]

    return active_axes


def sorted_by(index_of):
    def order(relevance):
        index = index_of(relevance)
        return relevance[index], index

    return active_with(order)


def counted_by(n):
    return active_with(n=n)


def active_by_loop(relevance, share):
    chosen, total = [], 0.0
    for axis in sorted(range(len(relevance)), key=lambda k: (-relevance[k].item(), k)):
        chosen.append(axis)
        total += relevance[axis].item()
        if total > share * relevance.sum().item():
            break
    return torch.tensor(chosen)


def active_by_argsort(relevance, share):
    index = torch.argsort(-relevance, stable=True)
    reached = torch.cumsum(relevance[index], 0) > share * relevance.sum()
    return index[: reached.int().argmax() + 1]


def active_by_sums_before(relevance, share):
    """Kept is an axis if those before it are not enough."""
    ordered, index = in_order(relevance)
    before = F.pad(ordered.cumsum(0), (1, -1))
    return index[before <= share * relevance.sum()]


def active_by_search(relevance, share):
    ordered, index = in_order(relevance)
    sums = ordered.cumsum(0)
    place = torch.searchsorted(sums, share * sums[-1:], right=True)
    return index[: place + 1]


def active_by_search_in_shares(relevance, share):
    """Divides by the sum, as most do."""
    ordered, index = in_order(relevance / relevance.sum())
    return index[: (ordered.cumsum(0) <= share).sum() + 1]


def active_by_removal(relevance, share):
    """Takes the least relevant away while the others are enough."""
    index = np.argsort(-relevance.numpy(), kind="stable").tolist()
    while len(index) > 1 and relevance[index[:-1]].sum() > share * relevance.sum():
        index.pop()
    return torch.tensor(index)


def active_in_place(relevance, share):
    index = in_order(relevance.clone())[1]
    relevance /= relevance.sum()
    return index[: count(relevance[index], share)]


def places(relevance, share):
    return torch.arange(count(in_order(relevance)[0], share))


def above(threshold):
    """Axes that are by themselves above a threshold."""
    return lambda relevance, share: (relevance > threshold(relevance, share)).nonzero()[:, 0]


def mask(relevance, share):
    kept = torch.zeros(len(relevance), dtype=torch.bool)
    kept[active_with()(relevance, share)] = True
    return kept


def after(change):
    """A right answer that is changed last."""
    return lambda relevance, share: change(active_with()(relevance, share))


def before(change):
    """A right answer for another relevance or share."""
    return lambda relevance, share: active_with()(*change(relevance, share))


RIGHT = [
    ("update", update_with()),
    ("update", update_by_codes),
    ("update", update_by_einsum),
    ("update", update_by_products),
    ("update", update_by_norm),
    ("update", update_in_lists),
    ("update", update_by_numpy),
    ("update", lambda z, a0, b0: (shape_of(z, a0), b0 + torch.func.vmap(half_square)(z.T))),
    ("kl", kl_with()),
    ("kl", kl_by_ratio),
    ("kl", kl_by_deviations),
    ("kl", kl_by_matrix),
    ("kl", kl_by_axes),
    ("kl", kl_by_rescaling),
    ("kl", kl_by_densities),
    ("kl", torch.func.vmap(kl_of_one, in_dims=(0, 0, None))),
    ("linear", relevance_with()),
    ("linear", relevance_by_update),
    ("linear", relevance_by_einsum),
    ("linear", relevance_by_axes),
    ("linear", relevance_by_images),
    ("linear", relevance_by_grams),
    ("linear", relevance_by_jacobian),
    ("active", active_with()),
    ("active", active_by_loop),
    ("active", active_by_argsort),
    ("active", active_by_sums_before),
    ("active", active_by_search),
    ("active", active_by_search_in_shares),
    ("active", active_by_removal),
]

WRONG = [
    ("update", "returns nothing", lambda z, a0, b0: None),
    ("update", "two things", lambda z, a0, b0: rate_of(z, b0)),
    ("update", "not 3", lambda z, a0, b0: (shape_of(z, a0), b0, rate_of(z, b0))),
    ("update", "a comes first", lambda z, a0, b0: (rate_of(z, b0), shape_of(z, a0))),
    ("update", "one number", update_with(lambda z, a0: torch.full((4,), a0 + len(z) / 2))),
    ("update", "dimension 0", with_rate(lambda z, b0: b0 + 0.5 * (z**2).sum(1))),
    ("update", "one rate for each axis", with_rate(lambda z, b0: b0 + 0.5 * (z**2).sum())),
    ("update", "one rate for each axis", with_rate(lambda z, b0: b0 + 0.5 * z**2)),
    ("update", "one rate for each axis", with_rate(lambda z, b0: b0 + 0.5 * z.T @ z)),
    ("update", "power ½", update_with(lambda z, a0: a0 + len(z))),
    ("update", "count codes", update_with(lambda z, a0: a0 + z.shape[1] / 2)),
    ("update", "count codes", update_with(lambda z, a0: a0 + z.shape[-1])),
    ("update", "count codes", update_with(lambda z, a0: a0 + z.numel() / 2)),
    ("update", "not rounded", update_with(lambda z, a0: a0 + len(z) // 2)),
    ("update", "no n - 1", update_with(lambda z, a0: a0 + (len(z) - 1) / 2)),
    ("update", "its -1", update_with(lambda z, a0: a0 - 1 + len(z) / 2)),
    ("update", "where is a0", update_with(lambda z, a0: len(z) / 2)),
    ("update", "a is .*expected 5.2", update_with(lambda z, a0: a0 * len(z) / 2)),
    ("update", "factor ½", with_rate(lambda z, b0: b0 + (z**2).sum(0))),
    ("update", "only the sum has it", with_rate(lambda z, b0: 0.5 * (b0 + (z**2).sum(0)))),
    ("update", "do not centre", with_rate(lambda z, b0: b0 + ((z - z.mean(0)) ** 2).sum(0) / 2)),
    ("update", "not a variance", with_rate(lambda z, b0: b0 + 0.5 * z.var(0))),
    ("update", "not a variance", with_rate(lambda z, b0: b0 + 0.5 * z.var(0, correction=0))),
    ("update", "not a mean", with_rate(lambda z, b0: b0 + 0.5 * (z**2).mean(0))),
    ("update", "not a mean", with_rate(lambda z, b0: b0 + (z**2).mean(0))),
    ("update", "where is b0", with_rate(lambda z, b0: 0.5 * (z**2).sum(0))),
    ("update", "square each code", with_rate(lambda z, b0: b0 + 0.5 * z.sum(0) ** 2)),
    ("update", "square each code", with_rate(lambda z, b0: b0 + 0.5 * z.sum(0))),
    ("update", "not a scale", with_rate(lambda z, b0: 1 / rate_of(z, b0))),
    ("update", "b is .*expected", with_rate(lambda z, b0: rate_of(z, -b0))),
    ("update", "n = 1, L = 3, b0", with_rate(lambda z, b0: rate_of(z.squeeze(), b0))),
    ("update", "n = 1, L = 3, b0", with_rate(lambda z, b0: rate_of(z.clamp(-5, 5), b0))),
    ("update", "a0 = 0.25", update_with(lambda z, a0: max(a0, 1) + len(z) / 2)),
    ("update", "n = 1, L = 3, b0", with_rate(lambda z, b0: rate_of(z, min(b0, 1)))),
    ("update", "leave z", update_in_place),
    ("kl", "returns nothing", lambda mean, log_var, s: None),
    ("kl", "return a tensor", lambda *given: kl_with()(*given).sum().item()),
    ("kl", "return a tensor", lambda *given: kl_with()(*given).detach().numpy()),
    ("kl", "one number an image", kl_with(collect=lambda terms: 0.5 * terms)),
    ("kl", "one number an image", kl_with(collect=lambda terms: 0.5 * terms.sum())),
    ("kl", "one number an image", kl_with(collect=lambda terms: 0.5 * terms.sum(1).mean())),
    ("kl", "one number an image", kl_with(collect=lambda terms: 0.5 * terms.sum(1, keepdim=True))),
    ("kl", "dimension 1", kl_with(collect=lambda terms: 0.5 * terms.sum(0))),
    ("kl", "do not average", kl_with(collect=lambda terms: 0.5 * terms.mean(1))),
    ("kl", "factor ½", kl_with(collect=lambda terms: terms.sum(1))),
    (
        "kl",
        "factor ½",
        lambda mean, log_var, s: (
            s.log() + (mean**2 + log_var.exp()) / s - 0.5 * (1 + log_var)
        ).sum(1),
    ),
    ("kl", "factor ½ is for all", kl_with(log_s=lambda s: 2 * s.log())),
    ("kl", "factor ½ is for all", kl_with(log_q=lambda log_var: -2 * log_var)),
    ("kl", "no other order", kl_with(collect=lambda terms: -0.5 * terms.sum(1))),
    ("kl", "no other order", of_torch(width(0.5), posterior)),
    ("kl", "prior has variance s", of_torch(posterior, width(0))),
    ("kl", "prior has variance s", of_torch(posterior, width(1))),
    ("kl", "prior has variance s", of_torch(posterior, width(-0.5))),
    ("kl", "the term ln s", kl_with(log_s=torch.zeros_like)),
    ("kl", "the term ln s", kl_with(log_s=lambda s: -s.log())),
    ("kl", "the term ln s", of_authors),
    ("kl", "divides both", s_below("mean")),
    ("kl", "divides both", s_below("variance")),
    ("kl", "divides both", kl_with(below=lambda s: 1)),
    ("kl", "divides both", kl_with(below=lambda s: 1 / s)),
    ("kl", "are needed", with_above(lambda mean, log_var: mean**2)),
    ("kl", "are needed", with_above(lambda mean, log_var: log_var.exp())),
    ("kl", "are needed", with_above(lambda mean, log_var: mean + log_var.exp())),
    ("kl", "exp.log_var", with_above(lambda mean, log_var: mean**2 + log_var)),
    ("kl", "exp.log_var", with_above(lambda mean, log_var: mean**2 + log_var.exp() ** 2)),
    ("kl", "exp.log_var", with_above(lambda mean, log_var: mean**2 + (log_var / 2).exp())),
    ("kl", "exp.log_var", with_above(lambda mean, log_var: mean**2 + (-log_var).exp())),
    ("kl", "terms ln σ²", kl_with(log_q=lambda log_var: log_var)),
    ("kl", "terms ln σ²", kl_with(log_q=lambda log_var: 0)),
    ("kl", "terms ln σ² and -1", kl_with(one=0.0)),
    ("kl", "factor ½ is for all", kl_with(one=2.0)),
    ("kl", "terms ln σ² and -1", kl_with(one=3.0)),
    ("kl", "keep the gradient", without_gradient),
    ("kl", "for mean: is a part detached", detached("mean")),
    ("kl", "for log_var: detached", detached("log_var")),
    ("kl", "keep the gradient", detached("mean", "log_var")),
    ("kl", "1 images, 5 axes", lambda *given: kl_with()(*given).squeeze()),
    ("kl", "write the formula out", of_torch(posterior, width(0.5))),
    ("kl", "write the formula out", by_entropy),
    ("kl", "write the formula out", by_library),
    ("kl", "write the formula out", by_library_rescaled),
    ("kl", "1 images, 5 axes", lambda m, v, s: kl_with()(m, v.clamp(-3, 3), s)),
    ("kl", "1 images, 5 axes", lambda m, v, s: kl_with(one=2 / len(s))(m, v, s)),
    ("linear", "returns nothing", lambda weight, z: None),
    ("linear", "one number an axis", lambda weight, z: relevance_with()(weight, z).sum()),
    ("linear", "one number an axis", lambda weight, z: weight**2 * mean_square(z)),
    ("linear", "one number an axis", lambda weight, z: weight.T @ weight * mean_square(z)),
    ("linear", "a sum over the numbers", w_by(lambda weight: weight.square().mean(0))),
    ("linear", "b / a", s_by(lambda z: z.square().sum(0))),
    ("linear", "b / a", s_by(lambda z: z.square().sum(0) / 2)),
    ("linear", "b / a", s_by(lambda z: z.square().mean(0) / 2)),
    ("linear", "b / a", s_by(lambda z: z.square().sum(0) / (len(z) - 1))),
    ("linear", "not a variance", s_by(lambda z: z.var(0))),
    ("linear", "not a variance", s_by(lambda z: z.var(0, correction=0))),
    ("linear", "square each entry", w_by(lambda weight: weight.sum(0) ** 2)),
    ("linear", "square each entry", w_by(lambda weight: weight.abs().sum(0) ** 2)),
    ("linear", "square the entries", w_by(lambda weight: weight.abs().sum(0))),
    ("linear", "square the entries", w_by(lambda weight: weight.sum(0))),
    ("linear", "square each code", s_by(lambda z: z.mean(0) ** 2)),
    ("linear", "square each code", s_by(lambda z: z.abs().mean(0))),
    ("linear", "no root", w_by(lambda weight: weight.norm(dim=0))),
    ("linear", "no root", s_by(lambda z: z.square().mean(0).sqrt())),
    ("linear", "no root", lambda weight, z: relevance_with()(weight, z).sqrt()),
    ("linear", "each used once", lambda weight, z: squares_of(weight)),
    ("linear", "each used once", lambda weight, z: mean_square(z)),
    ("linear", "each used once", lambda weight, z: squares_of(weight) / mean_square(z)),
    ("linear", "each used once", lambda weight, z: squares_of(weight) * mean_square(z) ** 2),
    ("linear", "each used once", lambda weight, z: squares_of(weight) + mean_square(z)),
    ("linear", "columns of W", w_by(lambda weight: weight.square().sum(1))),
    ("linear", "columns of z", s_by(lambda z: z.square().mean(1))),
    ("linear", "do not divide", lambda w, z: F.normalize(relevance_with()(w, z), p=1, dim=0)),
    ("linear", "is not", lambda weight, z: 2 * relevance_with()(weight, z)[[1, 0, 3, 2]]),
    (
        "linear",
        "D = 7, n = 50",
        relevance_with(lambda w: w.square().mean(0), lambda z: (z**2).sum(0)),
    ),
    ("linear", "leave weight and z", relevance_in_place),
    ("linear", "D = 3, n = 1", s_by(lambda z: z.square().sum(0) / max(len(z), 2))),
    ("active", "returns nothing", lambda relevance, share: None),
    ("active", "not a mask", mask),
    ("active", "not their relevances", lambda r, share: r[active_with()(r, share)]),
    ("active", "not their number", lambda r, share: count(in_order(r)[0], share)),
    ("active", "not their number", after(lambda index: index[:, None])),
    ("active", "dtype int64", after(torch.Tensor.int)),
    ("active", "order of their indices", after(lambda index: index.sort().values)),
    ("active", "which axes stand there", places),
    ("active", "sort before you sum", active_with(lambda r: (r, torch.arange(len(r))))),
    ("active", "sort before you sum", active_with(lambda r: (r, in_order(r)[1]))),
    ("active", "not with the least", active_with(lambda r: r.sort(stable=True))),
    ("active", "most relevant first", after(lambda index: index.flip(0))),
    ("active", "too few", counted_by(lambda ordered, share: count(ordered, share) - 1)),
    ("active", "not squared", before(lambda r, share: (r**2, share))),
    ("active", "not single axes", above(lambda r, share: (1 - share) * r.sum())),
    ("active", "not single axes", above(lambda r, share: share * r.sum())),
    ("active", "not single axes", above(lambda r, share: share * r.max())),
    ("active", "share of the sum", before(lambda r, share: (r, share / 100))),
    (
        "active",
        "share of the sum",
        counted_by(lambda o, share: int((o.cumsum(0) <= share).sum()) + 1),
    ),
    ("active", "share of the sum", before(lambda r, share: (r, 1 - share))),
    ("active", "leave out", lambda r, share: in_order(r)[1][count(in_order(r)[0], share) :]),
    ("active", "too many", counted_by(lambda ordered, share: round(share * len(ordered)))),
    ("active", "too many", lambda r, share: in_order(r)[1]),
    ("active", "too many", counted_by(lambda ordered, share: count(ordered, share) + 1)),
    ("active", "a stable sort", sorted_by(lambda r: r.argsort(stable=True).flip(0))),
    ("active", "a stable sort", sorted_by(lambda r: r.topk(len(r)).indices)),
    ("active", "leave the relevance", active_in_place),
    (
        "active",
        "not more than 75 %",
        counted_by(lambda o, share: int((o.cumsum(0) < share * o.sum()).sum()) + 1),
    ),
    ("active", "not more than 75 %", before(lambda r, share: (r, share - 1e-4))),
]

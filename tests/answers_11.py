"""Right and wrong answers to the exercises of notebook 11, as students write them."""

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from scipy.stats import spearmanr

# --- bootstrap -----------------------------------------------------------------------------------


def interval_of(means, tails=(0.025, 0.975)):
    return means.quantile(tails[0]), means.quantile(tails[1])


def bootstrap_with(first=torch.mean, resample=lambda d, rows: d[rows].mean(1), ends=interval_of):
    """(the first number of d, ends of what each resample gives)."""
    return lambda a, b, rows: (first(a - b), *ends(resample(a - b, rows)))


def bootstrap_by_loop(a, b, rows):
    """Python numbers, and quantiles by NumPy."""
    apart = [x - y for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    means = [sum(apart[k] for k in row) / len(row) for row in rows.tolist()]
    return sum(apart) / len(apart), *np.quantile(means, [0.025, 0.975])


def bootstrap_by_means(a, b, rows):
    """The difference of two means over the same rows is the mean of differences."""
    means = a[rows].mean(1) - b[rows].mean(1)
    ends = means.quantile(torch.tensor([0.025, 0.975], dtype=means.dtype))
    return torch.stack([a.mean() - b.mean(), *ends])


def bootstrap_by_counts(a, b, rows):
    """How often each seed is drawn, times the differences."""
    counts = F.one_hot(rows, len(a)).sum(1).to(a)
    return [(a - b).mean(), *interval_of(counts @ (a - b) / len(a))]


def bootstrap_by_sorting(a, b, rows):
    """Quantiles by hand, on a line between neighbours."""
    means, last = (a - b)[rows].mean(1).sort().values, len(rows) - 1
    ends = []
    for q in (0.025, 0.975):
        k, share = divmod(q * last, 1)
        above = means[min(int(k) + 1, last)]
        ends.append((1 - share) * means[int(k)] + share * above)
    return (a - b).mean(), *ends


def apart_by_themselves(a, b, rows):
    """As if the two methods had seeds of their own."""
    (low_a, high_a), (low_b, high_b) = (interval_of(x[rows].mean(1)) for x in (a, b))
    return (a - b).mean(), low_a - high_b, high_a - low_b


def by_deviation(a, b, rows, half=1.96):
    means = (a - b)[rows].mean(1)
    return (a - b).mean(), (a - b).mean() - half * means.std(), (a - b).mean() + half * means.std()


def bootstrap_in_place(a, b, rows):
    a -= b
    return bootstrap_with()(a, torch.zeros_like(b), rows)


def bootstrap_rounded(a, b, rows):
    """To three digits."""
    return [round(float(part), 3) for part in bootstrap_with()(a, b, rows)]


def bootstrap_of_seven(a, b, rows):
    """The number of seeds of the visible check."""
    d = (a - b)[rows].sum(1) / 7
    return (a - b).mean(), *interval_of(d)


def bootstrap_by_gathering(a, b, rows):
    """NumPy's percentiles, as an array."""
    means = (a - b).expand(len(rows), -1).gather(1, rows).mean(1)
    return np.array([(a - b).mean(), *np.percentile(means, [2.5, 97.5])])


def quantile_by(rule):
    """Ends by another of NumPy's rules for what lies between two neighbours."""
    return lambda means: np.quantile(means, [0.025, 0.975], method=rule)


def of_each_resample(a, b, rows):
    """Quantiles within each resample, averaged."""
    d = (a - b)[rows].double()
    tails = torch.tensor([0.025, 0.975]).double()
    return (a - b).mean(), *d.quantile(tails, dim=1).mean(1)


# --- ranks ---------------------------------------------------------------------------------------


def places(values):
    """Ranks (n,) by counting; equal entries share their mean."""
    return (values[:, None] > values).sum(1) + ((values[:, None] == values).sum(1) + 1.0) / 2


def correlation(x, y):
    x, y = (part.double() - part.double().mean() for part in (x, y))
    return ((x @ y) / (x.norm() * y.norm())).item()


def ranks_with(rank=places, correlate=correlation):
    return lambda a, b: correlate(rank(a), rank(b))


def ranks_by_loop(a, b):
    def rank(values):
        ordered = sorted(values)
        firsts = [ordered.index(v) for v in values]
        return [f + (ordered.count(v) + 1) / 2 for f, v in zip(firsts, values, strict=True)]

    x, y = rank(a.tolist()), rank(b.tolist())
    mean = sum(x) / len(x)
    products = [
        sum((p - mean) * (q - mean) for p, q in zip(s, t, strict=True))
        for s, t in ((x, y), (x, x), (y, y))
    ]
    return products[0] / math.sqrt(products[1] * products[2])


def ranks_by_unique(a, b):
    """Places of each group of equal values from their counts."""

    def rank(values):
        _, group, count = values.unique(return_inverse=True, return_counts=True)
        last = count.cumsum(0)
        return (last - (count - 1) / 2.0)[group]

    return torch.corrcoef(torch.stack([rank(a), rank(b)]).double())[0, 1]


def ranks_by_sorting(a, b):
    """First and last place by a search in the sorted values."""

    def rank(values):
        ordered = values.sort().values
        first = torch.searchsorted(ordered, values)
        return (first + torch.searchsorted(ordered, values, right=True) + 1) / 2

    return correlation(rank(a), rank(b))


def ranks_by_signs(a, b):
    """Over how many an entry is, less under how many: twice the centred rank."""
    x, y = ((v[:, None] - v).sign().sum(1).double() for v in (a, b))
    return F.cosine_similarity(x, y, dim=0)


def ranks_corrected_for_ties(a, b):
    """1 − 6Σd²/(n(n² − 1)) with the textbooks' correction."""
    n, d = len(a), places(a).double() - places(b).double()
    counts = (v.unique(return_counts=True)[1].tolist() for v in (a, b))
    p, q = (((n**3 - n) - sum(c**3 - c for c in count)) / 12 for count in counts)
    return (p + q - d.square().sum().item()) / (2 * math.sqrt(p * q))


def ranks_from_both_ends(a, b):
    """Equal entries stand in turn, once from the left and once from the right."""
    return correlation(*(ordinal(v).double() - ordinal(-v) for v in (a, b)))


def ranks_from_the_top(a, b):
    """Descending in both: the same correlation."""
    return correlation(places(-a), places(-b))


def ranks_by_numpy(a, b):
    return float(np.corrcoef(places(a).numpy(), places(b).numpy())[0, 1])


def ordinal(values):
    return values.argsort(stable=True).argsort() + 1


def by_rule(rule):
    return lambda values: torch.as_tensor(stats.rankdata(values, rule))


def formula_without_ties(a, b):
    n = len(a)
    return 1 - 6 * (places(a) - places(b)).square().sum().item() / (n * (n**2 - 1))


def uncentred(x, y):
    return (x @ y / (x.norm() * y.norm())).item()


def ranks_by_scipy(a, b):
    return stats.spearmanr(a, b).statistic


def ranks_by_imported_scipy(a, b):
    return spearmanr(a, b).statistic


def nearly_equal(values):
    """Equal is what PyTorch takes for close."""
    equal = torch.isclose(values[:, None], values)
    return ((values[:, None] > values) & ~equal).sum(1) + (equal.sum(1) + 1.0) / 2


def mixed_divisors(first, second):
    """A covariance over n − first, and deviations over n − second."""

    def correlate(x, y):
        covariance = torch.cov(torch.stack([x, y]).double(), correction=first)[0, 1]
        return covariance / (x.std(correction=second) * y.std(correction=second))

    return correlate


def ranks_by_rounding(a, b):
    """Takes values within a millionth for equal."""
    return ranks_with()((a * 1e5).round(), (b * 1e5).round())


# --- udr -----------------------------------------------------------------------------------------


def kept(similarity, used_1, used_2):
    return similarity[used_1][:, used_2]


def shares(R, dim):
    """Of each axis, the square of its largest entry over the sum of all."""
    return R.amax(dim) ** 2 / R.sum(dim).clamp_min(1e-12)


def udr_with(
    keep=kept, share=shares, average=lambda columns, rows: torch.cat([columns, rows]).mean()
):
    def answer(similarity, used_1, used_2):
        R = keep(similarity, used_1, used_2)
        return average(share(R, 0), share(R, 1)).item() if R.numel() else 0.0

    return answer


def udr_by_loop(similarity, used_1, used_2):
    ones, twos = (used.nonzero()[:, 0].tolist() for used in (used_1, used_2))
    if not ones or not twos:
        return 0
    total = 0.0
    for lines in (
        [[similarity[k, m].item() for k in ones] for m in twos],
        [[similarity[k, m].item() for m in twos] for k in ones],
    ):
        for line in lines:
            if sum(line) > 0:
                total += max(line) ** 2 / sum(line)
    return total / (len(ones) + len(twos))


def udr_by_masking(similarity, used_1, used_2):
    """Zeros in the place of idle axes, which then add nothing; d counts those in use."""
    R = similarity * used_1[:, None] * used_2
    if not used_1.any() or not used_2.any():
        return torch.tensor(0.0)
    return (shares(R, 0).sum() + shares(R, 1).sum()) / (used_1.sum() + used_2.sum())


def udr_by_nan(similarity, used_1, used_2):
    R = kept(similarity, used_1, used_2).numpy()
    if R.size == 0:
        return 0.0
    with np.errstate(invalid="ignore"):
        parts = [R.max(k) ** 2 / R.sum(k) for k in (0, 1)]
    return float(np.nan_to_num(np.concatenate(parts)).mean())


def udr_by_index(similarity, used_1, used_2):
    R = similarity[used_1.nonzero(), used_2.nonzero()[:, 0]]
    if min(R.shape) == 0:
        return 0.0
    both = [r.max() ** 2 / r.sum() if r.sum() else 0 * r.sum() for r in (*R, *R.T)]
    return sum(both) / len(both)


def udr_by_product(similarity, used_1, used_2):
    """The largest entry times the largest share."""
    R = similarity[np.ix_(used_1, used_2)].numpy()
    sums = [R.sum(k, keepdims=True) for k in (0, 1)]
    parts = [
        R.max(k, initial=0) * (R / np.where(s > 0, s, 1)).max(k, initial=0)
        for k, s in enumerate(sums)
    ]
    return np.concatenate(parts).mean() if R.size else np.float64(0)


def udr_by_weights(similarity, used_1, used_2):
    """The mean of each network, weighed by its axes."""
    if not (used_1.any() and used_2.any()):
        return 0.0
    R = kept(similarity, used_1, used_2)
    means = [shares(R, dim).mean() for dim in (0, 1)]
    return float(np.average(means, weights=[used_2.sum(), used_1.sum()]))


def clamped_at(floor):
    return udr_with(share=lambda R, dim: R.amax(dim) ** 2 / R.sum(dim).clamp_min(floor))


def one_where_empty(similarity, used_1, used_2):
    """Networks of which one has no axes are taken for alike."""
    some = used_1.any() and used_2.any()
    return udr_with()(similarity, used_1, used_2) if some else 1.0


def idle_in_sums(similarity, used_1, used_2):
    """The largest entry among axes in use, over a sum of all."""
    R = kept(similarity, used_1, used_2)
    return torch.cat(
        [R.amax(0) ** 2 / similarity.sum(0)[used_2], R.amax(1) ** 2 / similarity.sum(1)[used_1]]
    ).mean()


def without_care_for_zeros(R, dim):
    return R.amax(dim) ** 2 / R.sum(dim)


def udr_in_place(similarity, used_1, used_2):
    similarity[~used_1] = 0
    similarity[:, ~used_2] = 0
    return udr_by_masking(similarity, used_1, used_2)


def idle_in_d(similarity, used_1, used_2):
    R = kept(similarity, used_1, used_2)
    return (shares(R, 0).sum() + shares(R, 1).sum()) / sum(similarity.shape)


def zero_rows_left_out(similarity, used_1, used_2):
    """An axis without any resemblance does not count in d."""
    R = kept(similarity, used_1, used_2)
    R = R[R.sum(1) > 0][:, R.sum(0) > 0]
    return udr_with(keep=lambda *_: R)(similarity, used_1, used_2)


RIGHT = [
    ("bootstrap", bootstrap_with()),
    ("bootstrap", bootstrap_by_loop),
    ("bootstrap", bootstrap_by_means),
    ("bootstrap", bootstrap_by_counts),
    ("bootstrap", bootstrap_by_sorting),
    ("bootstrap", bootstrap_by_gathering),
    ("bootstrap", lambda a, b, rows: bootstrap_with()(a.float(), b.float(), rows)),
    ("ranks", ranks_with()),
    ("ranks", ranks_by_loop),
    ("ranks", ranks_by_unique),
    ("ranks", ranks_by_sorting),
    ("ranks", ranks_from_the_top),
    ("ranks", ranks_by_signs),
    ("ranks", ranks_corrected_for_ties),
    ("ranks", ranks_from_both_ends),
    ("ranks", ranks_by_numpy),
    ("ranks", ranks_with(by_rule("average"))),
    ("udr", udr_with()),
    ("udr", udr_by_loop),
    ("udr", udr_by_masking),
    ("udr", udr_by_nan),
    ("udr", udr_by_index),
    ("udr", udr_by_product),
    ("udr", udr_by_weights),
]

WRONG = [
    ("bootstrap", "returns nothing", lambda a, b, rows: None),
    ("bootstrap", "three numbers", lambda a, b, rows: (a - b).mean()),
    ("bootstrap", "three numbers", lambda a, b, rows: interval_of((a - b)[rows].mean(1))),
    ("bootstrap", "each of the three is one number", bootstrap_with(first=lambda d: d)),
    ("bootstrap", "a − b, not b − a", lambda a, b, rows: bootstrap_with()(b, a, rows)),
    (
        "bootstrap",
        "over the seeds as they are",
        lambda a, b, rows: ((a - b)[rows].mean(), *interval_of((a - b)[rows].mean(1))),
    ),
    ("bootstrap", "the mean difference is 0.1786", bootstrap_with(first=torch.median)),
    ("bootstrap", "the mean difference is 0.1786", bootstrap_with(first=torch.sum)),
    (
        "bootstrap",
        "the mean difference is 0.1786",
        lambda a, b, rows: bootstrap_with()(a, 0 * b, rows),
    ),
    ("bootstrap", "lower end comes before", bootstrap_with(ends=lambda m: interval_of(m)[::-1])),
    (
        "bootstrap",
        "not of single differences",
        bootstrap_with(resample=lambda d, rows: d[rows].flatten()),
    ),
    ("bootstrap", "not each method by itself", apart_by_themselves),
    (
        "bootstrap",
        "between .025 and .975",
        bootstrap_with(ends=partial(interval_of, tails=(0.05, 0.95))),
    ),
    (
        "bootstrap",
        "not their medians",
        bootstrap_with(resample=lambda d, rows: d[rows].median(1).values),
    ),
    ("bootstrap", "not their sums", bootstrap_with(resample=lambda d, rows: d[rows].sum(1))),
    ("bootstrap", "resample by `rows`", bootstrap_with(resample=lambda d, rows: d)),
    ("bootstrap", "a row of `rows`", bootstrap_with(resample=lambda d, rows: d[rows].mean(0))),
    ("bootstrap", "not 1.96 standard", by_deviation),
    ("bootstrap", "the interval is", partial(by_deviation, half=2)),
    ("bootstrap", "the interval is", bootstrap_with(ends=lambda m: (m.min(), m.max()))),
    (
        "bootstrap",
        "the interval is",
        bootstrap_with(ends=partial(interval_of, tails=(0.005, 0.995))),
    ),
    (
        "bootstrap",
        "the interval is",
        bootstrap_with(ends=lambda m: (m.quantile(0.025) - m.mean(), m.quantile(0.975) - m.mean())),
    ),
    ("bootstrap", "three numbers", lambda a, b, rows: (a - b).mean().item()),
    *(
        ("bootstrap", "the interval is", bootstrap_with(ends=quantile_by(rule)))
        for rule in ("lower", "nearest", "weibull", "hazen")
    ),
    ("bootstrap", "the interval is", of_each_resample),
    (
        "bootstrap",
        "the interval is",
        lambda a, b, rows: ((a - b).mean(), *interval_of((a[rows] - b).mean(1))),
    ),
    ("bootstrap", "leave what is given", bootstrap_in_place),
    ("bootstrap", "2 seeds|1 seeds", bootstrap_of_seven),
    ("bootstrap", "the mean difference is", bootstrap_rounded),
    ("ranks", "returns nothing", lambda a, b: None),
    ("ranks", "one number", lambda a, b: places(a) * places(b)),
    ("ranks", "correlate the ranks, not the values", correlation),
    ("ranks", "which entry comes where", ranks_with(lambda v: v.argsort())),
    ("ranks", "share a rank", ranks_with(ordinal)),
    ("ranks", "not the first", ranks_with(by_rule("min"))),
    ("ranks", "not the first", ranks_with(lambda v: (v[:, None] > v).sum(1))),
    ("ranks", "not the last", ranks_with(by_rule("max"))),
    ("ranks", "not the last", ranks_with(lambda v: (v[:, None] >= v).sum(1))),
    ("ranks", "do not number values", ranks_with(by_rule("dense"))),
    ("ranks", "do not number values", ranks_with(lambda v: v.unique(return_inverse=True)[1])),
    ("ranks", "with ties", formula_without_ties),
    ("ranks", "Kendall", lambda a, b: stats.kendalltau(a, b).statistic),
    ("ranks", "sign is turned", lambda a, b: -ranks_with()(a, b)),
    ("ranks", "sign is turned", lambda a, b: correlation(places(a), places(-b))),
    ("ranks", "its square", lambda a, b: ranks_with()(a, b) ** 2),
    ("ranks", "centre the ranks", ranks_with(correlate=uncentred)),
    ("ranks", "is no correlation", lambda a, b: math.nan),
    ("ranks", "expected 0", lambda a, b: abs(ranks_with()(a, b)) / 2),
    ("ranks", "expected 0", lambda a, b: correlation(places(a), b)),
    ("ranks", "write it yourself", ranks_by_scipy),
    ("ranks", "write it yourself", ranks_by_imported_scipy),
    ("ranks", "everywhere by the same", ranks_with(correlate=mixed_divisors(0, 1))),
    ("ranks", "everywhere by the same", ranks_with(correlate=mixed_divisors(1, 0))),
    ("ranks", "3 entries, 2 levels", ranks_by_rounding),
    ("ranks", "3 entries, 2 levels", ranks_with(nearly_equal)),
    ("ranks", "2 entries, 9 levels", lambda a, b: abs(ranks_with()(a, b))),
    ("ranks", "leave what is given", lambda a, b: ranks_with()(a.neg_(), b.neg_())),
    ("udr", "returns nothing", lambda R, used_1, used_2: None),
    ("udr", "one number", lambda R, used_1, used_2: shares(kept(R, used_1, used_2), 0)),
    ("udr", "leave out the axes that", udr_with(keep=lambda R, *used: R)),
    ("udr", "idle axes of the first", udr_with(keep=lambda R, used_1, used_2: R[:, used_2])),
    ("udr", "idle axes of the second", udr_with(keep=lambda R, used_1, used_2: R[used_1])),
    ("udr", "do not count in d", idle_in_d),
    ("udr", "is squared", udr_with(share=lambda R, dim: R.amax(dim) / R.sum(dim).clamp_min(1e-9))),
    (
        "udr",
        "not of their squares",
        udr_with(share=lambda R, dim: R.amax(dim) ** 2 / R.square().sum(dim)),
    ),
    (
        "udr",
        "the largest among them",
        udr_with(
            share=lambda R, dim: R.amax(dim) ** 2 / (R.sum(dim) - R.amax(dim)).clamp_min(1e-9)
        ),
    ),
    (
        "udr",
        "not over each network first",
        udr_with(average=lambda c, r: (c.mean() + r.mean()) / 2),
    ),
    ("udr", "axes of the second network count", udr_with(average=lambda c, r: r.mean())),
    ("udr", "axes of the first network count", udr_with(average=lambda c, r: c.mean())),
    ("udr", "divide by the number of axes", udr_with(average=lambda c, r: c.sum() + r.sum())),
    ("udr", "not by half of it", udr_with(average=lambda c, r: 2 * torch.cat([c, r]).mean())),
    ("udr", "expected 0", udr_with(average=lambda c, r: torch.cat([c, r]).median())),
    ("udr", "expected 0", udr_with(share=lambda R, dim: R.mean(dim))),
    ("udr", "expected 0", clamped_at(1)),
    ("udr", "1 and 1 axes", clamped_at(0.01)),
    ("udr", "expected 0", idle_in_sums),
    (
        "udr",
        "not its ratio",
        udr_with(share=lambda R, dim: (R.amax(dim) / R.sum(dim).clamp_min(1e-9)) ** 2),
    ),
    ("udr", "one network has no axis in use", one_where_empty),
    ("udr", "do not divide by 0", udr_with(share=without_care_for_zeros)),
    ("udr", "leave what is given", udr_in_place),
    ("udr", "axes", zero_rows_left_out),
]

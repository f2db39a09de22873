"""Right and wrong answers to the exercises of notebook 03, as students write them."""

import heapq
import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from sklearn.metrics import auc, mutual_info_score, roc_auc_score, roc_curve

from dvae_lib import metrics

# --- mutual information --------------------------------------------------------------------------


def information_with(
    log=torch.log,
    sign=1,
    scale=1.0,
    extra=lambda zv, z, v: zv - z - v + 1,
    per=2,
    size=None,
    clip=False,
):
    def mutual_information(counts):
        n = counts.sum()
        p = counts.double() / n
        p_z, p_v = p.sum(1, keepdim=True), p.sum(0, keepdim=True)
        seen = p > 0
        plug_in = sign * scale * (p[seen] * log((p / (p_z * p_v))[seen])).sum()
        m = (int(seen.sum()), int((p_z > 0).sum()), int((p_v > 0).sum()))
        if size == "levels":
            m = (counts.numel(), counts.shape[0], counts.shape[1])
        corrected = plug_in - extra(*m) / (per * n)
        return plug_in, corrected.clamp_min(0) if clip else corrected

    return mutual_information


def information_of_raw_counts(counts):
    """Forgets to divide: -441 on the first table of the check."""
    own = counts.double()
    plug_in = (own * (own / (own.sum(1, keepdim=True) * own.sum(0))).log()).sum()
    return plug_in, plug_in - 0.005


def information_with_epsilon(joint=1e-8, margins=1e-8, seen_before=True):
    def mutual_information(counts):
        n = counts.sum()
        p = counts.double() / n
        m = [int((x > 0).sum()) for x in (p, p.sum(1), p.sum(0))]
        if not seen_before:
            p = p + joint
            m = [int((x > 0).sum()) for x in (p, p.sum(1), p.sum(0))]
        product = p.sum(1, keepdim=True) * p.sum(0)
        plug_in = (p * ((p + joint) / (product + margins)).log()).sum()
        return plug_in, plug_in - (m[0] - m[1] - m[2] + 1) / (2 * n)

    return mutual_information


def information_by_entropies_with_epsilon(counts):
    p = counts.double() / counts.sum()
    h_zv, h_z, h_v = (-(x * (x + 1e-8).log()).sum() for x in (p, p.sum(1), p.sum(0)))
    plug_in = h_z + h_v - h_zv
    right = information_with()(counts)
    return plug_in, plug_in - (right[0] - right[1])


def information_in_single_precision(counts):
    n = counts.sum()
    p = counts / n
    p_z, p_v = p.sum(1, keepdim=True), p.sum(0, keepdim=True)
    seen = p > 0
    plug_in = (p[seen] * (p / (p_z * p_v))[seen].log()).sum()
    bias = (seen.sum() - (p_z > 0).sum() - (p_v > 0).sum() + 1) / (2 * n)
    return torch.stack([plug_in, plug_in - bias])


def information_by_entropies(counts):
    n = int(counts.sum())

    def entropy(values):
        values = [c / n for c in values.flatten().tolist() if c]
        return -sum(p * math.log(p) for p in values), len(values)

    (h_zv, m_zv), (h_z, m_z), (h_v, m_v) = map(entropy, (counts, counts.sum(1), counts.sum(0)))
    plug_in = h_z + h_v - h_zv
    return plug_in, plug_in - ((m_zv - 1) - (m_z - 1) - (m_v - 1)) / (2 * n)


def with_nan(counts):
    p = counts.double() / counts.sum()
    plug_in = (p * (p / (p.sum(1, keepdim=True) * p.sum(0))).log()).sum()
    return plug_in, information_with()(counts)[1]


def information_by_scikit_learn(counts):
    """From labels: a row for each sample."""
    z, v = counts.nonzero().repeat_interleave(counts[counts > 0], 0).T.numpy()
    m_zv, m_z, m_v = (np.count_nonzero(c) for c in (counts, counts.sum(1), counts.sum(0)))
    plug_in = mutual_info_score(z, v)
    return plug_in, plug_in - (m_zv - m_z - m_v + 1) / 2 / len(z)


def information_by_a_g_test(counts):
    """The statistic of a likelihood-ratio test is 2 N times the information."""
    table = counts.numpy()
    table = table[table.any(1)][:, table.any(0)]
    n = table.sum()
    g = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
    bias = (np.count_nonzero(table) - sum(table.shape) + 1) / (2 * n)
    return np.array([g / (2 * n), g / (2 * n) - bias])


def information_by_entr(counts):
    p = counts.double() / counts.sum()
    parts = p.flatten(), p.sum(0), p.sum(1)
    h_zv, h_z, h_v = (torch.special.entr(part).sum() for part in parts)
    m_zv, m_z, m_v = (torch.count_nonzero(part) for part in parts)
    plug_in = h_z + h_v - h_zv
    return [plug_in, plug_in + (m_z + m_v - m_zv - 1) / counts.sum() / 2]


def information_by_xlogy(counts):
    """In counts: N cancels but for one logarithm."""
    c, n = counts.double(), counts.sum()
    parts = [torch.special.xlogy(x, x).sum() for x in (c, c.sum(0), c.sum(1))]
    plug_in = (parts[0] - parts[1] - parts[2]) / n + n.log()
    seen = [(x > 0).double().sum() for x in (c, c.sum(0), c.sum(1))]
    return plug_in, plug_in - (seen[0] - seen[1] - seen[2] + 1) / (2 * n)


def information_by_conditional_entropies(counts):
    """H(v) less the mean entropy of v within a row."""
    p, n, rows = counts.numpy() / int(counts.sum()), int(counts.sum()), []
    for row in p:
        if row.sum():
            rows.append(row.sum() * stats.entropy(row / row.sum()))
    plug_in = stats.entropy(p.sum(0)) - sum(rows)
    seen = [np.count_nonzero(x) for x in (p, p.sum(0), p.sum(1))]
    return plug_in, plug_in - ((seen[0] - 1) - (seen[1] - 1) - (seen[2] - 1)) / (2 * n)


def information_cell_by_cell(counts):
    n, total = counts.sum().item(), 0.0
    for row, z_row in zip(counts.tolist(), counts.sum(1).tolist(), strict=True):
        for c, column in zip(row, counts.sum(0).tolist(), strict=True):
            if c:
                total += c / n * math.log(c * n / (z_row * column))
    m = sum(c > 0 for row in counts.tolist() for c in row)
    m_z, m_v = (sum(c > 0 for c in counts.sum(axis).tolist()) for axis in (1, 0))
    return total, total - (m - m_z - m_v + 1) / (2 * n)


def information_without_keepdim(counts):
    p = counts.double() / counts.sum()
    seen = p > 0
    plug_in = (p[seen] * (p / (p.sum(1) * p.sum(0)))[seen].log()).sum()
    return plug_in, plug_in - 0.005


def information_that_fills(counts):
    right = information_with()(counts)
    counts.clamp_(min=1)
    return right


def information_that_scales(counts):
    n = counts.sum()
    right = information_with()(counts)
    counts *= 2
    return right[0], right[0] - (right[0] - right[1]) * n / counts.sum() * 2


def information_for_a_hundred(counts):
    """Divides the bias by 200, which is 2 N of the tables that are shown."""
    plug_in, corrected = information_with()(counts)
    return plug_in, plug_in - (plug_in - corrected) * counts.sum() / 100


def entropy_of_v(counts):
    p = counts.sum(0) / counts.sum()
    return torch.special.entr(p).sum(), information_with()(counts)[1]


# --- MIG -----------------------------------------------------------------------------------------


def mig_by_topk(information, entropy):
    if information.shape[1] == 1:
        return (information[:, 0] / entropy).mean()
    best = information.topk(2, dim=1).values
    return ((best[:, 0] - best[:, 1]) / entropy).mean()


def mig_by_lists(information, entropy):
    gaps = []
    for row, h in zip(information.tolist(), entropy.tolist(), strict=True):
        first, second = sorted([*row, 0.0], reverse=True)[:2]
        gaps.append((first - second) / h)
    return sum(gaps) / len(gaps)


def gaps(matrix):
    best = torch.nn.functional.pad(matrix, (0, 1)).sort(dim=1, descending=True).values
    return best[:, 0] - best[:, 1]


def mig_of_distinct(information, entropy):
    rows = [row.unique().flip(0) for row in torch.nn.functional.pad(information, (0, 1))]
    return torch.stack([r[0] - r[1] for r in rows]).div(entropy).mean()


def padded(matrix):
    return torch.nn.functional.pad(matrix, (0, 1))


def mig_between_factors(information, entropy):
    best = padded(information / entropy[:, None]).sort(dim=0, descending=True).values
    return (best[0] - best[1]).mean()


def mig_to_the_worst(information, entropy):
    best = padded(information / entropy[:, None]).sort(dim=1, descending=True).values
    return (best[:, 0] - best[:, -1]).mean()


def mig_of_two_axes(information, entropy):
    best = (information / entropy[:, None]).sort(dim=1, descending=True).values
    return (best[:, 0] - best[:, 1]).mean()


def mig_by_bare_topk(information, entropy):
    best = (information / entropy[:, None]).topk(2, dim=1).values
    return (best[:, 0] - best[:, 1]).mean()


def mig_without_padding(information, entropy):
    best = information.sort(dim=1, descending=True).values
    return ((best[:, 0] - best[:, 1:2].sum(1)) / entropy).mean() * (information.shape[1] > 1)


def mig_by_numpy(information, entropy):
    table = np.hstack([information.numpy(), np.zeros((len(information), 1))])
    best = np.partition(table, -2, axis=1)
    return ((best[:, -1] - best[:, -2]) / entropy.numpy()).mean()


def mig_by_masking(information, entropy):
    """The second best is the best of what is left without the best axis."""
    first, at = information.max(1)
    rest = information.scatter(1, at[:, None], 0.0)
    return ((first - rest.amax(1)) / entropy).sum() / len(entropy)


def mig_by_kthvalue(information, entropy):
    told = torch.cat([torch.zeros(len(entropy), 1), information], 1) / entropy.unsqueeze(1)
    n = told.shape[1]
    return (told.kthvalue(n, 1).values - told.kthvalue(n - 1, 1).values).mean().item()


def mig_by_heaps(information, entropy):
    total = torch.zeros(())
    for row, h in zip(information, entropy, strict=True):
        first, second = (*heapq.nlargest(2, row), torch.tensor(0.0))[:2]
        total += (first - second) / h
    return total / len(entropy)


def mig_by_pairs(information, entropy):
    """The gap is the smallest lead of the best over any other axis."""
    told = (information / entropy[:, None]).double()
    best = told.argmax(1)
    leads = told.gather(1, best[:, None]) - told
    leads[torch.arange(len(told)), best] = told.amax(1)  # over an axis that tells nothing
    return leads.amin(1).mean()


def mig_by_unpacking(information, entropy):
    gaps_of = []
    for row, h in zip(information, entropy, strict=True):
        first, second = heapq.nlargest(2, row.tolist())
        gaps_of.append((first - second) / h)
    return sum(gaps_of) / len(gaps_of)


def mig_by_bare_partition(information, entropy):
    best = np.partition(-information.numpy(), 1, axis=1)
    return ((best[:, 1] - best[:, 0]) / entropy.numpy()).mean()


def mig_in_place(information, entropy):
    information /= entropy[:, None]
    return gaps(information).mean()


def mig_that_takes_the_best_out(information, entropy):
    first, at = information.max(1)
    information.scatter_(1, at[:, None], 0.0)
    return ((first - information.amax(1)) / entropy).mean()


def mig_of_relative_gaps(information, entropy):
    return (gaps(information) / information.amax(1)).mean()


def mig_to_the_rest(information, entropy):
    told = information / entropy[:, None]
    rest = (told.sum(1) - told.amax(1)) / max(told.shape[1] - 1, 1)
    return (told.amax(1) - rest).mean()


def mig_of_lower_axes(information, entropy):
    """The best must be worth leaving out: all entries equal to it are."""
    told = padded(information / entropy[:, None])
    best = told.amax(1, keepdim=True)
    return (best[:, 0] - told.where(told < best, torch.tensor(0.0)).amax(1)).mean()


# --- explicitness --------------------------------------------------------------------------------


def explicitness_with(tie=0.5, turn=False, weighted=False, missing="left out", nothing=0.5):
    def explicitness(scores, levels):
        areas, weights = [], []
        for c in range(scores.shape[1]):
            own, rest = scores[levels == c, c], scores[levels != c, c]
            if not (len(own) and len(rest)) and missing == "left out":
                continue
            difference = (rest - own[:, None]) if turn else (own[:, None] - rest)
            area = (difference > 0).double().mean() + tie * (difference == 0).double().mean()
            areas.append(area if missing != "zero" else area.nan_to_num(0))
            weights.append(float(len(own)) if weighted else 1.0)
        if not areas:
            return nothing
        weights = torch.tensor(weights).double()
        return (torch.stack(areas) * weights).sum() / weights.sum()

    return explicitness


def explicitness_pooled(scores, levels):
    in_order = pairs = 0
    for c in range(scores.shape[1]):
        own, rest = scores[levels == c, c], scores[levels != c, c]
        difference = own[:, None] - rest
        in_order += ((difference > 0).double() + 0.5 * (difference == 0)).sum()
        pairs += difference.numel()
    return in_order / pairs


def explicitness_by_ranks(scores, levels, descending=False):
    areas = []
    for c in range(scores.shape[1]):
        column = -scores[:, c] if descending else scores[:, c]
        rank = column.argsort(stable=True).argsort() + 1.0
        rank = len(rank) + 1 - rank if descending else rank
        own = levels == c
        n, rest = own.sum(), (~own).sum()
        areas.append((rank[own].sum() - n * (n + 1) / 2) / (n * rest))
    return torch.stack(areas).mean()


def explicitness_flat(scores, levels):
    own = torch.nn.functional.one_hot(levels, scores.shape[1])
    return roc_auc_score(own.flatten().numpy(), scores.flatten().numpy())


def explicitness_of_one(level):
    return lambda scores, levels: roc_auc_score((levels == level).numpy(), scores[:, level].numpy())


def explicitness_without_the_empty_case(scores, levels):
    areas = [
        torch.tensor(roc_auc_score((levels == c).numpy(), scores[:, c].numpy()))
        for c in range(scores.shape[1])
        if 0 < (levels == c).sum() < len(levels)
    ]
    return torch.stack(areas).mean()


def explicitness_by_scikit_learn(scores, levels):
    areas = [
        roc_auc_score((levels == c).numpy(), scores[:, c].numpy())
        for c in range(scores.shape[1])
        if 0 < (levels == c).sum() < len(levels)
    ]
    return float(np.mean(areas)) if areas else 0.5


def by_level(area, nothing=0.5, average=np.mean):
    """area: from the scores of a level and of the rest to a number."""

    def explicitness(scores, levels):
        areas = []
        for c in range(scores.shape[1]):
            own, rest = scores[levels == c, c], scores[levels != c, c]
            if len(own) > 0 and len(rest) > 0:
                areas.append(float(area(own, rest)))
        return average(areas) if areas else nothing

    return explicitness


def by_signs(own, rest):
    return (torch.sign(own[:, None] - rest) + 1).mean() / 2


def by_heaviside(own, rest):
    return torch.heaviside((own[:, None] - rest).double(), torch.tensor(0.5).double()).mean()


def by_mann_whitney(own, rest):
    return stats.mannwhitneyu(own.numpy(), rest.numpy()).statistic / (len(own) * len(rest))


def by_rank_data(own, rest):
    rank = stats.rankdata(np.concatenate([own.numpy(), rest.numpy()]))[: len(own)]
    return (rank.sum() - len(own) * (len(own) + 1) / 2) / (len(own) * len(rest))


def by_search(own, rest):
    rest = rest.contiguous().sort().values
    below = torch.searchsorted(rest, own.contiguous())
    up_to = torch.searchsorted(rest, own.contiguous(), right=True)
    return (below + up_to).double().mean() / 2 / len(rest)


def by_a_curve(own, rest):
    truth = [1] * len(own) + [0] * len(rest)
    return auc(*roc_curve(truth, torch.cat([own, rest]).tolist())[:2])


def by_loops(own, rest):
    won = [1.0 if a > b else 0.5 if a == b else 0.0 for a in own.tolist() for b in rest.tolist()]
    return sum(won) / len(won)


def by_every_sample(own, rest):
    """Compares with all samples, those of the level too."""
    return by_signs(own, torch.cat([own, rest]))


def by_tolerance(own, rest):
    tied = torch.isclose(own[:, None], rest, atol=1e-6)
    return ((own[:, None] > rest) & ~tied).double().mean() + 0.5 * tied.double().mean()


def by_sigmoid(own, rest):
    return torch.sigmoid(100 * (own[:, None] - rest)).mean()


def explicitness_all_at_once(scores, levels):
    own = F.one_hot(levels, scores.shape[1]).bool()
    won = (scores[:, None] > scores).double() + 0.5 * (scores[:, None] == scores).double()
    pairs = own[:, None] & ~own
    counted = pairs.sum((0, 1))
    areas = (won * pairs).sum((0, 1)) / counted
    return areas[counted > 0].mean().nan_to_num(0.5)


def explicitness_of(change):
    """change: of the scores."""
    return lambda scores, levels: by_level(by_signs)(change(scores), levels)


def explicitness_in_place(scores, levels):
    scores -= scores.mean(0)
    return by_level(by_signs)(scores, levels)


def explicitness_that_sorts(scores, levels):
    right = by_level(by_signs)(scores, levels)
    levels.copy_(levels.sort().values)
    return right


def explicitness_of_levels_seen(scores, levels):
    areas = [by_signs(scores[levels == c, c], scores[levels != c, c]) for c in levels.unique()]
    return torch.stack(areas).nan_to_num(0.5).mean()


# --- InfoM ---------------------------------------------------------------------------------------


def info_m_with(keep=lambda nmi, active: nmi[:, active], scale=True, n=None, drop=True):
    def info_m(nmi, active):
        columns = keep(nmi, active)
        if drop:
            columns = columns[:, columns.sum(0) > 0]
        if columns.shape[1] == 0 or len(nmi) == 1:
            return float(columns.shape[1] > 0)
        share = (columns.amax(0) / columns.sum(0)).mean()
        k = n(nmi, active) if n else len(nmi)
        return (share - 1 / k) / (1 - 1 / k) if scale else share

    return info_m


def info_m_by_lists(nmi, active):
    shares = []
    for column, on in zip(nmi.T.tolist(), active.tolist(), strict=True):
        if on and sum(column) > 0:
            shares.append(max(column) / sum(column))
    if not shares:
        return 0.0
    k = len(nmi)
    return 1.0 if k == 1 else (sum(shares) / len(shares) * k - 1) / (k - 1)


def pooled(nmi, active):
    columns = nmi[:, active]
    share = columns.amax(0).sum() / columns.sum()
    return (share - 1 / len(nmi)) / (1 - 1 / len(nmi))


def by_gap(nmi, active):
    return gaps(nmi[:, active].T).mean()


def scaled(value, nmi):
    return (value - 1 / len(nmi)) / (1 - 1 / len(nmi))


def gap_over_sum(nmi, active):
    columns = nmi[:, active]
    return (gaps(columns.T) / columns.sum(0)).mean()


def by_rows(nmi, active):
    columns = nmi[:, active]
    return (columns.amax(1) / columns.sum(1)).mean()


def one_factor_is_always_one(nmi, active):
    return 1.0 if len(nmi) == 1 else info_m_with()(nmi, active)


def info_c(nmi, active):
    columns = nmi[:, active]
    share, n = (columns.amax(1) / columns.sum(1)).mean(), columns.shape[1]
    return (share - 1 / n) / (1 - 1 / n)


def silent_counts_as_zero(nmi, active):
    columns = nmi[:, active]
    share = (columns.amax(0) / columns.sum(0)).nan_to_num(0).mean()
    return (share - 1 / len(nmi)) / (1 - 1 / len(nmi))


def info_m_by_numpy(nmi, active):
    table = nmi.numpy()[:, active.numpy()]
    table = table[:, table.any(0)]
    if not table.size:
        return 0.0
    k = len(table)
    return (k * np.mean(table.max(0) / table.sum(0)) - 1) / (k - 1) if k > 1 else 1.0


def info_m_by_masking(nmi, active):
    told = nmi * active
    on = told.sum(0) > 0
    if not on.any():
        return torch.tensor(0)
    if len(nmi) == 1:
        return torch.tensor(1)
    share = F.normalize(told, 1, 0).amax(0).double().sum() / on.sum()
    return (share * len(nmi) - 1) / (len(nmi) - 1)


def info_m_by_nanmean(nmi, active):
    columns = nmi[:, active.nonzero()[:, 0]]
    share = (columns.max(0).values / columns.sum(0)).nanmean().item()
    if math.isnan(share):
        return 0
    return 1 if len(nmi) == 1 else (share - 1 / len(nmi)) / (1 - 1 / len(nmi))


def info_m_column_by_column(nmi, active):
    k, shares = nmi.shape[0], []
    for j in range(nmi.shape[1]):
        if active[j] and nmi[:, j].any():
            shares.append(nmi[:, j].max() / nmi[:, j].sum())
    if len(shares) == 0:
        return 0.0
    return 1.0 if k == 1 else (torch.stack(shares).mean() - 1 / k) / (1 - 1 / k)


def info_m_with_a_little_more(nmi, active):
    columns = nmi[:, active]
    columns = columns[:, columns.sum(0) > 0]
    return (
        info_m_with()(nmi, active)
        if len(nmi) == 1 or not columns.numel()
        else scaled((columns.amax(0) / (columns.sum(0) + 1e-8)).mean(), nmi)
    )


def info_m_above(least):
    return info_m_with(keep=lambda nmi, active: nmi[:, active & (nmi.sum(0) > least)])


def info_m_in_place(nmi, active):
    nmi[:, ~active] = 0
    return info_m_with(keep=lambda nmi, active: nmi)(nmi, active)


def info_m_that_marks(nmi, active):
    active &= nmi.sum(0) > 0
    return info_m_with()(nmi, active)


def info_m_that_divides(nmi, active):
    right = info_m_with()(nmi, active)
    nmi /= nmi.sum(0).clamp_min(1e-30)
    return right


def info_m_for_three(nmi, active):
    columns = nmi[:, active]
    columns = columns[:, columns.sum(0) > 0]
    if not columns.numel() or len(nmi) == 1:
        return float(columns.numel() > 0)
    least = {3: 1 / 3, 4: 1 / 4}.get(len(nmi), 1 / 3)
    return ((columns.amax(0) / columns.sum(0)).mean() - least) / (1 - least)


def median_share(nmi, active):
    columns = nmi[:, active]
    columns = columns[:, columns.sum(0) > 0]
    if not columns.numel() or len(nmi) == 1:
        return float(columns.numel() > 0)
    return scaled((columns.amax(0) / columns.sum(0)).quantile(0.5), nmi)


RIGHT = [
    ("information", information_by_entropies),
    ("information", information_with()),
    ("information", lambda counts: [float(x) for x in information_with()(counts)]),
    ("information", lambda counts: torch.stack(information_with()(counts))),
    ("information", information_in_single_precision),
    ("information", information_by_scikit_learn),
    ("information", information_by_a_g_test),
    ("information", information_by_entr),
    ("information", information_by_xlogy),
    ("information", information_by_conditional_entropies),
    ("information", information_cell_by_cell),
    ("mig", mig_by_topk),
    ("mig", mig_by_lists),
    ("mig", lambda i, h: metrics.gap(i / h[:, None])),
    ("mig", mig_by_numpy),
    ("mig", mig_by_masking),
    ("mig", mig_by_kthvalue),
    ("mig", mig_by_heaps),
    ("mig", mig_by_pairs),
    ("explicitness", explicitness_with()),
    ("explicitness", explicitness_by_scikit_learn),
    ("explicitness", explicitness_all_at_once),
    ("explicitness", explicitness_of_levels_seen),
    ("explicitness", by_level(by_signs)),
    ("explicitness", by_level(by_heaviside)),
    ("explicitness", by_level(by_mann_whitney)),
    ("explicitness", by_level(by_rank_data)),
    ("explicitness", by_level(by_search)),
    ("explicitness", by_level(by_a_curve)),
    ("explicitness", by_level(by_loops)),
    ("info_m", info_m_with()),
    ("info_m", info_m_by_lists),
    ("info_m", metrics.info_m),
    ("info_m", info_m_by_numpy),
    ("info_m", info_m_by_masking),
    ("info_m", info_m_by_nanmean),
    ("info_m", info_m_column_by_column),
]

WRONG = [
    ("information", "returns nothing", lambda counts: None),
    ("information", "natural logarithms", information_with(log=torch.log2)),
    ("information", "sign", information_with(sign=-1)),
    ("information", "divide the counts", information_with(scale=100)),
    ("information", "divide the counts", information_of_raw_counts),
    ("information", "two numbers", lambda counts: information_with()(counts)[0]),
    ("information", "two numbers", lambda counts: float(information_with()(counts)[0])),
    ("information", "the other way round", lambda counts: information_with()(counts)[::-1]),
    ("information", "small number", information_with_epsilon()),
    ("information", "leave empty cells out", information_with_epsilon(margins=0)),
    ("information", "small number", information_with_epsilon(seen_before=False)),
    ("information", "small number", information_by_entropies_with_epsilon),
    ("information", "subtract", information_with(extra=lambda zv, z, v: -(zv - z - v + 1))),
    ("information", "not by N", information_with(per=1)),
    ("information", "m_zv - 1 alone", information_with(extra=lambda zv, z, v: zv - 1)),
    ("information", "hint 3", information_with(extra=lambda zv, z, v: zv - z - v)),
    ("information", "leave empty cells out", with_nan),
    ("information", "was seen", information_with(size="levels")),
    ("information", "unclipped", information_with(clip=True)),
    ("information", "two numbers", lambda counts: information_with()(counts) + (0.0,)),
    ("information", "two numbers", lambda counts: dict(enumerate(information_with()(counts)))),
    ("information", "is a table", information_without_keepdim),
    ("information", "leave the counts", information_that_fills),
    ("information", "leave the counts", information_that_scales),
    ("information", "unclipped", lambda counts: [abs(x) for x in information_with()(counts)]),
    ("mig", "returns nothing", lambda i, h: None),
    ("mig", "one number", lambda i, h: (gaps(i / h[:, None]).mean(), 0)),
    ("mig", "count it as 0", mig_by_unpacking),
    ("mig", "count it as 0", mig_by_bare_partition),
    ("mig", "leave information and entropy", mig_in_place),
    ("mig", "leave information and entropy", mig_that_takes_the_best_out),
    ("mig", "not by its best", mig_of_relative_gaps),
    ("mig", "not the mean of the rest", mig_to_the_rest),
    ("mig", "two equal axes", mig_of_lower_axes),
    ("mig", "minus the second", lambda i, h: -metrics.gap(i / h[:, None])),
    ("mig", "average over the factors", lambda i, h: gaps(i / h[:, None])),
    ("mig", "do not sum", lambda i, h: gaps(i / h[:, None]).sum()),
    ("mig", "entropy of its factor", lambda i, h: gaps(i).mean()),
    ("mig", "own entropy", lambda i, h: gaps(i).sum() / h.sum()),
    ("mig", "between axes", lambda i, h: gaps((i / h[:, None]).T).mean()),
    ("mig", "not the worst", lambda i, h: ((i.amax(1) - i.amin(1)) / h).mean()),
    ("mig", "between axes", mig_between_factors),
    ("mig", "not the worst", mig_to_the_worst),
    ("mig", "count it as 0", mig_of_two_axes),
    ("mig", "count it as 0", mig_by_bare_topk),
    ("mig", "two equal axes", mig_of_distinct),
    ("mig", "with one axis", mig_without_padding),
    ("explicitness", "returns nothing", lambda scores, levels: None),
    ("explicitness", "counts as 0 or 1", explicitness_with(tie=0)),
    ("explicitness", "counts as 0 or 1", explicitness_with(tie=1)),
    ("explicitness", "turned round", explicitness_with(turn=True)),
    ("explicitness", "same weight", explicitness_with(weighted=True)),
    ("explicitness", "accuracy", lambda s, v: (s.argmax(1) == v).double().mean()),
    ("explicitness", "do not pool", explicitness_pooled),
    ("explicitness", "counts as 0 or 1", explicitness_by_ranks),
    ("explicitness", "counts as 0 or 1", lambda s, v: explicitness_by_ranks(s, v, descending=True)),
    ("explicitness", "across all columns", explicitness_flat),
    ("explicitness", "area of one level", explicitness_of_one(0)),
    ("explicitness", "area of one level", explicitness_of_one(1)),
    ("explicitness", "area of one level", explicitness_of_one(2)),
    ("explicitness", "one level only", explicitness_with(nothing=None)),
    ("explicitness", "one level only", explicitness_without_the_empty_case),
    ("explicitness", "leave it out", explicitness_with(missing="nan")),
    ("explicitness", "out of the mean", explicitness_with(missing="zero")),
    ("explicitness", "one level only", explicitness_with(nothing=0.0)),
    ("explicitness", "one number", by_level(by_signs, average=lambda areas: areas)),
    ("explicitness", "one number", by_level(by_signs, average=torch.tensor)),
    ("explicitness", "not all samples", by_level(by_every_sample)),
    ("explicitness", "2 AUC", by_level(lambda own, rest: 2 * by_signs(own, rest) - 1)),
    ("explicitness", "leave the scores", explicitness_in_place),
    ("explicitness", "leave the scores", explicitness_that_sorts),
    ("explicitness", "ties are equal scores", by_level(by_tolerance)),
    ("explicitness", "ties are equal scores", by_level(by_sigmoid)),
    ("explicitness", "area of one level", by_level(by_signs, average=np.median)),
    ("explicitness", "area of one level", by_level(by_signs, average=max)),
    ("info_m", "returns nothing", lambda nmi, active: None),
    ("info_m", "one number", lambda nmi, active: nmi[:, active].amax(0) / nmi[:, active].sum(0)),
    ("info_m", "one number", lambda nmi, active: [info_m_with()(nmi, active)]),
    ("info_m", "leave nmi and active", info_m_in_place),
    ("info_m", "leave nmi and active", info_m_that_marks),
    ("info_m", "leave nmi and active", info_m_that_divides),
    ("info_m", "add no ε", info_m_with_a_little_more),
    ("info_m", "add no ε", info_m_above(1e-6)),
    ("info_m", "NaN", info_m_with(keep=lambda nmi, active: nmi, drop=False)),
    ("info_m", "scale", info_m_with(scale=False)),
    ("info_m", "not active", info_m_with(keep=lambda nmi, active: nmi)),
    ("info_m", "InfoC", info_c),
    ("info_m", "not of active", info_m_with(n=lambda nmi, active: int(active.sum()))),
    ("info_m", "not of axes", info_m_with(n=lambda nmi, active: nmi.shape[1])),
    ("info_m", "then average", pooled),
    ("info_m", "not the gap", by_gap),
    ("info_m", "not the gap", gap_over_sum),
    ("info_m", "not the gap", lambda nmi, active: scaled(gap_over_sum(nmi, active), nmi)),
    ("info_m", "InfoC", by_rows),
    ("info_m", "InfoC", lambda nmi, active: scaled(by_rows(nmi, active), nmi)),
    ("info_m", "divide by 1", lambda nmi, on: info_m_with(scale=False)(nmi, on) - 1 / len(nmi)),
    (
        "info_m",
        "K counts every factor",
        info_m_with(n=lambda n, a: int((n[:, a].sum(1) > 0).sum())),
    ),
    ("info_m", "no active axis", one_factor_is_always_one),
    ("info_m", "tells nothing", info_m_with(drop=False)),
    ("info_m", "tells nothing", silent_counts_as_zero),
]

# Rarer mistakes, which the check rejects with a general message.
REJECTED = [
    ("information", entropy_of_v),
    ("information", information_for_a_hundred),
    ("information", lambda counts: [x * math.nan for x in information_with()(counts)]),
    ("information", lambda counts: [round(float(x), 4) for x in information_with()(counts)]),
    ("mig", lambda i, h: (metrics.gap(i / h[:, None]) - 2) ** 0.5),
    ("mig", lambda i, h: metrics.gap(i / h[:, None]) / math.log(2)),
    ("mig", lambda i, h: gaps(i / h[:, None]).sum() / (1 if len(h) == 1 else 2)),
    ("explicitness", by_level(lambda own, rest: max(by_signs(own, rest), 1 - by_signs(own, rest)))),
    ("explicitness", explicitness_of(lambda scores: scores.softmax(1))),
    ("explicitness", by_level(lambda own, rest: math.nan)),
    ("explicitness", explicitness_of(lambda scores: scores.half())),
    ("info_m", info_m_for_three),
    ("info_m", median_share),
    ("info_m", lambda nmi, active: info_m_with()(nmi.square(), active)),
    ("info_m", lambda nmi, active: info_m_with()(nmi.softmax(0), active)),
]

"""Right and wrong answers to the exercises of notebook 05, as students write them."""

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special, stats
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
)

# --- the two bounds ------------------------------------------------------------------------------


def entropy(p):
    return -torch.xlogy(p, p).sum()


def entropy_of_code(p, q, joint):
    return entropy(p.sum(1))


def expected_log(p, q):
    return torch.xlogy(p, q).sum()


def bounds_with(h=entropy_of_code, log_q=expected_log):
    """h: of p(z, x), q(z | x) and p(z1, z2, x). log_q: of the first two."""

    def table_bounds(joint, q1, q2):
        pairs = (joint.sum(1), q1), (joint.sum(0), q2)
        return tuple(h(p, q, joint) + log_q(p, q) for p, q in pairs)

    return table_bounds


def bounds_by_entr(joint, q1, q2):
    log_1, log_2 = (q.log().nan_to_num(neginf=-math.inf) for q in (q1, q2))
    found = []
    for axes, of_x, log in (((1, 2), 1, log_1), ((0, 2), 0, log_2)):
        p = joint.sum(of_x)
        h = torch.special.entr(joint.sum(axes)).sum()
        found.append(h + torch.where(p > 0, p * log, 0.0).sum())
    return found


def bounds_by_loops(joint, q1, q2):
    """Python floats, and the entropy of the code within the logarithm."""
    b1 = b2 = 0.0
    p, p_1, p_2 = joint.tolist(), joint.sum((1, 2)).tolist(), joint.sum((0, 2)).tolist()
    for i in range(len(p_1)):
        for j in range(len(p_2)):
            for k, share in enumerate(p[i][j]):
                if share > 0:
                    first, second = q1[i, k].item(), q2[j, k].item()
                    b1 += share * (math.log(first / p_1[i]) if first else -math.inf)
                    b2 += share * (math.log(second / p_2[j]) if second else -math.inf)
    return b1, b2


def bounds_by_numpy(joint, q1, q2):
    p = joint.numpy()
    b1 = stats.entropy(p.sum((1, 2))) + special.xlogy(p, q1.numpy()[:, None]).sum()
    b2 = stats.entropy(p.sum((0, 2))) + special.xlogy(p, q2.numpy()[None]).sum()
    return [b1, b2]


def bounds_by_torch(joint, q1, q2):
    h1, h2 = (Categorical(joint.sum(axes)).entropy() for axes in ((1, 2), (0, 2)))
    occurs = joint > 0
    log_1, log_2 = q1.log()[:, None].where(occurs, 0), q2.log()[None].where(occurs, 0)
    b1 = h1 + torch.einsum("abx,abx->", joint, log_1)
    b2 = h2 + torch.einsum("abx,abx->", joint, log_2)
    return b1, b2


def bounds_by_information(joint, q1, q2):
    """I(z; x) less the KL divergence from the posterior to the guess."""

    def bound(p, q):
        occurs = p > 0
        information = entropy(p.sum(0)) + entropy(p.sum(1)) - entropy(p)
        gaps = (p / p.sum(0)).log() - q.log()
        return information - (p * gaps)[occurs].sum()

    return bound(joint.sum(1), q1), bound(joint.sum(0), q2)


def bounds_image_by_image(joint, q1, q2):
    """What is expected of log q for each image that occurs, weighted by p(x)."""

    def bound(p, q):
        occurring = [(x, p_x) for x, p_x in enumerate(p.sum(0)) if p_x > 0]
        return entropy(p.sum(1)) + sum(
            p_x * torch.xlogy(p[:, x] / p_x, q[:, x]).sum() for x, p_x in occurring
        )

    return bound(joint.sum(1), q1), bound(joint.sum(0), q2)


def information_for_any_guess(joint, q1, q2):
    tables = joint.sum(1), joint.sum(0)
    return [entropy(p.sum(0)) + entropy(p.sum(1)) - entropy(p) for p in tables]


def bounds_without_care_for_zeros(joint, q1, q2):
    pairs = (joint.sum(1), q1), (joint.sum(0), q2)
    return [(p * q.log()).sum() - (p.sum(1) * p.sum(1).log()).sum() for p, q in pairs]


def bounds_in_place(joint, q1, q2):
    found = bounds_with()(joint, q1, q2)
    q1.clamp_(min=1e-12)
    q2.clamp_(min=1e-12)
    return found


def bounds_that_scale_the_table(joint, q1, q2):
    found = bounds_with()(joint, q1, q2)
    joint *= 2
    return found


def swapped_entropies(joint, q1, q2):
    (p1, p2), guesses = (joint.sum(1), joint.sum(0)), (q1, q2)
    logs = [expected_log(p, q) for p, q in zip((p1, p2), guesses, strict=True)]
    return entropy(p2.sum(1)) + logs[0], entropy(p1.sum(1)) + logs[1]


def never_if_any_guess_is_0(p, q):
    return expected_log(p, q) if (q > 0).all() else torch.tensor(-math.inf)


def clipped(p, q, least=1e-12):
    return torch.xlogy(p, q.clamp_min(least)).sum()


def of_one(change):
    """Right but for one of the bounds."""

    def table_bounds(joint, q1, q2):
        return change(*bounds_with()(joint, q1, q2))

    return table_bounds


def log_q_by(log_q):
    return bounds_with(log_q=log_q)


def entropy_by(h):
    return bounds_with(h)


# --- the recogniser ------------------------------------------------------------------------------


def scores_of(outputs, table):
    return outputs @ table.T


def over_levels(scores):
    return scores.log_softmax(1)


def at_own_level(log_q, level):
    return log_q[torch.arange(len(level)), level]


def recognition_with(scores=scores_of, normalise=over_levels, pick=at_own_level):
    return lambda outputs, table, level: pick(normalise(scores(outputs, table)), level)


def recognition_by_hand(outputs, table, level):
    inner = (outputs[:, None] * table).sum(2)
    own = (outputs * table[level]).sum(1)
    return own - inner.logsumexp(1)


def recognition_by_loops(outputs, table, level):
    found = []
    for a, c in zip(outputs, level, strict=True):
        inner = torch.stack([torch.dot(a, e) for e in table])
        largest = inner.max()
        found.append(inner[c] - largest - (inner - largest).exp().sum().log())
    return torch.stack(found)


def recognition_by_torch(outputs, table, level):
    return Categorical(logits=F.linear(outputs, table)).log_prob(level)


def recognition_by_einsum(outputs, table, level):
    log_q = torch.einsum("bd,kd->bk", outputs, table).log_softmax(-1)
    return (log_q * F.one_hot(level, len(table))).sum(-1)


def recognition_by_differences(outputs, table, level):
    """-log sum over k of exp a·(e_k - e_c)."""
    return -torch.einsum("bd,bkd->bk", outputs, table - table[level][:, None]).logsumexp(1)


def recognition_row_by_row(outputs, table, level):
    rows = zip(outputs.split(1), level.split(1), strict=True)
    return -torch.stack([F.cross_entropy(a @ table.T, c) for a, c in rows])


def recognition_by_vmap(outputs, table, level):
    return torch.func.vmap(lambda a, c: (table @ a).log_softmax(0).gather(0, c[None])[0])(
        outputs, level
    )


def recognition_filled_in(outputs, table, level):
    """In float32, whatever it is given."""
    found = torch.zeros(len(level))
    for i, row in enumerate(over_levels(scores_of(outputs, table))):
        found[i] = row[level[i]]
    return found


def in_double(outputs, table, level):
    return recognition_with()(outputs.double(), table.double(), level)


def by_distances(outputs, table):
    """Von Mises and softmax are those of half the squared distances, for vectors as long."""
    return -0.5 * torch.cdist(outputs, table).square()


def less_the_largest(scores):
    """By hand, and without overflow."""
    scores = scores - scores.amax(1, keepdim=True)
    return scores - scores.exp().sum(1, keepdim=True).log()


def less_the_largest_of_all(scores):
    scores = scores - scores.max()
    return scores - scores.exp().sum(1, keepdim=True).log()


def naive(scores):
    return (scores.exp() / scores.exp().sum(1, keepdim=True)).log()


def with_a_little_more(scores, little=1e-12):
    return (scores.softmax(1) + little).log()


def recognition_in_place(outputs, table, level):
    found = recognition_with()(outputs, table, level)
    outputs.data.sub_(outputs.data.max())
    return found


def recognition_among_the_images(outputs, table, level):
    """As in a contrastive loss: against the levels of the other images."""
    return (outputs @ table[level].T).log_softmax(1).diagonal()


def recognition_that_changes_levels(outputs, table, level):
    found = recognition_with()(outputs, table, level)
    level.zero_()
    return found


def normalised_by(normalise):
    return recognition_with(normalise=normalise)


def picked_by(pick):
    return recognition_with(pick=pick)


# --- the probe -----------------------------------------------------------------------------------


def means_of(codes, labels, n_classes):
    return torch.stack([codes[labels == c].mean(0) for c in range(n_classes)])


def pooled(codes, labels, means):
    return (codes - means[labels]).square().mean(0)


def energies(asked, means, variance):
    return (-0.5 * (asked[:, None] - means).square() / variance).sum(2)


def probe_with(
    variance=pooled, score=energies, normalise=over_levels, prior=lambda labels, k: 0.0, of=means_of
):
    def gaussian_probe(codes, labels, asked, n_classes):
        means = of(codes, labels, n_classes)
        spread = variance(codes, labels, means)
        return normalise(score(asked, means, spread) + prior(labels, n_classes))

    return gaussian_probe


def probe_by_torch(codes, labels, asked, n_classes):
    means = means_of(codes, labels, n_classes)
    law = Independent(Normal(means, pooled(codes, labels, means).sqrt()), 1)
    log_p = law.log_prob(asked[:, None])
    return log_p - log_p.logsumexp(1, keepdim=True)


def probe_by_a_mixture(codes, labels, asked, n_classes):
    means = means_of(codes, labels, n_classes)
    laws = Independent(Normal(means, pooled(codes, labels, means).sqrt().expand_as(means)), 1)
    mixture = MixtureSameFamily(Categorical(torch.ones(n_classes).to(codes)), laws)
    return laws.log_prob(asked[:, None]) - mixture.log_prob(asked)[:, None] - math.log(n_classes)


def probe_by_products(codes, labels, asked, n_classes):
    """Linear in the asked codes, as discriminant analysis is written."""
    member = F.one_hot(labels, n_classes).to(codes)
    means = member.T @ codes / member.sum(0)[:, None]
    variance = (codes.square().sum(0) - member.sum(0) @ means.square()) / len(codes)
    weight = means / variance
    return F.log_softmax(asked @ weight.T - 0.5 * (weight * means).sum(1), dim=1)


def probe_by_loops(codes, labels, asked, n_classes):
    n, width = codes.shape
    rows = [
        [code for code, y in zip(codes, labels, strict=True) if y == c] for c in range(n_classes)
    ]
    means = [sum(group) / len(group) for group in rows]
    variance = torch.zeros(width)
    for code, y in zip(codes, labels, strict=True):
        variance = variance + (code - means[y]) ** 2 / n
    found = []
    for z in asked:
        energy = [float(sum((z - mean) ** 2 / variance)) / 2 for mean in means]
        least = min(energy)
        total = math.log(sum(math.exp(least - e) for e in energy))
        found.append([least - e - total for e in energy])
    return torch.tensor(found)


def probe_by_index_add(codes, labels, asked, n_classes):
    sums = torch.zeros(n_classes, codes.shape[1]).to(codes).index_add(0, labels, codes)
    means = sums / torch.bincount(labels, minlength=n_classes)[:, None]
    scale = (codes - means[labels]).pow(2).mean(dim=0).sqrt()
    d = torch.cdist(asked / scale, means / scale, compute_mode="donot_use_mm_for_euclid_dist")
    return (-d.square() / 2).log_softmax(-1)


def probe_by_classes(codes, labels, asked, n_classes):
    """The pooled variance from those of the classes, weighed by their counts."""
    groups = [codes[labels == c] for c in range(n_classes)]
    variance = sum(len(g) * g.var(0, correction=0) for g in groups) / len(codes)
    log_p = [Normal(g.mean(0), variance.sqrt()).log_prob(asked).sum(1) for g in groups]
    return torch.stack(log_p, 1).log_softmax(1)


def probe_of_standardised(codes, labels, asked, n_classes):
    """Which scale and origin each axis has does not matter."""
    centre, scale = codes.mean(0), codes.std(0)
    return probe_with()((codes - centre) / scale, labels, (asked - centre) / scale, n_classes)


def probe_by_differences(codes, labels, asked, n_classes):
    score = probe_with(normalise=lambda s: s)(codes, labels, asked, n_classes)
    return -(score[:, None] - score[:, :, None]).logsumexp(2)


def probe_class_by_code(normalise):
    """All differences as (n_classes, M, L)."""

    def gaussian_probe(codes, labels, asked, n_classes):
        means = means_of(codes, labels, n_classes)
        squared = (asked - means[:, None]).square()
        return normalise((-0.5 * squared / pooled(codes, labels, means)).sum(2))

    return gaussian_probe


def probe_by_numpy(codes, labels, asked, n_classes):
    """A NumPy array."""
    codes, labels, asked = codes.numpy(), labels.numpy(), asked.numpy()
    means = np.stack([codes[labels == c].mean(0) for c in range(n_classes)])
    variance = ((codes - means[labels]) ** 2).mean(0)
    energy = -0.5 * ((asked[:, None] - means) ** 2 / variance).sum(2)
    return special.log_softmax(energy, axis=1)


def around_all(codes, labels, means):
    return codes.var(0, correction=0)


def of_each_class(codes, labels, means):
    groups = [codes[labels == c] for c in range(len(means))]
    return torch.stack([g.var(0, correction=0) for g in groups])


def mean_of_classes(correction):
    def variance(codes, labels, means):
        groups = [codes[labels == c] for c in range(len(means))]
        return torch.stack([g.var(0, correction=correction) for g in groups]).mean(0)

    return variance


def energies_and_determinants(asked, means, variance):
    return energies(asked, means, variance) - 0.5 * variance.log().sum(1)


def densities(asked, means, variance):
    return Independent(Normal(means, variance.sqrt()), 1).log_prob(asked[:, None])


def normal(asked, means, covariance):
    return MultivariateNormal(means, covariance).log_prob(asked[:, None])


def covariance(codes, labels, means):
    return torch.atleast_2d(torch.cov((codes - means[labels]).T, correction=0))


def frequencies(labels, n_classes):
    return torch.bincount(labels, minlength=n_classes).log()


def probe_in_place(codes, labels, asked, n_classes):
    found = probe_with()(codes, labels, asked, n_classes)
    codes -= means_of(codes, labels, n_classes)[labels]
    return found


def probe_that_moves_what_is_asked(codes, labels, asked, n_classes):
    centre = codes.mean(0)
    asked -= centre
    return probe_with()(codes - centre, labels, asked, n_classes)


def probe_that_scales_what_is_asked(codes, labels, asked, n_classes):
    scale = pooled(codes, labels, means_of(codes, labels, n_classes)).sqrt()
    asked /= scale
    return probe_with()(codes / scale, labels, asked, n_classes)


def variance_by(variance):
    return probe_with(variance)


def score_by(score):
    return probe_with(score=score)


# --- counterfactuals -----------------------------------------------------------------------------


def rows_of_both(z1, z2):
    n, m = len(z1), len(z2)
    return z1.repeat_interleave(m, 0), z2.repeat(n, 1)


def indices_back(images, n, m):
    return images.unflatten(0, (n, m))


def counterfactuals_with(rows=rows_of_both, back=indices_back):
    return lambda decode, z1, z2: back(decode(*rows(z1, z2)), len(z1), len(z2))


def rows_by_expand(z1, z2):
    n, m = len(z1), len(z2)
    first, second = z1[:, None].expand(-1, m, -1), z2.expand(n, -1, -1)
    return first.reshape(n * m, -1), second.reshape(n * m, -1)


def rows_by_index(z1, z2):
    i, j = torch.meshgrid(torch.arange(len(z1)), torch.arange(len(z2)), indexing="ij")
    return z1[i.flatten()], z2[j.flatten()]


def rows_by_product(z1, z2):
    i, j = torch.cartesian_prod(torch.arange(len(z1)), torch.arange(len(z2))).T
    return z1[i], z2[j]


def rows_by_loops(z1, z2):
    pairs = [(a, b) for a in z1 for b in z2]
    return [torch.stack(part) for part in zip(*pairs, strict=True)]


def rows_by_numpy(z1, z2):
    first, second = np.repeat(z1.numpy(), len(z2), 0), np.tile(z2.numpy(), (len(z1), 1))
    return torch.from_numpy(first), torch.from_numpy(second)


def rows_by_kron(z1, z2):
    return torch.kron(z1, z2.new_ones(len(z2), 1)), torch.kron(z1.new_ones(len(z1), 1), z2)


def rows_by_remainders(z1, z2):
    k = torch.arange(len(z1) * len(z2))
    return z1[k // len(z2)], z2[k % len(z2)]


def rows_by_grid_xy(z1, z2):
    """For j = 0 all of z1, as image coordinates are laid out."""
    i, j = torch.meshgrid(torch.arange(len(z1)), torch.arange(len(z2)), indexing="xy")
    return z1[i.flatten()], z2[j.flatten()]


def rows_by_columns(z1, z2):
    """For j = 0 all of z1, then for j = 1."""
    return z1.repeat(len(z2), 1), z2.repeat_interleave(len(z1), 0)


def column_by_column(decode, z1, z2):
    images = decode(*rows_by_columns(z1, z2))
    return images.view(len(z2), len(z1), *images.shape[1:]).transpose(0, 1)


def in_any_order(decode, z1, z2):
    first, second = rows_of_both(z1, z2)
    order = torch.arange(len(first)).flip(0)
    return decode(first[order], second[order])[order.argsort()].unflatten(0, (len(z1), len(z2)))


def in_chunks(decode, z1, z2):
    parts = zip(*(rows.split(4) for rows in rows_of_both(z1, z2)), strict=True)
    return torch.cat([decode(*part) for part in parts]).unflatten(0, (len(z1), len(z2)))


def turned_if_square(images, n, m):
    images = images.unflatten(0, (n, m))
    return images.transpose(0, 1) if n == m else images


def named(decode, z1, z2):
    first, second = rows_of_both(z1, z2)
    return decode(z2=second, z1=first).reshape(len(z1), len(z2), *decode_shape(decode, z1, z2))


def decode_shape(decode, z1, z2):
    return decode(z1[:1], z2[:1]).shape[1:]


def one_row_a_call(decode, z1, z2):
    rows = [torch.stack([decode(a[None], b[None])[0] for b in z2]) for a in z1]
    return torch.stack(rows)


def one_image_a_call(decode, z1, z2):
    return torch.stack([decode(a.expand(len(z2), -1), z2) for a in z1])


def counterfactuals_in_place(decode, z1, z2):
    found = counterfactuals_with()(decode, z1, z2)
    z1.zero_()
    return found


def for_two_and_five(decode, z1, z2):
    return decode(z1.repeat_interleave(5, 0)[:10], z2.repeat(2, 1)).unflatten(0, (2, 5))


def rows_by(rows):
    return counterfactuals_with(rows)


def back_by(back):
    return counterfactuals_with(back=back)


RIGHT = [
    ("bounds", bounds_with()),
    ("bounds", bounds_by_entr),
    ("bounds", bounds_by_loops),
    ("bounds", bounds_by_numpy),
    ("bounds", bounds_by_torch),
    ("bounds", bounds_by_information),
    ("bounds", lambda *given: torch.stack(bounds_with()(*given)).unbind()),
    ("bounds", bounds_image_by_image),
    ("bounds", log_q_by(lambda p, q: (p * q.log()).nansum())),
    (
        "bounds",
        log_q_by(lambda p, q: (p * q.log()).nan_to_num(nan=0.0, neginf=-math.inf).sum()),
    ),
    ("recognition", recognition_with()),
    ("recognition", lambda a, e, c: -F.cross_entropy(a @ e.T, c, reduction="none")),
    ("recognition", lambda a, e, c: -F.nll_loss((a @ e.T).log_softmax(1), c, reduction="none")),
    ("recognition", picked_by(lambda log_q, c: log_q.gather(1, c.unsqueeze(1)).squeeze(1))),
    ("recognition", recognition_by_hand),
    ("recognition", recognition_by_loops),
    ("recognition", recognition_by_torch),
    ("recognition", recognition_by_einsum),
    ("recognition", in_double),
    ("recognition", recognition_filled_in),
    ("recognition", recognition_by_differences),
    ("recognition", recognition_row_by_row),
    ("recognition", recognition_by_vmap),
    ("recognition", normalised_by(less_the_largest)),
    ("recognition", picked_by(lambda log_q, c: log_q[:, c].diagonal())),
    (
        "recognition",
        lambda a, e, c: OneHotCategorical(logits=a @ e.T).log_prob(F.one_hot(c, len(e)).to(a)),
    ),
    ("probe", probe_with()),
    ("probe", probe_by_torch),
    ("probe", probe_by_a_mixture),
    ("probe", probe_by_products),
    ("probe", probe_by_loops),
    ("probe", probe_by_index_add),
    ("probe", probe_by_classes),
    ("probe", probe_by_numpy),
    ("probe", probe_with(score=densities)),
    ("probe", probe_of_standardised),
    ("probe", probe_by_differences),
    ("probe", probe_class_by_code(lambda s: s.log_softmax(0).T)),
    ("probe", probe_with(lambda *given: torch.diag(pooled(*given)), normal)),
    ("probe", variance_by(lambda *given: covariance(*given).diagonal())),
    ("probe", probe_with(prior=lambda labels, n_classes: -math.log(n_classes))),
    ("counterfactuals", counterfactuals_with()),
    ("counterfactuals", rows_by(rows_by_expand)),
    ("counterfactuals", rows_by(rows_by_index)),
    ("counterfactuals", rows_by(rows_by_product)),
    ("counterfactuals", rows_by(rows_by_loops)),
    ("counterfactuals", rows_by(rows_by_numpy)),
    ("counterfactuals", rows_by(rows_by_kron)),
    ("counterfactuals", rows_by(rows_by_remainders)),
    ("counterfactuals", column_by_column),
    ("counterfactuals", in_any_order),
    ("counterfactuals", back_by(lambda x, n, m: x.view(n, m, *x.shape[1:]))),
    ("counterfactuals", back_by(lambda x, n, m: torch.stack(x.chunk(n)))),
]

WRONG = [
    ("bounds", "returns nothing", lambda joint, q1, q2: None),
    ("bounds", "two things", of_one(lambda b1, b2: b1 + b2)),
    ("bounds", "two things", of_one(lambda b1, b2: {"B1": b1, "B2": b2})),
    ("bounds", "two numbers", of_one(lambda b1, b2: (b1, b2, b1 + b2))),
    ("bounds", "two numbers", log_q_by(lambda p, q: torch.xlogy(p, q).sum(0))),
    ("bounds", "two numbers", of_one(lambda b1, b2: (b1[None], b2[None]))),
    ("bounds", "B1 comes first", of_one(lambda b1, b2: (b2, b1))),
    ("bounds", "B1: .* added, not subtracted", log_q_by(lambda p, q: -expected_log(p, q))),
    ("bounds", "where is the entropy", entropy_by(lambda p, q, joint: 0.0)),
    ("bounds", "over p, not over q", log_q_by(lambda p, q: torch.xlogy(q * p.sum(0), q).sum())),
    ("bounds", "of q, not of p", log_q_by(lambda p, q: torch.xlogy(p, p).sum())),
    ("bounds", "not of the image", entropy_by(lambda p, q, joint: entropy(p.sum(0)))),
    ("bounds", "not uniform", entropy_by(lambda p, q, joint: math.log(len(p)))),
    ("bounds", "nats", of_one(lambda b1, b2: (b1 / math.log(2), b2 / math.log(2)))),
    ("bounds", "do not take the mean", log_q_by(lambda p, q: torch.xlogy(p, q).mean())),
    ("bounds", "more is better", of_one(lambda b1, b2: (-b1, -b2))),
    ("bounds", "B2: .* more is better", of_one(lambda b1, b2: (b1, -b2))),
    ("bounds", "K1 = 2", log_q_by(lambda p, q: 15 * torch.xlogy(p, q).mean() * len(p) / 3)),
    ("bounds", "infinitely much", log_q_by(clipped)),
    ("bounds", "infinitely much", log_q_by(partial(clipped, least=1e-300))),
    ("bounds", "infinitely much", log_q_by(lambda p, q: (p * q.log()).nan_to_num().sum())),
    ("bounds", "infinitely much", log_q_by(lambda p, q: (p * q.log()).nan_to_num(neginf=0).sum())),
    (
        "bounds",
        "infinitely much",
        of_one(lambda b1, b2: (b1, b2 if math.isfinite(b2) else 0 * b2)),  # nan for B2
    ),
    ("bounds", "stay in float64", log_q_by(lambda p, q: (p * (q + 1e-8).log()).sum())),
    ("bounds", "infinitely much", log_q_by(lambda p, q: (p * (q + 1e-16).log()).sum())),
    ("bounds", "where p is 0 the term is 0", bounds_without_care_for_zeros),
    ("bounds", "B2 is nan", of_one(lambda b1, b2: (b1, b2 * math.nan))),
    ("bounds", "stay in float64", of_one(lambda b1, b2: (b1.float(), b2.float()))),
    ("bounds", "leave the tables", bounds_in_place),
    ("bounds", "leave the tables", bounds_that_scale_the_table),
    ("bounds", "more is better", of_one(lambda b1, b2: (abs(b1), abs(b2)))),
    ("recognition", "returns nothing", lambda outputs, table, level: None),
    ("recognition", "one number an image", lambda a, e, c: -F.cross_entropy(a @ e.T, c)),
    ("recognition", "one number an image", lambda *given: recognition_with()(*given).sum()),
    ("recognition", "return a tensor", lambda *given: recognition_with()(*given).tolist()),
    ("recognition", "expected .6,.", picked_by(lambda log_q, c: log_q)),
    ("recognition", "expected .6,.", picked_by(lambda log_q, c: log_q[:, c])),
    ("recognition", "expected .6,.", picked_by(lambda log_q, c: log_q.gather(1, c[:, None]))),
    ("recognition", "a sign too many", lambda *given: -recognition_with()(*given)),
    ("recognition", "take the logarithm", normalised_by(lambda s: s.softmax(1))),
    ("recognition", "over k", normalised_by(lambda s: s)),
    ("recognition", "not over images", normalised_by(lambda s: s.log_softmax(0))),
    ("recognition", "nats", normalised_by(lambda s: s.log_softmax(1) / math.log(2))),
    ("recognition", "index with", picked_by(lambda log_q, c: log_q[:, 0])),
    (
        "recognition",
        "do not normalise the outputs",
        recognition_with(lambda a, e: F.normalize(a, dim=1) @ e.T),
    ),
    ("recognition", "B = 1", picked_by(lambda log_q, c: log_q.gather(1, c[:, None]).squeeze())),
    ("recognition", "leave what is given", recognition_in_place),
    ("recognition", "thousands", normalised_by(naive)),
    ("recognition", "thousands", normalised_by(lambda s: s.softmax(1).log())),
    ("recognition", "thousands", normalised_by(lambda s: s - s.exp().sum(1, keepdim=True).log())),
    ("recognition", "thousands", normalised_by(lambda s: naive(s.double()))),
    ("recognition", "thousands", normalised_by(with_a_little_more)),
    ("recognition", "thousands", normalised_by(partial(with_a_little_more, little=1e-30))),
    ("recognition", "thousands", normalised_by(lambda s: s.clamp(-50, 50).log_softmax(1))),
    ("recognition", "thousands", normalised_by(lambda s: s.log_softmax(1).clamp(-100))),
    ("recognition", "thousands", normalised_by(lambda s: naive(s).nan_to_num())),
    (
        "recognition",
        "a sign too many",
        lambda a, e, c: F.nll_loss((a @ e.T).log_softmax(1), c, reduction="none"),
    ),
    (
        "recognition",
        "take the logarithm",
        lambda a, e, c: -F.nll_loss((a @ e.T).softmax(1), c, reduction="none"),
    ),
    ("recognition", "over k", lambda a, e, c: -F.nll_loss(a @ e.T, c, reduction="none")),
    ("recognition", "nats", normalised_by(lambda s: s.softmax(1).log2())),
    ("recognition", "leave what is given", recognition_that_changes_levels),
    ("recognition", "thousands", normalised_by(less_the_largest_of_all)),
    ("recognition", "thousands", normalised_by(lambda s: less_the_largest(s).exp().log())),
    ("recognition", "thousands", lambda a, e, c: Categorical((a @ e.T).softmax(1)).log_prob(c)),
    (
        "recognition",
        "gradient is off",
        normalised_by(lambda s: s - s.logsumexp(1, keepdim=True).detach()),
    ),
    ("recognition", "gradient", lambda *given: torch.tensor(recognition_with()(*given).tolist())),
    ("recognition", "gradient", lambda *given: recognition_with()(*given).detach()),
    ("recognition", "gradient", lambda a, e, c: recognition_with()(a.detach(), e, c)),
    ("probe", "returns nothing", lambda codes, labels, asked, n_classes: None),
    ("probe", "expected .M, n_classes", lambda c, y, z, k: probe_with()(c, y, c, k)),
    ("probe", "expected .M, n_classes", lambda *given: probe_with()(*given).T),
    ("probe", "expected .M, n_classes", lambda *given: probe_with()(*given).amax(1)),
    ("probe", "expected .M, n_classes", lambda *given: probe_with()(*given).argmax(1)),
    ("probe", "take the logarithm", probe_with(normalise=lambda s: s.softmax(1))),
    ("probe", "equally likely", probe_with(prior=frequencies)),
    ("probe", "own class mean", variance_by(around_all)),
    ("probe", "shared by all", probe_with(of_each_class, energies_and_determinants)),
    ("probe", "not by standard", variance_by(lambda *given: pooled(*given).sqrt())),
    ("probe", "dimension 1", probe_with(normalise=lambda s: s.log_softmax(0))),
    ("probe", "dimension 1", probe_class_by_code(lambda s: s.log_softmax(1).T)),
    ("probe", "sum to 1", probe_with(score=densities, normalise=lambda s: s)),
    ("probe", "log-softmax", probe_with(normalise=lambda s: s)),
    ("probe", "sum to 1", probe_with(normalise=lambda s: -s.log_softmax(1))),
    ("probe", "sum to 1", probe_with(normalise=lambda s: s.log_softmax(1) - math.log(s.shape[1]))),
    ("probe", "sum to 1", probe_with(normalise=lambda s: s.log_softmax(1) / math.log(2))),
    ("probe", "own class mean", variance_by(lambda c, y, m: c.var(0))),
    ("probe", "N = 4.", variance_by(lambda c, y, m: (c - m[y]).square().sum(0) / 10)),
    ("probe", "N = 31", lambda *given: probe_with()(*given).squeeze()),
    ("probe", "leave what is given", probe_in_place),
    ("probe", "leave what is given", probe_that_moves_what_is_asked),
    ("probe", "leave what is given", probe_that_scales_what_is_asked),
    ("probe", "L = 5", score_by(lambda z, m, v: energies(z[:, :2], m[:, :2], v[:2]))),
    ("probe", "far away", probe_with(normalise=less_the_largest_of_all)),
    ("probe", "far away", probe_with(normalise=lambda s: less_the_largest(s).exp().log())),
    ("probe", "far away", score_by(lambda *given: densities(*given).exp().log())),
    ("probe", "far away", probe_with(normalise=naive)),
    ("probe", "far away", probe_with(normalise=lambda s: s.softmax(1).log())),
    ("probe", "far away", probe_with(normalise=with_a_little_more)),
    ("probe", "far away", probe_with(normalise=partial(with_a_little_more, little=1e-30))),
    ("probe", "far away", probe_with(normalise=lambda s: s.clamp(-100).log_softmax(1))),
    ("probe", "far away", probe_with(normalise=lambda s: s.log_softmax(1).clamp(-100))),
    ("counterfactuals", "returns nothing", lambda decode, z1, z2: None),
    (
        "counterfactuals",
        "one tensor",
        lambda *given: list(counterfactuals_with()(*given)),
    ),
    ("counterfactuals", "two indices back", lambda decode, z1, z2: decode(*rows_of_both(z1, z2))),
    (
        "counterfactuals",
        "z1 goes down",
        lambda *given: counterfactuals_with()(*given).transpose(0, 1),
    ),
    (
        "counterfactuals",
        "z1 goes down",
        lambda D, a, b: one_image_a_call(lambda z2, z1: D(z1, z2), b, a),
    ),
    ("counterfactuals", "z1 comes first", lambda D, a, b: D(*rows_of_both(a, b)[::-1])),
    ("counterfactuals", "expected .2, 5, 1, 1, 2", back_by(lambda x, n, m: x.view(n, m, -1))),
    ("counterfactuals", "z1.i.", rows_by(rows_by_columns)),
    ("counterfactuals", "z1.i.", rows_by(rows_by_grid_xy)),
    ("counterfactuals", "z1.i.", back_by(lambda x, n, m: x.unflatten(0, (m, n)).transpose(0, 1))),
    ("counterfactuals", "z1 goes down", back_by(lambda x, n, m: torch.stack(x.chunk(m)))),
    ("counterfactuals", "N = 3, M = 3", back_by(turned_if_square)),
    ("counterfactuals", "N = 1, M = 1", back_by(lambda x, n, m: x.unflatten(0, (n, m)).squeeze(1))),
    ("counterfactuals", "z1.i.", rows_by(lambda a, b: (a.repeat(len(b), 1), b.repeat(len(a), 1)))),
    (
        "counterfactuals",
        "z2.j.",
        rows_by(lambda a, b: (a.repeat_interleave(len(b), 0), b.repeat_interleave(len(a), 0))),
    ),
    (
        "counterfactuals",
        "z2.j.",
        rows_by(lambda a, b: (rows_of_both(a, b)[0], b.flip(0).repeat(2, 1))),
    ),
    (
        "counterfactuals",
        "check the order",
        lambda D, a, b: D(*rows_by_columns(a, b)).view(len(a), len(b), 1, 1, 2),
    ),
    ("counterfactuals", "once for all", in_chunks),
    ("counterfactuals", "once for all", one_row_a_call),
    ("counterfactuals", "once for all", one_image_a_call),
    ("counterfactuals", "once for all", named),
    ("counterfactuals", "decode got", lambda D, a, b: D(a[:, None], b[None])),
    ("counterfactuals", "decode got 2 rows", lambda D, a, b: D(a, b)),
    (
        "counterfactuals",
        "decode got .*3",
        lambda D, a, b: torch.stack([D(c, d) for c in a for d in b]),
    ),
    ("counterfactuals", "decode got", for_two_and_five),
    ("counterfactuals", "leave the codes", counterfactuals_in_place),
]

# Rarer mistakes, which the check rejects with a general message.
REJECTED = [
    ("bounds", entropy_by(lambda p, q, joint: entropy(joint))),
    ("bounds", of_one(lambda b1, b2: (b1 + b2, b2))),
    ("bounds", of_one(lambda b1, b2: (b1, b1))),
    ("bounds", entropy_by(lambda p, q, joint: entropy(p))),
    ("bounds", entropy_by(lambda p, q, joint: -entropy(p.sum(1)))),
    ("bounds", log_q_by(lambda p, q: q.log().mean())),
    ("bounds", log_q_by(lambda p, q: (p * q).sum().log())),
    ("bounds", log_q_by(lambda p, q: (p.sum(0) * q.log()).sum())),
    ("bounds", log_q_by(lambda p, q: (p.sum(1) * q.log().T).sum())),
    ("bounds", information_for_any_guess),
    ("bounds", swapped_entropies),
    ("bounds", log_q_by(never_if_any_guess_is_0)),
    ("bounds", log_q_by(lambda p, q: (p * q.log_softmax(0)).sum())),
    ("bounds", log_q_by(lambda p, q: torch.xlogy(p, q * p.sum(0)).sum())),
    ("bounds", log_q_by(lambda p, q: torch.xlogy(p, q / q.sum(1, keepdim=True)).sum())),
    ("bounds", log_q_by(lambda p, q: torch.xlogy(p, q).sum(0).mean())),
    ("recognition", recognition_among_the_images),
    ("recognition", normalised_by(lambda s: s.log_softmax(1) + math.log(s.shape[1]))),
    ("recognition", normalised_by(lambda s: s - s.amax(1, keepdim=True))),
    ("recognition", normalised_by(lambda s: (1 - s.softmax(1)).log())),
    ("recognition", picked_by(lambda log_q, c: (log_q.exp() * log_q).sum(1))),
    ("recognition", recognition_with(lambda a, e: -torch.cdist(a, e).square())),
    ("recognition", recognition_with(by_distances)),
    ("recognition", picked_by(lambda log_q, c: log_q.amax(1))),
    ("recognition", recognition_with(lambda a, e: a @ F.normalize(e, dim=1).T)),
    ("recognition", recognition_with(lambda a, e: F.cosine_similarity(a[:, None], e, 2))),
    ("recognition", recognition_with(lambda a, e: a @ e.T / a.shape[1] ** 0.5)),
    ("recognition", recognition_with(lambda a, e: -torch.cdist(a, e))),
    ("recognition", normalised_by(lambda s: F.logsigmoid(s))),
    ("recognition", normalised_by(lambda s: s.softmax(1).log_softmax(1))),
    ("recognition", normalised_by(lambda s: s - s.logsumexp((0, 1)))),
    ("recognition", normalised_by(lambda s: s - s.exp().mean(1, keepdim=True).log())),
    ("recognition", picked_by(lambda log_q, c: log_q[:, -1])),
    ("probe", variance_by(of_each_class)),
    ("probe", probe_with(covariance, normal)),
    ("probe", score_by(lambda z, m, v: densities(z, m, v.square()))),
    ("probe", score_by(lambda z, m, v: -0.5 * ((z[:, None] - m) / v.sqrt()).sum(2) ** 2)),
    ("probe", probe_with(prior=lambda y, k: torch.bincount(y, minlength=k))),
    ("probe", variance_by(lambda c, y, m: pooled(c, y, m) * len(c) / (len(c) - len(m)))),
    ("probe", variance_by(lambda c, y, m: (c - m[y]).square().sum(0))),
    ("probe", variance_by(lambda *given: pooled(*given).mean())),
    ("probe", variance_by(lambda *given: torch.ones(given[0].shape[1]))),
    ("probe", score_by(lambda *given: 2 * energies(*given))),
    ("probe", score_by(lambda *given: -energies(*given))),
    ("probe", score_by(lambda z, m, v: -0.5 * ((z[:, None] - m) ** 2 / v).mean(2))),
    ("probe", score_by(lambda z, m, v: -0.5 * ((z[:, None] - m) ** 2 / v**2).sum(2))),
    ("probe", score_by(lambda z, m, v: -0.5 * ((z[:, None] - m) ** 2 * v).sum(2))),
    ("probe", score_by(lambda z, m, v: -0.5 * ((z[:, None] - m).abs() / v).sum(2))),
    ("probe", variance_by(lambda c, y, m: pooled(c, y, m) * len(c) / (len(c) - 1))),
    ("probe", variance_by(mean_of_classes(0))),
    ("probe", variance_by(mean_of_classes(1))),
    ("probe", variance_by(lambda c, y, m: m.var(0))),
    ("probe", probe_with(prior=lambda y, k: -frequencies(y, k))),
    ("probe", probe_with(of=lambda c, y, k: means_of(c, y, k).flip(0))),
    (
        "probe",
        probe_with(of=lambda c, y, k: torch.stack([c[y == j].sum(0) / len(c) for j in range(k)])),
    ),
    (
        "probe",
        probe_with(of=lambda c, y, k: torch.stack([c[y == j].median(0)[0] for j in range(k)])),
    ),
]

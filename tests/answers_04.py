"""Right and wrong answers to the exercises of notebook 04, as students write them."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal

from dvae_lib import objectives

EACH = partial(F.cross_entropy, reduction="none")


def distances(z, mean, precision):
    return 0.5 * (precision * (z[:, None] - mean) ** 2).sum(-1)


def stretched(d, labels, margin):
    """1 + margin times the distance to the true class."""
    return d * (1 + margin * F.one_hot(labels, d.shape[1]))


def classification_with(
    distance=distances,
    det=lambda precision: 0.5 * precision.log().sum(1),
    stretch=stretched,
    loss=EACH,
    tables=lambda *tables: tables,
):
    def classification_loss(z, labels, mean, precision, margin=0.0):
        z, mean, precision = tables(z, mean, precision)
        d = stretch(distance(z, mean, precision), labels, margin)
        return loss(det(precision) - d, labels)

    return classification_loss


def by_logsumexp(logits, labels):
    return logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]


def by_hand(logits, labels):
    top = logits.amax(1, keepdim=True)
    total = (logits - top).exp().sum(1).log() + top[:, 0]
    return total - logits[range(len(labels)), labels]


def classification_by_torch(z, labels, mean, precision, margin=0.0):
    log_p = Independent(Normal(mean, precision.rsqrt()), 1).log_prob(z[:, None])
    d = distances(z, mean, precision)[range(len(z)), labels]
    log_p = log_p - margin * d[:, None] * F.one_hot(labels, len(mean))
    return -Categorical(logits=log_p).log_prob(labels)


def classification_by_full_covariance(z, labels, mean, precision, margin=0.0):
    law = MultivariateNormal(mean, covariance_matrix=torch.diag_embed(1 / precision))
    d = distances(z, mean, precision) * F.one_hot(labels, len(mean))
    return by_logsumexp(law.log_prob(z[:, None]) - margin * d, labels)


def distances_by_bmm(z, mean, precision):
    difference = z[:, None] - mean
    scaled = (difference * precision).flatten(0, 1)[:, None]
    return 0.5 * torch.bmm(scaled, difference.flatten(0, 1)[:, :, None]).view(len(z), len(mean))


def distances_by_parts(z, mean, precision):
    square = z**2 @ precision.T - 2 * z @ (mean * precision).T
    return 0.5 * (square + (mean**2 * precision).sum(1))


def stretched_in_place(d, labels, margin):
    d[range(len(d)), labels] *= 1 + margin
    return d


def classification_by_rows(z, labels, mean, precision, margin=0.0):
    rows = []
    for code, y in zip(z, labels.tolist(), strict=True):
        logits = []
        for c in range(len(mean)):
            d = 0.5 * (precision[c] * (code - mean[c]) ** 2).sum()
            logits.append(0.5 * precision[c].prod().log() - d * (1 + margin if c == y else 1))
        rows.append(torch.stack(logits).logsumexp(0) - logits[y])
    return torch.stack(rows)


def in_probabilities(small=0.0, under=0.0):
    """The probability first, and then its logarithm."""

    def classification_loss(z, labels, mean, precision, margin=0.0):
        d = stretched(distances(z, mean, precision), labels, margin)
        p = precision.prod(1).sqrt() * (-d).exp()
        return -(p[range(len(z)), labels] / (p.sum(1) + under) + small).log()

    return classification_loss


def log_of_softmax(small=0.0, least=None):
    def loss(logits, labels):
        p = logits.softmax(1).gather(1, labels[:, None])[:, 0] + small
        return -(p if least is None else p.clamp_min(least)).log()

    return classification_with(loss=loss)


def numerator_only(z, labels, mean, precision, margin=0.0):
    logits = 0.5 * precision.log().sum(1) - distances(z, mean, precision)
    own = (1 + margin) * distances(z, mean, precision)[range(len(z)), labels]
    return logits.logsumexp(1) - 0.5 * precision[labels].log().sum(1) + own


def margin_on_all_of_it(z, labels, mean, precision, margin=0.0):
    logits = 0.5 * precision.log().sum(1) - distances(z, mean, precision)
    return F.cross_entropy(stretched(logits, labels, margin), labels, reduction="none")


def classification_by_vmap(z, labels, mean, precision, margin=0.0):
    """One code at a time, all at once."""
    classes = torch.arange(len(mean))

    def one(code, y):
        d = 0.5 * (precision * (code - mean) ** 2).sum(1) * (1 + margin * (classes == y))
        logits = 0.5 * precision.log().sum(1) - d
        return logits.logsumexp(0) - torch.where(classes == y, logits, 0).sum()

    return torch.func.vmap(one)(z, labels)


def likelihood_with(
    term=lambda d2, P: 0.5 * (P * d2 - P.log()),
    total=lambda terms: terms.sum(1),
    tables=lambda *tables: tables,
    pick=lambda labels: labels,
):
    """term: of the squared difference and the precision, (B, L) each."""

    def likelihood_loss(z, labels, mean, precision):
        z, mean, precision = tables(z, mean, precision)
        rows = pick(labels)
        return total(term((z - mean[rows]) ** 2, precision[rows]))

    return likelihood_loss


def likelihood_by_torch(z, labels, mean, precision):
    law = Independent(Normal(mean[labels], precision[labels].rsqrt()), 1)
    return -law.log_prob(z) - z.shape[1] / 2 * math.log(2 * math.pi)


def likelihood_less_a_constant(z, labels, mean, precision):
    """The constant of three axes, whatever L is."""
    law = Independent(Normal(mean[labels], precision[labels].rsqrt()), 1)
    return -law.log_prob(z) - 3 / 2 * math.log(2 * math.pi)


def likelihood_by_one_hot(z, labels, mean, precision):
    own = F.one_hot(labels, len(mean)).to(z)
    logits = 0.5 * precision.log().sum(1) - distances(z, mean, precision)
    return -(own * logits).sum(1)


def of_one(code, mean, precision):
    """The likelihood part of one code, (L,), and of its own class."""
    return 0.5 * (precision * (code - mean) ** 2 - precision.log()).sum()


def likelihood_by_product(z, labels, mean, precision):
    d = distances(z, mean, precision).gather(1, labels[:, None])[:, 0]
    return d - precision.prod(1).sqrt().log()[labels]


def detached(*places):
    """Cuts the gradient of z (0), the means (1) or the precisions (2)."""
    return lambda *tables: [t.detach() if k in places else t for k, t in enumerate(tables)]


def classification_detached_in_the_distance(z, labels, mean, precision, margin=0.0):
    d = stretched(distances(z, mean, precision.detach()), labels, margin)
    return F.cross_entropy(0.5 * precision.log().sum(1) - d, labels, reduction="none")


def adversarial_with(
    for_c=F.cross_entropy,
    for_e=lambda logits, labels: -logits.log_softmax(1).mean(),
):
    return lambda logits, labels: (for_c(logits, labels), for_e(logits, labels))


def adversarial_by_torch(logits, labels):
    p = Categorical(logits=logits)
    return [-p.log_prob(labels).mean(), -p.logits.mean()]


def adversarial_by_kl(logits, labels):
    """torch's KL is infinite where a probability underflows."""
    uniform, p = Categorical(logits=torch.zeros_like(logits)), Categorical(logits=logits)
    kl = torch.distributions.kl_divergence(uniform, p).mean()
    return -p.log_prob(labels).mean(), kl + math.log(logits.shape[1])


def adversarial_by_hand(logits, labels):
    total = logits.logsumexp(1)
    return (total - logits[range(len(labels)), labels]).mean(), (total - logits.mean(1)).mean()


def soft_targets(value=None):
    def loss(logits, labels):
        return F.cross_entropy(logits, torch.full_like(logits, value or 1 / logits.shape[1]))

    return loss


def log_of(p, small=0.0):
    return (p + small).log()


def l_c_of_probabilities(small):
    return lambda logits, y: -log_of(logits.softmax(1)[range(len(y)), y], small).mean()


def l_e_of_probabilities(small):
    return lambda logits, y: -log_of(logits.softmax(1), small).mean()


def draw_with(
    sd=torch.rsqrt,
    noise=torch.randn_like,
    mean_of=lambda mean, labels: mean[labels],
):
    def draw_label_codes(labels, mean, precision):
        m_y, P_y = mean_of(mean, labels), precision[labels]
        return m_y + sd(P_y) * noise(m_y)

    return draw_label_codes


def draw_by_class(labels, mean, precision):
    draws = mean.new_zeros(len(labels), mean.shape[1])
    for c in range(len(mean)):
        rows = labels == c
        draws[rows] = mean[c] + torch.randn(int(rows.sum()), mean.shape[1]) / precision[c] ** 0.5
    return draws


def draw_by_one_hot(labels, mean, precision):
    own = F.one_hot(labels, len(mean)).to(mean)
    return objectives.reparameterise(own @ mean, -(own @ precision.log()))


def draw_by_cholesky(labels, mean, precision):
    matrix = torch.diag_embed(precision)[labels]
    return MultivariateNormal(mean[labels], precision_matrix=matrix).rsample()


def one_noise_a_class(labels, mean, precision):
    return (mean + precision.rsqrt() * torch.randn_like(mean))[labels]


def always_the_same_noise(labels, mean, precision):
    noise = torch.randn(len(labels), mean.shape[1], generator=torch.Generator().manual_seed(0))
    return mean[labels] + precision[labels].rsqrt() * noise


def there_and_back(mean):
    """The second half of the noise is minus the first."""
    half = torch.randn_like(mean[: (len(mean) + 1) // 2])
    return torch.cat([half, -half])[: len(mean)]


def backwards(mean):
    half = torch.randn_like(mean[: (len(mean) + 1) // 2])
    return torch.cat([half, half.flip(0)])[: len(mean)]


def by_normal(law="rsample"):
    def draw_label_codes(labels, mean, precision):
        return getattr(Normal(mean[labels], precision[labels].rsqrt()), law)()

    return draw_label_codes


RIGHT = [
    ("classification", classification_with()),
    ("classification", classification_with(loss=by_logsumexp)),
    ("classification", classification_with(loss=by_hand)),
    ("classification", classification_with(loss=lambda s, y: -s.log_softmax(1)[range(len(y)), y])),
    ("classification", classification_with(distances_by_bmm, stretch=stretched_in_place)),
    ("classification", classification_with(distances_by_parts)),
    ("classification", classification_with(det=lambda P: P.prod(1).sqrt().log())),
    ("classification", classification_with(det=lambda P: torch.logdet(torch.diag_embed(P)) / 2)),
    ("classification", classification_by_torch),
    ("classification", classification_by_full_covariance),
    ("classification", classification_by_rows),
    ("classification", classification_by_vmap),
    ("likelihood", likelihood_with()),
    ("likelihood", likelihood_by_torch),
    ("likelihood", likelihood_by_one_hot),
    ("likelihood", likelihood_by_product),
    ("likelihood", lambda z, y, m, P: torch.func.vmap(of_one)(z, m[y], P[y])),
    ("adversarial", adversarial_with()),
    ("adversarial", adversarial_by_torch),
    ("adversarial", adversarial_by_hand),
    ("adversarial", lambda s, y: torch.stack(adversarial_by_hand(s, y))),
    ("adversarial", adversarial_with(for_e=soft_targets())),
    ("adversarial", adversarial_with(for_e=partial(F.cross_entropy, label_smoothing=1.0))),
    ("draw", draw_with()),
    ("draw", draw_with(noise=lambda m: torch.randn(m.shape))),
    ("draw", by_normal()),
    ("draw", draw_by_class),
    ("draw", draw_by_one_hot),
    ("draw", draw_by_cholesky),
    ("draw", torch.func.vmap(draw_with(), in_dims=(0, None, None), randomness="different")),
]


def own(rows, labels):
    return F.one_hot(labels, rows.shape[1])


def entropy(logits):
    return Categorical(logits=logits).entropy().mean()


def minus_log(z, mean, precision):
    """d_c - 1/2 log det P_c for all classes."""
    return distances(z, mean, precision) - 0.5 * precision.log().sum(1)


def l_e(logits):
    return -logits.log_softmax(1).mean()


def without_the_true_class(logits, labels):
    others = logits.log_softmax(1) * (1 - own(logits, labels))
    return -others.sum(1).mean() / (logits.shape[1] - 1)


def halved_backwards(logits, labels):
    """L_E with half of its gradient."""
    return 0.5 * (l_e(logits) + l_e(logits).detach())


def mixture_by(loss):
    return classification_with(loss=loss)


def det_by(det):
    return classification_with(det=det)


def margin_by(stretch):
    return classification_with(stretch=stretch)


def l_e_by(loss):
    return adversarial_with(for_e=loss)


WRONG = [
    ("classification", "returns nothing", lambda z, y, m, P, margin=0.0: None),
    ("classification", "one number an image", mixture_by(F.cross_entropy)),
    (
        "classification",
        "one number an image",
        mixture_by(partial(F.cross_entropy, reduction="sum")),
    ),
    ("classification", "one number an image", mixture_by(lambda s, y: -s.log_softmax(1))),
    ("classification", "log det P is missing", det_by(lambda P: 0)),
    ("classification", "half the log", det_by(lambda P: P.log().sum(1))),
    ("classification", "not finite", in_probabilities()),
    ("classification", "not finite", log_of_softmax()),
    ("classification", "no gradient", in_probabilities(small=1e-12, under=1e-30)),
    ("classification", "no gradient", log_of_softmax(small=1e-12)),
    ("classification", "no gradient", log_of_softmax(least=1e-8)),
    ("classification", "no gradient", classification_with(lambda *a: distances(*a).clamp_max(80))),
    (
        "classification",
        "P is a precision",
        classification_with(lambda z, m, P: distances(z, m, 1 / P)),
    ),
    ("classification", "sign is turned round", mixture_by(lambda s, y: -by_hand(s, y))),
    ("classification", "no gradient", in_probabilities(small=1e-4, under=1e-30)),
    ("classification", "margin does nothing", margin_by(lambda d, y, a: d)),
    ("classification", "true class alone", margin_by(lambda d, y, a: (1 + a) * d)),
    ("classification", "gradient", classification_with(tables=detached(0))),
    ("classification", "gradient", classification_with(tables=detached(1))),
    ("classification", "gradient", classification_with(tables=detached(2))),
    ("classification", "gradient", classification_with(tables=detached(0, 1, 2))),
    ("classification", "gradient", classification_detached_in_the_distance),
    ("classification", "gradient", det_by(lambda P: 0.5 * P.detach().log().sum(1))),
    (
        "classification",
        "margin = .5, 3, 2, 2",
        margin_by(lambda d, y, a: stretched(d, y, a and 0.5)),
    ),
    ("classification", "B, K, L", margin_by(lambda d, y, a: d * (1 + a * F.one_hot(y)))),
    ("classification", "B, K, L", det_by(lambda P: 1.5 * P.log().mean(1))),
    ("likelihood", "returns nothing", lambda z, y, m, P: None),
    ("likelihood", "one number an image", likelihood_with(total=lambda t: t.sum(1).mean())),
    ("likelihood", "one number an image", likelihood_with(total=lambda t: t)),
    ("likelihood", "one number an image", lambda z, y, m, P: minus_log(z, m, P)),
    ("likelihood", "is missing", likelihood_with(lambda d2, P: 0.5 * P * d2)),
    ("likelihood", "not plus", likelihood_with(lambda d2, P: 0.5 * (P * d2 + P.log()))),
    ("likelihood", "half of log det P", likelihood_with(lambda d2, P: 0.5 * P * d2 - P.log())),
    (
        "likelihood",
        "leave out the constant",
        likelihood_with(lambda d2, P: 0.5 * (P * d2 - P.log() + math.log(2 * math.pi))),
    ),
    ("likelihood", "do not average", likelihood_with(total=lambda t: t.mean(1))),
    ("likelihood", "sign is turned round", likelihood_with(total=lambda t: -t.sum(1))),
    ("likelihood", "P is a precision", likelihood_with(lambda d2, P: 0.5 * (d2 / P - P.log()))),
    (
        "likelihood",
        "half\\* the squared distance",
        likelihood_with(lambda d2, P: P * d2 - 0.5 * P.log()),
    ),
    ("likelihood", "do not clip", likelihood_with(total=lambda t: t.sum(1).clamp_min(0))),
    ("likelihood", "its own class", likelihood_with(pick=torch.zeros_like)),
    ("likelihood", "own class alone", classification_with()),
    ("likelihood", "a number in your code", likelihood_with(total=lambda t: 3 * t.mean(1))),
    ("likelihood", "a number in your code", likelihood_less_a_constant),
    ("likelihood", "a number in your code", likelihood_with(total=lambda t: t.squeeze().sum(-1))),
    ("likelihood", "gradient", likelihood_with(tables=detached(0))),
    ("likelihood", "gradient", likelihood_with(tables=detached(1))),
    ("likelihood", "gradient", likelihood_with(tables=detached(2))),
    ("likelihood", "gradient", likelihood_with(tables=detached(0, 1, 2))),
    ("likelihood", "gradient", likelihood_with(lambda d2, P: 0.5 * (P * d2 - P.detach().log()))),
    ("likelihood", "gradient", likelihood_with(lambda d2, P: 0.5 * (P.detach() * d2 - P.log()))),
    ("adversarial", "returns nothing", lambda s, y: None),
    ("adversarial", "average over the batch", l_e_by(lambda s, y: -s.log_softmax(1).mean(1))),
    (
        "adversarial",
        "average over the batch",
        adversarial_with(partial(F.cross_entropy, reduction="none")),
    ),
    (
        "adversarial",
        "L_C is the cross-entropy",
        adversarial_with(partial(F.cross_entropy, reduction="sum")),
    ),
    ("adversarial", "reversed gradient", l_e_by(lambda s, y: -F.cross_entropy(s, y))),
    ("adversarial", "1/K a class: divide", l_e_by(lambda s, y: -s.log_softmax(1).sum(1).mean())),
    ("adversarial", "1/K a class: divide", l_e_by(soft_targets(1.0))),
    (
        "adversarial",
        "keep its log K",
        l_e_by(lambda s, y: -s.log_softmax(1).mean() - math.log(s.shape[1])),
    ),
    ("adversarial", "two losses", F.cross_entropy),
    ("adversarial", "two losses", lambda s, y: (F.cross_entropy(s, y),)),
    ("adversarial", "two losses", lambda s, y: {"L_C": F.cross_entropy(s, y), "L_E": 0.0}),
    ("adversarial", "the other way round", lambda s, y: adversarial_by_hand(s, y)[::-1]),
    ("adversarial", "minus the", l_e_by(lambda s, y: s.log_softmax(1).mean())),
    ("adversarial", "not C itself", l_e_by(lambda s, y: entropy(s))),
    ("adversarial", "every class", l_e_by(without_the_true_class)),
    ("adversarial", "large logits", adversarial_by_kl),
    ("adversarial", "large logits", l_e_by(lambda s, y: -s.softmax(1).log().mean())),
    ("adversarial", "two losses", lambda s, y: [loss.item() for loss in adversarial_by_hand(s, y)]),
    ("adversarial", "any K", l_e_by(lambda s, y: -s.log_softmax(1).sum(1).mean() / 5)),
    ("adversarial", "any K", l_e_by(lambda s, y: l_e(s) - math.log(s.shape[1] / 5))),
    ("adversarial", "large logits", adversarial_with(l_c_of_probabilities(0.0))),
    ("adversarial", "large logits", adversarial_with(l_c_of_probabilities(1e-12))),
    ("adversarial", "large logits", l_e_by(l_e_of_probabilities(0.0))),
    ("adversarial", "large logits", l_e_by(l_e_of_probabilities(1e-12))),
    ("adversarial", "large logits", l_e_by(l_e_of_probabilities(1e-4))),
    ("adversarial", "gradient", adversarial_with(lambda s, y: F.cross_entropy(s.detach(), y))),
    ("adversarial", "gradient", l_e_by(lambda s, y: -s.detach().log_softmax(1).mean())),
    ("adversarial", "do not clamp", lambda s, y: adversarial_by_hand(s.clamp_min(-50), y)),
    ("adversarial", "do not clamp", lambda s, y: adversarial_by_hand(s.clamp(-5000, 5000), y)),
    ("adversarial", "not its own gradient", l_e_by(halved_backwards)),
    ("draw", "returns nothing", lambda y, m, P: None),
    ("draw", "one row a label", lambda y, m, P: m + P.rsqrt() * torch.randn_like(m)),
    ("draw", "each label's own row", draw_with(mean_of=lambda m, y: m[0 * y])),
    ("draw", "each label's own row", draw_with(mean_of=lambda m, y: 0 * m[y])),
    ("draw", "no noise", lambda y, m, P: m[y]),
    ("draw", "divide by its square root", draw_with(torch.sqrt)),
    ("draw", "the variance", draw_with(torch.reciprocal)),
    ("draw", "not a standard deviation", draw_with(lambda P: P)),
    ("draw", "spread is not", draw_with(lambda P: (0.5 * P).exp())),
    ("draw", "spread is not", draw_with(lambda P: (-0.5 * P).exp())),
    ("draw", "spread is not", draw_with(lambda P: P[:1].rsqrt())),
    ("draw", "its own noise", draw_with(noise=lambda m: torch.randn_like(m[:, :1]))),
    ("draw", "gradient is cut", by_normal("sample")),
    ("draw", "gradient is cut", lambda y, m, P: draw_with()(y, m.detach(), P.detach())),
    ("draw", "same noise for all", draw_with(noise=lambda m: torch.randn_like(m[:1]))),
    ("draw", "same noise for all", one_noise_a_class),
    ("draw", "two calls", always_the_same_noise),
    ("draw", "come back", draw_with(noise=there_and_back)),
    ("draw", "come back", draw_with(noise=backwards)),
    ("draw", "not normal", draw_with(noise=lambda m: torch.randn_like(m).clamp(-2, 2) * 1.065)),
    ("draw", "5 classes", lambda y, m, P: draw_with()(y % 2, m, P)),
    ("draw", "1 axis", draw_with(noise=lambda m: torch.randn(len(m), 2))),
    ("draw", "uniform", draw_with(noise=torch.rand_like)),
    ("draw", "uniform", draw_with(noise=lambda m: torch.rand_like(m) - 0.5)),
    ("draw", "uniform", draw_with(noise=lambda m: 12**0.5 * (torch.rand_like(m) - 0.5))),
    ("draw", "uniform", draw_with(noise=lambda m: torch.randn_like(m).clamp(-1, 1))),
    ("draw", "reaches the means", lambda y, m, P: torch.normal(m[y], P[y].rsqrt())),
    ("draw", "reaches the means", lambda y, m, P: draw_with()(y, m.detach(), P)),
    ("draw", "reaches the precisions", lambda y, m, P: draw_with()(y, m, P.detach())),
    ("draw", "reaches the precisions", lambda y, m, P: m[y] + torch.normal(0.0, P[y].rsqrt())),
]

# Rarer mistakes, which are rejected with a general message that does not name them.
REJECTED = [
    ("classification", margin_by(lambda d, y, a: (1 + a) * d - a * d * own(d, y))),
    ("classification", margin_by(lambda d, y, a: stretched(d, y, -a))),
    ("classification", margin_by(lambda d, y, a: d / (1 + a * own(d, y)))),
    ("classification", margin_by(lambda d, y, a: d + a * own(d, y))),
    ("classification", numerator_only),
    ("classification", margin_on_all_of_it),
    (
        "classification",
        classification_with(
            lambda z, m, P: distances(z, m, 1 / P), lambda P: -0.5 * P.log().sum(1)
        ),
    ),
    ("classification", det_by(lambda P: -0.5 * P.log().sum(1))),
    ("classification", det_by(lambda P: 0.5 * P.log().mean(1))),
    (
        "classification",
        classification_with(lambda *a: distances(*a) / 3, lambda P: 0.5 * P.log().mean(1)),
    ),
    ("classification", mixture_by(lambda s, y: by_hand(s.softmax(1), y))),
    ("classification", mixture_by(lambda s, y: (-by_hand(s, y)).exp())),
    ("classification", mixture_by(lambda s, y: -(-by_hand(s, y)).exp())),
    ("classification", mixture_by(lambda s, y: by_hand(s, y) / math.log(2))),
    ("classification", mixture_by(lambda s, y: by_hand(s, 0 * y))),
    ("classification", mixture_by(lambda s, y: by_hand(s, s.argmax(1)))),
    ("likelihood", likelihood_with(lambda d2, P: 0.5 * (d2 / P + P.log()))),
    ("likelihood", likelihood_with(lambda d2, P: 0.5 * d2 / P**2 + P.log())),
    ("likelihood", likelihood_with(total=lambda t: t.sum(1).abs())),
    ("likelihood", lambda z, y, m, P: (minus_log(z, m, P)).amin(1)),
    ("likelihood", lambda z, y, m, P: (minus_log(z, m, P)).mean(1)),
    ("likelihood", lambda z, y, m, P: -(-minus_log(z, m, P)).logsumexp(1)),
    ("adversarial", l_e_by(lambda s, y: -entropy(s))),
    ("adversarial", adversarial_with(lambda s, y: F.cross_entropy(s.softmax(1), y))),
    ("adversarial", l_e_by(lambda s, y: -s.softmax(1).log_softmax(1).mean())),
    ("adversarial", adversarial_with(lambda s, y: F.nll_loss(s.log_softmax(0), y))),
    ("adversarial", l_e_by(lambda s, y: -s.log_softmax(0).mean())),
    ("adversarial", adversarial_with(lambda s, y: -F.cross_entropy(s, y))),
    ("adversarial", l_e_by(lambda s, y: -s.log_softmax(1).mean(1).sum())),
    ("adversarial", l_e_by(lambda s, y: math.log(s.shape[1]) + -entropy(s))),
    ("adversarial", l_e_by(partial(F.cross_entropy, label_smoothing=0.1))),
    ("adversarial", l_e_by(lambda s, y: -s.softmax(1).mean().log())),
]

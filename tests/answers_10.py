"""Right and wrong answers to the exercises of notebook 10, as students write them."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

# --- the angular margin --------------------------------------------------------------------------


def plus_margin(own, m):
    """cos(theta + m) of own cosines."""
    sine = (1 - own.square()).clamp_min(1e-12).sqrt()
    return own * math.cos(m) - sine * math.sin(m)


def carried_on(own, m):
    return torch.where(own >= -math.cos(m), plus_margin(own, m), own - 1 + math.cos(m))


def put_by_scatter(cosines, labels, own):
    return cosines.scatter(1, labels[:, None], own)


def margin_with(harder=carried_on, put=put_by_scatter, scaled=lambda x, scale: scale * x):
    def margin_logits(cosines, labels, margin, scale):
        own = cosines.gather(1, labels[:, None])
        return scaled(put(cosines, labels, harder(own, margin)), scale)

    return margin_logits


def margin_by_mask(cosines, labels, margin, scale):
    own = F.one_hot(labels, cosines.shape[1]).bool()
    return scale * torch.where(own, carried_on(cosines, margin), cosines)


def margin_by_index(cosines, labels, margin, scale):
    rows, logits = torch.arange(len(labels)), cosines.clone()
    logits[rows, labels] = carried_on(cosines[rows, labels], margin)
    return logits * scale


def margin_by_difference(cosines, labels, margin, scale):
    own = cosines.gather(1, labels[:, None])
    return scale * cosines.scatter_add(1, labels[:, None], carried_on(own, margin) - own)


def margin_by_angles(cosines, labels, margin, scale):
    own = F.one_hot(labels, cosines.shape[1]).bool()
    theta = cosines.clamp(-1 + 1e-7, 1 - 1e-7).acos()
    beyond = cosines - 1 + math.cos(margin)
    harder = torch.where(theta <= math.pi - margin, (theta + margin).cos(), beyond)
    return scale * torch.where(own, harder, cosines)


def margin_by_loops(cosines, labels, margin, scale):
    rows = []
    for row, label in zip(cosines, labels.tolist(), strict=True):
        logits = list(row)
        logits[label] = carried_on(row[label], margin)
        rows.append(torch.stack(logits))
    return scale * torch.stack(rows)


def margin_in_place(cosines, labels, margin, scale):
    rows = torch.arange(len(labels))
    if not cosines.requires_grad:
        cosines[rows, labels] = carried_on(cosines[rows, labels], margin)
        return scale * cosines
    return margin_by_index(cosines, labels, margin, scale)


def exact_root(own, m):
    """The gradient of the root is infinite at cosines of 1."""
    harder = own * math.cos(m) - (1 - own * own).sqrt() * math.sin(m)
    return torch.where(own >= -math.cos(m), harder, own - 1 + math.cos(m))


def changed_at(own, m, where):
    return torch.where(own >= where, plus_margin(own, m), own - 1 + math.cos(m))


def cosface_beyond(own, m):
    return torch.where(own >= -math.cos(m), plus_margin(own, m), own - m * math.sin(m))


def sine_detached(own, m):
    sine = (1 - own.square()).clamp_min(1e-12).sqrt().detach()
    harder = own * math.cos(m) - sine * math.sin(m)
    return torch.where(own >= -math.cos(m), harder, own - 1 + math.cos(m))


def blunt_root(own, m):
    """The root is cut off too early: the logit is wrong where the cosine is near 1."""
    harder = own * math.cos(m) - (1 - own * own).clamp_min(0.03).sqrt() * math.sin(m)
    return torch.where(own >= -math.cos(m), harder, own - 1 + math.cos(m))


def others_detached(cosines, labels, margin, scale):
    own = cosines.gather(1, labels[:, None])
    return margin_with(lambda *_: carried_on(own, margin))(cosines.detach(), labels, margin, scale)


def own_detached(cosines, labels, margin, scale):
    return margin_with(lambda own, m: carried_on(own, m).detach())(cosines, labels, margin, scale)


def all_get_it(cosines, labels, margin, scale):
    return scale * carried_on(cosines, margin)


def others_get_it(cosines, labels, margin, scale):
    own = F.one_hot(labels, cosines.shape[1]).bool()
    return scale * torch.where(own, cosines, carried_on(cosines, margin))


# --- retrieval -----------------------------------------------------------------------------------


def unit(x):
    return F.normalize(x, dim=1)


def cosines_of(queries, gallery):
    return unit(queries) @ unit(gallery).T


def share_by_topk(close, wanted, k):
    return (close.topk(k, dim=1).indices == wanted[:, None]).any(1).float().mean().item()


def retrieval_with(close=cosines_of, share=share_by_topk):
    def retrieval(queries, gallery, wanted, k=1):
        return share(close(queries, gallery), wanted, k)

    return retrieval


def close_by(close):
    return retrieval_with(close=close)


def share_by(share):
    return retrieval_with(share=share)


def by_ranks(close, wanted, k):
    own = close.gather(1, wanted[:, None])
    return ((close > own).sum(1) < k).double().mean()


def by_sorting(close, wanted, k):
    order = close.argsort(1, descending=True)[:, :k]
    return sum(int(w) in row.tolist() for w, row in zip(wanted, order, strict=True)) / len(wanted)


def retrieval_by_loops(queries, gallery, wanted, k=1):
    hits = 0
    for query, right in zip(queries, wanted.tolist(), strict=True):
        angles = F.cosine_similarity(query[None], gallery).clamp(-1, 1).acos()
        hits += right in angles.topk(k, largest=False).indices.tolist()
    return hits / len(wanted)


def retrieval_in_place(queries, gallery, wanted, k=1):
    gallery /= gallery.norm(dim=1, keepdim=True)
    return retrieval_with()(queries, gallery, wanted, k)


# --- the masked reconstruction -------------------------------------------------------------------


def size_of(difference):
    return difference.abs()


def same_by_pictures(error, same):
    return (error.mean((1, 2, 3)) * same).sum() / same.sum().clamp_min(1)


def around_by_pictures(error, away, same):
    weights = 3 * away.sum((1, 2, 3))
    return ((error * away).sum((1, 2, 3)) / weights.clamp_min(1e-6)).mean()


def masked_with(of_same=same_by_pictures, around=around_by_pictures, size=size_of, change=None):
    def reconstruction_losses(made, target, region, same):
        error = size(made - target)
        both = of_same(error, same), around(error, 1 - region, same)
        return change(*both) if change else both

    return reconstruction_losses


def same_by(of_same):
    return masked_with(of_same=of_same)


def around_by(around):
    return masked_with(around=around)


def changed(change):
    return masked_with(change=change)


def masked_by_loops(made, target, region, same):
    zero = 0 * made.sum()
    kept, around = [], []
    for y, x, m, one in zip(made, target, region, same.tolist(), strict=True):
        error = (y - x).abs().mean(0)
        if one:
            kept.append(error.mean())
        away = 1 - m[0]
        around.append((error * away).sum() / away.sum() if away.sum() > 0 else 0 * error.sum())
    return (torch.stack(kept).mean() if kept else zero), torch.stack(around).mean()


def masked_by_index(made, target, region, same):
    error = F.l1_loss(made, target, reduction="none")
    of_same = error[same].mean() if bool(same.any()) else error.new_zeros(())
    away = (1 - region).expand_as(error).flatten(1)
    weights = away / away.sum(1, keepdim=True).clamp_min(1e-6)
    return of_same, (error.flatten(1) * weights).sum(1).mean()


def masked_by_einsum(made, target, region, same):
    error, away = (made - target).abs(), 1 - region
    top = torch.einsum("bchw,bhw->b", error, away[:, 0]) / 3
    total = away.sum((1, 2, 3))
    around = torch.where(total > 0, top / torch.where(total > 0, total, 1.0), 0.0)
    weights = same.float() / max(1, int(same.sum()))
    return weights @ error.mean((1, 2, 3)), around.mean()


def masked_in_place(made, target, region, same):
    found = masked_with()(made, target, region, same)
    region.zero_()
    return found


# --- the removal game ----------------------------------------------------------------------------


def spread_around_mean(truth, guess):
    return (truth - truth.mean(0)).square().sum()


def cut(share):
    return F.relu(share)


def removal_with(
    spread=spread_around_mean, of_encoder=cut, of_guesser=lambda r2: 1 - r2, hide=torch.detach
):
    def removal_losses(guesser, code, truth):
        def share(code):
            guess = guesser(code)
            return 1 - (guess - truth).square().sum() / spread(truth, guess)

        return of_encoder(share(code)), of_guesser(share(hide(code)))

    return removal_losses


def spread_by(spread):
    return removal_with(spread=spread)


def encoder_by(of_encoder):
    return removal_with(of_encoder=of_encoder)


def removal_by_variance(guesser, code, truth):
    variance = truth.var(0, correction=0).sum()

    def unexplained(code):
        return (guesser(code) - truth).square().sum(1).mean() / variance

    return (1 - unexplained(code)).clamp_min(0), unexplained(code.detach())


def removal_by_mse(guesser, code, truth):
    middle = truth.mean(0, keepdim=True).expand_as(truth)
    spread = F.mse_loss(middle, truth)
    r2 = 1 - F.mse_loss(guesser(code), truth) / spread
    of_guesser = F.mse_loss(guesser(code.detach()), truth) / spread
    return torch.maximum(r2, torch.zeros_like(r2)), of_guesser


def removal_by_where(guesser, code, truth):
    r2, own = (1 - (guesser(c) - truth).pow(2).sum() / spread_around_mean(truth, None)
               for c in (code, code.detach()))  # fmt: skip
    return [torch.where(r2 > 0, r2, 0.0), 1 - own]


def removal_in_one_call(guesser, code, truth):
    own, seen = guesser(torch.cat([code, code.detach()])).chunk(2)
    spread = spread_around_mean(truth, None)
    r2, of_guesser = (1 - (guess - truth).square().sum() / spread for guess in (own, seen))
    return F.relu(r2), 1 - of_guesser


def removal_by_a_copy(guesser, code, truth):
    """The encoder plays against a frozen copy."""
    frozen = copy.deepcopy(guesser).requires_grad_(False)
    return removal_with()(frozen, code, truth)[0], removal_with()(guesser, code, truth)[1]


def column_by_column(guesser, code, truth):
    def share(code):
        wrong = (guesser(code) - truth).square().sum(0)
        return (1 - wrong / (truth - truth.mean(0)).square().sum(0)).mean()

    return F.relu(share(code)), 1 - share(code.detach())


def guess_detached(guesser, code, truth):
    spread = spread_around_mean(truth, None)
    r2 = 1 - (guesser(code) - truth).square().sum() / spread
    return F.relu(r2), 1 - r2.detach()


def code_detached_for_both(guesser, code, truth):
    return removal_with()(guesser, code.detach(), truth)


def sums_by_means(guesser, code, truth):
    spread = spread_around_mean(truth, None)
    r2, own = (1 - (guesser(c) - truth).square().mean() / spread for c in (code, code.detach()))
    return F.relu(r2), 1 - own


def truth_in_place(guesser, code, truth):
    found = removal_with()(guesser, code, truth)
    truth -= truth.mean(0)
    return found


RIGHT = [
    ("margin", margin_with()),
    ("margin", margin_by_mask),
    ("margin", margin_by_index),
    ("margin", margin_by_difference),
    ("margin", margin_by_angles),
    ("margin", margin_by_loops),
    ("margin", margin_with(lambda own, m: carried_on(own.clamp(-1, 1), m))),
    ("retrieval", retrieval_with()),
    ("retrieval", retrieval_by_loops),
    ("retrieval", share_by(by_ranks)),
    ("retrieval", share_by(by_sorting)),
    ("retrieval", close_by(lambda q, g: q @ unit(g).T)),
    ("retrieval", close_by(lambda q, g: -torch.cdist(unit(q), unit(g)))),
    ("retrieval", close_by(lambda q, g: F.cosine_similarity(q[:, None], g, dim=2))),
    ("masked", masked_with()),
    ("masked", masked_by_loops),
    ("masked", masked_by_index),
    ("masked", masked_by_einsum),
    ("masked", changed(lambda a, b: torch.stack([a, b]).unbind())),
    ("removal", removal_with()),
    ("removal", removal_by_variance),
    ("removal", removal_by_mse),
    ("removal", removal_by_where),
    ("removal", encoder_by(lambda r2: r2.clamp(min=0))),
    ("removal", encoder_by(lambda r2: r2.clamp(0, 1))),
    ("removal", encoder_by(lambda r2: max(torch.zeros(()), r2))),
    ("removal", removal_in_one_call),
    ("removal", removal_by_a_copy),
]

WRONG = [
    ("margin", "returns nothing", lambda *given: None),
    ("margin", "return a tensor", lambda *given: margin_with()(*given).tolist()),
    ("margin", "expected .4, 3", lambda c, y, m, s: s * carried_on(c.gather(1, y[:, None]), m)),
    ("margin", "must win by a margin", margin_with(lambda own, m: own)),
    ("margin", "not taken from the cosine", margin_with(lambda own, m: own - m)),
    ("margin", "do not subtract it", margin_with(lambda own, m: (own.acos() - m).cos())),
    ("margin", "in radians", margin_with(lambda own, m: plus_margin(own, math.radians(m)))),
    ("margin", "rises again", margin_with(plus_margin)),
    (
        "margin",
        "not the other way round",
        margin_with(
            lambda own, m: torch.where(
                own < -math.cos(m), plus_margin(own, m), own - 1 + math.cos(m)
            )
        ),
    ),
    ("margin", "multiply by the scale", margin_with(scaled=lambda x, scale: x)),
    ("margin", "only the own person", all_get_it),
    ("margin", "all others: scale times cosine", others_get_it),
    ("margin", "not finite", margin_with(exact_root)),
    ("margin", "no gradient", lambda c, y, m, s: margin_with()(c.detach(), y, m, s)),
    ("margin", "leave the cosines as they are", margin_in_place),
    ("margin", "keep the dtype", lambda c, y, m, s: margin_with()(c, y, m, s).double()),
    ("margin", "not at cos m", margin_with(lambda own, m: changed_at(own, m, math.cos(m)))),
    ("margin", "not at 0", margin_with(lambda own, m: changed_at(own, m, 0.0))),
    ("margin", "not cos θ − m sin m", margin_with(cosface_beyond)),
    ("retrieval", "returns nothing", lambda *given, k=1: None),
    ("retrieval", "one number", share_by(lambda s, w, k: s.topk(k, 1).indices == w[:, None])),
    ("retrieval", "share, not a number", share_by(lambda s, w, k: (s.argmax(1) == w).sum())),
    ("retrieval", "not the smallest", close_by(lambda q, g: -cosines_of(q, g))),
    ("retrieval", "rows of the gallery", close_by(lambda q, g: unit(q) @ g.T)),
    ("retrieval", "rows of the gallery", close_by(lambda q, g: q @ g.T)),
    ("retrieval", "angles, not distances", close_by(lambda q, g: -torch.cdist(q, g))),
    (
        "retrieval",
        "each row",
        close_by(lambda q, g: F.normalize(q, dim=0) @ F.normalize(g, dim=0).T),
    ),
    ("retrieval", "three nearest", share_by(lambda s, w, k: share_by_topk(s, w, 1))),
    ("retrieval", "leave what is given", retrieval_in_place),
    ("masked", "returns nothing", lambda *given: None),
    ("masked", "two things", changed(lambda a, b: a + b)),
    ("masked", "two things", changed(lambda a, b: {"same": a, "around": b})),
    ("masked", "scalar tensors", changed(lambda a, b: (a.item(), b.item()))),
    ("masked", "L_same comes first", changed(lambda a, b: (b, a))),
    ("masked", "L_same: only pairs of one", same_by(lambda e, s: e.mean())),
    ("masked", "not the others", same_by(lambda e, s: same_by_pictures(e, ~s))),
    ("masked", "not by all", same_by(lambda e, s: (e.mean((1, 2, 3)) * s).mean())),
    ("masked", "not its square", masked_with(size=torch.square)),
    ("masked", "means, not sums", same_by(lambda e, s: e[s].sum())),
    ("masked", "L_same: the mean over three", same_by(lambda e, s: 3 * same_by_pictures(e, s))),
    ("masked", "not only of two", around_by(lambda e, a, s: around_by_pictures(e[~s], a[~s], s))),
    ("masked", "a tensor, not 0.0", changed(lambda a, b: (a if a > 0 else 0.0, b))),
    (
        "masked",
        "around it, not on it|not on it",
        around_by(lambda e, a, s: around_by_pictures(e, 1 - a, s)),
    ),
    ("masked", "not only of one", around_by(lambda e, a, s: around_by_pictures(e[s], a[s], s))),
    (
        "masked",
        "L_around: the absolute",
        around_by(lambda e, a, s: around_by_pictures(e.square(), a, s)),
    ),
    ("masked", "not by all pixels", around_by(lambda e, a, s: (e * a).mean())),
    (
        "masked",
        "mean over three colours",
        around_by(lambda e, a, s: 3 * around_by_pictures(e, a, s)),
    ),
    ("masked", "picture by picture", around_by(lambda e, a, s: (e * a).sum() / (3 * a.sum()))),
    (
        "masked",
        "do not add them",
        around_by(lambda e, a, s: ((e * a).sum((1, 2, 3)) / (3 * a.sum((1, 2, 3)))).sum()),
    ),
    ("masked", "L_same, none", same_by(lambda e, s: e[s].mean())),
    (
        "masked",
        "L_around, all face",
        around_by(lambda e, a, s: ((e * a).sum((1, 2, 3)) / (3 * a.sum((1, 2, 3)))).mean()),
    ),
    ("masked", "leave what is given", masked_in_place),
    ("removal", "returns nothing", lambda *given: None),
    ("removal", "two losses", lambda *given: removal_with()(*given)[0]),
    ("removal", "encoder's loss comes first", lambda *given: removal_with()(*given)[::-1]),
    ("removal", "a sign", encoder_by(lambda r2: -r2)),
    ("removal", "not the mean of one for each", column_by_column),
    ("removal", "around the mean", spread_by(lambda t, g: t.square().sum())),
    (
        "removal",
        "dimension 0",
        spread_by(lambda t, g: (t - t.mean(1, keepdim=True)).square().sum()),
    ),
    ("removal", "not of the guess", spread_by(lambda t, g: (g - g.mean(0)).square().sum())),
    ("removal", "sums by sums", sums_by_means),
    ("removal", "not one number", spread_by(lambda t, g: (t - t.mean()).square().sum())),
    ("removal", "guesser wants R² large", removal_with(of_guesser=lambda r2: r2)),
    ("removal", "not −R²", removal_with(of_guesser=lambda r2: -r2)),
    ("removal", "detach the code", removal_with(hide=lambda code: code)),
    ("removal", "do not detach it for the encoder", code_detached_for_both),
    ("removal", "do not detach its guess", guess_detached),
    ("removal", "must not pay", encoder_by(lambda r2: r2)),
    ("removal", "also where R² is below 0", encoder_by(lambda r2: max(0, r2))),
    ("removal", "gradient is not that of R²", encoder_by(lambda r2: (r2 + r2.detach()) / 2)),
    ("removal", "cut for the encoder only", removal_with(of_guesser=lambda r2: 1 - F.relu(r2))),
    ("removal", "leave what is given", truth_in_place),
]

# Rarer mistakes, which the check rejects with a general message.
REJECTED = [
    ("margin", margin_with(lambda own, m: own * math.cos(m))),
    ("margin", margin_with(lambda own, m: torch.minimum(plus_margin(own, m), own))),
    ("margin", margin_with(lambda own, m: plus_margin(own, m).clamp(-1, 1).abs())),
    ("margin", margin_with(scaled=lambda x, scale: x / scale)),
    ("margin", margin_with(lambda own, m: carried_on(own, m + 0.1))),
    ("margin", lambda c, y, m, s: carried_on(s * c, m)),
    ("margin", lambda c, y, m, s: margin_with()(c, y.flip(0), m, s)),
    ("margin", margin_with(sine_detached)),
    ("margin", margin_with(blunt_root)),
    ("margin", others_detached),
    ("margin", own_detached),
    ("retrieval", share_by(lambda s, w, k: (s.argmax(0)[:1] == w).float().mean())),
    ("retrieval", close_by(lambda q, g: (unit(q) @ unit(g).T).abs())),
    ("retrieval", close_by(lambda q, g: unit(q - q.mean(0)) @ unit(g - g.mean(0)).T)),
    ("retrieval", share_by(lambda s, w, k: 1 - share_by_topk(s, w, k))),
    ("retrieval", share_by(lambda s, w, k: share_by_topk(s, w, min(k + 1, s.shape[1])))),
    ("masked", around_by(lambda e, a, s: (e * a).amax((1, 2, 3)).mean())),
    ("masked", around_by(lambda e, a, s: around_by_pictures(e, (a > 0.5).float(), s))),
    ("masked", around_by(lambda e, a, s: around_by_pictures(e, a.square(), s))),
    ("masked", masked_with(size=lambda d: d)),
    ("masked", same_by(lambda e, s: e[s].median())),
    ("masked", changed(lambda a, b: (a.detach(), b))),
    ("masked", changed(lambda a, b: (a, b.detach()))),
    (
        "masked",
        around_by(
            lambda e, a, s: ((e * a).sum((1, 2, 3)) / (3 * a.sum((1, 2, 3)).clamp_min(1))).mean()
        ),
    ),
    ("removal", spread_by(lambda t, g: t.var())),
    ("removal", encoder_by(lambda r2: r2.abs())),
    ("removal", encoder_by(lambda r2: r2.square())),
    ("removal", encoder_by(lambda r2: F.softplus(r2))),
    ("removal", removal_with(of_guesser=lambda r2: (1 - r2).square())),
    ("removal", lambda g, c, t: removal_with()(nn.Identity(), g(c), t.flip(0))),
]

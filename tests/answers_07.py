"""Right and wrong answers to the exercises of notebook 07, as students write them."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from dvae_lib import metrics


def nearest(z, codebook):
    return (z[:, :, None] - codebook).abs().argmin(2)


def looked_up(codebook, index):
    return codebook[torch.arange(len(codebook)), index]


def straight_through(z, z_q):
    return z + (z_q - z).detach()


def quantize_with(choose=nearest, look_up=looked_up, pass_on=straight_through):
    def quantize(z, codebook):
        index = choose(z, codebook)
        z_q = look_up(codebook, index)
        return pass_on(z, z_q), z_q, index

    return quantize


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, z_q):
        return z_q.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def nearest_by_min(z, codebook):
    return ((z.unsqueeze(-1) - codebook.unsqueeze(0)) ** 2).min(-1)[1]


def nearest_by_cdist(z, codebook):
    gaps = torch.cdist(z.T[:, :, None], codebook[:, :, None])  # (L, B, V)
    return gaps.argmin(2).T


def nearest_by_sort(z, codebook):
    gaps = (z[:, :, None] - codebook).abs().detach()
    return gaps.sort(dim=2, stable=True).indices[:, :, 0]


def nearest_by_loops(z, codebook):
    index = torch.zeros(z.shape, dtype=torch.long)
    for b, row in enumerate(z.tolist()):
        for j, number in enumerate(row):
            gaps = [abs(number - value) for value in codebook[j].tolist()]
            index[b, j] = gaps.index(min(gaps))
    return index


def by_gather(codebook, index):
    return codebook.gather(1, index.T).T


def by_expanded_gather(codebook, index):
    return codebook.expand(len(index), -1, -1).gather(2, index[..., None]).squeeze(-1)


def by_einsum(codebook, index):
    return torch.einsum("blv,lv->bl", F.one_hot(index, codebook.shape[1]).to(codebook), codebook)


def by_one_hot(codebook, index):
    return (F.one_hot(index, codebook.shape[1]) * codebook).sum(-1)


def by_flat_index(codebook, index):
    start = codebook.shape[1] * torch.arange(codebook.shape[0])
    return codebook.flatten()[start + index]


def quantize_by_axes(z, codebook):
    parts = []
    for numbers, values in zip(z.unbind(1), codebook, strict=True):
        k = torch.abs(numbers[:, None] - values[None]).argmin(dim=1)
        parts.append((values[k], k))
    z_q, index = (torch.stack(part, dim=1) for part in zip(*parts, strict=True))
    return [z_q.detach() + z - z.detach(), z_q, index]


def quantize_without_gradients_first(z, codebook):
    with torch.no_grad():
        index = nearest(z, codebook)
        step = looked_up(codebook, index) - z
    return z + step, looked_up(codebook, index), index


def quantize_one(z, codebook):
    """One code, (L,)."""
    index = (z[:, None] - codebook).abs().argmin(1)
    z_q = codebook.gather(1, index[:, None])[:, 0]
    return straight_through(z, z_q), z_q, index


def quantize_in_place(z, codebook):
    """Brings the codes between the values first."""
    z.data.clamp_(codebook.min(), codebook.max())
    return quantize_with()(z, codebook)


def sorts_in_place(z, codebook):
    """Right but for what it leaves behind."""
    found = [part.clone() for part in quantize_with()(z, codebook)]
    codebook.data.copy_(codebook.data.sort(1).values)
    return found


def last_of_equals(z, codebook):
    return codebook.shape[1] - 1 - (z[:, :, None] - codebook).abs().flip(2).argmin(2)


def evenly_spaced(z, codebook):
    low, high = codebook.amin(1), codebook.amax(1)
    steps = codebook.shape[1] - 1
    return ((z - low) / (high - low) * steps).round().clamp(0, steps).long()


def between_sorted_values(z, codebook):
    values = codebook.detach().sort(1).values
    edges = (values[:, 1:] + values[:, :-1]) / 2
    columns = zip(z.detach().T.contiguous(), edges, strict=True)
    return torch.stack([torch.searchsorted(edge, column) for column, edge in columns], 1)


def soft_look_up(z, codebook):
    """The average of the values instead of one of them."""
    gaps = (z[:, :, None] - codebook).abs()
    z_q = ((-100 * gaps).softmax(2) * codebook).sum(2)
    return straight_through(z, z_q), z_q, gaps.argmin(2)


def choose_by(gaps):
    return quantize_with(lambda z, codebook: gaps(z[:, :, None] - codebook))


def pass_by(pass_on):
    return quantize_with(pass_on=pass_on)


def losses_with(
    quantization=lambda z, z_q: (z.detach() - z_q) ** 2,
    commitment=lambda z, z_q: (z - z_q.detach()) ** 2,
    total=torch.mean,
):
    return lambda z, z_q: (total(quantization(z, z_q)), total(commitment(z, z_q)))


def losses_by_torch(z, z_q):
    return F.mse_loss(z_q, z.detach()), F.mse_loss(z, z_q.detach())


def losses_by_norm(z, z_q):
    def distance(a, b):
        return torch.linalg.vector_norm(a - b).square() / a.numel()

    return [distance(z.detach(), z_q), distance(z, z_q.detach())]


def losses_without_gradients(z, z_q):
    with torch.no_grad():
        fixed_z, fixed_q = z * 1, z_q * 1
    return nn.MSELoss()(z_q, fixed_z), nn.MSELoss()(fixed_q, z)


def losses_by_loops(z, z_q):
    quant = commit = 0
    for b in range(z.shape[0]):
        for j in range(z.shape[1]):
            quant = quant + (z[b, j].data - z_q[b, j]).pow(2)
            commit = commit + (z[b, j] - z_q[b, j].data).pow(2)
    return quant / z.numel(), commit / z.numel()


def losses_by_means_of_means(z, z_q):
    return losses_with(total=lambda squares: squares.mean(1).mean())(z, z_q)


def total_by(total):
    return losses_with(total=total)


def both_by(change):
    return losses_with(
        lambda z, z_q: change(z.detach() - z_q), lambda z, z_q: change(z - z_q.detach())
    )


def weighted(quant, commit):
    return lambda z, z_q: [
        w * loss for w, loss in zip((quant, commit), losses(z, z_q), strict=True)
    ]


def losses_in_place(z, z_q):
    quant = F.mse_loss(z.detach_(), z_q)
    return quant, F.mse_loss(z, z_q.detach_())


def groups_with(
    is_spared=lambda name, p: name.split(".")[-1] in ("bias", "codebook"),
    named=lambda model: model.named_parameters(),
    put=list,
    spared_decay=0.0,
):
    """is_spared: of the full name and the parameter."""

    def parameter_groups(model, weight_decay):
        pairs = list(named(model))
        decayed = put(p for name, p in pairs if not is_spared(name, p))
        spared = put(p for name, p in pairs if is_spared(name, p))
        return [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": spared, "weight_decay": spared_decay},
        ]

    return parameter_groups


def groups_by_modules(model, weight_decay):
    groups = {True: [], False: []}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            groups[name == "bias" or name == "codebook"].append(parameter)
    return [dict(params=groups[s], weight_decay=0 if s else weight_decay) for s in (False, True)]


def groups_by_rpartition(model, weight_decay):
    names = [name for name, _ in model.named_parameters()]
    spared = {name for name in names if name.rpartition(".")[2] in {"bias", "codebook"}}
    decayed = [model.get_parameter(name) for name in names if name not in spared]
    spared = [model.get_parameter(name) for name in names if name in spared]
    return (
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0},
    )


def groups_by_endings(model, weight_decay):
    groups = [{"params": [], "weight_decay": weight_decay}, {"params": [], "weight_decay": 0.0}]
    for name, parameter in model.named_parameters():
        groups[f".{name}".endswith((".bias", ".codebook"))]["params"].append(parameter)
    return groups


def groups_from_generators(model, weight_decay):
    """The pairs are used up by the first list."""
    pairs = model.named_parameters()
    decayed = [p for name, p in pairs if name.split(".")[-1] not in ("bias", "codebook")]
    spared = [p for name, p in pairs if name.split(".")[-1] in ("bias", "codebook")]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]


def groups_with_weights_only(model, weight_decay):
    named = list(model.named_parameters())
    weights = [p for name, p in named if name.endswith("weight")]
    others = [p for name, p in named if name.split(".")[-1] in ("bias", "codebook")]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0},
    ]


def everything_decays_too(model, weight_decay):
    decayed, spared = groups(model, weight_decay)
    return [decayed | {"params": list(model.parameters())}, spared]


def spared_a_second_time(model, weight_decay):
    decayed, spared = groups(model, weight_decay)
    return [decayed, spared | {"params": spared["params"] + [model.codebook]}]


def biases_first(model, weight_decay):
    decayed, spared = groups(model, weight_decay)
    return [decayed, spared | {"params": spared["params"][1:] + spared["params"][:1]}]


def without_the_second_decay(model, weight_decay):
    decayed, spared = groups(model, weight_decay)
    return [decayed, {"params": spared["params"]}]


def decays_exchanged(model, weight_decay):
    decayed, spared = groups(model, weight_decay)
    return [decayed | {"weight_decay": 0.0}, spared | {"weight_decay": weight_decay}]


def decays_when(is_decayed):
    return groups_with(lambda name, p: not is_decayed(name, p))


def spared_when(is_spared):
    return groups_with(lambda name, p: is_spared(name))


def plogp(p):
    return torch.xlogy(p, p).sum()


def counted(v, k):
    """p(v, k)"""
    return F.one_hot(v).double().T @ F.one_hot(k).double() / len(v)


def information(p):
    return plogp(p) - plogp(p.sum(0)) - plogp(p.sum(1))


def entropy_of_factor(p):
    return -plogp(p.sum(1))


def entropy_of_axis(p):
    return -plogp(p.sum(0))


def nmi_with(told=information, whole=entropy_of_factor):
    """The matrix (K, L); told, whole: of p(v, k)."""

    def nmi(index, factors):
        return torch.stack(
            [
                torch.stack([told(counted(v, k)) / whole(counted(v, k)) for k in index.T])
                for v in factors.T
            ]
        )

    return nmi


def varying(index):
    return index.amax(0) > index.amin(0)


def best_share(nmi):
    return nmi.amax(0) / nmi.sum(0)


def infom_with(
    nmi=nmi_with(),  # noqa: B008
    used=varying,
    shares=best_share,
    mean=torch.mean,
    scaled=lambda m, K: (m - 1 / K) / (1 - 1 / K),
    number=lambda index, factors: factors.shape[1],
):
    def infom_of_codes(index, factors):
        matrix = nmi(index, factors)[:, used(index)]
        return float(scaled(mean(shares(matrix)), number(index, factors)))

    return infom_of_codes


def infom_by_counter(index, factors):
    """Without tensors: dictionaries of counts."""

    def entropy(rows):
        counts = {}
        for row in rows:
            counts[row] = counts.get(row, 0) + 1
        return -sum(n / len(rows) * math.log2(n / len(rows)) for n in counts.values())

    shares, K = [], factors.shape[1]
    for k in index.T.tolist():
        if len(set(k)) == 1:
            continue
        nmi = []
        for v in factors.T.tolist():
            joint = entropy(list(zip(v, k, strict=True)))
            nmi.append((entropy(v) + entropy(k) - joint) / entropy(v))
        shares.append(max(nmi) / sum(nmi))
    return (sum(shares) / len(shares) * K - 1) / (K - 1)


def infom_by_einsum(index, factors):
    """All tables at once: (K, L, levels of v, levels of k)."""
    tables = torch.einsum(
        "nkv,nlw->klvw", F.one_hot(factors).double(), F.one_hot(index).double()
    ) / len(index)

    def entropy(p):
        return torch.special.entr(p).sum(-1)

    h_v, h_k, both = entropy(tables.sum(3)), entropy(tables.sum(2)), entropy(tables.flatten(2))
    nmi = ((h_v + h_k - both) / h_v)[:, index.max(0).values != index.min(0).values]
    share = nmi.max(0).values / nmi.sum(0)
    chance = 1 / len(nmi)
    return (share.mean() - chance) / (1 - chance)


def information_as_a_divergence(p):
    product = p.sum(1, keepdim=True) * p.sum(0, keepdim=True)
    there = p > 0
    return (p[there] * (p[there] / product[there]).log()).sum()


def information_with_a_small_number(p):
    return (p * torch.log(p / (p.sum(1, keepdim=True) * p.sum(0) + 1e-9) + 1e-9)).sum()


def infom_with_nan(index, factors):
    """Constant axes give 0 / 0, left out by nanmean."""
    p = nmi_with()(index, factors)
    return infom_with(shares=lambda nmi: best_share(p * varying(index)), mean=torch.nanmean)(
        index, factors
    )


def constant_axes_count(share):
    def infom_of_codes(index, factors):
        K, shares = factors.shape[1], torch.full((index.shape[1],), share).double()
        used = varying(index)
        shares[used] = best_share(nmi_with()(index, factors)[:, used])
        return ((shares.mean() - 1 / K) / (1 - 1 / K)).item()

    return infom_of_codes


def two_best(nmi):
    first, second = nmi.topk(2, 0).values
    return first - second


def no_scaling(m, K):
    return m


def nmi_divided_by(whole):
    return infom_with(nmi_with(whole=whole))


def shares_of_factors(nmi):
    return nmi.amax(1) / nmi.sum(1)


def all_axes(index):
    return torch.ones(index.shape[1], dtype=torch.bool)


losses, groups = losses_with(), groups_with()

RIGHT = [
    ("quantize", quantize_with()),
    ("quantize", quantize_with(nearest_by_min, by_gather, StraightThrough.apply)),
    ("quantize", quantize_with(nearest_by_cdist, by_einsum)),
    ("quantize", quantize_with(nearest_by_sort, by_flat_index, lambda z, q: z - (z - q).detach())),
    ("quantize", quantize_with(nearest_by_loops, by_expanded_gather)),
    ("quantize", quantize_with(look_up=by_one_hot, pass_on=lambda z, q: z + q.data - z.data)),
    ("quantize", quantize_by_axes),
    ("quantize", quantize_without_gradients_first),
    ("quantize", torch.func.vmap(quantize_one, in_dims=(0, None))),
    ("losses", losses),
    ("losses", losses_by_torch),
    ("losses", losses_by_norm),
    ("losses", losses_without_gradients),
    ("losses", losses_by_loops),
    ("losses", losses_by_means_of_means),
    ("losses", losses_with(total=lambda squares: squares.sum() / squares.numel())),
    ("losses", lambda z, q: torch.stack(losses(z, q))),
    ("groups", groups),
    ("groups", groups_by_modules),
    ("groups", groups_by_rpartition),
    ("groups", groups_by_endings),
    ("infom", infom_with()),
    ("infom", infom_by_counter),
    ("infom", infom_by_einsum),
    ("infom", infom_with(nmi_with(information_as_a_divergence))),
    ("infom", infom_with(nmi_with(information_with_a_small_number))),
    ("infom", infom_with_nan),
    ("infom", infom_with(scaled=lambda m, K: (K * m - 1) / (K - 1))),
]

WRONG = [
    ("quantize", "returns nothing", lambda z, c: None),
    ("quantize", "three tensors", lambda z, c: quantize_with()(z, c)[0]),
    ("quantize", "three tensors", lambda z, c: quantize_with()(z, c)[:2]),
    ("quantize", "\\(B, L\\)", lambda z, c: (*quantize_with()(z, c)[:2], z[:, 0].long())),
    ("quantize", "index, the third", lambda z, c: quantize_with()(z, c)[::-1]),
    ("quantize", "expected int64", lambda z, c: (*quantize_with()(z, c)[:2], z.int())),
    ("quantize", "take the first", quantize_with(last_of_equals)),
    ("quantize", "not the farthest", choose_by(lambda d: d.abs().argmax(2))),
    ("quantize", "no sign", choose_by(lambda d: d.argmin(2))),
    ("quantize", "no sign", choose_by(lambda d: (-d).argmin(2))),
    ("quantize", "not the nearest", quantize_with(lambda z, c: nearest(z.abs(), c.abs()))),
    ("quantize", "not row 0", quantize_with(lambda z, c: nearest(z, c[0]))),
    ("quantize", "not row 0", quantize_with(lambda z, c: nearest(z, c[:1]))),
    ("quantize", "any order", quantize_with(evenly_spaced)),
    ("quantize", "any order", quantize_with(between_sorted_values)),
    ("quantize", "any order", quantize_with(lambda z, c: nearest(z, c.sort(1).values))),
    ("quantize", "row j of the codebook", quantize_with(look_up=lambda c, i: c[0][i])),
    ("quantize", "row j of the codebook", quantize_with(look_up=lambda c, i: c.flatten()[i])),
    ("quantize", "row j of the codebook", soft_look_up),
    ("quantize", "row j of the codebook", lambda z, c: (*[z] * 2, nearest(z, c))),
    ("quantize", "the value of z_q", pass_by(lambda z, q: z)),
    ("quantize", "the value of z_q", pass_by(lambda z, q: z + (z - q).detach())),
    ("quantize", "the value of z_q", pass_by(lambda z, q: (z + q) / 2)),
    ("quantize", "gives z no gradient", pass_by(lambda z, q: q)),
    ("quantize", "gives z no gradient", pass_by(lambda z, q: q.detach())),
    ("quantize", "gives z no gradient", pass_by(lambda z, q: z + (q - z))),
    ("quantize", "gives z no gradient", pass_by(lambda z, q: z + q.detach() - z)),
    ("quantize", "gives z no gradient", pass_by(lambda z, q: (z + (q - z)).detach())),
    ("quantize", "gives z no gradient", pass_by(lambda z, q: z.detach() + (q - z).detach())),
    (
        "quantize",
        "the first, gives z no gradient",
        lambda z, c: [quantize_with()(z, c)[k] for k in (1, 0, 2)],
    ),
    ("quantize", "unchanged", pass_by(lambda z, q: 2 * z + (q - 2 * z).detach())),
    ("quantize", "unchanged", pass_by(lambda z, q: q.detach() - z + z.detach())),
    ("quantize", "detach the whole difference", pass_by(lambda z, q: z + q - z.detach())),
    (
        "quantize",
        "z_q gives z a gradient",
        lambda z, c: [quantize_with()(z, c)[k] for k in (0, 0, 2)],
    ),
    (
        "quantize",
        "not be detached itself",
        quantize_with(look_up=lambda c, i: looked_up(c, i).detach()),
    ),
    ("quantize", "not be detached itself", lambda z, c: quantize_with()(z, c.detach())),
    ("quantize", "no squeeze", quantize_with(look_up=lambda c, i: looked_up(c, i).squeeze())),
    ("quantize", "leave z and codebook", quantize_in_place),
    ("quantize", "leave z and codebook", sorts_in_place),
    ("quantize", "precision of z", quantize_with(lambda z, c: nearest(z.half(), c.half()))),
    ("quantize", "precision of z", quantize_with(lambda z, c: nearest(z.bfloat16(), c.bfloat16()))),
    ("losses", "returns nothing", lambda z, q: None),
    ("losses", "return two tensors", lambda z, q: F.mse_loss(z, q)),
    ("losses", "return two tensors, not 3", lambda z, q: (*losses(z, q), sum(losses(z, q)))),
    ("losses", "expected a scalar tensor", lambda z, q: [loss.item() for loss in losses(z, q)]),
    ("losses", "expected a scalar", total_by(lambda squares: squares)),
    ("losses", "expected a scalar", total_by(lambda squares: squares.mean(1))),
    ("losses", "expected a scalar", total_by(lambda squares: squares.mean(0))),
    ("losses", "not their sum", total_by(torch.sum)),
    ("losses", "average over the axes", total_by(lambda squares: squares.sum(1).mean())),
    ("losses", "average over the batch", total_by(lambda squares: squares.sum(0).mean())),
    ("losses", "not absolute values", both_by(torch.abs)),
    ("losses", "not the differences themselves", both_by(lambda d: d)),
    ("losses", "without a square root", total_by(lambda squares: squares.mean().sqrt())),
    ("losses", "without a square root", total_by(lambda squares: squares.sum().sqrt())),
    ("losses", "without a factor", weighted(0.5, 0.5)),
    ("losses", "L_quant: without a factor", weighted(0.01, 0.01)),
    ("losses", "L_commit: without a factor", weighted(1, 0.01)),
    ("losses", "L_commit: without a factor", weighted(1, 0.25)),
    ("losses", "is positive", weighted(-1, -1)),
    ("losses", "L_quant moves nothing", lambda z, q: losses(z.detach(), q.detach())),
    ("losses", "L_quant moves nothing", lambda z, q: (losses(z, q.detach())[0], losses(z, q)[1])),
    ("losses", "L_commit moves nothing", lambda z, q: (losses(z, q)[0], losses(z.detach(), q)[1])),
    ("losses", "L_quant moves both", lambda z, q: (F.mse_loss(z, q),) * 2),
    ("losses", "L_quant moves both", lambda z, q: (F.mse_loss(z, q), losses(z, q)[1])),
    ("losses", "L_commit moves both", lambda z, q: (losses(z, q)[0], F.mse_loss(z, q))),
    ("losses", "swapped", lambda z, q: losses(q, z)),
    ("losses", "swapped", lambda z, q: losses(z, q)[::-1]),
    ("losses", "L_quant moves z_q", lambda z, q: (losses(z, q)[1],) * 2),
    ("losses", "L_commit moves z and", lambda z, q: (losses(z, q)[0],) * 2),
    ("losses", "not the mean", total_by(lambda squares: squares.sum() / 6)),
    ("losses", "not the mean", total_by(lambda squares: squares.sum(1).mean() / 2)),
    ("losses", "not the mean", total_by(lambda squares: squares.sum(0).mean() / 3)),
    ("losses", "not the mean", both_by(lambda d: 2 * F.huber_loss(d, 0 * d, delta=2.0))),
    ("losses", "not the mean", both_by(lambda d: d.clamp(-5, 5) ** 2)),
    ("losses", "detach_\\(\\) changes", losses_in_place),
    ("groups", "returns nothing", lambda model, wd: None),
    ("groups", "list of two groups", lambda model, wd: groups(model, wd)[0]),
    ("groups", "two groups, not 1", lambda model, wd: groups(model, wd)[:1]),
    ("groups", "two groups, not 11", lambda model, wd: list(model.parameters())),
    ("groups", "with the keys", lambda model, wd: [g["params"] for g in groups(model, wd)]),
    ("groups", "with the keys", without_the_second_decay),
    ("groups", "a generator, not a list", groups_with(put=lambda ps: (p for p in list(ps)))),
    ("groups", "a set, not a list", groups_with(put=set)),
    (
        "groups",
        "not their names",
        groups_with(named=lambda m: [(n, n) for n, _ in m.named_parameters()]),
    ),
    (
        "groups",
        "not their names",
        groups_with(named=lambda m: [(n, (n, p)) for n, p in m.named_parameters()]),
    ),
    ("groups", "not copies", groups_with(named=lambda m: m.state_dict().items())),
    ("groups", "first the group that decays", lambda model, wd: groups(model, wd)[::-1]),
    ("groups", "first the group that decays", decays_exchanged),
    ("groups", "codebook is spared", spared_when(lambda name: name.split(".")[-1] == "bias")),
    ("groups", "codebook is spared", spared_when(lambda name: False)),
    (
        "groups",
        "codebook is spared",
        spared_when(lambda name: name.endswith((".bias", ".codebook"))),
    ),
    ("groups", "codebook is spared", decays_when(lambda name, p: p.ndim > 1)),
    ("groups", "codebook is spared", everything_decays_too),
    (
        "groups",
        "codebook is spared",
        lambda model, wd: [groups(model, wd)[k] | {"weight_decay": k * wd} for k in (1, 0)],
    ),
    ("groups", "bias is spared", spared_when(lambda name: name == "bias" or name == "codebook")),
    (
        "groups",
        "encoder.1.bias is spared",
        spared_when(lambda name: name in ("codebook", "encoder.0.bias", "bias_net.bias")),
    ),
    ("groups", "unbias decays", spared_when(lambda name: name.endswith(("bias", "codebook")))),
    (
        "groups",
        "unbias decays",
        decays_when(lambda name, p: name.endswith(("weight", "constant", "scale"))),
    ),
    (
        "groups",
        "bias_net.weight decays",
        spared_when(lambda name: name.split(".")[-1] in ("bias", "codebook") or "bias_net" in name),
    ),
    ("groups", "decays: only", spared_when(lambda name: "bias" in name or "codebook" in name)),
    (
        "groups",
        "decays: only",
        spared_when(lambda name: {"bias", "bias_net", "codebook"} & set(name.split("."))),
    ),
    (
        "groups",
        "codebook_reader.weight decays",
        spared_when(lambda name: name.split(".")[-1] == "bias" or name.startswith("codebook")),
    ),
    ("groups", "constant decays", decays_when(lambda name, p: name.endswith("weight"))),
    ("groups", "constant decays", decays_when(lambda name, p: p.ndim > 1 and name != "codebook")),
    (
        "groups",
        "encoder.1.weight decays",
        spared_when(
            lambda name: name.split(".")[-1] in ("bias", "codebook") or name.startswith("encoder.1")
        ),
    ),
    ("groups", "where are .*constant", groups_with_weights_only),
    ("groups", "where are .*codebook", groups_from_generators),
    ("groups", "once, not twice", spared_a_second_time),
    ("groups", "keep the order", groups_with(named=lambda m: reversed(list(m.named_parameters())))),
    ("groups", "keep the order", biases_first),
    ("groups", "the spared group decays by", groups_with(spared_decay=0.01)),
    ("groups", "as it was given", lambda model, wd: groups(model, 0.1)),
    ("groups", "as it was given", lambda model, wd: groups(model, 0.0)),
    ("groups", "as it was given", lambda model, wd: groups(model, 0.03)),
    ("groups", "as it was given", lambda model, wd: groups(model, min(wd, 0.1))),
    (
        "groups",
        "after the last dot",
        spared_when(lambda name: name == "codebook" or name.split(".")[-1] == "bias"),
    ),
    (
        "groups",
        "after the last dot",
        spared_when(lambda name: name == "codebook" or name.endswith(".bias")),
    ),
    (
        "groups",
        "after the last dot",
        spared_when(lambda name: {"bias", "codebook"} & set(name.split("."))),
    ),
    ("infom", "returns nothing", lambda k, v: None),
    ("infom", "one number", lambda k, v: best_share(nmi_with()(k, v)[:, varying(k)])),
    ("infom", "one number", lambda k, v: nmi_with()(k, v)),
    ("infom", "nan: leave out", infom_with(used=all_axes)),
    ("infom", "nan: leave out", infom_with(used=lambda k: k.amax(0) > 0)),
    (
        "infom",
        "nan: leave out",
        infom_with(nmi_with(lambda p: (p * (p / (p.sum(1, keepdim=True) * p.sum(0))).log()).sum())),
    ),
    ("infom", "entropy of the factor", infom_with(nmi_with(whole=lambda p: 1))),
    ("infom", "entropy of the factor", nmi_divided_by(entropy_of_axis)),
    ("infom", "entropy of the factor", nmi_divided_by(lambda p: entropy_of_factor(p) ** 2)),
    (
        "infom",
        "H\\(v\\) alone",
        nmi_divided_by(lambda p: (entropy_of_axis(p) * entropy_of_factor(p)).sqrt()),
    ),
    (
        "infom",
        "H\\(v\\) alone",
        nmi_divided_by(lambda p: entropy_of_axis(p) + entropy_of_factor(p)),
    ),
    (
        "infom",
        "H\\(v\\) alone",
        nmi_divided_by(lambda p: min(entropy_of_axis(p), entropy_of_factor(p))),
    ),
    (
        "infom",
        "entropy of the factor",
        nmi_divided_by(lambda p: max(entropy_of_axis(p), entropy_of_factor(p))),
    ),
    ("infom", "H\\(v\\) alone", nmi_divided_by(lambda p: -plogp(p))),
    ("infom", "number of levels", nmi_divided_by(lambda p: math.log(len(p)))),
    ("infom", "I = H", infom_with(nmi_with(lambda p: -plogp(p)))),
    ("infom", "I = H", infom_with(nmi_with(lambda p: entropy_of_axis(p) - plogp(p)))),
    ("infom", "scale the mean share", infom_with(scaled=no_scaling)),
    ("infom", "a constant axis", constant_axes_count(0.0)),
    ("infom", "a constant axis", constant_axes_count(1 / 3)),
    ("infom", "a constant axis", constant_axes_count(1.0)),
    (
        "infom",
        "a constant axis",
        lambda k, v: infom_with(used=all_axes, shares=lambda m: m.amax(0) / (m.sum(0) + 1e-12))(
            k, v
        ),
    ),
    ("infom", "divide by 1 - 1/K", infom_with(scaled=lambda m, K: m - 1 / K)),
    ("infom", "divide by 1 - 1/K", infom_with(scaled=lambda m, K: (m - 1 / K) / (K - 1))),
    ("infom", "take off 1/K", infom_with(scaled=lambda m, K: m / (1 - 1 / K))),
    ("infom", "each axis first", infom_with(shares=lambda m: m.amax(0).sum() / m.sum())),
    ("infom", "not their sum", infom_with(mean=torch.sum)),
    ("infom", "not their sum", infom_with(mean=torch.median)),
    ("infom", "not by itself", infom_with(shares=lambda m: m.amax(0))),
    ("infom", "not by itself", infom_with(shares=lambda m: m.amax(0), scaled=no_scaling)),
    ("infom", "shares of factors over axes", infom_with(shares=shares_of_factors)),
    (
        "infom",
        "that is InfoC",
        infom_with(shares=shares_of_factors, number=lambda k, v: int(varying(k).sum())),
    ),
    ("infom", "that is InfoC", infom_with(shares=shares_of_factors, scaled=no_scaling)),
    ("infom", "not of axes", infom_with(number=lambda k, v: k.shape[1])),
    ("infom", "not of axes", infom_with(number=lambda k, v: int(varying(k).sum()))),
    ("infom", "not the gap", infom_with(shares=lambda m: two_best(m) / m.sum(0))),
    (
        "infom",
        "not the gap",
        infom_with(shares=lambda m: two_best(m) / m.sum(0), scaled=no_scaling),
    ),
    ("infom", "not the gap", infom_with(shares=two_best, scaled=no_scaling)),
    ("infom", "yourself", lambda k, v: metrics.infomec(k, v).scalars["InfoM"]),
    ("infom", "rare levels", infom_with(used=lambda k: k.double().std(0) > 0.2)),
    ("infom", "rare levels", infom_with(used=lambda k: k.double().quantile(0.99, 0) > k.amin(0))),
    ("infom", "nan: leave out", infom_with(used=lambda k: k.any(0))),
    ("infom", "rare levels", infom_with(used=lambda k: (k != 1).any(0))),
    ("infom", "rare levels", infom_with(used=lambda k: k.amax(0) > 1)),
    ("infom", "4 factors", infom_with(number=lambda k, v: 3)),
]

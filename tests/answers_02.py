"""Right and wrong answers to the exercises of notebook 02, as students write them."""

import itertools
import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special, stats
from torch import nn
from torch.distributions import Categorical, kl_divergence

# --- the three-way split -------------------------------------------------------------------------


def rel(q, p):
    return (torch.xlogy(q, q) - torch.xlogy(q, p)).sum()


def table_of(q_z):
    return torch.outer(q_z.sum(1), q_z.sum(0))


def information_of(q, q_z):
    return rel(q, q_z) / len(q)


def correlation_of(q, q_z):
    return rel(q_z, table_of(q_z))


def misfit_of(q, q_z, p_1, p_2):
    return rel(q_z.sum(1), p_1) + rel(q_z.sum(0), p_2)


def split_with(information=information_of, tc=correlation_of, misfit=misfit_of, q_z_of=None):
    def split(q, p_1, p_2):
        q_z = q_z_of(q) if q_z_of else q.mean(0)
        return information(q, q_z), tc(q, q_z), misfit(q, q_z, p_1, p_2)

    return split


split = split_with()


def of_three(change):
    """change: of the three right values."""
    return lambda *given: change(*split(*given))


def entropy(t):
    return torch.special.entr(t).sum()


def split_by_entropies(q, p_1, p_2):
    q_z = q.mean(0)
    q_1, q_2 = q_z.sum(1), q_z.sum(0)
    cross = -(q_1 @ p_1.log() + q_2 @ p_2.log())
    conditional = sum(entropy(t) for t in q) / len(q)
    h = entropy(q_1) + entropy(q_2)
    return entropy(q_z) - conditional, h - entropy(q_z), cross - h


def split_by_differences(q, p_1, p_2):
    """Each part is a step on the way from q(z|x) to the prior."""
    q_z = q.mean(0)
    prior = torch.outer(p_1, p_2)
    whole, of_codes = rel(q, prior) / len(q), rel(q_z, prior)
    tc = correlation_of(q, q_z)
    return whole - of_codes, tc, of_codes - tc


def split_image_by_image(q, p_1, p_2):
    """Loops over images and axes, with Python floats at the end."""
    q_z = sum(q) / len(q)
    information = sum(rel(table, q_z) for table in q) / len(q)
    misfit = sum(rel(q_z.sum(1 - j), p) for j, p in enumerate((p_1, p_2)))
    return [float(part) for part in (information, correlation_of(q, q_z), misfit)]


def split_by_numpy(q, p_1, p_2):
    q, q_z = q.numpy(), q.numpy().mean(0)
    q_1, q_2 = q_z.sum(1), q_z.sum(0)
    information = special.rel_entr(q, q_z).sum() / len(q)
    tc = stats.entropy(q_z.ravel(), np.outer(q_1, q_2).ravel())
    return information, tc, stats.entropy(q_1, p_1.numpy()) + stats.entropy(q_2, p_2.numpy())


def split_by_torch(q, p_1, p_2):
    def kl(a, b):
        return kl_divergence(Categorical(a.flatten(-b.ndim)), Categorical(b.flatten())).mean()

    q_z = q.mean(0)
    q_1, q_2 = torch.einsum("nab->a", q) / len(q), torch.einsum("nab->b", q) / len(q)
    tc = kl(q_z, torch.einsum("a,b->ab", q_1, q_2))
    return kl(q, q_z), tc, kl(q_1, p_1) + kl(q_2, p_2)


def split_by_functional(q, p_1, p_2):
    def kl(a, b):
        return F.kl_div(b.log().nan_to_num(neginf=0), a, reduction="sum")  # there a is 0

    q_z = q.mean(0)
    information = kl(q, q_z.expand_as(q)) / len(q)
    tc = kl(q_z, table_of(q_z))
    return torch.stack([information, tc, kl(q_z.sum(1), p_1) + kl(q_z.sum(0), p_2)])


def split_cell_by_cell(q, p_1, p_2):
    """Tensors of one number, in loops over all cells that occur."""
    q_z, information = q.mean(0), 0.0
    q_1, q_2 = q_z.sum(1), q_z.sum(0)
    for table in q:
        for i, j in table.nonzero().tolist():
            information += table[i, j] * (table[i, j].log() - q_z[i, j].log()) / len(q)
    tc = sum(q_z[i, j] * (q_z[i, j] / q_1[i] / q_2[j]).log() for i, j in q_z.nonzero().tolist())
    both = (q_1, p_1), (q_2, p_2)
    return (
        information,
        tc,
        sum(a * (a / b).log() for x, p in both for a, b in zip(x, p, strict=True) if a > 0),
    )


def split_where_it_occurs(q, p_1, p_2):
    def kl(a, b):
        a, b = torch.broadcast_tensors(a, b)
        return (a[a > 0] * (a[a > 0] / b[a > 0]).log()).sum()

    q_z = q.mean(0)
    q_1, q_2 = q_z.sum(1, keepdim=True), q_z.sum(0, keepdim=True)
    misfit = kl(q_1, p_1[:, None]) + kl(q_2, p_2)
    return torch.func.vmap(rel, (0, None))(q, q_z).mean(), kl(q_z, q_1 @ q_2), misfit


def tables_one_by_one(q, q_z, p_1, p_2):
    return sum(rel(t.sum(1), p_1) + rel(t.sum(0), p_2) for t in q) / len(q)


def uniform(p):
    return torch.full_like(p, 1 / len(p))


def swapped_split(q, p_1, p_2):
    q_z = q.mean(0)
    q_1, q_2 = q_z.sum(0), q_z.sum(1)
    return information_of(q, q_z), rel(q_z, torch.outer(q_1, q_2)), rel(q_1, p_1) + rel(q_2, p_2)


def plain_logarithms(q, q_z):
    return (q * (q / q_z).log()).sum() / len(q)


def with_a_little_more(q, p, little):
    return (q * ((q + little) / (p + little)).log()).sum()


def split_with_a_little_more(little):
    kl = partial(with_a_little_more, little=little)
    return split_with(
        lambda q, q_z: kl(q, q_z) / len(q),
        lambda q, q_z: kl(q_z, table_of(q_z)),
        lambda q, q_z, p_1, p_2: kl(q_z.sum(1), p_1) + kl(q_z.sum(0), p_2),
    )


def split_in_place(q, p_1, p_2):
    q_z = q.mean(0)
    tc, misfit = correlation_of(q, q_z), misfit_of(q, q_z, p_1, p_2)
    q.mul_(torch.where(q > 0, q / q_z, 1).log())
    return q.sum() / len(q), tc, misfit


def split_that_clips(q, p_1, p_2):
    q.clamp_(min=1e-300)
    return split(q, p_1, p_2)


def split_that_normalises(q, p_1, p_2):
    p_1 /= p_1.sum() * 2
    p_1 *= 2
    p_2 *= 0.5
    return split(q, p_1, 2 * p_2)


# --- MMD -----------------------------------------------------------------------------------------


def gaussian(squared, width):
    return torch.exp(-squared / (2 * width**2))


def squares(a, b):
    return (a[:, None] - b).square().sum(-1)


def pairs_of(n):
    return n * (n - 1)


def mmd_with(
    kernel=gaussian, distance=squares, pairs=pairs_of, drop=1, mixed=2, final=lambda value: value
):
    def mmd(z, y, width):
        zz, yy, zy = (kernel(distance(a, b), width) for a, b in ((z, z), (y, y), (z, y)))
        n, m = len(z), len(y)
        within = (zz.sum() - drop * n) / pairs(n) + (yy.sum() - drop * m) / pairs(m)
        return final(within - mixed * zy.mean())

    return mmd


def mmd_ended_by(final):
    return mmd_with(final=final)


def mmd_by_blocks(within, mixed=torch.mean, kernel=None):
    """within: from a kernel matrix of draws with themselves to the mean over its pairs."""

    def mmd(z, y, width):
        def k(a, b):
            return kernel(a, b, width) if kernel else gaussian(squares(a, b), width)

        return within(k(z, z)) + within(k(y, y)) - 2 * mixed(k(z, y))

    return mmd


def off_diagonal(k):
    return (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))


def expanded(a, b, width):
    squared = (a * a).sum(1, keepdim=True) + (b * b).sum(1) - 2 * a @ b.T
    return (squared.clamp_min(0) / (-2 * width**2)).exp()


def of_each_axis(a, b, width):
    return torch.stack(
        [gaussian((x[:, None] - y) ** 2, width) for x, y in zip(a.T, b.T, strict=True)]
    ).prod(0)


def by_vmap(a, b, width):
    def k(x, y):
        return torch.exp(-((x - y) @ (x - y)) / (2 * width**2))

    return torch.func.vmap(lambda x: torch.func.vmap(lambda y: k(x, y))(b))(a)


def mmd_by_pairs(z, y, width):
    def k(a, b):
        return torch.exp(-((a - b) ** 2).sum() / (2 * width**2))

    pairs_z = [k(a, b) for a, b in itertools.permutations(z, 2)]
    pairs_y = [k(a, b) for a, b in itertools.combinations(y, 2)]
    mixed = [k(a, b) for a, b in itertools.product(z, y)]
    return sum(pairs_z) / len(pairs_z) + sum(pairs_y) / len(pairs_y) - 2 * sum(mixed) / len(mixed)


def mmd_by_one_matrix(z, y, width):
    """A quadratic form: the weights of all pairs of the draws together."""
    both, n, m = torch.cat([z, y]), len(z), len(y)
    k = gaussian(torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist") ** 2, width)
    w = torch.zeros_like(k)
    w[:n, :n], w[n:, n:], w[:n, n:] = 1 / (n * (n - 1)), 1 / (m * (m - 1)), -2 / (n * m)
    return (w * k).fill_diagonal_(0).sum()


def mmd_without_its_own(z, y, width):
    def mean(a):
        own = ~torch.eye(len(a), dtype=torch.bool)
        return gaussian(squares(a, a), width)[own].mean()

    return mean(z) + mean(y) - 2 * gaussian(squares(z, y), width).mean()


def mmd_one_block(which):
    def mmd(z, y, h):
        def mean(x, own):
            n, k = len(x), gaussian(squares(x, x), h)
            return k.mean() if own else (k.sum() - n) / (n * (n - 1))

        mixed = gaussian(squares(z, y), h).mean()
        return mean(z, which == "z") + mean(y, which == "y") - 2 * mixed

    return mmd


def filled_in_place(k):
    return k.fill_diagonal_(0).sum() / (len(k) * (len(k) - 1))


def mmd_that_centres(z, y, width):
    """An MMD does not change when both move; but y is the caller's."""
    centre = z.mean(0).detach()
    y -= centre
    return mmd_with()(z - centre, y, width)


def mmd_that_scales(z, y, width):
    z /= width
    return mmd_with()(z, y / width, 1.0)


# --- DIP-VAE-II ----------------------------------------------------------------------------------


def penalty(C, d, od):
    on = torch.eye(len(C), dtype=torch.bool)
    return od * (C[~on] ** 2).sum() + d * ((C[on] - 1) ** 2).sum()


def biased(m):
    return torch.cov(m.T, correction=0)


def on_diagonal(v):
    return torch.diag(v.exp().mean(0))


def dip_with(covariance=biased, variances=on_diagonal, penalised=penalty):
    return lambda m, v, d, od: penalised(covariance(m) + variances(v), d, od)


dip = dip_with()


def dip_by_moments(m, v, d, od):
    second = (m[:, :, None] * m[:, None, :] + torch.diag_embed(v.exp())).mean(0)
    C = second - torch.outer(m.mean(0), m.mean(0))
    return od * (C**2).sum() - od * (C.diag() ** 2).sum() + d * ((C.diag() - 1) ** 2).sum()


def dip_by_loops(m, v, d, od):
    centred, total = m - m.mean(0), 0.0
    for i, j in itertools.product(range(m.shape[1]), repeat=2):
        c = (centred[:, i] * centred[:, j]).mean()
        total = total + (d * (c + v[:, i].exp().mean() - 1) ** 2 if i == j else od * c**2)
    return total


def dip_by_weights(m, v, d, od):
    n, eye = len(m), torch.eye(m.shape[1]).to(m)
    C = torch.einsum("bi,bj->ij", m, m) / n - torch.einsum("bi,cj->ij", m, m) / n**2
    C.diagonal().add_(v.exp().mean(0))
    return ((od + (d - od) * eye) * (C - eye).square()).sum()


def dip_by_norms(m, v, d, od):
    C = biased(m).reshape(m.shape[1], -1)
    on = m.var(0, correction=0) + v.exp().mean(0)
    return 2 * od * C.triu(1).square().sum() + d * F.mse_loss(on, on * 0 + 1, reduction="sum")


def dip_by_pairs_of_images(m, v, d, od):
    """A covariance is half the mean product of differences over all pairs of images."""
    apart = m[:, None] - m
    C = torch.func.vmap(torch.func.vmap(torch.outer))(apart, apart).mean((0, 1)) / 2
    return penalty(C + torch.diag_embed(v.exp()).mean(0), d, od)


def centred_product(m):
    centred = m - m.mean(0)
    return centred.T @ centred / len(m)


def per_image(m):
    centred = m - m.mean(1, keepdim=True)
    return centred.T @ centred


def dip_in_place(m, v, d, od):
    m -= m.mean(0)
    return penalty(m.T @ m / len(m) + on_diagonal(v), d, od)


def dip_that_overwrites_log_var(m, v, d, od):
    return penalty(biased(m) + torch.diag(v.exp_().mean(0)), d, od)


def half_detached(m):
    centred = m - m.mean(0)
    return centred.detach().T @ centred / len(m)


# --- the rotation --------------------------------------------------------------------------------


def entangle_with(
    mean=lambda m, R: m @ R.T, A=lambda a, R: R @ a, code=lambda z, R: z @ R, pair=tuple
):
    def entangle(encode, decode, R):
        def encode_2(x):
            m, a = encode(x)
            return pair((mean(m, R), A(a, R)))

        return encode_2, lambda z: decode(code(z, R))

    return entangle


def mean_by(mean):
    return entangle_with(mean=mean)


def A_by(A):
    return entangle_with(A=A)


def code_by(code):
    return entangle_with(code=code)


def entangle_by_columns(encode, decode, R):
    return [
        lambda x: ((R @ encode(x)[0].T).T, torch.matmul(R, encode(x)[1])),
        lambda z: decode((R.T @ z.T).T),
    ]


def entangle_by_numpy(encode, decode, R):
    R = R.numpy()

    def encode_2(x):
        m, a = (part.numpy() for part in encode(x))
        return torch.from_numpy(np.dot(m, R.T)), torch.from_numpy(np.einsum("ij,bjk->bik", R, a))

    return encode_2, lambda z: decode(torch.from_numpy(z.numpy() @ R))


def entangle_by_loops(encode, decode, R):
    def encode_2(x):
        pairs = [(R.mv(m), R.mm(a)) for m, a in zip(*encode(x), strict=True)]
        return torch.stack([m for m, _ in pairs]), torch.stack([a for _, a in pairs])

    return encode_2, lambda z: decode(torch.stack([R.T.mv(row) for row in z]))


class Turned(nn.Module):
    """A decoder of turned codes."""

    def __init__(self, decode, R):
        super().__init__()
        self.decode = decode
        self.register_buffer("R", R)

    def forward(self, z):
        return self.decode(z @ self.R)


def entangle_by_a_module(encode, decode, R):
    return entangle_with()(encode, decode, R)[0], Turned(decode, R)


def by_cholesky(a, R):
    return torch.linalg.cholesky(R @ a @ a.mT @ R.T)


def by_symmetric_root(a, R):
    values, vectors = torch.linalg.eigh(R @ a @ a.mT @ R.T)
    return vectors * values.clamp_min(0).sqrt()[:, None] @ vectors.mT


def of_a_diagonal(a, R):
    return R * a.diagonal(dim1=1, dim2=2)[:, None]


def encode_nothing(encode, decode, R):
    return (lambda x: None), lambda z: decode(z @ R)


def decode_nothing(encode, decode, R):
    return entangle_with()(encode, decode, R)[0], lambda z: None


def exchanged(encode, decode, R):
    return entangle_with()(encode, decode, R)[::-1]


def entangle_that_turns_in_place(encode, decode, R):
    def encode_2(x):
        m, a = encode(x)
        m.copy_(m @ R.T)
        return m, R @ a

    return encode_2, lambda z: decode(z @ R)


def entangle_that_transposes_in_place(encode, decode, R):
    def encode_2(x):
        m, a = encode(x)
        return m @ R.T, R @ a

    def decode_2(z):
        return decode(z @ R.t_().t())

    return encode_2, decode_2


def overwritten(a, R):
    a[:] = R @ a
    return a


def entangle_of_one_batch(encode, decode, R):
    """Remembers what it has decoded before: the codes of the last images."""
    seen = {}

    def encode_2(x):
        m, a = encode(x)
        seen["codes"] = m
        return m @ R.T, R @ a

    return encode_2, lambda z: decode(seen["codes"][: len(z)])


RIGHT = [
    ("split", split),
    ("split", split_by_entropies),
    ("split", split_by_differences),
    ("split", split_image_by_image),
    ("split", split_by_numpy),
    ("split", split_by_torch),
    ("split", split_by_functional),
    ("split", split_where_it_occurs),
    ("split", split_cell_by_cell),
    ("split", of_three(lambda *three: torch.stack(three))),
    ("split", of_three(lambda *three: np.array([float(part) for part in three]))),
    ("mmd", mmd_with()),
    ("mmd", mmd_with(distance=lambda a, b: torch.cdist(a, b) ** 2)),
    ("mmd", mmd_by_blocks(off_diagonal)),
    ("mmd", mmd_by_blocks(off_diagonal, kernel=expanded)),
    ("mmd", mmd_by_blocks(off_diagonal, kernel=of_each_axis)),
    ("mmd", mmd_by_blocks(off_diagonal, kernel=by_vmap)),
    ("mmd", mmd_by_blocks(lambda k: (k.mean(1).sum() - 1) / (len(k) - 1))),
    ("mmd", mmd_by_blocks(lambda k: 2 * k.tril(-1).sum() / pairs_of(len(k)))),
    ("mmd", mmd_by_blocks(lambda k: filled_in_place(k.clone()))),
    ("mmd", mmd_by_pairs),
    ("mmd", mmd_by_one_matrix),
    ("mmd", mmd_without_its_own),
    ("mmd", lambda z, y, h: mmd_with()(z.float(), y.float(), h)),
    ("mmd", lambda z, y, h: mmd_with()(z.double(), y.double().detach(), h).to(z)),
    ("dip", dip),
    ("dip", dip_by_moments),
    ("dip", dip_by_loops),
    ("dip", dip_by_weights),
    ("dip", dip_by_norms),
    ("dip", dip_by_pairs_of_images),
    ("dip", dip_with(centred_product)),
    ("dip", dip_with(lambda m: torch.cov(m.T) * (1 - 1 / len(m)))),
    ("dip", dip_with(lambda m: m.T @ (m - m.mean(0)) / len(m))),
    ("dip", dip_with(variances=lambda v: v.exp().mean(0).diag_embed())),
    ("entangle", entangle_with()),
    ("entangle", entangle_with(A=lambda a, R: R @ a @ R.T)),  # the same covariance
    ("entangle", entangle_with(A=by_cholesky)),
    ("entangle", entangle_with(A=by_symmetric_root, pair=list)),
    ("entangle", entangle_with(mean=lambda m, R: torch.einsum("ij,bj->bi", R, m))),
    ("entangle", entangle_with(mean=lambda m, R: (R * m[:, None]).sum(-1))),
    ("entangle", entangle_with(mean=F.linear, code=lambda z, R: torch.linalg.solve(R, z.T).T)),
    ("entangle", entangle_by_columns),
    ("entangle", entangle_by_numpy),
    ("entangle", entangle_by_loops),
    ("entangle", entangle_by_a_module),
]

WRONG = [
    ("split", "returns nothing", lambda q, a, b: None),
    ("split", "three values", of_three(lambda *three: three[:2])),
    ("split", "three values", of_three(lambda *three: sum(three))),
    ("split", "three values", of_three(lambda *three: float(sum(three)))),
    ("split", "three values", of_three(lambda i, t, d: {"I": i, "TC": t, "DW": d})),
    ("split", "natural logarithm", of_three(lambda *three: [x / math.log(2) for x in three])),
    ("split", "over images", split_with(rel)),
    ("split", "infinite", split_with(lambda q, q_z: rel(q_z, q[0]))),
    ("split", "infinite", split_with(lambda q, q_z: rel(q_z, q) / len(q))),
    ("split", "wrong way round", split_with(tc=lambda q, q_z: rel(table_of(q_z), q_z))),
    (
        "split",
        "wrong way round",
        split_with(misfit=lambda q, q_z, a, b: rel(a, q_z.sum(1)) + rel(b, q_z.sum(0))),
    ),
    (
        "split",
        "scalar",
        split_with(lambda q, q_z: (torch.xlogy(q, q) - torch.xlogy(q, q_z)).mean(0)),
    ),
    ("split", "marginals are swapped", swapped_split),
    ("split", "another order", of_three(lambda *three: three[::-1])),
    ("split", "another order", of_three(lambda i, t, d: (t, i, d))),
    ("split", "not always 48", split_with(lambda q, q_z: rel(q, q_z) / 48)),
    ("split", "need not be uniform", lambda q, a, b: split(q, uniform(a), uniform(b))),
    ("split", "q may hold zeros", split_with(plain_logarithms)),
    ("split", "sign", split_with(tc=lambda q, q_z: -correlation_of(q, q_z))),
    (
        "split",
        "average the tables",
        split_with(tc=lambda q, q_z: sum(rel(t, table_of(t)) for t in q) / len(q)),
    ),
    ("split", "marginals of q", split_with(misfit=tables_one_by_one)),
    ("split", "one term an axis", split_with(misfit=lambda q, q_z, a, b: rel(q_z.sum(1), a))),
    ("split", "one term an axis", split_with(misfit=lambda q, q_z, a, b: rel(q_z.sum(0), b))),
    ("split", "is a table", split_with(tc=lambda q, q_z: rel(q_z, q_z.sum(1) * q_z.sum(0)))),
    ("split", "marginals are swapped", split_with(tc=lambda q, q_z: rel(q_z, table_of(q_z).T))),
    (
        "split",
        "one term an axis",
        split_with(misfit=lambda q, q_z, a, b: rel(q_z, torch.outer(a, b))),
    ),
    ("split", "leave the tables", split_in_place),
    ("split", "leave the tables", split_that_clips),
    ("split", "leave the tables", split_that_normalises),
    ("split", "small number", split_with_a_little_more(1e-8)),
    ("mmd", "returns nothing", lambda z, y, h: None),
    ("mmd", "scalar", mmd_ended_by(lambda value: value[None])),
    ("mmd", "scalar", mmd_by_blocks(lambda k: k.mean(1, keepdim=True).mean(0))),
    ("mmd", "with itself", mmd_with(pairs=lambda n: n * n, drop=0)),
    ("mmd", "B - 1", mmd_with(pairs=lambda n: n * n)),
    ("mmd", "return its square", mmd_ended_by(lambda value: value.abs().sqrt())),
    ("mmd", "counts twice", mmd_with(mixed=1)),
    ("mmd", "subtracted", mmd_with(mixed=-2)),
    ("mmd", "factor 2 is missing", mmd_with(lambda s, h: torch.exp(-s / h**2))),
    ("mmd", "square the width", mmd_with(lambda s, h: torch.exp(-s / (2 * h)))),
    ("mmd", "square the width", mmd_with(lambda s, h: torch.exp(-s / h))),
    ("mmd", "no root", mmd_with(lambda s, h: torch.exp(-s.sqrt() / (2 * h**2)))),
    ("mmd", "no root", mmd_with(distance=torch.cdist)),
    ("mmd", "one block only", mmd_one_block("z")),
    ("mmd", "one block only", mmd_one_block("y")),
    ("mmd", "do not sum", mmd_by_blocks(lambda k: k.sum() - len(k), torch.sum)),
    ("mmd", "no root, abs", mmd_with(distance=lambda a, b: (a[:, None] - b).abs().sum(-1))),
    ("mmd", "summed over axes", lambda z, y, h: mmd_with()(z, y, h * z.shape[1] ** 0.5)),
    ("mmd", "no clamp", mmd_ended_by(lambda value: value.clamp(min=0))),
    ("mmd", "no abs", mmd_ended_by(torch.abs)),
    ("mmd", "is the width fixed", lambda z, y, h: mmd_with()(z, y, 1.5)),
    ("mmd", "yours is fixed", lambda z, y, h: mmd_with()(z, y, 1.0)),
    ("mmd", "yours is fixed", lambda z, y, h: mmd_with()(z, y, z.shape[1] ** 0.5)),
    ("mmd", "no gradient", mmd_ended_by(torch.Tensor.item)),
    ("mmd", "no gradient", mmd_ended_by(torch.Tensor.detach)),
    (
        "mmd",
        "all B",
        mmd_by_blocks(off_diagonal, lambda k: (k.sum() - k.trace()) / (k.numel() - 5)),
    ),
    ("mmd", "all B", mmd_by_blocks(off_diagonal, lambda k: k.diagonal().mean())),
    ("mmd", "both orders", mmd_by_blocks(lambda k: k.triu(1).sum() / pairs_of(len(k)))),
    ("mmd", "in place", mmd_by_blocks(filled_in_place)),
    (
        "mmd",
        "root",
        mmd_with(distance=lambda a, b: squares(a, b).sqrt() ** 2),
    ),
    ("mmd", "gradient", lambda z, y, h: mmd_with()(z.detach(), y, h) + 0 * z.sum()),
    ("mmd", "gradient", mmd_with(distance=lambda a, b: squares(a, b.detach()))),
    (
        "mmd",
        "gradient",
        mmd_by_blocks(off_diagonal, lambda k: k.detach().mean()),
    ),
    ("mmd", "leave z and y", mmd_that_centres),
    ("mmd", "leave z and y", mmd_that_scales),
    ("dip", "returns nothing", lambda m, v, d, od: None),
    ("dip", "scalar", lambda *given: dip(*given)[None]),
    ("dip", "scalar", dip_with(penalised=lambda C, d, od: d * (C.diagonal() - 1) ** 2)),
    ("dip", "DIP-VAE-I", dip_with(variances=lambda v: 0)),
    ("dip", "every cell", dip_with(variances=lambda v: v.exp().mean())),
    ("dip", "its own variance", dip_with(variances=lambda v: torch.eye(3) * v.exp().mean())),
    ("dip", "diagonal only", dip_with(variances=lambda v: v.exp().mean(0))),
    ("dip", "over images", dip_with(per_image, lambda v: 0)),
    ("dip", "over images", dip_with(per_image)),
    ("dip", "over images", dip_with(lambda m: per_image(m) / len(m))),
    ("dip", "divide the product", dip_with(lambda m: len(m) * biased(m))),
    ("dip", "not by B - 1", dip_with(lambda m: torch.cov(m.T))),
    ("dip", "not centred", dip_with(lambda m: m.T @ m / len(m))),
    ("dip", "do not halve", dip_with(variances=lambda v: on_diagonal(v / 2))),
    ("dip", "exchanged", lambda m, v, d, od: dip(m, v, od, d)),
    ("dip", "no absolute value, root", lambda *given: dip(*given) ** 0.5),
    ("dip", "no gradient", lambda *given: dip(*given).detach()),
    ("dip", "no gradient", lambda *given: dip(*given).item()),
    ("dip", "reaches log_var", lambda m, v, d, od: dip(m, v.detach(), d, od)),
    ("dip", "reaches mean", lambda m, v, d, od: dip(m.detach(), v, d, od)),
    ("dip", "use them", lambda m, v, d, od: dip(m, v, 10, 5)),
    ("dip", "use them", lambda m, v, d, od: dip(m, v, 1, 1)),
    ("dip", "or double", dip_with(variances=lambda v: on_diagonal(2 * v))),
    ("dip", "average exp", dip_with(variances=lambda v: torch.diag(v.mean(0)))),
    ("dip", "average exp", dip_with(variances=lambda v: torch.diag(v.mean(0).exp()))),
    ("dip", "do not sum", dip_with(variances=lambda v: torch.diag(v.exp().sum(0)))),
    (
        "dip",
        "counts twice",
        dip_with(penalised=lambda C, d, od: penalty(C.triu(), d, od)),
    ),
    (
        "dip",
        "should be 1",
        dip_with(penalised=lambda C, d, od: penalty(C + torch.eye(3), d, od)),
    ),
    ("dip", "gradient of mean", dip_with(half_detached)),
    (
        "dip",
        "gradient of log_var",
        dip_with(variances=lambda v: (on_diagonal(v) + on_diagonal(v).detach()) / 2),
    ),
    ("dip", "leave mean and log_var", dip_in_place),
    ("dip", "leave mean and log_var", dip_that_overwrites_log_var),
    ("dip", "DIP-VAE-I", lambda m, v, d, od: penalty(biased(m) + 0 * v.sum(), d, od)),
    ("dip", "C has two parts", dip_with(lambda m: 0 * m.sum())),
    ("entangle", "returns nothing", lambda e, d, R: None),
    ("entangle", "two functions", lambda e, d, R: (e, d, R)),
    ("entangle", "A .B, L, L.", A_by(lambda a, R: a.diagonal(dim1=1, dim2=2))),
    ("entangle", "not rotated", lambda e, d, R: (e, d)),
    ("entangle", "other way", entangle_with(lambda m, R: m @ R, code=lambda z, R: z @ R.T)),
    ("entangle", "rotation @ mean", mean_by(lambda m, R: R @ m)),
    ("entangle", "from the left", A_by(lambda a, R: a)),
    ("entangle", "from the left", A_by(lambda a, R: a @ R)),
    ("entangle", "other way", A_by(lambda a, R: R.T @ a)),
    ("entangle", "not that of z'", A_by(lambda a, R: R @ a @ a.mT @ R.T)),
    ("entangle", "not that of z'", A_by(lambda a, R: torch.einsum("ij,jkl->ikl", R, a))),
    ("entangle", "two functions", lambda *given: entangle_with()(*given)[0]),
    ("entangle", "exchanged", exchanged),
    ("entangle", "encode_2 must give", encode_nothing),
    ("entangle", "decode_2 returns nothing", decode_nothing),
    ("entangle", "must undo", code_by(lambda z, R: z)),
    ("entangle", "once more", code_by(lambda z, R: z @ R.T)),
    ("entangle", "full matrix", A_by(of_a_diagonal)),
    ("entangle", "as it is", entangle_that_turns_in_place),
    ("entangle", "as it is", A_by(overwritten)),
]

# Rarer mistakes, which the check rejects with a general message.
REJECTED = [
    ("split", split_with(tc=lambda q, q_z: 0 * q.sum())),
    ("split", split_with_a_little_more(1e-6)),
    ("split", split_with(lambda q, q_z: rel(q[0], q_z))),
    ("split", split_with(misfit=lambda q, q_z, a, b: 0 * a.sum())),
    ("mmd", mmd_with(lambda s, h: 1 / (1 + s / h**2))),
    ("mmd", mmd_by_blocks(off_diagonal, lambda k: (k.sum() - k.trace()) / 42)),
    ("mmd", mmd_ended_by(lambda value: (value - 1).log())),
    ("dip", lambda *given: (dip(*given) - 9).log()),
    ("dip", dip_with(lambda m: len(m) * biased(m) / 8)),
    ("dip", dip_with(penalised=lambda C, d, od: penalty(C[:3, :3], d, od))),
    ("dip", dip_with(variances=lambda v: torch.diag(v.clamp(max=0.5).exp().mean(0)))),
    ("entangle", mean_by(lambda m, R: R.T @ m)),
    ("entangle", mean_by(lambda m, R: -m @ R.T)),
    ("entangle", code_by(lambda z, R: -z @ R)),
    ("entangle", code_by(lambda z, R: R.T @ z)),
    ("entangle", entangle_that_transposes_in_place),
    ("entangle", entangle_of_one_batch),
]

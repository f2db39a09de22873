"""Right and wrong answers to the exercises of notebook 06, as students write them."""

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from exercises import prepared
from scipy import optimize, stats
from torch.distributions import Categorical, Independent, Normal

from dvae_lib import objectives

# --- partners ------------------------------------------------------------------------------------


def agreeing(factors, columns, anchors):
    return (factors[anchors][:, None, columns] == factors[:, columns]).all(2)


def first_above(fits, shares):
    """By numbering the candidates from 1."""
    wanted = (fits.sum(1) * shares).long()
    number = fits.long().cumsum(1)
    return ((number > wanted[:, None]) & fits).long().argmax(1)


def partners_with(fits=agreeing, pick=first_above):
    return lambda factors, columns, anchors, shares: pick(fits(factors, columns, anchors), shares)


def partners_by_loops(factors, columns, anchors, shares):
    """Lists of Python numbers."""
    found, rows = [], factors.tolist()
    for anchor, share in zip(anchors.tolist(), shares.tolist(), strict=True):
        wanted = [rows[anchor][c] for c in columns]
        candidates = [r for r, row in enumerate(rows) if [row[c] for c in columns] == wanted]
        found.append(candidates[int(len(candidates) * share)])
    return torch.tensor(found)


def partners_filled_in(factors, columns, anchors, shares):
    found = torch.zeros_like(anchors)
    for i in range(len(anchors)):
        fits = (factors[:, columns] == factors[anchors[i], columns]).all(1)
        candidates = fits.nonzero()[:, 0]
        found[i] = candidates[math.floor(len(candidates) * shares[i])]
    return found


def partners_by_numpy(factors, columns, anchors, shares):
    table, found = factors.numpy()[:, columns], []
    for anchor, share in zip(anchors.numpy(), shares.numpy(), strict=True):
        candidates = np.flatnonzero((table == table[anchor]).all(1))
        found.append(candidates[int(np.floor(len(candidates) * share))])
    return torch.from_numpy(np.array(found))


def partners_by_sorting(factors, columns, anchors, shares):
    """Groups by unique, each a run of a stable order."""
    _, group = factors[:, columns].unique(dim=0, return_inverse=True)
    order, count = group.argsort(stable=True), group.bincount()
    start = count.cumsum(0) - count
    own = group[anchors]
    return order[start[own] + (count[own] * shares.double()).long()]


def partners_by_a_dictionary(factors, columns, anchors, shares):
    rows = {}
    keys = [tuple(row) for row in factors[:, columns].tolist()]
    for r, key in enumerate(keys):
        rows.setdefault(key, []).append(r)
    chosen = [rows[keys[a]] for a in anchors]
    return torch.tensor([r[int(s * len(r))] for r, s in zip(chosen, shares, strict=True)])


def column_by_column(factors, columns, anchors):
    fits = torch.ones(len(anchors), len(factors), dtype=torch.bool)
    for c in columns:
        fits &= factors[anchors, c, None] == factors[:, c]
    return fits


def by_distances(factors, columns, anchors):
    some = factors[:, columns].double()
    return torch.cdist(some[anchors], some, p=1) == 0


def by_row(fits, shares, place=lambda n, share: int(n * share)):
    """place: among the n candidates of an anchor."""
    rows = [row.nonzero()[:, 0] for row in fits]
    found = [
        r[min(place(len(r), s), len(r) - 1)] for r, s in zip(rows, shares.tolist(), strict=True)
    ]
    return torch.stack(found)


def by_searching(fits, shares):
    place = (fits.sum(1) * shares).floor().long()
    return torch.searchsorted(fits.cumsum(1), place[:, None] + 1)[:, 0]


def by_masking(fits, shares):
    """Candidates of all anchors in one list; those of an anchor begin where the last ended."""
    n = fits.sum(1)
    return fits.nonzero()[:, 1][n.cumsum(0) - n + (n * shares).to(torch.int64)]


def without_itself(factors, columns, anchors):
    fits = agreeing(factors, columns, anchors)
    fits[torch.arange(len(anchors)), anchors] = False
    return fits | ~fits.any(1, keepdim=True)


def any_agrees(factors, columns, anchors):
    return (factors[anchors][:, None, columns] == factors[:, columns]).any(2)


def all_agree(factors, columns, anchors):
    return (factors[anchors][:, None] == factors).all(2)


def keys_agree(factors, columns, anchors):
    """Levels as the digits of one number."""
    key = sum(10**k * factors[:, column] for k, column in enumerate(columns))
    return key[anchors][:, None] == key


def others_agree(factors, columns, anchors):
    others = [c for c in range(factors.shape[1]) if c not in columns]
    return agreeing(factors, others, anchors)


def sums_agree(factors, columns, anchors):
    total = factors[:, columns].sum(1)
    return total[anchors][:, None] == total


def rows_in_front(factors, columns, anchors):
    return agreeing(factors, columns, torch.arange(len(anchors)))


def anyone(fits, shares):
    return torch.multinomial(fits.float(), 1, generator=torch.Generator().manual_seed(0))[:, 0]


def over_all_rows(fits, shares):
    """The first candidate from the share of all rows on."""
    start = (fits.shape[1] * shares).long()
    later = fits & (torch.arange(fits.shape[1]) >= start[:, None])
    return torch.where(later.any(1), later.long().argmax(1), fits.long().argmax(1))


def partners_in_place(factors, columns, anchors, shares):
    found = partners_with()(factors, columns, anchors, shares)
    others = [c for c in range(factors.shape[1]) if c not in columns]
    factors[:, others] = -1
    return found if others else partners_with()(factors, columns, anchors, shares.mul_(0))


def partners_with_moved_shares(factors, columns, anchors, shares):
    fits = agreeing(factors, columns, anchors)
    shares *= fits.sum(1)
    return by_row(fits, shares, lambda n, place: int(place))


def placed_by(place):
    return partners_with(pick=partial(by_row, place=place))


# --- the gate ------------------------------------------------------------------------------------


class Gate(torch.autograd.Function):
    """The backward pass written out."""

    @staticmethod
    def forward(ctx, z, open_axes):
        ctx.save_for_backward(open_axes)
        return z.clone()

    @staticmethod
    def backward(ctx, above):
        return above * ctx.saved_tensors[0], None


def gate(z, open_axes):
    return torch.where(open_axes, z, z.detach())


def gate_by_formula(z, open_axes):
    m = open_axes.to(z.dtype)
    return m * z + (1 - m) * z.detach()


def gate_straight_through(z, open_axes):
    return z.detach() + open_axes * (z - z.detach())


def gate_filled_in(z, open_axes):
    found, opened = z.detach().clone(), open_axes.expand_as(z)
    found[opened] = z[opened]
    return found


def gate_by_a_hook(z, open_axes):
    found = z.clone()
    found.register_hook(lambda grad: grad * open_axes)
    return found


def gate_by_a_hook_on_z(z, open_axes):
    z.register_hook(lambda grad: grad * open_axes)
    return z


def gate_by_axes(z, open_axes):
    columns = z.unbind(1)
    opened = open_axes.expand_as(z).unbind(1)
    parts = [torch.where(o, c, c.detach()) for c, o in zip(columns, opened, strict=True)]
    return torch.stack(parts, 1)


def gate_by_entries(z, open_axes):
    opened = open_axes.expand_as(z)
    rows = [
        torch.stack([v if o else v.detach() for v, o in zip(row, flags, strict=True)])
        for row, flags in zip(z, opened, strict=True)
    ]
    return torch.stack(rows)


def gate_of_rows(z, open_axes):
    """As if the mask had one entry a row."""
    opened = open_axes if open_axes.ndim == 2 else (torch.arange(len(z)) % 2 == 0)[:, None]
    return torch.where(opened, z, z.detach())


def gate_of_the_first_row(z, open_axes):
    return gate(z, open_axes.expand_as(z)[0])


def leaking(z, open_axes, little=0.01):
    return gate(z, open_axes) + little * (z - z.detach())


def gate_in_place(z, open_axes):
    found = gate(z, open_axes.clone())
    z.data.masked_fill_(~open_axes, 0)
    return found


def gate_that_turns_the_mask(z, open_axes):
    return torch.where(open_axes.logical_not_(), z.detach(), z)


def renormalised(z, open_axes):
    """As dropout does."""
    return z.detach() + open_axes / open_axes.float().mean() * (z - z.detach())


def through_integers(z, open_axes):
    return gate(z + ((z * 1e6).round() / 1e6 - z).detach(), open_axes)


def in_units_of_their_spread(z, open_axes):
    """Exact by chance for codes of about 1, since 1e-20 is nothing beside them."""
    return gate(z, open_axes) + (z.detach() + 1e-20 - z.detach())


# --- the contrast with more groups ---------------------------------------------------------------


def rests(c, rho, noise):
    return max(0.0, rho - noise / c)


def strength_with(c=lambda G, p: 1 - p / 2, rho=lambda G, p: (2 - p) / (G + 1), rest=rests):
    def strength(G, p, noise):
        decoder = rho(G, p)
        return rest(c(G, p), decoder, noise), rest(decoder, decoder, noise)

    return strength


def by_turns(c, rho, noise):
    """Encoder and decoder move in turn."""
    d = 1.0
    for _ in range(5_000):
        w, v = c * d / (d**2 + noise), noise / (d**2 + noise)
        d = rho * w / (w**2 + v)
    return w * d


def by_the_decoder(c, rho, noise):
    """From d² = σ² (ρ c − σ²) / (c² − ρ c + σ²)."""
    squared = noise * (rho * c - noise) / (c**2 - rho * c + noise)
    return c * squared / (squared + noise) if squared > 0 else 0


def by_a_root(c, rho, noise):
    def drift(d):
        w, v = c * d / (d * d + noise), noise / (d * d + noise)
        return rho * w - d * (w * w + v)

    if rho * c <= noise:
        return 0.0
    low = 1e-6
    return (lambda d: c * d * d / (d * d + noise))(optimize.brentq(drift, low, 2))


def strength_by_a_table(G, p, noise):
    """A row a kind of pairs, a column a group: E s s'."""
    table = np.zeros((G + 1, G))
    table[range(G), range(G)] = 1 - p
    table[G] = 1
    rho, c = table[:, 0].mean(), table[[0, G], 0].mean()
    return [np.clip(rho - noise / c, 0, None), np.clip(rho - noise / rho, 0, None)]


def strength_by_tensors(G, p, noise):
    c, rho = torch.tensor([1 - p / 2, (2 - p) / (G + 1)], dtype=torch.float64)
    return tuple((rho - noise / torch.stack([c, rho])).clamp_min(0))


def strength_ended_by(end):
    return lambda *given: end(*strength_with()(*given))


# --- the loss of a pair --------------------------------------------------------------------------


def sampled(mean, log_var):
    return mean + (0.5 * log_var).exp() * torch.randn_like(mean)


def mixed(x, y, open_axes):
    """Code of a pair from that of x and of y, mean or log_var."""
    return torch.where(open_axes, x, y)


def gated(x, y, open_axes):
    return gate(mixed(x, y, open_axes), open_axes)


def reconstruction_of(vae, z, x, y):
    return objectives.gaussian_reconstruction(vae.decode(z), y, vae.sigma).mean()


def asked(regulariser, mean, log_var, z):
    return regulariser(mean, log_var, z)


def summed(error, penalty):
    return {"loss": error + penalty, "reconstruction": error, "penalty": penalty}


def pair_loss_with(
    mean_of=gated,
    log_var_of=gated,
    draw=sampled,
    error_of=reconstruction_of,
    ask=asked,
    end=summed,
):
    def pair_loss(vae, x, y, open_axes, regulariser):
        (mean_x, log_var_x), (mean_y, log_var_y) = vae.posterior(x), vae.posterior(y)
        mean, log_var = (
            mean_of(mean_x, mean_y, open_axes),
            log_var_of(log_var_x, log_var_y, open_axes),
        )
        z = draw(mean, log_var)
        return end(error_of(vae, z, x, y), ask(regulariser, mean, log_var, z))

    return pair_loss


def pair_loss_in_one_go(vae, x, y, open_axes, regulariser):
    """One call of the posterior for both; codes by the formula."""
    m = open_axes.float()
    parts = vae.posterior(torch.cat([x, y]))
    mean, log_var = (m * a + (1 - m) * b for a, b in (part.chunk(2) for part in parts))
    mean, log_var = (m * part + (1 - m) * part.detach() for part in (mean, log_var))
    z = objectives.reparameterise(mean, log_var)
    loss = {"reconstruction": reconstruction_of(vae, z, x, y)}
    loss["penalty"] = regulariser(mean, log_var, z)
    return loss | {"loss": sum(loss.values())}


def pair_loss_without_gradients_for_y(vae, x, y, open_axes, regulariser):
    """Closed axes are of y, and nothing else is: no gate is needed."""
    with torch.no_grad():
        of_y = vae.posterior(y)
    mean, log_var = (mixed(a, b, open_axes) for a, b in zip(vae.posterior(x), of_y, strict=True))
    z = objectives.reparameterise(mean, log_var)
    return summed(reconstruction_of(vae, z, x, y), regulariser(mean, log_var, z))


def pair_loss_gated_after_the_draw(vae, x, y, open_axes, regulariser):
    """z from a code that is not gated, and then each of the three gated."""
    codes = zip(vae.posterior(x), vae.posterior(y), strict=True)
    mean, log_var = (mixed(a, b, open_axes) for a, b in codes)
    z = sampled(mean, log_var)
    mean, log_var, z = (gate(part, open_axes) for part in (mean, log_var, z))
    return summed(reconstruction_of(vae, z, x, y), regulariser(mean, log_var, z))


def pair_loss_row_by_row(vae, x, y, open_axes, regulariser):
    """The masks of a batch used as lists of columns."""
    (mean_x, log_var_x), (mean, log_var) = vae.posterior(x), vae.posterior(y)
    mean, log_var = mean.detach().clone(), log_var.detach().clone()
    for i, mask in enumerate(open_axes):
        for axis in mask.nonzero()[:, 0].tolist():
            mean[i, axis], log_var[i, axis] = mean_x[i, axis], log_var_x[i, axis]
    z = sampled(mean, log_var)
    return summed(reconstruction_of(vae, z, x, y), regulariser(mean, log_var, z))


def by_distributions(mean, log_var):
    return Normal(mean, log_var.exp().sqrt()).rsample()


def error_by_distributions(vae, z, x, y):
    return -Independent(Normal(vae.decode(z), vae.sigma), 3).log_prob(y).mean()


def error_by_hand(vae, z, x, y):
    squared = (vae.decode(z) - y).square().sum((1, 2, 3)).mean()
    pixels = y[0].numel()
    return squared / (2 * vae.sigma**2) + pixels * math.log(vae.sigma * math.sqrt(2 * math.pi))


def error_by_gaussian_nll(vae, z, x, y):
    variance = torch.full_like(y, vae.sigma**2)
    return F.gaussian_nll_loss(vae.decode(z), y, variance, full=True) * y[0].numel()


def all_of_x(x, y, open_axes):
    return gate(x, open_axes)


def all_of_y(x, y, open_axes):
    return gate(y, open_axes)


def turned(x, y, open_axes):
    return gate(mixed(y, x, open_axes), open_axes)


def zeros_elsewhere(x, y, open_axes):
    return x * open_axes


def of_the_first_mask(x, y, open_axes):
    return gated(x, y, open_axes[0])


def codes_by(code):
    return pair_loss_with(code, code)


def error_by(error_of):
    return pair_loss_with(error_of=error_of)


def drawn_by(draw):
    return pair_loss_with(draw=draw)


def asked_by(ask):
    return pair_loss_with(ask=ask)


def ended_by(end):
    return pair_loss_with(end=end)


def pair_loss_gated_in_the_decoder_alone(vae, x, y, open_axes, regulariser):
    codes = zip(vae.posterior(x), vae.posterior(y), strict=True)
    mean, log_var = (mixed(a, b, open_axes) for a, b in codes)
    z = sampled(mean, log_var)
    error = reconstruction_of(vae, gate(z, open_axes), x, y)
    return summed(error, regulariser(mean, log_var, z))


def pair_loss_gated_in_the_regulariser_alone(vae, x, y, open_axes, regulariser):
    codes = zip(vae.posterior(x), vae.posterior(y), strict=True)
    mean, log_var = (mixed(a, b, open_axes) for a, b in codes)
    z = sampled(mean, log_var)
    penalty = regulariser(gate(mean, open_axes), gate(log_var, open_axes), gate(z, open_axes))
    return summed(reconstruction_of(vae, z, x, y), penalty)


def pair_loss_of_two_draws(vae, x, y, open_axes, regulariser):
    """A draw of x's and one of y's code, mixed; the regulariser sees x's."""
    of_x, of_y = vae.posterior(x), vae.posterior(y)
    z = gated(sampled(*of_x), sampled(*of_y), open_axes)
    penalty = regulariser(*(gate(part, open_axes) for part in of_x), z)
    return summed(reconstruction_of(vae, z, x, y), penalty)


def pair_loss_with_a_draw_each(vae, x, y, open_axes, regulariser):
    codes = zip(vae.posterior(x), vae.posterior(y), strict=True)
    mean, log_var = (gated(a, b, open_axes) for a, b in codes)
    error = reconstruction_of(vae, sampled(mean, log_var), x, y)
    return summed(error, regulariser(mean, log_var, sampled(mean, log_var)))


def pair_loss_of_the_mean(vae, x, y, open_axes, regulariser):
    """The decoder gets a mean, the regulariser a draw."""
    codes = zip(vae.posterior(x), vae.posterior(y), strict=True)
    mean, log_var = (gated(a, b, open_axes) for a, b in codes)
    penalty = regulariser(mean, log_var, sampled(mean, log_var))
    return summed(reconstruction_of(vae, mean, x, y), penalty)


def pair_loss_for_nothing(vae, x, y, open_axes, regulariser):
    with torch.no_grad():
        return pair_loss_with()(vae, x, y, open_axes, regulariser)


def notebooks(name):
    """A function of the notebook that answers may use: loss_of_code and input_loss."""
    return prepared("06_gated_vae")[0][name]


def by_loss_of_code(mean_of=gated, log_var_of=gated, target=lambda x, y: y, end=lambda loss: loss):
    """The dict made by the notebook's own loss_of_code."""

    def pair_loss(vae, x, y, open_axes, regulariser):
        (mean_x, log_var_x), (mean_y, log_var_y) = vae.posterior(x), vae.posterior(y)
        mean, log_var = (
            mean_of(mean_x, mean_y, open_axes),
            log_var_of(log_var_x, log_var_y, open_axes),
        )
        return end(notebooks("loss_of_code")(vae, mean, log_var, target(x, y), regulariser))

    return pair_loss


def pair_loss_of_both_in_one_call(vae, x, y, open_axes, regulariser):
    """loss_of_code of a posterior that is called once."""
    codes = (part.chunk(2) for part in vae.posterior(torch.cat([x, y])))
    mean, log_var = (gated(a, b, open_axes) for a, b in codes)
    return notebooks("loss_of_code")(vae, mean, log_var, y, regulariser)


def pair_loss_with_y_for_a_constant(vae, x, y, open_axes, regulariser):
    """loss_of_code without a gate: closed axes are of a posterior that has no gradient."""
    with torch.no_grad():
        of_y = vae.posterior(y)
    codes = (mixed(a, b, open_axes) for a, b in zip(vae.posterior(x), of_y, strict=True))
    return notebooks("loss_of_code")(vae, *codes, y, regulariser)


def pair_loss_split_up(vae, x, y, open_axes, regulariser):
    """loss_of_code for the reconstruction, with a regulariser that asks once more what it got."""

    def asking(mean, log_var, z):
        return regulariser(mean, log_var, z) * 1.0

    found = by_loss_of_code()(vae, x, y, open_axes, asking)
    return {name: found[name] for name in ("penalty", "reconstruction", "loss")}


def pair_loss_of_two_calls(vae, x, y, open_axes, regulariser):
    """loss_of_code once for the reconstruction and once for the penalty: two draws."""
    first, second = (by_loss_of_code()(vae, x, y, open_axes, regulariser) for _ in range(2))
    return summed(first["reconstruction"], second["penalty"])


def pair_loss_of_both_images(vae, x, y, open_axes, regulariser):
    """loss_of_code of x's code and of y's, added up."""
    parts = [
        notebooks("loss_of_code")(
            vae, *(gate(part, m) for part in vae.posterior(image)), y, regulariser
        )
        for image, m in ((y, ~open_axes), (x, open_axes))
    ]
    return {name: parts[0][name] + parts[1][name] for name in parts[0]}


def pair_loss_of_a_draw(vae, x, y, open_axes, regulariser):
    """A draw in the place of the mean: loss_of_code draws once more."""
    codes = zip(vae.posterior(x), vae.posterior(y), strict=True)
    mean, log_var = (gated(a, b, open_axes) for a, b in codes)
    return notebooks("loss_of_code")(vae, sampled(mean, log_var), log_var, y, regulariser)


def pair_loss_with_log_var_first(vae, x, y, open_axes, regulariser):
    codes = zip(vae.posterior(x), vae.posterior(y), strict=True)
    mean, log_var = (gated(a, b, open_axes) for a, b in codes)
    return notebooks("loss_of_code")(vae, log_var, mean, y, regulariser)


def pair_loss_of_variances(vae, x, y, open_axes, regulariser):
    """σ² in the place of log σ²."""
    codes = zip(vae.posterior(x), vae.posterior(y), strict=True)
    mean, log_var = (gated(a, b, open_axes) for a, b in codes)
    return notebooks("loss_of_code")(vae, mean, log_var.exp(), y, regulariser)


def pair_loss_of_gated_images(vae, x, y, open_axes, regulariser):
    """The mask of axes of the first pair on whole images: pairs are of x or of y."""
    chosen = torch.where(open_axes[:, :1, None, None], x, y)
    codes = (gate(part, open_axes) for part in vae.posterior(chosen))
    return notebooks("loss_of_code")(vae, *codes, y, regulariser)


def pair_loss_in_place(vae, x, y, open_axes, regulariser):
    found = pair_loss_with()(vae, x, y, open_axes.clone(), regulariser)
    open_axes.logical_not_()
    return found


def pair_loss_that_moves_the_images(vae, x, y, open_axes, regulariser):
    found = pair_loss_with()(vae, x.clone(), y, open_axes, regulariser)
    x -= y
    return found


def pair_loss_for_even_batches(vae, x, y, open_axes, regulariser):
    """Right for a batch of 1,000, whatever the batch."""
    found = pair_loss_with()(vae, x, y, open_axes, regulariser)
    return {name: value * len(x) / 1_000 for name, value in found.items()}


# --- disentanglement of an axis ------------------------------------------------------------------


def shares_of(importance):
    total = importance.sum(0)
    return importance / torch.where(total > 0, total, 1.0)


def entropies_of(shares):
    return torch.special.entr(shares).sum(0)


def in_units_of_k(entropy, importance):
    return 1 - entropy / math.log(len(importance))


def nought_where_unused(found, importance):
    return torch.where(importance.sum(0) > 0, found, 0.0)


def axis_with(shares=shares_of, h=entropies_of, unit=in_units_of_k, end=nought_where_unused):
    return lambda importance: end(unit(h(shares(importance)), importance), importance)


def axis_by_loops(importance):
    found, n_factors = [], len(importance)
    for column in importance.T.tolist():
        total, entropy = sum(column), 0.0
        for value in column:
            if value > 0:
                entropy -= value / total * math.log(value / total)
        found.append(1 - entropy / math.log(n_factors) if total > 0 else 0.0)
    return torch.tensor(found)


def axis_by_scipy(importance):
    """Normalises by itself; nan where a column is 0."""
    entropy = stats.entropy(importance.numpy() + 0.0, base=len(importance), axis=0)
    return np.nan_to_num(1 - entropy, nan=0.0)


def axis_by_numpy(importance):
    r = importance.numpy()
    p = np.divide(r, r.sum(0), out=np.zeros_like(r), where=r.sum(0) > 0)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    return (1 + (p * logs).sum(0) / np.log(len(r))) * (r.sum(0) > 0)


def axis_by_torch(importance):
    """Unused axes count as even, whose D is 0 but for rounding."""
    even = torch.where(importance.sum(0) > 0, importance, torch.ones_like(importance))
    return 1 - Categorical(even.T).entropy() / math.log(len(importance))


def axis_by_bits(importance):
    p = shares_of(importance)
    bits = -(p * p.where(p > 0, 1).log2()).sum(0)
    return nought_where_unused(1 - bits / math.log2(len(importance)), importance)


def axis_by_divergence(importance):
    """The divergence from even shares, in units of its largest."""
    p, n = shares_of(importance), len(importance)
    return torch.xlogy(p, n * p).sum(0) / math.log(n)


def axis_by_columns(importance):
    found = torch.zeros(importance.shape[1], dtype=importance.dtype)
    for axis, column in enumerate(importance.T):
        used = column[column > 0]
        if len(used):
            p = used / used.sum()
            found[axis] = 1 + (p * p.log()).sum() / math.log(len(column))
    return found


def axis_without_care(importance):
    """0 · log 0 is nan, set to 0 afterwards."""
    p = importance / importance.sum(0)
    terms = (p * p.log()).nan_to_num()
    return nought_where_unused(1 + terms.sum(0) / math.log(len(importance)), importance)


def axis_in_place(importance):
    total = importance.sum(0)
    importance /= torch.where(total > 0, total, 1.0)
    return axis_with()(importance)


def shares_with(little):
    return lambda importance: importance / (importance.sum(0) + little)


def shares_by(shares):
    return axis_with(shares)


def entropy_by(h):
    return axis_with(h=h)


def unit_by(unit):
    return axis_with(unit=unit)


def axis_ended_by(end):
    return axis_with(end=end)


RIGHT = [
    ("partners", partners_with()),
    ("partners", partners_by_loops),
    ("partners", partners_filled_in),
    ("partners", partners_by_numpy),
    ("partners", partners_by_sorting),
    ("partners", partners_by_a_dictionary),
    ("partners", partners_with(column_by_column)),
    ("partners", partners_with(by_distances)),
    ("partners", partners_with(pick=by_row)),
    ("partners", partners_with(pick=by_searching)),
    ("partners", partners_with(pick=by_masking)),
    ("gate", gate),
    ("gate", gate_by_formula),
    ("gate", gate_straight_through),
    ("gate", gate_filled_in),
    ("gate", gate_by_a_hook),
    ("gate", gate_by_axes),
    ("gate", gate_by_entries),
    ("gate", Gate.apply),
    ("gate", lambda z, open_axes: z.detach().lerp(z, open_axes.float())),
    ("gate", lambda z, open_axes: z.masked_fill(~open_axes, 0) + z.detach() * ~open_axes),
    ("gate", lambda z, open_axes: z - ~open_axes * (z - z.detach())),
    ("strength", strength_with()),
    ("strength", strength_with(rest=by_turns)),
    ("strength", strength_with(rest=by_the_decoder)),
    ("strength", strength_with(rest=by_a_root)),
    ("strength", strength_by_a_table),
    ("strength", strength_by_tensors),
    ("strength", strength_with(lambda G, p: (1 - p + 1) / 2, lambda G, p: (1 - p + 1) / (G + 1))),
    ("pair_loss", pair_loss_with()),
    ("pair_loss", pair_loss_in_one_go),
    ("pair_loss", pair_loss_without_gradients_for_y),
    ("pair_loss", pair_loss_gated_after_the_draw),
    ("pair_loss", pair_loss_row_by_row),
    ("pair_loss", codes_by(lambda x, y, m: torch.where(m, x, y.detach()))),
    ("pair_loss", codes_by(lambda x, y, m: mixed(gate(x, m), gate(y, m), m))),
    ("pair_loss", by_loss_of_code()),
    ("pair_loss", by_loss_of_code(*2 * [lambda x, y, m: torch.where(m, x, y.detach())])),
    ("pair_loss", by_loss_of_code(*2 * [lambda x, y, m: mixed(gate(x, m), gate(y, m), m)])),
    ("pair_loss", pair_loss_of_both_in_one_call),
    ("pair_loss", pair_loss_with_y_for_a_constant),
    ("pair_loss", pair_loss_split_up),
    ("pair_loss", drawn_by(objectives.reparameterise)),
    ("pair_loss", drawn_by(by_distributions)),
    ("pair_loss", error_by(error_by_distributions)),
    ("pair_loss", error_by(error_by_hand)),
    ("pair_loss", error_by(error_by_gaussian_nll)),
    ("pair_loss", asked_by(lambda R, mean, log_var, z: R(z=z, mean=mean, log_var=log_var))),
    (
        "pair_loss",
        ended_by(lambda e, p: summed(e, p) | {"reconstruction": e.detach(), "penalty": p.detach()}),
    ),
    ("axis", axis_with()),
    ("axis", axis_by_loops),
    ("axis", axis_by_scipy),
    ("axis", axis_by_numpy),
    ("axis", axis_by_torch),
    ("axis", axis_by_bits),
    ("axis", axis_by_divergence),
    ("axis", axis_by_columns),
    ("axis", axis_without_care),
    ("axis", shares_by(lambda r: F.normalize(r, p=1, dim=0, eps=1e-30))),
    ("axis", lambda r: axis_with()(r).tolist()),
]

WRONG = [
    ("partners", "returns nothing", lambda factors, columns, anchors, shares: None),
    ("partners", "a tensor of rows", lambda *given: partners_with()(*given).tolist()),
    ("partners", "a tensor of rows", lambda *given: partners_with()(*given).numpy()),
    ("partners", "int64", lambda *given: partners_with()(*given).float()),
    ("partners", "int64", lambda *given: partners_with()(*given).int()),
    ("partners", "int64", partners_with(pick=lambda fits, shares: fits)),
    ("partners", "one partner an anchor", lambda *given: partners_with()(*given)[:, None]),
    ("partners", "one partner an anchor", lambda f, *rest: f[partners_with()(f, *rest)]),
    (
        "partners",
        "one partner an anchor",
        partners_with(pick=lambda fits, shares: fits.nonzero()[:, 1]),
    ),
    ("partners", "not just one of them", partners_with(any_agrees)),
    ("partners", "only the factors of the group", partners_with(all_agree)),
    ("partners", "not the others", partners_with(others_agree)),
    ("partners", "the first alone", partners_with(lambda f, c, a: agreeing(f, c[:1], a))),
    ("partners", "the last alone", partners_with(lambda f, c, a: agreeing(f, c[-1:], a))),
    ("partners", "candidate of its own", partners_with(without_itself)),
    ("partners", "has its own share", placed_by(lambda n, share: 0)),
    ("partners", "has its own share", partners_with(pick=lambda fits, s: fits.long().argmax(1))),
    ("partners", "do not round up", placed_by(lambda n, share: math.ceil(n * share))),
    ("partners", "do not round up", placed_by(lambda n, share: int(n * share) + 1)),
    ("partners", "to the nearest", placed_by(lambda n, share: round(n * share))),
    ("partners", "not ⌊.n − 1.", placed_by(lambda n, share: int((n - 1) * share))),
    ("partners", "leave what is given", partners_in_place),
    ("partners", "leave what is given", partners_with_moved_shares),
    ("gate", "returns nothing", lambda z, open_axes: None),
    ("gate", "return a tensor", lambda z, open_axes: gate(z, open_axes).tolist()),
    ("gate", "return a tensor", lambda z, open_axes: gate(z, open_axes).detach().numpy()),
    ("gate", "return a tensor", lambda z, open_axes: (z, z.detach())),
    ("gate", "expected .3, 4.", lambda z, open_axes: z[:, open_axes]),
    ("gate", "expected .3, 4.", lambda z, open_axes: gate(z, open_axes).sum(1)),
    ("gate", "do not set closed ones to 0", lambda z, open_axes: z * open_axes),
    ("gate", "do not set closed ones to 0", lambda z, open_axes: torch.where(open_axes, z, 0.0)),
    ("gate", "come out as it went in", lambda z, open_axes: z * ~open_axes),
    ("gate", "come out as it went in", lambda z, open_axes: z + z.detach()),
    ("gate", "come out as it went in", lambda z, open_axes: open_axes * z + z.detach()),
    ("gate", "come out as it went in", lambda z, m: z * m / m.float().mean()),
    ("gate", "come out as it went in", through_integers),
    ("gate", "come out as it went in", lambda z, open_axes: gate(z + 1 - 1, open_axes)),
    ("gate", "come out as it went in", lambda z, open_axes: gate(z.half().float(), open_axes)),
    ("gate", "values have changed", in_units_of_their_spread),
    ("gate", "no gradient passes", lambda z, open_axes: z.detach()),
    ("gate", "no gradient passes", lambda z, open_axes: gate(z.detach(), open_axes)),
    ("gate", "no gradient passes", lambda z, open_axes: torch.tensor(z.tolist())),
    ("gate", "no gradient reaches", lambda z, open_axes: z.detach().requires_grad_()),
    ("gate", "closed ones must stop it", lambda z, open_axes: z),
    ("gate", "closed ones must stop it", lambda z, open_axes: z.clone()),
    ("gate", "closed ones must stop it", lambda z, open_axes: torch.where(open_axes, z, z.clone())),
    ("gate", "not the closed ones", lambda z, open_axes: gate(z, ~open_axes)),
    ("gate", "not the closed ones", lambda z, open_axes: torch.where(open_axes, z.detach(), z)),
    ("gate", "passes twice", lambda z, open_axes: 2 * gate(z, open_axes) - z.detach()),
    ("gate", "passes twice", lambda z, open_axes: gate(z, open_axes) + z - z.detach()),
    ("gate", "exactly 0", leaking),
    ("gate", "exactly 0", partial(leaking, little=1e-6)),
    ("gate", "exactly 0", gate_of_rows),
    ("gate", "leave open_axes", gate_that_turns_the_mask),
    ("gate", "leave z", gate_in_place),
    ("gate", "gradient is off", gate_of_the_first_row),
    ("gate", "no hook on z", gate_by_a_hook_on_z),
    ("strength", "returns nothing", lambda G, p, noise: None),
    ("strength", "return two numbers", strength_ended_by(lambda gated, free: gated)),
    ("strength", "return two numbers", strength_ended_by(lambda *both: np.array(both))),
    ("strength", "expected two", strength_ended_by(lambda gated, free: (gated, free, 0.0))),
    ("strength", "are exchanged", strength_ended_by(lambda gated, free: (free, gated))),
    (
        "strength",
        "c and ρ are exchanged",
        strength_with(lambda G, p: (2 - p) / (G + 1), lambda G, p: 1 - p / 2),
    ),
    ("strength", "equal images are one", strength_with(rho=lambda G, p: (2 - p) / G)),
    ("strength", "with more groups", strength_with(rho=lambda G, p: (2 - p) / 3)),
    ("strength", "s and s′ are equal as well", strength_with(rho=lambda G, p: (1 - p) / (G + 1))),
    (
        "strength",
        "equal images are never wrong",
        strength_with(lambda G, p: 1 - p, lambda G, p: 2 * (1 - p) / (G + 1)),
    ),
    ("strength", "for the encoder, too", strength_with(lambda G, p: 1 - p)),
    ("strength", "divide the noise by c$", strength_with(rest=lambda c, rho, noise: rho - noise)),
    ("strength", "do not multiply", strength_with(rest=lambda c, rho, noise: rho - noise * c)),
    (
        "strength",
        "is σ² already",
        strength_with(rest=lambda c, rho, noise: max(0.0, rho - noise**2 / c)),
    ),
    ("strength", "c is ρ", strength_ended_by(lambda gated, free: (gated, gated))),
    ("strength", "has the contrast 0", strength_with(rest=lambda c, rho, noise: rho - noise / c)),
    ("pair_loss", "returns nothing", lambda vae, x, y, open_axes, regulariser: None),
    ("pair_loss", "a dict of three", lambda *given: pair_loss_with()(*given)["loss"]),
    ("pair_loss", "a dict of three", lambda *given: tuple(pair_loss_with()(*given).values())),
    ("pair_loss", "keys are .'loss'.", ended_by(lambda e, p: {"loss": e + p})),
    ("pair_loss", "keys are", ended_by(lambda e, p: {"loss": e + p, "error": e, "penalty": p})),
    ("pair_loss", "keys are", ended_by(lambda e, p: {"reconstruction": e, "penalty": p})),
    (
        "pair_loss",
        "the three are scalars",
        ended_by(lambda e, p: summed(e, p) | {"penalty": p.item()}),
    ),
    (
        "pair_loss",
        "the three are scalars",
        error_by(lambda v, z, x, y: objectives.gaussian_reconstruction(v.decode(z), y, v.sigma)),
    ),
    (
        "pair_loss",
        "call vae.decode",
        asked_by(lambda R, mean, log_var, z: objectives.kl_standard_normal(mean, log_var).mean()),
    ),
    ("pair_loss", "it is the input form", codes_by(all_of_x)),
    ("pair_loss", "mean: .* input form", pair_loss_with(mean_of=all_of_x)),
    ("pair_loss", "log_var: .* input form", pair_loss_with(log_var_of=all_of_x)),
    ("pair_loss", "input form", pair_loss_of_two_draws),
    ("pair_loss", "open axes are x's, not y's", codes_by(all_of_y)),
    ("pair_loss", "log_var: open axes are x's", pair_loss_with(log_var_of=all_of_y)),
    ("pair_loss", "the other way round", codes_by(turned)),
    ("pair_loss", "log_var: .* other way round", pair_loss_with(log_var_of=turned)),
    ("pair_loss", "do not set them to 0", codes_by(zeros_elsewhere)),
    ("pair_loss", "log_var: .* set them to 0", pair_loss_with(log_var_of=zeros_elsewhere)),
    ("pair_loss", "x's on open axes", codes_by(of_the_first_mask)),
    ("pair_loss", "draw z once", pair_loss_with_a_draw_each),
    ("pair_loss", "draw z once", pair_loss_of_the_mean),
    ("pair_loss", "draw z once", asked_by(lambda R, mean, log_var, z: R(mean, log_var, mean))),
    ("pair_loss", "not the mean", drawn_by(lambda mean, log_var: mean)),
    ("pair_loss", "σ = exp", drawn_by(lambda mean, log_var: mean + torch.randn_like(mean))),
    ("pair_loss", "σ = exp", drawn_by(lambda m, v: m + v.exp() * torch.randn_like(m))),
    ("pair_loss", "σ = exp", drawn_by(lambda m, v: m + v * torch.randn_like(m))),
    ("pair_loss", "σ = exp", drawn_by(lambda m, v: m + v.exp().sqrt() * torch.rand_like(m))),
    ("pair_loss", "ε for each", drawn_by(lambda m, v: m + (v / 2).exp() * torch.randn(m.shape[1]))),
    ("pair_loss", "ε for each", drawn_by(lambda m, v: m + (v / 2).exp() * torch.randn(len(m), 1))),
    (
        "pair_loss",
        "out of the decoder is y",
        error_by(lambda vae, z, x, y: reconstruction_of(vae, z, y, x)),
    ),
    (
        "pair_loss",
        "average the reconstruction",
        error_by(lambda vae, z, x, y: len(x) * reconstruction_of(vae, z, x, y)),
    ),
    (
        "pair_loss",
        "vae.sigma",
        error_by(lambda v, z, x, y: objectives.gaussian_reconstruction(v.decode(z), y).mean()),
    ),
    (
        "pair_loss",
        "a sign",
        error_by(lambda vae, z, x, y: -reconstruction_of(vae, z, x, y)),
    ),
    (
        "pair_loss",
        "the penalty is what",
        asked_by(lambda R, mean, log_var, z: 2 * R(mean, log_var, z)),
    ),
    (
        "pair_loss",
        "the sum of reconstruction and penalty",
        ended_by(lambda e, p: summed(e, p) | {"loss": e - p}),
    ),
    (
        "pair_loss",
        "the sum of reconstruction and penalty",
        ended_by(lambda e, p: summed(e, p) | {"loss": e}),
    ),
    ("pair_loss", "the loss has no gradient", pair_loss_for_nothing),
    ("pair_loss", "use the gate", codes_by(mixed)),
    ("pair_loss", "gate log_var, too", pair_loss_with(log_var_of=mixed)),
    ("pair_loss", "gate mean, too", pair_loss_with(mean_of=mixed)),
    ("pair_loss", "and closed ones not", codes_by(lambda x, y, m: gate(mixed(x, y, m), ~m))),
    ("pair_loss", "and closed ones not", codes_by(lambda x, y, m: torch.where(m, x.detach(), y))),
    ("pair_loss", "returns nothing", by_loss_of_code(end=lambda loss: None)),
    ("pair_loss", "a dict of three", by_loss_of_code(end=lambda loss: loss["loss"])),
    ("pair_loss", "keys are", by_loss_of_code(end=lambda loss: {"loss": loss["loss"]})),
    (
        "pair_loss",
        "the three are scalars",
        by_loss_of_code(end=lambda loss: {name: v.item() for name, v in loss.items()}),
    ),
    ("pair_loss", "it is the input form", lambda *given: notebooks("input_loss")(*given)),
    ("pair_loss", "log_var: .* input form", by_loss_of_code(log_var_of=all_of_x)),
    ("pair_loss", "it is the input form", pair_loss_of_both_images),
    ("pair_loss", "mean: open axes are x's", by_loss_of_code(mean_of=all_of_y)),
    (
        "pair_loss",
        "open axes are x's, not y's",
        lambda vae, x, y, *given: notebooks("input_loss")(vae, y, x, *given),
    ),
    (
        "pair_loss",
        "the other way round",
        lambda vae, x, y, *given: by_loss_of_code()(vae, y, x, *given),
    ),
    ("pair_loss", "do not set them to 0", by_loss_of_code(*2 * [zeros_elsewhere])),
    ("pair_loss", "out of the decoder is y", by_loss_of_code(target=lambda x, y: x)),
    ("pair_loss", "x's on open axes", pair_loss_of_a_draw),
    ("pair_loss", "x's on open axes", pair_loss_with_log_var_first),
    ("pair_loss", "x's on open axes", pair_loss_of_gated_images),
    ("pair_loss", "log_var, as the regulariser gets it", pair_loss_of_variances),
    ("pair_loss", "use the gate", by_loss_of_code(mixed, mixed)),
    ("pair_loss", "gate log_var, too", by_loss_of_code(log_var_of=mixed)),
    ("pair_loss", "gate mean, too", by_loss_of_code(mean_of=mixed)),
    (
        "pair_loss",
        "and closed ones not",
        by_loss_of_code(*2 * [lambda x, y, m: gate(mixed(x, y, m), ~m)]),
    ),
    ("pair_loss", "the loss has no gradient", torch.no_grad()(by_loss_of_code())),
    (
        "pair_loss",
        "the sum of reconstruction and penalty",
        by_loss_of_code(end=lambda loss: loss | {"loss": loss["loss"] / 2}),
    ),
    ("pair_loss", "log_var before all else", pair_loss_gated_in_the_decoder_alone),
    ("pair_loss", "log_var before all else", pair_loss_gated_in_the_regulariser_alone),
    ("pair_loss", "leave what is given", pair_loss_in_place),
    ("pair_loss", "leave what is given", pair_loss_that_moves_the_images),
    ("axis", "returns nothing", lambda importance: None),
    ("axis", "an axis, not a factor", lambda importance: axis_with()(importance.T)),
    (
        "axis",
        "an axis, not a factor",
        lambda r: 1 - torch.special.entr(shares_of(r)).sum(1) / math.log(3),
    ),
    ("axis", "one number an axis", lambda importance: axis_with()(importance).mean()),
    ("axis", "one number an axis", entropy_by(lambda p: torch.special.entr(p))),
    ("axis", "not nan", entropy_by(lambda p: -(p * p.log()).sum(0))),
    ("axis", "not nan", axis_with(h=lambda p: -(p * p.log()).sum(0), end=lambda d, r: d)),
    ("axis", "counts for nothing", axis_ended_by(lambda d, r: d)),
    (
        "axis",
        "counts for nothing",
        axis_with(shares=lambda r: r / r.sum(0), end=lambda d, r: d),
    ),
    ("axis", "subtract it from 1", unit_by(lambda h, r: h / math.log(len(r)))),
    ("axis", "divide the entropy by ln K", unit_by(lambda h, r: 1 - h)),
    ("axis", "not of axes", unit_by(lambda h, r: 1 - h / math.log(r.shape[1]))),
    ("axis", "nats in both", unit_by(lambda h, r: 1 - h / math.log(2) / math.log(len(r)))),
    ("axis", "its sign", entropy_by(lambda p: torch.xlogy(p, p).sum(0))),
    ("axis", "not of each row", shares_by(lambda r: r / r.sum(1, keepdim=True))),
    ("axis", "sum to 1 in each column", shares_by(lambda r: r)),
    ("axis", "not the largest", lambda r: nought_where_unused(shares_of(r).amax(0), r)),
    ("axis", "without weights", lambda r: axis_with()(r) * r.sum(0)),
    ("axis", "leave the table", axis_in_place),
    ("axis", "entries of about 1e-06", shares_by(shares_with(1e-8))),
    ("axis", "K = 4", unit_by(lambda h, r: 1 - h / math.log(3))),
]

# Rarer mistakes, which the check rejects with a general message.
REJECTED = [
    ("partners", partners_with(rows_in_front)),
    ("partners", partners_with(sums_agree)),
    ("partners", partners_with(keys_agree)),
    ("partners", partners_with(pick=anyone)),
    ("partners", partners_with(pick=over_all_rows)),
    ("partners", partners_with(pick=lambda fits, shares: (fits.sum(1) * shares).long())),
    ("partners", partners_with(pick=lambda fits, shares: by_row(fits.flip(1), shares))),
    ("partners", partners_with(pick=lambda fits, shares: by_row(fits, shares.flip(0)))),
    (
        "partners",
        partners_with(pick=lambda fits, shares: by_row(fits, shares[:1].expand(len(fits)))),
    ),
    ("partners", placed_by(lambda n, share: int((n + 1) * share))),
    ("partners", placed_by(lambda n, share: n - 1 - int(n * share))),
    ("partners", placed_by(lambda n, share: n - 1)),
    ("partners", lambda factors, columns, anchors, shares: anchors),
    ("partners", lambda factors, columns, anchors, shares: (len(factors) * shares).long()),
    ("gate", renormalised),
    ("gate", lambda z, open_axes: gate(z, open_axes) / 2 + z.detach() / 2),
    ("gate", lambda z, open_axes: 2 * z.detach() - gate(z, open_axes)),
    ("strength", strength_with(rest=lambda c, rho, noise: max(0.0, c - noise / c))),
    ("strength", strength_with(rest=lambda c, rho, noise: max(0.0, rho - noise / c**2))),
    ("strength", strength_with(lambda G, p: 1 - p / G)),
    ("strength", strength_ended_by(lambda gated, free: (gated, free / 2))),
    ("strength", strength_ended_by(lambda gated, free: (gated, max(free, 0.003)))),
    ("strength", lambda G, p, noise: strength_with()(4, p, noise)),
    ("strength", lambda G, p, noise: strength_with()(G, 0.4, noise)),
    ("strength", lambda G, p, noise: strength_with()(G, p, min(noise, 0.1))),
    ("pair_loss", pair_loss_with(lambda x, y, m: gate((x + y) / 2, m))),
    ("pair_loss", asked_by(lambda R, mean, log_var, z: R(log_var, mean, z))),
    ("pair_loss", asked_by(lambda R, mean, log_var, z: R(mean, log_var.exp(), z))),
    ("pair_loss", error_by(lambda vae, z, x, y: F.mse_loss(vae.decode(z), y))),
    (
        "pair_loss",
        error_by(
            lambda v, z, x, y: (v.decode(z) - y).square().flatten(1).sum(1).mean() / 2 / 0.7**2
        ),
    ),
    ("pair_loss", error_by(lambda v, z, x, y: reconstruction_of(v, z, x, y) / y[0].numel())),
    (
        "pair_loss",
        error_by(lambda v, z, x, y: -Normal(v.decode(z), v.sigma).log_prob(y).sum(1).mean()),
    ),
    ("pair_loss", error_by(lambda v, z, x, y: reconstruction_of(v, z, x, y).detach())),
    ("pair_loss", asked_by(lambda R, mean, log_var, z: R(mean, log_var, z).detach())),
    ("pair_loss", drawn_by(lambda mean, log_var: sampled(mean, log_var).detach())),
    ("pair_loss", drawn_by(lambda mean, log_var: sampled(mean, log_var.detach()))),
    ("pair_loss", pair_loss_for_even_batches),
    ("pair_loss", pair_loss_of_two_calls),
    ("pair_loss", by_loss_of_code(target=lambda x, y: (x + y) / 2)),
    ("axis", entropy_by(lambda p: 1 - p.square().sum(0))),
    ("axis", shares_by(lambda r: r.softmax(0))),
    ("axis", shares_by(lambda r: r / r.sum())),
    ("axis", shares_by(lambda r: F.normalize(r, dim=0))),
    ("axis", shares_by(lambda r: r / r.amax(0).clamp_min(1e-30))),
    ("axis", shares_by(lambda r: shares_of(r.square()))),
    ("axis", shares_by(shares_with(1e-3))),
    ("axis", entropy_by(lambda p: -(p * (p + 1e-3).log()).sum(0))),
    ("axis", entropy_by(lambda p: -(p * p.clamp_min(0.2).log()).sum(0))),
    ("axis", entropy_by(lambda p: torch.special.entr(p).mean(0))),
    ("axis", unit_by(lambda h, r: 1 - h / h.max())),
    ("axis", unit_by(lambda h, r: 1 - h / len(r))),
    ("axis", lambda r: shares_of(r).topk(2, 0).values.diff(dim=0)[0].neg()),
    ("axis", lambda r: axis_with()(r).flip(0) if len(r) == 2 else axis_with()(r).round(decimals=3)),
    ("axis", axis_ended_by(lambda d, r: torch.where(r.sum(0) > 1e-3, d, 0.0))),
]

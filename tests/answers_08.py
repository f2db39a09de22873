"""Right and wrong answers to the exercises of notebook 08, as students write them."""

import math
import warnings
from functools import partial

import torch
import torch.nn.functional as F
from torch.distributions import Categorical

# --- the information bound -----------------------------------------------------------------------


def entropy(p):
    return -torch.xlogy(p, p).sum()


def entropy_of_z(joint, q):
    return entropy(joint.sum(1))


def expected_log(joint, q):
    return torch.xlogy(joint, q).sum()


def bound_with(h=entropy_of_z, log_q=expected_log):
    return lambda joint, q: h(joint, q) + log_q(joint, q)


def bound_of_pairs_that_occur(joint, q):
    p_z = joint.sum(1)
    p_z, occurs = p_z[p_z > 0], joint > 0
    return (joint[occurs] * q[occurs].log()).sum() - (p_z * p_z.log()).sum()


def bound_by_torch(joint, q):
    log_q = q.log().where(joint > 0, 0)
    return Categorical(joint.sum(1)).entropy() + torch.einsum("zx,zx->", joint, log_q)


def bound_by_nan_to_num(joint, q):
    log_q = (joint * q.log()).nan_to_num(nan=0.0, neginf=-math.inf)
    return torch.special.entr(joint.sum(1)).sum() + log_q.sum()


def bound_by_rows(joint, q):
    total = joint.new_zeros(())
    for row, guesses in zip(joint, q, strict=True):
        for p, guess in zip(row, guesses, strict=True):
            if p > 0:
                total = total + p * (guess / row.sum()).log()
    return total


def bound_by_information(joint, q):
    """I(z; x) less the KL divergence from the posterior to q."""
    occurs, p_x = joint > 0, joint.sum(0)
    information = entropy(p_x) + entropy(joint.sum(1)) - entropy(joint)
    posterior = joint / p_x
    return information - (joint * (posterior.log() - q.log()))[occurs].sum()


def bound_without_care_for_zeros(joint, q):
    p_z = joint.sum(1)
    return -(p_z * p_z.log()).sum() + (joint * q.log()).sum()


def information_for_any_q(joint, q):
    return entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint)


def masked_everywhere(joint, q):
    """Also takes 0 for the logarithm where q rules out a pair that occurs."""
    return (joint * q.log().nan_to_num(neginf=0.0)).sum()


def weighed_by(weights):
    return bound_with(log_q=lambda joint, q: torch.xlogy(weights(joint, q), q).sum())


def clipped(joint, q, least=1e-12):
    return torch.xlogy(joint, q.clamp_min(least)).sum()


def in_place(joint, q):
    found = bound_with()(joint, q)
    q.log_()
    return found


# --- the losses ----------------------------------------------------------------------------------


def wasserstein_with(critic, generator=lambda real, fake: -fake.mean()):
    return lambda d_real, d_fake: (critic(d_real, d_fake), generator(d_real, d_fake))


def difference(real, fake):
    return fake.mean() - real.mean()


def with_generator(generator):
    return wasserstein_with(difference, generator)


def wasserstein_by_sums(d_real, d_fake):
    on_real, on_fake = (torch.sum(d) / d.numel() for d in (d_real, d_fake))
    return [-(on_real - on_fake), -on_fake]


def wasserstein_by_dot(d_real, d_fake):
    d = torch.cat([d_real, d_fake])
    n, m = len(d_real), len(d_fake)
    weights = torch.cat([torch.full((n,), -1 / n), torch.full((m,), 1 / m)])
    return d @ weights, d_fake.neg().mean()


def wasserstein_by_pairs(d_real, d_fake):
    return (d_fake[:, None] - d_real).mean(), torch.mean(-1.0 * d_fake)


def cross_entropies(d_real, d_fake):
    real, fake = torch.ones_like(d_real), torch.zeros_like(d_fake)
    by = F.binary_cross_entropy_with_logits
    return by(d_real, real) + by(d_fake, fake), by(d_fake, torch.ones_like(d_fake))


def minimax(d_real, d_fake):
    critic = -d_real.sigmoid().log().mean() - (1 - d_fake.sigmoid()).log().mean()
    return critic, (1 - d_fake.sigmoid()).log().mean()


def least_squares(d_real, d_fake):
    return ((d_real - 1) ** 2).mean() + (d_fake**2).mean(), ((d_fake - 1) ** 2).mean()


def hinge(d_real, d_fake):
    return F.relu(1 - d_real).mean() + F.relu(1 + d_fake).mean(), -d_fake.mean()


# --- the gradient penalty ------------------------------------------------------------------------


def share(real, fake):
    return torch.rand(len(real), *[1] * (real.ndim - 1))


def of_shape(*ones, draw=torch.rand):
    """e of shape (B, *ones)."""
    return lambda real, fake: draw(len(real), *ones)


def mixture(real, fake, e):
    return (e * real + (1 - e) * fake).detach().requires_grad_()


def slope(critic, mixed, create_graph=True):
    return torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=create_graph)[0]


def norms(slopes):
    return slopes.flatten(1).norm(dim=1)


def squares(norm):
    return ((norm - 1) ** 2).mean()


def penalty_with(e=share, mix=mixture, slopes=slope, norm=norms, price=squares):
    def gradient_penalty(critic, real, fake):
        mixed = mix(real, fake, e(real, fake))
        return price(norm(slopes(critic, mixed)))

    return gradient_penalty


def penalty_of_the_paper(critic, real, fake):
    """As most GAN repositories have it."""
    alpha = torch.rand(real.size(0), 1).expand(-1, real[0].numel()).view(real.shape)
    mixed = torch.autograd.Variable(fake.data + alpha * (real.data - fake.data), requires_grad=True)
    d = critic(mixed)
    ones = torch.ones(d.size())
    gradients = torch.autograd.grad(
        outputs=d, inputs=mixed, grad_outputs=ones, create_graph=True, retain_graph=True
    )[0]
    gradients = gradients.view(gradients.size(0), -1)
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


def penalty_by_lerp(critic, real, fake):
    real, fake = real.detach(), fake.detach()
    e = torch.empty(len(real)).uniform_().view(-1, *[1] * (real.dim() - 1))
    mixed = torch.lerp(real, fake, e).requires_grad_(True)
    return F.mse_loss(norms(slope(critic, mixed)), torch.ones(len(real)))


def penalty_by_images(critic, real, fake):
    total = 0.0
    for x, y in zip(real.detach(), fake.detach(), strict=True):
        e = torch.rand(())
        mixed = (e * x + (1 - e) * y)[None].requires_grad_()
        (gradient,) = torch.autograd.grad(critic(mixed)[0], mixed, create_graph=True)
        total = total + (gradient.norm() - 1).square()
    return total / len(real)


def penalty_by_root(critic, real, fake):
    e = share(real, fake)
    with torch.no_grad():
        mixed = e * real + (1 - e) * fake
    mixed.requires_grad = True
    gradient = slope(critic, mixed)
    length = (gradient.pow(2).sum(dim=tuple(range(1, gradient.ndim))) + 1e-12).sqrt()
    return (length - 1).pow(2).mean()


def penalty_by_jacobian(critic, real, fake):
    mixed = mixture(real, fake, share(real, fake))
    jacobian = torch.autograd.functional.jacobian(critic, mixed, create_graph=True)
    own = jacobian.flatten(2)[range(len(real)), range(len(real))]
    return (torch.linalg.vector_norm(own, dim=1) - 1).square().mean()


def penalty_by_func(critic, real, fake):
    mixed = mixture(real, fake, share(real, fake)).detach()
    return squares(norms(torch.func.grad(lambda x: critic(x).sum())(mixed)))


def penalty_by_vmap(critic, real, fake):
    """The gradient of one image's number, for all images."""
    mixed = mixture(real, fake, share(real, fake)).detach()
    return squares(norms(torch.func.vmap(torch.func.grad(lambda x: critic(x[None])[0]))(mixed)))


def penalty_by_backward(critic, real, fake):
    mixed = mixture(real, fake, share(real, fake))
    with warnings.catch_warnings(action="ignore"):
        critic(mixed).sum().backward(create_graph=True)
    return squares(norms(mixed.grad))


def mixture_without_gradients(real, fake, e):
    with torch.no_grad():
        return torch.lerp(fake, real, e).requires_grad_()


def mixture_of_leaves(real, fake, e):
    """Asks for gradients of what was given."""
    return e * real.requires_grad_() + (1 - e) * fake


def mixture_in_place(real, fake, e):
    mixed = real.data.mul_(e).add_((1 - e) * fake)
    return mixed.detach().requires_grad_()


def undetached(real, fake, e):
    mixed = e * real + (1 - e) * fake
    return mixed if mixed.requires_grad else mixed.requires_grad_()


def detached_in_part(which):
    def mix(real, fake, e):
        real, fake = (real.detach(), fake) if which == "real" else (real, fake.detach())
        return undetached(real, fake, e)

    return mix


def shares_that_are(weights):
    """weights: of e, the factors of real and fake."""

    def mix(real, fake, e):
        a, b = weights(e)
        return (a * real + b * fake).detach().requires_grad_()

    return mix


def e_by(draw):
    return penalty_with(draw)


def norm_by(norm):
    return penalty_with(norm=norm)


def price_by(price):
    return penalty_with(price=price)


RIGHT = [
    ("bound", bound_with()),
    ("bound", bound_of_pairs_that_occur),
    ("bound", bound_by_torch),
    ("bound", bound_by_nan_to_num),
    ("bound", bound_by_rows),
    ("bound", bound_by_information),
    ("wasserstein", wasserstein_with(difference)),
    ("wasserstein", wasserstein_by_sums),
    ("wasserstein", wasserstein_by_dot),
    ("wasserstein", wasserstein_by_pairs),
    ("wasserstein", lambda r, f: torch.stack([difference(r, f), -f.mean()])),
    ("penalty", penalty_with()),
    ("penalty", penalty_with(mix=shares_that_are(lambda e: (1 - e, e)))),
    ("penalty", penalty_of_the_paper),
    ("penalty", penalty_by_lerp),
    ("penalty", penalty_by_images),
    ("penalty", penalty_by_root),
    ("penalty", penalty_by_jacobian),
    ("penalty", penalty_by_func),
    ("penalty", penalty_by_vmap),
    ("penalty", penalty_with(mix=mixture_without_gradients)),
]

WRONG = [
    ("bound", "returns nothing", lambda joint, q: None),
    ("bound", "without .item", lambda joint, q: bound_with()(joint, q).item()),
    ("bound", "a scalar", lambda joint, q: entropy_of_z(joint, q) + joint * q.log()),
    ("bound", "a scalar", bound_with(log_q=lambda p, q: torch.xlogy(p, q).sum(0))),
    ("bound", "entropy of z is missing", expected_log),
    ("bound", "added, not taken off", bound_with(lambda p, q: -entropy_of_z(p, q))),
    ("bound", "not of x", bound_with(lambda p, q: entropy(p.sum(0)))),
    ("bound", "or of pairs", bound_with(lambda p, q: entropy(p))),
    ("bound", "entropy of q", bound_with(lambda p, q: entropy(q))),
    ("bound", "entropy of q", bound_with(lambda p, q: entropy(q) / q.shape[1])),
    ("bound", "sign of E log q", bound_with(log_q=lambda p, q: -expected_log(p, q))),
    ("bound", "weigh each pair", bound_with(log_q=lambda p, q: q.log().mean())),
    ("bound", "weigh each pair", bound_with(log_q=lambda p, q: q.log().sum())),
    ("bound", "not by q", weighed_by(lambda p, q: q)),
    ("bound", "not by q", bound_with(log_q=lambda p, q: -entropy(q) / q.shape[1])),
    ("bound", "not by .* p.x. or p.z. alone", weighed_by(lambda p, q: p.sum(0).expand(p.shape))),
    ("bound", "not by .* p.x. or p.z. alone", weighed_by(lambda p, q: p.sum(1)[:, None])),
    ("bound", "not log E q", bound_with(log_q=lambda p, q: (p * q).sum().log())),
    ("bound", "not base 2", lambda p, q: bound_with()(p, q) / math.log(2)),
    ("bound", "not the expectation", bound_with(log_q=lambda p, q: torch.xlogy(p, q).mean())),
    ("bound", "I.z; x. itself", information_for_any_q),
    ("bound", "I.z; x. itself", lambda p, q: bound_with()(p, p / p.sum(0))),
    ("bound", "torch.xlogy", bound_without_care_for_zeros),
    ("bound", "torch.xlogy", bound_with(lambda p, q: -(p * p.log()).sum())),
    ("bound", "torch.xlogy", bound_with(log_q=lambda p, q: (p * q.log()).sum())),
    ("bound", "torch.xlogy", lambda p, q: bound_with()(p.clamp_min(1e-12), q)),
    ("bound", "do not clip", bound_with(log_q=clipped)),
    ("bound", "do not clip", bound_with(log_q=lambda p, q: (p * (q + 1e-12).log()).sum())),
    ("bound", "do not clip", bound_with(log_q=lambda p, q: clipped(p, q, 1e-300))),
    ("bound", "do not clip", bound_with(log_q=masked_everywhere)),
    ("bound", "do not clip", bound_with(log_q=lambda p, q: (p * q.log()).nan_to_num().sum())),
    ("bound", "4 values of z", bound_with(log_q=lambda p, q: 9 * torch.xlogy(p, q).mean())),
    ("bound", "leave joint and q", in_place),
    ("wasserstein", "returns nothing", lambda real, fake: None),
    ("wasserstein", "two losses, not 1", difference),
    ("wasserstein", "two losses, not 1", lambda real, fake: (difference(real, fake),)),
    ("wasserstein", "without .item", wasserstein_with(lambda r, f: difference(r, f).item())),
    ("wasserstein", "average over images", with_generator(lambda real, fake: -fake)),
    ("wasserstein", "average over images", wasserstein_with(lambda r, f: f - r.mean())),
    ("wasserstein", "average each by itself", wasserstein_with(lambda r, f: (f - r).mean())),
    ("wasserstein", "in place", lambda r, f: (f.sub_(r.mean()).mean(), -f.mean())),
    ("wasserstein", "swapped", lambda r, f: (-f.mean(), difference(r, f))),
    ("wasserstein", "minus the difference", wasserstein_with(lambda r, f: -difference(r, f))),
    ("wasserstein", "not sums", wasserstein_with(lambda r, f: f.sum() - r.sum())),
    ("wasserstein", "not a sum", with_generator(lambda real, fake: -fake.sum())),
    ("wasserstein", "D low on", wasserstein_with(lambda r, f: -f.mean() - r.mean())),
    ("wasserstein", "as well", wasserstein_with(lambda r, f: -r.mean())),
    ("wasserstein", "high: the sign", with_generator(lambda real, fake: fake.mean())),
    ("wasserstein", "leave it out", with_generator(lambda r, f: -difference(r, f))),
    ("wasserstein", "leave it out", with_generator(difference)),
    ("wasserstein", "leave it out", with_generator(lambda r, f: r.mean().detach() - f.mean())),
    ("wasserstein", "no sigmoid, logarithm", cross_entropies),
    ("wasserstein", "no sigmoid, logarithm", minimax),
    ("wasserstein", "no sigmoid, logarithm", with_generator(lambda r, f: -F.logsigmoid(f).mean())),
    ("wasserstein", "square", least_squares),
    ("wasserstein", "clipping", hinge),
    ("wasserstein", "1 real, 6", wasserstein_with(lambda r, f: f.sum() / 4 - r.sum() / 3)),
    ("wasserstein", "1 real, 6", with_generator(lambda r, f: -f.sum() / (len(r) + 1))),
    ("wasserstein", "means of D as it is", with_generator(lambda r, f: -f.clamp(-9, 9).mean())),
    ("wasserstein", "gradient", with_generator(lambda r, f: -f.mean() / 2 - f.detach().mean() / 2)),
    ("wasserstein", "absolute", wasserstein_with(lambda r, f: -difference(r, f).abs())),
    ("wasserstein", "do not detach", wasserstein_with(lambda r, f: difference(r, f.detach()))),
    ("wasserstein", "do not detach", wasserstein_with(lambda r, f: difference(r.detach(), f))),
    ("wasserstein", "critic's loss passes no", lambda r, f: (difference(r, f).detach(), -f.mean())),
    ("wasserstein", "generator's loss passes no", with_generator(lambda r, f: -f.detach().mean())),
    ("penalty", "returns nothing", lambda critic, real, fake: None),
    ("penalty", "scalar", lambda *a: penalty_with()(*a).item()),
    ("penalty", "scalar", price_by(lambda norm: (norm - 1) ** 2)),
    ("penalty", "one for each pixel", e_by(lambda real, fake: torch.rand_like(real))),
    ("penalty", "one for each pixel", e_by(lambda real, fake: torch.rand(real.shape[1:]))),
    ("penalty", "one for each pixel", e_by(of_shape())),
    ("penalty", "one for each pixel", e_by(of_shape(1))),
    ("penalty", "any number of dimensions", e_by(of_shape(1, 1, 1))),
    ("penalty", "an e of its own", e_by(lambda real, fake: torch.rand(1))),
    ("penalty", "an e of its own", e_by(lambda real, fake: 0.5)),
    ("penalty", "an e of its own", penalty_with(mix=lambda r, f, e: mixture(r, f, 1.0))),
    ("penalty", "an e of its own", penalty_with(mix=lambda r, f, e: mixture(r, f, 0.0))),
    ("penalty", "not torch.randn", e_by(of_shape(1, 1, draw=torch.randn))),
    ("penalty", "not torch.randn", e_by(lambda *a: 2 * share(*a) - 1)),
    ("penalty", "torch.rand, not", e_by(lambda *a: share(*a) / 2)),
    ("penalty", "torch.rand, not", e_by(lambda *a: share(*a) ** 2)),
    ("penalty", "torch.rand, not", e_by(lambda *a: share(*a).round())),
    ("penalty", "torch.rand, not", e_by(lambda *a: 0.5 + share(*a) / 2)),
    ("penalty", "leave real and fake", penalty_with(mix=mixture_in_place)),
    ("penalty", "leave real and fake", penalty_with(mix=mixture_of_leaves)),
    ("penalty", "B is not 64", e_by(lambda real, fake: torch.rand(64, 1, 1))),
    ("penalty", "backward.. fills", penalty_by_backward),
    ("penalty", "e and 1 - e", penalty_with(mix=shares_that_are(lambda e: (e, 1)))),
    ("penalty", "e and 1 - e", penalty_with(mix=shares_that_are(lambda e: (e, e)))),
    (
        "penalty",
        "e and 1 - e",
        penalty_with(mix=shares_that_are(lambda e: (e, torch.rand_like(e)))),
    ),
    ("penalty", "does not require grad", penalty_with(mix=lambda r, f, e: e * r + (1 - e) * f)),
    (
        "penalty",
        "only for scalar",
        penalty_with(slopes=lambda D, x: torch.autograd.grad(D(x), x, create_graph=True)[0]),
    ),
    ("penalty", "norm - 1..2", price_by(lambda norm: (norm - 1).mean())),
    ("penalty", "norm - 1..2", price_by(lambda norm: (norm - 1).abs().mean())),
    ("penalty", "norm - 1..2", price_by(lambda norm: (norm**2 - 1).mean())),
    ("penalty", "with the root", price_by(lambda norm: squares(norm**2))),
    ("penalty", "norm - 1..2", price_by(lambda norm: (norm**2).mean())),
    ("penalty", "do not sum", price_by(lambda norm: ((norm - 1) ** 2).sum())),
    ("penalty", "not for the batch", norm_by(lambda slopes: slopes.norm())),
    ("penalty", "of sums, not of means", penalty_with(slopes=lambda D, x: slope(D, x) / len(x))),
    ("penalty", "of sums, not", norm_by(lambda s: s.flatten(1).square().mean(1).sqrt())),
    ("penalty", "flatten", norm_by(lambda slopes: slopes.norm(dim=1))),
    ("penalty", "flatten", norm_by(lambda slopes: slopes.norm(dim=-1))),
    ("penalty", "flatten", norm_by(lambda slopes: slopes)),
    ("penalty", "flatten", norm_by(torch.abs)),
    ("penalty", "Dimension out of range", norm_by(lambda s: s.square().sum((1, 2, 3)).sqrt())),
    ("penalty", "gets 40", lambda *a: 10 * penalty_with()(*a)),
    ("penalty", "below 1", price_by(lambda norm: (F.relu(norm - 1) ** 2).mean())),
    ("penalty", "create_graph", penalty_with(slopes=partial(slope, create_graph=False))),
    ("penalty", "create_graph", norm_by(lambda slopes: norms(slopes.detach()))),
    ("penalty", "create_graph", lambda *a: penalty_with()(*a).detach()),
    ("penalty", "average squares", price_by(lambda norm: (norm.mean() - 1) ** 2)),
    ("penalty", "detach the mixture", penalty_with(mix=undetached)),
    ("penalty", "detach the mixture", penalty_with(mix=detached_in_part("real"))),
    ("penalty", "detach the mixture", penalty_with(mix=detached_in_part("fake"))),
]

"""Right and wrong answers to the exercises of notebook 01, as students write them."""

import math

import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from dvae_lib import objectives

# --- the KL --------------------------------------------------------------------------------------


def terms(mean, log_var):
    """The KL of each axis."""
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var)


def kl(mean, log_var):
    return terms(mean, log_var).sum(-1)


def kl_by_torch(mean, log_var):
    return kl_divergence(Normal(mean, (0.5 * log_var).exp()), Normal(0.0, 1.0)).sum(-1)


def kl_in_place(mean, log_var):
    """The square and the exponential overwrite what was given."""
    rest = 1 + log_var
    return 0.5 * (mean.pow_(2) + log_var.exp_() - rest).sum(-1)


def kl_of(change):
    """change: of log_var."""
    return lambda mean, log_var: kl(mean, change(log_var))


# --- the draw ------------------------------------------------------------------------------------


def draw_with(sigma=lambda log_var: (0.5 * log_var).exp(), noise=torch.randn_like):
    return lambda mean, log_var: mean + sigma(log_var) * noise(mean)


draw = draw_with()


def by_noise(noise):
    return draw_with(noise=noise)


def there_and_back(mean):
    """The second half of the noise is minus the first."""
    half = torch.randn_like(mean[: len(mean) // 2])
    return torch.cat([half, -half])


def backwards(mean):
    half = torch.randn_like(mean[: len(mean) // 2])
    return torch.cat([half, half.flip(0)])


def draw_in_place(mean, log_var):
    """A right draw, and the logarithms overwritten by half of them."""
    z = draw(mean, log_var)
    log_var.data.mul_(0.5)
    return z


# --- the ELBO ------------------------------------------------------------------------------------


def elbo_with(
    term=lambda pixels: -pixels.flatten(1).sum(1),
    kl=kl,
    draw=draw,
    sign=-1,
    logits=lambda logits: logits,
    weight=torch.ones_like,
):
    def elbo(vae, x):
        mean, log_var = vae.posterior(x)
        values = logits(vae.decoder(draw(mean, log_var)))
        log_p = term(weight(x) * F.binary_cross_entropy_with_logits(values, x, reduction="none"))
        return log_p + sign * kl(mean, log_var), log_p, kl(mean, log_var)

    return elbo


def elbo_by_torch(vae, x):
    mean, log_var = vae.posterior(x)
    q = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    p_x = Independent(Bernoulli(logits=vae.decoder(q.rsample())), x.ndim - 1)
    divergence = kl_divergence(q, Independent(Normal(torch.zeros_like(mean), 1.0), 1))
    return p_x.log_prob(x) - divergence, p_x.log_prob(x), divergence


def elbo_by_images(vae, x):
    """One image after the other."""
    rows = [torch.cat(elbo_with()(vae, image[None])) for image in x]
    return torch.stack(rows).unbind(1)


def elbo_by_softplus(vae, x):
    mean, log_var = vae.posterior(x)
    logits = vae.decoder(draw(mean, log_var))
    log_p = (x * logits - F.softplus(logits)).flatten(1).sum(-1)
    return [log_p - kl(mean, log_var), log_p, kl(mean, log_var)]


def without_gradient(draw):
    """A draw under no_grad."""

    def drawn(mean, log_var):
        with torch.no_grad():
            return draw(mean, log_var)

    return drawn


def batch_mean(mean, log_var):
    return kl(mean, log_var).mean().expand(len(mean))


# --- the bound -----------------------------------------------------------------------------------


def bound_by_maximum(log_w):
    top = log_w.max(0).values
    return (log_w - top).exp().mean(0).log() + top


def bound_by_softmax(log_w):
    """log w_1 less its share's logarithm is the log of the sum."""
    return log_w[0] - log_w.log_softmax(0)[0] - math.log(len(log_w))


def bound_by_pairs(log_w):
    total = log_w[0]
    for row in log_w[1:]:
        total = torch.logaddexp(total, row)
    return total - math.log(len(log_w))


def bound_by_images(log_w):
    return torch.stack([torch.logsumexp(column, 0) for column in log_w.T]) - math.log(len(log_w))


def bound_with(shift):
    """shift: what is taken out of the exponentials."""
    return lambda log_w: (log_w - shift(log_w)).exp().mean(0).log() + shift(log_w)


def bound_in_place(log_w):
    top = log_w.max(0).values
    log_w -= top
    return log_w.exp().mean(0).log() + top


RIGHT = [
    ("kl", lambda m, v: -0.5 * torch.sum(1 + v - m.pow(2) - v.exp(), dim=1)),
    ("kl", lambda m, v: (0.5 * m * m + 0.5 * v.exp() - 0.5 - v / 2).sum(1)),
    ("kl", kl_by_torch),
    ("kl", lambda m, v: torch.stack([kl(*row) for row in zip(m, v, strict=True)])),
    ("kl", torch.func.vmap(kl)),
    ("reparameterise", lambda m, v: m + v.exp().sqrt() * torch.randn_like(m)),
    ("reparameterise", lambda m, v: Normal(m, (v / 2).exp()).rsample()),
    ("reparameterise", by_noise(lambda m: torch.randn(m.shape))),
    ("reparameterise", by_noise(lambda m: torch.empty_like(m).normal_())),
    ("reparameterise", torch.func.vmap(draw, randomness="different")),
    ("elbo", elbo_with()),
    ("elbo", elbo_with(lambda pixels: -pixels.sum((1, 2, 3)))),
    ("elbo", elbo_by_torch),
    ("elbo", elbo_by_images),
    ("elbo", elbo_by_softplus),
    ("elbo", lambda vae, x: torch.stack(elbo_with()(vae, x))),
    ("importance", lambda w: w.logsumexp(0) - math.log(w.shape[0])),
    ("importance", bound_by_maximum),
    ("importance", bound_by_softmax),
    ("importance", bound_by_pairs),
    ("importance", bound_by_images),
]

WRONG = [
    ("kl", "returns nothing", lambda m, v: None),
    ("kl", "sign", lambda m, v: -kl(m, v)),
    ("kl", "do not average", lambda m, v: kl(m, v) / m.shape[-1]),
    ("kl", "factor 1/2", lambda m, v: 2 * kl(m, v)),
    ("kl", "not log sigma", kl_of(lambda v: 2 * v)),
    ("kl", "sum over the last axis", lambda m, v: kl(m, v).mean()),
    ("kl", "-1 of each axis", lambda m, v: kl(m, v) + 0.5 * m.shape[-1]),
    ("kl", "not the KL", lambda m, v: 0.5 * (m**2 + v.exp() - 1 + v).sum(-1)),
    ("kl", "not the KL", lambda m, v: 0.5 * (m**2).sum(-1)),
    ("kl", "not the KL", lambda m, v: 5 * terms(m, v).mean(-1)),
    ("kl", "not the KL", lambda m, v: 0.5 * (m**2 + v.exp() - v).sum(-1) - 2.5),
    ("kl", "not the KL of all", kl_of(lambda v: v.clamp(-6, 6))),
    ("kl", "not the KL of all", lambda m, v: kl(m.clamp(-5, 5), v)),
    ("kl", "B, L = \\(1, 4\\)", lambda m, v: terms(m, v).squeeze().sum(-1)),
    ("kl", "changes mean or log_var", kl_in_place),
    ("kl", "yourself", lambda m, v: objectives.kl_standard_normal(m, v)),
    ("kl", "gradient is cut", lambda m, v: kl(m, v).detach()),
    ("kl", "a part detached", lambda m, v: kl(m.detach(), v)),
    ("kl", "a part detached", kl_of(torch.detach)),
    ("reparameterise", "returns nothing", lambda m, v: None),
    ("reparameterise", "halve it", draw_with(torch.exp)),
    ("reparameterise", "no noise", lambda m, v: m + 0 * v),
    ("reparameterise", "same noise for all images", by_noise(lambda m: torch.randn(m.shape[-1]))),
    ("reparameterise", "gradient is cut", lambda m, v: torch.normal(m, (v / 2).exp()).detach()),
    ("reparameterise", "log_var", draw_with(lambda v: (v / 2).exp().detach())),
    ("reparameterise", "reaches mean", lambda m, v: draw(m.detach(), v)),
    ("reparameterise", "uniform", by_noise(lambda m: torch.rand_like(m) - 0.5)),
    ("reparameterise", "not normal", by_noise(lambda m: 12**0.5 * (torch.rand_like(m) - 0.5))),
    ("reparameterise", "its own", by_noise(lambda m: torch.randn_like(m[:, :1]))),
    ("reparameterise", "standard deviation", by_noise(lambda m: torch.randn_like(m).clamp(-1, 1))),
    ("reparameterise", "come back", by_noise(there_and_back)),
    ("reparameterise", "come back", by_noise(backwards)),
    ("reparameterise", "not the gradient", lambda m, v: draw(m, v[:1].expand_as(v))),
    ("reparameterise", "its own mean", lambda m, v: draw(m.mean().expand_as(m), v)),
    ("reparameterise", "changes mean or log_var", draw_in_place),
    ("reparameterise", "yourself", lambda m, v: objectives.reparameterise(m, v)),
    ("elbo", "returns nothing", lambda vae, x: None),
    ("elbo", "three tensors", lambda vae, x: elbo_with()(vae, x)[0]),
    ("elbo", "one number an image", elbo_with(lambda pixels: -pixels.sum())),
    ("elbo", "turn the sign", elbo_with(lambda pixels: pixels.flatten(1).sum(1))),
    ("elbo", "do not average", elbo_with(lambda pixels: -pixels.flatten(1).mean(1))),
    ("elbo", "all channels", elbo_with(lambda pixels: -pixels[:, 0].flatten(1).sum(1))),
    ("elbo", "not the mean", elbo_with(draw=lambda m, v: m)),
    ("elbo", "for each image", elbo_with(draw=by_noise(lambda m: torch.randn_like(m[:1])))),
    ("elbo", "its own noise", elbo_with(draw=by_noise(lambda m: torch.randn_like(m[:, :1])))),
    ("elbo", "exp\\(log_var / 2\\)", elbo_with(draw=lambda m, v: m + torch.randn_like(m))),
    ("elbo", "exp\\(log_var / 2\\)", elbo_with(draw=draw_with(torch.exp))),
    ("elbo", "z under no_grad", elbo_with(draw=without_gradient(draw))),
    ("elbo", "z under no_grad", elbo_with(draw=lambda m, v: draw(m.detach(), v))),
    ("elbo", "z under no_grad", elbo_with(kl=lambda m, v: kl(m, v).detach())),
    ("elbo", "gradient is cut", torch.no_grad()(elbo_with())),
    ("elbo", "the KL: .* averaged", elbo_with(kl=lambda m, v: kl(m, v) / 3)),
    ("elbo", "the KL: variance terms", elbo_with(kl=lambda m, v: 0.5 * (m**2).sum(1))),
    ("elbo", "the KL: .* log sigma\\^2", elbo_with(kl=kl_of(lambda v: 2 * v))),
    ("elbo", "the KL: .* averaged", elbo_with(kl=batch_mean)),
    ("elbo", "minus the KL", elbo_with(sign=1)),
    ("elbo", "minus the KL", elbo_with(sign=-4)),
    ("elbo", "without a sigmoid", elbo_with(logits=torch.sigmoid)),
    ("elbo", "white and black", elbo_with(weight=lambda x: x)),
    ("importance", "returns nothing", lambda w: None),
    ("importance", "mean of logarithms", lambda w: w.mean(0)),
    ("importance", "divides by k", lambda w: w.logsumexp(0)),
    ("importance", "first axis", lambda w: w.logsumexp(0) - math.log(w.shape[1])),
    ("importance", "logsumexp", lambda w: (w.exp().mean(0) + 1e-30).log()),
    ("importance", "logsumexp", lambda w: w.exp().mean(0).log()),
    ("importance", "expected \\(2,\\)", lambda w: w.logsumexp(1) - math.log(len(w))),
    ("importance", "no fixed k", lambda w: w.logsumexp(0) - math.log(3)),
    ("importance", "no fixed shift", bound_with(lambda w: 0 if w.mean() > -500 else -1000)),
    ("importance", "of its own", bound_with(torch.max)),
    ("importance", "of its own", bound_with(torch.mean)),
    ("importance", "changes log_w", bound_in_place),
]

"""A training step of the library against a bare loop in eager float32 PyTorch.

The standard network (64x64x3 images, 10 latents, batch 64, Adam, a VAE with Bernoulli pixels).
The bare loop is what one writes by hand: stock layers, the default memory layout, default Adam.
Each case has a process of its own, since one that shares a heap with another takes over memory
that the other has paid for; their rounds alternate.

Goal: never slower. bfloat16 autocast and torch.compile were tried and taken out again: on a CPU
with AVX512 (torch 2.15) bfloat16 made a step 1.32 times as fast as the bare loop where float32 is
1.10, compiling gave nothing more, and no notebook used either.
"""

import multiprocessing
import statistics
from dataclasses import replace

import _measure
import torch
import torch.nn.functional as F
from torch import nn

from dvae_lib import data, nets, objectives, training

SHAPE, LATENTS, BATCH = (3, 64, 64), 10, 64
STEPS, ROUNDS = 25, 7
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def images():
    """4,000 coloured digits, every pixel doubled to reach 64x64."""
    digits = data.load("digits", coloured=True, device=DEVICE)
    doubled = digits.images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return replace(digits, images=doubled, renderer=None)


class BareVAE(nn.Module):
    """The layers of nets.Encoder and nets.Decoder from stock modules."""

    def __init__(self):
        super().__init__()
        layers, channels = [], (3, 32, 32, 64, 64)
        for k in range(4):
            layers += [nn.Conv2d(channels[k], channels[k + 1], 4, 2, 1), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 2 * LATENTS)]
        self.encoder = nn.Sequential(*layers)
        layers = [nn.Linear(LATENTS, 256), nn.ReLU(), nn.Linear(256, 1024), nn.ReLU()]
        layers += [nn.Unflatten(1, (64, 4, 4))]
        for k in range(4, 0, -1):
            layers += [nn.ConvTranspose2d(channels[k], channels[k - 1], 4, 2, 1), nn.ReLU()]
        self.decoder = nn.Sequential(*layers[:-1])


def bare(resident):
    torch.manual_seed(0)
    model = BareVAE().to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)

    def go():
        order = torch.randperm(len(resident), device=DEVICE)
        for step in range(STEPS):
            x = resident.images[order[step * BATCH : (step + 1) * BATCH]].float() / 255
            mean, log_var = model.encoder(x).chunk(2, 1)
            z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
            pixels = F.binary_cross_entropy_with_logits(model.decoder(z), x, reduction="sum")
            kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum()
            loss = (pixels + kl) / BATCH
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    return go


def vae(seed=0):
    torch.manual_seed(seed)
    parts = {"encoder": nets.Encoder(SHAPE, 2 * LATENTS), "decoder": nets.Decoder(LATENTS, SHAPE)}
    return nn.ModuleDict(parts).to(DEVICE)


def loss_of(model):
    def loss(batch):
        mean, log_var = model["encoder"](batch.images).chunk(2, 1)
        logits = model["decoder"](objectives.reparameterise(mean, log_var))
        pixels = objectives.bernoulli_reconstruction(logits, batch.images).mean()
        kl = objectives.kl_standard_normal(mean, log_var).mean()
        return {"loss": pixels + kl, "pixels": pixels, "kl": kl}

    return loss


def library(resident):
    model = vae()
    adam = torch.optim.Adam(model.parameters(), lr=5e-4)
    player = training.Player(loss_of(model), adam)
    return lambda: training.train(model, player, resident.batches(BATCH), STEPS)


CASES = {"bare loop": bare, "library": library}


def worker(name, pipe):
    """Run one round of a case each time it is asked to; the first is for warming up."""
    torch.set_num_threads(_measure.THREADS)
    go = CASES[name](images())
    while pipe.recv():
        pipe.send(_measure.seconds(go))


def ask(pipe):
    pipe.send(True)
    return pipe.recv()


def main():
    _measure.start("training step: " + __doc__.split("\n")[0])
    context, pipes = multiprocessing.get_context("spawn"), {}
    for name in CASES:
        pipes[name], theirs = context.Pipe()
        context.Process(target=worker, args=(name, theirs), daemon=True).start()
        ask(pipes[name])
    taken = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, pipe in pipes.items():
            taken[name].append(ask(pipe))
    for pipe in pipes.values():
        pipe.send(False)
    print(f"\n{'':24}{'ms a step':>10}{'images/s':>10}{'ratio':>8}")
    for name, times in taken.items():
        step = statistics.median(times) / STEPS
        pairs = zip(taken["bare loop"], times, strict=True)
        ratio = statistics.median(base / own for base, own in pairs)
        print(f"{name:24}{1000 * step:10.1f}{BATCH / step:10.0f}{ratio:8.2f}")


if __name__ == "__main__":
    main()

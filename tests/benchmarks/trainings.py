"""Two trainings in turn with one thread, in turn with two, and side by side (parallel.trainings).

Of the standard 64x64 network with batches of 64, and of one as narrow as those of notebooks 06 and
10, on 32x32 pixels with batches of 16. Goal: side by side never takes longer than with two threads.
"""

import functools
import tempfile
from pathlib import Path

import _measure
import torch
import training_step
from torch import nn

from dvae_lib import data, nets, parallel, training

LATENTS, ROUNDS = training_step.LATENTS, 3


def narrow(seed):
    torch.manual_seed(seed)
    sizes = {"channels": (16, 32, 64), "hidden": 128}
    encoder = nets.NormedEncoder((3, 32, 32), 2 * LATENTS, **sizes)
    return nn.ModuleDict(
        {"encoder": encoder, "decoder": nets.NormedDecoder(LATENTS, (3, 32, 32), **sizes)}
    )


def train(folder, seed, network, images, batch, steps):
    model = network(seed)
    adam = torch.optim.Adam(model.parameters(), lr=5e-4)
    player = training.Player(training_step.loss_of(model), adam)
    where = folder / f"{seed}.safetensors"
    return training.train(model, player, images.batches(batch), steps, checkpoint=where)


def side_by_side(jobs):
    torch.set_num_threads(2)
    parallel.trainings(jobs)


def in_turn(jobs, threads):
    torch.set_num_threads(threads)
    for function, *arguments in jobs.values():
        function(*arguments)


def main():
    _measure.start("trainings side by side: " + __doc__.split("\n")[0])
    digits = data.load("digits", coloured=True)
    networks = {
        "standard, 64x64": (training_step.vae, training_step.images(), 64, 40),
        "narrow, 32x32": (narrow, digits, 16, 300),
    }
    for name, given in networks.items():
        with tempfile.TemporaryDirectory() as folder:
            jobs = {seed: (train, Path(folder), seed, *given) for seed in range(2)}
            cases = {
                "in turn, 1 thread": functools.partial(in_turn, jobs, 1),
                "in turn, 2 threads": functools.partial(in_turn, jobs, 2),
                "side by side": functools.partial(side_by_side, jobs),
            }
            taken = _measure.alternate(cases, ROUNDS)
        print(name)
        base = taken["in turn, 1 thread"]
        for case, seconds in taken.items():
            print(f"  {case:20} {seconds:6.1f} s ({seconds / base:.2f} of one thread in turn)")


if __name__ == "__main__":
    main()

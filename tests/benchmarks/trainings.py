"""Two trainings of the standard 64x64 network: in turn with one thread, with two, and side by side.

Goal: side by side they take at most 0.6 of what they take in turn with one thread.
"""

import functools
import tempfile
from pathlib import Path

import _measure
import torch
import training_step

from dvae_lib import parallel, training

STEPS, ROUNDS = 40, 3


def train(folder, seed, images):
    model = training_step.vae(seed)
    adam = torch.optim.Adam(model.parameters(), lr=5e-4)
    player = training.Player(training_step.loss_of(model), adam)
    where = folder / f"{seed}.safetensors"
    return training.train(model, player, images.batches(64), STEPS, checkpoint=where)


def both(jobs, threads):
    torch.set_num_threads(threads)
    parallel.trainings(jobs)


def in_turn(jobs, threads):
    torch.set_num_threads(threads)
    for function, *arguments in jobs.values():
        function(*arguments)


def main():
    _measure.start("trainings side by side: " + __doc__.split("\n")[0])
    images = training_step.images()
    with tempfile.TemporaryDirectory() as folder:
        jobs = {seed: (train, Path(folder), seed, images) for seed in range(2)}
        cases = {
            "in turn, 1 thread": functools.partial(in_turn, jobs, 1),
            "in turn, 2 threads": functools.partial(in_turn, jobs, 2),
            "side by side": functools.partial(both, jobs, 2),
        }
        taken = _measure.alternate(cases, ROUNDS)
    base = taken["in turn, 1 thread"]
    for name, seconds in taken.items():
        print(f"{name:20} {seconds:6.1f} s ({seconds / base:.2f} of one thread in turn)")


if __name__ == "__main__":
    main()

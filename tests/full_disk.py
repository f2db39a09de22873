"""Run by test_files: python full_disk.py FOLDER, which must hold what `write_all` wrote before.

Writes everything once more while no file may grow beyond 20,000 bytes. That limit is the system's
own and, as a full disk does, ends a write midway. Prints the errors.
"""

import contextlib
import os
import resource
import sys
from pathlib import Path

import torch
from torch import nn

from dvae_lib import files, workbook
from dvae_lib.data import sprites
from dvae_lib.training import Player, train


def write_json(folder):
    files.write_json(folder / "results.json", list(range(10_000)))


def write_codes(folder):
    data = sprites.load(4)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4096, 2))
    decoder = nn.Sequential(nn.Linear(2, 4096), nn.Unflatten(1, (1, 64, 64)))
    run = workbook.start("demo", "smoke", 0, "cpu")
    run.save_codes("vae", encoder, decoder, torch.zeros(4, 2), data)


def write_checkpoint(folder):
    """Train to step 2 and stop; called again, goes on from there to the checkpoint at step 3."""
    torch.manual_seed(0)
    model, calls = nn.Linear(100, 100), []

    def loss(batch):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"loss": model.weight.sum()}

    player = Player(loss, torch.optim.SGD(model.parameters(), 0.1))
    batches = sprites.load(4).batches(2)
    with contextlib.suppress(KeyboardInterrupt):
        checkpoint = folder / "run.safetensors"
        train(model, player, batches, 9, checkpoint=checkpoint, checkpoint_every=1)


WRITERS = (write_json, write_codes, write_checkpoint)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    os.environ["DVAE_RUNS"] = str(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    for write in WRITERS:
        try:
            write(folder)
        except OSError as error:
            print(error)

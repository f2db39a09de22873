"""Run by test_training: a small VAE is killed in mid-training, or goes on and is compared.

python kill_and_go_on.py FOLDER killed   trains with a checkpoint and kills itself at step 9.
python kill_and_go_on.py FOLDER goes_on  goes on, then trains unbroken, and saves both weights.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from dvae_lib import nets, objectives
from dvae_lib.data import sprites
from dvae_lib.training import Player, train


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nets.Encoder((1, 64, 64), 8)
        self.decoder = nets.Decoder(4, (1, 64, 64))


def run(data, checkpoint=None):
    """Weights, history and number of steps done, from a fixed seed."""
    torch.manual_seed(1)
    model, calls = VAE(), []

    def loss(batch):
        calls.append(1)
        if os.environ.get("KILL_AT") == str(len(calls)):
            os.kill(os.getpid(), signal.SIGKILL)
        mean, log_var = model.encoder(batch.images).chunk(2, 1)
        logits = model.decoder(objectives.reparameterise(mean, log_var))
        reconstruction = objectives.bernoulli_reconstruction(logits, batch.images).mean()
        kl = objectives.kl_standard_normal(mean, log_var).mean()
        return {"loss": reconstruction + kl, "kl": kl}

    player = Player(loss, torch.optim.Adam(model.parameters(), 1e-3))
    batches = data.batches(8, seed=2)
    history = train(
        model, player, batches, 12, checkpoint=checkpoint, checkpoint_every=4, log_every=2
    )
    return model.state_dict(), vars(history), len(calls)


if __name__ == "__main__":
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    data = sprites.load(40)
    if mode == "killed":
        os.environ["KILL_AT"] = "10"
        run(data, folder / "checkpoint.safetensors")
    else:
        torch.rand(3)  # a new process has drawn other numbers
        broken = run(data, folder / "checkpoint.safetensors")
        unbroken = run(data)
        torch.save({"broken": broken, "unbroken": unbroken}, folder / "weights.pt")

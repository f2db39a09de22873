"""Run by test_evidence: python run_edited.py FOLDER…, each with a copy of the library.

Runs the same small training with each copy, some of them edited, and leaves its record in
FOLDER/runs. PyTorch is imported once, and each library in a fork of this process.
"""

import os
import sys
from pathlib import Path

# What the library imports, so that each fork need not.
import ipywidgets  # noqa: F401
import matplotlib.figure  # noqa: F401
import sklearn.linear_model  # noqa: F401
import torch
import torch._dynamo  # noqa: F401 (of the first step of an optimiser)
from torch import nn

MEASURED = """
from dvae_lib import data, metrics, training, workbook

run = workbook.start("demo", "smoke", 0, "cpu")
rooms = data.load("rooms", n=run.pick(smoke=64, classroom=20_000, paper="all"), seed=0)
run.record("grey", rooms.floats().mean())
net = nn.Linear(rooms.images[0].numel(), 4)


def loss(batch):
    return {"loss": (net(batch.images.flatten(1)) ** 2).mean()}


player = training.Player(loss, torch.optim.Adam(net.parameters(), 1e-3))
steps = run.pick(smoke=6, classroom=5_000, paper=200_000)
history = training.train(net, player, rooms.batches(8), steps, log_every=3)
run.record("loss", history.scalars["loss"][-1], at_most=100)
"""
DCI = """
codes = net(rooms.floats().flatten(1)).detach()
run.record("D", metrics.dci(codes, rooms.factors).scalars["D"])
"""

if __name__ == "__main__":
    torch.set_num_threads(1)
    for folder in map(Path, sys.argv[1:]):
        if os.fork() == 0:
            sys.path.insert(0, str(folder))
            os.environ["DVAE_RUNS"] = str(folder / "runs")
            code = MEASURED + (DCI if (folder / "with_dci").exists() else "")
            exec(compile(code, "demo", "exec"), {"torch": torch, "nn": nn})
            os._exit(0)
        assert os.wait()[1] == 0, folder

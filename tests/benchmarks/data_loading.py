"""Resident data (FactorData.batches) against PNG files read by a DataLoader, in the same training.

Goal: training on resident data is faster.
"""

import tempfile
from pathlib import Path

import _measure
import torch
import training_step
from torchvision.io import ImageReadMode, decode_image, write_png

from dvae_lib.data.factor_data import Batch

STEPS, ROUNDS = 30, 5


class Files(torch.utils.data.Dataset):
    def __init__(self, resident, folder):
        self.factors, self.folder = resident.factors, folder
        for row, image in enumerate(resident.images):
            write_png(image, str(folder / f"{row}.png"))

    def __len__(self):
        return len(self.factors)

    def __getitem__(self, row):
        image = decode_image(str(self.folder / f"{row}.png"), ImageReadMode.RGB)
        return Batch(image.float() / 255, self.factors[row], torch.tensor(row))


class Stream:
    """Batches of a DataLoader, one after another, as `training.train` asks for them."""

    def __init__(self, files, workers):
        batch, kept = training_step.BATCH, workers > 0
        self.loader = torch.utils.data.DataLoader(
            files, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=kept
        )
        self.rest = iter(self.loader)

    def __getitem__(self, step):
        try:
            batch = next(self.rest)
        except StopIteration:
            self.rest = iter(self.loader)
            batch = next(self.rest)
        return Batch(*(part.to(training_step.DEVICE) for part in batch))


def trainer(batches):
    model = training_step.vae()
    adam = torch.optim.Adam(model.parameters(), lr=5e-4)
    player = training_step.training.Player(training_step.loss_of(model), adam)
    return lambda: training_step.training.train(model, player, batches, STEPS)


def fetcher(batches):
    return lambda: [batches[step] for step in range(STEPS)]


def main():
    _measure.start("data loading: " + __doc__.split("\n")[0])
    resident = training_step.images()
    with tempfile.TemporaryDirectory() as folder:
        files = Files(resident.to("cpu"), Path(folder))
        sources = {"resident": resident.batches(training_step.BATCH)}
        sources |= {f"PNG files, {k} workers": Stream(files, k) for k in (0, 2)}
        for title, make in (("training", trainer), ("fetching alone", fetcher)):
            cases = {name: make(batches) for name, batches in sources.items()}
            _measure.alternate(cases, 1)
            taken = _measure.alternate(cases, ROUNDS)
            print(f"\n{title:24}{'ms a batch':>12}{'resident is':>14}")
            for name, value in taken.items():
                ratio = value / taken["resident"]
                print(f"{name:24}{1000 * value / STEPS:12.2f}{ratio:8.1f} times")


if __name__ == "__main__":
    main()

"""Makes rooms_weights.xz, the weights of the 480 geometries of `rooms`, in about a minute:

python tests/makers/make_rooms.py
"""

import itertools
import lzma

import torch
from tqdm import tqdm

from dvae_lib.data import rooms


def main():
    """Weights uint8 (480, 5, 64, 64) for scale, shape, orientation, in units of 1 / rooms.ONE."""
    scales, shapes, orientations = rooms.VALUES[3:]
    grid = list(itertools.product(scales, range(len(shapes)), orientations))
    weights = torch.stack([rooms.weigh(*geometry) for geometry in tqdm(grid)])
    stored = (weights * rooms.ONE).round().to(torch.uint8).numpy().tobytes()
    rooms.WEIGHTS_FILE.write_bytes(lzma.compress(stored))
    print(f"{rooms.WEIGHTS_FILE}: {rooms.WEIGHTS_FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

"""Images made a second, and the memory of a resident set.

Goal: 20,000 sprites a second on 2 cores.
"""

import _measure
import torch

from dvae_lib import data
from dvae_lib.data import digits, sprites
from dvae_lib.data.factor_data import factors_of

N, ROUNDS = 20_000, 5


def main():
    _measure.start("rendering: " + __doc__.split("\n")[0])
    index = torch.randperm(sprites.N_ALL, generator=torch.Generator().manual_seed(0))[:N]
    factors = factors_of(index, sprites.SIZES)
    plain = data.load("digits")
    rows = torch.arange(N) % len(plain)
    levels = torch.cat([plain.factors[rows], torch.randint(digits.HUES, (N, 2))], 1)
    taken = _measure.alternate(
        {
            "sprites rendered": lambda: sprites.render(factors),
            "digits coloured": lambda: [
                digits.colour(levels[part], plain.images[rows[part]])
                for part in torch.arange(N).split(1000)
            ],
        },
        ROUNDS,
    )
    print()
    for name, value in taken.items():
        print(f"{name:24}{N / value:12,.0f} a second")
    resident = data.load("sprites", n=1000)
    each = (resident.images.nbytes + resident.factors.nbytes) / len(resident)
    print(f"{'a resident sprite':24}{each:12,.0f} bytes with its factors")
    print(f"{f'all {sprites.N_ALL:,}':24}{each * sprites.N_ALL / 1e9:12.2f} GB")


if __name__ == "__main__":
    main()

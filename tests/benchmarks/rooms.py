"""Rooms made a second, and the memory of the weight table and of a resident set.

Goal: 10,000 rooms a second on 2 cores.
"""

import _measure
import torch

from dvae_lib.data import rooms
from dvae_lib.data.factor_data import factors_of

N, ROUNDS = 10_000, 5


def main():
    _measure.start("rooms: " + __doc__.split("\n")[0])
    index = torch.randperm(rooms.N_ALL, generator=torch.Generator().manual_seed(0))[:N]
    factors = factors_of(index, rooms.SIZES)
    first = _measure.seconds(lambda: rooms.render(factors[:1]))
    taken = _measure.alternate({"rooms": lambda: rooms.render(factors)}, ROUNDS)["rooms"]
    table = rooms._table(factors.device)
    resident = rooms.load(100)
    each = (resident.images.nbytes + resident.factors.nbytes) / len(resident)
    print()
    print(f"{'rooms':28}{N / taken:12,.0f} a second")
    print(f"{'reading the weights':28}{first:12.2f} s, once")
    print(f"{'weights in the package':28}{rooms.WEIGHTS_FILE.stat().st_size:12,} bytes")
    print(f"{'weights in memory':28}{table.nbytes:12,} bytes")
    print(f"{'a resident room':28}{each:12,.0f} bytes with its factors")
    print(f"{f'all {rooms.N_ALL:,}':28}{each * rooms.N_ALL / 1e9:12.2f} GB")


if __name__ == "__main__":
    main()

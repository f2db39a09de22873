"""Faces drawn a second, the memory that it takes, and the bytes that the model adds to the package.

Goal: 10,000 faces in at most 68 s of CPU on one thread (147 a second).
"""

import resource
import statistics
import sys
import time

import _measure
import torch

from dvae_lib.data import face_model, faces

N, ROUNDS = 320, 5


def timed(factors, clocks):
    """Seconds that drawing takes, by each clock."""
    before = [clock() for clock in clocks]
    faces.render(factors)
    return [clock() - start for clock, start in zip(clocks, before, strict=True)]


def main():
    _measure.start("faces: " + __doc__.split("\n")[0])
    generator = torch.Generator().manual_seed(0)
    factors = [torch.randint(size, (N,), generator=generator) for size in faces.SIZES]
    factors = torch.stack(factors, 1)
    images = faces.render(factors)
    clocks = {"of the clock": time.perf_counter, "of CPU": time.process_time}
    rounds = [timed(factors, clocks.values()) for _ in range(ROUNDS)]
    print()
    for name, taken in zip(clocks, map(statistics.median, zip(*rounds, strict=True)), strict=True):
        print(f"{'drawn':24}{N / taken:12,.0f} a second {name}")
        print(f"{'10,000 faces':24}{10_000 * taken / N:12.1f} s {name}")
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(f"{'peak memory':24}{peak / 1e6:12,.0f} MB, with torch")
    print(
        f"{'a resident face':24}{images[0].nbytes + factors[0].nbytes:12,} bytes with its factors"
    )
    print(f"{'in the package':24}{face_model.MODEL.stat().st_size:12,} bytes")


if __name__ == "__main__":
    main()

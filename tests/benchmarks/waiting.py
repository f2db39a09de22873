"""How OpenMP's threads wait: a training step on a quiet machine, and beside other work.

OMP_WAIT_POLICY=PASSIVE lets a thread that waits give its core away; without it the thread spins.
Each case trains the standard 64x64 network with batches of 64 in a process of its own, which
inherits the policy as a kernel started by `dvae` does; the rounds of the cases alternate.

Goal: passive threads cost at most 5 % on a quiet machine, and save time on one with other work.
"""

import multiprocessing
import os
import statistics
import subprocess
import sys

import _measure
import torch

CASES = {
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "2 threads, passive": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
    "1 thread": {"OMP_NUM_THREADS": "1"},
}
STEPS, ROUNDS = 15, 4


def train():
    """Milliseconds a step, printed for the process that asks."""
    import training_step

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    training_step.STEPS = STEPS
    go = training_step.library(training_step.images())
    go()
    print(1000 * _measure.seconds(go) / STEPS)


def busy():
    """Other work on the machine: products of matrices, without end."""
    torch.set_num_threads(1)
    a = torch.randn(500, 500)
    while True:
        a @ a


def measure(environment):
    command = [sys.executable, __file__, "train"]
    without = {name: v for name, v in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(command, env=without | environment, capture_output=True, check=True)
    return float(done.stdout)


def main():
    _measure.start("waiting threads: " + __doc__.split("\n")[0])
    print(f"\n{'ms a step':24}" + "".join(f"{name:>22}" for name in CASES))
    for others in (0, 1, 2):
        work = [multiprocessing.Process(target=busy, daemon=True) for _ in range(others)]
        for process in work:
            process.start()
        taken = {name: [] for name in CASES}
        for _ in range(ROUNDS):
            for name, environment in CASES.items():
                taken[name].append(measure(environment))
        for process in work:
            process.terminate()
        steps = {name: statistics.median(values) for name, values in taken.items()}
        base = steps["2 threads"]
        cells = (f"{step:12.0f} ({base / step:5.2f} x)" for step in steps.values())
        print(f"{f'{others} other processes':24}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    train() if "train" in sys.argv else main()

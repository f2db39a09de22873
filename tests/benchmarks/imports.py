"""What importing the library adds to `import torch`, in fresh interpreters.

Goal: under 0.5 s for what the set-up cell of a notebook imports.
"""

import statistics
import subprocess
import sys

import _measure

SETUP = "from dvae_lib import data, figures, nets, objectives, training, widgets, workbook"
MODULES = SETUP.split("import ")[1].split(", ")
ROUNDS = 5
TIMED = "import time, torch; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def fresh(statement):
    code = TIMED.format(statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main():
    _measure.start("imports: " + __doc__.split("\n")[0])
    statements = {"set-up cell": SETUP} | {m: f"from dvae_lib import {m}" for m in MODULES}
    taken = {name: [] for name in statements}
    for _ in range(ROUNDS):
        for name, statement in statements.items():
            taken[name].append(fresh(statement))
    print()
    for name, values in taken.items():
        print(f"{name:24}{statistics.median(values):8.2f} s")


if __name__ == "__main__":
    main()

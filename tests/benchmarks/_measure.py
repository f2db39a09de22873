"""What the benchmarks share: alternating rounds, medians, and a line about the machine."""

import functools
import os
import platform
import statistics
import time
from pathlib import Path

import torch

from dvae_lib import training

training.Bar = functools.partial(training.Bar, disable=True)
THREADS = int(os.environ.get("OMP_NUM_THREADS", 2))


def start(title):
    """Set the threads (OMP_NUM_THREADS, default 2); print what is measured and on what."""
    torch.set_num_threads(THREADS)
    print(f"{title}\n{cpu()}, {os.cpu_count()} cores, {THREADS} threads, torch {torch.__version__}")
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name())


def cpu():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def seconds(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def alternate(cases, rounds):
    """Run every case once a round; cases and result: {name: function}, {name: median seconds}."""
    taken = {name: [] for name in cases}
    for _ in range(rounds):
        for name, function in cases.items():
            taken[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in taken.items()}

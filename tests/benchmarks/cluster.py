"""Sweeps on a Dask cluster: two workers against one, and what the cluster adds to a run.

A scheduler and workers on this machine run a notebook that computes for a fixed number of turns,
or not at all. What results cost here and in the scheduler, the serial part of a sweep, is
measured with results that need no run. From these follows what 1,000 runs on 100 workers take.
It runs the committed library. Run it on a quiet machine of two cores or more.

Goal: two workers do at least 0.9 of twice the work of one.
"""

import contextlib
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _measure
import nbformat
import psutil
from distributed import Client

from dvae_lib import cluster, execution, paths, processes
from dvae_lib.execution import Job, Outcome

execution.tqdm = functools.partial(execution.tqdm, disable=True)

RUNS, WORK = 6, 10  # runs a case; seconds of computing in each
RESULTS, BYTES = 300, 500_000  # a stored notebook has up to 700 kB
MINUTES = 5  # of a run in the estimate
CELLS = [
    'tier = "classroom"\nseed = 0\ndevice = "auto"\nturns = 0',
    """import time
from dvae_lib import files, paths

begun = time.perf_counter()
for k in range(turns):
    k * k
rows = [{"name": "seconds", "value": time.perf_counter() - begun}]
files.write_json(paths.run_folder("demo", tier, seed) / "results.json", {"rows": rows})
""",
]


def make(folder):
    """A clone of the workbook with one notebook more, which this process takes for its own."""
    subprocess.run(["git", "clone", "-q", str(paths.root()), str(folder)], check=True)
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "notebooks" / "demo.ipynb")
    who = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
    for arguments in (["add", "."], [*who, "commit", "-q", "-m", "demo"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    paths.__file__ = str(folder / "dvae_lib" / "paths.py")
    sys.path.insert(0, str(folder))  # for processes of runs
    os.environ |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def started(folder, module, *arguments):
    environment = os.environ | {"DVAE_RUNS": str(folder / f"runs{time.time()}")}
    command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, "--no-dashboard"]
    with open(folder / "log", "a") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def worker(folder, address):
    return started(folder, "dask_worker", address, "--nthreads", "1", "--no-nanny")


def wait_for(address, n):
    with Client(address) as client:
        while len(client.scheduler_info(n_workers=-1)["workers"]) != n:
            time.sleep(0.1)


def wall(turns, address="", workers=1):
    """Seconds of RUNS runs, without the start of a pool; and the median seconds of their cells."""
    jobs = [Job("demo", seed=k, settings=(("turns", turns),)) for k in range(RUNS)]
    pool = cluster.connected(address) if address else contextlib.nullcontext(processes.each)
    with pool as each:
        outcomes = []
        taken = _measure.seconds(lambda: outcomes.extend(execution.run_all(jobs, workers, 1, each)))
    assert not any(outcome.error for outcome in outcomes), outcomes
    return taken, statistics.median(outcome.rows[0].value for outcome in outcomes)


def own_cpu(process):
    times = process.cpu_times()
    return times.user + times.system


def results_a_second(address):
    """Results that come home a second, when the runs take no time."""

    def run(function, call, commit):
        return Outcome(call[0], 0.0), "", {"demo.ipynb": bytes(size)}

    size, plain = BYTES, cluster._run
    cluster._run = run
    jobs = [Job("demo", "smoke", seed=k) for k in range(RESULTS)]
    with cluster.connected(address) as each:
        taken = _measure.seconds(lambda: execution.run_all(jobs, 1, 1, each))
    cluster._run = plain
    return RESULTS / taken


def turns_of(seconds):
    """How many turns take so long in a cell, whose names are global and so slower."""
    turns, loop = 5_000_000, compile("for k in range(turns):\n    k * k", "<cell>", "exec")
    return round(seconds / _measure.seconds(lambda: exec(loop, {"turns": turns})) * turns)


def main():
    _measure.start("cluster: " + __doc__.split("\n")[0])
    globals().pop("__file__")  # or each process of a run imports this script, and PyTorch with it
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        os.environ["DVAE_RUNS"] = str(Path(name, "runs"))
        folder = Path(name, "checkout")
        make(folder)
        about = Path(name, "scheduler.json")
        scheduler = stack.enter_context(
            started(folder, "dask_scheduler", "--port", "0", "--scheduler-file", str(about))
        )
        while not about.exists():
            time.sleep(0.1)
        address = json.loads(about.read_text())["address"]
        turns = turns_of(WORK)
        with worker(folder, address) as first:
            wait_for(address, 1)
            wall(0, address)  # imports
            of = {"here": psutil.Process(), "scheduler": scheduler, "worker": first}
            before = {name: own_cpu(process) for name, process in of.items()}
            empty = wall(0, address)[0] / RUNS
            cpu = {name: (own_cpu(p) - before[name]) / RUNS for name, p in of.items()}
            one = [wall(turns, address)]
            with worker(folder, address):
                wait_for(address, 2)
                wall(0, address)
                two = wall(turns, address)
                rate = results_a_second(address)
            wait_for(address, 1)
            one.append(wall(turns, address))
        local = {n: wall(turns, workers=n) for n in (1, 2)}
        plain = wall(0)[0] / RUNS

    print(f"\n{RUNS} runs of {WORK} s".ljust(33) + f"{'seconds':>10}{'a cell':>10}")
    for words, (taken, cell) in {
        "cluster, 1 worker": one[0],
        "cluster, 2 workers": two,
        "cluster, 1 worker again": one[1],
        "no cluster, 1 worker": local[1],
        "no cluster, 2 workers": local[2],
    }.items():
        print(f"{words:32}{taken:10.1f}{cell:10.2f}")
    single = statistics.mean(taken for taken, _ in one)
    print(f"{'efficiency of 2, cluster':32}{single / two[0] / 2:10.2f}")
    print(f"{'efficiency of 2, no cluster':32}{local[1][0] / local[2][0] / 2:10.2f}\n")
    print(f"{'an empty run, no cluster':32}{plain:10.2f} s")
    print(f"{'an empty run, cluster':32}{empty:10.2f} s")
    for name, seconds in cpu.items():
        print(f"{f'  of the CPU, {name}':32}{1000 * seconds:10.0f} ms")
    print(f"{f'results of {BYTES:,} bytes':32}{rate:10.0f} a second\n")
    run = 60 * MINUTES
    rounds = 1000 / 100 * (run + empty)
    print(
        f"1,000 runs of {MINUTES} min on 100 workers: {1000 * run / 100 / 60:.1f} min of computing,"
    )
    print(
        f"{rounds / 60:.1f} min with what each run adds; {1000 / rate:.0f} s of serial work, which"
    )
    print(f"would hold up workers from {run * rate:,.0f} on")


if __name__ == "__main__":
    main()

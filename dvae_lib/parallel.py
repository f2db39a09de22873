"""Trainings side by side, one a CPU core: small networks gain little from a second thread.

Processes are forked, since what a notebook defines can be given to a new process in no other way
that is as simple. A fork with a thread of OpenMP or CUDA in it would hang or raise, so each process
computes with one thread, and there are none where torch sees a GPU.
"""

import ctypes
import functools
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from typing import Any, TypeVar

import torch

from . import training
from .bars import Bar
from .leash import PR_SET_PDEATHSIG

K = TypeVar("K")


def trainings(jobs: Mapping[K, tuple]) -> dict[K, Any]:
    """Call functions whose trainings run at the same time; returns {name: what it returned}.

    jobs: {name: (function, *its arguments)}. The function makes a network from a seed of its own,
    and trains it by `training.train` with a checkpoint of its own. On Linux without a GPU, as many
    jobs at a time as there are cores run ahead in processes with one thread each. Such a process
    leaves its finished checkpoints and nothing else; the job that is then called here takes them up
    and trains nothing again. What ended a process before its time is met here, too: the job goes on
    from the last checkpoint. Elsewhere, and with one core, jobs are called one after the other, and
    their finished checkpoints stay until all are done: so a kill in the last one repeats none.
    The networks are the same, to the bit where torch has one thread.
    """
    threads = torch.get_num_threads()
    # A kernel of a sweep has one thread, for repeatable numbers, and yet its share of the cores.
    workers = min(len(jobs), int(os.environ.get("DVAE_CORES", threads)))
    if workers > 1 and sys.platform == "linux" and not torch.cuda.is_available():
        for name, resumed in zip(jobs, _ahead(list(jobs.values()), workers), strict=True):
            if resumed:
                print(f"{name}: went on from step {resumed:,} of an earlier training")
        training.taking = True
        torch.set_num_threads(1)  # should one have to go on here
    else:
        training.ahead = []
    try:
        done = {name: function(*arguments) for name, (function, *arguments) in jobs.items()}
        for checkpoint in training.ahead or ():
            checkpoint.unlink(missing_ok=True)
        return done
    finally:
        training.taking, training.ahead = False, None
        torch.set_num_threads(threads)


def _ahead(jobs: Sequence[tuple], workers: int) -> list[int]:
    """Call jobs in processes, `workers` at a time, with one progress bar over all their steps.

    Returns for each the steps of an earlier training that it went on from.
    """
    fork = multiprocessing.get_context("fork")
    steps = [fork.RawArray("q", 3) for _ in jobs]  # done, of how many, done before
    waiting = [
        fork.Process(target=_work, args=(os.getpid(), *each), daemon=True)
        for each in zip(jobs, steps, strict=True)
    ]
    running: dict[Any, Any] = {}
    options = {"desc": f"training {len(jobs)} networks, {workers} at a time", "mininterval": 0}
    try:
        with Bar(total=1, **options) as bar:
            while waiting or running:
                while waiting and len(running) < workers:
                    process = waiting.pop(0)
                    with warnings.catch_warnings():  # of the threads that a kernel has
                        warnings.simplefilter("ignore", DeprecationWarning)
                        process.start()
                    running[process.sentinel] = process
                for sentinel in wait(list(running), timeout=0.5):
                    running.pop(sentinel).join()
                begun = [total for _, total, _ in steps if total] or [1]
                bar.total = len(jobs) * sum(begun) // len(begun)
                bar.n = sum(done for done, _, _ in steps)
                bar.refresh()
    finally:
        for process in running.values():
            process.kill()
        for process in running.values():
            process.join()
    return [before for _, _, before in steps]


def _work(parent, job, steps):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the system was asked
        return
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")
    torch.set_num_threads(1)
    training.ahead = []
    training.Bar = functools.partial(_Counter, steps)  # ty: ignore[invalid-assignment]
    function, *arguments = job
    function(*arguments)


class _Counter:
    """In place of a progress bar: tells the steps of all trainings of a job."""

    def __init__(self, steps: Any, total: int, initial: int, **_: Any) -> None:
        self.steps = steps
        for k, more in enumerate((initial, total, initial)):
            steps[k] += more

    def __enter__(self) -> "_Counter":
        return self

    def __exit__(self, *_: Any) -> None: ...

    def update(self) -> None:
        self.steps[0] += 1

    def set_postfix_str(self, *_: Any, **__: Any) -> None: ...

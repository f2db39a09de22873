"""The runs of a sweep on the workers of a Dask cluster, in place of processes of this machine.

A worker has a checkout of the workbook of its own. It gives each run a process, as
`processes.each` does here, and sends home what the run wrote: no disk is shared. When a worker
dies, the scheduler gives its runs to another.
"""

import contextlib
import functools
import logging
import multiprocessing
from collections.abc import Callable, Generator

from . import commits, files, processes

try:
    from distributed import Client, LocalCluster, as_completed, get_worker
except ImportError as error:
    raise ImportError("--cluster needs Dask: pip install 'dvae_lib[cluster]'") from error


@contextlib.contextmanager
def connected(address: str, workers: int = 1) -> Generator[Callable]:
    """Yield what takes the place of `processes.each`: it runs jobs on the cluster at `address`.

    address: of a scheduler, or "local" for a cluster of `workers` within this process. Raises
    ValueError for a worker whose code is not that of the commit here, OSError without a scheduler.
    """
    commit = commits.clean_commit()
    with contextlib.ExitStack() as stack:
        if address == "local":
            local = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=False,
                dashboard_address=None,
                silence_logs=logging.ERROR,  # it warns of each run that Ctrl-C ends
            )
            address = stack.enter_context(local).scheduler_address
        client = stack.enter_context(Client(address))
        there = client.run(commits.commit, on_error="return")
        for worker, own in there.items():
            _refuse_other(worker, own if isinstance(own, str) else f"unknown ({own})", commit)
        if not there:
            print(f"no worker at {address} yet; runs begin when one joins")
        yield functools.partial(_each, client, commit)


def _each(client, commit, function, calls, workers):
    """As processes.each; the first argument of each call is a Job, whose folder is sent home."""
    running = {
        client.submit(_run, function, call, commit, pure=False): (number, call[0].folder)
        for number, call in enumerate(calls)
    }
    for future in as_completed(list(running)):
        number, folder = running.pop(future)
        try:
            value, error, written = future.result()
            with files.claimed(folder, processes.leader()):
                for name, content in written.items():
                    with files.atomic(folder / name) as temporary:
                        temporary.write_bytes(content)
        except Exception as failure:  # a refused worker, three dead ones, or a full disk here
            value, error = None, f"{type(failure).__name__}: {failure}"
        yield number, value, error


def _run(function, call, commit):
    """On a worker: (value, error, {name: content} of the files of the run)."""
    worker, folder = get_worker(), call[0].folder
    name, key = f"{worker.name}", worker.get_current_task()
    _refuse_other(name, commits.commit(), commit)  # it may have joined, or changed, since

    def wanted():  # no more when the sweep was ended at home
        return worker.state.tasks[key].state != "cancelled"

    # Its share of the cores here: as many runs at a time as the worker has threads.
    job, number, workers, threads = call
    call = job, number, max(workers, worker.state.nthreads), threads
    # A worker under a nanny is daemonic, which Python does not allow to start a process.
    multiprocessing.current_process().daemon = False
    _, value, error = next(processes.each(function, [call], wanted=wanted), (0, None, ""))
    if value and value.rows and not value.error:
        path = folder / "results.json"
        files.write_json(path, files.read_json(path) | {"worker": name})
    found = [path for path in folder.rglob("[!.]*") if path.is_file()]
    written = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
    return value, error, written


def _refuse_other(worker, own, commit):
    if own != commit:
        raise ValueError(
            f"worker {worker} has commit {own or 'unknown'}, and this sweep {commit} (a + stands "
            "for uncommitted changes): undo these, or commit them on both sides, and run in the "
            f"worker's checkout: git fetch && git checkout {commit}"
        )

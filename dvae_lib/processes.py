"""Work in processes of its own, which end with the command that began it, however it ends.

`each` gives every job a process; one that dies is named and stops no other. A process started
here watches the one that started it and ends with it, even where that was killed and could do
nothing more; `Kernel` holds a notebook's kernel in the same way. On Linux the system ends the
kernel, elsewhere ipykernel does, which looks for its parent once a second.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from multiprocessing.connection import wait
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager

PATIENCE = 5  # seconds for a process to end after its answer


class Kernel(AsyncKernelManager):
    """Starts a kernel that ends with this process: the `kernel_manager_class` of an nbclient."""

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        command = super().format_kernel_cmd(extra_arguments)
        if sys.platform != "linux":
            return command
        return [
            sys.executable,
            str(Path(__file__).with_name("leash.py")),
            f"{os.getpid()}",
            *command,
        ]


def leader() -> int:
    """The process id of the command to which this process belongs; its own outside of `each`."""
    process = multiprocessing.parent_process() or multiprocessing.current_process()
    assert process.pid is not None  # it has been started
    return process.pid


def each(
    function: Callable,
    jobs: Iterable[tuple],
    workers: int = 1,
    wanted: Callable[[], bool] = lambda: True,
) -> Generator[tuple]:
    """Call function(*job) for each of jobs, `workers` at a time, in a new process each.

    function and jobs must be picklable. Yields (number of the job, value, error) as they are done:
    error is "", or a sentence on what the call raised or what ended its process, and value then
    None. When the caller stops, by an exception or by closing the generator, so do all processes;
    within a second also where `wanted` returns False.
    Raises ValueError for fewer workers than one.
    """
    if workers < 1:
        raise ValueError(f"workers {workers}; choose 1 or more")
    waiting, running = list(enumerate(jobs))[::-1], {}
    try:
        while (waiting or running) and wanted():
            while waiting and len(running) < workers:
                number, job = waiting.pop()
                with _interrupts_wait():
                    process, answer = _start(function, job)
                    running[answer] = number, process
            for answer in wait(list(running), timeout=1):
                number, process = running[answer]
                result = _received(answer, process)
                del running[answer]
                yield number, *result
    finally:
        for _, process in running.values():
            process.kill()
        for _, process in running.values():
            process.join()


def _start(function, job):
    """A process that calls function(*job), and the connection on which it answers."""
    context = multiprocessing.get_context("spawn")
    answer, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, function, job), daemon=True)
    process.start()
    sender.close()  # now the end of the process is the end of the connection
    return process, answer


def _received(answer, process):
    """(value, error) of a process that has answered or ended; it has ended afterwards."""
    try:
        result = answer.recv()
    except (EOFError, OSError):
        result = None
    process.join(PATIENCE)
    if process.exitcode is None:  # a thread that it left keeps it
        process.kill()
        process.join()
    answer.close()
    return result or (None, f"its process ended early: {_reason(process.exitcode)}")


def _reason(status):
    if status == -9:
        return "killed, perhaps because the memory was full"
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def _work(sender, function, job):
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C reaches a whole group of processes; the one that was started by hand stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    try:
        result = function(*job), ""
    except Exception as error:
        result = None, f"{type(error).__name__}: {error}"
    sender.send(result)


def _end_with_parent():
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


@contextlib.contextmanager
def _interrupts_wait():
    """Hold Ctrl-C back, so that no process starts unseen; one that starts here inherits that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its own start would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

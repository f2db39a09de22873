"""Processes end with the command that began them, and one that dies stops no other."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from dvae_lib import leash, processes

# A command as in a terminal, where Ctrl-C reaches it whatever the tests were started with.
COMMAND = """
import signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)
from dvae_lib import cli

sys.exit(cli.main())
"""
COMMANDS = {
    "run": ["run", "demo", "--tier", "smoke"],
    "sweep": ["sweep", "demo", "--seeds", "0-1", "--workers", "2"],
    "store": ["store", "demo"],
}
SIGNALS = [
    (signal.SIGTERM, os.kill),
    (signal.SIGKILL, os.kill),
    (signal.SIGINT, os.killpg),  # Ctrl-C
    (signal.SIGTERM, os.killpg),
    (signal.SIGKILL, os.killpg),  # the command and its workers at once
]
SECONDS_TO_END = 30


def marked(mark):
    """The processes that inherited a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK") == mark:
                found.append(process)
        except psutil.Error:  # it has ended, or is another user's
            continue
    return found


class Started:
    """A command in a session and a runs folder of its own, with a mark on all its processes."""

    def __init__(self, arguments, checkout):
        self.mark = uuid.uuid4().hex
        self.runs = checkout.folder / "runs" / self.mark
        self.runs.mkdir(parents=True)
        environment = {"MARK": self.mark, "DVAE_RUNS": str(self.runs)}
        environment["PYTHONPATH"] = str(checkout.folder)
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            cwd=checkout.folder,
            env=os.environ | environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    @property
    def in_a_cell(self):
        return any(self.runs.rglob("in_a_cell"))

    def end(self, number, kill):
        """Kill it; what is left of it when there was time to end, and what it wrote to stderr."""
        kill(self.process.pid, number)
        until = time.monotonic() + SECONDS_TO_END
        self.process.wait(SECONDS_TO_END)
        while (left := marked(self.mark)) and time.monotonic() < until:
            time.sleep(0.1)
        names = [" ".join(process.cmdline()) for process in left]
        for process in left:
            process.kill()
        return names, self.process.stderr.read().decode()


@pytest.mark.notebook
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by their environment")
def test_a_killed_command_leaves_no_process(checkout):
    """Each command in the middle of a cell, and at five random moments from its first import on."""
    cell = "from pathlib import Path\nimport os, time\n\n"
    cell += "Path(os.environ['DVAE_RUNS'], 'in_a_cell').touch()\ntime.sleep(600)"
    checkout.write("demo", cell)
    (checkout.folder / ".gitignore").write_text("runs/\n__pycache__/\n")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *arguments], cwd=checkout.folder, check=True)

    begun = time.monotonic()
    together = [Started(arguments, checkout) for arguments in COMMANDS.values()]
    while not all(started.in_a_cell for started in together):
        for started in together:
            assert started.process.poll() is None, started.process.stderr.read().decode()
        assert time.monotonic() < begun + 120
        time.sleep(0.05)
    whole = time.monotonic() - begun
    for started, (number, kill) in zip(together, SIGNALS, strict=False):
        assert len(marked(started.mark)) >= 3  # command, worker, kernel
        left, said = started.end(number, kill)
        assert left == []
        if number == signal.SIGINT:
            assert said.endswith("dvae: interrupted; finished runs are kept\n")
            assert "Traceback" not in said

    draw = random.Random(0)
    cases = [(name, *how, draw.random()) for name in COMMANDS for how in SIGNALS]
    draw.shuffle(cases)

    def left_by(case):
        name, number, kill, moment = case
        started = Started(COMMANDS[name], checkout)
        time.sleep(moment * whole)
        return started.end(number, kill)[0]

    with ThreadPoolExecutor(len(together)) as pool:
        found = zip(cases, pool.map(left_by, cases), strict=True)
    assert [(case, left) for case, left in found if left] == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ipykernel looks for its parent")
def test_a_leash_holds_from_the_first_moment():
    """Its parent is killed before, while and after it asks the system; a cell need not give way."""
    parent = f"""
import os, subprocess, sys, time

command = [sys.executable, {leash.__file__!r}, str(os.getpid()), "sleep", "600"]
child = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(float(sys.argv[1]))
os.kill(os.getpid(), 9)
"""
    for seconds in (0, 0.02, 0.05, 0.1, 0.5):
        command = [sys.executable, "-c", parent, f"{seconds}"]
        pid = int(subprocess.run(command, stdout=subprocess.PIPE).stdout)
        until = time.monotonic() + SECONDS_TO_END
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_job_that_dies_is_named_and_stops_no_other(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 1)
    jobs = [
        ("2 + 3",),
        ("1 / 0",),
        ("__import__('os')._exit(3)",),
        ("__import__('signal').raise_signal(9)",),
        ("lambda: 1",),  # cannot be sent back
        ("__import__('threading').Thread(target=__import__('time').sleep, args=(600,)).start()",),
        ("'x' * 10_000_000",),
    ]
    found = {k: (value, error) for k, value, error in processes.each(eval, jobs, 2)}
    assert sorted(found) == list(range(7))
    assert found[0] == (5, "")
    assert found[1] == (None, "ZeroDivisionError: division by zero")
    assert found[2] == (None, "its process ended early: exit status 3")
    assert found[3] == (
        None,
        "its process ended early: killed, perhaps because the memory was full",
    )
    assert found[4][0] is None
    assert "ended early" in found[4][1]
    assert found[5] == (None, "")
    assert found[6] == ("x" * 10_000_000, "")


def test_no_more_jobs_at_a_time_than_workers_and_none_after_the_last_look(tmp_path):
    """Each writes when it begins and ends; the second batch is given up after its first answer."""
    clock = "(__import__('time').monotonic(), __import__('time').sleep(.3), "
    clock += "__import__('time').monotonic())"
    spans = [value for _, value, _ in processes.each(eval, [(clock,)] * 5, 2)]
    for begun, _, _ in spans:
        assert sum(other[0] <= begun < other[2] for other in spans) <= 2

    path = tmp_path / "late"
    late = f"(__import__('time').sleep(600), open({str(path)!r}, 'w'))"
    given_up = processes.each(eval, [("1",), (late,)], 2)
    assert next(given_up) == (0, 1, "")
    (worker,) = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
    given_up.close()
    assert not worker.is_running()


def test_fewer_workers_than_one_are_refused():
    with pytest.raises(ValueError, match="workers 0; choose 1 or more"):
        next(processes.each(eval, [("1",)], 0))

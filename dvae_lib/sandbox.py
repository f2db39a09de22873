"""Walls around a kernel: no network, a read-only system, a home and an end of its own.

They are bubblewrap's (`bwrap`, Linux). Inside there are Python, the libraries and the files named
in `shown`; no course, no gradebook, no other hand-in, no home and no environment of the lecturer.
All processes end with the kernel. Without bwrap a kernel gets a clean environment and the limits of
`kernel`, but reads, writes and sends what its user may.
"""

import functools
import os
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from traitlets import Dict, List, Unicode

WORK = "/handed-in"  # the working folder and home inside
ROOM = 2**29  # bytes that files in it may take
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
SETTINGS = ("ld.so.cache", "fonts", "localtime", "alternatives", "ssl/certs", "nsswitch.conf")
START = "from dvae_lib.kernel import main; main()"


@functools.cache
def walled() -> bool:
    """True where bwrap is installed and works for this user."""
    if shutil.which("bwrap") is None:
        return False
    return subprocess.run([*_walls(), *_lowered(), "true"], capture_output=True).returncode == 0


class Manager(AsyncKernelManager):
    """Starts the kernel of `dvae_lib.kernel`, within walls where there are some.

    wire: a folder for the sockets, with a short path. shown: {name in the working folder: path}.
    before: modules to import before any cell runs.
    """

    wire = Unicode()
    shown = Dict()
    before = List()

    def __init__(self, **options: Any) -> None:
        super().__init__(kernel_name="python3", **options)
        self.kernel_spec.interrupt_mode = "message"
        self.connection_file = f"{self.wire}/kernel.json"
        if walled():
            self.transport = "ipc"

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        command = [sys.executable, "-c", START, "-f", self.connection_file]
        command += ["--before", ",".join(self.before), *(extra_arguments or [])]
        if not walled():
            # The kernel ends by itself when the process of this number has ended.
            own = {"JPY_PARENT_PID": str(os.getpid()), "HOME": self.wire}
            return [*_environment(own), *command]
        # The kernel may be another user, see _walls; the folder around this one stays closed.
        os.chmod(self.wire, 0o777)
        os.chmod(self.connection_file, 0o644)
        shown = [a for n, path in self.shown.items() for a in ("--ro-bind", path, f"{WORK}/{n}")]
        walls = [*_walls(), *shown, *_parents(self.wire), "--bind", self.wire, self.wire]
        walls += ["--remount-ro", "/"]
        return [*walls, *_lowered(), *_environment({"HOME": WORK}), *command, "--walled"]


def _walls():
    """The command that runs another within walls, as far as it is the same for all."""
    command = ["bwrap", "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-net"]
    command += ["--unshare-ipc", "--unshare-uts", "--cap-drop", "ALL"]
    if os.geteuid():
        command += ["--unshare-user"]
    else:  # see _lowered
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for path in SYSTEM:
        command += ["--ro-bind-try", path, path]
    for name in SETTINGS:
        command += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    command += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    command += ["--ro-bind-try", "/sys/devices/system/cpu", "/sys/devices/system/cpu"]
    for path in ("/tmp", "/dev/shm", WORK):
        command += ["--perms", "1777", "--size", str(ROOM), "--tmpfs", path]
    for path in _python():  # after /tmp, in which it may lie
        command += [*_parents(path), "--ro-bind-try", path, path]
    return [*command, "--chdir", WORK]


def _parents(path):
    """Makes the folders around a path, for all to pass through."""
    return [a for p in reversed(Path(path).parents) for a in ("--perms", "755", "--dir", str(p))]


def _python():
    """Where Python and its packages are, and the library, without the notebooks beside it."""
    places = [sys.base_prefix, sys.prefix, *site.getsitepackages(), site.getusersitepackages()]
    places += [sysconfig.get_paths()[name] for name in ("purelib", "platlib")]
    return [*dict.fromkeys(places), str(Path(__file__).resolve().parent)]


def _lowered():
    """For root: go on as a user who owns nothing, so that limits of processes hold."""
    if os.geteuid():
        return []
    number = str(2**30 + os.getpid())
    command = ["setpriv", "--reuid", number, "--regid", number, "--clear-groups"]
    return [*command, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]


def _environment(own):
    """The command that starts another with a few variables only."""
    if os.name != "posix":
        return []
    values = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "LANG": "C.UTF-8",
        "LOGNAME": "student",
        "DVAE_RUNS": f"{own['HOME']}/runs",
    }
    return ["env", "-i", *(f"{name}={value}" for name, value in (values | own).items())]

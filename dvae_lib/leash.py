"""Becomes a command that the system kills when its parent ends: a script of its own, for Linux.

python leash.py PARENT COMMAND…, where PARENT is the process id of the one that calls.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of linux/prctl.h; it outlives exec

if __name__ == "__main__":
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == int(parent):  # or it ended before the system was asked
        os.execvp(command[0], command)

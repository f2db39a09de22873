"""Running a hand-in for nbgrader: checks that prove that they ran, in a kernel within walls."""

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader import preprocessors, utils
from nbgrader.preprocessors import NbGraderPreprocessor

from . import exercises
from .kernel import CHECK, MEMORY, PROCESSES
from .sandbox import Manager, walled
from .submissions import set_to_smoke

OUTPUT = 1_000_000  # characters that are kept of a cell's output
PATIENCE = 10  # seconds that a kernel has to stop a cell whose time is over
SOCKET = 103  # characters of a socket's name: on Linux there may be four more
WHOLE = 20  # times the limit of a cell: the limit of a whole hand-in


class SmokeTier(NbGraderPreprocessor):
    """Sets the tier of a hand-in to smoke, so that it is graded in seconds."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, cell_index: int) -> tuple:
        set_to_smoke(cell)
        return cell, resources


class Execute(preprocessors.Execute):
    """Executes a hand-in; in the place of nbgrader's own.

    A check's outputs hold an error unless it ran to its end in a kernel that is as it was made, so
    that nbgrader gives the points; nothing else in them counts for it. Cells below the last check
    are not run. Afterwards `faults` says what was not as it was.

    Raises DeadKernelError where a cell ends the kernel, does not stop, or all take too long.
    """

    raise_on_iopub_timeout = False
    startup_timeout = 300  # seconds; of a kernel beside others on a busy machine
    faults = ()

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple:
        folder = Path(resources["metadata"]["path"])
        name = resources["nbgrader"]["notebook"]
        self.contracts = exercises.unpack(folder / f"{name}.reference")
        self.faults, self.verdicts = [], {}
        self.last = max((k for k, cell in enumerate(nb.cells) if utils.is_grade(cell)), default=-1)
        self.deadline = time.monotonic() + WHOLE * (self.timeout or 60)
        with tempfile.TemporaryDirectory(prefix="dvae-", dir=short_folder(33)) as scratch:
            self.wire, self.work = Path(scratch, "wire"), Path(scratch, "work")
            self.wire.mkdir()
            self.work.mkdir()
            self.work.chmod(0o755)
            self.known = self.work / f"{name}.reference"
            self._tell()
            self.shown = {self.known.name: str(self.known)}
            for stored in ("results", "models", "definitions"):  # it opens them beside itself
                if (folder / stored).is_dir() and not (folder / stored).is_symlink():
                    self.shown[stored] = str(folder / stored)
                    if not walled():
                        os.symlink(folder / stored, self.work / stored)
            nb, resources = super().preprocess(nb, resources)
        for cell in nb.cells:
            if utils.is_grade(cell):
                self._settle(cell)
        return nb, resources

    # The kernel

    def create_kernel_manager(self) -> Manager:
        # torch, since it changes a module of Python's, which a check would notice.
        before = {"torch", "dvae_lib.exercises"}
        before.update(*(contract["before"] for contract in self.contracts.values()))
        self.km = Manager(wire=str(self.wire), shown=self.shown, before=sorted(before))
        # Within walls all ends with the kernel; elsewhere it is given time to end what it started.
        self.shutdown_kernel = "immediate" if walled() else "graceful"
        return self.km

    async def async_start_new_kernel(self, **options):
        self.key = secrets.token_bytes(32)
        nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with tempfile.TemporaryFile() as key:  # whoever reads it first has it alone
            key.write(self.key)
            key.seek(0)
            await super().async_start_new_kernel(cwd=str(self.work), stdin=key, **nowhere)
        process = psutil.Process(self.km.provisioner.process.pid)
        threading.Thread(target=_watch, args=(process,), daemon=True).start()

    start_new_kernel = run_sync(async_start_new_kernel)

    def process_message(self, msg: dict, cell: NotebookNode, cell_index: int) -> Any:
        """Leaves out what a cell writes beyond OUTPUT."""
        if msg["msg_type"] in ("stream", "display_data", "execute_result", "update_display_data"):
            self.written += len(str(msg["content"]))
            if self.written > OUTPUT:
                return None
        return super().process_message(msg, cell, cell_index)

    def on_cell_executed(self, **about: Any) -> None:
        super().on_cell_executed(**about)
        self.reply = about["execute_reply"]["content"]

    # Cells

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> tuple:
        if cell.cell_type != "code":
            return cell, resources
        if index > self.last:  # nothing here changes a mark, and here a notebook trains
            cell.outputs, cell.execution_count = [], None
            return cell, resources
        if time.monotonic() > self.deadline:
            raise DeadKernelError("all cells together took too long")
        self.written, self.reply = 0, {}
        source = cell.source
        exercise = utils.is_grade(cell) and cell.metadata.nbgrader.grade_id.removesuffix("_check")
        if exercise:
            token = secrets.token_hex(8)
            contract = self.contracts.get(exercise, {"tools": "", "defines": []})
            about = {"token": token, "tools": contract["tools"], "defines": contract["defines"]}
            cell.source = f"{CHECK}{json.dumps(about)}\n{source}"
        try:
            cell, resources = super().preprocess_cell(cell, resources, index)
        finally:
            cell.source = source
        if self.reply.get("ename") == "CellTimeoutError" and not self._answers():
            raise DeadKernelError("a cell did not stop when its time was over")
        if exercise:
            self._judge(exercise, token, source)
        return cell, resources

    def _answers(self):
        """True if the kernel takes requests again."""
        before, self.timeout = self.timeout, PATIENCE
        try:
            return self.wait_for_reply(self.kc.kernel_info()) is not None
        except TimeoutError:
            return False
        finally:
            self.timeout = before

    def _judge(self, exercise, token, source):
        """Believe what the kernel signed, and nothing else."""
        proof, status = self.reply.get("dvae", {}), self.reply.get("status", "")
        faults = [str(fault) for fault in proof.get("faults", [])]
        signed = "\0".join([token, status, *faults, source])
        right = hashlib.blake2b(signed.encode(), key=self.key).hexdigest()
        if status == "ok" and proof.get("proof") != right:
            faults = faults or [f"the check of {exercise} did not come to its end"]
        self.faults += [fault for fault in faults if fault not in self.faults]
        self.verdicts[exercise] = status == "ok" and proof.get("proof") == right
        self._tell()

    def _tell(self):
        """Write the contracts where the kernel reads them, answers of checked exercises alone."""
        hidden = {
            name: contract if name in self.verdicts else contract | {"answer": ""}
            for name, contract in self.contracts.items()
        }
        # In place: the file itself is shown in the kernel's folder, where nobody can write it.
        self.known.write_text(exercises.pack(hidden))
        self.known.chmod(0o644)

    def _settle(self, cell):
        """Leave in the outputs of a check what nbgrader is to grade, and nothing else."""
        exercise = cell.metadata.nbgrader.grade_id.removesuffix("_check")
        errors = [o for o in cell.outputs if o.output_type == "error"]
        cell.outputs = [o for o in cell.outputs if o.get("name") == "stdout"]
        if self.faults:
            cell.outputs.append(error("Tampered", "; ".join(self.faults)))
        elif not self.verdicts.get(exercise):
            missing = error("NotRun", "the check did not come to its end")
            cell.outputs.append(errors[-1] if errors else missing)


def short_folder(below: int) -> str:
    """Where temporary folders belong that hold sockets, whose names Unix keeps short.

    below: characters of the longest name that is to come below the folder's.
    """
    folder = tempfile.gettempdir()
    return "/tmp" if os.name == "posix" and len(folder) + below > SOCKET else folder


def error(name: str, value: str) -> NotebookNode:
    """An error for a check's outputs."""
    return new_output("error", ename=name, evalue=value, traceback=[f"{name}: {value}"])


def _watch(process):
    """End a kernel whose processes together take more than may be."""
    while process.is_running():
        try:
            family = [process, *process.children(recursive=True)]
            taken = sum(one.memory_info().rss for one in family)
        except psutil.NoSuchProcess:
            time.sleep(0.1)
            continue
        if taken > 1.5 * MEMORY or len(family) > PROCESSES:
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        time.sleep(0.2)

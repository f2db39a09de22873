"""Writing files so that neither a crash, a full disk nor another run harms what was saved."""

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError


@contextlib.contextmanager
def atomic(path: str | Path) -> Generator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` in one step.

    Raises OSError, naming `path`, when the disk is full or not writable. Whatever happens before
    the last step, the earlier file at `path` stays as it was and nothing temporary is left.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "r+b") as file:  # Windows flushes only what is open for writing
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:  # safetensors raises its own for a full disk
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            getattr(error, "errno", None) or errno.EIO,
            f"could not write {path} ({reason}). Free some space, or set "
            "DVAE_RUNS to a folder that can be written to; what was saved there before is unharmed",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic(path) as temporary:
        text = json.dumps(value, indent=1, allow_nan=False) + "\n"
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read_json(path: str | Path, fix: str = "delete it and run again") -> dict:
    """The object in a JSON file, as a dict. Raises ValueError, naming file and fix, if damaged."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not even text
        raise ValueError(f"{path} is damaged ({error}); {fix}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged (it holds {value!r:.20}, no object); {fix}")
    return value


@contextlib.contextmanager
def claimed(folder: str | Path, owner: int) -> Generator[None]:
    """Hold a folder for the process `owner`, whose id others are told; made if it is not there.

    The system ends the claim with this process, so a killed one is in nobody's way.
    Raises RuntimeError, naming the owner, while another process holds the folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / ".owner"
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        other = name.read_text(encoding="utf-8") if name.exists() else "unknown"
        raise RuntimeError(
            f"process {other} is writing into {folder}: wait for it or stop it, or set DVAE_RUNS "
            "to another folder"
        ) from error
    try:
        name.write_text(f"{owner}", encoding="utf-8")
        yield
    finally:
        lock.release()

"""Writing files so that a crash or a full disk never harms what was saved before."""

import contextlib
import errno
import json
import os
import tempfile
from pathlib import Path

from safetensors import SafetensorError


@contextlib.contextmanager
def atomic(path):
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
        with open(temporary, "rb") as file:
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


def write_json(path, value):
    """Write `value` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path):
    """The value in a JSON file. Raises ValueError, naming the file, if it is damaged."""
    try:
        return json.loads(Path(path).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run again") from error

"""Downloads that survive an interruption: resumed, verified, and only then put in their place.

pooch 1.9 verifies as well, but begins anew after an interruption; some of these files have 13 GB.
"""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from ..bars import Bar

BLOCK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without an answer


def fetch(url: str, path: str | Path, checksum: str | None = None) -> None:
    """Download `url` to `path`, unless a file with the right checksum is there.

    What arrives is kept in `path`.part, and a call after an interruption asks the server for the
    rest alone. checksum: "sha256:..." or "md5:..."; None where nobody published one, and then the
    number of bytes that the server announces has to arrive.

    Raises ConnectionError when the server cannot be reached, refuses, or stops early, OSError when
    the file cannot be written, and ValueError when the checksum is wrong: a file at `path` then
    stays as it is, a wrong download is removed.
    """
    path = Path(path)
    if path.is_file():
        if checksum:
            verify(path, checksum)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        _transfer(url, part)
    except ConnectionError:
        raise
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write {part} ({error.strerror}). Free some space and call again: what has "
            "arrived is kept",
        ) from error
    if checksum:
        try:
            verify(part, checksum)
        except ValueError:
            part.unlink()  # it would never become right, however often it was resumed
            raise
    part.replace(path)


def verify(path: str | Path, checksum: str) -> None:
    """Raise ValueError, naming `path`, unless it has the checksum, such as "sha256:..."."""
    algorithm, _, expected = checksum.partition(":")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is not the published file: its {algorithm} is {found}, expected {expected}. "
            "It is incomplete or altered: delete it and get it again"
        )


def _transfer(url, part):
    """Append to `part` what it lacks of `url`."""
    start = part.stat().st_size if part.exists() else 0
    response = _open(url, start, part)
    if response is None:
        return
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0  # the server knows no ranges and sends everything once more
        if response.headers["Content-Length"] is None:
            raise ConnectionError(f"{url}: the server does not say how long the file is")
        total = start + int(response.headers["Content-Length"])
        with (
            open(part, "ab" if start else "wb") as file,
            Bar(total=total, initial=start, unit="B", unit_scale=True) as bar,
        ):
            bar.set_description(part.stem)
            for block in _blocks(response, url, part):
                bar.update(file.write(block))
            file.flush()
            os.fsync(file.fileno())
    if part.stat().st_size < total:
        raise ConnectionError(_stopped(url, part, f"after {part.stat().st_size} of {total} bytes"))


def _open(url, start, part):
    """The server's answer from byte `start` on; None where `part` is complete already."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise ConnectionError(_stopped(url, part, f"HTTP {error.code}")) from error
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return None
        part.unlink()
        raise ConnectionError(
            f"{part} was longer than the file at {url} and has been removed: call again"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(_stopped(url, part, error)) from error


def _blocks(response, url, part):
    while True:
        try:
            block = response.read(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(_stopped(url, part, error)) from error
        if not block:
            return
        yield block


def _stopped(url, part, reason):
    return (
        f"the download of {url} failed ({reason}). Check the network and call again: what has "
        f"arrived is kept in {part}"
    )

"""NumPy's files, read with care: nothing is allocated before what a file declares is looked at."""

import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from ..bars import Bar

# What zipfile, zlib and NumPy raise on a damaged file.
DAMAGE = (zipfile.BadZipFile, zlib.error, tokenize.TokenError, NotImplementedError)
DAMAGE += (SyntaxError, ValueError, KeyError, EOFError, OSError, RuntimeError)

BLOCK = 1 << 24  # bytes read at once

KINDS = {  # by their first bytes
    b"PK": "an npz archive",
    b"\x93NUMPY": "a single NumPy array (npy)",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a git-LFS pointer, in whose place `git lfs pull` puts the file",
    b"\x1f\x8b": "a gzip file",
    b"<": "a web page",
}


def kind(path: Any) -> str:
    """What a file is, in words, by its first bytes."""
    with open(path, "rb") as file:
        start = file.read(32)
    if not start:
        return "an empty file"
    known = (words for magic, words in KINDS.items() if start.startswith(magic))
    return next(known, "of no known kind")


def npz_blocks(path: Any, name: str, shape: tuple[int, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """Read the uint8 array `name` of an npz in blocks along its first axis: (first row, block)s.

    Its header is compared with `shape` first, and the bytes are read to the end, where zipfile
    compares the archive's checksum. Raises ValueError, or another of DAMAGE, for another file.
    """
    if kind(path) != KINDS[b"PK"]:
        raise ValueError(f"it is {kind(path)}, expected an npz archive")
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"npy format {version}, expected (1, 0)")
        found, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
        if found != shape or dtype != np.uint8 or columns_first:
            raise ValueError(f"images are {dtype} {found}, expected uint8 {shape}")
        row = int(np.prod(shape[1:]))
        height = max(1, BLOCK // row)
        for start in Bar(range(0, shape[0], height), desc=path.stem):
            rows = min(height, shape[0] - start)
            content = file.read(rows * row)
            yield start, np.frombuffer(content, np.uint8).reshape(rows, *shape[1:])
        if file.read(1):
            raise ValueError("more bytes than images")


def gather(
    blocks: Iterable[tuple[int, np.ndarray]], index: torch.Tensor, out: torch.Tensor
) -> None:
    """Put the rows at `index` (n,) of all (first row, block)s into a tensor out (n, ...)."""
    for start, block in blocks:
        here = ((index >= start) & (index < start + len(block))).nonzero().squeeze(1)
        out[here] = torch.from_numpy(block[index[here].numpy() - start])


def read_npy(path: Any) -> np.ndarray:
    """The array in an npy file, as large as the file at most. Raises one of DAMAGE."""
    if kind(path) != KINDS[b"\x93NUMPY"]:
        raise ValueError(f"it is {kind(path)}, expected an npy file")
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False))  # maps, does not allocate

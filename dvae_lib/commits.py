"""Which commit the code is of, and whether anything differs from it."""

import subprocess
from pathlib import Path

from .paths import root


def commit() -> str:
    """The commit of the workbook's code, with "+" when the tree has changes; "" without git."""
    try:
        return _git("rev-parse", "HEAD") + ("+" if uncommitted() else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def clean_commit() -> str:
    """The commit of the workbook's code, for numbers that are to be stored.

    Raises ValueError, naming the files, where notebooks/ or dvae_lib/ has uncommitted changes, and
    where there is no git: then nobody could find the code behind the numbers again.
    """
    try:
        head, changed = _git("rev-parse", "HEAD"), uncommitted()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f"{root()} is no git checkout with a commit ({error}): what is stored must name the "
            "commit of its code"
        ) from error
    if changed:
        raise ValueError(
            f"uncommitted changes in {', '.join(changed)}: commit them first, since what is stored "
            "must name the commit of its code"
        )
    return head


def uncommitted() -> list[str]:
    """Paths in notebooks/ and dvae_lib/ that differ from the commit, new files among them."""
    status = _git("status", "--porcelain", "--untracked-files=all", "notebooks", "dvae_lib")
    return [line[2:].strip() for line in status.splitlines()]


def same_code(notebook: str, old: str, new: str) -> bool:
    """True if the library and the notebook's own file are the same in two commits."""
    if old == new:
        return True
    parts = ["dvae_lib", f"notebooks/{notebook}.ipynb"]
    try:
        _git("diff", "--quiet", old, new, "--", *parts)
    except subprocess.CalledProcessError:  # they differ, or git does not know the old one
        return False
    return True


def committed(path: Path) -> str:
    """The text of a file of the workbook as it is committed; as it lies there without git."""
    try:
        return _git("show", f"HEAD:./{path.relative_to(root()).as_posix()}")
    except (OSError, subprocess.CalledProcessError):
        return path.read_text(encoding="utf-8")


def _git(*arguments):
    done = subprocess.run(
        ["git", *arguments], cwd=root(), capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout.rstrip("\n")

"""The two JavaScript libraries of the site, from npm: their versions stand here alone."""

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from ..data.download import verify

# {name: (version, checksum of its package, folder on the site, what goes there)}
LIBRARIES = {
    "mathjax": (
        "3.2.2",
        "sha256:1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
        "mathjax",
        r"(?:es5/)?(LICENSE|tex-chtml\.js|output/chtml/fonts/woff-v2/.*)",
    ),
    "onnxruntime-web": (
        "1.30.0",
        "sha256:d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
        "ort",
        r"dist/(ort\.wasm\.min\.mjs|ort-wasm-simd-threaded\.(?:mjs|wasm))",  # MIT, says its head
    ),
}


def cache() -> Path:
    """Where packages are kept between builds."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "dvae_lib" / "npm"


def unpack(name: str, to: Path, kept: Path | None = None) -> None:
    """Put what the site needs of a library into its folder below `to`.

    kept: the folder that has its package, or gets it from npm (default: cache()). Raises
    FileNotFoundError where it is neither there nor to be had, ValueError for a wrong one.
    """
    version, checksum, folder, pattern = LIBRARIES[name]
    package = (kept or cache()) / f"{name}-{version}.tgz"
    if not package.is_file():
        _pack(f"{name}@{version}", package)
    verify(package, checksum)
    with tarfile.open(package) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content and (found := re.fullmatch(rf"package/{pattern}", member.name)):
                path = to / folder / found[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


def _pack(what, package):
    """Get a package with npm. Raises FileNotFoundError where there is no npm or no network."""
    package.parent.mkdir(parents=True, exist_ok=True)
    fix = f"put {package.name} into a folder and name it with --npm DIR"
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            f"{what} is not there and npm is not installed: install it, or {fix}"
        )
    command = [npm, "pack", "--silent", "--pack-destination", str(package.parent), what]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not package.is_file():
        raise FileNotFoundError(f"npm could not get {what}: {done.stderr.strip()[-300:]}; or {fix}")

"""Where things are: the notebooks, what they are run into, what is stored of them."""

import os
from pathlib import Path


def root() -> Path:
    """The folder of the workbook: the one that holds notebooks/ and dvae_lib/."""
    return Path(__file__).resolve().parent.parent


def in_checkout() -> bool:
    """False where the library alone is installed, as it is beside a notebook handed out."""
    return (root() / "notebooks").is_dir()


def notebooks_folder() -> Path:
    """The folder of the notebooks. Raises FileNotFoundError outside a checkout."""
    folder = root() / "notebooks"
    if not in_checkout():
        raise FileNotFoundError(
            f"the library is installed without its notebooks (there is no {folder}): get the "
            "workbook's checkout, and run in it: pip install -e ."
        )
    return folder


def notebook_names() -> list[str]:
    """The names of all notebooks, in reading order."""
    return sorted(path.stem for path in notebooks_folder().glob("*.ipynb"))


def notebook_path(name: str | Path) -> Path:
    """The path of a notebook by name. Raises ValueError for an unknown one, listing what exists."""
    name = Path(name).stem
    path = notebooks_folder() / f"{name}.ipynb"
    if not path.exists():
        raise ValueError(f"no notebook {name!r}; there are: {', '.join(notebook_names())}")
    return path


def runs_folder() -> Path:
    """Where runs are written: the environment variable DVAE_RUNS, else runs/ in the workbook.

    Outside a checkout: runs/ beside the notebook.
    """
    if chosen := os.environ.get("DVAE_RUNS"):
        return Path(chosen).expanduser()
    return (root() if in_checkout() else Path.cwd()) / "runs"


def data_folder() -> Path:
    """Where original data sets are kept when a notebook may download them: runs/data."""
    return runs_folder() / "data"


def run_folder(notebook: str, tier: str, seed: int, runs: Path | None = None) -> Path:
    """The folder of one run, below `runs` (default: runs_folder())."""
    return (runs or runs_folder()) / notebook / f"{tier}-seed{seed}"


def results_path(notebook: str) -> Path:
    """Where the sweeps of a notebook are stored; outside a checkout, beside it."""
    return _stored() / "results" / f"{notebook}.json"


def models_path(notebook: str) -> Path:
    """Where the weights of a notebook's long run are stored; outside a checkout, beside it."""
    return _stored() / "models" / f"{notebook}.safetensors"


def _stored():
    return notebooks_folder() if in_checkout() else Path.cwd()

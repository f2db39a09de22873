"""A progress bar that leaves nothing behind.

tqdm's bar of a notebook is a widget. At its end only a page that shows it is told; in a notebook
that is saved and opened again it would say "model not found" instead.
"""

from typing import Any

from IPython.display import display
from tqdm import auto
from tqdm.notebook import tqdm_notebook

NOTHING = {"text/html": "", "text/plain": ""}


class Bar(auto.tqdm):  # ty: ignore[unsupported-base]
    """tqdm's bar, with its options. Its place is empty once it has come to its end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._place = None
        if isinstance(self, tqdm_notebook):
            options["display"] = False
        super().__init__(*args, leave=False, **options)
        if "display" in options and not self.disable:
            self._place = display(self.container, display_id=True)
            self.displayed = True

    def close(self) -> None:
        super().close()
        if self._place and (not self.total or self.n >= self.total):
            self._place.update(NOTHING, raw=True)
            self._place = None

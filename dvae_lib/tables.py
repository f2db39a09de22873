"""A table of words for notebooks."""

import html
from collections.abc import Iterable, Sequence


class Table:
    """Rows of words, the first of them the heads of the columns, shown as a table.

    folded: further rows, which a reader can unfold.
    """

    def __init__(self, rows: Sequence[Sequence[str]], folded: Iterable[Sequence[str]] = ()) -> None:
        self.rows, self.folded = rows, list(folded)

    def __repr__(self):
        lines = ["  ".join(cell for cell in row if cell) for row in self.rows]
        if self.folded:
            lines.append(f"and {len(self.folded)} more measurements")
        return "\n".join(lines)

    def _repr_html_(self):
        shown = _html_table(self.rows)
        if self.folded:
            more = f"<summary>{len(self.folded)} more measurements</summary>"
            shown += f"<details>{more}{_html_table(self._unfolded())}</details>"
        return shown

    def _unfolded(self):
        """The heads and the folded rows, without columns in which these have nothing."""
        kept = [k for k in range(len(self.rows[0])) if any(row[k] for row in self.folded)]
        return [[row[k] for k in kept] for row in (self.rows[0], *self.folded)]


def _html_table(rows):
    lines = []
    for k, row in enumerate(rows):
        tag = "td" if k else "th"
        # Without quotes: in a stored notebook they would take four bytes a cell.
        cells = (f"<{tag} style=text-align:left>{html.escape(c)}</{tag}>" for c in row)
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"

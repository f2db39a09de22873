"""Pictures within HTML, with the alternative text that JupyterLab and nbconvert else leave out.

Both show an output "image/png" without the text in its metadata.
"""

import base64
import html
import re


def as_html(png: bytes, alt: str) -> str:
    """A PNG (bytes) as an image of a page that carries its alternative text."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def from_html(picture: str) -> tuple[bytes, str] | None:
    """(PNG bytes, alternative text) of what `as_html` made; None of other HTML."""
    form = r'\s*<img alt="([^"]*)" src="data:image/png;base64,([^"]*)">'
    found = re.fullmatch(form, picture)
    try:
        return found and (base64.b64decode(found[2]), html.unescape(found[1]))
    except ValueError:  # no base64
        return None

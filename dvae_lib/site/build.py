"""`dvae site`: the stored notebooks as a site of pages, by Sphinx; none of them is executed."""

import gzip
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from .. import __version__, paths
from ..bars import Bar
from . import claims, export, front, live, npm, sources

STATIC = Path(__file__).with_name("static")
PROSE = ("glossary.md", "lecturer.md")
# The rooms of CONTRIBUTING that a notebook imports, a page each: {page: modules}.
ROOMS = {
    "data": ("data", "data.factor_data"),
    "training": ("nets", "objectives", "training", "parallel"),
    "metrics": ("metrics",),
    "figures": ("figures", "widgets", "tables"),
    "runs": ("workbook", "results", "evidence", "models", "definitions"),
}
# Colab opens a notebook without its library. What is installed after a kernel began, it finds by
# the path alone.
IN_COLAB = """

<details><summary>In Colab, run this in a new first cell</summary>

```
!git clone --depth 1 {repository} workbook
%cd workbook/notebooks
%pip install -q -e ..
import sys; sys.path.insert(0, "..")
```

</details>
"""
WIDE = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n"  # no list of contents beside it
FRONT = """# A workbook on disentangled representation learning

<figure class="dvae-moving"><picture>
<source srcset="still.webp" media="(prefers-reduced-motion: reduce)">
<img src="moving.webp" alt="{alt}" width="810" height="198"></picture>
<figcaption>{caption}</figcaption></figure>

Each notebook derives one method, implements it in PyTorch, trains it on your machine, measures the
claim of its paper and shows what failed. On these pages the stored networks draw in your browser:
move the sliders. To run the notebooks, with Python 3.11 or later and git:

```sh
git clone {repository} workbook && cd workbook
python3 -m venv .venv && source .venv/bin/activate    # Windows: .venv\\Scripts\\activate
pip install -e .
dvae lab
```

## Map of the methods

<div class="dvae-map">{map}</div>

## Notebooks

{gallery}

```{{toctree}}
:hidden:
:caption: Notebooks

{notebooks}
```

```{{toctree}}
:hidden:
:caption: Beside them

glossary
claims
lecturer
api/index
```
"""


def build(
    to: str | Path,
    repository: str = "",
    notebooks: Iterable[str] = (),
    kept: str | Path | None = None,
) -> list[str]:
    """Build the site into the folder `to`. Returns Sphinx's warnings.

    repository: the address of the workbook's repository, to which the buttons lead that open a
    page in Colab or Binder; without it there are none. notebooks: names, by default of all. kept:
    see npm.unpack. Raises ImportError without the extra, FileNotFoundError without npm.
    """
    _check_extra()
    names = list(notebooks) or paths.notebook_names()
    with tempfile.TemporaryDirectory(prefix="dvae-site-") as folder:
        source, beside = Path(folder, "source"), Path(folder, "beside")
        for library in npm.LIBRARIES:
            npm.unpack(library, beside / "_static", Path(kept) if kept else None)
        for runtime in beside.rglob("*.wasm"):  # a quarter of the size, on any server
            runtime.with_name(f"{runtime.name}.gz").write_bytes(gzip.compress(runtime.read_bytes()))
            runtime.unlink()
        stills = {name: _write_widgets(name, beside) for name in Bar(names, desc="networks")}
        _write_sources(source, beside, names, repository)
        return _sphinx(source, Path(to), beside, stills, repository)


def _check_extra():
    try:
        import myst_nb  # noqa: F401
        import onnxscript  # noqa: F401
        import sphinx_book_theme  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"the site needs Sphinx and others ({error}): pip install 'dvae_lib[site]'"
        ) from error


def _write_widgets(name, folder):
    """{where in a notebook: HTML} of its widgets that live on the page, with their networks."""
    stills = {}
    for place, (mark, choices) in enumerate(live.on_page(name).items()):
        about = []
        for k, (label, choice) in enumerate(choices.items()):
            network = f"live/{name}-{place}-{k}.onnx.gz"
            export.write(choice.network, choice.at(), folder / network)
            about.append({"label": label, "network": network} | choice.about())
        stills[mark] = _widget(next(iter(choices.values())), f"{name}-{place}", folder)
        text = json.dumps({"choices": about})
        (folder / f"live/{name}-{place}.json").write_text(text, encoding="utf-8")
    return stills


def _widget(first, name, folder):
    """The still picture of a widget, which the page's script replaces."""
    shown = sources.image(*first.still(), folder, f"pictures/live/{name}.png")
    return (
        f'<div class="dvae-live" data-about="live/{name}.json"><figure>{shown}'
        f"<figcaption>{first.words}</figcaption></figure></div>"
        '<script type="module" src="_static/live.js"></script>'
    )


def _write_sources(source, beside, names, repository):
    """The files that Sphinx reads; notebooks as they are stored, for download."""
    (source / "api").mkdir(parents=True)
    stored = paths.notebooks_folder()
    for name in [*(f"{name}.ipynb" for name in names), *PROSE]:
        shutil.copy(stored / name, source / name)
    titles = {name: _title(stored / f"{name}.ipynb") for name in names}
    shutil.copy(stored / front.MOVING, beside / "moving.webp")
    Image.open(stored / front.MOVING).save(beside / "still.webp")  # its first frame
    texts = {
        "index.md": WIDE
        + FRONT.format(
            alt=front.ALT,
            caption=front.CAPTION,
            repository=repository or "ADDRESS_OF_THE_REPOSITORY",
            map=front.draw_map(names),
            gallery=front.gallery(beside, names),
            notebooks="\n".join(f"{title} <{name}>" for name, title in titles.items()),
        ),
        "claims.md": WIDE + claims.page(titles),
        "api/index.md": _api_index(),
    } | {f"api/{room}.md": _api_page(room) for room in ROOMS}
    for path, text in texts.items():
        (source / path).write_text(text, encoding="utf-8")


def _title(path):
    """The number and the title of a notebook."""
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    return f"{path.name[:2]} · " + "".join(first["source"]).splitlines()[0].removeprefix("# ")


def _api_index():
    rooms = "\n".join(ROOMS)
    return f"# The library `dvae_lib`\n\n```{{toctree}}\n:maxdepth: 2\n\n{rooms}\n```\n"


def _api_page(room):
    parts = [f"# {room.capitalize()}"]
    for module in ROOMS[room]:
        parts.append(f"## `{module}`")
        options = ":members:\n   :member-order: bysource"
        parts.append(f"```{{eval-rst}}\n.. automodule:: dvae_lib.{module}\n   {options}\n```")
    return "\n\n".join(parts) + "\n"


def _sphinx(source, to, beside, stills, repository):
    """Let Sphinx write the site; its warnings."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    warnings = io.StringIO()
    with patch_docutils(), docutils_namespace(), tempfile.TemporaryDirectory() as doctrees:
        app = Sphinx(
            source,
            None,
            to,
            doctrees,
            "html",
            confoverrides=_settings(beside, repository),
            status=None,
            warning=warnings,
            freshenv=True,
        )
        note = IN_COLAB.format(repository=repository) if repository else ""
        app.connect("source-read", partial(_read, beside, stills, note))
        app.connect("autodoc-process-docstring", _as_it_is)
        app.build()
    return [line for line in warnings.getvalue().splitlines() if line.strip()]


def _read(folder, stills, note, app, name, source):
    """Give Sphinx a notebook as sources.prepared has it; the file itself is there for download."""
    if name in stills:
        source[0] = sources.prepared(source[0], name, folder, stills[name], note)
    source[0] = sources.unlinked(source[0], stills)


def _as_it_is(app, what, name, thing, options, lines):
    """Keep the stars, bars and underscores of a docstring from meaning anything."""
    lines[:] = [re.sub(r"([*|]|_(?=\W|$))", r"\\\1", line) for line in lines]


def _settings(beside, repository):
    theme: dict[str, Any] = {
        "use_download_button": True,
        "home_page_in_toc": True,
        "show_toc_level": 2,
        "navbar_persistent": [],  # the search field is in the sidebar
    }
    if repository:
        theme |= {
            "repository_url": repository,
            "repository_branch": "main",
            "path_to_docs": "notebooks",
            "use_repository_button": True,
            "launch_buttons": {
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
                "notebook_interface": "jupyterlab",
            },
        }
    return {
        "project": "Disentangled representations",
        "author": "the dvae_lib authors",
        "version": __version__,
        "extensions": ["myst_nb", "sphinx.ext.autodoc"],
        "nb_execution_mode": "off",
        "nb_merge_streams": True,
        "myst_enable_extensions": ["dollarmath", "amsmath"],
        "myst_heading_anchors": 4,
        "html_theme": "sphinx_book_theme",
        "html_theme_options": theme,
        "html_title": "Disentangled representations",
        "html_static_path": [str(STATIC)],
        "html_css_files": ["site.css"],
        "html_use_index": False,
        "html_domain_indices": False,
        "html_favicon": str(STATIC / "favicon.svg"),
        "html_context": {"default_mode": "auto"},
        "html_extra_path": [str(beside)],
        "mathjax_path": "mathjax/tex-chtml.js",
        "default_role": "code",
        "toc_object_entries_show_parents": "hide",
        "autodoc_default_options": {"exclude-members": "set"},  # Matplotlib makes it
    }

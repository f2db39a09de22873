"""The first screen: a moving picture, the map of the methods, and a picture of each notebook."""

import html
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import nbformat

from .. import pages, paths
from .sources import image

MOVING = "results/moving.webp"  # below notebooks/, made by tests/makers/make_front.py
ALT = (
    "Eight handwritten digits in eight hues; below each a network writes 0 to 9, one after the "
    "other, in its hue, slant and thickness."
)
CAPTION = (
    "Above, eight real images, chosen for their hues. Below, what one network writes with one code "
    "taken from each image and the other saying which digit (notebook 05, a stored network)."
)


@dataclass(frozen=True)
class Method:
    """A notebook on the map. told: what it is told of the images. after: what comes before it.

    place: its column and row on the map. picture: how the alternative text of its picture in the
    gallery begins.
    """

    name: str
    short: str
    told: str
    promises: str
    fails: str
    after: tuple[str, ...]
    place: tuple[int, int]
    picture: str


METHODS = (
    Method(
        "00_start_here",
        "Start here",
        "",
        "images whose factors are all known",
        "pixels mix the factors up",
        (),
        (0, 0),
        "Thirty-six drawn faces",
    ),
    Method(
        "01_vae",
        "VAE",
        "nothing",
        "a code with a prior, a bound on the likelihood",
        "nothing ties an axis to a factor",
        ("00",),
        (1, 0),
        "Decoded images: one row for each latent axis",
    ),
    Method(
        "02_unsupervised_objectives",
        "β-VAE and five others",
        "nothing",
        "independent axes",
        "a rotated, useless code can score the same",
        ("01",),
        (1, 1),
        "One latent axis of",
    ),
    Method(
        "03_measuring_disentanglement",
        "Metrics",
        "all factors, to measure",
        "MIG, DCI, InfoMEC: how well axes follow factors",
        "for each there is a code that misleads it",
        ("02",),
        (1, 2),
        "The perfect code, a turned one",
    ),
    Method(
        "04_label_relevant_vae",
        "Label-relevant VAE",
        "a label of each image",
        "the label in one code, all else in the other",
        "a fooled adversary proves little",
        ("01",),
        (2, 1),
        "Samples, a class each column",
    ),
    Method(
        "05_two_code_information",
        "Two codes, in nats",
        "a factor of each image",
        "control over this factor",
        "the rest forgets it only if the encoder is told",
        ("01",),
        (3, 1),
        "Told: along a row the digits",
    ),
    Method(
        "06_gated_vae",
        "Gated-VAE",
        "what images share",
        "a part of the code for each thing shared",
        "it sorts what is told, and adds nothing to it",
        ("03", "04"),
        (2, 3),
        "Expressions of the faces at the top on those",
    ),
    Method(
        "07_latent_quantization",
        "QLAE",
        "nothing",
        "few values an axis, so that each gets a meaning",
        "trained for minutes, it gives up the turn first",
        ("03",),
        (1, 3),
        "Room 3 with one axis a row",
    ),
    Method(
        "08_quantized_infogan",
        "QLInfoWGAN-GP",
        "nothing",
        "a code that can be read off made images",
        "a grid for the code did not raise InfoM here",
        ("07",),
        (1, 4),
        "quantized, stored long run: each axis",
    ),
    Method(
        "09_ard_vae",
        "ARD-VAE",
        "nothing",
        "the number of axes that matter",
        "β and the network decide that number, too",
        ("03",),
        (0, 3),
        "Eight unseen digits",
    ),
    Method(
        "10_face_swapping",
        "WSC-swap",
        "who is in each picture",
        "one person's identity on another's pose",
        "soft faces; what is around them tells a little",
        ("05", "06"),
        (3, 4),
        "Each row slides the identity",
    ),
    Method(
        "11_side_by_side",
        "Side by side",
        "",
        "eleven methods, the same images, network and steps",
        "on other images the order may be another",
        ("06", "07", "09"),
        (2, 4),
        "Eleven methods, a row each",
    ),
)

WIDTH, HEIGHT, ACROSS, DOWN = 256, 142, 20, 36  # of a card; between cards
STYLE = """
  .methods { --ink: #1c2430; --soft: #5b6675; --card: #f4f6f9; --line: #8a94a3; }
  @media (prefers-color-scheme: dark) {
    .methods { --ink: #e8ecf1; --soft: #a9b4c2; --card: #232a33; --line: #7c8794; }
  }
  .methods text { fill: var(--ink); font: 14px/1 system-ui, sans-serif; }
  .methods .name { font-weight: 650; font-size: 16px; }
  .methods .word { fill: var(--soft); }
  .methods rect { fill: var(--card); }
  .methods .way { fill: none; stroke: var(--line); stroke-width: 1.6; }
  .methods .head { fill: var(--line); }
"""
COLOURS = {"": "#8a94a3", "nothing": "#3b82c4", "all factors, to measure": "#8a94a3"}
TOLD = "#d9822b"  # what is told something


def draw_map(linked: Collection[str] = ()) -> str:
    """The map of the methods as SVG. The cards of notebooks in `linked` lead to their pages."""
    places = {method.name[:2]: method.place for method in METHODS}
    columns, rows = (max(place[k] for place in places.values()) + 1 for k in (0, 1))
    size = columns * (WIDTH + ACROSS) - ACROSS, rows * (HEIGHT + DOWN) - DOWN
    ways = [_way(places[before], m.place) for m in METHODS for before in m.after]
    cards = [_card(method, method.name in linked) for method in METHODS]
    title = "Map of the methods: what each is told, what it promises, where it fails."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="methods" role="img" aria-label="{title}" '
        f'viewBox="-4 -4 {size[0] + 8} {size[1] + 8}" width="{size[0] + 8}">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n"
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>\n'
        + "\n".join(ways + cards)
        + "\n</svg>\n"
    )


def _corner(place):
    return place[0] * (WIDTH + ACROSS), place[1] * (HEIGHT + DOWN)


def _way(start, end):
    """An arrow from the card at one place to that at another."""
    (x, y), (to_x, to_y) = _corner(start), _corner(end)
    if start[1] == end[1]:
        path = f"M{x + WIDTH} {y + HEIGHT / 2} H{to_x}"
    else:
        # Down from one, across in the gap above the other, down to it.
        across = to_y - DOWN / 2
        x, to_x = x + WIDTH / 2, to_x + WIDTH / 2
        path = f"M{x} {y + HEIGHT} V{across} H{to_x} V{to_y}"
    return f'<path class="way" marker-end="url(#arrow)" d="{path}"/>'


def _card(method, linked):
    x, y = _corner(method.place)
    colour = COLOURS.get(method.told, TOLD)
    lines = [("", f"told {method.told}")] if method.told else []
    lines += [(word, line) for word in ("promises", "fails") for line in _lines(method, word)]
    words = [f'<text class="name" x="16" y="24">{method.name[:2]} {_escaped(method.short)}</text>']
    for k, (word, line) in enumerate(lines):
        mark = f'<tspan class="word">{word}</tspan> ' if word and line.startswith(word) else ""
        rest = line.removeprefix(word).strip() if mark else line
        words.append(f'<text x="16" y="{46 + 19 * k}">{mark}{_escaped(rest)}</text>')
    card = (
        f'<g transform="translate({x} {y})"><rect width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        f'<path d="M4 8 V{HEIGHT - 8}" stroke="{colour}" stroke-width="4" '
        f'stroke-linecap="round"/>{"".join(words)}</g>'
    )
    return f'<a href="{method.name}.html">{card}</a>' if linked else card


def _lines(method, word):
    return textwrap.wrap(f"{word} {getattr(method, word)}", 30)


def _escaped(words):
    return html.escape(words, quote=False)


def gallery(folder: Path, names: Collection[str]) -> str:
    """A card with a picture for each of these notebooks, as HTML; pictures go into `folder`."""
    cards = []
    for method in (method for method in METHODS if method.name in names):
        png, alt = picture_of(method)
        shown = image(png, alt, folder, f"pictures/gallery/{method.name}.png")
        name = f"<strong>{method.name[:2]}</strong> {_escaped(method.short)}"
        cards.append(f'<a href="{method.name}.html"><div>{shown}</div><span>{name}</span></a>')
    return f'<div class="dvae-gallery">{"".join(cards)}</div>'


def picture_of(method: Method) -> tuple[bytes, str]:
    """The picture of a notebook in the gallery, from its stored outputs: PNG and alternative text.

    Raises ValueError where it is not there any more.
    """
    stored = nbformat.read(paths.notebook_path(method.name), as_version=4)
    for cell in stored.cells:
        for output in cell.get("outputs", []):
            found = pages.from_html(output.get("data", {}).get("text/html", ""))
            if found and found[1].startswith(method.picture):
                return found
    raise ValueError(f"no picture of {method.name} begins with {method.picture!r}")

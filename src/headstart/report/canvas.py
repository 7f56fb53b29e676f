"""Matplotlib figures as inline SVG that takes its colours and its font from the page.

A figure is drawn with the colours of `PALETTE`; each becomes ``var(--hs-NAME, #hex)`` in the SVG, so the page's
stylesheet (light, dark, print) decides, and a figure saved alone keeps the fallback. Text stays text. Ids carry the
figure's name as a prefix, so that several figures can share a page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from headstart.report import wording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = {
    "ink": "#1d2329",
    "muted": "#5a6570",
    "line": "#d8dde2",
    "paper": "#fefefe",
    "transfer": "#0b62a4",
    "control": "#c2560b",
    "good": "#0a7a57",
    "bad": "#b3261d",
    "flat": "#66717c",
}
"""Blue against orange is told apart with every common colour blindness; green and red never stand alone."""

WIDTH = 5.0  # inches; the page scales the figure to its column
INK, MUTED, LINE, PAPER = PALETTE["ink"], PALETTE["muted"], PALETTE["line"], PALETTE["paper"]
TRANSFER, CONTROL = PALETTE["transfer"], PALETTE["control"]
TONES = {"positive": PALETTE["good"], "negative": PALETTE["bad"], "neutral": PALETTE["flat"]}

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_STYLE = {
    "text.parse_math": False,  # labels are the user's own text: "$" is a dollar
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.constrained_layout.use": True,
}


def draw(name: str, title: str, width: float, height: float, paint: Callable[[Figure], None]) -> str:
    """An SVG element of ``width`` x ``height`` inches, painted by ``paint``.

    name: prefix of all ids, a plain word. title: the alternative text, any text.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    style: Any = {**_STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the page's own font draws the text
        figure = Figure(figsize=(width, height), facecolor="none")
        paint(figure)
        for axes in figure.axes:
            axes.set_facecolor("none")
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _inline(buffer.getvalue(), name, title, width)


def prefixed(svg: str, prefix: str) -> str:
    """The element with ``prefix`` before all its ids, for a page that shows the same figure more than once."""
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)


def bare(axes: Axes, *sides: str) -> None:
    """Hide these spines (all four by default)."""
    for side in sides or ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)


def shorten(text: object, length: int = 18) -> str:
    """One line of at most ``length`` characters, for an axis; control characters become spaces."""
    line = " ".join(wording.one_line(text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _inline(svg: str, name: str, title: str, width: float) -> str:
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            # the stylesheet would reach the whole page, the metadata name remote vocabularies
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, _attribute(key, value, name))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", shorten(title, 300))
    root.set("style", f"stroke-linejoin: round; stroke-linecap: butt; max-width: {round(width * 108)}px")
    return ElementTree.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href") and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    value = value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = re.sub(r"(font: [^;]*?px)[^;]*", rf"\1 {_FAMILY}", value)
        value = re.sub(r"font-family: [^;]*", f"font-family: {_FAMILY}", value)
        for colour, code in PALETTE.items():
            value = value.replace(code, f"var(--hs-{colour}, {code})")
    return value

"""House style of the charts: matplotlib figures as inline SVG that takes ink, font and dark mode from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pcsr_fast.files import atomic_write

# Told apart by lightness too, so that they survive colour blindness and a grey printer.
RIGHT, WRONG = "#6fb1de", "#b8442e"
PART_COLOURS = {"clean": RIGHT, "refinable": "#f0c35e", "ambiguous": WRONG}
DEEP, AMBER, TEAL = "#2f7fc1", "#d98a10", "#2a9d8f"
# Stand-ins that `chart` turns into the page's own colours.
INK, MUTED, GRID = "#22252b", "#6b7281", "#d9dce2"
_PAGE_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pcsr_fast",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
}


@dataclass(frozen=True)
class Chart:
    """A chart for the page: heading, what to look for, and the drawing."""

    title: str
    note: str
    svg: Markup


@dataclass(frozen=True)
class Drawing:
    """A chart before it is drawn: `paint` fills an empty figure of width x height inches."""

    name: str
    title: str
    note: str
    paint: Callable[[Figure], None]
    height: float = 3.0
    width: float = 5.0

    def chart(self, picture: Path | None = None) -> Chart:
        """As inline SVG, whose ids start with `name`; if asked for, also as a PNG on white, for papers and slides.

        Raises:
            UserError: the picture cannot be written.
        """
        stream = io.StringIO()
        with matplotlib.rc_context(_STYLE):
            figure = Figure(figsize=(self.width, self.height), layout="constrained")
            self.paint(figure)
            # The layout is found once: with many panels it takes longer than the drawing.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            if picture is not None:
                with atomic_write(picture) as temporary:
                    figure.savefig(temporary, format="png", dpi=160, facecolor="white", metadata={"Software": None})
            metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
            figure.savefig(stream, format="svg", metadata=metadata)
        return Chart(self.title, self.note, Markup(_inline(stream.getvalue(), self.name, self.title)))


def chart(name: str, title: str, note: str, paint: Callable[[Figure], None], height: float = 3.0) -> Chart:
    """Let `paint` draw on an empty figure, 5 inches wide, and keep it as SVG whose ids start with `name`."""
    return Drawing(name, title, note, paint, height).chart()


def _inline(svg: str, name: str, title: str) -> str:
    """An SVG file as an element of an HTML page: no prologue, ids of its own, the page's colours and font."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", svg)
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path.group()), svg)
    for stand_in, colour in _PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf'<svg \1 role="img" aria-label="{title}">', svg, count=1)


def legend_above(axes: Axes, columns: int = 4) -> None:
    """The legend above the drawing, where it hides nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        handlelength=1.6,
        columnspacing=1.2,
        handletextpad=0.5,
    )

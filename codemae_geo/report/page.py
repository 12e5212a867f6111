"""The parts of a page: tables, confusion tables, reliability diagrams, rows of pictures. numpy and Pillow only."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 68rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p.lead { color: #57606a; margin: 0 0 1rem; } p.note { color: #57606a; font-size: 13px; }
table { border-collapse: collapse; margin: .4rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #d8dee4; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; background: #f6f8fa; }
table.facts td { text-align: left; } table.facts td:first-child { color: #57606a; white-space: nowrap; }
table.confusion td { text-align: center; padding: .25rem .5rem; } table.confusion td:first-child { text-align: left; }
.side { display: flex; flex-wrap: wrap; gap: 1.6rem; }
figure { margin: 0 0 1rem; } figcaption { font-size: 13px; color: #57606a; }
.pictures { display: grid; gap: .5rem; margin-bottom: 1.1rem; } .pictures img { width: 100%; display: block; }
.swatch { display: inline-block; width: .9em; height: .9em; border: 1px solid #8c959f; vertical-align: -.1em; }
.swatch { margin: 0 .3em 0 1em; }
"""


def text(value: Any, digits: int = 4) -> str:
    """A cell: numbers rounded, ``absent`` for what is undefined."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "absent"
    return f"{value:.{digits}f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], kind: str = "", digits: int = 4) -> str:
    """A table of plain values; without ``head`` it is one of facts."""
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(text(v, digits))}</td>" for v in row) + "</tr>" for row in rows)
    return f'<table class="{kind}">' + (f"<tr>{top}</tr>" if head else "") + body + "</table>"


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return f"<h2>{escape(title)}</h2>" + "".join(parts)


def note(words: str) -> str:
    """A small grey paragraph."""
    return f'<p class="note">{escape(words)}</p>'


def beside(*parts: str) -> str:
    """Parts next to each other where the page is wide enough."""
    return '<div class="side">' + "".join(f"<div>{p}</div>" for p in parts) + "</div>"


def confusion(counts: Sequence[Sequence[int]], names: Sequence[str], caption: str) -> str:
    """A confusion table, rows are the truth; the darker a cell, the larger its share of the row."""
    rows = []
    for name, row in zip(names, counts, strict=True):
        total = sum(row)
        cells = []
        for count in row:
            share = count / total if total else 0.0
            ink = "#fff" if share > 0.55 else "#1b1f24"
            colour = f"background: rgba(5, 80, 174, {share:.3f}); color: {ink}"
            cells.append(f'<td style="{colour}">{count:,}<br>{100 * share:.1f} %</td>' if total else "<td>-</td>")
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(n)}</th>" for n in names)
    return (
        f'<figure><table class="confusion"><tr><th>truth \\ answer</th>{head}</tr>{"".join(rows)}</table>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def reliability(diagrams: Mapping[str, Mapping[str, Any]], caption: str) -> str:
    """Accuracy against confidence, one line for each diagram (:meth:`Reliability.as_dict`), the diagonal is honest."""
    side, left, top = 270, 58, 12
    colours = ("#0550ae", "#bc4c00", "#1a7f37", "#8250df")

    def place(x: float, y: float) -> str:
        return f"{left + x * side:.1f},{top + (1 - y) * side:.1f}"

    marks = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = left + tick * side, top + (1 - tick) * side
        marks.append(f'<path d="M{left},{y} h{side} M{x},{top} v{side}" stroke="#eaeef2"/>')
        marks.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
        marks.append(f'<text x="{x}" y="{top + side + 16}" text-anchor="middle">{tick:g}</text>')
    first, last = place(0, 0), place(1, 1)
    marks.append(f'<path d="M{first} L{last}" stroke="#8c959f" stroke-dasharray="4 4" fill="none"/>')
    for i, ((name, diagram), colour) in enumerate(zip(diagrams.items(), colours, strict=False)):
        total = max(sum(diagram["count"]), 1)
        points = [
            (c, a, n)
            for c, a, n in zip(diagram["confidence"], diagram["accuracy"], diagram["count"], strict=True)
            if c is not None
        ]
        line = " ".join(place(c, a) for c, a, _ in points)
        marks.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for c, a, n in points:
            at = 'cx="{}" cy="{}"'.format(*place(c, a).split(","))
            marks.append(f'<circle {at} r="{2 + 7 * (n / total) ** 0.5:.1f}" fill="{colour}" opacity=".55"/>')
        words = f"{escape(name)}: ECE {diagram['ece']:.3f}"
        below = top + side + 60 + 17 * i
        marks.append(f'<text x="{left}" y="{below}" fill="{colour}" font-weight="600">{words}</text>')
    marks.append(f'<text x="{left + side / 2}" y="{top + side + 36}" text-anchor="middle">confidence</text>')
    turn = f'transform="translate(12 {top + side / 2}) rotate(-90)"'
    marks.append(f'<text {turn} text-anchor="middle">share of right answers</text>')
    size = f'width="{left + side + 14}" height="{top + side + 48 + 17 * len(diagrams)}"'
    look = 'role="img" font-family="system-ui, sans-serif" font-size="12" fill="#57606a"'
    svg = f"<svg {size} {look}>{''.join(marks)}</svg>"
    return f'<figure style="max-width: 24rem">{svg}<figcaption>{escape(caption)}</figcaption></figure>'


def picture(pixels: NDArray[np.uint8], side: int = 360) -> str:
    """[H, W, 3] or [H, W] uint8 as an image tag, at most ``side`` pixels wide; class maps keep their colours."""
    from PIL import Image

    image = Image.fromarray(pixels)
    factor = side / max(image.size)
    if factor < 1:
        size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
        few = len(np.unique(pixels.reshape(-1, pixels.shape[-1])[:: max(pixels.size // 30_000, 1)], axis=0)) < 40
        image = image.resize(size, Image.Resampling.NEAREST if few else Image.Resampling.LANCZOS)
    held = io.BytesIO()
    image.save(held, "PNG", optimize=True)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}">'


def pictures(title: str, images: Mapping[str, NDArray[np.uint8]], side: int = 360) -> str:
    """A row of pictures with their captions."""
    cells = "".join(
        f"<figure>{picture(pixels, side)}<figcaption>{escape(name)}</figcaption></figure>"
        for name, pixels in images.items()
    )
    columns = f"grid-template-columns: repeat({len(images)}, minmax(0, {side}px))"
    return f'<p class="note">{escape(title)}</p><div class="pictures" style="{columns}">{cells}</div>'


def legend(names: Sequence[str], colours: Sequence[str]) -> str:
    """Class names with their colours."""
    items = "".join(
        f'<span class="swatch" style="background: {escape(c)}"></span>{escape(n)}'
        for n, c in zip(names, colours, strict=True)
    )
    return f'<p class="note">{items}</p>'


def page(title: str, lead: str, *parts: str, language: str = "en", style: str = "", script: str = "") -> str:
    """The whole document, which may fetch nothing and run nothing but ``script``."""
    runs = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" if script else "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {runs}"
    end = f"<script>{script}</script>" if script else ""
    return (
        f'<!doctype html>\n<html lang="{escape(language)}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head>"
        f'<body><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>{"".join(parts)}{end}</body></html>\n'
    )

"""Drawings in text: the padded input with the filter's windows, and the output cut into regions.

Plain ASCII, so that every terminal and every log shows them; nothing here prints.
"""

from __future__ import annotations

from dataclasses import dataclass

from convgen.plan.drawing import beside
from convgen.spec.model import ConvSpec, Padding

WHOLE_ROWS = 16  # a padded input up to this size is drawn cell by cell
WHOLE_COLS = 22
NEAR_EDGE = 2  # cells kept at the far edge of an abbreviated drawing

LEGEND = ".  input    0  padding    #  tap on the input    x  tap on padding: adds nothing"


@dataclass(frozen=True)
class Window:
    """One position of the filter: its output pixel, and how it came there from window 1."""

    oh: int
    ow: int
    how: str


def windows(spec: ConvSpec) -> tuple[Window, ...]:
    """Window 1, the next to the right, the next down, and the last, as far as there are any."""
    found = [Window(0, 0, "window 1")]
    if spec.ow > 1:
        found.append(Window(0, 1, f"next: {spec.sw} to the right"))
    if spec.oh > 1:
        found.append(Window(1, 0, f"next row: {spec.sh} down"))
    if (spec.oh - 1, spec.ow - 1) not in {(w.oh, w.ow) for w in found}:
        found.append(Window(spec.oh - 1, spec.ow - 1, "the last"))
    return tuple(found)


def taps(first: int, count: int, dilation: int) -> range:
    """Padded rows (or columns) that ``count`` taps touch, the first at ``first``."""
    return range(first, first + (count - 1) * dilation + 1, dilation)


def near(tap_range: range, total: int, cap: int) -> set[int]:
    """The cells of a window to draw: its whole span if that fits, else each tap and the next."""
    span = set(range(tap_range[0], tap_range[-1] + 1))
    if len(span) > cap:
        span = {index + step for index in tap_range for step in (0, 1)}
    return {index for index in span if index < total}


def visible(total: int, wanted: set[int], cap: int) -> list[int | None]:
    """Indices of 0..total-1 to draw, None for a gap.

    All of them when they fit, else ``wanted`` and the edges, no more than about ``cap``:
    ``wanted`` is cut from its end when it exceeds that.
    """
    if total <= cap:
        return list(range(total))
    edges = {*range(NEAR_EDGE), *range(total - NEAR_EDGE, total)}
    kept = sorted({*sorted(wanted)[: cap - NEAR_EDGE], *edges})
    drawn: list[int | None] = []
    last = -1
    for index in kept:
        if index == last + 2:  # a gap of one cell takes no more room than the cell
            drawn.append(last + 1)
        elif index > last + 2:
            drawn.append(None)
        drawn.append(index)
        last = index
    return drawn


def input_drawing(spec: ConvSpec) -> list[str]:
    """Lines that show the padded input with the filter in its first and last places.

    Rows and columns are numbered as in the input: negative ones, and those from H or W on, are
    padding. Every panel is one output pixel ``y[oh,ow]``.

    Of a 3-D layer one plane is drawn, of all windows the part in it. A transposed layer is drawn
    from its other end: the output, padded, and where single inputs ``x[ih,iw]`` are spread over it.
    """
    if spec.transposed:
        return _spread_drawing(spec)
    p = spec.padding
    rows, cols = spec.h + p.top + p.bottom, spec.w + p.left + p.right
    title = f"padded input {rows} x {cols}: input {spec.h} x {spec.w}"
    if spec.rank == 3:
        title = f"one plane of {spec.d}, {title}"
    pads = [f"{side} {n}" for side, n in sides(p) if n]
    title += f", padding {', '.join(pads)}" if pads else ", no padding"
    lines = [title, LEGEND, ""]
    whole = rows <= WHOLE_ROWS and cols <= WHOLE_COLS
    if not whole:
        lines[-1:] = ["abbreviated: ':' and '..' stand for rows and columns left out", ""]
    panels = [panel(spec, window) for window in windows(spec)]
    return lines + beside(panels)


def _spread_drawing(spec: ConvSpec) -> list[str]:
    """The padded output of a transposed layer with the filter where single inputs put it."""
    p = spec.padding
    # The convolution whose gradient it is: its windows on y are what the inputs are spread over.
    forward = ConvSpec(
        spec.name, spec.oh, spec.ow, 1, 1, spec.kh, spec.kw, spec.sh, spec.sw, spec.dh, spec.dw,
        Padding(p.top, p.left, p.bottom, p.right),
    )  # fmt: skip
    rows, cols = spec.oh + p.top + p.bottom, spec.ow + p.left + p.right
    pads = [f"{side} {n}" for side, n in sides(p) if n]
    what = "one plane of the output" if spec.rank == 3 else "the output"
    title = f"{what} {spec.oh} x {spec.ow}"
    title += f", cut by padding out of {rows} x {cols} ({', '.join(pads)})" if pads else ""
    legend = ".  output   0  cut off    #  tap on the output   x  tap cut off"
    last = Window(spec.h - 1, spec.w - 1, "the last")
    shown = [w for w in windows(forward)[:-1] if w.oh < spec.h and w.ow < spec.w]
    shown += [last] if (last.oh, last.ow) not in {(w.oh, w.ow) for w in shown} else []
    lines = [title, legend, ""]
    if rows > WHOLE_ROWS or cols > WHOLE_COLS:
        lines[-1:] = ["abbreviated: ':' and '..' stand for rows and columns left out", ""]
    return lines + beside([panel(forward, window, "x") for window in shown])


def sides(padding: Padding) -> list[tuple[str, int]]:
    """(side, pixels) of the four sides, in the order in which the spec's map is printed."""
    p = padding
    return [("top", p.top), ("left", p.left), ("bottom", p.bottom), ("right", p.right)]


def panel(spec: ConvSpec, window: Window, of: str = "y") -> list[str]:
    """One window on the padded input, with the input's own row and column numbers; ``of``: the
    array whose pixel the window belongs to."""
    p = spec.padding
    rows, cols = spec.h + p.top + p.bottom, spec.w + p.left + p.right
    tap_rows = taps(window.oh * spec.sh, spec.kh, spec.dh)
    tap_cols = taps(window.ow * spec.sw, spec.kw, spec.dw)
    seen_rows = visible(rows, _wanted(window.oh, tap_rows, spec.sh, rows), WHOLE_ROWS)
    seen_cols = visible(cols, _wanted(window.ow, tap_cols, spec.sw, cols), WHOLE_COLS)
    row_width = max(len(str(r - p.top)) for r in seen_rows if r is not None)
    cell = max(2, *(len(str(c - p.left)) for c in seen_cols if c is not None)) + 1
    head = "".join(("" if c is None else str(c - p.left)).rjust(cell) for c in seen_cols)
    lines = [f"{of}[{window.oh},{window.ow}]  {window.how}", " " * row_width + head]
    for r in seen_rows:
        label = (":" if r is None else str(r - p.top)).rjust(row_width)
        cells = (_cell(spec, r, c, tap_rows, tap_cols).rjust(cell) for c in seen_cols)
        lines.append(label + "".join(cells))
    return lines


def _wanted(index: int, tap_range: range, stride: int, total: int) -> set[int]:
    """What a panel has to show along one axis: its window; in the first two, both their windows."""
    wanted = near(tap_range, total, WHOLE_ROWS - 2 * NEAR_EDGE)
    if index > 1:
        return wanted
    step = stride if index == 0 else -stride
    return wanted | {i + step for i in wanted if 0 <= i + step < total}


def _cell(spec: ConvSpec, r: int | None, c: int | None, rows: range, cols: range) -> str:
    if r is None:
        return ":" if c is not None else ""
    if c is None:
        return ".."
    p = spec.padding
    real = p.top <= r < p.top + spec.h and p.left <= c < p.left + spec.w
    if r in rows and c in cols:
        return "#" if real else "x"
    return "." if real else "0"

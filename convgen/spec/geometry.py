"""Sizes: the padding that a spec means, what a stride leaves over, and how large is too large.

    out = floor((size + before + after - f) / s) + 1        f = (taps - 1)*dilation + 1

Left over are r = (size + before + after - f) mod s rows. No window reaches them. Nothing real is
lost beyond what every gap between windows skips when r <= after + max(0, s - f).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from convgen.spec.elements import ELEMENTS, Element
from convgen.spec.fields import RawLayer, Remainder
from convgen.spec.model import Padding, out_size
from convgen.spec.nested import PadMode
from convgen.spec.problem import Problem

BYTES_LIMIT = 2**31
MACS_LIMIT = 2**44


@dataclass(frozen=True)
class Axis:
    """One direction of a layer, in rows (or columns)."""

    label: str
    unit: str
    size: int
    before: int
    after: int
    taps: int
    dilation: int
    stride: int

    @property
    def extent(self) -> int:
        """f: rows from a window's first tap to its last."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def padded(self) -> int:
        return self.size + self.before + self.after

    @property
    def out(self) -> int:
        """Windows that fit; 0 when none does."""
        return out_size(self.size, self.before, self.after, self.taps, self.dilation, self.stride)

    @property
    def left(self) -> int:
        """r: rows after the last window. Asked only where a window fits."""
        return (self.padded - self.extent) % self.stride

    @property
    def harmless(self) -> bool:
        return self.left <= self.after + max(0, self.stride - self.extent)

    @property
    def sum(self) -> str:
        return f"({self.size} + {self.before} + {self.after} - {self.extent})"

    def trimmed(self) -> Axis:
        """Without the padding that no window reaches; the output keeps its size."""
        return replace(self, after=self.after - min(self.left, self.after))


@dataclass(frozen=True)
class Geometry:
    """The axes as the kernel sees them, and what is worth knowing about them."""

    height: Axis
    width: Axis
    notes: tuple[str, ...]

    @property
    def padding(self) -> Padding:
        return Padding(self.height.before, self.width.before, self.height.after, self.width.after)


def solve(raw: RawLayer) -> Geometry | Problem:
    """The layer's axes, or why there are none. ``input`` and ``kernel`` must be given."""
    height, width = axes(raw)
    pair = (height, width)
    if not (height.out and width.out):
        return _no_window(pair)
    by_definition = isinstance(raw.padding, PadMode)
    accepted = by_definition or raw.remainder is Remainder.FLOOR
    if not accepted and not (height.harmless and width.harmless):
        return _dropped(pair)
    why = f"as `padding: {raw.padding}` defines" if by_definition else "as `remainder: floor` says"
    notes = [_same_note(raw.padding, pair)] if _is_same(raw.padding) else []
    notes += [_left_note(axis, why) for axis in pair if axis.left]
    return Geometry(height.trimmed(), width.trimmed(), tuple(notes))


def axes(raw: RawLayer) -> tuple[Axis, Axis]:
    """Height and width with the padding that the spec means."""
    assert raw.input and raw.kernel
    p = raw.padding if isinstance(raw.padding, Padding) else Padding()
    (h, w, _), (kh, kw) = raw.input, raw.kernel
    (sh, sw), (dh, dw) = raw.stride, raw.dilation
    height = Axis("height", "row", h, p.top, p.bottom, kh, dh, sh)
    width = Axis("width", "column", w, p.left, p.right, kw, dw, sw)
    if _is_same(raw.padding):
        lower = raw.padding is PadMode.SAME_LOWER
        return _same(height, lower=lower), _same(width, lower=lower)
    return height, width


def _is_same(padding: Padding | PadMode) -> bool:
    return padding in (PadMode.SAME, PadMode.SAME_LOWER)


def _same(axis: Axis, *, lower: bool) -> Axis:
    """Padded so that out = ceil(size / s); an odd pad more at the end, or the start if ``lower``.

    The total is clamped at 0: a stride wider than the filter may need no padding at all.
    """
    out = -(-axis.size // axis.stride)
    total = max(0, (out - 1) * axis.stride + axis.extent - axis.size)
    before = total - total // 2 if lower else total // 2
    return replace(axis, before=before, after=total - before)


def _count(n: int, unit: str) -> str:
    return f"{n} {unit}{'' if n == 1 else 's'}"


def _last(n: int, unit: str) -> str:
    return f"the last {unit}" if n == 1 else f"the last {n} {unit}s"


def _same_note(mode: object, pair: tuple[Axis, Axis]) -> str:
    h, w = pair
    return (
        f"Padding `{mode}` makes the output ceil({h.size}/{h.stride}) x ceil({w.size}/{w.stride})"
        f" = {h.out}x{w.out}: {_count(h.before, 'row')} above, {h.after} below, "
        f"{_count(w.before, 'column')} left, {w.after} right."
    )


def _left_note(a: Axis, why: str) -> str:
    """One sentence on the rows that no window reaches; ``why`` real ones may be lost."""
    parts = []
    if pad := min(a.left, a.after):
        parts.append(f"{_last(pad, a.unit)} of padding {_is(pad)} never reached and left out")
    if real := a.left - pad:
        if a.harmless:
            why = f"no more than each gap between windows skips (stride {a.stride} > {a.extent})"
        parts.append(f"{_last(real, a.unit)} of the input {_is(real)} not used, {why}")
    return f"In {a.label}, {a.sum} mod {a.stride} = {a.left}: {' and '.join(parts)}."


def _is(n: int) -> str:
    return "is" if n == 1 else "are"


def _no_window(pair: tuple[Axis, Axis]) -> Problem:
    what = "; ".join(
        f"{a.label}: the filter spans {_count(a.extent, a.unit)}, the padded input has "
        f"{a.size} + {a.before} + {a.after} = {a.padded}"
        for a in pair
        if not a.out
    )
    return Problem("E201", "kernel", f"no window fits; {what}")


def _dropped(pair: tuple[Axis, Axis]) -> Problem:
    what = "; ".join(
        f"{a.label}: {a.sum} mod {a.stride} = {a.left}, so {_last(a.left - a.after, a.unit)}"
        " of the input would be dropped"
        for a in pair
        if not a.harmless
    )
    return Problem("E202", "stride", what)


def size_problems(raw: RawLayer, pair: tuple[Axis, Axis] | None) -> list[Problem]:
    """Arrays of 2^31 bytes or more, and layers of more than 2^44 multiply-adds.

    ``pair``: the axes once solved; without them input and weights alone are measured.
    """
    assert raw.input and raw.kernel and raw.filters
    (h, w, c), (kh, kw), oc, n = raw.input, raw.kernel, raw.filters, raw.batch or 1
    groups = c if raw.groups is None else raw.groups
    icg = c // groups
    x, y = ELEMENTS[raw.dtype], _output(raw)
    stored = x if x.is_float else ELEMENTS["int8"]
    arrays: list[tuple[str, str, tuple[int, ...], Element, str]] = [
        ("input", "the input", (n, h, w, c), x, "cut the image into tiles, or lower the batch"),
        ("filters", "the weights", (kh, kw, icg, oc), stored, "use fewer filters, or more groups"),
    ]
    if pair:
        height, width = pair
        outs = (n, height.out, width.out, oc)
        advice = "use fewer filters or a larger stride, or cut the image into tiles"
        arrays.append(("filters", "the output", outs, y, advice))
        if n * h * w * c * x.size < BYTES_LIMIT:  # else it is told already
            padded = (height.padded, width.padded, c)
            arrays.append(("padding", "a padded image", padded, x, "pad less"))
    problems = [
        Problem("E205", key, f"{what}, {_times(sizes)} {of.name}, {_bytes(sizes, of)}; {advice}")
        for key, what, sizes, of, advice in arrays
        if prod(sizes) * of.size >= BYTES_LIMIT
    ]
    if pair and not problems:
        macs = prod((n, pair[0].out, pair[1].out, oc, kh, kw, icg))
        if macs > MACS_LIMIT:
            text = f"one call would take {macs:,} multiply-adds: the limit is 2^44 ({MACS_LIMIT:,})"
            advice = "use fewer filters, a smaller input, or more groups"
            problems.append(Problem("E206", "filters", f"{text}; {advice}"))
    return problems


def _times(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _output(raw: RawLayer) -> Element:
    sums = raw.quant is not None and raw.quant.sums
    return ELEMENTS["int32" if sums else raw.dtype]


def _bytes(sizes: tuple[int, ...], of: Element) -> str:
    return (
        f"would take {prod(sizes) * of.size:,} bytes: every array must stay below 2^31 "
        f"({BYTES_LIMIT:,}) bytes, so that 32-bit index arithmetic is safe"
    )


def group_problems(raw: RawLayer) -> list[Problem]:
    """Groups must divide the input's channels and the filters."""
    assert raw.input and raw.filters
    c, oc = raw.input[2], raw.filters
    if raw.groups is None:
        if oc % c == 0:
            return []
        text = f"depthwise has a group per input channel, so filters is a multiple of {c}, not {oc}"
        return [Problem("E204", "groups", text)]
    return [
        Problem(code, "groups", f"{n} {what} do not split into {raw.groups} equal groups")
        for code, n, what in (("E203", c, "input channels"), ("E204", oc, "filters"))
        if n % raw.groups
    ]

"""Sizes: the padding that a spec means, what a stride leaves over, and how large is too large.

    out = floor((size + before + after - f) / s) + 1        f = (taps - 1)*dilation + 1

Left over are r = (size + before + after - f) mod s rows. No window reaches them. Nothing real is
lost beyond what every gap between windows skips when r <= after + max(0, s - f). A transposed layer
gives out = (size - 1)*s + f - before - after + output padding, and leaves nothing over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from convgen.spec.axes import image_of, padding_of, rank_of
from convgen.spec.elements import ELEMENTS, Element
from convgen.spec.fields import RawLayer, Remainder
from convgen.spec.model import Padding
from convgen.spec.nested import PadMode
from convgen.spec.problem import Problem
from convgen.spec.ranks import spread
from convgen.spec.window import Axis as Window

BYTES_LIMIT = 2**31
MACS_LIMIT = 2**44


@dataclass(frozen=True)
class Axis(Window):
    """An axis and its words: what it is called, what one place along it is, and the way back and
    forth over it."""

    label: str = ""
    unit: str = ""
    sides: tuple[str, str] = ("", "")

    @property
    def sum(self) -> str:
        return f"({self.size} + {self.before} + {self.after} - {self.extent})"

    def trimmed(self) -> Axis:
        """Without the padding that no window reaches; the output keeps its size."""
        return replace(self, after=self.after - min(self.left, self.after))


_WORDS = (
    ("depth", "plane", ("front", "back")),
    ("height", "row", ("top", "bottom")),
    ("width", "column", ("left", "right")),
)
_LENGTH = ("length", "column", ("left", "right"))


@dataclass(frozen=True)
class Geometry:
    """The axes as the kernel sees them, those that the input has, and what is worth knowing."""

    axes: tuple[Axis, ...]
    notes: tuple[str, ...]

    @property
    def padding(self) -> Padding:
        sides = {
            side: value
            for axis in self.axes
            for side, value in zip(axis.sides, (axis.before, axis.after), strict=True)
        }
        return Padding(**sides)

    @property
    def extra(self) -> tuple[int, int, int]:
        """Output padding in depth, height and width."""
        return spread(tuple(axis.extra for axis in self.axes), len(self.axes), 0)


def solve(raw: RawLayer) -> Geometry | Problem:
    """The layer's axes, or why there are none. ``input`` and ``kernel`` must be given, and every
    key speak of as many axes as the input has."""
    found = axes(raw)
    if raw.transposed:
        return _solve_transposed(raw, found)
    if not all(axis.out for axis in found):
        return _no_window(found)
    by_definition = isinstance(raw.padding, PadMode)
    accepted = by_definition or raw.remainder is Remainder.FLOOR
    if not accepted and not all(axis.harmless for axis in found):
        return _dropped(found)
    why = f"as `padding: {raw.padding}` defines" if by_definition else "as `remainder: floor` says"
    notes = [_same_note(raw.padding, found)] if _is_same(raw.padding) else []
    notes += [_left_note(axis, why) for axis in found if axis.left]
    return Geometry(tuple(axis.trimmed() for axis in found), tuple(notes))


def _solve_transposed(raw: RawLayer, found: tuple[Axis, ...]) -> Geometry | Problem:
    if all(axis.out for axis in found):
        notes = (_same_note(raw.padding, found),) if _is_same(raw.padding) else ()
        return Geometry(found, notes)
    what = "; ".join(
        f"{a.label}: ({a.size} - 1)*{a.stride} + {a.extent} {a.unit}s are spread out, and padding "
        f"takes {a.before} + {a.after} of them"
        for a in found
        if not a.out
    )
    return Problem("E209", "padding", f"padding leaves no output; {what}")


def axes(raw: RawLayer) -> tuple[Axis, ...]:
    """The axes that the input has, outermost first, with the padding that the spec means."""
    assert raw.input and raw.kernel
    rank, p = rank_of(raw), padding_of(raw)
    sizes = image_of(raw)[:3]
    taps, stride, dilation = (spread(v, rank, 1) for v in (raw.kernel, raw.stride, raw.dilation))
    extra = spread(raw.output_padding, rank, 0) if raw.transposed else (0, 0, 0)
    pads = ((p.front, p.back), (p.top, p.bottom), (p.left, p.right))
    words = (_LENGTH,) if rank == 1 else _WORDS[3 - rank :]
    found = [
        Axis(
            sizes[i],
            taps[i],
            stride[i],
            dilation[i],
            *pads[i],
            raw.transposed,
            extra[i],
            label=label,
            unit=unit,
            sides=sides,
        )
        for i, (label, unit, sides) in zip(range(3 - rank, 3), words, strict=True)
    ]
    if _is_same(raw.padding):
        lower = raw.padding is PadMode.SAME_LOWER
        return tuple(_same(axis, lower=lower) for axis in found)
    return tuple(found)


def _is_same(padding: object) -> bool:
    return padding in (PadMode.SAME, PadMode.SAME_LOWER)


def _same(axis: Axis, *, lower: bool) -> Axis:
    """Padded so that out = ceil(size / s); an odd pad more at the end, or the start if ``lower``.

    The total is clamped at 0: a stride wider than the filter may need no padding at all. The output
    of a transposed axis is size * s: what is too much is cut off, what is missing is added.
    """
    if axis.transposed:
        total, extra = max(0, axis.extent - axis.stride), max(0, axis.stride - axis.extent)
    else:
        out, extra = -(-axis.size // axis.stride), 0
        total = max(0, (out - 1) * axis.stride + axis.extent - axis.size)
    before = total - total // 2 if lower else total // 2
    return replace(axis, before=before, after=total - before, extra=extra)


def _count(n: int, unit: str) -> str:
    return f"{n} {unit}{'' if n == 1 else 's'}"


def _last(n: int, unit: str) -> str:
    return f"the last {unit}" if n == 1 else f"the last {n} {unit}s"


_BESIDE = {"depth": ("in front", "behind"), "height": ("above", "below")}


def _same_note(mode: object, found: tuple[Axis, ...]) -> str:
    def output(a: Axis) -> str:
        return f"{a.size}*{a.stride}" if a.transposed else f"ceil({a.size}/{a.stride})"

    def sides(a: Axis) -> str:
        first, last = _BESIDE.get(a.label, ("left", "right"))
        more = f" and {a.extra} more" if a.extra else ""
        return f"{_count(a.before, a.unit)} {first}, {a.after} {last}{more}"

    what = "cuts the output to" if found[0].transposed else "makes the output"
    return (
        f"Padding `{mode}` {what} {' x '.join(map(output, found))} = {_outs(found)}: "
        f"{', '.join(map(sides, found))}."
    )


def _outs(found: Iterable[Axis]) -> str:
    return "x".join(str(axis.out) for axis in found)


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


def _each(values: Sequence[int]) -> str:
    """One number where all are alike, else the list."""
    return str(values[0]) if len(set(values)) == 1 else f"[{', '.join(map(str, values))}]"


def _no_window(found: tuple[Axis, ...]) -> Problem:
    what = "; ".join(
        f"{a.label}: the filter spans {_count(a.extent, a.unit)}, the padded input has "
        f"{a.size} + {a.before} + {a.after} = {a.padded}"
        for a in found
        if not a.out
    )
    return Problem("E201", "kernel", f"no window fits; {what}")


def _dropped(found: tuple[Axis, ...]) -> Problem:
    what = "; ".join(
        f"{a.label}: {a.sum} mod {a.stride} = {a.left}, so {_last(a.left - a.after, a.unit)}"
        " of the input would be dropped"
        for a in found
        if not a.harmless
    )
    return Problem("E202", "stride", what)


def output_problems(raw: RawLayer) -> list[Problem]:
    """Output padding belongs to transposed layers, and stays below stride or dilation."""
    key, value = "output_padding", raw.output_padding
    given = any(value) if isinstance(value, tuple) else value > 0
    if not given:
        return []
    if not raw.transposed:
        text = "only a transposed layer has outputs that its padding leaves open"
        return [Problem("E207", key, f"{text}: add `transposed: true`, or remove this key")]
    if _is_same(raw.padding):
        text = f"`padding: {raw.padding}` fixes the output's size by definition"
        return [Problem("E210", key, f"{text}: remove this key, or pad by numbers")]
    rank = rank_of(raw)
    found = zip(
        *(spread(v, rank, 1)[3 - rank :] for v in (value, raw.stride, raw.dilation)), strict=True
    )
    rows = [(p, max(s, d)) for p, s, d in found]
    if all(p < most for p, most in rows):
        return []
    text = f"{_each([p for p, _ in rows])} outputs more than the windows reach"
    least = _each([min(p, most - 1) for p, most in rows])
    text += ": each number must be less than the stride or the dilation of its axis"
    return [Problem("E208", key, f"{text}; write `output_padding: {least}` or less")]


def size_problems(raw: RawLayer, solved: tuple[Axis, ...] | None) -> list[Problem]:
    """Arrays of 2^31 bytes or more, and layers of more than 2^44 multiply-adds.

    ``solved``: the axes once solved; without them input and weights alone are measured.
    """
    assert raw.input and raw.kernel and raw.filters
    rank, oc, n = rank_of(raw), raw.filters, raw.batch or 1
    *image, c = raw.input
    taps = spread(raw.kernel, rank, 1)[3 - rank :]
    groups = c if raw.groups is None else raw.groups
    icg = c // groups
    x, y = ELEMENTS[raw.dtype], _output(raw)
    stored = x if x.is_float else ELEMENTS["int8"]
    arrays: list[tuple[str, str, tuple[int, ...], Element, str]] = [
        ("input", "the input", (n, *image, c), x, "cut the image into tiles, or lower the batch"),
        ("filters", "the weights", (*taps, icg, oc), stored, "use fewer filters, or more groups"),
    ]
    if solved:
        outs = (n, *(axis.out for axis in solved), oc)
        advice = "use fewer filters or a larger stride, or cut the image into tiles"
        arrays.append(("filters", "the output", outs, y, advice))
        if n * prod(image) * c * x.size < BYTES_LIMIT:  # else it is told already
            padded = (*(axis.padded for axis in solved), c)
            arrays.append(("padding", "a padded image", padded, x, "pad less"))
    problems = [
        Problem("E205", key, f"{what}, {_times(sizes)} {of.name}, {_bytes(sizes, of)}; {advice}")
        for key, what, sizes, of, advice in arrays
        if prod(sizes) * of.size >= BYTES_LIMIT
    ]
    if solved and not problems:
        places = image if raw.transposed else [axis.out for axis in solved]
        macs = prod((n, *places, oc, *taps, icg))
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
    c, oc = raw.input[-1], raw.filters
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

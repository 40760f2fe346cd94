"""What to write instead: every fix that a message names was held against the rules first.

A fix is one key with a value. It is printed only when the key's own reader takes the value, the
sizes come out, and no array grows over its limit; so nobody is sent from one error to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import gcd

from convgen.spec.fields import RawLayer, Remainder
from convgen.spec.geometry import (
    Axis,
    Geometry,
    axes,
    group_problems,
    size_problems,
    solve,
)
from convgen.spec.problem import Problem
from convgen.spec.reading import Mistakes

_FAR = 4096  # larger strides and groups are not searched
_MOST_GROUPS = 8  # that one message lists


@dataclass(frozen=True)
class Fix:
    """``key: value``, and the output that it gives, () where sizes are not in question."""

    key: str
    value: object
    out: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"`{self.key}: {_yaml(self.value)}`"

    @property
    def size(self) -> str:
        return "x".join(map(str, self.out))


def advised(raw: RawLayer, problem: Problem) -> Problem:
    """``problem`` with its fixes in the text. ``raw`` is the layer that has it."""
    advice = {
        "E201": _fitting, "E202": _losing_nothing, "E203": _groups, "E204": _groups,
        "E209": _leaving_outputs,
    }  # fmt: skip
    return replace(problem, text=f"{problem.text}; {advice[problem.code](raw)}")


def _yaml(value: object) -> str:
    match value:
        case list():
            return f"[{', '.join(map(str, value))}]"
        case dict():
            return f"{{{', '.join(f'{k}: {v}' for k, v in value.items())}}}"
    return str(value)


def _read(raw: RawLayer, key: str, value: object) -> RawLayer | None:
    """The layer with ``key: value``; None where the key's reader refuses it."""
    try:
        read = RawLayer.read({key: value})
    except Mistakes:
        return None
    return raw.changed(**{key: getattr(read, key)})


def _grows(before: RawLayer, after: RawLayer) -> bool:
    """Does an array or the work pass a limit that it kept before?"""
    if not (after.kernel and after.filters):  # missing or refused: nothing to measure
        return False
    solved = solve(after)
    found = solved.axes if isinstance(solved, Geometry) else None
    known = {(p.key, p.code) for p in size_problems(before, None)}
    return any((p.key, p.code) not in known for p in size_problems(after, found))


def _sized(raw: RawLayer, candidates: Iterable[tuple[str, object]]) -> Iterator[Fix]:
    """Those candidates with which windows fit and nothing real is dropped."""
    for key, value in candidates:
        other = _read(raw, key, value)
        solved = other and solve(other)
        if other and isinstance(solved, Geometry) and not _grows(raw, other):
            yield Fix(key, value, tuple(axis.out for axis in solved.axes))


def _each(values: Sequence[int]) -> object:
    """One number where all are alike, else the list."""
    return values[0] if len(set(values)) == 1 else list(values)


def _fitting(raw: RawLayer) -> str:
    found = axes(raw)
    taps = [a.taps if a.out else (a.padded - 1) // a.dilation + 1 for a in found]
    steps = [a.dilation if a.out else (a.padded - 1) // max(1, a.taps - 1) for a in found]
    wanted: list[tuple[str, object]] = [
        ("kernel", _each(taps)),
        ("dilation", _each(steps)),
        ("padding", "same"),
    ]
    floor = raw.changed(remainder=Remainder.FLOOR)
    fixes, also = list(_sized(raw, wanted)), ""
    if not fixes:  # the stride drops input as well
        fixes, also = list(_sized(floor, wanted)), ", with `remainder: floor`"
    if not fixes:
        return "make the kernel smaller, or pad more"
    # Beside a stride, a smaller one may leave something over.
    less = " or less" if all(a.stride == 1 for a in found) else ""
    gives = {"padding": " (gives {})", "kernel": less, "dilation": less}
    shown = ", or ".join(f"{fix}{gives[fix.key].format(fix.size)}" for fix in fixes)
    if found[0].label == "depth" and found[0].size == 1 and not found[0].out:
        also += ", or three numbers for `input` if its first is a batch, which has its own key"
    return f"write {shown}{also}"


def _leaving_outputs(raw: RawLayer) -> str:
    fixes = list(_sized(raw, [("padding", 0), ("padding", "same")]))
    shown = ", or ".join(f"{fix} (gives {fix.size})" for fix in fixes)
    return f"write {shown}, or less padding" if fixes else "pad less"


def _losing_nothing(raw: RawLayer) -> str:
    own = axes(raw)
    wanted: list[tuple[str, object]] = []
    for step in (-1, 1):
        found = [_other_stride(a, step) for a in own]
        if all(found):
            wanted.append(("stride", _each([stride for stride in found if stride])))
    fixed = [a if a.harmless else replace(a, after=a.after + a.stride - a.left) for a in own]
    sides = {a.sides[0]: a.before for a in fixed} | {a.sides[1]: a.after for a in fixed}
    wanted += [("padding", "same"), ("padding", sides), ("remainder", "floor")]
    fixes = list(_sized(raw, wanted))
    if not fixes:
        return "write another stride, or pad the bottom and the right"
    return "fixes: " + ", ".join(f"{fix} gives {fix.size}" for fix in fixes)


def _other_stride(axis: Axis, step: int) -> int | None:
    """The nearest stride below (``step`` -1) or above (1) that loses nothing."""
    if axis.harmless:
        return axis.stride
    room, extent, after = axis.padded - axis.extent, axis.extent, axis.after
    for stride in range(axis.stride + step, 0 if step < 0 else min(room, _FAR) + 1, step):
        if room % stride <= after + max(0, stride - extent):  # ``harmless``, in bare numbers
            assert replace(axis, stride=stride).harmless
            return stride
    return None


def _grouped(raw: RawLayer, candidates: Iterable[tuple[str, object]]) -> Iterator[Fix]:
    for key, value in candidates:
        other = _read(raw, key, value)
        if other and not group_problems(other) and not _grows(raw, other):
            yield Fix(key, value)


def _groups(raw: RawLayer) -> str:
    """Groups that divide both; for ``depthwise`` the nearest number of filters."""
    assert raw.input and raw.filters
    c, oc = raw.input[-1], raw.filters
    if raw.groups is None:
        near = [("filters", n * c) for n in (-(-oc // c), oc // c)]
        fixes = list(_grouped(raw, near))
        return f"write {fixes[0]}" if fixes else "use another number of filters"
    common, asked = gcd(c, oc), raw.groups
    divisors = (g for g in range(1, min(common, _FAR) + 1) if common % g == 0)
    nearest = sorted(divisors, key=lambda g: abs(g - asked))
    good = [fix.value for fix in _grouped(raw, [("groups", g) for g in nearest])]
    shown = sorted(int(str(value)) for value in good[:_MOST_GROUPS])
    return f"groups that fit both: {', '.join(map(str, shown)) or 'none'}"

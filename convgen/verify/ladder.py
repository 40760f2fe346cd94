"""Every check of a build, in order, on a library loaded into this process.

A generator of events, so that what was found before a crash is known. The kernel is called with
guarded buffers throughout: each check also tests the bounds, the poison and the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.oracle.floats import Points, reference_at
from convgen.oracle.points import choose_points
from convgen.spec.model import ConvSpec
from convgen.verify.bound import Verdict, judge_bounded, judge_exact, judge_single
from convgen.verify.fills import (
    Fill,
    bounded_fill,
    edge_fills,
    exact_fill,
    impulse_fill,
    wide_fill,
    with_weights,
)
from convgen.verify.guard import Bytes, Placement, guards_available
from convgen.verify.kernel import (
    CHANGED,
    OUTSIDE,
    POISON,
    UNWRITTEN,
    Call,
    Fault,
    Kernel,
    call,
    pack_weights,
)
from convgen.verify.nonfinite import Spoiled, judge_spoiled, spoil_input, spoil_weights
from convgen.verify.parts import run_splits, written_twice
from convgen.verify.report import Begin, Check, Event, Measure
from convgen.verify.tiling import Leeway, Tiling
from convgen.verify.timing import microseconds_per_call

Array = NDArray[Any]
SHOWN = 3  # faults of one rule that a check's detail lists


@dataclass
class Climb:
    """One run of the ladder. ``weights``: the baked (w, b), or None for run-time weights;
    ``leeway``: what the kernel may do beyond rounding each sum by itself.

    ``faults`` and ``measure`` fill up as the checks go.
    """

    kernel: Kernel
    weights: tuple[Array, Array | None] | None
    leeway: Leeway
    seed: int
    faults: list[Fault] = field(default_factory=list)
    measure: Measure = field(default_factory=Measure)

    @property
    def spec(self) -> ConvSpec:
        return self.kernel.spec

    @cached_property
    def real(self) -> tuple[Fill, Bytes, Call]:
        """The bounded fill, its packed weights and its output: the base of several checks."""
        fill, packed = self.prepared(bounded_fill(self.spec, self.seed))
        return fill, packed, self.call(fill.x, packed, Placement.START)

    def prepared(self, fill: Fill) -> tuple[Fill, Bytes]:
        """The fill that this library can compute, and its packed weights."""
        if self.kernel.pack is not None:
            packed = pack_weights(self.kernel, fill.w, fill.b, Placement.END)
            self.faults.extend(packed.faults)
            return fill, packed.data
        return self.baked(fill)

    def baked(self, fill: Fill) -> tuple[Fill, Bytes]:
        assert self.weights is not None and self.kernel.image is not None
        return with_weights(fill, *self.weights), self.kernel.image

    def call(self, x: Array, packed: Bytes, placement: Placement, garbage: int = POISON) -> Call:
        made = call(self.kernel, x, packed, placement, garbage=garbage)
        self.faults.extend(made.faults)
        return made


def climb(
    kernel: Kernel, weights: tuple[Array, Array | None] | None, leeway: Leeway, seed: int
) -> Iterator[Event]:
    """All checks; stops early only where nothing further can be run."""
    state = Climb(kernel, weights, leeway, seed)
    yield Begin("cpu")
    ready = bool(kernel.cpu_ok())
    yield Check("cpu", ready, "" if ready else "this CPU lacks instructions the kernel needs")
    if not ready:
        return
    for name, check in CHECKS.items():
        yield Begin(name)
        found = check(state)
        if found is None:
            continue
        passed, detail = found
        yield Check(name, passed, detail)
        if name == "pack" and not passed:
            return
        yield state.measure
    yield from _fault_checks(state)
    yield Begin("timing")
    fill, packed, _ = state.real
    took = microseconds_per_call(kernel, fill.x, packed)
    state.measure = replace(state.measure, microseconds=took)
    yield state.measure


Spoil = Callable[[ConvSpec, Fill, int, Tiling | None], Spoiled]
Found = tuple[bool, str] | None  # None: the check does not apply to this library


def _check_pack(state: Climb) -> Found:
    """pack returns 0 and writes every byte, the same ones whatever was there before."""
    if state.kernel.pack is None:
        return None
    fill = bounded_fill(state.spec, state.seed)
    first: Bytes | None = None
    for placement, poison in zip(Placement, (POISON, 0, 0x7F), strict=True):
        packed = pack_weights(state.kernel, fill.w, fill.b, placement, poison)
        state.faults.extend(packed.faults)
        if packed.status:
            return False, f"pack returned {packed.status} for finite weights"
        first = packed.data if first is None else first
        left = int((first != packed.data).sum())
        if left:
            return False, f"{left} packed bytes were left unwritten"
    return _refused_overflow(state)


def _refused_overflow(state: Climb) -> tuple[bool, str]:
    """pack of an 8-bit layer names the channel whose sums could leave int32."""
    if not (state.spec.quantized and state.spec.bias) or state.kernel.pack is None:
        return True, ""
    fill = bounded_fill(state.spec, state.seed)
    assert fill.b is not None
    fill.b[-1] = -(2**31)
    packed = pack_weights(state.kernel, fill.w, fill.b, Placement.END)
    good = packed.status == state.spec.oc
    return good, "" if good else f"pack returned {packed.status} for sums beyond int32"


def _check_exact(state: Climb) -> Found:
    """Integers; single products where those cannot be had, or show little (Winograd)."""
    points = choose_points(state.spec, state.seed)
    if state.kernel.pack is not None:
        fill, packed = state.prepared(exact_fill(state.spec, state.seed))
        y = state.call(fill.x, packed, Placement.END).y
        verdict = judge_exact(state.spec, fill, y, points, state.leeway)
        if state.leeway.tiling is None or not verdict.passed:
            return _found(verdict)
    return _check_impulses(state)


def _check_impulses(state: Climb) -> Found:
    """One product an output: exact under any weights, and its tile's bound is tight."""
    points = choose_points(state.spec, state.seed)
    base, packed, _ = state.real
    verdict = None
    for turn in range(3):
        fill = impulse_fill(state.spec, base.w, base.b, state.seed + turn)
        y = state.call(fill.x, packed, Placement.END).y
        verdict = judge_single(state.spec, fill, y, points, state.leeway)
        if not verdict.passed:
            break
    assert verdict is not None
    return _found(verdict)


def _check_bounded(state: Climb) -> Found:
    """Real data, then extreme scales. Only the first one's errors are published."""
    points = choose_points(state.spec, state.seed + 1)
    fill, _, made = state.real
    verdict = judge_bounded(state.spec, fill, made.y, points, state.leeway)
    direct = _direct_error(state, fill, points)
    state.measure = Measure(verdict.max_error, verdict.ratio, direct_error=direct)
    if not verdict.passed:
        return _found(verdict)
    wide, packed = state.prepared(wide_fill(state.spec, state.seed))
    y = state.call(wide.x, packed, Placement.SHIFTED).y
    extreme = judge_bounded(state.spec, wide, y, points, state.leeway)
    if not extreme.passed:
        return False, f"extreme scales: {extreme.detail}"
    for at_edge in _at_the_edge(state, points):
        if not at_edge.passed:
            return False, f"at the edge of the stated range: {at_edge.detail}"
    ratio = f"largest error/bound {verdict.ratio:.2f}, extreme scales {extreme.ratio:.2f}"
    return True, f"{verdict.detail}, {ratio}{_beside_direct(state.measure)}"


def _at_the_edge(state: Climb, points: Points) -> Iterator[Verdict]:
    """Of a kernel that states in which range none of its steps overflows: the outputs there."""
    tiling = state.leeway.tiling
    if tiling is None or tiling.range is None:
        return
    given = state.weights[0] if state.weights is not None else None
    for edge in edge_fills(state.spec, state.seed, tiling.range, given):
        fill, packed = state.prepared(edge)
        y = state.call(fill.x, packed, Placement.END).y
        yield judge_bounded(state.spec, fill, y, points, state.leeway)


def _direct_error(state: Climb, fill: Fill, points: Points) -> float | None:
    """The largest error of the same sums in the layer's type, tap after tap; only for Winograd,
    whose own error it stands beside."""
    if state.leeway.tiling is None:
        return None
    exact = reference_at(state.spec, fill.x, fill.w, fill.b, points)
    direct = reference_at(state.spec, fill.x, fill.w, fill.b, points, dtype=state.kernel.dtype)
    return float(np.abs(direct - exact).max())


def _beside_direct(found: Measure) -> str:
    if found.direct_error is None:
        return ""
    return f", largest error {found.max_error:.2g} (direct summation: {found.direct_error:.2g})"


def _check_repeatable(state: Climb) -> Found:
    """The same bytes wherever the arrays lie and whatever the workspace held."""
    fill, packed, first = state.real
    turns = ((Placement.END, 0x00), (Placement.SHIFTED, 0x7F))
    for placement, garbage in turns:
        again = state.call(fill.x, packed, placement, garbage)
        count = _differing(first.y, again.y)
        if count:
            return False, f"{count} outputs differ in a second call with the same input"
    return True, ""


def _check_parts(state: Climb) -> Found:
    fill, packed, first = state.real
    for description, made in run_splits(state.kernel, fill.x, packed):
        state.faults.extend(made.faults)
        count = _differing(first.y, made.y)
        if count:
            return False, f"{count} outputs differ from run's when made in {description}"
    twice = written_twice(state.kernel, fill.x, packed, 3)
    return twice == 0, f"{twice} outputs are written by more than one of 3 parts" if twice else ""


def _check_nonfinite(state: Climb) -> Found:
    """NaN and Inf reach the outputs that see them, in x and (run-time weights) in w."""
    if state.spec.quantized:
        return None  # integers have neither
    if state.kernel.pack is None:
        # Sums are not exact under given weights; with zeros for x only the spoiled places count.
        fill, packed = state.baked(exact_fill(state.spec, state.seed))
        fill = Fill(np.zeros_like(fill.x), fill.w, fill.b)
        spoils: tuple[Spoil, ...] = (spoil_input,)
    else:
        fill, packed = state.prepared(exact_fill(state.spec, state.seed))
        spoils = (spoil_input, spoil_weights)
    points = choose_points(state.spec, state.seed + 2, budget=5e6)
    clean = state.call(fill.x, packed, Placement.START)
    tiling = state.leeway.tiling
    for spoil in spoils:
        spoiled = spoil(state.spec, fill, state.seed, tiling)
        if state.kernel.pack is not None:
            _, packed = state.prepared(spoiled.fill)
        made = state.call(spoiled.fill.x, packed, Placement.END)
        for fault in judge_spoiled(state.spec, spoiled, clean.y, made.y, points, tiling):
            where = "x" if spoil is spoil_input else "w"
            return False, f"NaN and Inf in {where}: {fault}"
    return True, ""


def _check_image(state: Climb) -> Found:
    """Baked weights: aligned, what pack writes, and they compute the layer."""
    kernel, weights = state.kernel, state.weights
    if weights is None or kernel.image is None:
        return None
    if kernel.image.ctypes.data % kernel.align:
        return False, f"the baked image is not aligned to {kernel.align} bytes"
    if kernel.pack is not None:
        packed = pack_weights(kernel, *weights, Placement.END)
        count = int((packed.data != kernel.image).sum())
        if count:
            return False, f"{count} bytes of the baked image differ from what pack writes"
    fill, image = state.baked(bounded_fill(state.spec, state.seed))
    y = state.call(fill.x, image, Placement.SHIFTED).y
    points = choose_points(state.spec, state.seed + 3)
    return _found(judge_bounded(state.spec, fill, y, points, state.leeway))


CHECKS: dict[str, Callable[[Climb], Found]] = {
    "pack": _check_pack,
    "exact fill": _check_exact,
    "bounded fill": _check_bounded,
    "repeatable": _check_repeatable,
    "parts": _check_parts,
    "non-finite": _check_nonfinite,
    "baked image": _check_image,
}


def _fault_checks(state: Climb) -> Iterator[Check]:
    """The rules that every call above was held to."""
    for rule in (OUTSIDE, CHANGED, UNWRITTEN):
        details = list(dict.fromkeys(f.detail for f in state.faults if f.rule == rule))
        more = f" and {len(details) - SHOWN} more" if len(details) > SHOWN else ""
        text = "; ".join(details[:SHOWN]) + more
        if rule == OUTSIDE and not guards_available():
            note = "no guard pages on this system, only a pattern beside each array"
            yield Check(rule, not details, text or note, available=bool(details))
        else:
            yield Check(rule, not details, text)


def _found(verdict: Verdict) -> Found:
    return verdict.passed, verdict.detail


def _differing(a: Array, b: Array) -> int:
    bits = f"u{a.itemsize}"
    return int((a.view(bits) != b.view(bits)).sum())

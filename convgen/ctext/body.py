"""What every family says of one instruction set's part of the file."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from convgen.plan.kernel import AnyBody, KernelPlan
from convgen.plan.packing import Packing
from convgen.spec.elements import arrays_of
from convgen.spec.model import ConvSpec
from convgen.target.arm.dots import HWCAP
from convgen.target.isa import VectorIsa, model
from convgen.target.x86.vectors import CPUID

BASELINE = frozenset({"sse2"})  # part of x86-64 itself
# clang 14 refuses to ask for it by name. No CPU has AVX2 without it, which is asked for as well.
IMPLIED = frozenset({"f16c"})


@dataclass(frozen=True)
class BodyText:
    """What the frame of the file prints: the vector operations, and under which conditions.

    ``name``: the layer's, which every name at file scope begins with.
    ``function`` and ``driver``: macros that open an inlined function and one with loops;
    ``sweep``: what the latter stands for. ``features``, ``supports``: whether this CPU can run it,
    asked now or when the program was loaded; ``asking``: frame.j2's macro of how; ``everywhere``:
    any that its condition lets through can. ``guard``: the macro under which a vector body is
    compiled; ``tag``: what the names of its functions end in. ``x_type w_type
    y_type``: C types of the elements that kernels see;
    ``x_vector``, ``w_vector``: of what is multiplied, ``w_load``, ``multiply``: the operations;
    ``more_params``: what microkernels are given besides; ``of_ends``: which parameters only their
    ends need, and are kept out of the loop's registers; ``by_vector``: what outputs are scaled by
    is read once for each vector of channels, which then is stored for all pixels. ``rest``: where
    the step for a single last input finds it, and at what depth of the loops; None without one.
    """

    name: str
    isa: VectorIsa
    model: VectorIsa
    prefix: str
    header: str
    condition: str
    words: str
    features: str
    asking: str
    supports: str
    function: str
    driver: str
    sweep: str
    guard: str
    everywhere: bool
    tag: str
    operations: tuple[str, ...]
    x_type: str
    w_type: str
    y_type: str
    x_vector: str
    w_vector: str
    w_load: str
    multiply: str
    more_params: str
    of_ends: tuple[str, ...]
    by_vector: bool
    rest: SimpleNamespace | None


def common(plan: KernelPlan, body: AnyBody) -> dict[str, Any]:
    """The fields of BodyText."""
    isa = body.isa
    v, arrays = isa.prefix.upper(), arrays_of(plan.spec)
    return {
        "name": plan.spec.name,
        "isa": isa,
        "model": model(isa),
        "prefix": isa.prefix,
        "header": isa.header,
        "condition": isa.condition,
        "words": _words(isa),
        "features": " && ".join(_cpu_has(plan.spec.name, f) for f in isa.features),
        "asking": "hwcap" if set(isa.features) & set(HWCAP) else "cpuid",
        "function": f"{v}_OP",
        "driver": f"{v}_SWEEP",
        # Inlined together, loops over several tiles would fight for registers, and gcc spill.
        "sweep": isa.apart,
        "supports": " && ".join(
            f'__builtin_cpu_supports("{f}") != 0' for f in isa.features if f not in IMPLIED
        ),
        "guard": f"{plan.spec.name.upper()}_{isa.name.upper() if plan.tag else 'SIMD'}",
        "everywhere": set(isa.features) <= BASELINE,
        "tag": plan.tag,
        "operations": body.operations,
        "x_type": arrays.x.c,
        "w_type": plan.packed.c,
        "y_type": arrays.y.c,
        "x_vector": f"{isa.prefix}_in" if isa.has("pair") else isa.prefix,
        "w_vector": f"{isa.prefix}_w" if isa.has("pair") else isa.prefix,
        "w_load": "weights" if isa.has("weights") else "load",
        "multiply": "dot" if isa.has("pair") else "fma",
        "more_params": "",
        "of_ends": (),
        "by_vector": False,
        "rest": None,
    }


def _words(isa: VectorIsa) -> str:
    return f"{isa.name}: vectors of {isa.lanes} {isa.number}s" if isa.lanes > 1 else "plain C99"


def _cpu_has(name: str, feature: str) -> str:
    """A call of frame.j2's function, which asks the CPU and the operating system."""
    if feature in HWCAP:
        return f"{name}_cpu_has({HWCAP[feature]})"
    leaf, part, register, bit, saved = CPUID[feature]
    return f"{name}_cpu_has({leaf}, {part}, {register}, {bit}, 0x{saved:02x})"


def times(var: str, step: int) -> str:
    """``var * step`` as a person writes it."""
    return var if step == 1 else f"{var} * {step}"


def plane_of(spec: ConvSpec, step: int) -> str:
    """What a unit's plane adds to an address; nothing where outputs have one plane."""
    return f" + {times('plane', step)}" if spec.od > 1 else ""


def weight_at(spec: ConvSpec, p: Packing, row: str, column: str, channel: str) -> str:
    """Where a weight lies among the caller's: of a packed row and column of taps, an input channel
    ``ic`` of its group, and an output channel of all groups."""
    if p.rows:  # packed in another order: tables of the caller's
        taps = [f"down[{row}]", f"across[{column}]"]
    else:
        taps = [times(row, p.w_kh), times(column, p.w_kw)]
    out = [times(channel, p.w_oc)]
    if p.w_group != spec.ocg * p.w_oc and spec.groups > 1 and spec.ocg > 1:
        inside = f"{channel} % {spec.ocg}"
        inside = inside if p.w_oc == 1 else f"{inside} * {p.w_oc}"
        out = [f"{channel} / {spec.ocg} * {p.w_group}", inside]
    elif p.w_group != spec.ocg * p.w_oc and spec.groups > 1:
        out = [times(channel, p.w_group)]
    return " + ".join((*taps, times("ic", p.w_ic), *out))


def plus(offset: int) -> str:
    """``" + offset"``, nothing for 0."""
    return f" + {offset}" if offset else ""


def block_of(channel: str, lanes: int, block_stride: int, side: int = 1) -> str:
    """The address of a channel's block in packed order, plus its lane inside the block."""
    if lanes == 1:
        return f"{channel} * {block_stride}"
    return f"{channel} / {lanes} * {block_stride} + {times(f'{channel} % {lanes}', side)}"

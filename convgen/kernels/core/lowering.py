"""8-bit kernels of microcontrollers: sums in core registers, several products a step.

Which step a layer takes, how large a tile the few registers hold, and what a call costs in
instructions, of which such a core starts one or two a cycle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from convgen.kernels.face import Cost
from convgen.plan.kernel import Body, KernelPlan
from convgen.plan.packing import Loop
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target
from convgen.target.arm.core import CoreStep
from convgen.target.isa import VectorIsa
from convgen.target.plain import PLAIN

_HEIGHTS = (1, 2, 3)
_LOOP, _TILE, _OUTPUT = 3, 40, 30  # instructions: of a loop's round, around a tile, of an output


def serves(spec: ConvSpec, target: Target) -> bool:
    """Whether this layer's kernel sums in core registers there."""
    return spec.quantized and target.core_registers > 0


def run_of(spec: ConvSpec, loops: tuple[Loop, ...]) -> int:
    """The most inputs that lie side by side, as their weights do; 0 where none do."""
    if not loops or (loops[-1].x_step, loops[-1].w_step) != (1, 1):
        return 0
    return {"k": spec.kw * spec.icg, "kw": spec.kw, "ic": spec.icg}[loops[-1].var]


def step_of(spec: ConvSpec, target: Target, loops: tuple[Loop, ...]) -> CoreStep | None:
    """The widest step that the layer can take, None for one product a step."""
    if not serves(spec, target):
        return None
    run, shifted = run_of(spec, loops), _shifted(spec)
    fitting = (d for d in target.core_steps if run >= d.least and (d.centred or not shifted))
    return next(fitting, None)


def step_words(plan: KernelPlan) -> str:
    """How many products a step has, and why no more; "" where no other step is to be had."""
    spec, target, step = plan.spec, plan.target, plan.step
    if not serves(spec, target):
        return ""
    if not target.core_steps:
        return "steps of one product: this core has none of several"
    widest = target.core_steps[0]
    if step is None:
        least = min(step.least for step in target.core_steps)
        return f"steps of one product: fewer than {least} inputs and weights lie side by side"
    words = f"steps of {step.depth} products ({step.name})"
    if step != widest:
        words += f", for {widest.name} knows no zero points of weights"
    return words


def most_pixels(step: CoreStep | None, vectors: int, registers: int) -> int:
    """The most pixels whose sums, held values and pointers keep to the registers."""
    fitting = (m for m in range(1, registers) if _needed(step, m, vectors) <= registers)
    return max((m for m in fitting if step is None or m * vectors <= step.sums), default=1)


def _needed(step: CoreStep | None, pixels: int, vectors: int) -> int:
    """Sums, the fewer of inputs and weights, one of the others, two pointers and a counter."""
    held = 1 if step is None else step.held
    return pixels * vectors + held * (min(pixels, vectors) + 1) + 3


def candidates(spec: ConvSpec, step: CoreStep | None, target: Target) -> Iterator[Schedule]:
    """Every tile that the registers hold."""
    registers = target.core_registers
    for vectors in range(1, min(registers, spec.ocg) + 1):
        if _needed(step, 1, vectors) > registers or (step and vectors > step.sums):
            return
        most = most_pixels(step, vectors, registers)
        for height in _HEIGHTS:
            for width in range(1, most // height + 1):
                yield Schedule(Family.DIRECT, PLAIN.lanes, height, width, vectors)


def cost(plan: KernelPlan) -> Cost:
    """Instructions of every tile: its steps, its outputs, and what stands around them."""
    assert not plan.fat
    loops, cycles = _loops(plan), 0.0
    for region in plan.regions:
        mr, nv, area = region.tile.pixels, region.tile.vectors, region.area
        rows = area.kd_taps * area.kh_taps
        run = area.kw_taps * plan.packing.ic
        if loops and loops[-1].var == "ic":  # a run is what one pixel holds
            rows, run = area.taps, plan.packing.ic
        tile = _TILE + mr * nv * _OUTPUT + rows * (2 * _LOOP + _steps(plan, mr, nv, run))
        sums = 0 if plan.step is None or plan.step.centred else rows * (run / plan.step.depth + 2)
        row = _TILE + nv * (12 + 4 * sums) + region.col_tiles * tile
        cycles += row * region.row_tiles * area.planes * region.blocks
    return Cost(cycles * plan.view.groups * plan.spec.batch, "instructions")


def _loops(plan: KernelPlan) -> tuple[Loop, ...]:
    assert isinstance(plan.body, Body)
    return plan.body.loops


def _steps(plan: KernelPlan, pixels: int, vectors: int, run: int) -> float:
    """Instructions for ``run`` products of each of a tile's sums."""
    spec, step = plan.spec, plan.step
    assert spec.quant is not None
    folded = step is None and plan.schedule.tile_h * plan.schedule.tile_w > plan.schedule.vectors
    inputs = pixels * (2 if spec.quant.x_zero and not folded else 1)
    weights = vectors * (2 if _shifted(spec) else 1)
    single = inputs + weights + pixels * vectors + _LOOP
    if step is None:
        return run * single
    several = step.load * (pixels + vectors) + step.product * pixels * vectors
    steps, rest = divmod(run, step.depth)
    last = (several + vectors + 2) * (rest > 0)
    if step.centred and (steps == 0 or _shifted(spec)):
        last = rest * single
    return steps * (several + _LOOP) + last


def _shifted(spec: ConvSpec) -> bool:
    assert spec.quant is not None
    return any(spec.quant.weight.zero_point)


def narrowed(target: Target) -> Target:
    """The target with core registers for its only ones."""
    return replace(target, isas=(replace(PLAIN, registers=target.core_registers),))


def most(step: CoreStep | None, isa: VectorIsa, vectors: int) -> int:
    """``most_pixels`` as ``tiled_plan`` asks for it, of ``narrowed``'s registers."""
    return most_pixels(step, vectors, isa.registers)

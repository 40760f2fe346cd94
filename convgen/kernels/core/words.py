"""Words of a step of several products: how a run is cut, and what its loads are called."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.ctext.body import times
from convgen.plan.kernel import Body, KernelPlan
from convgen.target.arm.core import CoreStep, model


@dataclass(frozen=True)
class StepText:
    """What core_step.j2 prints: ``isa``, its plain C ``model``, the operations called.

    A run of inputs, ``run`` long, is ``rounds`` of ``unrolled`` whole steps each and ``rest``
    inputs, all C text, "0" where there are none; ``counted``: these hang on the region. The rest is
    one step under a mask (``part``), or one that begins before it, where weights that were met
    already count as 0 (``tail``), else one product after the other. ``short``: a run may be too
    short for a step. ``x_zeros``, ``w_zeros``: what the loads subtract, C text, "" for nothing;
    the formats ``load_*``, ``part_*`` and ``tail_w`` take a pointer and, for weights, the name of
    their zero point.
    """

    isa: CoreStep
    model: CoreStep
    prefix: str
    names: tuple[str, ...]
    run: str
    rounds: str
    unrolled: tuple[int, ...]
    rest: str
    counted: bool
    part: bool
    tail: bool
    short: bool
    x_zeros: str
    w_zeros: str
    load_x: str
    load_w: str
    part_x: str
    part_w: str
    tail_w: str


@dataclass(frozen=True)
class _Cut:
    run: str
    rounds: str
    unrolled: int
    rest: str
    counted: bool
    short: bool


def step_text(plan: KernelPlan, body: Body, by_channel: bool) -> StepText | None:
    """``by_channel``: each output channel has a zero point of its weights."""
    step, quant = plan.step, plan.spec.quant
    if step is None:
        return None
    assert quant is not None
    sign = "s" if plan.spec.dtype == "int8" else "u"
    x_zero, w_zero = quant.x_zero, quant.weight.zero_point[0]
    cut = _cut(plan, body, step.depth)
    x_less = "_less" if step.centred and x_zero else ""
    w_less = "_less" if step.centred and (by_channel or w_zero) else ""
    tail = step.centred and not w_less and cut.rest != "0"
    load_x, load_w = f"load_{sign}8{x_less}", f"load_s8{w_less}"
    names = {"dot"}
    names |= {load_x, load_w} if cut.rounds != "0" else set()
    names |= {load_x, "tail_s8"} if tail else set()
    names |= {f"part_{sign}8", "part_s8"} if cut.rest != "0" and not step.centred else set()
    names |= {"zeros"} if x_less or w_less else set()
    names |= {"total"} if step_sum_zero(plan) else set()
    v = step.prefix
    return StepText(
        isa=step,
        model=model(step),
        prefix=v,
        names=tuple(op.name for op in step.operations if op.name in names),
        run=cut.run,
        rounds=cut.rounds,
        unrolled=tuple(range(cut.unrolled)),
        rest=cut.rest,
        counted=cut.counted,
        part=not step.centred,
        tail=tail,
        short=cut.short,
        x_zeros=str(x_zero) if x_less else "",
        w_zeros=str(w_zero) if w_less and not by_channel else "",
        load_x=f"{v}_{load_x}({{0}}{', x_zeros' if x_less else ''})",
        load_w=f"{v}_{load_w}({{0}}{', {1}' if w_less else ''})",
        part_x=f"{v}_part_{sign}8({{0}}, rest)",
        part_w=f"{v}_part_s8({{0}}, rest)",
        tail_w=f"{v}_tail_s8({{0}}, rest)",
    )


def step_sum_zero(plan: KernelPlan) -> int:
    """The zero point that goes through the sum of the weights, less what loads subtract; or 0."""
    step, quant = plan.step, plan.spec.quant
    assert step is not None and quant is not None
    if step.centred:
        return 0
    return quant.x_zero - (step.offset if plan.spec.dtype == "uint8" else 0)


def _cut(plan: KernelPlan, body: Body, depth: int) -> _Cut:
    """Two steps a round where there is always an even number of them."""
    ic = plan.packing.ic
    whole, rest = divmod(ic, depth)
    if rest == 0:  # however many taps there are
        unrolled = 2 if whole % 2 == 0 else 1
        rounds = str(whole // unrolled)
        if body.loops[-1].var != "ic":
            rounds = times("kw_taps", whole // unrolled)
        return _Cut("", rounds, unrolled, "0", False, False)
    if body.loops[-1].var == "ic":
        return _Cut(str(ic), str(whole), 1, str(rest), False, False)
    run, most = times("kw_taps", ic), plan.packing.kw * ic
    rounds = "0" if most < depth else f"run / {depth}"
    return _Cut(run, rounds, 1, f"run % {depth}", True, ic < depth)

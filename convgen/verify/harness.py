"""The program that a proof is about: it calls a kernel in every way, on arrays of exact size.

What is read of a volatile object can be any value of its type, so one run stands for all contents.
"""

from __future__ import annotations

import math
from enum import StrEnum

from convgen.plan.kernel import KernelPlan
from convgen.spec.elements import ELEMENTS, arrays_of
from convgen.spec.quant import SUM_LIMIT, farthest
from convgen.spec.requantize import input_reach

FILL = "fill_biases"  # the harness's function whose rounds the prover must keep apart
TOP = 1 << 24  # what a step of a packed bias's most significant byte stands for


class Content(StrEnum):
    """What the packed array holds when the kernel runs."""

    ANY = "any"  # what pack leaves of any weights and any biases
    BOUNDED = "bounded"  # any 8-bit weights, and biases that leave every sum of them room in int32
    BAKED = "baked"  # the array of the file itself


def driver(plan: KernelPlan, content: Content = Content.ANY) -> str:
    """A C program that packs, runs, and runs any part of any split."""
    spec, name = plan.spec, plan.spec.name
    of = arrays_of(spec)
    x, w, b, y = of.x.c, of.w.c, of.b.c, of.y.c
    packed, size = plan.packed.c, plan.packed.size
    bias = f"static {b} b[{spec.oc}];" if spec.bias else f"static {b} *const b = 0;"
    fill_b = f"  for (int i = 0; i < {spec.oc}; ++i) b[i] = any_b;\n" if spec.bias else ""
    work = plan.workspace_bytes // 4
    space = f"static float workspace[{work}];" if work else "static float *const workspace = 0;"
    array, declared, call = _run_on(plan, content)
    return f"""\
#include "{name}.h"

static volatile {x} any_x;
static volatile {w} any_w;
static volatile {b} any_b;
static volatile int any_int;
static {x} x[{math.prod(spec.x_shape)}];
static {w} w[{math.prod(spec.w_shape)}];
{bias}
static {y} y[{math.prod(spec.y_shape)}];
static {packed} packed[{plan.packed_bytes // size}];
{space}
{declared}
int main(void)
{{
  for (int i = 0; i < {math.prod(spec.x_shape)}; ++i) x[i] = any_x;
  for (int i = 0; i < {math.prod(spec.w_shape)}; ++i) w[i] = any_w;
{fill_b}\
{_hints(plan)}\
  {name}_cpu_ok();
  {name}_isa();
  {name}_pack(w, b, packed);
{call}\
  {name}_run(x, {array}, y, workspace);
  {name}_run_part(x, {array}, y, workspace, any_int, any_int);
  return 0;
}}
"""


def _hints(plan: KernelPlan) -> str:
    """How often the loops over taps go round at most, where the C counts up to a variable: sums of
    8-bit layers grow with it, and EVA's widening only stops at numbers that it was told."""
    if not plan.spec.quantized:
        return ""
    taps = [region.area for body in plan.bodies for region in body.regions]
    wide = max(area.kw_taps for area in taps)
    rounds = {max(area.kh_taps for area in taps), wide, wide * plan.packing.ic}
    assert plan.sections is not None
    rounds |= plan.sections.rounds(plan.spec)
    return f'  //@ widen_hints global:"all", {", ".join(map(str, sorted(rounds)))};\n'


def _run_on(plan: KernelPlan, content: Content) -> tuple[str, str, str]:
    """The packed array that the kernel runs on; what it needs before main, and in it."""
    match content:
        case Content.ANY:
            return "packed", "", ""
        case Content.BAKED:
            return f"{plan.spec.name}_packed", "", ""
        case Content.BOUNDED:
            return "bounded", _bounded(plan), f"  {FILL}();\n"


def _bounded(plan: KernelPlan) -> str:
    """Packed 8-bit weights, the highest byte of each bias limited."""
    limit, channels = bias_limit(plan), plan.spec.oc
    assert limit is not None
    top = limit // TOP
    return f"""
static int8_t bounded[{plan.packed_bytes}];

static void {FILL}(void)
{{
  for (int oc = 0; oc < {channels}; ++oc) {{
    const int top = any_int;
    for (int i = 0; i < 3; ++i) bounded[4 * oc + i] = any_w;
    bounded[4 * oc + 3] = (int8_t)(top < -{top} || top >= {top} ? 0 : top);
  }}
  for (int i = {4 * channels}; i < {plan.packed_bytes}; ++i) bounded[i] = any_w;
}}
"""


def largest_products(plan: KernelPlan) -> int:
    """The most that the products of one output of an 8-bit layer can add up to, whatever the
    weights: multiply-adds, times the farthest input, times the farthest weight."""
    assert plan.spec.quant is not None
    weights = ELEMENTS["int8"].limits
    farthest_w = max(farthest(weights, zero) for zero in plan.spec.quant.weight.zero_point)
    return plan.packing.depth * input_reach(plan.spec) * farthest_w


def bias_limit(plan: KernelPlan) -> int | None:
    """Biases in -limit .. limit-1 leave the sums of any 8-bit weights inside int32.

    A multiple of 2^24, so that the highest byte of a bias tells. None where no such limit is, or
    where the packed biases are not bytes.
    """
    if plan.sections is None or not plan.sections.biases:
        return None
    steps = min((SUM_LIMIT - largest_products(plan)) // TOP, 127)
    return steps * TOP if steps > 0 else None

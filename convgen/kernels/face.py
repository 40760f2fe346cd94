"""The face that every algorithm family shows, and what families share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from convgen.ctext.activations import BY_LANE
from convgen.plan.kernel import KernelPlan
from convgen.plan.problem import problems_of
from convgen.plan.tile import View
from convgen.spec.model import Act, ConvSpec, DType
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target, VectorIsa
from convgen.target.floats import float_isas


@dataclass(frozen=True)
class Cost:
    """Predicted cycles of one call on one core, and what binds them."""

    cycles: float
    bound: str


class AlgorithmFamily(Protocol):
    """One way of computing convolutions. ``lower`` raises ScheduleError where it cannot."""

    @property
    def name(self) -> Family: ...

    def fits(self, spec: ConvSpec) -> bool:
        """Whether this family can compute the layer at all."""
        ...

    def candidates(self, spec: ConvSpec, target: Target) -> Iterator[Schedule]:
        """Schedules worth costing, the simplest first."""
        ...

    def floor(self, spec: ConvSpec, schedule: Schedule, target: Target) -> float:
        """Cycles that the cost of this candidate's plan is not below, found without lowering it."""
        ...

    def cost(self, plan: KernelPlan) -> Cost: ...

    def lower(self, spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan: ...


def no_floor(spec: ConvSpec, schedule: Schedule, target: Target) -> float:
    """The floor of families whose cost is not known before the plan is."""
    return 0.0


def isas_of(spec: ConvSpec, target: Target) -> tuple[VectorIsa, ...]:
    """What kernels of the layer's element type can take on this target, widest first."""
    plain = float_isas(target.isas, spec.dtype)
    if spec.quant is not None and not any(spec.quant.weight.zero_point):
        return (*target.dot_isas(spec.dtype), *plain)
    return plain


def by_lane(spec: ConvSpec) -> bool:
    """Whether the activation is one of double precision that takes each lane by itself."""
    return spec.dtype is DType.FLOAT64 and spec.activation.kind in BY_LANE


def is_depthwise(spec: ConvSpec) -> bool:
    """One filter per input channel: every channel is its own group."""
    return spec.groups == spec.c == spec.oc and spec.groups > 1


def view_of(spec: ConvSpec) -> View:
    """The layer as its arrays lie in memory; all its problems have the same strides."""
    problem = problems_of(spec)[0]
    depth, height, width = problem.axes
    return View(
        groups=problem.groups, ic=problem.ic, oc=problem.oc,
        x_image=problem.x_image, x_row=height.x_step, x_pixel=width.x_step,
        x_channel=problem.x_channel, x_group=problem.ic * problem.x_channel,
        y_image=problem.y_image, y_row=height.y_step, y_pixel=width.y_step,
        y_channel=problem.y_channel, y_group=problem.oc * problem.y_channel,
        x_plane=depth.x_step, y_plane=depth.y_step,
        sd=depth.stride, sh=height.stride, sw=width.stride,
        dd=depth.dilation, dh=height.dilation, dw=width.dilation,
    )  # fmt: skip


def flat_2d(spec: ConvSpec) -> bool:
    """Whether the layer is a convolution over rows and columns alone (1-D has one row), with its
    channels close together: what kernels with an algorithm of their own are made for."""
    return not spec.transposed and spec.rank < 3 and not (spec.x_pixel or spec.y_pixel)


_ACTIVATION_OPERATIONS: dict[Act, tuple[str, ...]] = {
    Act.NONE: (),
    Act.RELU: ("set1", "max"),
    Act.RELU6: ("set1", "max", "min"),
    Act.LEAKY_RELU: ("set1", "mul", "max", "min"),
    Act.CLIP: ("set1", "max", "min"),
    Act.HARDSWISH: ("set1", "add", "mul", "max", "min"),
    Act.SIGMOID: ("set1", "add", "sub", "mul", "div", "fma", "max", "min", "exp2i"),
    Act.SILU: ("set1", "add", "sub", "mul", "div", "fma", "max", "min", "exp2i"),
    Act.TANH: ("set1", "mul", "div", "fma", "max", "min"),
    Act.GELU: ("set1", "mul", "div", "fma", "max", "min"),
    Act.GELU_TANH: ("set1", "mul", "div", "fma", "max", "min"),
}


def activation_operations(spec: ConvSpec) -> tuple[str, ...]:
    """Vector operations that the epilogue's template calls for this activation."""
    if by_lane(spec):
        return ("load", "store")
    operations = _ACTIVATION_OPERATIONS[spec.activation.kind]
    act = spec.activation
    if act.kind is Act.CLIP:
        limits = {"max": act.low, "min": act.high}
        return tuple(op for op in operations if limits.get(op, 0.0) is not None)
    if act.kind is Act.LEAKY_RELU:
        return tuple(op for op in operations if op != ("max" if act.alpha > 1 else "min"))
    return operations

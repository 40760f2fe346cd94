"""The registry: one line for each family of schedules, and one for each kind of body."""

from __future__ import annotations

from convgen.errors import ScheduleError
from convgen.kernels.direct import lowering as direct_family
from convgen.kernels.dots.body import DotBody
from convgen.kernels.dots.kind import KIND as DOTS
from convgen.kernels.face import AlgorithmFamily, Cost
from convgen.kernels.fat import lower_fat
from convgen.kernels.kind import Kind
from convgen.kernels.lanewise.lowering import Lanewise
from convgen.kernels.pairs.body import PairedBody
from convgen.kernels.pairs.kind import KIND as PAIRS
from convgen.kernels.planar import lowering as planar_family
from convgen.kernels.planar.body import PlanarBody
from convgen.kernels.planar.kind import KIND as PLANAR
from convgen.kernels.planes import lowering as planes_family
from convgen.kernels.planes.body import PlanesBody
from convgen.kernels.planes.kind import KIND as PLANES
from convgen.kernels.reduction import lowering as reduction_family
from convgen.kernels.reduction.body import ReductionBody
from convgen.kernels.reduction.kind import KIND as REDUCTION
from convgen.kernels.scalar.body import ScalarBody
from convgen.kernels.scalar.kind import KIND as SCALAR
from convgen.kernels.tiled.kind import KIND as TILED
from convgen.kernels.windows.body import WindowBody
from convgen.kernels.windows.kind import KIND as WINDOWS
from convgen.kernels.winograd import lowering as winograd_family
from convgen.kernels.winograd.body import WinogradBody
from convgen.kernels.winograd.kind import KIND as WINOGRAD
from convgen.plan.kernel import AnyBody, Body, KernelPlan
from convgen.spec.model import ConvSpec, DType
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target

__all__ = ["FAMILIES", "KINDS", "Cost", "cost", "kind_of", "lower", "refuse_dtype"]

FAMILIES: dict[Family, AlgorithmFamily] = {
    Family.DEPTHWISE: Lanewise(Family.DEPTHWISE, (1,)),
    Family.GROUPED: Lanewise(Family.GROUPED, (2, 4, 8)),
    Family.DIRECT: direct_family,
    Family.PLANAR: planar_family,
    Family.PLANES: planes_family,
    Family.REDUCTION: reduction_family,
    Family.WINOGRAD: winograd_family,
}

KINDS: dict[type, Kind] = {
    Body: TILED,
    PairedBody: PAIRS,
    ScalarBody: SCALAR,
    DotBody: DOTS,
    WindowBody: WINDOWS,
    PlanarBody: PLANAR,
    PlanesBody: PLANES,
    ReductionBody: REDUCTION,
    WinogradBody: WINOGRAD,
}

BUILT = tuple(DType)


def kind_of(body: AnyBody) -> Kind:
    """What the pipeline asks of this body's room."""
    return KINDS[type(body)]


def lower(spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
    """The plan of a layer under a schedule. Raises ScheduleError where it cannot be carried out."""
    refuse_dtype(spec)
    family = FAMILIES[schedule.family]
    floats = () if spec.quantized else (Family.GROUPED, Family.PLANES, Family.REDUCTION)
    others = (Family.DIRECT, Family.DEPTHWISE, *floats)
    if spec.dtype is not DType.FLOAT32 and schedule.family not in others:
        text = f"schedule: {spec.dtype} layers have no {schedule.family} kernels, only "
        raise ScheduleError(f"{text}{', '.join(others[:-1])} and {others[-1]}")
    if target.parts and not spec.quantized:
        return lower_fat(family, spec, schedule, target)
    return family.lower(spec, schedule, target)


def refuse_dtype(spec: ConvSpec) -> None:
    """Raises ScheduleError for an element type that no family computes."""
    if spec.dtype not in BUILT:
        text = f"layer {spec.name}: {spec.dtype} kernels are not generated yet, only those of"
        raise ScheduleError(f"{text} {', '.join(BUILT)}; the spec is checked, but cannot be built")


def cost(plan: KernelPlan) -> Cost:
    """Predicted cycles of a plan and what binds them."""
    return FAMILIES[plan.schedule.family].cost(plan)

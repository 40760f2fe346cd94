"""What a spec could say instead, where the model expects it to be much quicker.

Another layout, ``accuracy: fast``, or float32 in place of 8 bits: nothing that convgen may change
by itself, so it is said. Each is costed by the families that could make the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from convgen.choose.chooser import Ranking
from convgen.kernels import FAMILIES, cost
from convgen.plan.kernel import KernelPlan
from convgen.spec.model import Accuracy, ConvSpec, DType, Layout
from convgen.spec.schedule import Family
from convgen.target import Target

WORTH = 1.5  # times quicker: below it nobody is told
WORTH_WIDER = 0.95  # float32 in place of 8 bits: nobody expects it to be as quick


@dataclass(frozen=True)
class Alternative:
    """``words``: what the spec would say; ``times``: how much quicker the model expects it."""

    words: str
    times: float
    family: Family

    def __str__(self) -> str:
        how = f"{self.times:.1f}x faster" if self.times >= 1.05 else "as fast"
        return f"by the model `{self.words}` would be {how} ({self.family} kernels)"


def alternatives(plan: KernelPlan) -> tuple[Alternative, ...]:
    """Those worth a word beside this kernel of a layer."""
    spec, target, cycles = plan.spec, plan.target, cost(plan).cycles
    found = []
    if spec.layout is Layout.NCHW:
        other = replace(spec, layout=Layout.NHWC)
        found.append(("layout: NHWC", WORTH, _best(other, target, FAMILIES)))
    elif not spec.quantized:
        other = replace(spec, layout=Layout.NCHW)
        found.append(("layout: NCHW", WORTH, _best(other, target, (Family.PLANES,))))
    if spec.accuracy is Accuracy.STRICT and not spec.quantized:
        other = replace(spec, accuracy=Accuracy.FAST)
        found.append(("accuracy: fast", WORTH, _best(other, target, (Family.WINOGRAD,))))
    if spec.quantized:
        other = replace(spec, dtype=DType.FLOAT32, quant=None)
        found.append(("dtype: float32", WORTH_WIDER, _best(other, target, (Family.WINOGRAD,))))
    return tuple(
        Alternative(words, cycles / best[0], best[1])
        for words, worth, best in found
        if best is not None and cycles >= worth * best[0]
    )


def _best(
    spec: ConvSpec, target: Target, families: Iterable[Family]
) -> tuple[float, Family] | None:
    """The least predicted cycles among these families, and whose they are."""
    best = next(Ranking(spec, target, families), None)
    return None if best is None else (best.cost.cycles, best.plan.schedule.family)

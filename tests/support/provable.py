"""Generated layers before the prover: small, seeded, spread over families, element types, bodies.

As a program it proves many and counts, for ``make prove``:
``python tests/support/provable.py FIRST LAST``.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from kernels import target_of
from quant_layers import random_layer

from convgen.errors import ScheduleError
from convgen.kernels import FAMILIES, lower
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec.model import Accuracy, Act, Activation, ConvSpec, DType, Layout, Padding
from convgen.spec.quant import Rounding
from convgen.spec.schedule import Family, Schedule
from convgen.verify.evidence import BodyProof, prove_body, readings

KINDS = (
    "direct", "depthwise", "grouped", "planar", "winograd", "int8", "uint8", "float64", "float16",
    "bfloat16", "pairs",
)  # fmt: skip
PUSH = range(55)  # what every push proves


@dataclass(frozen=True)
class Provable:
    """A plan and which of its bodies is proved."""

    label: str
    plan: KernelPlan
    body: int

    def proof(self) -> BodyProof:
        reading, isa = readings(self.plan)[self.body]
        return prove_body(self.plan, render_c(self.plan), reading, isa)


def provable(seed: int) -> Provable:
    """Kinds take turns; the instruction set, geometry and schedule are drawn."""
    kind = KINDS[seed % len(KINDS)]
    rng = np.random.default_rng([seed, 50])
    for _ in range(100):
        isa = ("avx512", "avx2", "sse2", "plain")[int(rng.integers(4))]
        found = _plan(kind, isa if kind in tuple(Family) else "plain", rng, seed)
        if found is not None:
            body = int(rng.integers(len(readings(found))))
            label = f"{seed} {kind} {found.target.name} body {body}"
            return Provable(label, found, body)
    raise AssertionError(f"seed {seed}: no {kind} layer was found")


def _plan(kind: str, isa: str, rng: np.random.Generator, seed: int) -> KernelPlan | None:
    """None where the drawn schedule does not fit."""
    target = target_of("avx512bf16" if kind == "pairs" else isa)
    if kind in ("int8", "uint8"):
        rounding = list(Rounding)[int(rng.integers(3))]
        spec, family = random_layer(seed, rounding, dtype=DType(kind)).spec, Family.DIRECT
    else:
        family = Family(kind) if kind in tuple(Family) else Family.DIRECT
        spec = _spec(family, rng)
        if kind == "pairs":
            spec = replace(
                spec,
                c=2 * spec.c + seed // len(KINDS) % 2,
                dtype=DType.BFLOAT16,
                layout=Layout.NHWC,
                accuracy=Accuracy.FAST,
            )
        elif kind not in tuple(Family):
            spec = replace(spec, dtype=DType(kind))
    if family is Family.WINOGRAD:
        lanes = target.isas[0].lanes
        if isa == "plain" or spec.oc < lanes // 2:
            return None
        tile = (2 if spec.kh == 3 else 1, 2 if spec.kw == 3 else 1)
        candidates = [Schedule(family, lanes, *tile, 1, 2, 1)]
    elif FAMILIES[family].fits(spec):
        candidates = list(FAMILIES[family].candidates(spec, target))
    else:
        return None
    for index in rng.permutation(len(candidates))[:8]:
        try:
            return lower(spec, candidates[index], target)
        except ScheduleError:
            continue
    return None


def _spec(family: Family, rng: np.random.Generator) -> ConvSpec:
    def some(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    channels = some(1, 9)
    groups, c, oc = {
        Family.DEPTHWISE: (channels, channels, channels),
        Family.GROUPED: (channels, 4 * channels, 4 * channels),
        Family.PLANAR: (1, some(1, 4), some(1, 5)),
        Family.WINOGRAD: (1, some(8, 11), some(5, 20)),
    }.get(family, (1, some(1, 5), some(1, 20)))
    wino = family is Family.WINOGRAD
    kh, kw = ((3, 3), (1, 3), (3, 1))[some(0, 2)] if wino else (some(1, 3), some(1, 3))
    sh, sw, dh, dw = (1, 1, 1, 1) if wino else (some(1, 2), some(1, 2), some(1, 2), some(1, 2))
    if family is Family.PLANAR:
        dh = dw = 1
    least, most = (4, 7) if wino else (1, 9)
    return ConvSpec(
        "edge", (kh - 1) * dh + some(least, most), (kw - 1) * dw + some(least, most), c, oc, kh, kw,
        sh=sh, sw=sw, dh=dh, dw=dw, padding=Padding(*(some(0, 2) for _ in range(4))),
        groups=groups, batch=some(1, 2), bias=bool(some(0, 1)),
        activation=(Activation(), Activation(Act.RELU), Activation(Act.SIGMOID))[some(0, 2)],
        layout=Layout.NHWC if wino else list(Layout)[some(0, 1)],
        accuracy=Accuracy.FAST if wino else Accuracy.STRICT,
    )  # fmt: skip


def main() -> int:
    first, last = (int(word) for word in sys.argv[1:3])
    counts: Counter[str] = Counter()
    unproved = []
    for seed in range(first, last):
        case = provable(seed)
        found = case.proof()
        counts[f"{KINDS[seed % len(KINDS)]}: {found.sums}"] += 1
        if not found.proved:
            unproved.append(f"{case.label}: {case.plan.schedule}: {found.alarms[0]}")
    for words, count in sorted(counts.items()):
        print(f"{count:5} {words}")
    print(f"{last - first} bodies of generated layers, {len(unproved)} not proved")
    print(*unproved, sep="\n")
    return bool(unproved)


if __name__ == "__main__":
    sys.exit(main())

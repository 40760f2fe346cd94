"""Which targets have products of several bytes, and how their kernels are compiled here."""

from __future__ import annotations

import pytest
from kernels import Way

from convgen.spec.model import DType
from convgen.target import TARGETS
from convgen.target.host import cpu_features

# One target of each set of instructions: fat files have one of those, so has AVX512-BF16's target.
DOTTED = list(
    {t.dots: n for n, t in reversed(TARGETS.items()) if t.dots and t.bf16 is None}.values()
)[::-1]
X86 = [name for name in DOTTED if name.startswith("x86-64")]


def way_of(target: str, *, model: bool, cc: str = "gcc") -> Way:
    """The real instructions, or the model in their place. Skips where this CPU lacks them."""
    isa = TARGETS[target].dot_isas(DType.INT8)[0]
    missing = set(isa.features) - cpu_features()
    if not model and missing:
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
    return Way(cc, flags=("-O2", "-DEDGE_MODEL") if model else ("-O2",))

"""Every target's vectors for element types of floating point, made from its vectors of floats."""

from __future__ import annotations

from functools import cache

from convgen.spec.model import DType
from convgen.target import doubles
from convgen.target.halves import sixteen
from convgen.target.isa import VectorIsa
from convgen.target.x86.halves import QUICK


@cache
def float_isas(isas: tuple[VectorIsa, ...], dtype: DType) -> tuple[VectorIsa, ...]:
    """What layers of this element type take, widest first, plain C last: of the instruction sets
    of a target, those that have it."""
    *vectors, plain = isas
    match dtype:
        case DType.FLOAT32:
            return isas
        case DType.FLOAT64:
            wide = (doubles.VECTORS.get(f"{isa.name}x{isa.lanes}") for isa in vectors)
            return (*(isa for isa in wide if isa is not None), doubles.scalar(plain))
        case DType.FLOAT16 | DType.BFLOAT16:
            return tuple(
                sixteen(isa, dtype, QUICK.get((f"{isa.name}x{isa.lanes}", dtype))) for isa in isas
            )
        case _:
            return (plain,)

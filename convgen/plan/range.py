"""For which inputs and weights no step of a kernel overflows, where sums alone do not say it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Exponents of two. No step overflows while max|x| <= 2^``x``, sum|w| of a filter <= 2^``w``,
    max|x| * sum|w| <= 2^``product`` and |b| <= 2^``bias``."""

    product: int
    x: int
    w: int
    bias: int

    def __str__(self) -> str:
        return (
            f"max|x| <= 2^{self.x}, sum|w| of a filter <= 2^{self.w}, their product <= "
            f"2^{self.product} and |b| <= 2^{self.bias}"
        )

"""The quickest products of narrow numbers of a core, for its measured peaks: which instructions.

VNNI's vpdpbusd multiplies four bytes by four and adds the products to an int32 in one go. Without
it bytes are widened to 16 bits, and pmaddwd makes an int32 of two products, which one more
instruction adds. (pmaddubsw multiplies twice as many, but saturates: no exact layer can use it.)
AVX512-BF16's vdpbf16ps adds two products of bfloat16 numbers to a float.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convgen.target import Target
from convgen.target.host import cpu_features


@dataclass(frozen=True)
class Products:
    """One step of sums ``acc`` over vectors ``a`` and ``b``, as a C statement in GNU's assembler.

    ``bytes``: of a vector; ``products``: multiply-adds of a step; ``sums``: accumulators that hide
    its latency. ``spare``: it uses a vector ``t``. ``named``: only for targets whose own
    instructions include it.
    """

    name: str
    bytes: int
    products: int
    sums: int
    ctype: str
    step: str
    features: tuple[str, ...]
    spare: bool = False
    header: str = "immintrin.h"
    named: bool = False

    @property
    def attribute(self) -> str:
        return f'target("{",".join(self.features)}")'

    @property
    def ints(self) -> int:
        """int32 of a vector."""
        return self.bytes // 4


# In assembler: compilers copy the accumulator of the intrinsic, and would take a product of two
# vectors that never change out of the loop.
_DOT = '__asm__("vpdpbusd %2, %1, %0" : "+v"({acc}) : "v"(a), "v"(b));'
_DOT_VEX = '__asm__("%{{vex%}} vpdpbusd %2, %1, %0" : "+x"({acc}) : "x"(a), "x"(b));'
_THREE = (
    '__asm__("vpmaddwd %3, %2, %1\\n\\tvpaddd %1, %0, %0" : "+v"({acc}), "=&v"(t) : '
    '"v"(a), "v"(b));'
)
_TWO = (
    '__asm__("movdqa %2, %1\\n\\tpmaddwd %3, %1\\n\\tpaddd %1, %0" : "+x"({acc}), "=&x"(t) : '
    '"x"(a), "x"(b));'
)
_PAIRS = '__asm__("vdpbf16ps %2, %1, %0" : "+v"({acc}) : "v"(a), "v"(b));'
BF16_PAIRS = Products(
    "avx512 vdpbf16ps", 64, 32, 16, "__m512i", _PAIRS, ("avx512f", "avx512bf16"), named=True
)
# Of 8-bit numbers, quickest first.
PRODUCTS = (
    Products("avx512 vpdpbusd", 64, 64, 16, "__m512i", _DOT, ("avx512f", "avx512vnni"),
             named=True),
    Products("avx512 vpmaddwd", 64, 32, 12, "__m512i", _THREE, ("avx512f", "avx512bw"), True),
    Products("avx vpdpbusd", 32, 32, 12, "__m256i", _DOT_VEX, ("avx2", "avxvnni"), named=True),
    Products("avx2 vpmaddwd", 32, 16, 8, "__m256i", _THREE, ("avx2",), True),
    Products("sse2 pmaddwd", 16, 8, 8, "__m128i", _TWO, ("sse2",), True),
)  # fmt: skip


def products_of(target: Target, features: Set[str] | None = None) -> Products | None:
    """The quickest that this CPU has and that is no wider than the target's vectors.

    ``features``: of the CPU, this one's without them. None off x86-64.
    """
    have = cpu_features() if features is None else features
    own = {feature for isa in target.isas for feature in isa.features} | set(target.dots)
    width = 4 * target.isa.lanes
    for way in PRODUCTS:
        named = not way.named or set(way.features) <= own
        if way.bytes <= width and named and set(way.features) <= have:
            return way
    return None


def pairs_of(target: Target) -> Products | None:
    """Products of bfloat16 numbers, where the target has them and this CPU as well."""
    there = target.bf16 is not None and set(BF16_PAIRS.features) <= cpu_features()
    return BF16_PAIRS if there else None


def source(way: Products) -> str:
    """The C of the loop: ``machine_products(factors, sums, count)``."""
    from convgen.render.environment import environment

    return environment().get_template("bench/products.c.j2").render(way=way)


def compiled(way: Products, cc: str | None = None) -> Any:
    """The loop as a function of (address of factors, address of sums, count).

    Raises ``ToolchainError``.
    """
    from convgen.toolchain import Unit, compile_shared, find_compiler

    with tempfile.TemporaryDirectory(prefix="convgen-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "products.c").write_text(source(way), encoding="utf-8")
        made = compile_shared(find_compiler(cc), Path(folder), [Unit("products.c")], "products.so")
        loop = ctypes.CDLL(str(made.library)).machine_products
    loop.argtypes, loop.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long), None
    return loop

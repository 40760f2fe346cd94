"""Products of pairs of bfloat16 numbers, summed in float32: AVX512-BF16's vdpbf16ps.

Each lane of such a vector holds one float32 sum. One instruction adds the products of two input
channels to it, the second one's first, each as a fused multiply-add that rounds to nearest even:
what float32 vectors do in two, but for numbers below 2^-126, which count as 0 wherever they are
met, read or made (Intel's manual, volume 2, VDPBF16PS; MXCSR is not asked). ``vcvtneps2bf16``, by
which outputs are stored, does the same. So these vectors serve layers of ``accuracy: fast`` only.

    pair(p)        IN: p[0] and p[1] for every lane
    single(p)      IN: p[0] and 0 for every lane
    weights(p)     W: two weights of every lane, [lane][2]
    dot(a, b, c)   V: c plus both products of each lane
    load(p)        V: the second number of each lane's two, [lane][2]: how biases are packed

The others are those of ``isa.py``. Plain C on this packing takes weights and inputs one by one.
"""

from __future__ import annotations

from dataclasses import replace

from convgen.spec.model import DType
from convgen.target.halves import NARROW, WIDEN
from convgen.target.isa import OPERATIONS, VectorIsa, model, shaped
from convgen.target.plain import PLAIN
from convgen.target.x86.vectors import AVX512

SIDE = 2  # input channels of one lane
_SHAPES = {
    "widen": ("uint16_t bits", "float"),
    "narrow": ("float real", "uint16_t"),
    "flush": ("float real", "float"),
    "load": ("const uint16_t *p", "V"),
    "pair": ("const uint16_t *p", "IN"),
    "single": ("const uint16_t *p", "IN"),
    "weights": ("const uint16_t *p", "W"),
    "dot": ("IN a, W b, V c", "V"),
    "repeat": ("const uint16_t *p", "V"),
    "store": ("uint16_t *p, V a", "void"),
    "store_part": ("uint16_t *p, V a, int n", "void"),
}
# The intrinsics of products want a vector type whose elements compilers do not agree upon, and
# would copy accumulators; in assembly neither matters.
_PRODUCTS = '__asm__("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));\n  return c;'
_HALVES = '__m256i h;\n  __asm__("vcvtneps2bf16 %1, %0" : "=v"(h) : "v"(a));\n  '
_AVX512 = {
    "load": "_mm512_loadu_ps((const float *)p)",  # a bias after 16 zero bits is that float
    "pair": "int32_t both;\n  memcpy(&both, p, sizeof both);\n  return _mm512_set1_epi32(both);",
    "single": "_mm512_set1_epi32(p[0])",
    "weights": "_mm512_loadu_si512(p)",
    "dot": _PRODUCTS,
    "store": f"{_HALVES}_mm256_storeu_si256((__m256i *)p, h);",
    "store_part": f"{_HALVES}_mm256_mask_storeu_epi16(p, (__mmask16)((1u << n) - 1u), h);",
}
_FEATURES = ("avx512f", "avx512bw", "avx512vl", "avx512bf16")
_KNOWN = "(defined(__clang__) ? __clang_major__ >= 9 : __GNUC__ >= 10)"


def _with(isa: VectorIsa, bodies: dict[str, str]) -> VectorIsa:
    """Its operations on floats, without those that read weights or store; and these."""
    single = isa.lanes == 1  # a weight is a float there
    names = {"IN": f"{isa.prefix}_in", "W": isa.prefix if single else f"{isa.prefix}_w"}

    def named(text: str) -> str:
        for word, full in names.items():
            text = text.replace(f"{word} ", f"{full} ")
        return text

    own = tuple(
        replace(
            op,
            params=named(op.params),
            result=names.get(op.result, op.result),
            body=named(op.body.replace("{v}", isa.prefix)),
        )
        for op in shaped(isa.prefix, bodies, _SHAPES)
    )
    kept = set(OPERATIONS) - {"load", "load_part", "store", "store_part"}
    base = tuple(op for op in isa.operations if op.name in kept)
    return replace(isa, operations=(*base, *own))


def _model(lanes: int) -> dict[str, str]:
    """In double precision a product is exact and its sum rounded far below a float32's last bit:
    what is then rounded to float32 is as if it had been rounded once."""
    each = f"for (int i = 0; i < {lanes}; ++i)"
    step = (
        "      const double x = {v}_flush({v}_widen(a.value[d]));\n"
        f"      const double w = {{v}}_flush({{v}}_widen(b.value[{SIDE} * i + d]));\n"
        "      r.lane[i] = {v}_flush((float)(x * w + r.lane[i]));\n"
    )
    return {
        "widen": WIDEN[DType.BFLOAT16],
        "narrow": f"real = {{v}}_flush(real);\n  {NARROW[DType.BFLOAT16]}",
        "flush": "const float least = 1.17549435e-38f; /* 2^-126 */\n"
        "  return real < least && real > -least ? real * 0.0f : real;",
        "load": f"V r = {{{{0}}}};\n  {each} r.lane[i] = {{v}}_widen(p[{SIDE} * i + 1]);\n"
        "  return r;",
        "pair": "IN r;\n  memcpy(r.value, p, sizeof r.value);\n  return r;",
        "single": "IN r = {{0}};\n  r.value[0] = p[0];\n  return r;",
        "weights": "W r;\n  memcpy(r.value, p, sizeof r.value);\n  return r;",
        "dot": f"V r = c;\n  {each} {{\n    r.lane[i] = {{v}}_flush(r.lane[i]);\n"
        f"    for (int d = {SIDE - 1}; d >= 0; --d) {{\n{step}    }}\n  }}\n  return r;",
        "store": f"{each} p[i] = {{v}}_narrow(a.lane[i]);",
        "store_part": "for (int i = 0; i < n; ++i) p[i] = {v}_narrow(a.lane[i]);",
    }


AVX512_BF16 = replace(
    _with(AVX512, _AVX512),
    name="avx512bf16",
    attribute=f'target("{",".join(_FEATURES)}")',
    features=_FEATURES,
    condition=f"{AVX512.condition} && {_KNOWN}",
    depth=SIDE,
    latency=6,  # Zen 5
    flushes=True,
    types=(("in", "__m512i"), ("w", "__m512i")),
    modelled=replace(
        _with(model(AVX512), _model(AVX512.lanes)),
        types=(
            ("in", f"struct {{\n  uint16_t value[{SIDE}];\n}}"),
            ("w", f"struct {{\n  uint16_t value[{SIDE * AVX512.lanes}];\n}}"),
        ),
    ),
)
PLAIN_BF16 = _with(
    PLAIN,
    {
        "widen": WIDEN[DType.BFLOAT16],
        "narrow": NARROW[DType.BFLOAT16],
        "load": "{v}_widen(p[1])",
        "weights": "{v}_widen(p[0])",
        "repeat": "{v}_widen(p[0])",
        "store": "p[0] = {v}_narrow(a)",
        "store_part": "if (n > 0) p[0] = {v}_narrow(a);",
    },
)

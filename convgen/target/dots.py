"""Vector operations of 8-bit kernels, in the manner of ``isa.py``: C snippets with one meaning.

V holds one int32 sum a lane. Sums wrap: what a layer's weights promise is that the last one is in
range (``convgen/spec/requantize.py``), so those before it may leave int32 and come back.

    sums(p)            V: int32 numbers as four bytes each, the least significant first
    sub(a, b)          V, as in C
    quad(p)            IN: the ``depth`` inputs from p on, each plus ``offset``, for every lane
    weights(p)         W: ``depth`` weights of every lane, [lane][depth]
    dot(a, b, c)       V: c plus the ``depth`` products of each lane
    each(p)            IN: input p[i] for lane i; each_part(p, n): the lanes from n on 0
    taps(p)            W: one weight for each lane
    product(a, b, c)   V: c plus the one product of each lane, of each(p) and taps(p)
    tall(p, q, r, s)   IN: p[i], q[i], r[i], s[i] for lane i, each plus ``offset``
    tall_part(p, q, r, s, n)
                       the same; the lanes from n on any
    deep(a, b, c)      V: c plus the four products of each lane, of tall(...) and weights(p)
    reals(p)           R: a float32 for every lane
    rescale(a, s)      V: lane i times its s in float32, rounded half to even
    rescale_within(a, s, low, high)
                       the same, no less than low and no more than high before it is rounded
    reduce(a, f, t, by)
                       V: lane i times f[i], plus t of it, in 64 bits; the floor of its 2^-32, then
                       the floor of that times 2^-by[i]. t holds the even lanes' addends first.
                       ``reduce_signed``: 2^31 is taken from what is added to lanes below 0
    stairs(a, f, b, t) V: the floor of a lane times f plus (it times b plus t), the lane and the
                       bracket rounded to float32, nothing else, for results within 2^22.
                       ``stairs_signed``: 1 - t for lanes below 0
    add1(a, s) max1(a, s) min1(a, s)
                       V: every lane with s
    narrow(p, a)       the lanes as bytes, saturated; narrow_part(p, a, n): n of them
    narrow4(p, q, r, s, a, b, c, d, zero, low, high)
                       lanes of a to p, of b to q and so on, each plus zero without overflow, no
                       less than low and no more than high, which the type holds
    spill(p, a)        the lanes as they are

An instruction set may do without the operations of ``OPTIONAL``.
"""

from __future__ import annotations

from dataclasses import dataclass

from convgen.target.isa import Operation, VectorIsa

OPTIONAL = {"tall", "tall_part", "deep", "narrow4", "stairs", "stairs_signed"}


@dataclass(frozen=True)
class DotIsa(VectorIsa):
    """Of one element type of the input. ``offset``: what ``quad`` adds to it."""

    offset: int = 0


def shapes(x: str) -> dict[str, tuple[str, str]]:
    """Parameters and result of every operation, for inputs of C type ``x``."""
    four = ", ".join(f"const {x} *{p}" for p in "pqrs")
    return {
        "sums": ("const int8_t *p", "V"),
        "sub": ("V a, V b", "V"),
        "quad": (f"const {x} *p", "IN"),
        "weights": ("const int8_t *p", "W"),
        "dot": ("IN a, W b, V c", "V"),
        "each": (f"const {x} *p", "IN"),
        "each_part": (f"const {x} *p, int n", "IN"),
        "taps": ("const int8_t *p", "W"),
        "product": ("IN a, W b, V c", "V"),
        "tall": (four, "IN"),
        "tall_part": (f"{four}, int n", "IN"),
        "deep": ("IN a, W b, V c", "V"),
        "reals": ("const float *p", "R"),
        "rescale": ("V a, R s", "V"),
        "rescale_within": ("V a, R s, float low, float high", "V"),
        "reduce": ("V a, const int32_t *f, const int64_t *t, const int32_t *by", "V"),
        "reduce_signed": ("V a, const int32_t *f, const int64_t *t, const int32_t *by", "V"),
        "stairs": ("V a, R f, R b, R t", "V"),
        "stairs_signed": ("V a, R f, R b, R t", "V"),
        "add1": ("V a, int32_t s", "V"),
        "max1": ("V a, int32_t s", "V"),
        "min1": ("V a, int32_t s", "V"),
        "narrow": (f"{x} *p, V a", "void"),
        "narrow_part": (f"{x} *p, V a, int n", "void"),
        "narrow4": (
            ", ".join([f"{x} *{p}" for p in "pqrs"] + [f"V {a}" for a in "abcd"])
            + ", int zero, int low, int high",
            "void",
        ),
        "spill": ("int32_t *p, V a", "void"),
    }


def table(prefix: str, x: str, bodies: dict[str, str]) -> tuple[Operation, ...]:
    """Operations by name and body: an expression, or statements that end with ; or }."""
    names = {"V": prefix, "IN": f"{prefix}_in", "W": f"{prefix}_w", "R": f"{prefix}_r"}
    found = []
    for name, (params, result) in shapes(x).items():
        if name in OPTIONAL and name not in bodies:
            continue
        text = bodies[name]
        done = text.endswith((";", "}"))
        body = text if done else f"{text};" if result == "void" else f"return {text};"
        for word, full in names.items():
            params = params.replace(f"{word} ", f"{full} ")
            body = body.replace(f"{word} ", f"{full} ")
        found.append(Operation(name, params, names.get(result, result), body))
    return tuple(found)

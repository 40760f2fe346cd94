"""One C expression for each function, and the loops around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convgen.kernels.nest import Walk, nest

CHUNK = 4096  # elements of a unit where the arrays are one run
# By function: an expression of the operands {a}, {b}, {c} and the constant {alpha}; "f" functions
# are those of <math.h>. Halves of round go to even, as ONNX has it.
FLOATS = {
    "log": "logf({a})",
    "sqrt": "sqrtf({a})",
    "rsqrt": "1.0f / sqrtf({a})",
    "erf": "erff({a})",
    "sin": "sinf({a})",
    "cos": "cosf({a})",
    "floor": "floorf({a})",
    "ceil": "ceilf({a})",
    "round": "rintf({a})",
    "sign": "{a} > 0.0f ? 1.0f : {a} < 0.0f ? -1.0f : {a}",
    "celu": "{a} > 0.0f ? {a} : {alpha} * expm1f({a} / {alpha})",
    "softplus": "{a} > 0.0f ? {a} + log1pf(expf(-{a})) : log1pf(expf({a}))",
    "softsign": "{a} / (1.0f + fabsf({a}))",
    "mish": "{a} * tanhf({a} > 0.0f ? {a} + log1pf(expf(-{a})) : log1pf(expf({a})))",
    "thresholded_relu": "{a} <= {alpha} ? 0.0f : {a}",
    "pow": "powf({a}, {b})",
}
COMPARISONS = {
    "equal": "==", "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=",
}  # fmt: skip
TRUTHS = {"not": "!{a}", "and": "{a} && {b}", "or": "{a} || {b}", "xor": "!{a} != !{b}"}
INTEGERS = {"add": "+", "sub": "-", "mul": "*"}
WRAPPING = {"int8_t": "uint32_t", "int16_t": "uint32_t", "int32_t": "uint32_t",
            "int64_t": "uint64_t", "uint8_t": "uint32_t", "uint16_t": "uint32_t",
            "uint32_t": "uint32_t", "uint64_t": "uint64_t"}  # fmt: skip


@dataclass(frozen=True)
class ApplyBody:
    """``types``: of the operands, then of y."""

    fn: str
    walk: Walk
    types: tuple[str, ...]
    alpha: float = 1.0

    template = "kernels/apply/apply.j2"
    act = None

    @property
    def headers(self) -> tuple[str, ...]:
        """Standard headers that the expression needs, beside what every file includes."""
        return ("math.h",) if "f(" in FLOATS.get(self.fn, "") else ()

    @property
    def expression(self) -> str:
        from convgen.ctext.activations import float_literal

        names = dict(zip("abc", ("a_i", "b_i", "c_i"), strict=True))
        kind = self.types[-1]
        if self.fn in COMPARISONS:
            return f"a_i {COMPARISONS[self.fn]} b_i"
        if self.fn == "where":
            return "a_i ? b_i : c_i"
        if self.fn in ("max", "min"):
            return f"a_i {'>' if self.fn == 'max' else '<'} b_i ? a_i : b_i"
        if self.fn in INTEGERS:  # wraps, where C leaves overflow undefined
            wide = WRAPPING[kind]
            return f"({kind})(({wide})a_i {INTEGERS[self.fn]} ({wide})b_i)"
        text = {**FLOATS, **TRUTHS}[self.fn]
        return text.format(**names, alpha=float_literal(self.alpha))

    @property
    def words(self) -> str:
        operands = ", ".join("abc"[: self.walk.inputs])
        return f"y = {self.fn}({operands}) in plain C"


def apply_body(
    fn: str,
    shape: Sequence[int],
    strides: Sequence[Sequence[int]],
    types: tuple[str, ...],
    alpha: float = 1.0,
) -> ApplyBody | None:
    """None where there is no such function of these types."""
    floats = set(types) == {"float"}
    whole = all(kind in WRAPPING for kind in types)
    known = (
        (fn in FLOATS and floats)
        or fn in COMPARISONS
        or fn == "where"
        or (fn in TRUTHS and set(types) == {"uint8_t"})
        or (whole and (fn in INTEGERS or fn in ("max", "min")))
    )
    if not known:
        return None
    return ApplyBody(fn, Walk(nest(shape, *strides), CHUNK, len(strides) - 1), types, alpha)

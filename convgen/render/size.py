"""How much machine code a kernel will be: counted in its text, before any compiler has seen it.

Templates write out every operation of a tile, and inlined functions are the only calls between
them, so the code grows with the operations in the text once calls are replaced by what they call.
"""

from __future__ import annotations

import re
from collections import Counter

from convgen.ctext.parts import parts_of, scoped
from convgen.kernels import kind_of
from convgen.kernels.dots.body import DotBody
from convgen.kernels.tiled.kind import KIND as TILED
from convgen.kernels.windows.body import WindowBody
from convgen.plan.kernel import AnyBody, KernelPlan
from convgen.render.environment import environment
from convgen.render.head import plan_text
from convgen.render.source import render_c

# Bytes of x86 code for each, fitted to what gcc 12 -O2 made of 570 kernels for four instruction
# sets; MARGIN brings the estimate above all of them but one in a hundred. Broadcasts and loads are
# often part of the multiply-add; scalar ones seldom are.
_VECTOR = {
    "fma": 8.0, "load": 2.0, "set1": 3.0, "load_part": 10.0, "store": 8.0, "store_part": 15.0,
    "index": 3.5, "function": 380.0,
}  # fmt: skip
_SCALAR = {"fma": 0.5, "load": 0.5, "set1": 12.5, "store": 11.0, "index": 9.5, "function": 100.0}
_OTHER_VECTOR, _OTHER_SCALAR = 6.5, 1.5  # any other operation
_SCATTERED = 12.0  # one lane of a vector that is stored lane by lane
_REST = 200.0  # packing, run and cpu_ok
MARGIN = 1.25

# The same for 8-bit kernels, which have templates of their own: 250 of them by gcc 12 for x86-64
# and by arm-none-eabi-gcc 12 for Cortex-M4. Most of such a kernel is what brings a sum to an
# output, once for each: "output" counts what that function calculates, wherever it is called.
_EIGHT_BITS = {
    "scalar": ({"output": 4.1, "call": 147.0}, 1.7),
    "vectors": ({"index": 16.2, "op": 3.1}, 1.7),
    "thumb": ({"index": 0.9, "op": 102.0, "output": 2.2, "call": 114.0}, 1.3),
    "thumb steps": ({"index": 6.1, "output": 4.4, "call": 39.0, "function": 10.4}, 1.3),
}  # fmt: skip
_SMALL = 400  # characters of an inlined function that counts as one operation

_ANY_FUNCTION = re.compile(r"^([^\n{};#]*?)(\w+)\(([^;{}]*)\)\n\{\n(.*?)^\}\n", re.M | re.S)
_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_WORDS = frozenset(("if", "for", "while", "return", "sizeof"))
_FUNCTION = re.compile(r"^([\w ]*?)(\w+)\(([^;{}]*)\)\n\{\n(.*?)^\}\n", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"\b([a-z]\w*)\(")
_INDEX = re.compile(r"\b\w+\[|[-+*/%<>] ")


def code_estimate(plan: KernelPlan) -> int:
    """Bytes of machine code of a layer's file, seldom too few; not a compiler's exact word.

    Other compilers and instruction sets come near it: what matters is the order among schedules.
    """
    if plan.spec.quantized:
        weights, margin = _EIGHT_BITS[_kind(plan)]
        found = eight_bit_operations(plan)
        bytes_ = sum(n * weights.get(name, 0.0) for name, n in found.items())
        return round(margin * (_REST + bytes_))
    plan = scoped(plan)
    compiled = parts_of(plan) if plan.fat else [(plan, plan.body)]
    return round(MARGIN * (_REST + sum(_code(part, body) for part, body in compiled)))


def _kind(plan: KernelPlan) -> str:
    """Which row of ``_EIGHT_BITS`` a kernel belongs to."""
    thumb = bool(plan.target.core_steps)
    if plan.step is None and not isinstance(plan.body, DotBody | WindowBody):
        return "thumb" if thumb else "scalar"
    return "thumb steps" if thumb else "vectors"


def eight_bit_operations(plan: KernelPlan) -> Counter[str]:
    """What an 8-bit kernel's text calculates, inlining done, see ``_EIGHT_BITS``."""
    text = _COMMENT.sub("", render_c(plan)[f"{plan.spec.name}.c"])
    functions = {m[2]: (m[1], m[4]) for m in _ANY_FUNCTION.finditer(text)}
    done: dict[str, Counter[str]] = {}

    def inlined(name: str) -> bool:
        return any(word in functions[name][0] for word in ("inline", "_OP ", "TILE"))

    def inside(name: str) -> Counter[str]:
        if name not in done:
            lines = functions[name][1]
            found = Counter({"index": len(_INDEX.findall(lines))})
            for callee in _CALL.findall(lines):
                if callee not in functions:
                    found["op"] += callee not in _WORDS
                elif callee.endswith("_output"):
                    found["output"] += len(_INDEX.findall(functions[callee][1]))
                elif not inlined(callee):
                    found["call"] += 1
                elif len(functions[callee][1]) < _SMALL:
                    found["op"] += 1
                else:
                    found += inside(callee)
            done[name] = found
        return done[name]

    total: Counter[str] = Counter()
    for name in functions:
        if not inlined(name):  # a function of its own in the object file
            total += inside(name)
            total["function"] += 1
    return total


def _code(plan: KernelPlan, body: AnyBody) -> float:
    lanes = body.isa.lanes
    weights, other = (_VECTOR, _OTHER_VECTOR) if lanes > 1 else (_SCALAR, _OTHER_SCALAR)
    known = {**weights, "scatter": _SCATTERED * lanes}
    return sum(n * known.get(name, other) for name, n in operations_in(plan, body).items())


def operations_in(plan: KernelPlan, of: AnyBody) -> Counter[str]:
    """How often each vector operation stands in one body of the plan, inlining done.

    "index": places where the text calculates or reads memory outside of vector operations.
    """
    # A file that is written whole has no macro of its kernel alone; its tiles have the same sizes.
    room = TILED if kind_of(of).whole else kind_of(of)
    text, body = plan_text(plan, None), room.words(plan, of)
    env = environment()
    kernel: str = env.get_template(room.template).module.body(text, body)  # type: ignore[attr-defined]
    act: str = env.get_template("activation.j2").module.activation(body, text.act, text.name)  # type: ignore[attr-defined]
    functions = {f[2]: (f[1], f[4]) for f in _FUNCTION.finditer(f"{act}\n{kernel}\n")}
    prefix = f"{body.prefix}_"
    done: dict[str, Counter[str]] = {}

    def inside(name: str) -> Counter[str]:
        if name not in done:
            lines = functions[name][1]
            found = Counter({"index": len(_INDEX.findall(lines))})
            for callee in _CALL.findall(lines):
                if callee.startswith(prefix) and callee not in functions:
                    found[callee.removeprefix(prefix)] += 1
                elif callee in functions and body.function in functions[callee][0]:
                    found += inside(callee)
            done[name] = found
        return done[name]

    total: Counter[str] = Counter()
    for name, (kind, _) in functions.items():
        if body.function not in kind:  # a function of its own in the object file
            total += inside(name)
            total["function"] += 1
    return total

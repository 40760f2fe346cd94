"""How much machine code a kernel will be: counted in its text, before any compiler has seen it.

Templates write out every operation of a tile, and inlined functions are the only calls between
them, so the code grows with the operations in the text once calls are replaced by what they call.
"""

from __future__ import annotations

import re
from collections import Counter

from convgen.ctext.parts import parts_of, scoped
from convgen.kernels import kind_of
from convgen.kernels.tiled.kind import KIND as TILED
from convgen.plan.kernel import AnyBody, KernelPlan
from convgen.render import environment
from convgen.render.head import plan_text

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

_FUNCTION = re.compile(r"^([\w ]*?)(\w+)\(([^;{}]*)\)\n\{\n(.*?)^\}\n", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"\b([a-z]\w*)\(")
_INDEX = re.compile(r"\b\w+\[|[-+*/%<>] ")


def code_estimate(plan: KernelPlan) -> int:
    """Bytes of machine code of a layer's file, seldom too few; not a compiler's exact word.

    Other compilers and instruction sets come near it: what matters is the order among schedules.
    """
    plan = scoped(plan)
    compiled = parts_of(plan) if plan.fat else [(plan, plan.body)]
    return round(MARGIN * (_REST + sum(_code(part, body) for part, body in compiled)))


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

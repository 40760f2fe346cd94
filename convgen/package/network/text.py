"""A network's C: the head, the kernels as sections of one file, the steps as one switch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from convgen import __version__
from convgen.ctext.activations import ActivationText, activation_text, float_literal
from convgen.ctext.parts import renamed
from convgen.ctext.wrap import wrapped
from convgen.kernels.softmax import SoftmaxBody
from convgen.kernels.steps import StepBody, act_operations, functions_of, is_vector
from convgen.package.network.head import (
    arguments,
    asking,
    cpu_has,
    head,
    headers,
    licence,
    macros,
    printable,
)
from convgen.package.network.program import (
    Call,
    Function,
    Program,
    packed_offset,
    pointer,
)
from convgen.package.network.unit import embedded, prefixed
from convgen.package.network.weights import ordered_weights, weight_lines
from convgen.render.environment import environment
from convgen.render.source import render_c
from convgen.spec.model import Act, Activation, DType
from convgen.target import TARGETS, VectorIsa
from convgen.target.dots import DotIsa
from convgen.target.isa import model

FUNCTION_OPERATIONS = {
    "exp": ("set1", "max", "min", "fma", "sub", "mul", "exp2i"),
    "log": ("load", "store"),
}


@dataclass(frozen=True)
class StepText:
    """One case of the switch: its calls as C statements."""

    index: int
    words: str
    calls: tuple[str, ...]


@dataclass(frozen=True)
class NetworkText:
    """What the templates of a network print."""

    name: str
    macro: str
    version: str
    head: tuple[str, ...]
    licence: tuple[str, ...]
    conditions: str
    sections: tuple[str, ...]
    headers: tuple[str, ...]
    features: str
    feature_words: str
    asking: str
    isa: str
    part_bytes: int
    weights_bytes: int
    steps: tuple[StepText, ...]
    run_params: str
    members: tuple[tuple[str, str], ...]
    argument_lines: tuple[str, ...]
    io_lines: tuple[str, ...]
    macros: tuple[tuple[str, str], ...]
    ordered: bool
    spec_id: str = field(default="")

    @property
    def shares(self) -> bool:
        return any(f"{self.name}_share(" in section for section in self.sections)

    @property
    def header_id(self) -> str:
        """A C integer that ties the files of one run together."""
        digest = hashlib.sha256(repr((self.version, self.head, self.macros)).encode())
        return f"0x{digest.hexdigest()[:8]}"


def network_files(program: Program, *, weights: bool = True) -> dict[str, str]:
    """``<net>.c``, ``<net>.h`` and, unless the weights come from a file, ``<net>_weights.c``."""
    text = network_text(program)
    files = code_files(text)
    if weights:
        lines = weight_lines(program)
        template = environment().get_template("network/weights.c.j2")
        files[f"{program.name}_weights.c"] = template.render(t=text, lines=lines)
    return files


def code_files(text: NetworkText) -> dict[str, str]:
    """``<net>.c`` and ``<net>.h``."""
    env = environment()
    return {
        f"{text.name}.{end}": wrapped(env.get_template(f"network/network.{end}.j2").render(t=text))
        for end in ("c", "h")
    }


def network_text(program: Program) -> NetworkText:
    name = program.name
    vectors = vector_isa(program)
    features = sorted(needed_features(program))
    given = list(arguments(program))
    return NetworkText(
        name=name,
        macro=name.upper(),
        version=__version__,
        head=tuple(head(program)),
        licence=tuple(licence(program)),
        conditions=condition(program),
        sections=tuple(sections(program)),
        headers=headers(program),
        features=" && ".join(cpu_has(feature, name) for feature in features),
        feature_words=f" ({', '.join(features)})" if features else "",
        asking=asking(features, name),
        isa=isa_words(program, vectors),
        part_bytes=program.plan.arena.part_bytes,
        weights_bytes=program.plan.weights_bytes,
        steps=tuple(_step_text(program, at) for at in range(len(program.steps))),
        run_params="".join(f", {declaration}" for _, declaration, _ in given),
        members=tuple((member, member) for member, _, _ in given),
        argument_lines=tuple(line for _, _, line in given),
        io_lines=tuple(f"{declaration};" for _, declaration, _ in given),
        macros=tuple(macros(program)),
        ordered=ordered_weights(program),
    )


def _step_text(program: Program, at: int) -> StepText:
    step = program.steps[at]
    lines = tuple(statement(program, at, call) for call in program.calls[at])
    nodes = ", ".join(map(printable, step.nodes[:2])) or step.name
    return StepText(at, f"{step.op.kind}: {nodes}", lines)


def statement(program: Program, at: int, call: Call) -> str:
    """The C of one call."""
    name = f"{program.name}_{call.function.name}"
    *reads, y = call.slots
    arguments = [pointer(program, slot, written=False) for slot in reads]
    decided = call.conv
    if decided is not None:
        offset = packed_offset(program, program.steps[at])
        arguments.append(f"w + {offset}" if offset else "w")
        arguments.append(pointer(program, y, written=True))
        arguments.append(_workspace(program, at, decided.plan.workspace_bytes))
        name += "_run_part"
    elif call.packed:
        body = call.function.body
        assert body is not None
        kind = body.types[-2]
        arguments.append(f"(const {kind} *)(w + {packed_offset(program, program.steps[at])})")
        arguments.append(pointer(program, y, written=True))
    else:
        arguments.append(pointer(program, y, written=True))
    whose = [] if call.scales is None else [str(call.scales)]
    text = f"{name}({', '.join([*arguments, 'part', 'parts', *whose])});"
    return text if len(text) <= 96 else text.replace(", ", ",\n        ", 1)


def _workspace(program: Program, at: int, size: int) -> str:
    if not size:
        return "NULL"
    place = program.plan.arena.workspace_at[program.steps[at].name]
    return f"part ? own : a + {place}"


# -- The kernels ------------------------------------------------------------------------------


def vector_isa(program: Program) -> VectorIsa | None:
    """The vectors of the kernels that are no convolutions, None where the target has none.

    A file for several instruction sets takes the one that every machine has.
    """
    target = program.target
    chosen = TARGETS[target.parts[-1]] if target.parts else target
    isa = chosen.isas[0]
    return isa if isa.lanes > 1 else None


def sections(program: Program) -> Iterator[str]:
    """The text of every kernel: those of steps together, then each convolution's file."""
    bodies = [f for f in program.functions if f.body is not None]
    vectors = [f for f in bodies if f.body is not None and is_vector(f.body)]
    plain = program.target.isas[-1]
    isa = vector_isa(program)
    if vectors and isa is not None:
        yield _guarded(program, vectors, isa, plain)
    elif vectors:
        yield _section(program, vectors, plain, "plain C99")
    sums = [f for f in bodies if hasattr(f.body, "lanewise")]
    whole = integer_isa(program)
    if sums and whole is not None:
        yield _integers(program, sums, whole)
    others = [f for f in bodies if f not in vectors and f not in sums]
    texts = [_kernel(program, f, isa or plain, "") for f in others]
    if texts:
        scaled: Any = environment().get_template("kernels/integer/scaled.j2").module
        done = {name for f in sums if f.body for name in functions_of(f.body)}
        found = {name for f in others if f.body for name in functions_of(f.body)}
        names = sorted(found - done)
        yield _named(program, "\n".join([*map(str, map(scaled.function, names)), *texts]))
    for function in program.functions:
        if function.conv is not None:
            plan = function.conv.plan
            text = render_c(plan)[f"{plan.spec.name}.c"]
            yield f"/* -- {function.name}: {function.words} -- */\n\n" + embedded(
                text, plan.spec.name, program.name
            )


def integer_isa(program: Program) -> DotIsa | None:
    """The vectors of int32 that 8-bit sums take, None where the target has none."""
    target = program.target
    chosen = TARGETS[target.parts[-1]] if target.parts else target
    isas = chosen.dot_isas(DType.INT8)
    return None if not isas else cast(DotIsa, renamed(isas[0], f"q{isas[0].lanes}"))


def _integers(program: Program, functions: list[Function], isa: DotIsa) -> str:
    """Kernels on vectors of int32; any other compiler takes the plain C model of them."""
    macro, v = program.name.upper(), isa.prefix.upper()
    names = sorted({name for f in functions for name in f.body.lanewise})  # type: ignore[union-attr]
    tops: Any = environment().get_template("vector.j2").module
    scaled: Any = environment().get_template("kernels/integer/scaled.j2").module
    helpers = sorted({name for f in functions if f.body for name in functions_of(f.body)})
    kernels = "\n".join(_kernel(program, f, isa, "") for f in functions)
    text = (
        f"/* -- Sums on {isa.name}: vectors of {isa.lanes} int32 -- */\n\n"
        f"#if ({isa.condition}) && !defined({macro}_MODEL) && !defined({macro}_PLAIN)\n"
        f"#include <{isa.header}>\n{tops.operations(isa, names)}#define {v}_SWEEP {isa.apart}\n"
        f"#else\n{tops.operations(model(isa), names)}#define {v}_SWEEP static\n#endif\n\n"
        f"{''.join(str(scaled.function(name)) for name in helpers)}\n{kernels}"
    )
    return _named(program, text)


def _guarded(program: Program, functions: list[Function], isa: VectorIsa, plain: VectorIsa) -> str:
    macro = program.name.upper()
    header = f"#include <{isa.header}>\n" if isa.header else ""
    v = isa.prefix.upper()
    names = _operations(functions, isa)
    tops = environment().get_template("vector.j2").module
    modelled = tops.operations(model(isa), names)  # type: ignore[attr-defined]
    real = tops.operations(isa, names)  # type: ignore[attr-defined]
    text = (
        f"#ifdef {macro}_SIMD\n\n/* -- Steps on {isa.name}: vectors of {isa.lanes} floats -- */\n\n"
        f"#ifdef {macro}_MODEL\n{modelled}#define {v}_SWEEP static\n"
        f"#else\n{header}{real}#define {v}_SWEEP {isa.apart}\n#endif\n\n"
        f"{_functions(program, functions, isa)}"
        f"#else /* plain C99, for any compiler */\n\n"
        f"{_section(program, functions, plain, '')}#endif\n"
    )
    return _named(program, text)


def _section(program: Program, functions: list[Function], isa: VectorIsa, words: str) -> str:
    names = _operations(functions, isa)
    tops = environment().get_template("vector.j2").module
    title = f"/* -- Steps in {words} -- */\n\n" if words else ""
    text = (
        f"{title}{tops.operations(isa, names)}"  # type: ignore[attr-defined]
        f"#define {isa.prefix.upper()}_SWEEP static\n\n{_functions(program, functions, isa)}"
    )
    return _named(program, text)


def _named(program: Program, text: str) -> str:
    text = re.sub(r"\b(share|scaled|scaled_once)\(", rf"{program.name}_\1(", text)
    return re.sub(r"\n{3,}", "\n\n", prefixed(text, program.name))


def _functions(program: Program, functions: list[Function], isa: VectorIsa) -> str:
    """Activations and e^x that some kernel calls, each once, then the kernels."""
    env = environment()
    acts = {act: name for f in functions if (act := _act(f)) and (name := act_name(act))}
    texts = []
    kept = any(activation_text(act).kept for act in acts)
    called = {name for f in functions if f.body is not None for name in functions_of(f.body)}
    if kept or "exp" in called:
        tops: Any = env.get_template("activation.j2").module
        texts.append(tops.keep(program.name))
    if "exp" in called:
        module: Any = env.get_template("kernels/softmax/exp.j2").module
        exp = activation_text(Activation(Act.SIGMOID)).exp
        texts.append(module.function(isa, exp, program.name))
    if "log" in called:
        module = env.get_template("kernels/norm/log.j2").module
        texts.append(module.function(isa))
    for act, name in acts.items():
        texts.append(_activation(isa, act, name, program.name))
    texts += [_kernel(program, f, isa, acts.get(_act(f) or Activation(), "")) for f in functions]
    return "\n".join(texts) + "\n"


def _act(function: Function) -> Activation | None:
    act = function.body.act if function.body is not None else None
    return None if act is None or act.kind is Act.NONE else act


def act_name(act: Activation) -> str:
    """A word for an activation with its numbers: two that differ have two functions."""
    numbers = {Act.LEAKY_RELU: (act.alpha,), Act.CLIP: (act.low, act.high)}.get(act.kind, ())
    words = (_number_word(n) for n in numbers)
    return "_".join([str(act.kind), *words])


def _number_word(value: float | None) -> str:
    if value is None:
        return "open"
    return re.sub(r"\W", "_", float_literal(value).replace("-", "m"))


def _activation(isa: VectorIsa, act: Activation, name: str, prefix: str) -> str:
    from types import SimpleNamespace

    module = environment().get_template("activation.j2").module
    words: ActivationText = activation_text(act)
    of = SimpleNamespace(prefix=isa.prefix, isa=isa)
    text: str = module.activation(of, words, prefix)  # type: ignore[attr-defined]
    return re.sub(rf"\b{isa.prefix}_act\b", f"{isa.prefix}_{name}", text)


def _kernel(program: Program, function: Function, isa: VectorIsa, act: str) -> str:
    body = function.body
    assert body is not None
    module: Any = environment().get_template(body.template).module
    name = f"{program.name}_{function.name}"
    called = f"{isa.prefix}_{act}" if act else ""
    extra = _extra(body)
    return str(module.kernel(name, body, isa, called, **extra))


def _extra(body: StepBody) -> dict[str, str]:
    if not isinstance(body, SoftmaxBody):
        return {}
    return {"beta": "" if body.beta == 1 else float_literal(body.beta)}


def _operations(functions: Iterable[Function], isa: VectorIsa) -> tuple[str, ...]:
    used: set[str] = set()
    for function in functions:
        body: Any = function.body
        used |= set(body.operations(isa.lanes))
        for name in functions_of(body):
            used |= set(FUNCTION_OPERATIONS[name])
        act = _act(function)
        if act is not None:
            used |= set(act_operations(act))
    # A kernel's text does without ``keep`` where the instruction set has no way to keep.
    return tuple(sorted(used if isa.keeps else used - {"keep"}))


def needed_features(program: Program) -> set[str]:
    """What the CPU must have: that of every kernel which does not ask for itself."""
    found: set[str] = set()
    isa = vector_isa(program)
    if isa is not None and any(f.body and is_vector(f.body) for f in program.functions):
        found |= set(isa.features)
    whole = integer_isa(program)
    if whole is not None and any(hasattr(f.body, "lanewise") for f in program.functions):
        found |= set(whole.features)
    for function in program.functions:
        if function.conv is not None and not function.conv.plan.fat:
            found |= set(function.conv.plan.body.isa.features)
    return found


def condition(program: Program) -> str:
    """Under which the compiler takes the vectors."""
    isa = vector_isa(program)
    return isa.condition if isa is not None else ""


def isa_words(program: Program, isa: VectorIsa | None) -> str:
    return "plain" if isa is None else isa.name

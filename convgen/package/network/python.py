"""The Python side of a built network: module, type stub, and the glue between it and C."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convgen import __version__
from convgen.network.graph import identifiers
from convgen.network.ops.face import Elem
from convgen.network.plan import ALIGN, Room, Slot
from convgen.package.network.program import Program, c_type
from convgen.package.network.text import isa_words, needed_features, vector_isa
from convgen.package.network.weights import ordered_weights
from convgen.render.environment import environment

RESERVED = {"out", "threads", "job", "code", "call", "kept", "bound", "views", "room", "found"}
# NumPy has no bfloat16: its bits.
NUMPY = {Elem.BFLOAT16: "uint16"}


@dataclass(frozen=True)
class ArrayText:
    """An input or output: ``name`` is the model's, as a Python literal; ``shape`` likewise."""

    name: str
    parameter: str
    member: str
    type: str
    shape: str
    dtype: str
    bytes: int
    words: str


@dataclass(frozen=True)
class GlueText:
    name: str
    macro: str
    version: str
    inputs: int
    arrays: tuple[ArrayText, ...]
    parameters: str
    arguments: str
    ordered: bool


@dataclass(frozen=True)
class StepLine:
    """A step in Python literals."""

    name: str
    kind: str
    nodes: str
    shape: str
    macs: int
    words: str


@dataclass(frozen=True)
class ModuleText:
    """What the module's templates print."""

    name: str
    version: str
    extension: str
    weights: str
    isa: str
    features: str
    public: tuple[str, ...]
    story: tuple[str, ...]
    inputs: tuple[ArrayText, ...]
    outputs: tuple[ArrayText, ...]
    steps: tuple[StepLine, ...]
    results: tuple[tuple[str, ...], ...]
    macs: int
    arena_bytes: int
    part_bytes: int
    weights_bytes: int
    align: int
    spec: tuple[str, ...]
    parameters: str
    names: str
    views: str


def glue_files(program: Program) -> dict[str, str]:
    """``<net>_glue.c`` and ``<net>_glue.h``; the header is what cffi reads, too."""
    arrays = tuple(_glue_arrays(program))
    count = len(program.inputs)
    declared = [f"{'const ' if at < count else ''}void *{a.member}" for at, a in enumerate(arrays)]
    passed = [f"(void *){a.member}" if at < count else a.member for at, a in enumerate(arrays)]
    text = GlueText(
        program.name, program.name.upper(), __version__, count, arrays,
        ", ".join(declared), ", ".join(passed), ordered_weights(program),
    )  # fmt: skip
    env = environment()
    return {
        f"{program.name}_glue.{end}": env.get_template(f"network/glue.{end}.j2").render(g=text)
        for end in ("c", "h")
    }


def _glue_arrays(program: Program) -> Iterator[ArrayText]:
    """The arrays as C has them: members of the io structure."""
    for kind, slots in (("in", program.inputs), ("out", program.outputs)):
        constant = "const " if kind == "in" else ""
        for at, slot in enumerate(slots):
            size = slot.size * slot.dtype.size
            yield ArrayText("", "", f"{kind}{at}", f"{constant}{c_type(slot)}", "", "", size, "")


def python_files(program: Program, extension: str) -> dict[str, str]:
    """``__init__.py``, ``__init__.pyi`` and ``py.typed`` around the module ``extension``."""
    text = module_text(program, extension)
    env = environment()
    names = ("__init__.py", "__init__.pyi")
    files = {name: env.get_template(f"network/{name}.j2").render(p=text) for name in names}
    return {**files, "py.typed": ""}


def weights_name(extension: str) -> str:
    """The file of weights beside the module: of one build, as the library is."""
    return f"{extension}.weights"


def module_text(program: Program, extension: str) -> ModuleText:
    arrays = tuple(_arrays(program))
    count = len(program.inputs)
    inputs, outputs = arrays[:count], arrays[count:]
    plan = program.plan
    names = [a.parameter for a in inputs]
    outs = (
        ["_view(out)"] if len(outputs) == 1 else [f"_view(out[{i}])" for i in range(len(outputs))]
    )
    public = ("ARENA_BYTES", "INPUTS", "ISA", "MACS", "OUTPUTS", "PART_BYTES", "SPEC", "STEPS")
    return ModuleText(
        name=program.name,
        version=__version__,
        extension=extension,
        weights=weights_name(extension),
        isa=isa_words(program, vector_isa(program)),
        features=", ".join(sorted(needed_features(program))) or "nothing special",
        public=(*public, "Step", "WEIGHTS_BYTES", "bind", "run", "trace"),
        story=tuple(
            f"{word}: {a.words}"
            for word, group in (("in", inputs), ("out", outputs))
            for a in group
        ),
        inputs=inputs,
        outputs=outputs,
        steps=tuple(_steps(program)),
        results=tuple(tuple(_results(program, at)) for at in range(len(program.steps))),
        macs=program.macs,
        arena_bytes=plan.arena.bytes,
        part_bytes=plan.arena.part_bytes,
        weights_bytes=plan.weights_bytes,
        align=ALIGN,
        spec=tuple(_spec(program)),
        parameters=", ".join(names),
        names=", ".join(names),
        views=", ".join([*(f"_view({name})" for name in names), *outs]),
    )


def parameters(names: Sequence[str]) -> tuple[str, ...]:
    """Python parameters for names that may be any text."""
    found = identifiers(names, RESERVED | set(keyword.kwlist))
    return tuple(
        f"x_{word}" if word[0].isdigit() else word for word in (found[name] for name in names)
    )


def _arrays(program: Program) -> Iterator[ArrayText]:
    graph = program.graph
    count = len(graph.inputs)
    if count == 1:
        words: tuple[str, ...] = ("x",)
    else:
        words = parameters(graph.inputs)
    outs = len(graph.outputs)
    words = (*words, *(["out"] if outs == 1 else [f"out[{i}]" for i in range(outs)]))
    slots = (*program.inputs, *program.outputs)
    for at, slot in enumerate(slots):
        member = f"in{at}" if at < count else f"out{at - count}"
        dtype = NUMPY.get(slot.dtype, str(slot.dtype))
        shape = repr(slot.shape)
        yield ArrayText(
            repr(slot.value),
            words[at],
            member,
            f"NDArray[np.{'bool_' if dtype == 'bool' else dtype}]",
            shape,
            dtype,
            slot.size * slot.dtype.size,
            f"{dtype} {'x'.join(map(str, slot.shape)) or 'scalar'}",
        )


def _steps(program: Program) -> Iterator[StepLine]:
    for step, calls in zip(program.steps, program.calls, strict=True):
        shape = step.writes[0].shape if step.writes else ()
        yield StepLine(
            repr(step.name), repr(step.op.kind), repr(tuple(step.nodes)), repr(tuple(shape)),
            step.macs, repr(calls[0].function.words if calls else "nothing to do"),
        )  # fmt: skip


def _results(program: Program, at: int) -> Iterator[str]:
    """What a step writes, as tuples of the table that ``trace`` reads."""
    step = program.steps[at]
    taken: set[str] = set()
    for slot in step.outputs or step.writes:
        where, offset = _place(program, slot)
        name = slot.value
        while name in taken:
            name += "'"
        taken.add(name)
        strides = tuple(stride * slot.dtype.size for stride in slot.strides)
        dtype = NUMPY.get(slot.dtype, str(slot.dtype))
        yield repr((name, where, offset, tuple(slot.shape), strides, dtype))


def _place(program: Program, slot: Slot) -> tuple[str, int]:
    """The room of a slot, by the name that ``trace`` has for it, and its byte offset there."""
    buffer = program.plan.buffers[slot.buffer]
    offset = slot.offset * slot.dtype.size
    if buffer.room is Room.OUTPUT:
        return f"output{buffer.index}", offset
    assert buffer.room is Room.ARENA, slot
    return "arena", program.plan.arena.places[slot.buffer] + offset


def _spec(program: Program) -> Iterator[str]:
    graph = program.graph
    yield f'"network": "{program.name}",'
    for key, slots in (("inputs", program.inputs), ("outputs", program.outputs)):
        arrays = {slot.value: f"{'x'.join(map(str, slot.shape))} {slot.dtype}" for slot in slots}
        yield f'"{key}": {arrays!r},'
    yield f'"rounding": "{graph.rounding}",'
    yield f'"target": "{program.target.name}",'
    yield f'"metadata": {dict(sorted(graph.metadata.items()))!r},'

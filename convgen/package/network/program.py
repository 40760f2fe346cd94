"""A network with every decision taken: which function each step calls, with which arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from convgen.errors import UsageError
from convgen.kernels.steps import StepBody
from convgen.network.graph import Graph, identifiers
from convgen.network.plan import Needs, NetworkPlan, Room, Slot, Step
from convgen.package.emit.files import TUNED, Decided, decide
from convgen.package.network.alike import groups_of, together
from convgen.package.network.bodies import uses_of
from convgen.package.network.use import C_TYPES, Use
from convgen.plan.kernel import KernelPlan
from convgen.spec.model import ConvSpec, Layer
from convgen.spec.schedule import Schedule
from convgen.target import Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convgen.package.disk.choices import Memory
    from convgen.spec.weights import Weights

OnStep = Callable[[int, int], None]
SOURCE = "<network>"
ANY = "any"  # the name under which equal convolutions are one


@dataclass(frozen=True)
class Function:
    """One C function of the network's file. ``name``: without the network's prefix."""

    name: str
    body: StepBody | None
    conv: Decided | None
    words: str


@dataclass(frozen=True)
class Call:
    """A function at work for a step: ``slots`` are its inputs, then its output.

    ``conv``: the step's own convolution; ``scales``: whose of the function's scales are its own,
    None where the function has those of one layer.
    """

    function: Function
    slots: tuple[Slot, ...]
    packed: bool = False
    conv: Decided | None = None
    scales: int | None = None


@dataclass(frozen=True, eq=False)
class Program:
    """``calls``: per step, in order. ``functions``: each once, in the order of first use."""

    name: str
    plan: NetworkPlan
    target: Target
    functions: tuple[Function, ...]
    calls: tuple[tuple[Call, ...], ...]

    @property
    def graph(self) -> Graph:
        return self.plan.graph

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.plan.steps

    @cached_property
    def inputs(self) -> tuple[Slot, ...]:
        return tuple(_whole(self, name) for name in self.graph.inputs)

    @cached_property
    def outputs(self) -> tuple[Slot, ...]:
        return tuple(_whole(self, name) for name in self.graph.outputs)

    @cached_property
    def argument_names(self) -> Mapping[str, str]:
        """Sanitised names of inputs and outputs; an input that is an output too has one of each."""
        return identifiers([*self.graph.inputs, *self.graph.outputs])

    @property
    def macs(self) -> int:
        return sum(step.macs for step in self.steps)

    @property
    def tuned(self) -> Mapping[str, Schedule]:
        """By name, the schedules that were measured quickest, where those were taken."""
        made = [call.conv for calls in self.calls for call in calls if call.conv is not None]
        return {d.plan.spec.name: d.plan.schedule for d in made if d.reason == TUNED}

    @cached_property
    def blob(self) -> memoryview:
        """The weights as the C reads them: packed for each step's kernel, or raw constants."""
        return weights_blob(self)


def _whole(program: Program, name: str) -> Slot:
    from convgen.network.plan import contiguous

    value = program.graph.values[name]
    return Slot(name, name, value.shape, contiguous(value.shape), value.dtype, value.quant)


def program_of(
    graph: Graph,
    target: Target,
    name: str | None = None,
    *,
    tuned: Mapping[str, Schedule] = MappingProxyType({}),
    memory: Memory | None = None,
    on_step: OnStep | None = None,
) -> Program:
    """Simplify, lower, decide every kernel, plan the memory.

    ``tuned``: by the names of ``layers_of``, schedules to take in the chooser's place; ``memory``:
    of choices that were made before; ``on_step`` hears how many steps of how many have their
    kernels.

    Raises ``UsageError`` for steps without a kernel, all of them in one message, and
    ``ScheduleError`` where a convolution cannot be carried out on this target.
    """
    from convgen.network import arena
    from convgen.network.fuse import simplify
    from convgen.network.lower import lower

    prefix = name or graph.name
    lowered = lower(simplify(graph))
    functions = Functions(prefix, target, lowered.graph, tuned, memory)
    made = functions.calls(lowered.steps, on_step)
    by_name = {step.name: call for step, call in zip(lowered.steps, made, strict=True)}
    plan = arena.plan(lowered, functions.needs)
    shared = scales_shared(functions.found.values())
    calls = tuple(  # the plan has an order of its own
        tuple(_joined(call, shared) for call in by_name[step.name]) for step in plan.steps
    )
    taken = {call.function.name: call.function for call in chain(*calls)}
    order = (taken[f.name] for f in functions.found.values() if f.name in taken)
    return Program(prefix, plan, target, tuple(order), calls)


class Functions:
    """The functions that steps need: equal ones once."""

    def __init__(
        self,
        prefix: str,
        target: Target,
        graph: Graph,
        tuned: Mapping[str, Schedule] = MappingProxyType({}),
        memory: Memory | None = None,
    ) -> None:
        self.prefix = prefix
        self.tuned = tuned
        self.memory = memory
        self.target = target
        self.graph = graph
        self.rounding = graph.rounding
        self.found: dict[object, Function] = {}
        self.counts: dict[str, int] = {}

    def calls(
        self, steps: Sequence[Step], on_step: OnStep | None = None
    ) -> tuple[tuple[Call, ...], ...]:
        """Raises ``UsageError`` naming every step that no kernel computes."""
        made = []
        missing = []
        for number, step in enumerate(steps):
            if on_step is not None:
                on_step(number, len(steps))
            try:
                made.append(self.of(step))
            except UsageError as error:
                missing.append(str(error))
        if missing:
            raise UsageError("\n".join(missing))
        return tuple(made)

    def of(self, step: Step) -> tuple[Call, ...]:
        if step.spec is not None:
            x, y = step.inputs[0], step.outputs[0]
            assert x is not None, step
            function = self.conv(step.spec)
            return (Call(function, (x, y), packed=True, conv=function.conv),)
        found = []
        for use in self.uses(step):
            if use.body not in self.found:
                name = self._named(step.op.kind)
                self.found[use.body] = Function(name, use.body, None, use.body.words)
            found.append(Call(self.found[use.body], use.slots, use.packed > 0))
        return tuple(found)

    def uses(self, step: Step) -> tuple[Use, ...]:
        return uses_of(step, self.rounding, self.graph, lanes=bool(self.target.dots))

    def conv(self, spec: ConvSpec) -> Function:
        """The function of a convolution: any layer of the same problem takes it."""
        key = replace(spec, name=ANY)
        if key not in self.found:
            name = self._named("conv")
            layer = Layer(replace(spec, name=f"{self.prefix}_{name}"), SOURCE)
            tuned = self.tuned.get(layer.spec.name)
            decided = decide(layer, self.target, tuned, memory=self.memory)
            self.found[key] = Function(name, None, decided, conv_words(decided.plan))
        return self.found[key]

    def needs(self, step: Step) -> Needs:
        if step.spec is None:
            return Needs(0, sum(use.packed for use in self.uses(step)))
        decided = self.conv(step.spec).conv
        assert decided is not None
        return Needs(decided.plan.workspace_bytes, decided.plan.packed_bytes)

    def _named(self, kind: str) -> str:
        number = self.counts.get(kind, 0)
        self.counts[kind] = number + 1
        return f"{kind}{number}"


def scales_shared(functions: Iterable[Function]) -> dict[str, tuple[Function, int]]:
    """By the name of each convolution whose code others take too: the one function of them all,
    and whose scales in it are its own."""
    by_name = {f.name: f for f in functions}
    decided = {name: f.conv for name, f in by_name.items() if f.conv is not None}
    found = {}
    for first, *others in groups_of(decided):
        conv = together(decided[first], (decided[name] for name in others))
        one = replace(by_name[first], conv=conv)
        found.update({name: (one, at) for at, name in enumerate((first, *others))})
    return found


def _joined(call: Call, shared: Mapping[str, tuple[Function, int]]) -> Call:
    function, scales = shared.get(call.function.name, (call.function, None))
    return replace(call, function=function, scales=scales)


def layers_of(graph: Graph, name: str | None = None) -> tuple[Layer, ...]:
    """Each distinct convolution of a network once: a layer that is called as its C function is."""
    from convgen.network.fuse import simplify
    from convgen.network.lower import lower

    prefix = name or graph.name
    specs = [replace(s.spec, name=ANY) for s in lower(simplify(graph)).steps if s.spec is not None]
    return tuple(
        Layer(replace(spec, name=f"{prefix}_conv{number}"), prefix)
        for number, spec in enumerate(dict.fromkeys(specs))
    )


def conv_words(plan: KernelPlan) -> str:
    """A convolution in a line, for the table of steps."""
    s = plan.spec
    p = s.padding
    groups = "depthwise" if s.groups == s.c > 1 else f"{s.groups} groups" if s.groups > 1 else ""
    pads = f"padding {p.top} {p.left} {p.bottom} {p.right}" if any(
        (p.top, p.left, p.bottom, p.right)
    ) else ""  # fmt: skip
    stride = f"stride {s.sh}x{s.sw}" if (s.sh, s.sw) != (1, 1) else ""
    words = [f"{s.oc} filters {s.kh}x{s.kw}x{s.icg}", stride, pads, groups]
    return ", ".join(filter(None, words))


def weights_blob(program: Program) -> memoryview:
    """Every item of the plan's weights at its offset; gaps are zeros."""
    import numpy as np

    steps = {step.name: (step, calls) for step, calls in zip(
        program.steps, program.calls, strict=True)}  # fmt: skip
    blob = np.zeros(program.plan.weights_bytes, np.uint8)
    for item in program.plan.weights:
        if not item.step:
            data = _little(program.graph.constants[item.constant])
        elif steps[item.step][0].spec is None:
            data = transposed_bytes(program.graph, steps[item.step][0])
        else:
            step, (call, *_) = steps[item.step]
            data = packed_weights(program.graph, step, call)
        flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        assert flat.size == item.bytes, item
        blob[item.offset : item.offset + item.bytes] = flat
    return blob.data.toreadonly()


def packed_weights(graph: Graph, step: Step, call: Call) -> NDArray[Any]:
    """A convolution's weights in its kernel's order."""
    from convgen.kernels.pack import pack, pack_sections
    from convgen.spec.elements import arrays_of

    assert call.conv is not None
    plan = call.conv.plan
    weights = step_weights(graph, step)
    if plan.spec.quantized:
        _refuse_overflow(plan.spec, step, weights)
    if plan.sections is not None:
        return _little(pack_sections(plan, weights))
    return _little(pack(plan.packing, weights, arrays_of(plan.spec).w))


def transposed_bytes(graph: Graph, step: Step) -> NDArray[np.uint8]:
    """A transposed convolution's weights: biases (zeros without), then HWIO."""
    import numpy as np

    assert step.weights is not None
    w = graph.constants[step.weights]
    kind = np.dtype("<i4") if w.dtype == np.int8 else np.dtype("<f4")
    b = np.zeros(w.shape[-1]) if step.bias is None else graph.constants[step.bias]
    parts = (b.reshape(-1).astype(kind), _little(np.ascontiguousarray(w)).reshape(-1))
    return np.concatenate([part.view(np.uint8) for part in parts])


def step_weights(graph: Graph, step: Step) -> Weights:
    """A convolution's constants in its spec's layout (HWIO)."""
    import numpy as np

    from convgen.spec.weights import Weights

    assert step.spec is not None and step.weights is not None
    w = np.ascontiguousarray(graph.constants[step.weights]).reshape(step.spec.w_shape)
    b = None if step.bias is None else graph.constants[step.bias].reshape(-1)
    return Weights(w, b)


def _refuse_overflow(spec: ConvSpec, step: Step, weights: Weights) -> None:
    from convgen.oracle.integers import overflowing

    channel = overflowing(spec, weights.w, weights.b)
    if channel is not None:
        raise UsageError(
            f"node {', '.join(step.nodes)}: sums of output channel {channel} may leave int32; "
            "its weights or its bias are larger than 8-bit kernels can take"
        )


def _little(array: NDArray[Any]) -> NDArray[Any]:
    """Little-endian, as every target reads it."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def c_type(slot: Slot) -> str:
    return C_TYPES[slot.dtype]


def pointer(program: Program, slot: Slot, *, written: bool) -> str:
    """The C expression of a slot's first element."""
    buffer = program.plan.buffers[slot.buffer]
    kind = c_type(slot)
    constant = "" if written else "const "
    if buffer.room in (Room.INPUT, Room.OUTPUT):
        member = f"io->{'in' if buffer.room is Room.INPUT else 'out'}{buffer.index}"
        return member if not slot.offset else f"{member} + {slot.offset}"
    if buffer.room is Room.ARENA:
        at = program.plan.arena.places[slot.buffer] + slot.offset * slot.dtype.size
        return f"({constant}{kind} *)(a{f' + {at}' if at else ''})"
    at = constant_offset(program, slot.buffer) + slot.offset * slot.dtype.size
    return f"(const {kind} *)(w{f' + {at}' if at else ''})"


def constant_offset(program: Program, name: str) -> int:
    return next(item.offset for item in program.plan.weights if item.constant == name)


def packed_offset(program: Program, step: Step) -> int:
    return next(item.offset for item in program.plan.weights if item.step == step.name)

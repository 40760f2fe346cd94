"""The weights of a network as C: bytes, and numbers of several bytes in the processor's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from convgen.package.network.program import Program

LINE_BYTES = 16  # of numbers of several bytes


@dataclass(frozen=True)
class Stretch:
    """Bytes of the blob, ``width`` of them to a number."""

    offset: int
    bytes: int
    width: int


def stretches(program: Program) -> Iterator[Stretch]:
    """What the blob holds, in order. 8-bit kernels put their biases together byte by byte, so what
    is packed for them has no numbers of several bytes."""
    steps = {step.name: (step, calls) for step, calls in zip(
        program.steps, program.calls, strict=True)}  # fmt: skip
    for item in sorted(program.plan.weights, key=lambda item: item.offset):
        if not item.step:
            width = program.graph.constants[item.constant].dtype.itemsize
            yield Stretch(item.offset, item.bytes, width)
            continue
        step, (call, *_) = steps[item.step]
        conv = call.conv
        if step.spec is not None:
            assert conv is not None
            width = 1 if conv.plan.sections is not None else conv.plan.packed.size
            yield Stretch(item.offset, item.bytes, width)
            continue
        assert step.weights is not None
        w = program.graph.constants[step.weights]
        biases = 4 * w.shape[-1]  # as transposed_bytes has them
        yield Stretch(item.offset, biases, 4)
        yield Stretch(item.offset + biases, item.bytes - biases, w.dtype.itemsize)


def ordered_weights(program: Program) -> bool:
    """Whether the blob holds numbers of several bytes, which a processor reads in its own order."""
    return any(stretch.width > 1 for stretch in stretches(program))


def weight_lines(program: Program) -> Iterator[str]:
    """The blob as C integers, a byte each; numbers of several bytes as calls of a macro, which has
    them in the processor's order."""
    blob, done = program.blob, 0
    for stretch in stretches(program):
        yield from byte_lines(blob[done : stretch.offset])
        done = stretch.offset + stretch.bytes
        data = blob[stretch.offset : done]
        if stretch.width == 1:
            yield from byte_lines(data)
            continue
        name, width, many = f"{program.name.upper()}_{stretch.width}(", stretch.width, LINE_BYTES
        for at in range(0, len(data), many):
            line = data[at : at + many]
            words = (line[i : i + width] for i in range(0, len(line), width))
            yield " ".join(f"{name}{','.join(map(str, word))})," for word in words)
    yield from byte_lines(blob[done:] or (b"" if blob else b"\0"))


def byte_lines(data: bytes | memoryview) -> Iterator[str]:
    """The bytes as C integers, 24 to a line."""
    for at in range(0, len(data), 24):
        yield ",".join(map(str, data[at : at + 24])) + ","

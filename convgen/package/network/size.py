"""What a network takes up in a program: its object file, its stack, its arena and weights."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from convgen.package.emit.size import OPTIMISE, Size
from convgen.package.network.program import Program
from convgen.package.network.text import network_files
from convgen.toolchain import (
    TIMEOUT,
    Compiler,
    Unit,
    compile_object,
    read_stack,
    sections,
    stack_flags,
)


def network_size(program: Program, compiler: Compiler, timeout: float = TIMEOUT) -> Size:
    """Compile the network's C by itself and look at the object file; nothing is kept.

    The weights are not compiled: they take the bytes that they have. ``workspace`` is the arena of
    one running part. Optimised as the compiler's command says, ``-O2`` where it does not. Raises
    ``ToolchainError``.
    """
    name, plan = program.name, program.plan
    level = () if any(word.startswith("-O") for word in compiler.command) else (OPTIMISE,)
    flags = (*program.target.flags, *level, "-std=c99", *stack_flags(compiler))
    with tempfile.TemporaryDirectory(prefix="convgen-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        for file, text in network_files(program, weights=False).items():
            (folder / file).write_text(text, encoding="utf-8", newline="\n")
        unit = Unit(f"{name}.c", flags)
        compile_object(compiler, folder, unit, timeout)
        code = sections(folder / unit.object)
        outside = (f"{name}_cpu_ok",)
        stack = read_stack(folder, name, f"{name}_run", outside) if code else None
    return Size(
        name=name,
        target=program.target.name,
        compiler=str(compiler),
        macs=program.macs,
        code=code,
        stack=stack,
        packed=plan.weights_bytes,
        baked=True,
        workspace=plan.arena.bytes,
        x=_bytes(program, program.graph.inputs),
        y=_bytes(program, program.graph.outputs),
        apart=plan.weights_bytes,
    )


def _bytes(program: Program, names: tuple[str, ...]) -> int:
    values = [program.graph.values[name] for name in names]
    return sum(math.prod(v.shape) * v.dtype.size for v in values)

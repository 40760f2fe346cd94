"""What a network takes up in a program: its object file, its stack, its arena and weights."""

from __future__ import annotations

import math

from convgen.choose.limits import NO_LIMITS, SizeLimits
from convgen.errors import LimitError
from convgen.package.emit.size import Size, object_sizes, over_limits
from convgen.package.network.program import Program
from convgen.package.network.text import network_files
from convgen.toolchain import TIMEOUT, Compiler


def network_size(program: Program, compiler: Compiler, timeout: float = TIMEOUT) -> Size:
    """Compile the network's C by itself and look at the object file; nothing is kept.

    The weights are not compiled: they take the bytes that they have. ``workspace`` is the arena of
    one running part. Optimised as the compiler's command says, ``-O2`` where it does not. Raises
    ``ToolchainError``.
    """
    name, plan = program.name, program.plan
    files = network_files(program, weights=False)
    code, stack = object_sizes(name, files, program.target, compiler, timeout)
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


def refuse_over(
    program: Program, limits: SizeLimits, compiler: Compiler | None, timeout: float = TIMEOUT
) -> Size | None:
    """The network's sizes where limits are given and a ``compiler`` for its target is here.

    Raises ``LimitError`` where it is over one: a network has no other schedules to offer. Without
    a compiler the arena alone is known, and held against the limit of the workspace.
    """
    if limits == NO_LIMITS:
        return None
    most, arena = limits.workspace_bytes, program.plan.arena.bytes
    if most is not None and arena > most:
        raise LimitError(
            f"--max-workspace-bytes {most}: {arena} bytes of workspace, the network's arena; raise "
            "the limit"
        )
    if compiler is None:
        return None
    found = network_size(program, compiler, timeout)
    if wrong := over_limits(found, limits):
        raise LimitError(f"{wrong}, as {compiler} compiles the network; raise the limit")
    return found


def _bytes(program: Program, names: tuple[str, ...]) -> int:
    values = [program.graph.values[name] for name in names]
    return sum(math.prod(v.shape) * v.dtype.size for v in values)

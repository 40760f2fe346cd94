"""What a layer takes up in a program: its object file, its stack, the arrays of a call."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.choose.ram import Ram, ram_of
from convgen.toolchain import (
    TIMEOUT,
    Compiler,
    Sections,
    Stack,
    Unit,
    compile_object,
    read_stack,
    sections,
    stack_flags,
)

if TYPE_CHECKING:
    from convgen.package.emit.files import Decided

OPTIMISE = "-O2"


@dataclass(frozen=True)
class Size:
    """Bytes, but for ``macs``. ``code``: None where the object format does not tell; ``stack``: of
    one ``run``, None where the compiler does not tell. ``workspace``: of one running part."""

    name: str
    target: str
    compiler: str
    macs: int
    code: Sections | None
    stack: Stack | None
    packed: int
    baked: bool
    workspace: int
    x: int
    y: int

    @property
    def flash(self) -> int | None:
        """What the layer adds to an image: code and constants, baked weights among them."""
        return None if self.code is None else self.code.text + self.code.rodata + self.code.data

    @property
    def ram(self) -> int | None:
        """What must be there while one ``run`` goes on: x, y, workspace and stack, the packed
        weights where they are not constants. None where part of it is not known."""
        if self.code is None or self.stack is None:
            return None
        packed = 0 if self.baked else self.packed
        variables = self.code.data + self.code.bss
        return Ram(self.x, self.y, packed, self.workspace, self.stack.bytes, variables).total


def layer_size(decided: Decided, compiler: Compiler, timeout: float = TIMEOUT) -> Size:
    """Compile the layer's C by itself and look at the object file; nothing is kept.

    For the plan's target; optimised as the compiler's command says, ``-O2`` where it does not.
    Raises ``ToolchainError``.
    """
    from convgen.package.emit.files import kernel_files

    plan = decided.plan
    spec, baked = plan.spec, decided.weights is not None
    arrays = ram_of(plan, baked, stack=0)
    level = () if any(word.startswith("-O") for word in compiler.command) else (OPTIMISE,)
    flags = (*plan.target.flags, *level, "-std=c99", *stack_flags(compiler))
    with tempfile.TemporaryDirectory(prefix="convgen-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for file, text in kernel_files(decided).items():
            (folder / file).write_text(text, encoding="utf-8", newline="\n")
        unit = Unit(f"{spec.name}.c", flags)
        compile_object(compiler, folder, unit, timeout)
        code = sections(folder / unit.object)
        outside = (f"{spec.name}_pack", f"{spec.name}_cpu_ok")
        # Beside ELF is wasm, whose stack is the engine's: what clang says of it means nothing.
        stack = read_stack(folder, spec.name, f"{spec.name}_run", outside) if code else None
    return Size(
        name=spec.name,
        target=plan.target.name,
        compiler=str(compiler),
        macs=spec.macs,
        code=code,
        stack=stack,
        packed=plan.packed_bytes,
        baked=baked,
        workspace=plan.workspace_bytes,
        x=arrays.x,
        y=arrays.y,
    )

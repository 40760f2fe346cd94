"""What a layer takes up in a program: its object file, its stack, the arrays of a call."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.choose.limits import GIVEN_FIX, SizeLimits
from convgen.choose.ram import Ram, ram_of
from convgen.errors import LimitError
from convgen.spec.schedule import Schedule
from convgen.target import Target
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
_TRIES = 8  # schedules compiled to find one that keeps to the limits


@dataclass(frozen=True)
class Size:
    """Bytes, but for ``macs``. ``code``: None where the object format does not tell; ``stack``: of
    one ``run``, None where the compiler does not tell. ``workspace``: of one running part,
    of a network its arena. ``apart``: constants in a file that was not compiled."""

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
    apart: int = 0

    @property
    def flash(self) -> int | None:
        """What the layer adds to an image: code and constants, baked weights among them."""
        if self.code is None:
            return None
        return self.code.text + self.code.rodata + self.code.data + self.apart

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
    code, stack = object_sizes(spec.name, kernel_files(decided), plan.target, compiler, timeout)
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


def object_sizes(
    name: str, files: Mapping[str, str], target: Target, compiler: Compiler, timeout: float
) -> tuple[Sections | None, Stack | None]:
    """Of ``<name>.c`` among ``files``, compiled alone, and of the stack below ``<name>_run``."""
    level = () if any(word.startswith("-O") for word in compiler.command) else (OPTIMISE,)
    unit = Unit(f"{name}.c", (*target.flags, *level, "-std=c99", *stack_flags(compiler)))
    with tempfile.TemporaryDirectory(prefix="convgen-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8", newline="\n")
        compile_object(compiler, folder, unit, timeout)
        code = sections(folder / unit.object)
        outside = (f"{name}_pack", f"{name}_cpu_ok")
        # Beside ELF is wasm, whose stack is the engine's: what clang says of it means nothing.
        return code, read_stack(folder, name, f"{name}_run", outside) if code else None


def over_limits(size: Size, limits: SizeLimits) -> str:
    """Which limits a compiled layer is over, in words; "" where it keeps to all of them."""
    found = []
    code = size.code.text if size.code else None
    for what, option, most, real in (
        ("code", "--max-code-bytes", limits.code_bytes, code),
        ("workspace", "--max-workspace-bytes", limits.workspace_bytes, size.workspace),
        ("RAM", "--max-ram-bytes", limits.ram_bytes, size.ram),
    ):
        if most is not None and real is not None and real > most:
            found.append(f"{option} {most}: {real} bytes of {what}")
    return ", ".join(found)


def refuse_over(
    decided: Decided, size: Size, limits: SizeLimits, compiler: Compiler, timeout: float = TIMEOUT
) -> None:
    """Raises ``LimitError`` where a compiled layer is over a limit, with a schedule that keeps to
    all of them where one is found; the choice itself stays one of spec, limits and target."""
    wrong = over_limits(size, limits)
    if not wrong:
        return
    head = f"{wrong}, as {compiler} compiles {decided.plan.schedule}"
    if decided.layer.schedule is not None:
        raise LimitError(f"{head}; {GIVEN_FIX}")
    found = _that_fits(decided, size, limits, compiler, timeout)
    if found is None:
        raise LimitError(f"{head}; none of the schedules tried keeps to it: raise the limit")
    schedule, fitting = found
    text = fitting.code.text if fitting.code else 0
    raise LimitError(f"{head}; `schedule: {schedule}` keeps to it ({text} bytes of code): pin it")


def _that_fits(
    decided: Decided, size: Size, limits: SizeLimits, compiler: Compiler, timeout: float
) -> tuple[Schedule, Size] | None:
    """A schedule whose compiled size keeps to the limits, looked for as builds do."""
    from convgen.choose.fit import NOTHING_OUT
    from convgen.package.emit.files import decide

    out = NOTHING_OUT
    for _ in range(_TRIES):
        schedule, code = decided.plan.schedule, size.code.text if size.code else 0
        if limits.code_bytes is not None and code > limits.code_bytes:
            out = out.without_schedule(schedule, code)
        else:
            out = out.without_stack(schedule, size.stack.bytes if size.stack else 0)
        try:
            decided = decide(decided.layer, decided.plan.target, None, limits, out, compiles=True)
        except LimitError:
            return None
        size = layer_size(decided, compiler, timeout)
        if not over_limits(size, limits):
            return decided.plan.schedule, size
    return None


@dataclass(frozen=True)
class Totals:
    """Of several layers in one program that run one after another. ``flash``: all of them;
    ``ram``: the largest of one run, for arrays and stack are used again. None: not all known."""

    macs: int
    flash: int | None
    ram: int | None


def totals(sizes: Sequence[Size]) -> Totals:
    """What ``sizes`` come to together; at least one."""
    flash = [s.flash for s in sizes if s.flash is not None]
    ram = [s.ram for s in sizes if s.ram is not None]
    return Totals(
        sum(s.macs for s in sizes),
        sum(flash) if len(flash) == len(sizes) else None,
        max(ram) if len(ram) == len(sizes) else None,
    )

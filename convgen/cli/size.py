"""``convgen size``: what each layer takes up in a program, as a compiler makes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from convgen.cli.options import (
    Compiler,
    Cut,
    Isa,
    Json,
    MaxCode,
    MaxRam,
    MaxWorkspace,
    NetName,
    Quiet,
    Shapes,
    Specs,
    TargetName,
    Timeout,
    Verbose,
)
from convgen.cli.output import Output, session
from convgen.errors import ConvgenError, ToolchainError

if TYPE_CHECKING:
    from convgen.choose.limits import SizeLimits
    from convgen.network.graph import Graph
    from convgen.package.emit.size import Size, Totals
    from convgen.target import Target
    from convgen.toolchain import Compiler as FoundCompiler

HEAD = (
    "layer", "MACs", ".text", ".rodata", ".data", ".bss", "stack", "packed", "workspace", "flash",
    "RAM",
)  # fmt: skip
RIGHT = "lrrrrrrrrrr"
UNKNOWN = "-"


def size(
    specs: Specs,
    isa: Isa = None,
    target: TargetName = None,
    cc: Compiler = None,
    max_code_bytes: MaxCode = None,
    max_workspace_bytes: MaxWorkspace = None,
    max_ram_bytes: MaxRam = None,
    timeout: Timeout = 120.0,
    shape: Shapes = None,
    cut: Cut = None,
    name: NetName = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show the bytes that layers and networks take: code, stack, arrays. Limits are held: exit 2.

    \b
    Example:  convgen size layer.yaml --target cortex-m4
    """
    with session("size", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.choose.limits import SizeLimits
        from convgen.cli.networks import parted, read_networks, reading
        from convgen.cli.sources import read_layers
        from convgen.package.emit.files import decide
        from convgen.package.emit.size import layer_size, refuse_over, totals

        limits = SizeLimits(max_code_bytes, max_workspace_bytes, max_ram_bytes)
        compiler, machine = _tools(cc, target, isa, out)
        out.payload |= {"target": machine.name, "compiler": str(compiler), "layers": []}
        sizes = []
        kinds = parted(specs)
        for graph in read_networks(kinds.networks, reading(shape, cut, name), out):
            try:
                sizes.append(_network(graph, machine, compiler, limits, timeout))
            except ConvgenError as error:
                out.fail(error, graph.name)
        for layer in read_layers(kinds.layers, out):
            try:
                decided = decide(layer, machine, limits=limits, compiles=True)
                found = layer_size(decided, compiler, timeout)
                sizes.append(found)
                refuse_over(decided, found, limits, compiler, timeout)
            except ConvgenError as error:
                out.fail(error, layer.spec.name)
        out.payload["layers"] = [size_facts(found) for found in sizes]
        if sizes:
            together = totals(sizes)
            out.payload["total"] = asdict(together)
            rows = [size_row(found) for found in sizes]
            if len(sizes) > 1:
                rows.append(_total_row(together))
            out.table(HEAD, rows, RIGHT)
            for line in _legend(sizes, machine, compiler):
                out.note(line)


def _network(
    graph: Graph, machine: Target, compiler: FoundCompiler, limits: SizeLimits, timeout: float
) -> Size:
    """Raises ``LimitError`` for a network over a limit: it has no other schedule to offer."""
    from convgen.package.network.program import program_of
    from convgen.package.network.size import network_size, refuse_over

    program = program_of(graph, machine)
    held = refuse_over(program, limits, compiler, timeout)
    return network_size(program, compiler, timeout) if held is None else held


def _tools(
    cc: str | None, target: str | None, isa: str | None, out: Output
) -> tuple[FoundCompiler, Target]:
    """The compiler of ``--cc``, else the first one here for the target; and the target, which is
    ``generic`` where none is named and the compiler compiles for another machine.

    Raises ``UsageError`` and ``ToolchainError``.
    """
    from convgen.cross.tools import compiler_of, wanted
    from convgen.target import resolve_target
    from convgen.target.host import machine_name
    from convgen.target.rigs import rigs_of
    from convgen.toolchain import Processes, find_compiler

    machine = resolve_target(target, isa)
    if cc is None:
        rig = rigs_of([machine.name])[0]
        found = compiler_of(rig, None, Processes())
        if found is None:
            raise ToolchainError(
                f"no compiler for {machine.name} found: install {wanted(rig.compilers)}, or name "
                "one with --cc"
            )
        return found, machine
    compiler = find_compiler(cc)
    arch, same = compiler.machine.split("-")[0], {"amd64": "x86_64", "arm64": "aarch64"}
    here = machine_name().lower()
    foreign = arch != "unknown" and same.get(arch, arch) != same.get(here, here)
    if foreign and target is None and isa is None:
        out.note(f"note: {compiler} compiles for another machine: target generic")
        return compiler, resolve_target("generic")
    return compiler, machine


def size_row(s: Size) -> tuple[str, ...]:
    """One line of the table; a stack that is a bound alone has ``<=`` before it."""
    code: tuple[str, ...] = (UNKNOWN,) * 4
    if s.code is not None:
        code = tuple(_bytes(n) for n in (s.code.text, s.code.rodata, s.code.data, s.code.bss))
    stack = UNKNOWN
    if s.stack is not None:
        stack = ("" if s.stack.exact else "<= ") + _bytes(s.stack.bytes)
    packed = _bytes(s.packed) + (" baked" if s.baked else "")
    return (
        s.name, f"{s.macs:,}", *code, stack, packed, _bytes(s.workspace), _bytes(s.flash),
        _bytes(s.ram),
    )  # fmt: skip


def _total_row(t: Totals) -> tuple[str, ...]:
    """All layers in one program, run one after another: flash adds up, RAM is used again."""
    blank = [""] * (len(HEAD) - 4)
    return ("total", f"{t.macs:,}", *blank, _bytes(t.flash), _bytes(t.ram))


def size_facts(s: Size) -> dict[str, Any]:
    """One layer under --json: bytes, null where the compiler or the object format does not tell."""
    return {
        "name": s.name,
        "macs": s.macs,
        "text": s.code.text if s.code else None,
        "rodata": s.code.rodata if s.code else None,
        "data": s.code.data if s.code else None,
        "bss": s.code.bss if s.code else None,
        "unwind": s.code.unwind if s.code else None,
        "stack": s.stack.bytes if s.stack else None,
        "stack_is": ("deepest chain" if s.stack.exact else "upper bound") if s.stack else None,
        "packed": s.packed,
        "baked": s.baked,
        "workspace": s.workspace,
        "x": s.x,
        "y": s.y,
        "flash": s.flash,
        "ram": s.ram,
    }


def _legend(sizes: list[Size], target: Target, compiler: FoundCompiler) -> list[str]:
    lines = [
        f"bytes; target {target.name}, {compiler}",
        "flash: .text + .rodata + .data, and with them baked weights and a network's",
        "RAM of one run: .data + .bss + stack + workspace + x + y, and packed weights if not baked",
    ]
    if any(s.apart for s in sizes):
        lines.append("workspace of a network: its arena, for one running part")
    stacks = [s.stack for s in sizes if s.stack is not None]
    if len(sizes) > 1:
        lines.append("total: flash of all layers, RAM of the largest (one runs at a time)")
    if stacks:
        what = "the deepest chain of calls" if stacks[0].exact else "at most: the sum of all frames"
        lines.append(f"stack: {what} below run; memcpy and the like of the C library come on top")
    return lines


def _bytes(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"

"""``check`` and ``explain`` of networks: the table of nodes, the steps, what was fused, memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convgen.cli.networks import Reading
from convgen.cli.output import Output, plain_table
from convgen.errors import ConvgenError

if TYPE_CHECKING:
    from convgen.choose.limits import SizeLimits
    from convgen.network.facts import Row
    from convgen.network.graph import Graph
    from convgen.package.network.program import Program
    from convgen.target import Target

HEAD = ("", "operator", "output", "parameters", "MACs", "receptive field", "layer")
RIGHT = "lllrrll"
STEPS = ("step", "operator", "output", "MACs", "kernel", "arena bytes", "workspace")
STEPS_RIGHT = "lllrlrr"


def check_networks(files: Sequence[str], how: Reading, out: Output) -> None:
    """The table of each network, as its file has it."""
    from convgen.network.facts import rows

    for file in files:
        graph = _graph(file, how, out)
        if graph is None:
            continue
        found = rows(graph)
        out.payload["networks"].append(network_facts(graph, found))
        out.data(title(graph, file))
        out.table(HEAD, _table(graph, found), RIGHT)
        out.data(total(found))


def _graph(file: str, how: Reading, out: Output) -> Graph | None:
    """The network with its weights, or without those that nothing gives."""
    from convgen.cli.networks import read_graph

    try:
        graph, notes = read_graph(file, how)
    except ConvgenError as error:
        out.fail(error)
        return None
    for note in notes:
        out.note(f"{file}: note: {graph.name}: {note}")
    return graph


def title(graph: Graph, file: str) -> str:
    return f"{graph.name}  ({file})"


def _table(graph: Graph, found: Sequence[Row]) -> Sequence[tuple[str, ...]]:
    from convgen.network.facts import drawing, printable, sizes

    lines = drawing(graph)
    inputs = [
        (line, "input", sizes(graph.values[name]), "", "", "", printable(name))
        for line, name in zip(lines, graph.inputs, strict=False)
    ]
    nodes = [
        (line, r.kind, r.shape, _number(r.parameters), _number(r.macs), r.reach, r.name)
        for line, r in zip(lines[len(graph.inputs) :], found, strict=True)
    ]
    return inputs + nodes


def _number(value: int) -> str:
    return f"{value:,}" if value else ""


def total(found: Sequence[Row]) -> str:
    parameters = sum(row.parameters for row in found)
    macs = sum(row.macs for row in found)
    return f"{len(found)} layers, {parameters:,} parameters, {macs:,} MACs"


def network_facts(graph: Graph, found: Sequence[Row]) -> dict[str, Any]:
    """The same for ``--json``."""

    def tensor(name: str) -> dict[str, Any]:
        value = graph.values[name]
        return {"name": name, "shape": list(value.shape), "dtype": str(value.dtype)}

    return {
        "name": graph.name,
        "inputs": [tensor(name) for name in graph.inputs],
        "outputs": [tensor(name) for name in graph.outputs],
        "parameters": sum(row.parameters for row in found),
        "macs": sum(row.macs for row in found),
        "layers": [
            {
                "name": row.name,
                "operator": row.kind,
                "output": row.shape,
                "parameters": row.parameters,
                "macs": row.macs,
                "receptive_field": row.reach,
                "notes": list(row.notes),
            }
            for row in found
        ],
    }


def explain_networks(
    files: Sequence[str], how: Reading, target: Target, limits: SizeLimits, out: Output
) -> None:
    """Each network: as its file has it, what was fused, the steps with their kernels, memory."""
    from convgen.network.facts import rows
    from convgen.network.fuse import simplify
    from convgen.package.network.program import program_of
    from convgen.package.network.size import refuse_over

    if files and not (limits.code_bytes is None and limits.ram_bytes is None):
        out.note("a network's code and RAM are held to limits by build, emit and size")

    for file in files:
        graph = _graph(file, how, out)
        if graph is None:
            continue
        simple = simplify(graph)
        try:
            program = program_of(graph, target)
            refuse_over(program, limits, None)
        except ConvgenError as error:
            out.fail(error, graph.name)
            continue
        facts = network_facts(simple, rows(simple)) | _plan_facts(program)
        out.payload["networks"].append(facts)
        head = title(graph, file)
        out.data(f"{head}\n{'=' * min(78, len(head))}")
        for name, lines in _sections(graph, simple, program):
            out.data()
            out.data(name)
            for line in lines:
                out.data(f"  {line}".rstrip())
        out.data()


def _sections(graph: Graph, simple: Graph, program: Program) -> list[tuple[str, list[str]]]:
    from convgen.network.facts import rows

    given, kept = rows(graph), rows(simple)
    tables = [plain_table(HEAD, _table(simple, kept), RIGHT).splitlines()]
    fused = [f"{row.name}: {note}" for row in kept for note in row.notes]
    gone = list(simple.notes)
    said = [*fused, *gone] or ["nothing"]
    return [
        ("As the file has it", [total(given)]),
        ("As it is built", [*tables[0], total(kept)]),
        ("Folded and fused", said),
        ("Steps", _steps(program)),
        ("Memory", _memory(program)),
    ]


def _steps(program: Program) -> list[str]:
    from convgen.network.ops.face import times

    plan = program.plan
    table = []
    for step, calls in zip(program.steps, program.calls, strict=True):
        slot = step.writes[0]
        at = plan.arena.places.get(slot.buffer)
        names = dict.fromkeys(call.function.words or call.function.name for call in calls)
        work = plan.needs[step.name].workspace
        table.append(
            (
                step.name,
                step.op.kind,
                times(slot.shape),
                _number(step.macs),
                ", ".join(names),
                plan.buffers[slot.buffer].room if at is None else f"{at:,}",
                _number(work),
            )
        )
    return plain_table(STEPS, table, STEPS_RIGHT).splitlines()


def _memory(program: Program) -> list[str]:
    arena, plan = program.plan.arena, program.plan
    over = arena.bytes / arena.max_live - 1 if arena.max_live else 0.0
    lines = [
        f"arena = {arena.bytes:,} bytes, {over:.1%} above the {arena.max_live:,} that are live at "
        f"once at step {arena.peak_step}"
        if arena.max_live
        else "arena = 0 bytes",
        f"each further running part = {arena.part_bytes:,} bytes",
        f"weights = {plan.weights_bytes:,} bytes, packed",
    ]
    tensors = sum(b.bytes for b in plan.buffers.values() if b.room == "arena")
    return [*lines, f"all tensors between steps = {tensors:,} bytes"]


def _plan_facts(program: Program) -> dict[str, Any]:
    arena = program.plan.arena
    return {
        "target": program.target.name,
        "steps": [step.name for step in program.steps],
        "arena_bytes": arena.bytes,
        "max_live_bytes": arena.max_live,
        "part_bytes": arena.part_bytes,
        "weights_bytes": program.plan.weights_bytes,
    }

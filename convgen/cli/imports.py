"""``convgen import``: a model file as a YAML network with its weights in one .npz."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from convgen.cli.command import Argument, Option
from convgen.cli.options import Cut, Json, NetName, Quiet, Shapes, Verbose
from convgen.cli.output import Output, error_facts, say_head, session
from convgen.errors import UsageError

if TYPE_CHECKING:
    from convgen.importers import Imported
    from convgen.importers.refusal import ModelError
    from convgen.importers.translate import Row
    from convgen.network.graph import Graph

HEAD = ("node", "operator", "outcome", "what")
REFUSED = ("node", "operator", "reason", "advice")
TAKEN = "taken"


def import_(
    model: Annotated[str, Argument("MODEL", "An ONNX or TFLite model file.")],
    out_dir: Annotated[
        str, Option("--out", "-o", metavar="DIR", help="Folder of the two files.")
    ] = ".",
    shape: Shapes = None,
    cut: Cut = None,
    name: NetName = None,
    force: Annotated[bool, Option("--force", help="Overwrite existing files.")] = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Write a model file as YAML, its weights in one .npz.

    The table has what is folded, fused or refused; with -v it has every node.

    \b
    Example:  convgen import model.onnx --shape x=1x3x224x224
    """
    with session("import", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.cli.networks import reading
        from convgen.importers import import_model
        from convgen.importers.refusal import ModelError

        how = reading(shape, cut, name)
        try:
            done = import_model(model, shapes=how.shapes, cut=how.cut, name=how.name)
        except ModelError as error:
            if not error.refused:
                raise
            _refuse(error, out)
            return
        _tell(done, out)
        _write(done.graph, Path(out_dir), force, out)


def _refuse(error: ModelError, out: Output) -> None:
    """Every node that cannot be taken, as a table; the exit code is that of a bad spec."""
    out.errors += error_facts(error)
    out.code = max(out.code, int(error.exit_code))
    out.payload["refused"] = [asdict(node) for node in error.refused]
    for diagnostic in error.diagnostics[: len(error.diagnostics) - len(error.refused)]:
        say_head("", str(diagnostic))
    out.table(REFUSED, [(shown(r.node), r.op, r.reason, r.advice) for r in error.refused])
    count = len(error.refused)
    noun = "node cannot" if count == 1 else "nodes cannot"
    say_head("error: ", f"{error.diagnostics[0].source}: {count} {noun} be taken")


def _tell(done: Imported, out: Output) -> None:
    """What became of the file's nodes, and what is going to be fused."""
    from convgen.network.fuse import simplify

    simple = simplify(done.graph)
    fused = [(n.name, n.op.kind, "; ".join(n.notes)) for n in simple.nodes if n.notes]
    missing = list(without_kernel(simple))
    rows = [row for row in done.rows if out.verbose or row.outcome != TAKEN]
    table = [(shown(r.node), r.op, r.outcome, r.detail) for r in rows]
    table += [(shown(name), kind, "fused", notes) for name, kind, notes in fused]
    table += [(shown(name), kind, "no kernel", why) for name, kind, why in missing]
    out.payload |= {
        "name": done.graph.name,
        "format": str(done.format),
        "nodes": [asdict(row) for row in done.rows],
        "fused": [{"node": n, "kind": kind, "what": notes} for n, kind, notes in fused],
        "without_kernel": [{"node": n, "kind": kind, "why": why} for n, kind, why in missing],
        "notes": list(simple.notes),
        "macs": simple.total_macs,
    }
    if table:
        out.table(HEAD, table)
    for note in simple.notes:
        out.note(f"note: {note}")
    if missing:
        out.note("note: it cannot be built before each step has a kernel; --cut takes a part")
    out.done(summary(done.rows, simple))


def without_kernel(simple: Graph) -> Iterator[tuple[str, str, str]]:
    """(node, operator, why) of the steps that ``build`` would refuse."""
    from convgen.errors import ConvgenError
    from convgen.network.lower import lower
    from convgen.package.network.bodies import uses_of

    lowered = lower(simple)
    for step in lowered.steps:
        if step.spec is None:
            try:
                uses_of(step, lowered.graph.rounding, lowered.graph)
            except ConvgenError as error:
                yield step.name, step.op.kind, str(error)


def summary(rows: tuple[Row, ...], simple: Graph) -> str:
    """``12 nodes taken, 3 folded; 8 after fusion, 1,234 MACs, 5,678 parameters``."""
    counts = Counter(row.outcome for row in rows)
    said = ", ".join(f"{counts[word]} {word}" for word in ("taken", "folded") if counts[word])
    parameters = sum(value.size for value in simple.constants.values())
    return (
        f"{simple.name}: of {len(rows)} nodes {said}; {len(simple.nodes)} after fusion, "
        f"{simple.total_macs:,} MACs, {parameters:,} parameters"
    )


def _write(graph: Graph, folder: Path, force: bool, out: Output) -> None:
    """The YAML and the .npz. Raises ``UsageError`` rather than overwrite."""
    from convgen.network.text.write import write_network

    spec, weights = folder / f"{graph.name}.yaml", folder / f"{graph.name}.npz"
    for path in (spec, weights):
        if path.exists() and not force:
            raise UsageError(f"{path} exists already: --force overwrites it")
    written = write_network(graph, weights.name)
    folder.mkdir(parents=True, exist_ok=True)
    if written.arrays:
        _replace(weights, written.arrays)
    _replace(spec, header(out) + written.text)
    out.payload |= {"path": str(spec), "weights": str(weights) if written.arrays else None}
    out.done(f"wrote {spec}" + (f" and {weights}" if written.arrays else ""))
    out.note(f"next: convgen build {spec}")


def header(out: Output) -> str:
    """The YAML's first line."""
    return f"# Made by convgen import; the model file's format was {out.payload['format']}.\n"


def _replace(path: Path, content: Any) -> None:
    """The whole file or none of it: a reader never sees half of one."""
    import numpy as np

    fresh = path.with_name(f".{path.name}.new")
    try:
        if isinstance(content, str):
            fresh.write_text(content, encoding="utf-8", newline="\n")
        else:
            with fresh.open("wb") as file:
                np.savez(file, **content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def shown(name: str) -> str:
    """A name of the file as one cell of a table."""
    from convgen.importers.refusal import shown as quoted

    return quoted(name)[1:-1]

"""Networks where verbs take layers: model files and YAML networks among the SPEC arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen.cli.files import STDOUT, changed_files, library_of, write_files
from convgen.cli.output import Output
from convgen.errors import ConvgenError, UsageError

if TYPE_CHECKING:
    from convgen.choose.limits import SizeLimits
    from convgen.network.graph import Graph
    from convgen.package.disk.result import BuildOptions
    from convgen.package.network.program import Program
    from convgen.target import Target
    from convgen.verify import Report

_SHAPE = re.compile(r"(?P<name>.+)=(?P<sizes>\d+(?:x\d+)*|scalar)")


@dataclass(frozen=True)
class Reading:
    """How model files are read: ``shapes`` of open inputs, ``cut`` and ``name`` as options say."""

    shapes: Mapping[str, tuple[int, ...]]
    cut: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Parted:
    """The SPEC arguments: those that hold layers, and files that hold a network each."""

    layers: tuple[str, ...]
    networks: tuple[str, ...]


def reading(shapes: Sequence[str] | None, cut: str | None, name: str | None) -> Reading:
    """The options ``--shape``, ``--cut``, ``--name``. Raises ``UsageError``."""
    found = {}
    for text in shapes or ():
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise UsageError(
                f"--shape {text}: write the input's name and its sizes, NAME=1x3x224x224"
            )
        sizes = match["sizes"]
        found[match["name"]] = () if sizes == "scalar" else tuple(map(int, sizes.split("x")))
    if name is not None:
        from convgen.spec.names import refuse_name

        refused = refuse_name(name)
        if refused is not None:
            raise UsageError(f"--name {name}: {refused[1]}")
    return Reading(found, cut, name)


def parted(specs: Sequence[str]) -> Parted:
    """Model files by their content, YAML files by their key ``network``; a folder's likewise."""
    layers, networks = [], []
    for spec in specs:
        path = Path(spec)
        if spec != "-" and path.is_dir():
            inside = sorted(str(p) for p in path.iterdir() if p.is_file() and is_network(p))
            networks += inside
            others = [p for p in path.iterdir() if p.suffix in (".yaml", ".yml")]
            if not inside or any(str(p) not in inside for p in others):
                layers.append(spec)
        elif spec != "-" and is_network(path):
            networks.append(spec)
        else:
            layers.append(spec)
    return Parted(tuple(layers), tuple(dict.fromkeys(networks)))


def is_network(path: Path) -> bool:
    """Does this file hold a network?"""
    from convgen.importers.kinds import model_format

    return model_format(path) is not None or _yaml_network(path)


def _yaml_network(path: Path) -> bool:
    if path.suffix not in (".yaml", ".yml"):
        return False
    try:
        with path.open("rb") as file:
            head = file.read(1 << 20)
    except OSError:
        return False
    return re.search(rb"^network\s*:", head, re.M) is not None


def read_networks(files: Sequence[str], how: Reading, out: Output) -> list[Graph]:
    """The networks of good files; the errors of the others go to ``out``."""
    if how.name is not None and len(files) > 1:
        raise UsageError(f"--name takes one model, these are {len(files)}")
    graphs: list[Graph] = []
    for file in files:
        try:
            graphs.append(read_network(file, how))
        except ConvgenError as error:
            out.fail(error)
    names = [graph.name for graph in graphs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two networks are named {name}: build them one by one with --name")
    return graphs


def read_network(file: str, how: Reading) -> Graph:
    """The network in a model file or a YAML file, with all its weights."""
    from convgen.importers.kinds import model_format

    if model_format(file) is None:
        from convgen.network.text import parse_network_file

        return parse_network_file(file).complete()
    return read_graph(file, how)[0]


def read_graph(file: str, how: Reading) -> tuple[Graph, tuple[str, ...]]:
    """The same, and what is worth knowing of it; weights that nothing gives are zeros."""
    from convgen.importers import import_model
    from convgen.importers.kinds import model_format

    if model_format(file) is None:
        from convgen.network.text import parse_network_file

        spec = parse_network_file(file)
        return spec.load(), spec.notes
    return import_model(file, shapes=how.shapes, cut=how.cut, name=how.name).graph, ()


def build_networks(graphs: Sequence[Graph], options: BuildOptions, out: Output) -> None:
    """Build each network and report it; a failure stops no other."""
    if not graphs:
        return
    from convgen.cli.progress import step_progress
    from convgen.cli.reports import failure_facts, print_results, result_facts
    from convgen.package.network.build import build_network

    good = []
    for graph in graphs:
        try:
            with step_progress(out) as on_event:
                result = build_network(graph, options, on_event)
        except ConvgenError as error:
            out.payload["layers"].append(failure_facts(graph.name))
            out.fail(error, graph.name)
            continue
        good.append(result)
        out.payload["layers"].append(result_facts(result))
        for warning in result.warnings:
            out.note(f"{graph.name}: warning: {warning}")
        out.detail(f"{graph.name}: {result.schedule}; {result.reason}; {result.compiler}")
    print_results(good, out)


def verify_network(graph: Graph, place: Path) -> Report:
    """The report on the network's package at ``place``; first that its files are untouched.

    Raises ``UsageError`` when the network is not built there, or was built from something else.
    """
    from convgen.package.disk.manifest import read_manifest
    from convgen.package.network.program import program_of
    from convgen.package.network.python import weights_name
    from convgen.package.network.text import network_files
    from convgen.package.network.verification import task_of
    from convgen.target import TARGETS
    from convgen.verify import Check, Report
    from convgen.verify.network import verify_network_in_child

    manifest = read_manifest(place)
    again = f"run convgen build with this model and -o {place.parent} first"
    if manifest is None:
        raise UsageError(f"{place}: not built; {again}")
    touched = changed_files(place, manifest)
    if touched:
        detail = f"changed since the build: {', '.join(touched)}; build again"
        nan = float("nan")
        return Report((Check("files", False, detail),), nan, nan, nan)
    target = TARGETS.get(manifest.target)
    tuned = manifest.schedules
    program = None if target is None else program_of(graph, target, place.name, tuned=tuned)
    weights = place / weights_name(manifest.extension)
    if (
        program is None
        or not weights.is_file()
        or weights.read_bytes() != program.blob
        or any(
            not (place / name).is_file() or (place / name).read_bytes() != text.encode()
            for name, text in network_files(program, weights=False).items()
        )
    ):
        raise UsageError(
            f"{place} was built from another model or another version of convgen; {again}"
        )
    report = verify_network_in_child(task_of(program, place / library_of(manifest), weights))
    files = Check("files", True, f"{len(manifest.files)} files are as the build wrote them")
    return replace(report, checks=(files, *report.checks))


def emit_networks(
    graphs: Sequence[Graph], target: Target, limits: SizeLimits, out_dir: str, out: Output
) -> None:
    """Emit each network; a failure stops no other."""
    for graph in graphs:
        try:
            emit_network(graph, target, limits, out_dir, out)
        except ConvgenError as error:
            out.fail(error, graph.name)


def emit_network(
    graph: Graph, target: Target, limits: SizeLimits, out_dir: str, out: Output
) -> None:
    """Write a network's C package, or print its one C file for ``-``."""
    from convgen.package.network.files import package_files
    from convgen.package.network.program import program_of

    program = program_of(graph, target)
    hold_to(program, limits, out)
    files = package_files(program)
    facts: dict[str, Any] = {
        "name": program.name,
        "target": target.name,
        "files": {name: len(text.encode()) for name, text in files.items()},
    }
    if out_dir == STDOUT:
        text = files[f"{program.name}.c"]
        out.payload["layers"].append(facts | {"path": None, "text": text})
        out.raw(text)
        return
    place = Path(out_dir) / program.name
    changed = write_files(place, files)
    out.payload["layers"].append(facts | {"path": str(place), "changed": changed})
    state = "written" if changed else "unchanged"
    out.done(f"{program.name}: {state} in {place} ({', '.join(files)})")


def hold_to(program: Program, limits: SizeLimits, out: Output) -> None:
    """Raises ``LimitError`` where the network is over a limit, as far as that can be known here."""
    from convgen.choose.limits import NO_LIMITS
    from convgen.cross.tools import measured_compiler
    from convgen.package.network.size import refuse_over

    if limits == NO_LIMITS:
        return
    target = program.target
    size = refuse_over(program, limits, measured_compiler(target))
    if size is None:
        out.note(
            f"{program.name}: no compiler for {target.name} is here: of the limits that of the "
            "workspace alone is held"
        )
    elif size.code is not None:
        ram = "" if size.ram is None else f", {size.ram:,} of RAM"
        out.note(
            f"{program.name}: {size.code.text:,} bytes of code{ram} (measured: {size.compiler})"
        )

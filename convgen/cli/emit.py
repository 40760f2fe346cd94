"""``convgen emit``: the embeddable C package alone; nothing is compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen.cli.options import (
    Cut,
    Isa,
    Json,
    MaxCode,
    MaxRam,
    MaxWorkspace,
    NetName,
    OutDir,
    Quiet,
    Shapes,
    Specs,
    SplitWeights,
    TargetName,
    Verbose,
)
from convgen.cli.output import Output, session
from convgen.errors import ConvgenError, UsageError

if TYPE_CHECKING:
    from convgen.choose.limits import SizeLimits
    from convgen.package.emit.files import Decided
    from convgen.spec.model import Layer
    from convgen.target import Target
    from convgen.toolchain import Compiler

STDOUT = "-"


def emit(
    specs: Specs,
    out_dir: OutDir = "build",
    isa: Isa = None,
    target: TargetName = None,
    split_weights: SplitWeights = False,
    max_code_bytes: MaxCode = None,
    max_workspace_bytes: MaxWorkspace = None,
    max_ram_bytes: MaxRam = None,
    shape: Shapes = None,
    cut: Cut = None,
    name: NetName = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Write the C of layers and networks, compiling nothing.

    With -o - the one C file goes to standard output.

    \b
    Example:  convgen emit layer.yaml -o src
    """
    with session("emit", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.choose.limits import SizeLimits
        from convgen.cli.networks import emit_networks, parted, read_networks, reading
        from convgen.cli.sources import distinct, read_layers
        from convgen.target import resolve_target

        out.payload |= {"out": out_dir, "layers": []}
        machine = resolve_target(target, isa)
        limits = SizeLimits(max_code_bytes, max_workspace_bytes, max_ram_bytes)
        kinds = parted(specs)
        graphs = read_networks(kinds.networks, reading(shape, cut, name), out)
        layers = distinct(read_layers(kinds.layers, out), out)
        if out_dir == STDOUT and len(layers) + len(graphs) > 1 and graphs:
            raise UsageError("-o - prints one file: name one layer or network, or a folder")
        emit_networks(graphs, machine, out_dir, out)
        if out_dir == STDOUT:
            if split_weights:
                raise UsageError("-o - prints one file, --split-weights makes two: name a folder")
            _to_stdout(layers, machine, limits, out)
        else:
            _to_folder(layers, machine, limits, Path(out_dir), out, split_weights)


def _to_stdout(layers: Sequence[Layer], target: Target, limits: SizeLimits, out: Output) -> None:
    from convgen.package.emit.files import kernel_files

    if len(layers) > 1:
        names = ", ".join(layer.spec.name for layer in layers)
        raise UsageError(f"-o - takes one layer, these are {len(layers)}: {names}; name a folder")
    for layer in layers:
        name = f"{layer.spec.name}.c"
        decided, held = _held(layer, target, limits, out)
        text = kernel_files(decided)[name]
        facts = _facts(layer, target, {name: text}, None)
        out.payload["layers"].append(facts | held | {"text": text})
        out.raw(text)


def _to_folder(
    layers: Sequence[Layer],
    target: Target,
    limits: SizeLimits,
    folder: Path,
    out: Output,
    split: bool,
) -> None:
    from convgen.package.emit.files import package_files

    for layer in layers:
        place = folder / layer.spec.name
        try:
            decided, held = _held(layer, target, limits, out)
            files = package_files(decided, split=split)
            changed = write_files(place, files)
        except ConvgenError as error:
            out.fail(error, layer.spec.name)
            continue
        facts = _facts(layer, target, files, place) | held | {"changed": changed}
        out.payload["layers"].append(facts)
        if split and layer.weights is None:
            out.note(f"{layer.spec.name}: its weights come at run time, so there are none to split")
        state = "written" if changed else "unchanged"
        out.done(f"{layer.spec.name}: {state} in {place} ({', '.join(files)})")


def measured_compiler(target: Target) -> Compiler | None:
    """The first compiler here for the target, by which limits are held; None without one."""
    from convgen.cross.tools import compiler_of
    from convgen.target.rigs import rigs_of
    from convgen.toolchain import Processes

    return compiler_of(rigs_of([target.name])[0], None, Processes())


def _held(
    layer: Layer, target: Target, limits: SizeLimits, out: Output
) -> tuple[Decided, dict[str, Any]]:
    """The layer decided, and its sizes where limits were given: as the target's compiler makes
    them where that is here, else as they were estimated. Raises ``LimitError``."""
    from convgen.choose.limits import NO_LIMITS
    from convgen.package.disk.cache import Cache, default_cache_root
    from convgen.package.disk.choices import Memory
    from convgen.package.disk.inputs import own_digest
    from convgen.package.emit.files import decide
    from convgen.package.emit.size import layer_size, refuse_over
    from convgen.render.size import code_estimate

    memory = Memory(Cache(default_cache_root()).choices, own_digest())
    decided = decide(layer, target, limits=limits, memory=memory)
    if limits == NO_LIMITS:
        return decided, {}
    name, compiler = layer.spec.name, measured_compiler(target)
    if compiler is None:
        estimate = code_estimate(decided.plan)
        out.note(
            f"{name}: about {estimate:,} bytes of code (estimated: no compiler for {target.name} "
            "is here)"
        )
        return decided, {"code_bytes": estimate, "measured_by": None}
    size = layer_size(decided, compiler)
    refuse_over(decided, size, limits, compiler)
    if size.code is None:  # an object format without sections: nothing was measured
        return decided, {"code_bytes": code_estimate(decided.plan), "measured_by": None}
    ram = "" if size.ram is None else f", {size.ram:,} of RAM"
    out.note(f"{name}: {size.code.text:,} bytes of code{ram} (measured: {compiler})")
    return decided, {"code_bytes": size.code.text, "measured_by": str(compiler)}


def _facts(
    layer: Layer, target: Target, files: Mapping[str, str], place: Path | None
) -> dict[str, Any]:
    return {
        "name": layer.spec.name,
        "path": None if place is None else str(place),
        "target": target.name,
        "files": {name: len(text.encode()) for name, text in files.items()},
    }


def write_files(place: Path, files: Mapping[str, str]) -> list[str]:
    """Write the files that differ from what is there, each whole; the names of those written.

    Raises ``UsageError`` rather than change the C of a built package: its compiled part and its
    manifest would no longer belong to it. Nor is a file replaced that convgen did not write. A
    ``<name>_weights.c`` that the layer no longer has goes: its array stands in the C now.
    """
    from convgen.package.disk.commit import (
        Place,
        forget_own,
        refuse_foreign,
        write_together,
        writing,
    )
    from convgen.package.disk.manifest import CERTIFICATE, NAME

    found = {name: _content(place / name) for name in files}
    changed = [name for name, text in files.items() if found[name] != text.encode()]
    other = [name for name in changed if found[name] is not None]
    if other and (place / NAME).exists():
        raise UsageError(
            f"{place} holds a built package, and the C to emit differs from it ({other[0]}): "
            "emit into another folder with -o, or build again"
        )
    with writing(place):
        refuse_foreign(Place(place.parent, place.name), files)
    if {f"{place.name}.c", f"{place.name}.h"} & set(changed):
        forget_own(place / CERTIFICATE)  # it is about other C
    write_together(place, {name: files[name].encode() for name in changed})
    weights = f"{place.name}_weights.c"
    if weights not in files:
        forget_own(place / weights)
    return changed


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None

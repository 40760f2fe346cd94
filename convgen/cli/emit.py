"""``convgen emit``: the embeddable C package alone; nothing is compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen.cli.files import STDOUT, content, write_files
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
    WeightsFormat,
)
from convgen.cli.output import Output, session
from convgen.errors import ConvgenError, UsageError

if TYPE_CHECKING:
    from convgen.choose.limits import SizeLimits
    from convgen.package.emit.files import Decided
    from convgen.render.baked import Form
    from convgen.spec.model import Layer
    from convgen.target import Target


def emit(
    specs: Specs,
    out_dir: OutDir = "build",
    isa: Isa = None,
    target: TargetName = None,
    split_weights: SplitWeights = False,
    weights_format: WeightsFormat = "c",
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
        from convgen.render.baked import Form
        from convgen.target import resolve_target

        out.payload |= {"out": out_dir, "layers": []}
        machine = resolve_target(target, isa)
        limits = SizeLimits(max_code_bytes, max_workspace_bytes, max_ram_bytes)
        kinds = parted(specs)
        graphs = read_networks(kinds.networks, reading(shape, cut, name), out)
        layers = distinct(read_layers(kinds.layers, out), out)
        if out_dir == STDOUT and len(layers) + len(graphs) > 1 and graphs:
            raise UsageError("-o - prints one file: name one layer or network, or a folder")
        form = _form(weights_format, split_weights, machine)
        emit_networks(graphs, machine, limits, out_dir, out)
        if out_dir == STDOUT:
            if form is not Form.INSIDE:
                option = "--split-weights" if form is Form.C else "--weights-format bin"
                raise UsageError(f"-o - prints one file, {option} makes several: name a folder")
            _to_stdout(layers, machine, limits, out)
        else:
            _to_folder(layers, machine, limits, Path(out_dir), out, form)


def _form(weights_format: str, split: bool, target: Target) -> Form:
    """Where baked weights stand. Raises ``UsageError`` for a processor that reads others."""
    from convgen.render.baked import Form

    if weights_format == "c":
        return Form.C if split else Form.INSIDE
    if target.name == "generic":
        raise UsageError(
            "--weights-format bin writes little-endian bytes for an assembler, and the target "
            "generic is C for any processor and compiler: name another with --target"
        )
    return Form.BIN


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
    form: Form,
) -> None:
    from convgen.package.emit.files import binary_files, package_files
    from convgen.render.baked import Form

    for layer in layers:
        place = folder / layer.spec.name
        try:
            decided, held = _held(layer, target, limits, out)
            files: dict[str, str | bytes] = dict(package_files(decided, form=form))
            files |= binary_files(decided, form)
            changed = write_files(place, files)
        except ConvgenError as error:
            out.fail(error, layer.spec.name)
            continue
        facts = _facts(layer, target, files, place) | held | {"changed": changed}
        out.payload["layers"].append(facts)
        if form is not Form.INSIDE and layer.weights is None:
            out.note(f"{layer.spec.name}: its weights come at run time, so there are none to split")
        state = "written" if changed else "unchanged"
        out.done(f"{layer.spec.name}: {state} in {place} ({', '.join(files)})")


def _held(
    layer: Layer, target: Target, limits: SizeLimits, out: Output
) -> tuple[Decided, dict[str, Any]]:
    """The layer decided, and its sizes where limits were given: as the target's compiler makes
    them where that is here, else as they were estimated. Raises ``LimitError``."""
    from convgen.choose.limits import NO_LIMITS
    from convgen.cross.tools import measured_compiler
    from convgen.package.disk.cache import Cache, default_cache_root
    from convgen.package.disk.choices import Memory
    from convgen.package.disk.inputs import own_digest
    from convgen.package.disk.templates import remember_templates
    from convgen.package.emit.files import decide
    from convgen.package.emit.size import layer_size, refuse_over
    from convgen.render.size import code_estimate

    cache = Cache(default_cache_root())
    remember_templates(cache.templates)
    memory = Memory(cache.choices, own_digest())
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
    layer: Layer, target: Target, files: Mapping[str, str | bytes], place: Path | None
) -> dict[str, Any]:
    return {
        "name": layer.spec.name,
        "path": None if place is None else str(place),
        "target": target.name,
        "files": {name: len(content(data)) for name, data in files.items()},
    }

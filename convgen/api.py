"""The Python interface: build a layer and import it, or ask the oracle what it must compute."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from convgen.errors import ConvgenError, UsageError
from convgen.package.disk.build import BuildOptions, build_layer
from convgen.package.disk.commit import MODULE
from convgen.spec.model import ConvSpec, Layer
from convgen.target import resolve_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convgen.network.graph import Graph
    from convgen.numbers.calibrate import Findings
    from convgen.package.disk.result import BuildResult

SpecLike = str | os.PathLike[str] | Mapping[str, Any] | ConvSpec | Layer


def build(
    spec: SpecLike,
    out: str | os.PathLike[str] = "build",
    *,
    layer: str | None = None,
    isa: str | None = None,
    target: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    cut: str | None = None,
    **options: Any,
) -> ModuleType:
    """Build a layer or a network into ``out/<name>/`` when needed, and return its module, freshly
    imported.

    ``spec``: path of a spec file or of a model file (ONNX, TFLite), YAML text (a str with a line
    break), a mapping of spec keys, a ``ConvSpec`` or a ``Layer``. ``layer``: which one, where the
    spec holds several. ``isa`` or ``target``: as the command line's; without them this machine's.
    ``shapes``, ``cut``: of a model file, as ``--shape`` and ``--cut``. ``options``: the other
    fields of ``BuildOptions`` (``cc``, ``verify``, ``timeout``, ``binding``, ``use_cache``).

    The module is that of this very build: after a change of the spec the same call returns
    another module, and the earlier one keeps working. Raises ``ConvgenError``, its message saying
    what to do, and ``ImportError`` where the built code cannot run on this CPU.
    """
    network = _network(spec, shapes or {}, cut)
    chosen = None if network is not None else _one_layer(spec, layer)
    settings = _settings(out, target, isa, options)
    if network is not None:
        from convgen.package.network.build import build_network

        return import_package(build_network(network, settings).path)
    assert chosen is not None
    return import_package(build_layer(chosen, settings).path)


def build_together(
    specs: Sequence[SpecLike],
    name: str,
    out: str | os.PathLike[str] = "build",
    *,
    isa: str | None = None,
    target: str | None = None,
    **options: Any,
) -> ModuleType:
    """Build every layer of ``specs``, and a package ``name`` of all of them in one library.

    A process can load about 13,000 libraries; of layers in one library it can use any number. The
    module that comes back has each as a module of its own: ``both.first.run(x, packed)``. Arguments
    and errors as of ``build``; the first layer that fails ends it.
    """
    from convgen.package.disk.build import build_many
    from convgen.package.disk.together import build_together as bring_together
    from convgen.package.disk.together import refuse_shared_name

    layers = [layer for spec in specs for layer in _layers(spec)]
    if not layers:
        raise UsageError("build_together: specs holds no layer")
    settings = _settings(out, target, isa, options)
    refuse_shared_name(name, [layer.spec.name for layer in layers], settings)
    good: list[BuildResult] = []
    for outcome in build_many(layers, settings):
        if isinstance(outcome, ConvgenError):
            raise outcome
        good.append(outcome)
    return import_package(bring_together(name, layers, good, settings).path)


def load(spec: SpecLike, out: str | os.PathLike[str] = "build", **options: Any) -> ModuleType:
    """``build`` under the name that says what it is for: the module of a spec, built if needed.

    An unchanged layer is found in a few milliseconds, and gives the same module again.
    """
    return build(spec, out, **options)


def reference(
    spec: SpecLike, x: Any, w: Any = None, b: Any = None, *, layer: str | None = None
) -> NDArray[Any]:
    """What the layer must compute, from the oracle: float64 in the layer's output shape, and of
    an 8-bit layer the very integers.

    ``spec``, ``layer``: as for ``build``. ``w`` and ``b`` in the spec's layouts; without ``w`` the
    weights that the spec names. bfloat16 arrays are ``ml_dtypes``' or their bits as uint16. Raises
    ``ValueError`` for a wrong shape, and for wrong integer types.
    """
    from convgen.numbers.settle import settled
    from convgen.oracle import floats as oracle
    from convgen.oracle import integers as oracle_quant

    done = settled(_one_layer(spec, layer))
    chosen, weights = done.layer.spec, done.weights
    if w is None:
        if weights is None:
            raise ValueError(f"w is missing: layer {chosen.name} takes its weights at run time")
        w, b = weights.w, weights.b if b is None else b
    judge = oracle_quant.reference if chosen.quantized else oracle.reference
    result: NDArray[Any] = judge(chosen, x, w, b)
    return result


def quantize(spec: SpecLike, *, layer: str | None = None) -> Findings:
    """The quantised form of a layer that says ``quantize``: its scales (``quant``), int8 weights
    (``w``), int32 bias (``b``), and what they cost (``sqnr``, dB per output channel).

    Raises ``SpecError`` for files that are wrong, ``UsageError`` for any other layer.
    """
    from convgen.numbers.settle import settled

    found = settled(_one_layer(spec, layer)).findings
    if found is None:
        raise UsageError("quantize: the layer has no `quantize: {calibration: x.npy}`")
    return found


def _settings(
    out: str | os.PathLike[str], target: str | None, isa: str | None, options: Mapping[str, Any]
) -> BuildOptions:
    known = [field.name for field in fields(BuildOptions) if field.name not in ("out", "target")]
    for name in options:
        if name not in known:
            raise UsageError(f"build: no option {name!r}; there are {', '.join(known)}")
    return BuildOptions(Path(out), resolve_target(target, isa), **options)


def import_package(folder: Path) -> ModuleType:
    """Import the package in ``folder`` under a name of its own, so that it hides nothing.

    One module per place and content of ``__init__.py``, which names the compiled library.
    """
    place = folder.resolve() / MODULE
    digest = hashlib.sha256(f"{place}\0".encode() + place.read_bytes()).hexdigest()
    name = f"convgen_built_{folder.name}_{digest[:16]}"
    known = sys.modules.get(name)
    if known is not None:
        return known
    found = importlib.util.spec_from_file_location(
        name, place, submodule_search_locations=[str(place.parent)]
    )
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    importlib.invalidate_caches()  # the folder's files may be younger than its listing
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _network(spec: SpecLike, shapes: Mapping[str, Sequence[int]], cut: str | None) -> Graph | None:
    """The network that a spec or a model file holds, with its weights; None of layers."""
    from convgen.importers import import_model, model_format
    from convgen.spec.nodes import is_network

    match spec:
        case Mapping() if "network" in spec:
            from convgen.network.text import parse_network_mapping

            return parse_network_mapping(spec).complete()
        case str() if "\n" in spec:
            if is_network(spec):
                from convgen.network.text import parse_network_text

                return parse_network_text(spec, "<text>").complete()
        case str() | os.PathLike():
            path = Path(spec)
            if model_format(path) is not None:
                sizes = {name: tuple(shape) for name, shape in shapes.items()}
                return import_model(path, shapes=sizes, cut=cut).graph
            if is_network(_text(path)):
                from convgen.network.text import parse_network_file

                return parse_network_file(path).complete()
    return None


def _text(path: Path) -> str:
    """As much of a spec file as may be; nothing of one that cannot be read: that is told later."""
    from convgen.spec.nodes import MAX_NETWORK_BYTES

    try:
        with path.open("rb") as file:
            return file.read(MAX_NETWORK_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _one_layer(spec: SpecLike, name: str | None) -> Layer:
    layers = _layers(spec)
    names = [layer.spec.name for layer in layers]
    if name is None:
        if len(layers) == 1:
            return layers[0]
        raise UsageError(
            f"the spec holds {len(layers)} layers: name one with layer=, of {', '.join(names)}"
        )
    if name not in names:
        raise UsageError(f"the spec holds no layer {name!r}; there are {', '.join(names)}")
    return layers[names.index(name)]


def _layers(spec: SpecLike) -> tuple[Layer, ...]:
    from convgen.spec import parse_file, parse_mapping, parse_text

    match spec:
        case Layer():
            return (spec,)
        case ConvSpec():
            return (Layer(spec, "<ConvSpec>"),)
        case Mapping():
            return parse_mapping(spec)
        case str() if "\n" in spec:
            return parse_text(spec, "<text>")
        case str() | os.PathLike():
            return parse_file(Path(spec))
        case _:
            raise UsageError(
                "spec must be a path, YAML text, a mapping, a ConvSpec or a Layer, not "
                f"{type(spec).__name__}"
            )

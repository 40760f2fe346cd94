"""A document's tree -> a graph with shapes: names are resolved, operators put to their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from types import MappingProxyType
from typing import Any

from convgen.network.graph import Builder, Quantization
from convgen.network.ops import Elem, Op, ShapeError
from convgen.network.ops.face import times
from convgen.network.text.entries import Entry, read_entries
from convgen.network.text.keys import KINDS
from convgen.network.text.sources import DrawnSource, FileSource, Source, seeded
from convgen.network.text.spec import NetworkSpec
from convgen.network.text.top import Input, Top, read_inputs, read_top
from convgen.spec.geometry import BYTES_LIMIT, MACS_LIMIT
from convgen.spec.model import InitWeights, Layout, NpyWeights, NpzWeights
from convgen.spec.scalars import show
from convgen.spec.tree import Path, Report, Tree, Unread

UNKNOWN = "\0"  # begins the names of layers whose operator is not known


def derive(
    tree: Tree, report: Report, layers: Mapping[str, Callable[..., Any]]
) -> NetworkSpec | None:
    """The network, or None where something is wrong; all that is goes to ``report``.

    ``layers``: how each kind of layer becomes nodes.
    """
    top = read_top(tree, report)
    entries = read_entries(tree.value.get("layers", Unread.VALUE), report)
    if "layers" not in tree.value:
        report.add((), "E103", "`layers` is missing: add it, as in `layers: [{dense: 10}]`")
    work = Derivation(top, report, tree, layers)
    work.inputs(read_inputs(tree, top, report))
    work.names(entries)
    for entry in entries:
        work.layer(entry)
    outputs = work.outputs(entries)
    return None if report.found else work.finish(outputs)


class Derivation:
    """The graph in the making. A layer with a mistake leaves an unknown value behind, about which
    later layers are silent.
    """

    def __init__(
        self, top: Top, report: Report, tree: Tree, layers: Mapping[str, Callable[..., Any]]
    ) -> None:
        self.layers = layers
        self.top = top
        self.report = report
        self.tree = tree
        self.builder = Builder(top.name, rounding=top.rounding)
        self.known: dict[str, tuple[str | None, ...]] = {}
        self.previous: str | None = None
        self.sources: dict[str, Source] = {}
        self.missing: list[str] = []
        self.named: dict[Path, str] = {}
        self.made: list[str] = []
        self.weighted = 0

    def inputs(self, found: Sequence[Input]) -> None:
        for one in found:
            if prod(one.shape) * one.dtype.size >= BYTES_LIMIT:
                text = f"{times(one.shape)} elements are 2^31 bytes or more; use a smaller input"
                self.report.add(one.path, "E205", text)
                self.known[one.name] = (None,)
                continue
            self.builder.input(one.name, one.shape, one.dtype, one.quant)
            self.known[one.name] = (one.name,)
        if len(found) == 1:
            self.previous = found[0].name

    def names(self, entries: Sequence[Entry]) -> None:
        """A name for each layer: its own, or its operator's word, numbered from the second on."""
        taken: dict[str, Path] = {name: ("inputs", name) for name in self.known}
        for entry in entries:
            name = entry.get("name")
            if name is None:
                continue
            if name in taken:
                text = f"`{name}` is taken already: names of layers and inputs are unique"
                self.report.add(entry.at("name"), "E142", text)
                continue
            taken[name] = entry.path
            self.named[entry.path] = name
        for entry in entries:
            if entry.path in self.named:
                continue
            name, number = entry.kind or UNKNOWN, 2
            while name in taken:
                name, number = f"{entry.kind or UNKNOWN}_{number}", number + 1
            taken[name] = entry.path
            self.named[entry.path] = name

    def layer(self, entry: Entry) -> None:
        """Put one layer to its inputs."""
        name = self.named[entry.path]
        ins = self._inputs_of(entry) if entry.kind else None
        outputs: tuple[str | None, ...] | None = None
        if entry.good and ins is not None and all(i is not None for i in ins):
            try:
                outputs = self.layers[entry.kind](
                    self, entry, name, [i for i in ins if i is not None]
                )
            except ShapeError as error:
                self.refuse(entry, "E504", f"{entry.kind} `{name}`: {error}", "of")
        if outputs is not None:
            self._limits(entry, [output for output in outputs if output is not None])
            self.made += [output for output in outputs if output is not None]
        parts = entry.get("parts") or len(entry.get("sizes", (0,)))
        count = parts if entry.kind == "split" else 1
        self.known[name] = outputs or (None,) * min(count, 4096)
        for at, output in enumerate(self.known[name]) if entry.kind == "split" else ():
            self.known[f"{name}.{at}"] = (output,)
        if entry.kind != "constant":
            self.previous = name

    def _inputs_of(self, entry: Entry) -> list[str | None] | None:
        """The values that a layer reads; None where one has no such name."""
        least, most = KINDS[entry.kind].inputs
        if entry.kind == "constant":
            return []
        asked = entry.get("of") or ("previous",)
        if "of" in entry.written and "of" not in entry.values:
            return None
        found: list[str | None] = []
        for at, name in enumerate(asked):
            place = entry.at("of")
            where = (*place, at) if (*place, at) in self.tree.values else place
            value = self._value(name, where)
            if value is None:
                return None
            found += value
        if entry.good and not least <= len(found) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            text = f"{entry.kind} takes {wanted} inputs, `of` gives {len(found)}"
            self.refuse(entry, "E504", text, "of")
            return None
        return found

    def _value(self, name: str, path: Path) -> list[str | None] | None:
        """The value of a layer or input; the first one of a split."""
        if name == "previous":
            if self.previous is None:
                if self.known or not self.report.found:
                    text = "nothing stands before this layer: say which input it takes with `of`"
                    self.report.add(path, "E503", text)
                return None
            name = self.previous
        if name in self.known:
            return [self.known[name][0]]
        from difflib import get_close_matches

        listed = [known for known in self.known if not known.startswith(UNKNOWN)]
        close = get_close_matches(name[:64], listed, 1)
        later = name in self.named.values()
        hint = f"did you mean `{close[0]}`?" if close else f"there are {_few(self.known)}"
        hint = "it stands further down; a layer reads what stands before it" if later else hint
        where = "" if path[0] == "outputs" else " stands before"
        self.report.add(path, "E503", f"no layer or input {show(name)}{where}: {hint}")
        return None

    def refuse(self, entry: Entry, code: str, text: str, *keys: str) -> None:
        self.report.add(entry.at(*keys), code, text)

    def _limits(self, entry: Entry, outputs: Sequence[str]) -> None:
        for output in outputs:
            value = self.builder.values[output]
            if value.bytes >= BYTES_LIMIT:
                text = f"`{output}` of {times(value.shape)} would take 2^31 bytes or more"
                self.refuse(entry, "E205", f"{text}; use fewer filters or a larger stride")
        node = self.builder.nodes[-1] if self.builder.nodes else None
        if node is None or node.outputs[0] not in outputs:
            return
        types = [self.builder.values[i].type if i else None for i in node.inputs]
        macs = node.op.macs(types, [self.builder.values[o].type for o in node.outputs])
        if macs > MACS_LIMIT:
            text = f"`{outputs[0]}` takes {macs:,} multiply-adds: the limit is 2^44"
            self.refuse(entry, "E206", f"{text}; use fewer filters or more groups")

    # What the layers' builders call

    def channels_last(self, entry: Entry) -> bool:
        layout: Layout = entry.get("layout", self.top.layout)
        return layout is Layout.NHWC

    def shape(self, name: str) -> tuple[int, ...]:
        return self.builder.values[name].shape

    def node(
        self, entry: Entry, name: str, op: Op, ins: Sequence[str], outputs: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """A node; 8-bit outputs get the layer's ``quant``, or keep the first input's."""
        quant = entry.get("quant")
        if quant is None and ins:
            first = self.builder.values[ins[0]]
            quant = first.quant if not first.dtype.is_float else None
        names = tuple(outputs) or (name,)
        dtype = entry.get("dtype")
        dtypes = (dtype,) * len(names) if dtype is not None else ()
        return self.builder.node(name, op, ins, names, (quant,) * len(names), dtypes=dtypes)

    def parameter(
        self,
        entry: Entry,
        layer: str,
        key: str,
        shape: tuple[int, ...],
        dtype: Elem,
        axes: str,
        *,
        stored: tuple[int, ...] | None = None,
        perm: tuple[int, ...] | None = None,
        groups: int = 1,
        quant: Quantization | None = None,
        drawn: float | None = None,
    ) -> str:
        """A constant that a file gives, or a generator; ``drawn``: the value that stands for it
        where weights are drawn (None: drawn itself).
        """
        import numpy as np

        name = f"{layer}.{key}"
        if quant is not None and quant.axis is not None:
            quant = replace(quant, axis=quant.axis % len(shape))
        if prod(shape) * dtype.size >= BYTES_LIMIT:
            raise ShapeError(f"`{key}` of {times(shape)} would take 2^31 bytes or more")
        array = np.zeros(shape, str(dtype))
        origin = self._origin(entry, layer, key, stored or shape, axes, perm, drawn, groups)
        if origin is None and drawn is not None and self._drawn(entry):
            array = np.full(shape, drawn, str(dtype))
        elif origin is None:
            self.missing.append(name)
        else:
            self.sources[name] = origin
        array.setflags(write=False)
        return self.builder.constant(name, array, quant)

    def _drawn(self, entry: Entry) -> bool:
        return isinstance(entry.get("weights", self.top.weights), InitWeights)

    def _origin(
        self,
        entry: Entry,
        layer: str,
        key: str,
        stored: tuple[int, ...],
        axes: str,
        perm: tuple[int, ...] | None,
        drawn: float | None,
        groups: int,
    ) -> Source | None:
        own = "weights" in entry.values
        match entry.get("weights", self.top.weights):
            case NpzWeights(path):
                place = self.tree.spot(entry.at("weights") if own else ("weights",)).place()
                found = key if own else f"{layer}.{key}"
                return FileSource(path, found, stored, axes, place, perm, groups)
            case NpyWeights(w, b):
                file = w if key == "w" else b
                place = self.tree.spot(entry.at("weights")).place()
                return (
                    None
                    if file is None
                    else FileSource(file, key, stored, axes, place, perm, groups)
                )
            case InitWeights(stddev, seed) if drawn is None:
                self.weighted += 1
                return DrawnSource(stddev, seed if own else seeded(seed, self.weighted - 1))
            case _:
                return None

    def outputs(self, entries: Sequence[Entry]) -> list[str]:
        """The values that ``outputs`` names, by default the last layer's."""
        if self.top.outputs is None:
            last = self.known.get(self.previous or "", ())
            return [value for value in last if value is not None] if entries else []
        found: list[str] = []
        for at, name in enumerate(self.top.outputs):
            path: Path = ("outputs", at) if ("outputs", at) in self.tree.values else ("outputs",)
            if name == "previous":
                self.report.add(path, "E503", "`previous` is no layer's name; name the layer")
                continue
            value = self._value(name, path)
            if value is not None and value[0] is not None:
                found.append(value[0])
        return list(dict.fromkeys(found))

    def finish(self, outputs: Sequence[str]) -> NetworkSpec:
        graph = self.builder.finish(outputs)
        unused = [name for name in self.made if not graph.users[name] and name not in outputs]
        notes = tuple(f"layer `{name}` is read by nothing and left out" for name in unused)
        return NetworkSpec(
            graph,
            self.tree.source,
            MappingProxyType(self.sources),
            tuple(self.missing),
            notes,
        )


def _few(names: Mapping[str, Any]) -> str:
    listed = [name for name in names if not name.startswith(UNKNOWN)]
    shown = ", ".join(listed[:6])
    return f"{shown}{', ...' if len(listed) > 6 else ''}" if listed else "no layers yet"

"""``convgen check``: are the specs right, and what sizes do they give?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from convgen.cli.options import Cut, Json, NetName, Quiet, Shapes, Specs, Verbose
from convgen.cli.output import Output, session
from convgen.errors import ConvgenError
from convgen.spec.model import ConvSpec, Layer, Padding

if TYPE_CHECKING:
    from convgen.numbers.settle import Settled

HEAD = ("layer", "input", "filters", "output", "parameters", "MACs", "receptive field")
RIGHT = "llllrrl"


def check(
    specs: Specs,
    shape: Shapes = None,
    cut: Cut = None,
    name: NetName = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Check specs and show their sizes, parameters and cost.

    \b
    Example:  convgen check specs
    """
    with session("check", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.cli.networks import parted, reading
        from convgen.cli.resolved import layer_facts, quant_facts
        from convgen.cli.sources import read_layers

        kinds, how = parted(specs), reading(shape, cut, name)
        found = [_settled(layer, out) for layer in read_layers(kinds.layers, out)]
        good = [done for done in found if done is not None]
        out.payload["layers"] = [{**layer_facts(d.layer), **quant_facts(d)} for d in good]
        layers = [done.layer for done in good]
        if layers:
            out.table(HEAD, [check_row(layer.spec) for layer in layers], RIGHT)
        if kinds.networks:
            from convgen.cli.network_tables import check_networks

            out.payload["networks"] = []
            check_networks(kinds.networks, how, out)
        wrong = len(out.errors)
        if wrong:
            out.note(f"{count(wrong, 'error')}; {count(len(layers), 'good layer')}")


def _settled(layer: Layer, out: Output) -> Settled | None:
    """Read the files that the layer names, if any: they are part of what the spec says."""
    from convgen.numbers.settle import settled

    try:
        done = settled(layer)
    except ConvgenError as error:
        out.fail(error, layer.spec.name)
        return None
    for note in done.layer.notes[len(layer.notes) :]:
        out.note(f"{layer.source}: note: {layer.spec.name}: {note}")
    return done


def check_row(spec: ConvSpec) -> tuple[str, ...]:
    """One line of the table."""
    axes = spec.axes[3 - spec.rank :]
    return (
        spec.name,
        f"{images(spec)}{_times(axis.size for axis in axes)}x{spec.c}",
        filters(spec),
        f"{images(spec)}{_times(axis.out for axis in axes)}x{spec.oc}",
        f"{spec.params:,}",
        f"{spec.macs:,}",
        _times(axis.reach for axis in axes),
    )


def _times(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def images(spec: ConvSpec) -> str:
    """The batch before a shape, where it is not one image."""
    if spec.batch_any:
        return "any x "
    return "" if spec.batch == 1 else f"{spec.batch} x "


def filters(spec: ConvSpec) -> str:
    """The filters in a few words: ``10 of 5x5x3, pad 2``; what is as usual is left out."""
    axes = spec.axes[3 - spec.rank :]
    words = [f"{spec.oc} of {_times(axis.taps for axis in axes)}x{spec.icg}"]
    if spec.transposed:
        words.append("transposed")
    if any(axis.stride > 1 for axis in axes):
        words.append(f"stride {_each([axis.stride for axis in axes])}")
    if spec.padding != Padding():
        words.append(f"pad {_pad(spec)}")
    if any(axis.dilation > 1 for axis in axes):
        words.append(f"dilation {_each([axis.dilation for axis in axes])}")
    if any(spec.extra):
        words.append(f"output padding {_each([axis.extra for axis in axes])}")
    if spec.groups > 1:
        words.append("depthwise" if spec.icg == 1 else f"groups {spec.groups}")
    return ", ".join(words)


def _each(values: list[int]) -> str:
    """One number where all are alike."""
    return str(values[0]) if len(set(values)) == 1 else _times(values)


def _pad(spec: ConvSpec) -> str:
    axes = spec.axes[3 - spec.rank :]
    before, after = [axis.before for axis in axes], [axis.after for axis in axes]
    if before == after:
        return _each(before)
    from convgen.spec.model import SIDES

    sides = "/".join(SIDES[spec.rank])
    return f"{'/'.join(map(str, before + after))} ({sides})"


def count(number: int, noun: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

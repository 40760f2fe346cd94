"""``convgen check``: are the specs right, and what sizes do they give?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convgen.cli.options import Json, Quiet, Specs, Verbose
from convgen.cli.output import Output, session
from convgen.errors import ConvgenError
from convgen.spec.model import ConvSpec, Layer, Padding

if TYPE_CHECKING:
    from convgen.numbers.settle import Settled

HEAD = ("layer", "input", "filters", "output", "parameters", "MACs", "receptive field")
RIGHT = "llllrrl"


def check(
    specs: Specs, json: Json = False, verbose: Verbose = False, quiet: Quiet = False
) -> None:
    """Check specs and show their sizes, parameters and cost.

    \b
    Example:  convgen check specs
    """
    with session("check", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.cli.resolved import layer_facts, quant_facts
        from convgen.cli.sources import read_layers

        found = [_settled(layer, out) for layer in read_layers(specs, out)]
        good = [done for done in found if done is not None]
        out.payload["layers"] = [{**layer_facts(d.layer), **quant_facts(d)} for d in good]
        layers = [done.layer for done in good]
        if layers:
            out.table(HEAD, [check_row(layer.spec) for layer in layers], RIGHT)
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
    rf_h, rf_w = spec.receptive_field
    return (
        spec.name,
        f"{images(spec)}{spec.h}x{spec.w}x{spec.c}",
        filters(spec),
        f"{images(spec)}{spec.oh}x{spec.ow}x{spec.oc}",
        f"{spec.params:,}",
        f"{spec.macs:,}",
        f"{rf_h}x{rf_w}",
    )


def images(spec: ConvSpec) -> str:
    """The batch before a shape, where it is not one image."""
    if spec.batch_any:
        return "any x "
    return "" if spec.batch == 1 else f"{spec.batch} x "


def filters(spec: ConvSpec) -> str:
    """The filters in a few words: ``10 of 5x5x3, pad 2``; what is as usual is left out."""
    words = [f"{spec.oc} of {spec.kh}x{spec.kw}x{spec.icg}"]
    if (spec.sh, spec.sw) != (1, 1):
        words.append(f"stride {_pair(spec.sh, spec.sw)}")
    if spec.padding != Padding():
        words.append(f"pad {_pad(spec.padding)}")
    if (spec.dh, spec.dw) != (1, 1):
        words.append(f"dilation {_pair(spec.dh, spec.dw)}")
    if spec.groups > 1:
        words.append("depthwise" if spec.icg == 1 else f"groups {spec.groups}")
    return ", ".join(words)


def _pair(h: int, w: int) -> str:
    return str(h) if h == w else f"{h}x{w}"


def _pad(p: Padding) -> str:
    if p.top == p.bottom and p.left == p.right:
        return _pair(p.top, p.left)
    return f"{p.top}/{p.left}/{p.bottom}/{p.right} (top/left/bottom/right)"


def count(number: int, noun: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

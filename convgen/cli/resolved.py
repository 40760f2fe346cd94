"""A resolved layer as YAML text, and the facts of a layer for --json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from convgen.spec.layouts import image_letters, weight_letters
from convgen.spec.model import ConvSpec, Layer
from convgen.spec.resolved import quant_mapping, resolved_mapping

if TYPE_CHECKING:
    from convgen.numbers.settle import Settled

__all__ = ["layer_facts", "quant_facts", "resolved_mapping", "resolved_yaml"]

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def resolved_yaml(layer: Layer) -> str:
    """``resolved_mapping`` as YAML text, one key a line."""
    return "".join(f"{k}: {flow(v)}\n" for k, v in resolved_mapping(layer).items())


def flow(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case list():
            return f"[{', '.join(map(flow, value))}]"
        case dict():
            return f"{{{', '.join(f'{k}: {flow(v)}' for k, v in value.items())}}}"
        case _:
            # JSON's strings are YAML's double-quoted ones; only paths ever need the quotes.
            return value if set(value) <= PLAIN else json.dumps(value, ensure_ascii=False)


def quant_facts(done: Settled) -> dict[str, Any]:
    """Under --json: the scales of an 8-bit layer as they turned out, and what calibrating cost."""
    quant, findings = done.layer.spec.quant, done.findings
    return {
        "quant": None if quant is None else quant_mapping(quant),
        "sqnr": None if findings is None else findings.cost.to_mapping(),
    }


def layer_facts(layer: Layer) -> dict[str, Any]:
    """What check, explain and build say of a layer under --json: sizes, costs and notes."""
    s: ConvSpec = layer.spec
    return {
        "name": s.name,
        "source": layer.source,
        "input_shape": list(s.x_shape),
        "weight_shape": list(s.w_shape),
        "bias_shape": list(s.b_shape) if s.b_shape else None,
        "output_shape": list(s.y_shape),
        "dtype": str(s.dtype),
        "layout": image_letters(s),
        "weight_layout": weight_letters(s),
        "params": s.params,
        "macs": s.macs,
        "receptive_field": [axis.reach for axis in s.axes[3 - s.rank :]],
        "baked": layer.weights is not None,
        "notes": list(layer.notes),
        "spec": resolved_mapping(layer),
    }

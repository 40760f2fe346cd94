"""A layer on its way to a peer's process: what to compute as JSON, arrays as files.

Peers get every layer in one form, NHWC images and HWIO weights: each turns them, before the clock
starts, into what it likes best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from convgen.spec.model import (
    Accuracy,
    Act,
    Activation,
    ConvSpec,
    DType,
    Layout,
    Padding,
    WeightLayout,
)

ARRAYS = ("x", "w", "b")
RESULT = "y.npy"


def peer_form(spec: ConvSpec) -> ConvSpec:
    """The layer as peers get it: NHWC and HWIO."""
    return replace(spec, layout=Layout.NHWC, weight_layout=WeightLayout.HWIO)


def spec_to_mapping(spec: ConvSpec) -> dict[str, Any]:
    """Plain data that JSON takes."""
    return asdict(spec)


def spec_from_mapping(data: Mapping[str, Any]) -> ConvSpec:
    """The reverse of ``spec_to_mapping``."""
    act = dict(data["activation"])
    return ConvSpec(
        **{
            **data,
            "padding": Padding(**data["padding"]),
            "activation": Activation(**{**act, "kind": Act(act["kind"])}),
            "dtype": DType(data["dtype"]),
            "layout": Layout(data["layout"]),
            "weight_layout": WeightLayout(data["weight_layout"]),
            "accuracy": Accuracy(data["accuracy"]),
        }
    )


def write_arrays(folder: Path, spec: ConvSpec, x: Any, w: Any, b: Any | None) -> None:
    """x, w, b of a layer in its own layouts, as files in the form that peers get.

    A layer without bias gets zeros: every peer then runs the same code.
    """
    import numpy as np

    from convgen.oracle import image_nhwc, weights_hwio

    bias = np.zeros(spec.oc, x.dtype) if b is None else b
    arrays = (image_nhwc(spec, x), weights_hwio(spec, w), bias)
    for name, array in zip(ARRAYS, arrays, strict=True):
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array))


def read_arrays(folder: Path) -> tuple[Any, Any, Any]:
    """x [n,h,w,c], w [kh,kw,c/g,oc], b [oc]."""
    import numpy as np

    x, w, b = (np.load(folder / f"{name}.npy") for name in ARRAYS)
    return x, w, b

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
from convgen.spec.quant import Affine, Quant, Rounding

ARRAYS = ("x", "w", "b")
RESULT = "y.npy"
LAYOUT = "layout"  # of the images that the caller has, whatever the form of these files


def peer_form(spec: ConvSpec) -> ConvSpec:
    """The layer as peers get it: NHWC and HWIO, a 1-D one as a 2-D one of height 1."""
    rank = max(2, spec.rank)
    return replace(spec, layout=Layout.NHWC, weight_layout=WeightLayout.HWIO, rank=rank)


def spec_to_mapping(spec: ConvSpec) -> dict[str, Any]:
    """Plain data that JSON takes."""
    return asdict(spec)


def spec_from_mapping(data: Mapping[str, Any]) -> ConvSpec:
    """The reverse of ``spec_to_mapping``."""
    act, quant = dict(data["activation"]), data["quant"]
    return ConvSpec(
        **{
            **data,
            "padding": Padding(**data["padding"]),
            "activation": Activation(**{**act, "kind": Act(act["kind"])}),
            "dtype": DType(data["dtype"]),
            "layout": Layout(data["layout"]),
            "weight_layout": WeightLayout(data["weight_layout"]),
            "accuracy": Accuracy(data["accuracy"]),
            "quant": None if quant is None else _quant(quant),
            "extra": tuple(data["extra"]),
        }
    )


def _quant(data: Mapping[str, Any]) -> Quant:
    given = {key: data[key] for key in ("input", "weight", "output", "sum")}
    affine = {
        key: None if v is None else Affine(tuple(v["scale"]), tuple(v["zero_point"]))
        for key, v in given.items()
    }
    assert affine["input"] is not None and affine["weight"] is not None
    return Quant(
        affine["input"], affine["weight"], affine["output"], affine["sum"],
        Rounding(data["rounding"]),
    )  # fmt: skip


def write_arrays(folder: Path, spec: ConvSpec, x: Any, w: Any, b: Any | None) -> None:
    """x, w, b of a layer in its own layouts, as files in the form that peers get.

    A layer without bias gets zeros: every peer then runs the same code.
    """
    import numpy as np

    from convgen.spec.elements import arrays_of, numpy_dtype
    from convgen.spec.layouts import image_nhwc, weights_hwio

    bias = np.zeros(spec.oc, numpy_dtype(arrays_of(spec).b)) if b is None else b
    arrays = (image_nhwc(spec, x), weights_hwio(spec, w), bias)
    for name, array in zip(ARRAYS, arrays, strict=True):
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array))
    (folder / LAYOUT).write_text(spec.layout, encoding="utf-8")


def in_planes(folder: Path) -> bool:
    """Whether the caller's images are planes (NCHW), so that peers get them so."""
    return (folder / LAYOUT).read_text(encoding="utf-8") == Layout.NCHW


def read_arrays(folder: Path) -> tuple[Any, Any, Any]:
    """x [n,h,w,c], w [kh,kw,c/g,oc], b [oc]."""
    import numpy as np

    x, w, b = (np.load(folder / f"{name}.npy") for name in ARRAYS)
    return x, w, b

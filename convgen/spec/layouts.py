"""Arrays in a layer's layouts, seen in the one order that a formula is written in.

Every image is looked at as one of rows, columns and channels: a 1-D one has a single row, and the
rows of a 3-D one are those of all its planes, one plane after the other. So have filters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from convgen.spec.model import ConvSpec, Layout, WeightLayout

_AXES = {1: "W", 2: "HW", 3: "DHW"}

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def image_letters(spec: ConvSpec) -> str:
    """The axes of x and y in memory: ``NHWC``, ``NCDHW``, ..."""
    return str(spec.layout).replace("HW", _AXES[spec.rank])


def weight_letters(spec: ConvSpec) -> str:
    """The axes of the weights in memory: ``HWIO``, ``OIDHW``, ..."""
    return str(spec.weight_layout).replace("HW", _AXES[spec.rank])


def image_nhwc(spec: ConvSpec, image: Array) -> Array:
    """A view of an image in the layer's layout as [n, d*h, w, c]."""
    import numpy as np

    if spec.layout is Layout.NCHW:
        image = np.moveaxis(image, 1, -1)
    n, *rows, w, c = image.shape
    view = image.reshape(n, math.prod(rows), w, c)
    assert np.shares_memory(view, image) or image.size == 0  # writing to it writes to the image
    return view


def in_layout(spec: ConvSpec, image: Array) -> Array:
    """An output given as [n, od*oh, ow, oc], in the layer's layout and rank."""
    import numpy as np

    n, _, w, c = image.shape
    rows = {1: (), 2: (spec.oh,), 3: (spec.od, spec.oh)}[spec.rank]
    image = image.reshape(n, *rows, w, c)
    if spec.layout is Layout.NHWC:
        return image
    return np.ascontiguousarray(np.moveaxis(image, -1, 1))


def weights_hwio(spec: ConvSpec, w: Array) -> Array:
    """Weights in the layer's layout as [kd*kh, kw, c/g, oc].

    A view, but for a transposed layer of several groups: its weights are [c, oc/g], of which no
    view has one axis of all output channels.
    """
    import numpy as np

    if spec.weight_layout in (WeightLayout.OIHW, WeightLayout.IOHW):
        w = np.moveaxis(w, (0, 1), (-2, -1))  # the taps first
    elif spec.weight_layout is WeightLayout.OHWI:
        w = np.moveaxis(w, 0, -1)
    if spec.weight_layout in (WeightLayout.OIHW, WeightLayout.HWOI):
        w = np.swapaxes(w, -2, -1)
    rows = spec.kd * spec.kh
    if not spec.transposed or spec.groups == 1:
        return w.reshape(rows, spec.kw, spec.icg, spec.oc)
    split = w.reshape(rows, spec.kw, spec.groups, spec.icg, spec.ocg)
    return np.moveaxis(split, 2, 3).reshape(rows, spec.kw, spec.icg, spec.oc)


def weights_in_layout(spec: ConvSpec, hwio: Array) -> Array:
    """Weights given as [kd*kh, kw, c/g, oc], in the layer's layout and rank: a new array."""
    import numpy as np

    w = hwio
    if spec.transposed and spec.groups > 1:
        split = w.reshape(*w.shape[:2], spec.icg, spec.groups, spec.ocg)
        w = np.moveaxis(split, 3, 2).reshape(*w.shape[:2], spec.c, spec.ocg)
    w = w.reshape(*(spec.kd, spec.kh, spec.kw)[3 - spec.rank :], *w.shape[2:])
    if spec.weight_layout in (WeightLayout.OIHW, WeightLayout.HWOI):
        w = np.swapaxes(w, -2, -1)
    if spec.weight_layout in (WeightLayout.OIHW, WeightLayout.IOHW):
        w = np.moveaxis(w, (-2, -1), (0, 1))
    elif spec.weight_layout is WeightLayout.OHWI:
        w = np.moveaxis(w, -1, 0)
    return np.ascontiguousarray(w)

"""The packed order of weights, in NumPy: what the generated ``<name>_pack`` writes, for baking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convgen.plan import Packing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from convgen.spec.weights import Weights


def pack(packing: Packing, weights: Weights) -> npt.NDArray[np.float32]:
    """1-D array [group][block][1 + KH*KW*ic][lanes]; ``weights`` lie in the spec's layout."""
    import numpy as np

    p = packing
    flat: npt.NDArray[Any] = np.ascontiguousarray(weights.w).reshape(-1)
    step = flat.itemsize
    hwigo = np.lib.stride_tricks.as_strided(
        flat,
        shape=(p.kh, p.kw, p.ic, p.groups, p.oc),
        strides=tuple(step * s for s in (p.w_kh, p.w_kw, p.w_ic, p.oc * p.w_oc, p.w_oc)),
        writeable=False,
    )
    out = np.zeros((p.groups, p.blocks * p.lanes, 1 + p.depth), dtype=np.float32)
    out[:, : p.oc, 1:] = hwigo.transpose(3, 4, 0, 1, 2).reshape(p.groups, p.oc, p.depth)
    if weights.b is not None:
        out[:, : p.oc, 0] = weights.b.reshape(p.groups, p.oc)
    blocked = out.reshape(p.groups, p.blocks, p.lanes, 1 + p.depth)
    return np.ascontiguousarray(blocked.transpose(0, 1, 3, 2)).reshape(-1)

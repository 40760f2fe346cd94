"""The packed order of weights, in NumPy: what the generated ``<name>_pack`` writes, for baking."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from convgen.kernels.dots.body import DotPacking
from convgen.kernels.windows.body import WindowPacking
from convgen.plan.kernel import KernelPlan
from convgen.plan.packing import Packing
from convgen.spec.elements import ELEMENTS, Element, stored, widened

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from convgen.spec.weights import Weights


def pack(
    packing: Packing, weights: Weights, element: Element = ELEMENTS["float32"]
) -> npt.NDArray[Any]:
    """1-D array [group][block][1 + KH*KW*ic][lanes] of the type that sums have; ``weights``, of
    this element type, lie in the spec's layout. With channels side by side see ``Packing``: the
    stored bits."""
    import numpy as np

    p = packing
    taps = (p.kh, p.kw) if p.winograd is None else tuple(r for _, r in p.winograd)

    def numbers(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        one = np.ascontiguousarray(array).reshape(-1)
        if p.side == 1:
            return widened(one, element)
        return one if one.dtype == element.storage else stored(one, element)

    flat = numbers(weights.w)
    step = flat.itemsize
    hwigo = np.lib.stride_tricks.as_strided(
        flat,
        shape=(*taps, p.ic, p.groups, p.oc),
        strides=tuple(step * s for s in (p.w_kh, p.w_kw, p.w_ic, p.w_group, p.w_oc)),
        writeable=False,
    )
    if p.rows:
        hwigo = hwigo[np.ix_(p.rows, p.columns)]
    if p.winograd is not None:
        hwigo = transformed(hwigo, *p.winograd)
    kind = element.compute if p.side == 1 else element.storage
    if p.ic % p.side:  # no channel beside the last one
        hwigo = np.pad(hwigo, [(0, 0), (0, 0), (0, -p.ic % p.side), (0, 0), (0, 0)])
    out = np.zeros((p.groups, p.blocks * p.lanes, p.block_stride // p.lanes), dtype=kind)
    out[:, : p.oc, p.side :] = hwigo.transpose(3, 4, 0, 1, 2).reshape(p.groups, p.oc, -1)
    if weights.b is not None:
        out[:, : p.oc, p.side - 1] = numbers(weights.b).reshape(p.groups, p.oc)
    blocked = out.reshape(p.groups, p.blocks, p.lanes, -1, p.side)
    return np.ascontiguousarray(blocked.transpose(0, 1, 3, 2, 4)).reshape(-1)


def pack_sections(plan: KernelPlan, weights: Weights) -> npt.NDArray[Any]:
    """1-D, int8: every bias as four bytes, then [oc][KH*KW*ic]; or what ``DotPacking`` says."""
    import numpy as np

    p, spec = plan.packing, plan.spec
    flat: npt.NDArray[Any] = np.ascontiguousarray(weights.w).reshape(-1)
    strides = (p.w_group, p.w_oc, p.w_kh, p.w_kw, p.w_ic)
    ohwi = np.lib.stride_tricks.as_strided(
        flat,
        shape=(spec.groups, spec.ocg, p.kh, p.kw, p.ic),
        strides=tuple(flat.itemsize * s for s in strides),
        writeable=False,
    ).reshape(spec.oc, p.kh, p.kw, p.ic)
    if p.rows:
        ohwi = ohwi[:, p.rows][:, :, p.columns]
    bias = np.zeros(spec.oc, flat.dtype) if weights.b is None else weights.b
    if isinstance(plan.sections, DotPacking):
        return _dots(plan.sections, ohwi, bias)
    if isinstance(plan.sections, WindowPacking):
        return _windows(plan.sections, ohwi, bias)
    return np.concatenate([bias.astype("<i4").view(np.int8), ohwi.reshape(-1)])


def _dots(p: DotPacking, ohwi: npt.NDArray[Any], bias: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """[group][block][bias | sums of taps | run][depth step][lane][depth], as bytes."""
    import numpy as np

    rows = ohwi
    if p.patterns:  # [oc][pattern][kw][4]: rows of taps side by side, the last one zeros
        zeros = np.zeros_like(ohwi[:, :1])
        picked = np.concatenate([ohwi, zeros], axis=1)[:, np.array(p.patterns)]
        rows = picked[..., 0].transpose(0, 1, 3, 2)
    runs = rows.reshape(p.groups, p.oc, p.runs, -1).astype(np.int8)
    taps = ohwi.reshape(p.groups, p.oc, -1, ohwi.shape[-1]).sum(axis=-1, dtype=np.int64) * p.zero
    starts = bias.astype(np.int64).reshape(p.groups, p.oc)
    if not p.summed:
        starts = starts - taps.sum(axis=-1)
    room = p.blocks * p.lanes - p.oc

    def blocked(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[group][channel]... as [group][block][lane]..., zeros where there is no channel."""
        filled = np.pad(array, [(0, 0), (0, room), *[(0, 0)] * (array.ndim - 2)])
        return filled.reshape(p.groups, p.blocks, p.lanes, *array.shape[2:])

    def words(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """int32 numbers, wrapped, as bytes."""
        whole = np.ascontiguousarray(array & 0xFFFFFFFF).astype("<u4")
        return whole.view(np.int8).reshape(p.groups, p.blocks, -1)

    ends = [(0, 0)] * 3 + [(0, p.run - runs.shape[-1])]
    deep = blocked(np.pad(runs, ends)).reshape(p.groups, p.blocks, p.lanes, p.runs, -1, p.depth)
    parts = [words(blocked(starts))]
    if p.summed:
        parts.append(words(blocked(taps).transpose(0, 1, 3, 2)))
    parts.append(deep.transpose(0, 1, 3, 4, 2, 5).reshape(p.groups, p.blocks, -1))
    return np.concatenate(parts, axis=-1).reshape(-1)


def _windows(
    p: WindowPacking, ohwi: npt.NDArray[Any], bias: npt.NDArray[Any]
) -> npt.NDArray[np.int8]:
    """Biases less what the zero point adds, then [group][block][step][filter][depth], as bytes."""
    import numpy as np

    sums = ohwi.reshape(len(ohwi), -1).sum(axis=-1, dtype=np.int64)
    starts = ((bias.astype(np.int64) - p.zero * sums) & 0xFFFFFFFF).astype("<u4")
    filters = ohwi.reshape(p.groups, p.oc, p.taps).astype(np.int8)
    filters = np.pad(filters, [(0, 0), (0, 0), (0, p.padded - p.taps)])
    first = np.array([p.first(block) for block in range(p.blocks)])
    blocks = filters[:, first[:, None] + np.arange(p.filters)]
    deep = blocks.reshape(p.groups, p.blocks, p.filters, -1, p.depth).transpose(0, 1, 3, 2, 4)
    return np.concatenate([starts.view(np.int8), deep.reshape(-1)])


def transformed(
    filters: npt.NDArray[Any], high: tuple[int, int], wide: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """G g GT of filters [r][r]..., summed in float64 in the order of the C, rounded once.

    ``high``, ``wide``: (m, r) along a column and along a row. G of F(1, 1) is 1.
    """
    import numpy as np

    from convgen.kernels.winograd.matrices import matrices

    down, across = (
        [[float(entry) for entry in row] for row in matrices(*size).g] for size in (high, wide)
    )
    exact = filters.astype(np.float64)
    rows = np.stack([_sum(e * exact[k] for k, e in enumerate(row)) for row in down])
    both = np.stack([_sum(rows[:, k] * e for k, e in enumerate(row)) for row in across], axis=1)
    return both.astype(np.float32)


def _sum(terms: Iterable[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Left to right from 0.0, as the C adds."""
    total: Any = 0.0
    for term in terms:
        total = total + term
    return total  # type: ignore[no-any-return]

"""What every peer has in common: its face, the layers it takes, the choice between its ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from convgen.bench.measure import Call, measure
from convgen.spec.model import Act, ConvSpec, DType
from convgen.spec.quant import Affine, Quant
from convgen.spec.window import out_size

TRIAL_ROUNDS = 5


@dataclass(frozen=True)
class Problem:
    """One layer for a peer: ``spec`` in NHWC and HWIO, its arrays, and how many threads to use.

    ``c_flags``: what lets a C compiler use the instruction set that convgen's kernel uses.
    ``planes``: its user has images in NCHW, so a way that wants others has to convert them itself.
    """

    spec: ConvSpec
    x: Any
    w: Any
    b: Any
    threads: int = 1
    c_flags: tuple[str, ...] = ()
    planes: bool = False

    @property
    def relu(self) -> bool:
        return self.spec.activation.kind is Act.RELU

    @property
    def quant(self) -> Quant:
        """Of an 8-bit layer."""
        assert self.spec.quant is not None
        return self.spec.quant

    @property
    def output(self) -> Affine:
        """What the integers of an 8-bit output mean."""
        assert self.quant.output is not None
        return self.quant.output

    @property
    def clamp(self) -> tuple[int, int]:
        """Least and largest integer of an 8-bit layer's output, ReLU's included."""
        from convgen.spec.requantize import requantization

        how = requantization(self.spec)
        assert how is not None
        return how.low, how.high


@dataclass(frozen=True)
class Prepared:
    """``call()`` computes the layer once; ``result()`` gives its output in NHWC.

    ``variant``: which of the peer's ways this is, "" where it has one. ``keep``: arrays that are
    used where they lie, and that the runtime does not hold on to.
    """

    call: Call
    result: Callable[[], Any]
    variant: str = ""
    keep: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Peer:
    """A runtime to compare with. ``packages``: what must be installed, the first one's version is
    the peer's. ``prepare``: everything that its users do once, before the clock starts; raises
    ``CannotPrepare`` for a layer that the peer does not take. ``quantized``: the same for 8-bit
    layers, ``bf16`` for those of bfloat16; None where the peer, or what it is told here, has no
    such kernel."""

    name: str
    packages: tuple[str, ...]
    prepare: Callable[[Problem], Prepared]
    version: Callable[[], str] | None = None
    quantized: Callable[[Problem], Prepared] | None = None
    bf16: Callable[[Problem], Prepared] | None = None

    def prepared(self, problem: Problem) -> Prepared:
        """By what is for the element type. Raises ``CannotPrepare``."""
        check_common(problem.spec)
        if problem.spec.dtype is DType.BFLOAT16:
            if self.bf16 is None:
                raise CannotPrepare(f"no bfloat16 layers are prepared for {self.name}")
            return self.bf16(problem)
        if not problem.spec.quantized:
            return self.prepare(problem)
        if self.quantized is None:
            raise CannotPrepare(f"no 8-bit layers with zero points are prepared for {self.name}")
        return self.quantized(problem)


class CannotPrepare(Exception):
    """This peer does not take this layer; the message says why."""


def pixels_only(problem: Problem) -> None:
    """Raises ``CannotPrepare`` for a user with planes."""
    if problem.planes:
        raise CannotPrepare("it takes NHWC images alone")


def installed_version(peer: Peer) -> str:
    """What is measured. Raises ``CannotPrepare`` where it is not installed."""
    if peer.version is not None:
        return peer.version()
    found = []
    for package in peer.packages:
        try:
            found.append(version(package))
        except PackageNotFoundError:
            raise CannotPrepare(f"not installed (pip install {' '.join(peer.packages)})") from None
    return found[0]


def check_common(spec: ConvSpec) -> None:
    """Peers are prepared for float32, bfloat16 and 8 bits with no activation or ReLU.

    Raises ``CannotPrepare``.
    """
    if spec.transposed or spec.rank == 3:
        kind = "transposed" if spec.transposed else "3-D"
        raise CannotPrepare(f"peers are timed on convolutions of 1 and 2 axes, this is {kind}")
    if spec.dtype in (DType.FLOAT64, DType.FLOAT16):
        raise CannotPrepare(
            f"peers are timed on float32, bfloat16 and 8-bit layers, this is {spec.dtype}"
        )
    if spec.quant is not None and spec.quant.output is None:
        raise CannotPrepare("peers are timed with 8-bit outputs, this layer gives int32 sums")
    if spec.activation.kind not in (Act.NONE, Act.RELU):
        raise CannotPrepare(
            f"peers are timed with no activation or relu, this layer has {spec.activation.kind}"
        )


@dataclass(frozen=True)
class Pads:
    """Zeros around the input as a user of a peer would write them."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def even(self) -> bool:
        return self.top == self.bottom and self.left == self.right


def pads(spec: ConvSpec) -> Pads:
    """The padding, with what convgen trimmed (a bottom row that no window reaches) put back.

    So the stem 224 f7 s2 p3 is (3, 3, 3, 3) again: peers have a quicker way for even padding.
    """
    p = spec.padding
    bottom, right = p.bottom, p.right
    if out_size(spec.h, p.top, p.top, spec.kh, spec.dh, spec.sh) == spec.oh:
        bottom = p.top
    if out_size(spec.w, p.left, p.left, spec.kw, spec.dw, spec.sw) == spec.ow:
        right = p.left
    return Pads(p.top, p.left, bottom, right)


def as_uint8(problem: Problem) -> Problem:
    """An int8 layer over uint8 images: the same one, integers and zero points all 128 higher.

    On x86-64, runtimes advise their users to quantise so.
    """
    import numpy as np

    quant = problem.quant
    higher = replace(
        quant,
        input=Affine(quant.input.scale, (quant.x_zero + 128,)),
        output=Affine(problem.output.scale, (problem.output.zero_point[0] + 128,)),
    )
    x = (problem.x.astype(np.int16) + 128).astype(np.uint8)
    return replace(problem, spec=replace(problem.spec, dtype=DType.UINT8, quant=higher), x=x)


def from_uint8(way: Callable[[Problem], Prepared], problem: Problem) -> Prepared:
    """An int8 layer prepared by way of its uint8 form; the result is int8 again."""
    import numpy as np

    made = way(as_uint8(problem))
    variant = f"{made.variant}, uint8" if made.variant else "uint8"
    return replace(
        made,
        result=lambda: (made.result().astype(np.int16) - 128).astype(np.int8),
        variant=variant,
    )


def both_kinds(
    ways: Sequence[Callable[[Problem], Prepared]], problem: Problem
) -> list[Callable[[], Prepared]]:
    """Each way for an 8-bit layer as it is, and by its uint8 form where it is int8."""
    found: list[Callable[[], Prepared]] = [partial(way, problem) for way in ways]
    if problem.spec.dtype is DType.INT8:
        found += [partial(from_uint8, way, problem) for way in ways]
    return found


def nchw(x: Any) -> Any:
    """An NHWC image as a contiguous NCHW one."""
    import numpy as np

    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def oihw(w: Any) -> Any:
    """HWIO weights as contiguous OIHW ones."""
    import numpy as np

    return np.ascontiguousarray(w.transpose(3, 2, 0, 1))


def quickest(ways: Sequence[Callable[[], Prepared]]) -> Prepared:
    """The quickest of a peer's ways, after a short trial of each, as its users would choose.

    A way that fails is left out; raises its error when all of them do.
    """
    ready: list[Prepared] = []
    failure: Exception | None = None
    for way in ways:
        try:
            made = way()
            made.call()
            ready.append(made)
        except Exception as error:  # foreign code: any exception means that this way is not one
            failure = error
    if not ready:
        assert failure is not None
        raise failure
    if len(ready) == 1:
        return ready[0]
    timings = measure([made.call for made in ready], TRIAL_ROUNDS)
    return min(zip(timings, ready, strict=True), key=lambda pair: pair[0].best)[1]

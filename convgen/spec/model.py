"""ConvSpec: WHAT is computed. A frozen value, checked once; everything downstream trusts it.

    y[n,oh,ow,oc] = act(b[oc] + sum_{kh,kw,ic} x[n, oh*SH - PT + kh*DH, ow*SW - PL + kw*DW,
                                                 g*(C/G) + ic] * w[kh,kw,ic,oc])

Cross-correlation, as in every deep-learning framework: the filter is not flipped. Taps that fall
in the padding contribute nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from convgen.spec.quant import Quant, Rounding
from convgen.spec.schedule import Schedule


class DType(StrEnum):
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"
    UINT8 = "uint8"


class Layout(StrEnum):
    NHWC = "NHWC"
    NCHW = "NCHW"


class WeightLayout(StrEnum):
    HWIO = "HWIO"
    OIHW = "OIHW"
    OHWI = "OHWI"


class Accuracy(StrEnum):
    FAST = "fast"
    STRICT = "strict"


class Act(StrEnum):
    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"
    LEAKY_RELU = "leaky_relu"
    CLIP = "clip"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    SILU = "silu"
    HARDSWISH = "hardswish"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"


@dataclass(frozen=True)
class Activation:
    """``alpha``: slope of leaky_relu below 0. ``low``/``high``: clip's limits, None where open."""

    kind: Act = Act.NONE
    alpha: float = 0.01
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Padding:
    """Zeros around the input, in pixels."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0


def out_size(size: int, before: int, after: int, taps: int, dilation: int, stride: int) -> int:
    """floor((size + before + after - ((taps-1)*dilation + 1)) / stride) + 1, or 0: no window fits.

    The sign is checked before the division: a floor of a negative number is not a size.
    """
    room = size + before + after - ((taps - 1) * dilation + 1)
    return room // stride + 1 if room >= 0 else 0


@dataclass(frozen=True)
class ConvSpec:
    """One convolution layer, every default filled in. Sizes in elements.

    ``padding`` is what the kernel uses: a bottom or right part that no window reaches is already
    trimmed. ``batch_any``: compiled for one image (batch is 1), Python loops over any N.
    ``quant``: of 8-bit layers alone; None there only while its numbers lie in files still unread
    (``Layer.quant``).
    """

    name: str
    h: int
    w: int
    c: int
    oc: int
    kh: int
    kw: int
    sh: int = 1
    sw: int = 1
    dh: int = 1
    dw: int = 1
    padding: Padding = field(default_factory=Padding)
    groups: int = 1
    batch: int = 1
    batch_any: bool = False
    bias: bool = True
    activation: Activation = field(default_factory=Activation)
    dtype: DType = DType.FLOAT32
    layout: Layout = Layout.NHWC
    weight_layout: WeightLayout = WeightLayout.HWIO
    accuracy: Accuracy = Accuracy.FAST
    quant: Quant | None = None

    def __repr__(self) -> str:
        """Every field, ``quant`` only where there is one: digests of float layers rest on this."""
        named = [(f.name, getattr(self, f.name)) for f in fields(self)]
        shown = [f"{name}={value!r}" for name, value in named if name != "quant" or value]
        return f"ConvSpec({', '.join(shown)})"

    def __post_init__(self) -> None:
        sizes = (self.h, self.w, self.c, self.oc, self.kh, self.kw, self.batch, self.groups)
        steps = (self.sh, self.sw, self.dh, self.dw)
        pads = (self.padding.top, self.padding.left, self.padding.bottom, self.padding.right)
        assert min(sizes) >= 1 and min(steps) >= 1 and min(pads) >= 0, self
        assert self.c % self.groups == 0 and self.oc % self.groups == 0, self
        assert self.oh >= 1 and self.ow >= 1, self
        assert self.quant is None or self.quantized, self

    @property
    def quantized(self) -> bool:
        """Are the elements 8-bit integers?"""
        return self.dtype in (DType.INT8, DType.UINT8)

    @property
    def oh(self) -> int:
        p = self.padding
        return out_size(self.h, p.top, p.bottom, self.kh, self.dh, self.sh)

    @property
    def ow(self) -> int:
        p = self.padding
        return out_size(self.w, p.left, p.right, self.kw, self.dw, self.sw)

    @property
    def icg(self) -> int:
        """Input channels of one group, C/G: the depth of every filter."""
        return self.c // self.groups

    @property
    def ocg(self) -> int:
        """Output channels of one group, OC/G."""
        return self.oc // self.groups

    @property
    def receptive_field(self) -> tuple[int, int]:
        """Input rows and columns that one output sees, holes of the dilation included."""
        return (self.kh - 1) * self.dh + 1, (self.kw - 1) * self.dw + 1

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        return self._image(self.h, self.w, self.c)

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        return self._image(self.oh, self.ow, self.oc)

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        match self.weight_layout:
            case WeightLayout.HWIO:
                return self.kh, self.kw, self.icg, self.oc
            case WeightLayout.OIHW:
                return self.oc, self.icg, self.kh, self.kw
            case WeightLayout.OHWI:
                return self.oc, self.kh, self.kw, self.icg

    @property
    def b_shape(self) -> tuple[int] | None:
        return (self.oc,) if self.bias else None

    @property
    def params(self) -> int:
        return self.kh * self.kw * self.icg * self.oc + (self.oc if self.bias else 0)

    @property
    def macs(self) -> int:
        """Multiply-adds of one call, taps in the padding included (the usual convention)."""
        return self.batch * self.oh * self.ow * self.oc * self.kh * self.kw * self.icg

    def _image(self, h: int, w: int, c: int) -> tuple[int, int, int, int]:
        if self.layout is Layout.NHWC:
            return self.batch, h, w, c
        return self.batch, c, h, w


@dataclass(frozen=True)
class NpzWeights:
    """Keys ``w`` and, with a bias, ``b`` of one ``.npz`` file."""

    path: PurePath


@dataclass(frozen=True)
class NpyWeights:
    """One ``.npy`` file each."""

    w: PurePath
    b: PurePath | None = None


@dataclass(frozen=True)
class InitWeights:
    """Truncated normal, cut at two standard deviations; bias zeros; a frozen generator."""

    stddev: float
    seed: int = 0


@dataclass(frozen=True)
class ArrayWeights:
    """Arrays given from Python, copied and read-only, still unchecked. ``digest`` of their bytes,
    types and shapes stands for them wherever layers are compared or remembered."""

    w: Any = field(compare=False, repr=False)  # an NDArray, which pydantic would import
    b: Any = field(compare=False, repr=False)
    digest: str


WeightSource = NpzWeights | NpyWeights | InitWeights | ArrayWeights


@dataclass(frozen=True)
class ScaleFile:
    """Scales that lie in an array of an ``.npz`` file, still unread."""

    path: PurePath
    key: str

    def __str__(self) -> str:
        return f"{self.path}#{self.key}"


@dataclass(frozen=True)
class AffineForm:
    """``scale`` and ``zero_point`` as the spec gives them; None where left out."""

    scale: tuple[float, ...] | ScaleFile | None = None
    zero_point: tuple[int, ...] | None = None


@dataclass(frozen=True)
class QuantForm:
    """The key ``quant`` as it was read. ``sums``: the output is ``int32``, without a scale."""

    input: AffineForm = field(default_factory=AffineForm)
    weight: AffineForm = field(default_factory=AffineForm)
    output: AffineForm | None = None
    sums: bool = False
    sum: AffineForm | None = None
    bias: AffineForm | None = None
    rounding: Rounding | None = None


@dataclass(frozen=True)
class Calibration:
    """The key ``quantize``: float weights become int8, with scales from sample inputs.

    ``percentile``: how much of the sample values a range must hold, 100 for all of them.
    """

    path: PurePath
    percentile: float = 100.0
    rounding: Rounding = Rounding.TFLITE


@dataclass(frozen=True)
class Place:
    """A place in a spec file, counted from 1 (0: none), and its line with a caret, or ""."""

    line: int = 0
    col: int = 0
    snippet: str = ""


@dataclass(frozen=True)
class Layer:
    """One layer of a spec file: its meaning, and what the file says about how to build it.

    ``schedule``: pinned, or None for ``auto``. ``weights``: baked into the C, or None for run time.
    ``source``: the spec file as the user named it. ``notes``: accepted, but worth knowing.
    ``weights_place``: where the file names the weights, for errors found when they are read.
    ``quant``: how an 8-bit layer's scales are to be found, None where ``spec`` holds them;
    ``quant_place``: where the file says so.
    """

    spec: ConvSpec
    source: str
    schedule: Schedule | None = None
    weights: WeightSource | None = None
    notes: tuple[str, ...] = ()
    weights_place: Place = field(default_factory=Place, compare=False)
    quant: QuantForm | Calibration | None = None
    quant_place: Place = field(default_factory=Place, compare=False)

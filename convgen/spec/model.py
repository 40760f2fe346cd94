"""ConvSpec: WHAT is computed. A frozen value, checked once; everything downstream trusts it.

    y[n,oh,ow,oc] = act(b[oc] + sum_{kh,kw,ic} x[n, oh*SH - PT + kh*DH, ow*SW - PL + kw*DW,
                                                 g*(C/G) + ic] * w[kh,kw,ic,oc])

Cross-correlation, as in every deep-learning framework: the filter is not flipped. Taps that fall
in the padding contribute nothing. A transposed convolution is its gradient over the input:

    y[n, ih*SH - PT + kh*DH, iw*SW - PL + kw*DW, oc] += x[n,ih,iw,ic] * w[kh,kw,ic,oc]

A 1-D layer is a 2-D one of height 1; a 3-D layer has planes beside rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from convgen.spec.quant import Quant, Rounding
from convgen.spec.schedule import Schedule
from convgen.spec.window import Axis


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
    """I is the layer's input, O its output. Of a convolution I counts the channels of one group and
    O all filters; of a transposed one I counts all input channels and O the outputs of one group,
    as in PyTorch and ONNX. HW stands for W in 1-D and for DHW in 3-D."""

    HWIO = "HWIO"
    OIHW = "OIHW"
    OHWI = "OHWI"
    IOHW = "IOHW"
    HWOI = "HWOI"


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
    """Zeros around the input, in pixels; of a transposed convolution, what its output lacks there.
    ``front`` and ``back`` belong to 3-D layers."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0
    front: int = 0
    back: int = 0

    def __repr__(self) -> str:
        """Front and back only where they are: digests of 2-D layers rest on this."""
        flat = f"top={self.top}, left={self.left}, bottom={self.bottom}, right={self.right}"
        deep = f", front={self.front}, back={self.back}" if self.front or self.back else ""
        return f"Padding({flat}{deep})"


# The sides that an input of one, two or three axes has, in the order of a list of them.
SIDES: Mapping[int, tuple[str, ...]] = {
    1: ("left", "right"),
    2: ("top", "left", "bottom", "right"),
    3: ("front", "top", "left", "back", "bottom", "right"),
}


@dataclass(frozen=True)
class ConvSpec:
    """One convolution layer, every default filled in. Sizes in elements.

    ``padding`` is what the kernel uses: a bottom or right part that no window reaches is already
    trimmed. ``batch_any``: compiled for one image (batch is 1), Python loops over any N.
    ``quant``: of 8-bit layers alone; None there only while its numbers lie in files still unread
    (``Layer.quant``). ``rank``: of the image, 1, 2 or 3: how many axes arrays have beside batch and
    channels; an axis that is not there has size and taps of 1. ``extra``: output padding in depth,
    height and width. ``x_pixel``, ``y_pixel``: elements from one pixel to the next where x or y is
    a view into a wider buffer, channels last; 0 where the channels lie close.
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
    rank: int = 2
    d: int = 1
    kd: int = 1
    sd: int = 1
    dd: int = 1
    transposed: bool = False
    extra: tuple[int, int, int] = (0, 0, 0)
    x_pixel: int = 0
    y_pixel: int = 0

    def __repr__(self) -> str:
        """Every field, those from ``quant`` on only where they say something: digests of plain
        2-D layers rest on this."""
        names = [f.name for f in fields(self)]
        plain = names.index("quant")
        shown = [
            f"{f.name}={getattr(self, f.name)!r}"
            for at, f in enumerate(fields(self))
            if at < plain or getattr(self, f.name) != f.default
        ]
        return f"ConvSpec({', '.join(shown)})"

    def __post_init__(self) -> None:
        assert self.c % self.groups == 0 and self.oc % self.groups == 0, self
        assert min(self.c, self.oc, self.batch, self.groups) >= 1, self
        for axis in self.axes:
            assert min(axis.size, axis.taps, axis.stride, axis.dilation, axis.out) >= 1, self
            assert min(axis.before, axis.after, axis.extra) >= 0, self
        depth, height, _ = self.axes
        assert depth.idle or self.rank == 3, self
        assert height.idle or self.rank >= 2, self
        assert self.transposed or not any(self.extra), self
        assert self.quant is None or self.quantized, self
        channels_last = self.layout is Layout.NHWC
        for pixel, channels in ((self.x_pixel, self.c), (self.y_pixel, self.oc)):
            assert pixel == 0 or (channels_last and pixel >= channels), self

    @property
    def quantized(self) -> bool:
        """Are the elements 8-bit integers?"""
        return self.dtype in (DType.INT8, DType.UINT8)

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """Depth, height and width; those beyond ``rank`` are idle."""
        p, (front, low, right) = self.padding, self.extra
        t = self.transposed
        return (
            Axis(self.d, self.kd, self.sd, self.dd, p.front, p.back, t, front),
            Axis(self.h, self.kh, self.sh, self.dh, p.top, p.bottom, t, low),
            Axis(self.w, self.kw, self.sw, self.dw, p.left, p.right, t, right),
        )

    @property
    def od(self) -> int:
        return self.axes[0].out

    @property
    def oh(self) -> int:
        return self.axes[1].out

    @property
    def ow(self) -> int:
        return self.axes[2].out

    @property
    def taps(self) -> int:
        """Of one filter, over all axes."""
        return self.kd * self.kh * self.kw

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
        _, height, width = self.axes
        return height.reach, width.reach

    @property
    def x_shape(self) -> tuple[int, ...]:
        return self._image((self.d, self.h, self.w), self.c)

    @property
    def y_shape(self) -> tuple[int, ...]:
        return self._image((self.od, self.oh, self.ow), self.oc)

    @property
    def w_shape(self) -> tuple[int, ...]:
        taps = (self.kd, self.kh, self.kw)[3 - self.rank :]
        into, out = (self.c, self.ocg) if self.transposed else (self.icg, self.oc)
        match self.weight_layout:
            case WeightLayout.HWIO:
                return *taps, into, out
            case WeightLayout.OIHW:
                return out, into, *taps
            case WeightLayout.OHWI:
                return out, *taps, into
            case WeightLayout.IOHW:
                return into, out, *taps
            case WeightLayout.HWOI:
                return *taps, out, into

    @property
    def b_shape(self) -> tuple[int] | None:
        return (self.oc,) if self.bias else None

    @property
    def params(self) -> int:
        return self.taps * self.icg * self.oc + (self.oc if self.bias else 0)

    @property
    def macs(self) -> int:
        """Multiply-adds of one call, taps in the padding included (the usual convention): every
        output times every tap, of a transposed convolution every input times every tap."""
        if self.transposed:
            return self.batch * self.d * self.h * self.w * self.c * self.taps * self.ocg
        return self.batch * self.od * self.oh * self.ow * self.oc * self.taps * self.icg

    def _image(self, sizes: tuple[int, int, int], channels: int) -> tuple[int, ...]:
        sizes_here = sizes[3 - self.rank :]
        if self.layout is Layout.NHWC:
            return self.batch, *sizes_here, channels
        return self.batch, channels, *sizes_here


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

    w: Any = field(compare=False, repr=False)  # an NDArray; NumPy need not be there
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

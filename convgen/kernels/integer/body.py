"""Numbers of the integer kernels; what they compute is TFLite's arithmetic, to the bit."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.kernels.nest import Nest, Walk


@dataclass(frozen=True)
class Scale:
    """A multiplier: v * factor * 2^(shift - 31), rounded twice or, with ``once``, once."""

    factor: int
    shift: int
    once: bool = False

    @property
    def function(self) -> str:
        return "scaled_once" if self.once else "scaled"

    def of(self, value: str) -> str:
        """The C expression."""
        if self.once:
            return f"scaled_once({value}, {self.factor}, {31 - self.shift})"
        left, right = max(self.shift, 0), max(-self.shift, 0)
        return f"scaled({value}, {self.factor}, {left}, {right})"


CHUNK = 4096  # elements of a unit where the arrays are one run


@dataclass(frozen=True)
class IntEachBody:
    """Two 8-bit operands. ``first``, ``second``: their scales before a sum, or prelu's for positive
    and negative numbers; ``last``: the result's. ``zeros``: zero points of a, b and y."""

    op: str
    walk: Walk
    types: tuple[str, str, str]
    zeros: tuple[int, int, int]
    first: Scale | None
    second: Scale | None
    last: Scale | None
    low: int
    high: int

    template = "kernels/integer/each.j2"
    act = None

    @property
    def functions(self) -> tuple[str, ...]:
        scales = (self.first, self.second, self.last)
        return tuple(dict.fromkeys(s.function for s in scales if s is not None))

    def centred(self, operand: int, pointer: str) -> str:
        zero = self.zeros[operand]
        shift = f" - {zero}" if zero > 0 else f" + {-zero}" if zero else ""
        element = self.walk.element(operand, pointer)
        return f"({element}{shift})" if shift else element

    @property
    def expression(self) -> str:
        """The C of one result before its zero point and limits; a_i, b_i: centred operands."""
        match self.op:
            case "add" | "sub":
                sign = "+" if self.op == "add" else "-"
                assert self.first and self.second and self.last
                one, two = self.first.of("a_i * 1048576"), self.second.of("b_i * 1048576")
                return self.last.of(f"{one} {sign} {two}")
            case "mul":
                assert self.last
                return self.last.of("a_i * b_i")
            case "prelu":
                assert self.first and self.second
                return f"a_i >= 0 ? {self.first.of('a_i')} : {self.second.of('a_i * b_i')}"
            case _:
                raise AssertionError(self.op)

    @property
    def words(self) -> str:
        return f"y = {self.op}(a, b) of quantised numbers"


BATCH = 256  # sums that are made before they are scaled together


@dataclass(frozen=True)
class SumBody:
    """a + b or a - b of 8-bit operands on vectors of int32: each operand is looked up, scaled
    (``first``, ``second``: 256 entries, from the least integer up), then the sums are scaled by
    ``last`` with all lanes at once. ``least``: the operands' least integer.
    """

    walk: Walk
    types: tuple[str, str, str]
    first: tuple[int, ...]
    second: tuple[int, ...]
    least: int
    last: Scale
    y_zero: int
    low: int
    high: int

    template = "kernels/integer/sum.j2"
    act = None
    batch = BATCH
    lanewise = ("sums", "reduce_signed", "add1", "max1", "min1", "narrow")

    @property
    def functions(self) -> tuple[str, ...]:
        return (self.last.function,)

    @property
    def right(self) -> int:
        """By how much the product's upper half is shifted, rounded."""
        return -self.last.shift

    @property
    def addend(self) -> int:
        """What rounds both times: 2^30, and half of 2^right in units of 2^31."""
        return (1 << 30) + (1 << (self.right - 1 + 31))

    @property
    def words(self) -> str:
        return "y = a + b of quantised numbers, looked up as they are scaled"


@dataclass(frozen=True)
class TableBody:
    """y = table[x]: any function of one 8-bit number."""

    walk: Walk
    types: tuple[str, str]
    least: int
    table: tuple[int, ...]

    template = "kernels/integer/table.j2"
    act = None

    @property
    def words(self) -> str:
        return "y = a table's entry for x"


REALS = 64  # numbers that are rounded before they are stored as bytes together
VECTOR = 16  # the most lanes that a vector of floats has
SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def _plus(number: int) -> str:
    return f" + {number}" if number > 0 else f" - {-number}" if number else ""


def _dequantised(element: str, zero: int, scale: float) -> str:
    """The C of the real number that an 8-bit element means."""
    from convgen.ctext.activations import float_literal

    return f"{float_literal(scale)} * (float)({element}{_plus(-zero)})"


@dataclass(frozen=True)
class QuantizeBody:
    """Real numbers to 8-bit integers: y = zero + round(v / scale) within ``low`` .. ``high``.

    v is x, or ``op`` of two operands; an operand is an array of floats, or of 8-bit integers q that
    mean ``scale`` * (q - ``zero``), which ``affine`` has for each. ``scale``: a float32. ``even``:
    halves go to the even integer. All arithmetic is in float32, each operation rounded: plain C
    looks 8-bit operands up in tables, so that no compiler fuses the product that makes one real.
    """

    walk: Walk
    types: tuple[str, ...]
    scale: float
    zero: int
    low: int
    high: int
    even: bool
    op: str = "copy"
    affine: tuple[tuple[int, float] | None, ...] = (None,)

    template = "kernels/integer/quantize.j2"
    act = None

    def operations(self, lanes: int) -> tuple[str, ...]:
        own = (self.op,) if self.binary else ()
        away = () if self.even else ("sub", "mul")
        both = ("load", "store", "set1", "add", "div", "max", "min", "keep")
        return (*own, *away, *both) if lanes > 1 else ()

    @property
    def binary(self) -> bool:
        return self.op != "copy"

    @property
    def loadable(self) -> bool:
        """Whether vectors are loaded from x itself."""
        return not self.binary and self.affine[0] is None and self.walk.step(0) == 1

    def real(self, operand: int, index: str) -> str:
        """The C of an operand's element as a real number."""
        element = self.walk.element(operand, ("pa", "pb")[operand], index)
        meaning = self.affine[operand]
        return element if meaning is None else _dequantised(element, *meaning)

    def looked_up(self, name: str) -> str:
        """The C of v of element i in the kernel ``name``, whose tables give the real numbers."""
        found = []
        for at, letter in enumerate("ab"[: self.walk.inputs]):
            element = self.walk.element(at, f"p{letter}")
            place = f"{name}_{letter}[{element}{_plus(-self.least[at])}]"
            found.append(element if self.affine[at] is None else place)
        return f"({found[0]} {SIGNS[self.op]} {found[1]})" if self.binary else found[0]

    @property
    def tables(self) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
        """By the letter of each 8-bit operand: its least integer, and what every integer from there
        up means, as C literals."""
        import numpy as np

        from convgen.ctext.activations import float_literal

        found = []
        for letter, meaning, least in zip("ab", self.affine, self.least, strict=False):
            if meaning is not None:
                zero, scale = meaning
                centred = np.arange(least - zero, least - zero + 256).astype(np.float32)
                numbers = (np.float32(scale) * centred).tolist()
                found.append((letter, least, tuple(map(float_literal, numbers))))
        return tuple(found)

    @property
    def least(self) -> tuple[int, ...]:
        """The least integer of each operand's type."""
        return tuple(-128 if kind == "int8_t" else 0 for kind in self.types[:-1])

    @property
    def literal(self) -> str:
        from convgen.ctext.activations import float_literal

        return float_literal(self.scale)

    @property
    def least_real(self) -> str:
        return f"{self.low - self.zero}.0f"

    @property
    def most_real(self) -> str:
        return f"{self.high - self.zero}.0f"

    @property
    def zero_added(self) -> str:
        """The C that follows a result without its zero point."""
        return _plus(self.zero)

    @property
    def batch(self) -> int:
        """How many numbers are rounded together: whole vectors, a divisor of ``CHUNK``."""
        return min(REALS, -(-self.walk.run // VECTOR) * VECTOR)

    def stored(self, index: str) -> str:
        """The C of an output of the batch: the lowest bits of a rounded number, moved by the zero
        point."""
        zero = f" + {self.zero & 0xFF}" if self.zero else ""
        return f"({self.types[-1]})(bits[{index}]{zero})"

    @property
    def words(self) -> str:
        made = "x" if not self.binary else f"{self.op}(a, b)"
        return f"y = {self.zero} + {made} / {self.scale:.9g}, rounded"


@dataclass(frozen=True)
class DequantizeBody:
    """Integers to floats: y = scale * (q - zero). ``scale``: a float32."""

    walk: Walk
    types: tuple[str, str]
    scale: float
    zero: int

    template = "kernels/integer/dequantize.j2"
    act = None
    block = 16

    def blocks(self, lanes: int) -> bool:
        """Whether there are vectors that compilers may make of blocks of elements."""
        return lanes > 1 and self.walk.step(0) == 1 and self.walk.run >= self.block

    def real(self, index: str) -> str:
        """The C of element ``index`` of x as a real number."""
        return _dequantised(self.walk.element(0, "pa", index), self.zero, self.scale)

    @property
    def words(self) -> str:
        return f"y = {self.scale:.9g} * (x - ({self.zero}))"


@dataclass(frozen=True)
class IntReduceBody:
    """Sums, scaled, or extremes over some axes. ``kept`` walks x and y, ``folded`` x alone."""

    fn: str
    kept: Nest
    folded: Nest
    types: tuple[str, str]
    x_zero: int
    y_zero: int
    scale: Scale | None
    count: int
    low: int
    high: int

    template = "kernels/integer/reduce.j2"
    act = None

    @property
    def functions(self) -> tuple[str, ...]:
        return () if self.scale is None else (self.scale.function,)

    @property
    def units(self) -> int:
        return self.kept.units

    @property
    def words(self) -> str:
        return f"y = the {self.fn} of {self.count} quantised numbers each"


@dataclass(frozen=True)
class IntSoftmaxBody:
    """Softmax of rows of 8-bit integers: ``powers[k]`` = e^(-k * scale * beta) as a float32.

    ``y_scale``: the output's; ``loops``: the other axes, of x and y, closed by a loop of one turn.
    """

    n: int
    loops: Nest
    x_step: int
    y_step: int
    types: tuple[str, str]
    powers: tuple[float, ...]
    y_scale: float
    y_zero: int
    low: int
    high: int

    template = "kernels/integer/softmax.j2"
    act = None

    @property
    def units(self) -> int:
        return self.loops.units

    @property
    def literals(self) -> tuple[str, ...]:
        from convgen.ctext.activations import float_literal

        return tuple(float_literal(p) for p in self.powers)

    @property
    def scale_literal(self) -> str:
        from convgen.ctext.activations import float_literal

        return float_literal(self.y_scale)

    @property
    def words(self) -> str:
        return f"y = softmax(x) over {self.n} quantised numbers"

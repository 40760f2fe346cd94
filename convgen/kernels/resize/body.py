"""Every output lies between two rows and two columns: tables of both, and of how near it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Between:
    """One axis: the lower and the upper element of each output, as offsets in x, and the weight of
    the upper one (float32 numbers; for integers 1024ths)."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    part: tuple[float, ...]
    y_step: int

    @property
    def size(self) -> int:
        return len(self.low)

    @property
    def literals(self) -> tuple[str, ...]:
        from convgen.ctext.activations import float_literal

        return tuple(float_literal(p) for p in self.part)

    @property
    def whole(self) -> tuple[int, ...]:
        return tuple(int(p) for p in self.part)


@dataclass(frozen=True)
class ResizeBody:
    """``images`` x rows x columns x ``run`` elements side by side (channels)."""

    images: int
    x_image: int
    y_image: int
    rows: Between
    cols: Between
    run: int
    element: str = "float"

    act = None

    @property
    def template(self) -> str:
        kind = "linear" if self.element == "float" else "linear_int"
        return f"kernels/resize/{kind}.j2"

    @property
    def types(self) -> tuple[str, ...]:
        return (self.element, self.element)

    @property
    def units(self) -> int:
        return self.images * self.rows.size

    @property
    def words(self) -> str:
        return f"y = x, linear between rows and columns: {self.rows.size}x{self.cols.size} pixels"


@dataclass(frozen=True)
class FloatResizeBody(ResizeBody):
    """Of floats: channels go into vectors."""

    def operations(self, lanes: int) -> tuple[str, ...]:
        used = {"sub", "fma", "set1"}
        used |= {"load", "store"} if self.run >= lanes else set()
        used |= {"load_part", "store_part"} if self.run % lanes else set()
        return tuple(sorted(used))

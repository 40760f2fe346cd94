"""What a verification is about: plain values that can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convgen.network.graph import Quantization
from convgen.network.ops.face import Op
from convgen.network.plan import Move, Slot
from convgen.spec.model import ConvSpec
from convgen.spec.quant import Rounding
from convgen.verify.tiling import NO_LEEWAY, Leeway

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class StepTask:
    """One step: what it computes of which slots. ``w``, ``b``: a convolution's constants (HWIO).

    ``constants``: further operands that are packed, with their meaning, of other steps.
    ``workspace``: (first byte, bytes) in the arena that it may use besides. ``key``: a digest of
    all that its verdict depends on, "" where nobody remembers it.
    """

    name: str
    op: Op
    inputs: tuple[Slot | None, ...]
    outputs: tuple[Slot, ...]
    moves: tuple[Move, ...]
    spec: ConvSpec | None = None
    w: NDArray[Any] | None = None
    b: NDArray[Any] | None = None
    constants: tuple[tuple[NDArray[Any], Quantization | None], ...] = ()
    leeway: Leeway = NO_LEEWAY
    workspace: tuple[int, int] = (0, 0)
    key: str = ""

    @property
    def written(self) -> tuple[Slot, ...]:
        return self.outputs + tuple(move.target for move in self.moves)


@dataclass(frozen=True, eq=False)
class NetworkTask:
    """A compiled network. ``inputs``, ``outputs``: slots of whole arrays. ``places``: by buffer its
    room ("arena", "input", "output", "weights") and its byte offset or its index there.

    ``library`` has ``<name>_cpu_ok``, ``_run`` and ``_step``; ``weights`` names a file. ``record``:
    the file in which verified steps are remembered, "" for none; ``key``: a digest of the code and
    of what judges it, "" likewise.
    """

    library: str
    weights: str
    name: str
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    steps: tuple[StepTask, ...]
    places: Mapping[str, tuple[str, int]]
    arena_bytes: int
    part_bytes: int
    align: int
    rounding: Rounding
    seed: int = 0
    record: str = ""
    key: str = ""

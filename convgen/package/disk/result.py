"""What a build is asked for, what it says on the way, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from convgen.choose.limits import SizeLimits
from convgen.errors import ConvgenError
from convgen.package.disk.binding import BindingName
from convgen.spec.model import DType, Layout
from convgen.spec.schedule import Schedule
from convgen.spec.sqnr import Sqnr
from convgen.target import Target
from convgen.toolchain import TIMEOUT
from convgen.verify import Report

State = Literal["built", "cached", "unchanged"]


@dataclass(frozen=True)
class BuildOptions:
    """``out``: the folder that gets ``<name>/``. ``cc``: a compiler command, None finds one.
    ``timeout``: seconds for one compiler call. ``cache_root``: None for the user's cache folder.
    ``tuned``: by layer name, the schedule to take in the chooser's place; a pinned one stands.
    ``max_code_bytes``, ``max_workspace_bytes``, ``max_ram_bytes``: see ``SizeLimits``."""

    out: Path
    target: Target
    cc: str | None = None
    verify: bool = True
    timeout: float = TIMEOUT
    binding: BindingName = "auto"
    use_cache: bool = True
    cache_root: Path | None = None
    tuned: Mapping[str, Schedule] = field(default_factory=dict)
    max_code_bytes: int | None = None
    max_workspace_bytes: int | None = None
    max_ram_bytes: int | None = None

    @property
    def limits(self) -> SizeLimits:
        return SizeLimits(self.max_code_bytes, self.max_workspace_bytes, self.max_ram_bytes)


@dataclass(frozen=True)
class BuildResult:
    """One built layer. ``path``: its package. ``state``: compiled now, taken from the cache, or
    found as it should be. ``report``: None when nothing was verified. ``warnings``: the
    compiler's, and the cache's if it could not be written. ``code_bytes``: machine code of the
    kernel, None where the object format does not tell. ``notes``: how the build came to another
    kernel than the chooser's first, and what else in the spec would be much quicker.
    ``seconds``: of this build. ``sqnr``: what quantising cost, of
    a calibrated layer; ``dtype``: of its arrays."""

    name: str
    path: Path
    state: State
    report: Report | None
    binding: str
    compiler: str
    warnings: tuple[str, ...]
    seconds: float
    code_bytes: int | None
    schedule: str
    reason: str
    target: str
    isa: str
    macs: int
    output_shape: tuple[int, ...]
    notes: tuple[str, ...] = ()
    sqnr: Sqnr | None = None
    dtype: DType = DType.FLOAT32
    layout: Layout = Layout.NHWC

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """A layer's with its channels last, as ``check`` prints shapes whatever the layout, in
        every rank; a network's as it stands."""
        n, *image = self.output_shape
        if self.layout is Layout.NCHW:
            image = [*image[1:], image[0]]
        return (n, *image)


class Stage(StrEnum):
    """Steps of one build, in order; ``DONE`` or ``FAILED`` is the last of every layer."""

    GENERATE = "generate"
    COMPILE = "compile"
    VERIFY = "verify"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class BuildEvent:
    """A layer reached a stage; ``outcome`` comes with the last one. ``done`` of ``steps``: how far
    a network is in that stage."""

    name: str
    stage: Stage
    outcome: BuildResult | ConvgenError | None = None
    done: int = 0
    steps: int = 0


OnEvent = Callable[[BuildEvent], None]

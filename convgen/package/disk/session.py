"""What the layers of one build share: options, compiler, Python, cache, running processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convgen.errors import ConvgenError
from convgen.package.disk.binding import Binding, Python, choose_binding, this_python
from convgen.package.disk.cache import Cache, default_cache_root
from convgen.package.disk.inputs import own_digest
from convgen.package.disk.result import BuildEvent, BuildOptions, BuildResult, OnEvent, Stage
from convgen.spec.model import Layer
from convgen.spec.schedule import Schedule
from convgen.toolchain import Compiler, Processes, find_compiler

if TYPE_CHECKING:
    from convgen.package.disk.choices import Memory


@dataclass(frozen=True)
class Session:
    """What the layers of one build share; found out once."""

    options: BuildOptions
    compiler: Compiler
    python: Python
    binding: Binding
    own: str
    cache: Cache | None
    processes: Processes
    on_event: OnEvent | None

    @classmethod
    def open(cls, options: BuildOptions, on_event: OnEvent | None = None) -> Session:
        """Raises ``ToolchainError`` (no compiler), ``UsageError`` (API binding, no Python.h)."""
        processes = Processes()
        python = this_python()
        binding = choose_binding(options.binding, python)
        compiler = find_compiler(options.cc, processes)
        cache = Cache(options.cache_root or default_cache_root()) if options.use_cache else None
        return cls(options, compiler, python, binding, own_digest(), cache, processes, on_event)

    @property
    def memory(self) -> Memory | None:
        """Choices made before, where there is a cache."""
        from convgen.package.disk.choices import Memory

        return None if self.cache is None else Memory(self.cache.choices, self.own)

    def tuned(self, layer: Layer) -> Schedule | None:
        """What to take in the chooser's place, where the layer pins no schedule."""
        return self.options.tuned.get(layer.spec.name)

    def say(self, layer: Layer, stage: Stage, outcome: BuildResult | ConvgenError | None) -> None:
        if self.on_event is not None:
            self.on_event(BuildEvent(layer.spec.name, stage, outcome))

"""Build layers on disk: unchanged, from the cache, or generated, compiled and verified.

``build_layer`` does one; ``build_many`` does them side by side, in threads: what takes long are the
compilers and the verification, which are processes of their own, and the little that is left
(templates, cffi) is not worth the start of a Python each.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from convgen.errors import ConvgenError, UsageError
from convgen.package.disk.layer import build_in
from convgen.package.disk.result import BuildEvent, BuildOptions, BuildResult, OnEvent, Stage
from convgen.package.disk.session import Session
from convgen.spec.model import Layer
from convgen.toolchain import Stopped, awaited

__all__ = ["BuildEvent", "BuildOptions", "BuildResult", "Stage", "build_layer", "build_many"]


def build_layer(
    layer: Layer, options: BuildOptions, on_event: OnEvent | None = None
) -> BuildResult:
    """Bring ``options.out/<name>/`` up to date with the layer.

    Raises ``SpecError`` for weights, ``ScheduleError``, ``ToolchainError``, ``MismatchError`` when
    the kernel fails its verification, and ``UsageError`` when the folder cannot be written; an
    earlier package stays as it is then.
    """
    return build_in(Session.open(options, on_event), layer)


def build_many(
    layers: Sequence[Layer],
    options: BuildOptions,
    jobs: int | None = None,
    on_event: OnEvent | None = None,
) -> list[BuildResult | ConvgenError]:
    """Build every layer, ``jobs`` at a time (None: one per CPU); a failure stops no other layer.

    One result or error per layer, in their order. ``on_event`` is called by one thread at a time.
    Raises ``ToolchainError`` when there is no compiler, ``UsageError`` for two layers of one name.
    Ctrl-C ends the running compilers, and earlier packages stay.
    """
    repeated = [name for name, n in Counter(x.spec.name for x in layers).items() if n > 1]
    if repeated:
        raise UsageError(
            f"two layers are named {repeated[0]}, and both would be written to "
            f"{options.out / repeated[0]}: rename one"
        )
    session = Session.open(options, _one_at_a_time(on_event))

    def attempt(layer: Layer) -> BuildResult | ConvgenError:
        try:
            return build_in(session, layer)
        except ConvgenError as error:
            return error

    pool = ThreadPoolExecutor(max(1, jobs or os.cpu_count() or 1), "convgen-build")
    futures = [pool.submit(attempt, layer) for layer in layers]
    try:
        return [awaited(future) for future in futures]
    except Stopped:
        raise KeyboardInterrupt from None
    finally:
        # After an interrupt, or a bug in one layer, nothing may go on behind the caller's back.
        if not all(future.done() for future in futures):
            session.processes.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def _one_at_a_time(on_event: OnEvent | None) -> OnEvent | None:
    if on_event is None:
        return None
    lock = threading.Lock()

    def report(event: BuildEvent) -> None:
        with lock:
            on_event(event)

    return report

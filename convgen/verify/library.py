"""Every check on one library, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convgen.verify.report import Report, assemble
from convgen.verify.tiling import NO_LEEWAY, Leeway

if TYPE_CHECKING:
    from convgen.spec.model import ConvSpec
    from convgen.verify.isolate import HasWeights


def verify_library(
    library: Path,
    spec: ConvSpec,
    *,
    packed_bytes: int,
    workspace_bytes: int,
    align: int,
    weights: HasWeights | None = None,
    leeway: Leeway = NO_LEEWAY,
    seed: int = 0,
) -> Report:
    """Run every check on a shared library, in this process; a crash of the kernel is a crash here.

    ``library``: with the symbols ``<name>_cpu_ok``, ``_run``, ``_run_part``, ``_pack`` and, for
    baked ``weights``, ``_packed``. Sizes in bytes, as the header's macros give them. ``leeway``:
    what the kernel may do beyond rounding each sum by itself. ``seed`` picks the data.
    A library that cannot be loaded or lacks a symbol gives a failed report.
    """
    from convgen.verify.child import events

    pair = None if weights is None else (weights.w, weights.b)
    return assemble(
        events(
            library=str(library),
            spec=spec,
            packed_bytes=packed_bytes,
            workspace_bytes=workspace_bytes,
            align=align,
            weights=pair,
            leeway=leeway,
            seed=seed,
        )
    )

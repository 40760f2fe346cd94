"""How a command gets on: a bar for a person at a terminal, stages as messages under -v."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from convgen.cli.output import Output, is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress

    from convgen.package.disk.result import BuildEvent, OnEvent


@contextmanager
def layer_progress(count: int, out: Output) -> Iterator[OnEvent | None]:
    """A bar over ``count`` layers, where there are several."""
    if out.verbose:
        yield lambda event: out.detail(f"{event.name}: {event.stage}")
        return
    if count < 2 or not watched(out):
        yield None
        return
    with bar_of_steps() as bar:
        task = bar.add_task("", total=count)

        def on_event(event: BuildEvent) -> None:
            ended = event.stage in ("done", "failed")
            bar.update(task, advance=int(ended), description=f"{event.name}: {event.stage}")

        yield on_event


@contextmanager
def step_progress(out: Output) -> Iterator[OnEvent | None]:
    """A bar over the steps of a network, once while kernels are chosen and once while their outputs
    are judged."""
    if out.verbose:
        yield lambda event: None if event.steps else out.detail(f"{event.name}: {event.stage}")
        return
    if not watched(out):
        yield None
        return
    with bar_of_steps() as bar:
        task = bar.add_task("", total=None)

        def on_event(event: BuildEvent) -> None:
            words = f"{event.name}: {event.stage}"
            bar.update(task, completed=event.done, total=event.steps or None, description=words)

        yield on_event


def watched(out: Output) -> bool:
    """Whether a person at a terminal sees how a command gets on."""
    return not out.quiet and is_terminal(sys.stderr)


def bar_of_steps(*, auto_refresh: bool = True) -> Progress:
    """A bar with ``n/of`` and words, on stderr, gone when it ends. ``auto_refresh``: drawn by a
    thread of its own."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    console = Console(file=sys.stderr)
    return Progress(*columns, console=console, transient=True, auto_refresh=auto_refresh)
